//! How many descriptors a configuration may need.

use super::Config;

/// Descriptors that are neither a client's nor a server connection's: logs, pollers, timers,
/// cancel requests in flight, name lookups, up to 64 of HTTP.
const RESERVE: u64 = 128;

/// The most descriptors that a proxy with this configuration has open at once.
pub fn descriptors(config: &Config) -> u64 {
    let servers: usize = config.budgets().values().sum();
    // One connection to each node that is asked how it is.
    let watched = config.clusters.iter().filter(|c| !c.replicas.is_empty());
    let probes: usize = watched.map(|c| c.nodes().count()).sum();
    let servers = (servers + probes) as u64;
    let workers = 4 * config.server.workers as u64;
    let listeners = config.server.listen.len() as u64;
    let clients = config.server.max_clients as u64;
    clients + servers + workers + listeners + RESERVE
}
