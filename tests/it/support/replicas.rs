//! A primary and two streaming replicas, and who of them served a request.

use std::sync::LazyLock;

use tenantry::demo::cluster::Cluster;

use super::client::{Client, Message, Reply};
use super::frames::Frames;
use super::patience::eventually;
use super::postgres::Database;
use super::proxy::{Proxy, Toml};

/// A primary and its replicas.
#[derive(Debug)]
pub struct Trio {
    /// Where writes go.
    pub primary: Cluster,
    /// Its standbys.
    pub replicas: [Cluster; 2],
}

/// Those that all tests share which leave the servers as they are.
pub fn shared() -> &'static Trio {
    static TRIO: LazyLock<Trio> = LazyLock::new(|| Trio::start(&[]));
    &TRIO
}

impl Trio {
    /// Starts them, with settings of `postgresql.conf`.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let usual = Cluster::builder().max_connections(200);
        let all = settings
            .iter()
            .fold(usual, |server, (name, value)| server.setting(name, value));
        let primary = all.start().expect("PostgreSQL starts");
        let replica = || primary.start_replica().expect("a replica starts");
        let replicas = [replica(), replica()];
        Self { primary, replicas }
    }

    /// A fresh database, that the replicas have as well.
    pub fn database(&self) -> Database {
        let database = Database::fresh_on(&self.primary);
        self.catch_up();
        database
    }

    /// Waits until the replicas have replayed what the primary has written so far.
    pub fn catch_up(&self) {
        for replica in &self.replicas {
            self.one_catches_up(replica);
        }
    }

    /// Waits until this one has.
    pub fn one_catches_up(&self, replica: &Cluster) {
        replica.catch_up(&self.primary).expect("it catches up");
    }

    /// Lines of `[[cluster]]`: the replicas, a login for the probes, and more.
    pub fn cluster(&self, lines: &str) -> String {
        let [one, two] = &self.replicas;
        let all = format!("['127.0.0.1:{}', '127.0.0.1:{}']", one.port(), two.port());
        self.cluster_of(&all, lines)
    }

    /// The same with a list of replicas as it is written.
    pub fn cluster_of(&self, replicas: &str, lines: &str) -> String {
        let monitor = self.primary.superuser_url("postgres");
        format!("replicas = {replicas}\nmonitor_url = '{monitor}'\n{lines}")
    }

    /// A configuration with one tenant, named as its database: served requests are told of.
    pub fn toml(&self, database: &Database, routing: &str, cluster: &str) -> Toml {
        Toml::default()
            .tables(&format!("[routing]\nnotice = true\n{routing}"))
            .cluster("main", self.primary.port(), &self.cluster(cluster))
            .tenant(&database.name, "main", database, "")
    }

    /// The ports of the replicas.
    pub fn ports(&self) -> [u16; 2] {
        [self.replicas[0].port(), self.replicas[1].port()]
    }
}

/// A tenant with replicas behind a proxy of its own.
#[derive(Debug)]
pub struct Tenant {
    /// Its database.
    pub database: Database,
    /// Its proxy.
    pub proxy: Proxy,
}

impl Tenant {
    /// On the servers that are shared, with lines of `[routing]` and of `[[cluster]]`.
    pub fn new(routing: &str, cluster: &str) -> Self {
        Self::of(shared(), routing, cluster)
    }

    /// On these.
    pub fn of(trio: &Trio, routing: &str, cluster: &str) -> Self {
        let database = trio.database();
        let proxy = trio.toml(&database, routing, cluster).start();
        Self { database, proxy }
    }

    /// Once both replicas serve, to whom reads are left however long they take to catch up.
    pub fn serving(routing: &str) -> Self {
        let tenant = Self::new(&format!("consistency_wait = '10s'\n{routing}"), "");
        tenant.awaits(&shared().ports());
        tenant
    }

    /// Waits until all of these nodes serve reads, and nobody else does.
    pub fn awaits(&self, ports: &[u16]) {
        let mut client = self.client();
        eventually("these serve the reads", || {
            let mut seen: Vec<u16> = (0..2 * ports.len())
                .map(|_| client.read_only("SELECT 1").port)
                .collect();
            seen.sort_unstable();
            seen.dedup();
            let mut wanted = ports.to_vec();
            wanted.sort_unstable();
            seen == wanted
        });
    }

    /// A client.
    pub fn client(&self) -> Routed {
        self.client_with(&[])
    }

    /// A client with startup parameters.
    pub fn client_with(&self, parameters: &[(&str, &str)]) -> Routed {
        Routed(self.proxy.client_with(&self.database.name, parameters))
    }
}

/// A client that is told who has served it.
#[derive(Debug)]
pub struct Routed(pub Client);

/// Who has served a transaction, why, and how.
#[derive(Debug)]
pub struct Served {
    /// The port of the node.
    pub port: u16,
    /// Why there.
    pub why: String,
    /// The reply to the statement.
    pub reply: Reply,
}

/// Who served the transaction that begins with this reply: port and reason; `None`: it goes on.
/// Where it was begun again, the last one counts.
pub fn served(reply: &Reply) -> Option<(u16, String)> {
    let told = reply.0.iter().filter(|m| m.tag == b'N');
    told.rev().find_map(notice)
}

/// What a notice says of who has served.
pub fn notice(message: &Message) -> Option<(u16, String)> {
    let text = message.field(b'M')?;
    let (node, why) = text.strip_prefix("served by ")?.split_once(" (")?;
    let port = node.rsplit_once(':')?.1.parse().ok()?;
    Some((port, why.strip_suffix(')')?.to_owned()))
}

impl Routed {
    /// A statement that begins a transaction at a server, or is one.
    pub fn ask(&mut self, frames: &Frames) -> Served {
        let reply = self.0.ask(frames);
        let (port, why) = served(&reply).unwrap_or_else(|| panic!("served by whom? {reply:?}"));
        Served { port, why, reply }
    }

    /// The same in simple protocol.
    pub fn query(&mut self, sql: &str) -> Served {
        self.ask(&Frames::default().query(sql))
    }

    /// A read-only transaction of one statement, in simple protocol.
    pub fn read_only(&mut self, sql: &str) -> Served {
        assert_eq!(self.silent("BEGIN READ ONLY").status(), 'T');
        let served = self.query(sql);
        assert_eq!(self.silent("COMMIT").status(), 'I');
        served
    }

    /// Waits until nothing that is asked behind its last transaction keeps its server connection.
    pub fn rests(&mut self) {
        eventually("its next transaction has a server of its own", || {
            served(&self.0.query("SELECT 1")).is_some()
        });
    }

    /// What begins nothing at a server.
    pub fn silent(&mut self, sql: &str) -> Reply {
        let reply = self.0.query(sql);
        assert_eq!(served(&reply), None, "{sql} {reply:?}");
        reply
    }
}
