//! A proxy in this process, from a configuration written as TOML.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use tenantry::app::App;
use tenantry::config::{self, Config};

use super::client::Client;
use super::postgres::Database;

/// A configuration in the making.
#[derive(Debug, Clone)]
pub struct Toml {
    server: String,
    auth: String,
    pool: String,
    rest: String,
}

impl Default for Toml {
    fn default() -> Self {
        Self {
            server: "listen = ['127.0.0.1:0']\nworkers = 1\n".into(),
            auth: "secret = 'of the tests, long enough for salts'\n".into(),
            pool: String::new(),
            rest: String::new(),
        }
    }
}

impl Toml {
    /// Lines of `[server]`.
    #[must_use]
    pub fn server(mut self, lines: &str) -> Self {
        self.server += &format!("{lines}\n");
        self
    }

    /// Lines of `[pool]`, which hold for all tenants.
    #[must_use]
    pub fn pool(mut self, lines: &str) -> Self {
        self.pool += &format!("{lines}\n");
        self
    }

    /// Whole tables.
    #[must_use]
    pub fn tables(mut self, lines: &str) -> Self {
        self.rest += &format!("{lines}\n");
        self
    }

    /// A cluster without TLS on 127.0.0.1.
    #[must_use]
    pub fn cluster(mut self, name: &str, port: u16, lines: &str) -> Self {
        writeln!(
            self.rest,
            "[[cluster]]\nname = '{name}'\nprimary = '127.0.0.1:{port}'\ntls = 'disable'\n{lines}"
        )
        .expect("a String takes all");
        self
    }

    /// A tenant with the role `app`, whose password is [`Client::PASSWORD`].
    #[must_use]
    pub fn tenant(mut self, slug: &str, cluster: &str, database: &Database, lines: &str) -> Self {
        let (name, server_password) = (&database.name, Database::PASSWORD);
        writeln!(
            self.rest,
            "[[tenant]]\nslug = '{slug}'\ncluster = '{cluster}'\ndatabase = '{name}'\n\
             user = '{name}'\npassword = '{server_password}'\n\
             roles = [{{ name = 'app', password = '{}' }}]\n{lines}",
            Client::PASSWORD
        )
        .expect("a String takes all");
        self
    }

    /// The whole text.
    pub fn text(&self) -> String {
        format!(
            "[server]\n{}[auth]\n{}[pool]\n{}{}",
            self.server, self.auth, self.pool, self.rest
        )
    }

    /// Starts a proxy.
    pub fn start(&self) -> Proxy {
        Proxy::start(&self.text())
    }
}

/// A proxy that serves until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// The proxy itself.
    pub app: App,
}

impl Proxy {
    /// Starts one. The text must have a TCP listener; port 0 is the way.
    pub fn start(toml: &str) -> Self {
        let app = App::start(parse(toml)).expect("the proxy starts");
        Self { app }
    }

    /// One cluster `main`, one tenant named as the database, and lines of `[pool]`.
    pub fn of(database: &Database, pool: &str) -> Self {
        Toml::default()
            .pool(pool)
            .cluster("main", database.port, "")
            .tenant(&database.name, "main", database, "")
            .start()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.app.tcp_address().expect("there is a TCP listener")
    }

    /// Applies another configuration.
    pub fn reload(&self, toml: &str) {
        self.app.reload(parse(toml)).expect("the reload works");
    }

    /// Logs a client in as `app` of the tenant.
    pub fn client(&self, tenant: &str) -> Client {
        self.client_with(tenant, &[])
    }

    /// Logs a client in with startup parameters.
    pub fn client_with(&self, tenant: &str, parameters: &[(&str, &str)]) -> Client {
        Client::connect(self.address(), tenant, parameters).expect("the login works")
    }
}

fn parse(toml: &str) -> Config {
    config::parse(toml, Path::new("test.toml"), &|_| None).unwrap_or_else(|e| panic!("{e}\n{toml}"))
}
