//! What the tests of logins share: a server with every method of authentication, one without TLS,
//! certificates, and proxies in front.

use std::fmt::Write as _;
use std::io;
use std::sync::OnceLock;

use tenantry::app::App;
use tenantry::config::{Config, ListenAddr};
use tenantry::demo::cluster::Cluster;

use super::client::{Address, Begin, Tls, Wire};
use super::login::{Attempt, Login, log_in};
use super::pki::{DOMAIN, Pki};

/// The password of everybody, on both sides.
pub(crate) const PASSWORD: &str = "pencil, =and= \u{e4}pple";

/// Databases, each of the tenant of that name but for the special ones.
const DATABASES: [&str; 10] = [
    "tenant_acme",
    "tenant_globex",
    "tenant_initech",
    "initech",
    "db_trust",
    "db_password",
    "db_md5",
    "db_scram",
    "db_cert",
    "db_own",
];

/// Names of server roles are their method; those named `own_..` are for clients' own keys.
const HBA: [&str; 6] = [
    "local all svc,scram,own_scram scram-sha-256",
    "host all trust,own_trust 127.0.0.1/32 trust",
    "host all password,own_password 127.0.0.1/32 password",
    "host all md5,own_md5 127.0.0.1/32 md5",
    "hostssl all cert 127.0.0.1/32 cert",
    "hostnossl all cert 127.0.0.1/32 reject",
];

/// PostgreSQL and files.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) postgres: Cluster,
    pub(crate) pki: Pki,
}

/// The world of this process; gone with it.
pub(crate) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let pki = Pki::new();
        let builder = HBA.iter().fold(Cluster::builder(), |b, line| b.hba(line));
        let builder = builder.tls(&pki.file("postgres.crt"), &pki.file("postgres.key"));
        let builder = builder.client_ca(&pki.file("ca.crt")).max_connections(300);
        let postgres = builder.start().expect("PostgreSQL starts");
        postgres
            .psql("postgres", &schema())
            .expect("roles and databases are made");
        World { postgres, pki }
    })
}

fn schema() -> String {
    let mut sql = String::new();
    for encryption in ["scram-sha-256", "md5"] {
        let _infallible = writeln!(sql, "SET password_encryption = '{encryption}';");
        let roles: &[&str] = match encryption {
            "md5" => &["md5", "own_md5"],
            _ => &[
                "svc",
                "trust",
                "own_trust",
                "password",
                "own_password",
                "scram",
                "own_scram",
            ],
        };
        for role in roles {
            let _infallible = writeln!(sql, "CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}';");
        }
    }
    sql += "CREATE ROLE cert LOGIN;\n";
    for database in DATABASES {
        let _infallible = writeln!(sql, "CREATE DATABASE {database};");
    }
    sql
}

/// `[server.tls] mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Disable,
    Allow,
    Require,
    VerifyClient,
}

/// `method` of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Scram,
    Md5,
    Cert,
    Trust,
}

impl Method {
    pub(crate) const ALL: [Self; 4] = [Self::Scram, Self::Md5, Self::Cert, Self::Trust];

    fn word(self) -> &'static str {
        match self {
            Self::Scram => "scram-sha-256",
            Self::Md5 => "md5",
            Self::Cert => "cert",
            Self::Trust => "trust",
        }
    }
}

/// A proxy with a TCP listener for each method, and a Unix socket for each but `cert`.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) app: App,
    listeners: Vec<(Method, Address)>,
    _sockets: tempfile::TempDir,
}

/// The proxy that most tests use: TLS allowed, all kinds of tenants.
pub(crate) fn proxy() -> &'static Proxy {
    static PROXY: OnceLock<Proxy> = OnceLock::new();
    PROXY.get_or_init(|| Proxy::start(Mode::Allow, "secret = \"salts\"", ""))
}

impl Proxy {
    /// `auth` are lines of `[auth]`, `server` of `[server]`.
    pub(crate) fn start(mode: Mode, auth: &str, server: &str) -> Self {
        let sockets = tempfile::tempdir().expect("a temporary directory");
        let mut listen = Vec::new();
        let mut methods = Vec::new();
        for method in Method::ALL {
            let word = method.word();
            if method != Method::Cert || mode != Mode::Disable {
                listen.push(format!(
                    "{{ address = \"127.0.0.1:0\", method = \"{word}\" }}"
                ));
                methods.push(method);
            }
            if method != Method::Cert {
                let path = sockets.path().join(word);
                std::fs::create_dir(&path).expect("a directory of the test");
                let path = path.display();
                listen.push(format!(
                    "{{ address = \"unix:{path}\", method = \"{word}\" }}"
                ));
                methods.push(method);
            }
        }
        let text = format!(
            "[server]\nworkers = 1\nlisten = [{}]\n{server}\n[auth]\n{auth}\n{}{}",
            listen.join(", "),
            server_tls(mode, &world().pki),
            tenants(),
        );
        let app = App::start(parse(&text)).expect("the proxy starts");
        let address = |a: &ListenAddr| match a {
            ListenAddr::Tcp(a) => Address::Tcp(*a),
            ListenAddr::Unix(path) => Address::Unix(path.clone()),
        };
        let listeners = methods
            .into_iter()
            .zip(app.addresses().iter().map(address))
            .collect();
        Self {
            app,
            listeners,
            _sockets: sockets,
        }
    }

    pub(crate) fn tcp(&self, method: Method) -> &Address {
        self.address(method, |a| matches!(a, Address::Tcp(_)))
            .expect("it listens")
    }

    pub(crate) fn unix(&self, method: Method) -> Option<&Address> {
        self.address(method, |a| matches!(a, Address::Unix(_)))
    }

    fn address(&self, method: Method, kind: fn(&Address) -> bool) -> Option<&Address> {
        let mut all = self.listeners.iter();
        all.find(|(m, address)| *m == method && kind(address))
            .map(|(_, address)| address)
    }

    /// Logs in by SCRAM over plain TCP.
    pub(crate) fn plain(&self, login: &Login<'_>) -> Attempt {
        let wire = Wire::plain(self.tcp(Method::Scram)).expect("it accepts");
        log_in(wire, login).expect("it answers")
    }

    /// Logs in over TLS.
    pub(crate) fn secure(
        &self,
        method: Method,
        tls: &Tls<'_>,
        login: &Login<'_>,
    ) -> io::Result<Attempt> {
        log_in(Wire::secure(self.tcp(method), tls)?, login)
    }
}

/// A proxy with a single listener, for SCRAM over plain TCP, and this in its file besides.
pub(crate) fn start_one(rest: &str) -> (App, Address) {
    let text = format!(
        "[server]\nworkers = 1\nlisten = [\"127.0.0.1:0\"]\n[auth]\nsecret = \"salts\"\n{rest}"
    );
    let app = App::start(parse(&text)).expect("the proxy starts");
    let address = Address::Tcp(app.tcp_address().expect("it listens"));
    (app, address)
}

/// TLS with this server name, after SSLRequest.
pub(crate) fn tls(server_name: &str) -> Tls<'_> {
    Tls {
        begin: Begin::Asked,
        server_name,
        identity: None,
        files: world().pki.path(),
    }
}

pub(crate) fn parse(text: &str) -> Config {
    let file = world().pki.file("proxy.toml");
    match tenantry::config::parse(text, &file, &|_| None) {
        Ok(config) => config,
        Err(errors) => panic!("{errors}\nin:\n{text}"),
    }
}

fn server_tls(mode: Mode, pki: &Pki) -> String {
    let mode = match mode {
        Mode::Disable => return String::new(),
        Mode::Allow => "allow",
        Mode::Require => "require",
        Mode::VerifyClient => "verify-client",
    };
    let file = |name: &str| pki.file(name).display().to_string();
    format!(
        "[server.tls]\nmode = \"{mode}\"\ndomain = \"{DOMAIN}\"\ncertificate = \"{}\"\n\
         private_key = \"{}\"\nclient_ca = \"{}\"\ncrl = \"{}\"\n",
        file("proxy.crt"),
        file("proxy.key"),
        file("ca.crt"),
        file("ca.crl"),
    )
}

/// The tenants: plain ones, one with odd names of roles, one whose database is another's slug, and
/// those that let nobody in.
fn tenants() -> String {
    let port = world().postgres.port();
    let mut text = format!(
        "[pool]\nsize = 2\n[[cluster]]\nname = \"main\"\nprimary = \"127.0.0.1:{port}\"\n\
         tls = \"disable\"\nmax_connections = 40\n"
    );
    let verifier = sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'svc'");
    let md5 = sql(&format!("SELECT 'md5' || md5('{PASSWORD}old')"));
    let app = format!("{{ name = \"app\", password = \"{PASSWORD}\" }}");
    let more = |name: &str, password: &str| {
        format!(", {{ name = \"{name}\", password = \"{password}\" }}")
    };
    let acme = format!(
        "{app}{}{}, {{ name = \"nothing\" }}",
        more("verified", &verifier),
        more("old", &md5)
    );
    let initech = format!(
        "{app}{}{}",
        more("joe@example.com", PASSWORD),
        more("app.globex", PASSWORD)
    );
    for (slug, database, roles, rest) in [
        ("acme", "tenant_acme", &acme, ""),
        ("globex", "tenant_globex", &app, ""),
        ("initech", "tenant_initech", &initech, ""),
        ("hooli", "initech", &app, ""),
        (
            "walled",
            "db_walled",
            &app,
            "allowed_networks = [\"192.0.2.0/24\"]",
        ),
        ("asleep", "db_asleep", &app, "status = \"suspended\""),
        ("full", "db_own", &app, "pool = { max_clients = 1 }"),
    ] {
        let _infallible = write!(
            text,
            "[[tenant]]\nslug = \"{slug}\"\ncluster = \"main\"\ndatabase = \"{database}\"\n\
             user = \"svc\"\npassword = \"{PASSWORD}\"\nroles = [{roles}]\n{rest}\n"
        );
    }
    text
}

/// One value from the server, as superuser.
pub(crate) fn sql(text: &str) -> String {
    world()
        .postgres
        .psql("postgres", text)
        .expect("the SQL of the test is right")
}
