//! The server, its tenants' databases and the configurations of the soak.

use std::path::Path;
use std::time::Duration;

use tenantry::config::{self, Config};
use tenantry::demo::cluster::Cluster;

/// Tenants, each with a database of its own.
pub(crate) const TENANTS: usize = 20;
/// The last ones are in session mode.
pub(crate) const SESSION_TENANTS: usize = 2;
/// Server connections in all: less than the pools may have together, so that they are evicted.
pub(crate) const PERMITS: usize = 26;
/// Rows of `items`.
pub(crate) const ITEMS: u32 = 200;
/// From here on, queries are ended by the proxy.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(8);

/// A tenant's mark, which all its rows carry; also its slug.
pub(crate) fn mark(tenant: usize) -> String {
    format!("t{tenant:02}")
}

/// A server with the tenants' databases; everyone on 127.0.0.1 is trusted.
pub(crate) fn server() -> Cluster {
    let cluster = Cluster::builder()
        .max_connections(u32::try_from(PERMITS).expect("few") + 20)
        .hba("host all all 127.0.0.1/32 trust")
        .setting("autovacuum", "off")
        .start()
        .expect("PostgreSQL is installed and starts");
    for tenant in 0..TENANTS {
        let mark = mark(tenant);
        cluster
            .psql(
                "postgres",
                &format!("create role {mark} login; create database {mark} owner {mark}"),
            )
            .expect("a tenant's database");
        cluster
            .psql(
                &mark,
                &format!(
                    "set role {mark}; create table items (id int primary key, tenant text not null); \
                     insert into items select i, '{mark}' from generate_series(1, {ITEMS}) i; \
                     create table log (id bigint not null, tenant text not null, body text)"
                ),
            )
            .expect("a tenant's tables");
    }
    cluster
}

/// What changes from one reload to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variant {
    /// Server connections of a pool.
    pub(crate) size: usize,
    /// Changes how tenant 0 is reached: its server connections are replaced.
    pub(crate) connect_query: &'static str,
    /// Tenant 1 is there.
    pub(crate) complete: bool,
}

impl Variant {
    pub(crate) const FIRST: Self = Self {
        size: 3,
        connect_query: "",
        complete: true,
    };
}

/// A configuration of the proxy in front of a server.
pub(crate) fn config(cluster: &Cluster, variant: Variant) -> Config {
    let mut text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 2\n[auth]\nmethod = \"trust\"\n\
         secret = \"soak soak soak soak soak soak soak\"\n\
         [pool]\nmax_pins = 100\nsize = {}\nidle_timeout = \"3s\"\nquery_timeout = \"{}s\"\n\
         idle_transaction_timeout = \"2s\"\nmax_prepared_statements = 8\n\
         [[cluster]]\nname = \"main\"\nprimary = \"127.0.0.1:{}\"\nmax_connections = {PERMITS}\ntls = \"disable\"\n",
        variant.size,
        QUERY_TIMEOUT.as_secs(),
        cluster.port(),
    );
    for tenant in (0..TENANTS).filter(|t| variant.complete || *t != 1) {
        let mark = mark(tenant);
        let pool = match tenant {
            0 => format!("{{ connect_query = \"{}\" }}", variant.connect_query),
            t if t >= TENANTS - SESSION_TENANTS => "{ mode = \"session\" }".to_owned(),
            _ => "{}".to_owned(),
        };
        text += &format!(
            "[[tenant]]\nslug = \"{mark}\"\ncluster = \"main\"\ndatabase = \"{mark}\"\nuser = \"{mark}\"\n\
             pool = {pool}\nroles = [{{ name = \"app\", password = \"unused\" }}]\n"
        );
    }
    config::parse(&text, Path::new("soak.toml"), &|_| None)
        .expect("the soak's configuration is good")
}
