//! `[pool]`, and what a tenant overrides of it.

use std::time::Duration;

use super::reader::Section;
use super::{ApplicationName, PoolMode, PoolSettings, Replication, ResetWhen, StateMode};

/// More server connections than any node takes (PostgreSQL's own limit is 262,143).
const MANY: usize = 262_143;

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            mode: PoolMode::Transaction,
            size: 20,
            min_size: 0,
            acquire_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(5 * 60),
            max_lifetime: Duration::from_secs(3600),
            pool_ttl: Duration::from_secs(3600),
            max_clients: 1000,
            query_timeout: Duration::ZERO,
            transaction_timeout: Duration::ZERO,
            idle_transaction_timeout: Duration::ZERO,
            client_idle_timeout: Duration::ZERO,
            max_prepared_statements: 500,
            connect_query: String::new(),
            application_name: ApplicationName::Pass,
            session_state: StateMode::Carry,
            reset: ResetWhen::Dirty,
            max_pins: 0,
            replication: Replication::Refuse,
        }
    }
}

pub(super) const MODES: [(&str, PoolMode); 3] = [
    ("session", PoolMode::Session),
    ("transaction", PoolMode::Transaction),
    ("statement", PoolMode::Statement),
];
pub(super) const NAMES: [(&str, ApplicationName); 2] = [
    ("pass", ApplicationName::Pass),
    ("append", ApplicationName::Append),
];
pub(super) const STATES: [(&str, StateMode); 3] = [
    ("carry", StateMode::Carry),
    ("reject", StateMode::Reject),
    ("ignore", StateMode::Ignore),
];
pub(super) const RESETS: [(&str, ResetWhen); 2] =
    [("dirty", ResetWhen::Dirty), ("always", ResetWhen::Always)];
pub(super) const REPLICATIONS: [(&str, Replication); 2] = [
    ("refuse", Replication::Refuse),
    ("logical", Replication::Logical),
];

/// Reads the table over `base`.
pub(super) fn read(mut s: Section<'_>, base: &PoolSettings) -> PoolSettings {
    let settings = PoolSettings {
        mode: s.word("mode", &MODES).unwrap_or(base.mode),
        size: s.number("size", 1..=MANY, base.size),
        min_size: s.number("min_size", 0..=MANY, base.min_size),
        acquire_timeout: s.positive_duration("acquire_timeout", base.acquire_timeout),
        connect_timeout: s.positive_duration("connect_timeout", base.connect_timeout),
        idle_timeout: s.duration("idle_timeout", base.idle_timeout),
        max_lifetime: s.duration("max_lifetime", base.max_lifetime),
        pool_ttl: s.duration("pool_ttl", base.pool_ttl),
        max_clients: s.number("max_clients", 1..=10_000_000, base.max_clients),
        query_timeout: s.duration("query_timeout", base.query_timeout),
        transaction_timeout: s.duration("transaction_timeout", base.transaction_timeout),
        idle_transaction_timeout: s
            .duration("idle_transaction_timeout", base.idle_transaction_timeout),
        client_idle_timeout: s.duration("client_idle_timeout", base.client_idle_timeout),
        max_prepared_statements: s.number(
            "max_prepared_statements",
            1..=1_000_000,
            base.max_prepared_statements,
        ),
        connect_query: s
            .string("connect_query")
            .unwrap_or(&base.connect_query)
            .to_owned(),
        application_name: s
            .word("application_name", &NAMES)
            .unwrap_or(base.application_name),
        session_state: s
            .word("session_state", &STATES)
            .unwrap_or(base.session_state),
        reset: s.word("reset", &RESETS).unwrap_or(base.reset),
        max_pins: s.number("max_pins", 0..=MANY, base.max_pins),
        replication: s
            .word("replication", &REPLICATIONS)
            .unwrap_or(base.replication),
    };
    if settings.replication == Replication::Logical && settings.mode != PoolMode::Session {
        let key = if s.has("replication") {
            "replication"
        } else {
            "mode"
        };
        s.error(key, "replication = \"logical\" needs mode = \"session\"");
    }
    if settings.min_size > settings.size {
        let (size, min) = (settings.size, settings.min_size);
        let key = if s.has("min_size") {
            "min_size"
        } else {
            "size"
        };
        s.error(
            key,
            format!("min_size ({min}) must not exceed size ({size})"),
        );
    }
    s.finish();
    settings
}
