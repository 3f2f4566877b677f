//! One PostgreSQL server for the whole test process, and a fresh database with its role a test.
//!
//! The server is never dropped: it ends with the process, as every [`Cluster`] does.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tenantry::demo::cluster::Cluster;

/// The server that all tests share.
pub fn server() -> &'static Cluster {
    static SERVER: LazyLock<Cluster> = LazyLock::new(|| {
        Cluster::builder()
            .max_connections(300)
            .setting("log_statement", "none")
            .setting("wal_level", "logical")
            .start()
            .expect("PostgreSQL starts")
    });
    &SERVER
}

/// A database of one test. Its owner is the role of the same name, with [`Database::PASSWORD`].
#[derive(Debug, Clone)]
pub struct Database {
    /// Database, role and, by default, tenant.
    pub name: String,
    /// Where its server listens.
    pub port: u16,
}

impl Database {
    /// Password of every role that the tests make.
    pub const PASSWORD: &str = "server-secret";

    /// A fresh database on the shared server.
    pub fn fresh() -> Self {
        Self::fresh_on(server())
    }

    /// A fresh database on that server.
    pub fn fresh_on(server: &Cluster) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let sql = format!(
            "CREATE ROLE {name} LOGIN PASSWORD '{}';\nCREATE DATABASE {name} OWNER {name};",
            Self::PASSWORD
        );
        server.psql("postgres", &sql).expect("a fresh database");
        Self {
            name,
            port: server.port(),
        }
    }

    /// Runs SQL as superuser, past the proxy; rows by line, columns divided by `|`.
    pub fn admin(&self, sql: &str) -> String {
        server().psql(&self.name, sql).expect("SQL of the test")
    }

    /// How many connections there are to the database, the asking one left out.
    pub fn connections(&self) -> usize {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'",
            self.name
        );
        let count = server().psql("postgres", &sql).expect("a count");
        count.parse().expect("a number")
    }
}
