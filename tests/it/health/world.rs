//! A primary with its replicas, and a [`Health`] that asks them.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tenantry::config::{self, Cluster as ClusterConfig};
use tenantry::demo::cluster::{Builder, Cluster};
use tenantry::nodes::{ClusterView, Gauges, Lsn, Position, Primary, ReplicaState};
use tenantry::types::{ClusterName, DbName, NodeAddr, RoleName, Secret};
use tenantry::upstream::health::Health;
use tenantry::upstream::{Connectors, Credentials, Target};
use tokio::runtime::Runtime;

use crate::support::postgres::Database;
use crate::support::proxy::Toml;

/// The role without privileges and its database; and a monitor.
const ROLES: &str = "
    CREATE ROLE low LOGIN PASSWORD 'server-secret';
    CREATE DATABASE low OWNER low;
    CREATE ROLE mon LOGIN PASSWORD 'server-secret' IN ROLE pg_monitor;";

/// For `monitor_url`.
pub const MONITOR: &str = "monitor_url = 'postgres://mon:server-secret@/postgres'";

/// A primary with its replicas, which end first.
pub struct Servers {
    pub replicas: Vec<Cluster>,
    pub primary: Cluster,
}

impl Servers {
    pub fn start(replicas: usize) -> Self {
        Self::with(Cluster::builder(), replicas)
    }

    pub fn with(builder: Builder, replicas: usize) -> Self {
        // What one that follows later still needs.
        let builder = builder.setting("wal_keep_size", "256MB");
        let primary = builder.start().expect("a primary");
        primary.psql("postgres", ROLES).expect("roles");
        let replicas = std::thread::scope(|scope| {
            let start = || primary.start_replica().expect("a replica");
            let started: Vec<_> = (0..replicas).map(|_| scope.spawn(start)).collect();
            started.into_iter().map(|t| t.join().unwrap()).collect()
        });
        Self { replicas, primary }
    }

    /// All of them as `main`, with more lines for `[[cluster]]`.
    pub fn config(&self, lines: &str) -> Vec<Arc<ClusterConfig>> {
        let ports = self.replicas.iter().map(Cluster::port);
        config(self.primary.port(), &ports.collect::<Vec<_>>(), lines)
    }
}

/// The cluster `main`.
pub fn config(primary: u16, replicas: &[u16], lines: &str) -> Vec<Arc<ClusterConfig>> {
    let replicas: Vec<String> = replicas
        .iter()
        .map(|p| format!("'127.0.0.1:{p}'"))
        .collect();
    let toml = Toml::default().tables(&format!(
        "[[cluster]]\nname = 'main'\nprimary = '127.0.0.1:{primary}'\nreplicas = [{}]\n{lines}",
        replicas.join(", ")
    ));
    let parsed = config::parse(&toml.text(), Path::new("test.toml"), &|_| None);
    parsed
        .unwrap_or_else(|e| panic!("{e}\n{}", toml.text()))
        .clusters
}

pub fn node(server: &Cluster) -> NodeAddr {
    NodeAddr {
        host: "127.0.0.1".into(),
        port: server.port(),
    }
}

/// Health with a runtime of its own.
pub struct World {
    pub health: Health,
    /// All views that were told.
    told: Arc<Mutex<Vec<Arc<ClusterView>>>>,
    runtime: Runtime,
}

impl World {
    pub fn of(clusters: &[Arc<ClusterConfig>]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let connectors = Arc::new(Connectors::default());
        connectors.reload(Connectors::prepare(clusters).unwrap());
        let health = Health::new(runtime.handle().clone(), connectors);
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&told);
        health.subscribe(Box::new(move |view| {
            listener.lock().unwrap().push(Arc::clone(view));
        }));
        health.configure(clusters);
        Self {
            health,
            told,
            runtime,
        }
    }

    pub fn view(&self) -> Arc<ClusterView> {
        self.health
            .view(&ClusterName::new("main"))
            .expect("a cluster with replicas")
    }

    pub fn told(&self) -> Vec<Arc<ClusterView>> {
        self.told.lock().unwrap().clone()
    }

    /// A login of `low`, or whoever it is, in the database of that name.
    pub fn offer(&self, cluster: &Arc<ClusterConfig>, role: &str, credentials: Credentials) {
        self.health.offer(&Target {
            node: cluster.primary.clone(),
            cluster: Arc::clone(cluster),
            database: DbName::new("low"),
            role: RoleName::new(role),
            credentials,
            settings: Vec::new(),
            connect_query: "not for probes".into(),
            connect_timeout: Duration::from_secs(5),
        });
    }

    /// Waits until another task had its turn: the only thread of the runtime is not taken.
    pub fn breathe(&self) {
        let (sender, receiver) = sync_channel(1);
        self.runtime.spawn(async move { sender.send(()) });
        let turn = receiver.recv_timeout(Duration::from_secs(20));
        turn.expect("tasks have their turn");
    }

    pub fn is_primary(&self, server: &Cluster) -> bool {
        self.view().primary == Primary::Node(node(server))
    }

    /// State and share of a replica.
    pub fn replica(&self, server: &Cluster) -> (ReplicaState, u32) {
        let view = self.view();
        let replica = view.replicas.iter().find(|r| r.node == node(server));
        replica.map(|r| (r.state, r.share)).expect("a replica")
    }

    pub fn is(&self, server: &Cluster, state: ReplicaState) -> bool {
        let view = self.view();
        view.replicas
            .iter()
            .any(|r| r.node == node(server) && r.state == state)
    }

    pub fn gauges(&self, server: &Cluster) -> Arc<Gauges> {
        let view = self.view();
        let replica = view.replicas.iter().find(|r| r.node == node(server));
        replica.map(|r| Arc::clone(&r.gauges)).expect("a replica")
    }

    pub fn position(&self) -> Option<Position> {
        let (sender, receiver) = sync_channel(1);
        let then = Box::new(move |position| sender.send(position).unwrap());
        self.health.position(&ClusterName::new("main"), then);
        receiver
            .recv_timeout(Duration::from_secs(20))
            .expect("an answer")
    }

    /// Waits at a replica, and says how long it took.
    pub fn replayed(&self, server: &Cluster, at_least: Lsn, within: Duration) -> Duration {
        let (sender, receiver) = sync_channel(1);
        let begin = Instant::now();
        let until = tokio::time::Instant::from_std(begin + within);
        let then = Box::new(move || sender.send(()).unwrap());
        self.health.replayed(&node(server), at_least, until, then);
        receiver
            .recv_timeout(Duration::from_secs(20))
            .expect("it is told");
        begin.elapsed()
    }
}

pub fn password() -> Credentials {
    Credentials::Password(Secret::new(Database::PASSWORD.to_owned()))
}

/// How many of our connections a server has.
pub fn monitors(server: &Cluster) -> usize {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tenantry monitor'";
    server.psql("postgres", sql).unwrap().parse().unwrap()
}
