//! `tenantry demo`: a primary, a streaming replica that serves reads, and three tenants, ready to be
//! served.
//!
//! [`Demo::prepare`] leaves a directory with a `proxy.toml` and a certificate, and running
//! servers; serving is the caller's part. All of it goes away with the [`Demo`], or with the
//! process ([`ScratchDir`]). The submodules also start servers for the tests and the benchmarks.
//! Nothing here is fit to keep data: the servers run without fsync.

mod binaries;
pub mod cluster;
mod scratch;
mod tenants;

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use self::cluster::{Binaries, Cluster, ClusterError, random_password};
use self::tenants::{MONITOR, ROLE, SampleTenant};
use crate::types::{Secret, SlugError};

pub use self::scratch::ScratchDir;

/// Where a user of PgBouncer looks first; another port is taken if it is in use.
const USUAL_PORT: u16 = 6432;

/// For metrics and health; another one is taken if it is in use.
const USUAL_HTTP_PORT: u16 = 9432;

/// Who may do everything in the console.
const ADMIN: &str = "admin";

/// A demo could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Of the servers.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Of a file or a port.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Of the proxy's certificate.
    #[error("making a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Of a tenant's name.
    #[error(transparent)]
    Slug(#[from] SlugError),
}

/// Servers with three tenants, and the configuration of a proxy in front of them. Shown, it is
/// the lines to paste, with their passwords.
pub struct Demo {
    /// First to go: it follows the primary.
    replica: Cluster,
    primary: Cluster,
    dir: ScratchDir,
    port: u16,
    http: u16,
    tenants: Vec<SampleTenant>,
    /// Of the role that asks the servers how they are.
    monitor: Secret,
    /// Of the console's `admin`.
    console: Secret,
    clients: Clients,
}

/// How psql and pgbench are called: by name where a shell finds them, else by path.
struct Clients {
    psql: String,
    pgbench: String,
}

impl Demo {
    /// Starts the servers and fills them; says what it does as it goes. Takes some seconds.
    pub fn prepare(progress: impl Fn(&str)) -> Result<Self, DemoError> {
        let binaries = Binaries::find().map_err(ClusterError::from)?;
        progress(&format!("PostgreSQL from {}", binaries.dir().display()));
        let primary = Cluster::builder().start()?;
        progress(&format!("primary on 127.0.0.1:{}", primary.port()));
        let replica = primary.start_replica()?;
        progress(&format!(
            "streaming replica on 127.0.0.1:{}",
            replica.port()
        ));
        let tenants = tenants::provision(&primary)?;
        let monitor = tenants::monitor(&primary)?;
        replica.catch_up(&primary)?;
        progress("tenants acme, globex and initech, each with a database and pgbench tables");
        let dir = ScratchDir::new("tenantry-demo-").map_err(io_error("a temporary directory"))?;
        let port = free_port(USUAL_PORT).map_err(io_error("looking for a free port"))?;
        let http = free_port(USUAL_HTTP_PORT).map_err(io_error("looking for a free port"))?;
        let demo = Self {
            replica,
            primary,
            dir,
            port,
            http,
            tenants,
            monitor,
            console: random_password()?,
            clients: Clients::of(&binaries),
        };
        demo.write_certificate()?;
        demo.write_config()?;
        Ok(demo)
    }

    /// The `proxy.toml` to serve.
    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("proxy.toml")
    }

    /// Where the proxy is going to listen.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it is going to serve metrics and health.
    pub fn http_address(&self) -> String {
        format!("127.0.0.1:{}", self.http)
    }

    fn write_certificate(&self) -> Result<(), DemoError> {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names)?;
        self.write("server.crt", &made.cert.pem())?;
        self.write("server.key", &made.signing_key.serialize_pem())
    }

    fn write_config(&self) -> Result<(), DemoError> {
        let dir = self.dir.path().display();
        let mut text = format!(
            "[server]\nlisten = [\"{}\"]\nhttp = \"{}\"\nmax_clients = 2000\ndrain_timeout = \"2s\"\n\n\
             [server.tls]\nmode = \"allow\"\n\
             certificate = \"{dir}/server.crt\"\nprivate_key = \"{dir}/server.key\"\n\n\
             [auth]\nsecret = \"{}\"\n\n[log]\nlevel = \"warn\"\n\n\
             [console]\nusers = [{{ name = \"{ADMIN}\", password = \"{}\", role = \"admin\" }}]\n\n\
             [[cluster]]\nname = \"demo\"\nprimary = \"127.0.0.1:{}\"\n\
             replicas = [\"127.0.0.1:{}\"]\n\
             monitor_url = \"postgres://{MONITOR}:{}@/postgres\"\n\
             max_connections = 80\ntls = \"disable\"\n",
            self.address(),
            self.http_address(),
            random_password()?.expose(),
            self.console.expose(),
            self.primary.port(),
            self.replica.port(),
            self.monitor.expose(),
        );
        for tenant in &self.tenants {
            text.push_str(&tenant.to_toml());
        }
        self.write("proxy.toml", &text)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DemoError> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.dir.path().join(name))
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(io_error("writing the demo's files"))
    }

    fn url(&self, tenant: &SampleTenant) -> String {
        format!(
            "postgresql://{ROLE}:{}@{}/{}",
            tenant.client_password.expose(),
            self.address(),
            tenant.slug
        )
    }
}

impl fmt::Display for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Clients { psql, pgbench } = &self.clients;
        for tenant in &self.tenants {
            let url = self.url(tenant);
            writeln!(f, "{}\n  {psql} '{url}'", tenant.slug)?;
            writeln!(f, "  {pgbench} -n -S -c 8 -T 5 '{url}'\n")?;
        }
        if let Some(first) = self.tenants.first() {
            let url = self.url(first);
            writeln!(
                f,
                "Reads go to the replica where they say that they only read:\n  {psql} \
                 '{url}?options=-c%20default_transaction_read_only%3Don' -c 'SELECT pg_is_in_recovery()'\n"
            )?;
        }
        writeln!(
            f,
            "The console; SHOW HELP tells what there is:\n  {psql} 'postgresql://{ADMIN}:{}@{}/tenantry' \
             -c 'SHOW REPLICAS'\n",
            self.console.expose(),
            self.address()
        )?;
        writeln!(
            f,
            "TLS is used as libpq prefers; add ?sslmode=disable to a URL for none."
        )?;
        writeln!(f, "The servers themselves, as superuser:")?;
        for (name, server) in [("primary", &self.primary), ("replica", &self.replica)] {
            writeln!(f, "  {name}  {psql} '{}'", server.superuser_url("postgres"))?;
        }
        let http = self.http_address();
        writeln!(
            f,
            "Metrics: http://{http}/metrics, health: http://{http}/health/ready"
        )?;
        writeln!(f, "Configuration: {}", self.config_path().display())
    }
}

impl Clients {
    fn of(binaries: &Binaries) -> Self {
        let call = |program: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            if std::env::split_paths(&path).any(|dir| is_program(&dir.join(program))) {
                return program.to_owned();
            }
            binaries.dir().join(program).display().to_string()
        };
        Self {
            psql: call("psql"),
            pgbench: call("pgbench"),
        }
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file())
}

fn free_port(usual: u16) -> io::Result<u16> {
    let listener =
        TcpListener::bind(("127.0.0.1", usual)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)))?;
    Ok(listener.local_addr()?.port())
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> DemoError {
    move |source| DemoError::Io { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_has_three_tenants_that_cannot_reach_each_other() {
        let demo = Demo::prepare(|_| ()).expect("a demo");
        let login = |tenant: &SampleTenant, database: &str| {
            let url = format!(
                "postgresql://tenant_{}:{}@127.0.0.1:{}/{database}",
                tenant.slug,
                tenant.server_password.expose(),
                demo.primary.port()
            );
            let mut psql = demo.primary.command("psql");
            psql.args([
                "-X",
                "-w",
                "-A",
                "-t",
                "-c",
                "select count(*) from pgbench_accounts",
                &url,
            ]);
            let output = psql.output().expect("psql runs");
            output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let [acme, globex, initech] = &demo.tenants[..] else {
            panic!("three tenants")
        };
        assert_eq!(login(acme, "tenant_acme").as_deref(), Some("100000\n"));
        assert_eq!(
            login(initech, "tenant_initech").as_deref(),
            Some("100000\n")
        );
        assert_eq!(login(acme, "tenant_globex"), None);
        assert_eq!(login(globex, "postgres"), None);

        let shown = demo.to_string();
        assert_eq!(shown.matches("pgbench -n -S").count(), 3, "{shown}");
        assert_eq!(shown.matches("/metrics").count(), 1, "{shown}");
        assert_eq!(shown.matches("SHOW REPLICAS").count(), 1, "{shown}");
        let loaded = crate::config::load(&demo.config_path());
        let loaded = loaded.expect("a configuration that serves");
        assert_eq!(loaded.clusters[0].replicas.len(), 1);
        let config = fs::read_to_string(demo.config_path()).expect("a configuration");
        assert!(
            !config.contains(acme.client_password.expose()),
            "only a verifier is written"
        );
        let path = demo.config_path();
        drop(demo);
        assert!(!path.exists());
    }
}
