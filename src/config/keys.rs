//! Every key of the contract: those that work, and those that are known by name but do nothing yet.
//!
//! A key of the second kind is refused with a message of its own, so that nobody believes it does
//! something. [`super::reader::Section::finish`] holds readers to these lists.

/// The keys of one table.
#[derive(Debug)]
pub(super) struct Keys {
    /// The table's path, without indices.
    pub(super) table: &'static str,
    /// Keys that are read and obeyed.
    pub(super) working: &'static [&'static str],
    /// Keys of the contract that do nothing yet.
    pub(super) later: &'static [&'static str],
}

pub(super) static ROOT: Keys = Keys {
    table: "",
    working: &[
        "server", "auth", "log", "console", "registry", "pool", "routing", "cluster", "tenant",
    ],
    later: &["cache"],
};

pub(super) static SERVER: Keys = Keys {
    table: "server",
    working: &[
        "listen",
        "http",
        "workers",
        "max_clients",
        "login_timeout",
        "drain_timeout",
        "proxy_protocol",
        "proxy_protocol_sources",
        "keepalive",
        "takeover",
        "tls",
    ],
    later: &[],
};

pub(super) static LISTENER: Keys = Keys {
    table: "server.listen",
    working: &["address", "method", "route"],
    later: &[],
};

pub(super) static SERVER_TLS: Keys = Keys {
    table: "server.tls",
    working: &[
        "mode",
        "certificate",
        "private_key",
        "client_ca",
        "crl",
        "domain",
    ],
    later: &[],
};

pub(super) static AUTH: Keys = Keys {
    table: "auth",
    working: &["method", "secret"],
    later: &["token_roles", "auth_query", "jwt"],
};

pub(super) static LOG: Keys = Keys {
    table: "log",
    working: &["format", "level", "slow", "statements"],
    later: &[],
};

pub(super) static CONSOLE: Keys = Keys {
    table: "console",
    working: &["users"],
    later: &[],
};

pub(super) static CONSOLE_USER: Keys = Keys {
    table: "console.users",
    working: &["name", "password", "role"],
    later: &[],
};

pub(super) static REGISTRY: Keys = Keys {
    table: "registry",
    working: &["source"],
    later: &["url", "keys", "ttl", "max_stale"],
};

pub(super) static POOL: Keys = Keys {
    table: "pool",
    working: &[
        "mode",
        "size",
        "min_size",
        "acquire_timeout",
        "connect_timeout",
        "idle_timeout",
        "max_lifetime",
        "pool_ttl",
        "max_clients",
        "query_timeout",
        "transaction_timeout",
        "idle_transaction_timeout",
        "client_idle_timeout",
        "max_prepared_statements",
        "connect_query",
        "application_name",
        "session_state",
        "reset",
        "max_pins",
        "replication",
    ],
    later: &["weight"],
};

pub(super) static ROUTING: Keys = Keys {
    table: "routing",
    working: &[
        "reads",
        "consistency",
        "consistency_wait",
        "max_lag",
        "no_replica",
        "notice",
        "balance",
    ],
    later: &[],
};

pub(super) static CLUSTER: Keys = Keys {
    table: "cluster",
    working: &[
        "name",
        "primary",
        "max_connections",
        "tls",
        "tls_ca",
        "tls_certificate",
        "tls_key",
        "replicas",
        "monitor_url",
        "probe_interval",
    ],
    later: &["admin_url"],
};

pub(super) static REPLICA: Keys = Keys {
    table: "cluster.replicas",
    working: &["address", "weight"],
    later: &[],
};

pub(super) static TENANT: Keys = Keys {
    table: "tenant",
    working: &[
        "slug",
        "cluster",
        "database",
        "user",
        "password",
        "status",
        "roles",
        "pool",
        "routing",
        "allowed_networks",
    ],
    later: &["cache"],
};

pub(super) static ROLE: Keys = Keys {
    table: "tenant.roles",
    working: &["name", "password"],
    later: &[],
};
