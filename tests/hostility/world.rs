//! What the attacks are made against: a proxy as a process of its own, a real PostgreSQL, servers
//! that misbehave, and the bookkeeping of both.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tenantry::demo::cluster::Cluster;
use tokio::runtime::{Builder, Runtime};

use crate::pki::Pki;
use crate::servers::BadServers;
use crate::support::client::Client;
use crate::support::postgres::Database;
use crate::support::process::{ProxyProcess, cheap_verifier};

/// The tenant of the clients that keep to the rules.
pub(crate) const GOOD: &str = "good";

/// The tenant of those that do not.
pub(crate) const EVIL: &str = "evil";

/// Everything there is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) proxy: ProxyProcess,
    pub(crate) good: Database,
    /// A server of their own for the others: what they send may crash it.
    pub(crate) evil: Cluster,
    pub(crate) servers: BadServers,
    pub(crate) pki: Pki,
    pub(crate) runtime: Runtime,
    /// `server.login_timeout`.
    pub(crate) login_timeout: Duration,
    /// Between two bytes of the slow ones.
    pub(crate) tick: Duration,
    pub(crate) seed: u64,
}

impl World {
    pub(crate) fn new(seed: u64, login_timeout: Duration, tick: Duration) -> Self {
        raise_descriptor_limit();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let (good, evil) = (Database::fresh(), evil_server());
        let servers = runtime.block_on(async { BadServers::start() });
        let pki = Pki::new();
        let text = configuration(&good, evil.port(), &servers, &pki, login_timeout);
        let file = pki.file("proxy.toml");
        std::fs::write(&file, text).expect("the configuration is written");
        Self {
            proxy: ProxyProcess::start(&file),
            good,
            evil,
            servers,
            pki,
            runtime,
            login_timeout,
            tick,
            seed,
        }
    }

    /// Where the proxy listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// A file beside the certificates.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.pki.file(name);
        std::fs::write(&file, text).expect("a file of the test is written");
        file
    }
}

fn evil_server() -> Cluster {
    let server = Cluster::builder().start().expect("PostgreSQL starts");
    let sql = format!(
        "CREATE ROLE {EVIL} LOGIN PASSWORD '{}';",
        Database::PASSWORD
    );
    let owned = format!("CREATE DATABASE {EVIL} OWNER {EVIL}");
    let table = format!("SET ROLE {EVIL}; CREATE TABLE garbage (n int)");
    for (database, sql) in [("postgres", &sql), ("postgres", &owned), (EVIL, &table)] {
        server.psql(database, sql).expect("SQL of the test");
    }
    server
}

fn configuration(
    good: &Database,
    evil: u16,
    servers: &BadServers,
    pki: &Pki,
    login_timeout: Duration,
) -> String {
    let (certificate, key) = (pki.file("proxy.crt"), pki.file("proxy.key"));
    let mut text = format!(
        "[server]\nlisten = ['127.0.0.1:0']\nworkers = 2\nlogin_timeout = '{}ms'\n\
         [server.tls]\nmode = 'allow'\ncertificate = '{}'\nprivate_key = '{}'\n\
         [auth]\nsecret = 'of the tests, long enough for salts'\n\
         [pool]\nidle_timeout = '1s'\nconnect_timeout = '10s'\n",
        login_timeout.as_millis(),
        certificate.display(),
        key.display(),
    );
    text += &cluster("main", good.port);
    text += &tenant(GOOD, "main", good, "{ size = 4, min_size = 4 }");
    let database = Database {
        name: EVIL.to_owned(),
        port: evil,
    };
    text += &cluster(EVIL, evil);
    text += &tenant(EVIL, EVIL, &database, "{ size = 16 }");
    for (name, port) in servers.ports() {
        let database = Database {
            name: "any".to_owned(),
            port,
        };
        let pool =
            "{ size = 3, connect_timeout = '1s', acquire_timeout = '2s', query_timeout = '2s' }";
        text += &cluster(&name, port);
        text += &tenant(&name, &name, &database, pool);
    }
    text
}

/// A cluster of the configuration.
pub(crate) fn cluster(name: &str, port: u16) -> String {
    format!(
        "[[cluster]]\nname = '{name}'\nprimary = '127.0.0.1:{port}'\nmax_connections = 60\ntls = 'prefer'\n"
    )
}

/// A tenant of the configuration, whose role `app` has [`Client::PASSWORD`].
pub(crate) fn tenant(slug: &str, cluster: &str, database: &Database, pool: &str) -> String {
    let (name, secret) = (&database.name, Database::PASSWORD);
    let mut text = String::new();
    let written = writeln!(
        text,
        "[[tenant]]\nslug = '{slug}'\ncluster = '{cluster}'\ndatabase = '{name}'\nuser = '{name}'\n\
         password = '{secret}'\npool = {pool}\nroles = [{{ name = 'app', password = '{}' }}]",
        cheap_verifier(Client::PASSWORD)
    );
    written.expect("a String takes all");
    text
}

/// Ten thousand clients need as many descriptors here as there.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("Linux says so");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit may be raised");
}
