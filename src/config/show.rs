//! The configuration as rows of `SHOW CONFIG`, and what two configurations differ in: one table of
//! all keys that are not a cluster's or a tenant's, which `SET` uses, too.
//!
//! Secrets never leave it: they are `***` if they are set.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use ipnet::IpNet;

use super::{
    Config, ConsoleRole, ConsoleUser, ListenAddr, Listener, Statements, file, pool, routing,
    server, value,
};
use crate::types::Secret;

/// One row of `SHOW CONFIG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The key with the names of its tables, as in `pool.size`, or PgBouncer's name.
    pub key: &'static str,
    /// Its value now.
    pub value: String,
    /// Its value where the file says nothing.
    pub default: String,
    /// Whether a change takes effect without a restart.
    pub changeable: bool,
}

/// A key that has another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Which one.
    pub key: &'static str,
    /// Whether the new value takes effect without a restart.
    pub changeable: bool,
}

/// One key of the file.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) change: Change,
    value: fn(&Config) -> Shown,
}

/// When a new value takes effect.
#[derive(Clone, Copy)]
pub(super) enum Change {
    /// With the reload.
    AtOnce,
    /// After a restart; this keeps the old value in a new configuration.
    AtStart(fn(&Config, &mut Config)),
}

/// A value, of the kind that it has in the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shown {
    Number(usize),
    Switch(bool),
    Time(Duration),
    Word(&'static str),
    Text(String),
    Secret(Option<Secret>),
    Listeners(Vec<Listener>),
    Users(Vec<ConsoleUser>),
    Networks(Vec<IpNet>),
}

/// All keys in the order of the file, then those that PgBouncer has a name for under that name.
pub fn show(config: &Config) -> Vec<Row> {
    let defaults = defaults();
    let ours = KEYS.iter().map(|key| Row {
        key: key.name,
        value: (key.value)(config).to_string(),
        default: (key.value)(defaults).to_string(),
        changeable: key.is_changeable(),
    });
    let theirs = ALIASES.iter().map(|alias| {
        let key = alias.key();
        Row {
            key: alias.name,
            value: (alias.value)((key.value)(config)),
            default: (alias.value)((key.value)(defaults)),
            changeable: key.is_changeable(),
        }
    });
    ours.chain(theirs).collect()
}

/// The keys whose values differ.
pub fn differences(old: &Config, new: &Config) -> Vec<Difference> {
    let differs = |key: &&Key| (key.value)(old) != (key.value)(new);
    let difference = |key: &Key| Difference {
        key: key.name,
        changeable: key.is_changeable(),
    };
    KEYS.iter().filter(differs).map(difference).collect()
}

/// Gives `new` the values of `old` for the keys that only a restart changes.
pub fn keep_until_restart(old: &Config, new: &mut Config) {
    for key in KEYS {
        if let Change::AtStart(keep) = key.change {
            keep(old, new);
        }
    }
}

/// The key of that name.
pub(super) fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The key that PgBouncer gives that name.
pub(super) fn alias(name: &str) -> Option<&'static Key> {
    ALIASES.iter().find(|a| a.name == name).map(Alias::key)
}

impl Key {
    const fn now(name: &'static str, value: fn(&Config) -> Shown) -> Self {
        Self {
            name,
            change: Change::AtOnce,
            value,
        }
    }

    const fn at_start(
        name: &'static str,
        value: fn(&Config) -> Shown,
        keep: fn(&Config, &mut Config),
    ) -> Self {
        Self {
            name,
            change: Change::AtStart(keep),
            value,
        }
    }

    /// A value of the kind that this key has.
    pub(super) fn kind(&self) -> Shown {
        (self.value)(defaults())
    }

    fn is_changeable(&self) -> bool {
        matches!(self.change, Change::AtOnce)
    }
}

fn defaults() -> &'static Config {
    static DEFAULTS: OnceLock<Config> = OnceLock::new();
    DEFAULTS.get_or_init(|| {
        file::parse("", Path::new(""), &|_| None).expect("nothing at all is every default")
    })
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Switch(switch) => switch.fmt(f),
            Self::Time(time) => f.write_str(&value::duration_text(*time)),
            Self::Word(word) => f.write_str(word),
            Self::Text(text) => f.write_str(text),
            Self::Secret(None) => Ok(()),
            Self::Secret(Some(_)) => f.write_str("***"),
            Self::Listeners(all) => f.write_str(&joined(all.iter().map(|l| l.address.to_string()))),
            Self::Networks(all) => f.write_str(&joined(all.iter().map(IpNet::to_string))),
            Self::Users(all) => f.write_str(&joined(all.iter().map(|u| u.name.to_string()))),
        }
    }
}

fn joined(all: impl Iterator<Item = String>) -> String {
    all.collect::<Vec<_>>().join(", ")
}

fn path(path: &Option<PathBuf>) -> Shown {
    Shown::Text(
        path.as_ref()
            .map_or(String::new(), |p| p.display().to_string()),
    )
}

static KEYS: &[Key] = &[
    Key::at_start(
        "server.listen",
        |c| Shown::Listeners(c.server.listen.clone()),
        |old, new| new.server.listen.clone_from(&old.server.listen),
    ),
    Key::at_start(
        "server.http",
        |c| Shown::Text(c.server.http.map_or(String::new(), |a| a.to_string())),
        |old, new| new.server.http = old.server.http,
    ),
    Key::at_start(
        "server.workers",
        |c| Shown::Number(c.server.workers),
        |old, new| new.server.workers = old.server.workers,
    ),
    Key::now("server.max_clients", |c| {
        Shown::Number(c.server.max_clients)
    }),
    Key::now("server.login_timeout", |c| {
        Shown::Time(c.server.login_timeout)
    }),
    Key::now("server.drain_timeout", |c| {
        Shown::Time(c.server.drain_timeout)
    }),
    Key::now("server.proxy_protocol", |c| {
        let mode = &c.server.proxy_protocol.mode;
        Shown::Word(value::word_for(&server::PROXY_MODES, mode))
    }),
    Key::now("server.proxy_protocol_sources", |c| {
        Shown::Networks(c.server.proxy_protocol.sources.clone())
    }),
    Key::now("server.keepalive", |c| Shown::Time(c.server.keepalive)),
    Key::at_start(
        "server.takeover",
        |c| path(&c.server.takeover),
        |old, new| new.server.takeover.clone_from(&old.server.takeover),
    ),
    Key::now("server.tls.mode", |c| {
        Shown::Word(value::word_for(&server::TLS_MODES, &c.server.tls.mode))
    }),
    Key::now("server.tls.certificate", |c| {
        path(&c.server.tls.certificate)
    }),
    Key::now("server.tls.private_key", |c| {
        path(&c.server.tls.private_key)
    }),
    Key::now("server.tls.client_ca", |c| path(&c.server.tls.client_ca)),
    Key::now("server.tls.crl", |c| path(&c.server.tls.crl)),
    Key::now("server.tls.domain", |c| {
        Shown::Text(c.server.tls.domain.clone().unwrap_or_default())
    }),
    Key::now("auth.method", |c| {
        Shown::Word(value::word_for(&server::METHODS, &c.auth.method))
    }),
    Key::now("auth.secret", |c| Shown::Secret(c.auth.secret.clone())),
    Key::now("log.format", |c| {
        Shown::Word(value::word_for(&file::FORMATS, &c.log.format))
    }),
    Key::now("log.level", |c| Shown::Text(c.log.level.clone())),
    Key::now("log.slow", |c| Shown::Time(c.log.slow)),
    Key::now("log.statements", |c| {
        Shown::Switch(c.log.statements == Statements::Shown)
    }),
    Key::now("console.users", |c| Shown::Users(c.console.users.clone())),
    Key::now("pool.mode", |c| {
        Shown::Word(value::word_for(&pool::MODES, &c.pool.mode))
    }),
    Key::now("pool.size", |c| Shown::Number(c.pool.size)),
    Key::now("pool.min_size", |c| Shown::Number(c.pool.min_size)),
    Key::now("pool.acquire_timeout", |c| {
        Shown::Time(c.pool.acquire_timeout)
    }),
    Key::now("pool.connect_timeout", |c| {
        Shown::Time(c.pool.connect_timeout)
    }),
    Key::now("pool.idle_timeout", |c| Shown::Time(c.pool.idle_timeout)),
    Key::now("pool.max_lifetime", |c| Shown::Time(c.pool.max_lifetime)),
    Key::now("pool.pool_ttl", |c| Shown::Time(c.pool.pool_ttl)),
    Key::now("pool.max_clients", |c| Shown::Number(c.pool.max_clients)),
    Key::now("pool.query_timeout", |c| Shown::Time(c.pool.query_timeout)),
    Key::now("pool.transaction_timeout", |c| {
        Shown::Time(c.pool.transaction_timeout)
    }),
    Key::now("pool.idle_transaction_timeout", |c| {
        Shown::Time(c.pool.idle_transaction_timeout)
    }),
    Key::now("pool.client_idle_timeout", |c| {
        Shown::Time(c.pool.client_idle_timeout)
    }),
    Key::now("pool.max_prepared_statements", |c| {
        Shown::Number(c.pool.max_prepared_statements)
    }),
    Key::now("pool.connect_query", |c| {
        Shown::Text(c.pool.connect_query.clone())
    }),
    Key::now("pool.application_name", |c| {
        Shown::Word(value::word_for(&pool::NAMES, &c.pool.application_name))
    }),
    Key::now("pool.session_state", |c| {
        Shown::Word(value::word_for(&pool::STATES, &c.pool.session_state))
    }),
    Key::now("pool.reset", |c| {
        Shown::Word(value::word_for(&pool::RESETS, &c.pool.reset))
    }),
    Key::now("pool.replication", |c| {
        Shown::Word(value::word_for(&pool::REPLICATIONS, &c.pool.replication))
    }),
    Key::now("pool.max_pins", |c| Shown::Number(c.pool.max_pins)),
    Key::now("routing.reads", |c| {
        Shown::Word(value::word_for(&routing::READS, &c.routing.reads))
    }),
    Key::now("routing.consistency", |c| {
        Shown::Word(value::word_for(
            &routing::CONSISTENCIES,
            &c.routing.consistency,
        ))
    }),
    Key::now("routing.consistency_wait", |c| {
        Shown::Time(c.routing.consistency_wait)
    }),
    Key::now("routing.max_lag", |c| {
        Shown::Text(routing::max_lag_text(c.routing.max_lag))
    }),
    Key::now("routing.no_replica", |c| {
        Shown::Word(value::word_for(
            &routing::NO_REPLICAS,
            &c.routing.no_replica,
        ))
    }),
    Key::now("routing.notice", |c| Shown::Switch(c.routing.notice)),
    Key::now("routing.balance", |c| {
        Shown::Word(value::word_for(&routing::BALANCES, &c.routing.balance))
    }),
];

/// PgBouncer's name for something that one of our keys says.
struct Alias {
    name: &'static str,
    key: &'static str,
    value: fn(Shown) -> String,
}

impl Alias {
    const fn new(name: &'static str, key: &'static str) -> Self {
        Self {
            name,
            key,
            value: as_theirs,
        }
    }

    const fn part(name: &'static str, key: &'static str, value: fn(Shown) -> String) -> Self {
        Self { name, key, value }
    }

    fn key(&self) -> &'static Key {
        key(self.key).expect("a test looks each of them up")
    }
}

/// As PgBouncer writes it: times are seconds.
fn as_theirs(shown: Shown) -> String {
    match shown {
        Shown::Time(time) => time.as_secs_f64().to_string(),
        other => other.to_string(),
    }
}

fn tcp(shown: &Shown) -> Option<std::net::SocketAddr> {
    let Shown::Listeners(all) = shown else {
        return None;
    };
    all.iter().find_map(|l| match l.address {
        ListenAddr::Tcp(address) => Some(address),
        ListenAddr::Unix(_) => None,
    })
}

fn unix(shown: &Shown) -> Option<String> {
    let Shown::Listeners(all) = shown else {
        return None;
    };
    all.iter().find_map(|l| match &l.address {
        ListenAddr::Unix(path) => Some(path.display().to_string()),
        ListenAddr::Tcp(_) => None,
    })
}

fn users(shown: &Shown, role: ConsoleRole) -> String {
    let Shown::Users(all) = shown else {
        return String::new();
    };
    let of_role = all.iter().filter(|u| u.role == role);
    joined(of_role.map(|u| u.name.to_string()))
}

static ALIASES: [Alias; 23] = [
    Alias::part("admin_users", "console.users", |s| {
        users(&s, ConsoleRole::Admin)
    }),
    Alias::new("auth_type", "auth.method"),
    Alias::new("client_idle_timeout", "pool.client_idle_timeout"),
    Alias::new("client_login_timeout", "server.login_timeout"),
    Alias::new("client_tls_ca_file", "server.tls.client_ca"),
    Alias::new("client_tls_cert_file", "server.tls.certificate"),
    Alias::new("client_tls_key_file", "server.tls.private_key"),
    Alias::new("default_pool_size", "pool.size"),
    Alias::new("idle_transaction_timeout", "pool.idle_transaction_timeout"),
    Alias::part("listen_addr", "server.listen", |s| {
        tcp(&s).map_or(String::new(), |a| a.ip().to_string())
    }),
    Alias::part("listen_port", "server.listen", |s| {
        tcp(&s).map_or(String::new(), |a| a.port().to_string())
    }),
    Alias::new("max_client_conn", "server.max_clients"),
    Alias::new("max_prepared_statements", "pool.max_prepared_statements"),
    Alias::new("min_pool_size", "pool.min_size"),
    Alias::new("pool_mode", "pool.mode"),
    Alias::new("query_timeout", "pool.query_timeout"),
    Alias::new("query_wait_timeout", "pool.acquire_timeout"),
    Alias::new("server_connect_timeout", "pool.connect_timeout"),
    Alias::new("server_idle_timeout", "pool.idle_timeout"),
    Alias::new("server_lifetime", "pool.max_lifetime"),
    Alias::part("stats_users", "console.users", |s| {
        users(&s, ConsoleRole::Stats)
    }),
    Alias::new("transaction_timeout", "pool.transaction_timeout"),
    Alias::part("unix_socket_dir", "server.listen", |s| {
        unix(&s).unwrap_or_default()
    }),
];

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
