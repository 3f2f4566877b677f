//! The tenants of the demo: a database and a server role each, closed to all others.
//!
//! PostgreSQL lets PUBLIC connect to every new database; here that is revoked. The server role
//! owns its database and is nobody else's; clients log in to the proxy as `app` and never learn
//! its password.

use std::thread;

use postgres_protocol::password::scram_sha_256;

use super::DemoError;
use super::cluster::{Cluster, ClusterError, random_password};
use crate::types::{Secret, Slug};

/// Asks the servers how they are.
pub(super) const MONITOR: &str = "monitor";

/// What the clients of each tenant log in as.
pub(super) const ROLE: &str = "app";

/// One tenant with its secrets.
pub(super) struct SampleTenant {
    pub(super) slug: Slug,
    /// Of the server role; only the proxy uses it.
    pub(super) server_password: Secret,
    /// Of [`ROLE`].
    pub(super) client_password: Secret,
}

impl SampleTenant {
    fn new(slug: &str) -> Result<Self, DemoError> {
        Ok(Self {
            slug: Slug::parse(slug)?,
            server_password: random_password()?,
            client_password: random_password()?,
        })
    }

    /// Database and server role.
    fn database(&self) -> String {
        format!("tenant_{}", self.slug)
    }

    /// Its `[[tenant]]` table; of the client's password only the verifier is written.
    pub(super) fn to_toml(&self) -> String {
        let name = self.database();
        let verifier = scram_sha_256(self.client_password.expose().as_bytes());
        format!(
            "\n[[tenant]]\nslug = \"{}\"\ncluster = \"demo\"\ndatabase = \"{name}\"\n\
             user = \"{name}\"\npassword = \"{}\"\n\
             roles = [{{ name = \"{ROLE}\", password = \"{verifier}\" }}]\n",
            self.slug,
            self.server_password.expose()
        )
    }

    /// The names are fixed slugs and the passwords hexadecimal: nothing needs an escape.
    fn create(&self, primary: &Cluster) -> Result<(), ClusterError> {
        let name = self.database();
        let password = self.server_password.expose();
        primary.psql(
            "postgres",
            &format!(
                "create role {name} login password '{password}';\n\
                 create database {name} owner {name};\n\
                 revoke all on database {name} from public;"
            ),
        )?;
        let mut pgbench = primary.command("pgbench");
        pgbench.args(["-i", "-q", "-s", "1", "-U", &name, &name]);
        super::cluster::run(pgbench, "pgbench", b"").map(drop)
    }
}

/// Creates [`MONITOR`] and returns its password.
pub(super) fn monitor(primary: &Cluster) -> Result<Secret, DemoError> {
    let password = random_password()?;
    let sql = format!(
        "create role {MONITOR} login password '{}' in role pg_monitor;\n\
         grant connect on database postgres to {MONITOR};",
        password.expose()
    );
    primary.psql("postgres", &sql)?;
    Ok(password)
}

/// Creates all tenants, at once: most of the time is waiting for the server.
pub(super) fn provision(primary: &Cluster) -> Result<Vec<SampleTenant>, DemoError> {
    primary.psql(
        "postgres",
        "revoke connect on database postgres, template1 from public",
    )?;
    let tenants: Vec<SampleTenant> = ["acme", "globex", "initech"]
        .into_iter()
        .map(SampleTenant::new)
        .collect::<Result<_, _>>()?;
    thread::scope(|scope| {
        let running: Vec<_> = tenants
            .iter()
            .map(|tenant| scope.spawn(|| tenant.create(primary)))
            .collect();
        running
            .into_iter()
            .try_for_each(|thread| thread.join().expect("create does not panic"))
    })?;
    Ok(tenants)
}
