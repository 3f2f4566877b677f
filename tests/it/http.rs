//! The HTTP port: metrics that count what happened, health that says what is missing.

mod health;
mod metrics;
mod port;
mod replicas;

use std::net::SocketAddr;

use super::support::postgres::Database;
use super::support::proxy::{Proxy, Toml};

/// A configuration with an HTTP port and a cluster.
fn toml(database: &Database) -> Toml {
    Toml::default().server("http = '127.0.0.1:0'").cluster(
        "main",
        database.port,
        "max_connections = 20",
    )
}

/// One tenant, named as its database.
fn of(database: &Database, pool: &str) -> Proxy {
    toml(database)
        .pool(pool)
        .tenant(&database.name, "main", database, "")
        .start()
}

fn http(proxy: &Proxy) -> SocketAddr {
    proxy.app.http_address().expect("there is an HTTP port")
}
