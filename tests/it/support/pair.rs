//! A primary with a streaming standby, and a proxy in front of both.

use std::sync::LazyLock;

use tenantry::demo::cluster::Cluster;

use super::postgres::Database;
use super::proxy::Toml;

/// Two servers.
#[derive(Debug)]
pub struct Pair {
    /// What the standby follows.
    pub primary: Cluster,
    /// The standby.
    pub replica: Cluster,
}

/// A login that may ask nodes how they are.
const MONITOR: &str = "CREATE ROLE monitor LOGIN PASSWORD 'server-secret' IN ROLE pg_monitor";

impl Pair {
    /// One that all tests share which leave it as it is.
    pub fn shared() -> &'static Self {
        static PAIR: LazyLock<Pair> = LazyLock::new(Pair::start);
        &PAIR
    }

    /// One of its own.
    pub fn start() -> Self {
        let primary = Cluster::builder().max_connections(100).start();
        let primary = primary.expect("PostgreSQL starts");
        primary.psql("postgres", MONITOR).expect("a role");
        let replica = primary.start_replica().expect("a standby starts");
        Self { primary, replica }
    }

    /// Waits until the standby has replayed what the primary has written so far.
    pub fn catch_up(&self) {
        let caught_up = self.replica.catch_up(&self.primary);
        caught_up.expect("it catches up");
    }

    /// A cluster `main` of both; the standby has the weight 2.
    pub fn cluster(&self, toml: Toml) -> Toml {
        let replica = format!(
            "replicas = [{{ address = '{}', weight = 2 }}]\n{WATCHED}",
            self.replica_node()
        );
        toml.cluster("main", self.primary.port(), &replica)
    }

    /// As the proxy calls it.
    pub fn primary_node(&self) -> String {
        format!("127.0.0.1:{}", self.primary.port())
    }

    /// As the proxy calls it.
    pub fn replica_node(&self) -> String {
        format!("127.0.0.1:{}", self.replica.port())
    }

    /// How many connections there are to a database: at the primary and at the standby.
    pub fn connections(&self, database: &Database) -> [usize; 2] {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'",
            database.name
        );
        [&self.primary, &self.replica].map(|server| {
            let count = server.psql("postgres", &sql).expect("a count");
            count.parse().expect("a number")
        })
    }
}

/// Lines of a cluster whose nodes are asked often, by [`MONITOR`].
pub const WATCHED: &str =
    "monitor_url = 'postgres://monitor:server-secret@/postgres'\nprobe_interval = '50ms'";

/// Lets the servers that others share be asked, too.
pub fn monitored(server: &Cluster) {
    let sql = format!(
        "DO $$ BEGIN {MONITOR}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    );
    server.psql("postgres", &sql).expect("a role");
}
