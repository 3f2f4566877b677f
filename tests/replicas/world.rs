//! A primary, two replicas, a tenant and the proxy before them, as a process.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::postgres::Database;
use crate::support::process::ProxyProcess;
use crate::support::proxy::Toml;
use crate::support::replicas::{Routed, Trio};

/// Whether the long form is wanted.
pub(crate) fn full() -> bool {
    std::env::var("TENANTRY_REPLICAS").is_ok_and(|form| form == "full")
}

/// What is drawn by lot follows from it.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("TENANTRY_REPLICAS_SEED").ok();
    let seed = given.map_or_else(rand::random, |text| text.parse().expect("a number"));
    println!("TENANTRY_REPLICAS_SEED={seed}");
    seed
}

/// These tests measure times: one after the other.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The proxy and its file.
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) proxy: ProxyProcess,
    _files: TempDir,
}

impl World {
    /// Serves a tenant of these servers, with lines of `[routing]` and of `[pool]`; `cluster`: of
    /// `[[cluster]]`, with its replicas.
    pub(crate) fn new(trio: &Trio, routing: &str, pool: &str, cluster: &str) -> Self {
        let database = trio.database();
        let password = Database::PASSWORD;
        let console = format!(
            "[console]\nusers = [{{ name = 'admin', password = '{password}', role = 'admin' }}]"
        );
        let text = Toml::default()
            .pool(pool)
            .tables(&format!("[routing]\nnotice = true\n{routing}"))
            .tables(&console)
            .cluster("main", trio.primary.port(), cluster)
            .tenant(&database.name, "main", &database, "")
            .text();
        let files = tempfile::tempdir().expect("a temporary directory");
        let file = files.path().join("proxy.toml");
        std::fs::write(&file, text).expect("the configuration is written");
        let proxy = ProxyProcess::start(&file);
        Self {
            database,
            proxy,
            _files: files,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// A client of the tenant.
    pub(crate) fn client(&self) -> Routed {
        let client = Client::connect(self.address(), &self.database.name, &[]);
        Routed(client.expect("the login works"))
    }

    /// Runs a command of the console.
    pub(crate) fn console(&self, command: &str) {
        let user = ("admin", Database::PASSWORD);
        let mut console = Client::log_in_with(self.address(), user, "tenantry", &[]).unwrap();
        let reply = console.query(command);
        assert_eq!(reply.errors(), [""; 0], "{command} {reply:?}");
    }

    /// Waits until these nodes, and no others, serve reads.
    pub(crate) fn awaits(&self, ports: &[u16]) {
        let mut client = self.client();
        crate::support::patience::eventually("these serve the reads", || {
            let mut seen: Vec<u16> = (0..4).map(|_| client.read_only("SELECT 1").port).collect();
            seen.sort_unstable();
            seen.dedup();
            let mut wanted = ports.to_vec();
            wanted.sort_unstable();
            seen == wanted
        });
    }
}
