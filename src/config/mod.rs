//! The configuration as typed values: what `proxy.toml` says, checked and with every default filled in.
//!
//! [`mod@file`] mirrors the text; here nothing is optional that has a default, names are resolved,
//! secrets are loaded. A [`Config`] that exists is valid.

mod checks;
mod cluster;
mod console;
mod defaults;
mod descriptors;
mod errors;
pub mod file;
mod keys;
mod overrides;
mod pool;
mod reader;
mod routing;
mod server;
mod show;
mod source;
mod tenant;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use defaults::{
    ApplicationName, Balance, Consistency, MaxLag, NoReplica, PoolMode, PoolSettings, Reads,
    Replication, ResetWhen, RoutingSettings, StateMode,
};
pub use descriptors::descriptors;
pub use errors::{ConfigError, ConfigErrors};
pub use file::{load, parse};
pub use overrides::{Override, OverrideError};
pub use show::{Difference, Row, differences, keep_until_restart, show};
pub use source::{Adopted, Digest, Draft, Files, Source};

use crate::types::{ClusterName, DbName, NodeAddr, RoleName, Secret, Slug};

/// Everything `proxy.toml` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[auth]`
    pub auth: Auth,
    /// `[log]`
    pub log: Log,
    /// `[console]`
    pub console: Console,
    /// `[pool]`: what holds for tenants that say nothing else.
    pub pool: PoolSettings,
    /// `[routing]`: what holds for tenants that say nothing else.
    pub routing: RoutingSettings,
    /// `[[cluster]]`, sorted by name.
    pub clusters: Vec<Arc<Cluster>>,
    /// `[[tenant]]`, sorted by slug.
    pub tenants: Vec<TenantConfig>,
}

impl Config {
    /// Each node, and how many server connections it gives us: where clusters share it, the smallest
    /// number holds.
    pub fn budgets(&self) -> BTreeMap<&NodeAddr, usize> {
        let mut budgets = BTreeMap::new();
        for cluster in &self.clusters {
            for node in cluster.nodes() {
                let budget = budgets.entry(node).or_insert(cluster.max_connections);
                *budget = cluster.max_connections.min(*budget);
            }
        }
        budgets
    }

    /// What is wrong with the listeners' methods, if anything: for a configuration that keeps
    /// listeners of a former one.
    ///
    /// # Errors
    /// The first listener whose method does not fit its address and TLS, and why.
    pub fn check_listeners(&self) -> Result<(), String> {
        checks::listeners_fit(&self.server, self.auth.method)
    }
}

/// `[server]`: how clients reach us.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Where to listen; at least one.
    pub listen: Vec<Listener>,
    /// Where metrics and health are served over HTTP; `None`: nowhere.
    pub http: Option<SocketAddr>,
    /// Worker threads; already resolved, at least 1.
    pub workers: usize,
    /// Clients of the whole proxy.
    pub max_clients: usize,
    /// From accept to the end of the login.
    pub login_timeout: Duration,
    /// How long SIGTERM lets transactions finish.
    pub drain_timeout: Duration,
    /// Who passes clients on, and says so.
    pub proxy_protocol: ProxyProtocol,
    /// TCP connections on both sides that are silent so long are asked whether they are alive;
    /// zero: they are not.
    pub keepalive: Duration,
    /// Where the next process takes over from this one.
    pub takeover: Option<PathBuf>,
    /// `[server.tls]`
    pub tls: ServerTls,
}

/// `proxy_protocol` and `proxy_protocol_sources`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Whether it is spoken.
    pub mode: ProxyMode,
    /// Who speaks it; at least one network where the mode is `Required`.
    pub sources: Vec<IpNet>,
}

/// Whether TCP connections begin with a header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyMode {
    /// None does.
    Off,
    /// All do, and all come from the sources.
    Required,
}

/// One listening address with its own settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: ListenAddr,
    /// Overrides `[auth] method`.
    pub method: Option<AuthMethod>,
    /// Whom its clients ask for.
    pub route: Route,
}

/// What clients of a listener ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Route {
    /// The primary; some of their reads may go to replicas.
    #[default]
    Primary,
    /// A standby, for all that they do.
    Replica,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// `127.0.0.1:6432`; port 0 picks a free one.
    Tcp(SocketAddr),
    /// `unix:/run/tenantry`: the directory of `.s.PGSQL.<port>`, where the port is the first TCP
    /// listener's, or 6432 without one (a path that ends in `.s.PGSQL.N` is taken as it is).
    Unix(PathBuf),
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[server.tls]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// Whether clients may, must or cannot use TLS.
    pub mode: ClientTlsMode,
    /// Certificate chain, PEM; set unless `mode` is `Disable`.
    pub certificate: Option<PathBuf>,
    /// Key, PEM; set unless `mode` is `Disable`.
    pub private_key: Option<PathBuf>,
    /// Who signs client certificates, PEM.
    pub client_ca: Option<PathBuf>,
    /// Certificate revocation list, PEM.
    pub crl: Option<PathBuf>,
    /// The tenant is the first label of a TLS server name below this, e.g. `db.example.com`.
    pub domain: Option<String>,
}

/// TLS towards clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientTlsMode {
    /// SSLRequest is answered `N`.
    Disable,
    /// The client chooses. Without `certificate` in the file the mode is `Disable`.
    Allow,
    /// Plain connections are refused.
    Require,
    /// `Require`, and the client must show a certificate signed by `client_ca`.
    VerifyClient,
}

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// How clients prove who they are.
    pub method: AuthMethod,
    /// Derives the salts of mock verifiers; `None`: random at each start, with a warning.
    pub secret: Option<Secret>,
}

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// SCRAM-SHA-256, over TLS also -PLUS.
    ScramSha256,
    /// MD5, for fleets with old verifiers.
    Md5,
    /// A TLS client certificate whose CN or SAN is role.tenant.
    Cert,
    /// No proof; on loopback and Unix listeners only.
    Trust,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// A `tracing` filter such as `info` or `tenantry=debug`.
    pub level: String,
    /// Transactions that take as long or longer are logged; zero: none.
    pub slow: Duration,
    /// Whether SQL text may appear.
    pub statements: Statements,
}

/// Whether SQL text may appear in logs: it may hold what nobody should read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statements {
    /// It may not.
    Hidden,
    /// It may.
    Shown,
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[console]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Console {
    /// Who may log in to the console; nobody where it is empty.
    pub users: Vec<ConsoleUser>,
}

/// Who may log in to the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleUser {
    /// Distinct from those of the other users.
    pub name: RoleName,
    /// A plain secret, `md5<32 hex>` or `SCRAM-SHA-256$..`.
    pub password: Secret,
    /// What it may do there.
    pub role: ConsoleRole,
}

/// What a user of the console may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleRole {
    /// Everything.
    Admin,
    /// Look, but change nothing.
    Stats,
}

/// `[[cluster]]`: where tenants live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// The read-write node.
    pub primary: NodeAddr,
    /// Its standbys. Which node is the primary in truth is found out.
    pub replicas: Vec<Replica>,
    /// Cap of server connections per node over all tenants; where clusters share a node, the
    /// smallest of theirs, already resolved.
    pub max_connections: usize,
    /// TLS towards the nodes.
    pub tls: UpstreamTls,
    /// Who looks after the nodes; without it, probes use a tenant's login.
    pub monitor: Option<Monitor>,
    /// How often each node is asked how it is.
    pub probe_interval: Duration,
}

impl Cluster {
    /// Whether connections to another version of it are others than to this one.
    pub fn leads_elsewhere(&self, other: &Self) -> bool {
        self.name != other.name || self.primary != other.primary || self.tls != other.tls
    }

    /// Its nodes, the primary first.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeAddr> {
        std::iter::once(&self.primary).chain(self.replicas.iter().map(|r| &r.node))
    }
}

/// A standby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Where.
    pub node: NodeAddr,
    /// Its share of the reads, beside those of the others.
    pub weight: u32,
}

/// `monitor_url`: a login that may ask nodes how they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// The server role.
    pub role: RoleName,
    /// Its password; `None` where the server wants none.
    pub password: Option<Secret>,
    /// The database to connect to.
    pub database: DbName,
}

/// TLS towards servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// As libpq's sslmode.
    pub mode: UpstreamTlsMode,
    /// Who signs server certificates, PEM; without it the system's roots.
    pub ca: Option<PathBuf>,
    /// Our certificate and key, PEM, towards servers that ask for one.
    pub client_identity: Option<(PathBuf, PathBuf)>,
}

/// As libpq's sslmode (manual, 34.19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamTlsMode {
    /// Never TLS.
    Disable,
    /// TLS if the server has it, else plain.
    Prefer,
    /// TLS; with `ca` the chain is checked too, as libpq does.
    Require,
    /// TLS with a checked chain.
    VerifyCa,
    /// TLS with a checked chain and host name.
    VerifyFull,
}

/// `[[tenant]]`
#[derive(Debug, Clone, PartialEq)]
pub struct TenantConfig {
    /// Its short name.
    pub slug: Slug,
    /// Where it lives.
    pub cluster: Arc<Cluster>,
    /// Its database there.
    pub database: DbName,
    /// What we sign in as; `None`: the client's own role and key.
    pub login: Option<ServerLogin>,
    /// Whether it is served.
    pub status: TenantStatus,
    /// What clients log in as.
    pub roles: Vec<Role>,
    /// `[pool]` with the tenant's overrides.
    pub pool: PoolSettings,
    /// `[routing]` with the tenant's overrides.
    pub routing: RoutingSettings,
    /// Where clients may come from; empty: everywhere. Unix sockets count as 127.0.0.1.
    pub allowed_networks: Vec<IpNet>,
}

/// Stored credentials for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLogin {
    /// The server role.
    pub role: RoleName,
    /// Its password; `None` where the server wants none (trust, cert).
    pub password: Option<Secret>,
}

/// Whether a tenant is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantStatus {
    /// Served.
    Active,
    /// Refused with 57P03.
    Suspended,
    /// Clients wait, up to `acquire_timeout`.
    Paused,
}

/// What a client logs in as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name; a tenant's are distinct.
    pub name: RoleName,
    /// A plain secret, `md5<32 hex>` or `SCRAM-SHA-256$..`; `None`: only certificates get in.
    pub password: Option<Secret>,
}

#[cfg(test)]
mod documented_tests;
#[cfg(test)]
mod tests;
