//! How many descriptors a configuration may need.

use std::collections::HashMap;

use super::Config;

/// Descriptors that are neither a client's nor a server connection's: logs, pollers, timers,
/// cancel requests in flight, name lookups, up to 64 of HTTP.
const RESERVE: u64 = 128;

/// The most descriptors that a proxy with this configuration has open at once.
pub fn descriptors(config: &Config) -> u64 {
    let budgets: HashMap<_, _> = config
        .clusters
        .iter()
        .map(|c| (&c.primary, c.max_connections as u64))
        .collect();
    let workers = 4 * config.server.workers as u64;
    let listeners = config.server.listen.len() as u64;
    let clients = config.server.max_clients as u64;
    clients + budgets.values().sum::<u64>() + workers + listeners + RESERVE
}
