//! Starts PostgreSQL and the proxy, and runs `tests/drivers/run` against both: directly, through
//! the proxy over TLS, (three of them) through the proxy in plain text, and through the proxy before
//! two replicas.
//!
//! Arguments are names of drivers; none means all.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tenantry::app::App;
use tenantry::demo::cluster::Cluster;

/// Fewer than the connections that the scripts open, so that they take turns.
const POOL: usize = 5;

/// Those that are also run through the proxy without TLS.
const PLAIN_TOO: &[&str] = &["psql", "psycopg", "console"];

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drivers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(names: &[String]) -> anyhow::Result<()> {
    let files = tempfile::tempdir()?;
    certificates(files.path())?;
    let server = Cluster::builder().max_connections(60).start()?;
    server.psql("postgres", "create role app login password 'direct'")?;
    server.psql("postgres", "create database appdb owner app")?;
    let config =
        tenantry::config::parse(&config(server.port()), &files.path().join("t"), &|_| None)?;
    let app = App::start(config)?;
    let address = app.tcp_address().context("a TCP address")?;

    let directly = Target {
        port: server.port(),
        password: "direct",
        database: "appdb",
    };
    let proxied = Target {
        port: address.port(),
        password: "client",
        database: "acme",
    };
    let mut failed = Vec::new();
    let (before_replicas, others): (Vec<String>, Vec<String>) =
        names.iter().cloned().partition(|name| name == "replicas");
    if before_replicas.is_empty() || !others.is_empty() {
        failed.extend(without_replicas(
            &others,
            (&directly, &proxied),
            files.path(),
        )?);
    }
    if chosen(names, "replicas") && !replicas(&server, files.path())? {
        failed.push("before replicas");
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join("; "));
    println!("drivers: passed directly and through the proxy");
    Ok(())
}

/// The drivers before one server, and what has failed.
fn without_replicas(
    names: &[String],
    (directly, proxied): (&Target, &Target),
    files: &Path,
) -> anyhow::Result<Vec<&'static str>> {
    let mut failed = Vec::new();
    let plain: Vec<String> = PLAIN_TOO
        .iter()
        .map(|n| (*n).to_owned())
        .filter(|n| chosen(names, n))
        .collect();
    if !scripts(
        "directly",
        directly,
        names,
        &[("DIRECT", "1"), ("PGSSLMODE", "disable")],
    )? {
        failed.push("directly");
    }
    let ca = files.join("ca.crt").display().to_string();
    let tls = [("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", ca.as_str())];
    if !scripts("through the proxy, TLS", proxied, names, &tls)? {
        failed.push("through the proxy, TLS");
    }
    if !plain.is_empty()
        && !scripts(
            "through the proxy",
            proxied,
            &plain,
            &[("PGSSLMODE", "disable")],
        )?
    {
        failed.push("through the proxy");
    }
    Ok(failed)
}

/// The drivers before two replicas of the same server.
fn replicas(primary: &Cluster, files: &Path) -> anyhow::Result<bool> {
    let [one, two] = [primary.start_replica()?, primary.start_replica()?];
    let replicas = format!(
        "replicas = [\"127.0.0.1:{}\", \"127.0.0.1:{}\"]\nmax_connections = 20",
        one.port(),
        two.port()
    );
    let text = config(primary.port())
        .replace("max_connections = 40", &replicas)
        .replace(
            "[[cluster]]",
            "[routing]\nconsistency = \"eventual\"\n[[cluster]]",
        );
    let config = tenantry::config::parse(&text, &files.join("t"), &|_| None)?;
    let app = App::start(config)?;
    let proxied = Target {
        port: app.tcp_address().context("a TCP address")?.port(),
        password: "client",
        database: "acme",
    };
    let port = primary.port().to_string();
    let plain = [("PGSSLMODE", "disable"), ("PRIMARY_PORT", port.as_str())];
    scripts(
        "before replicas",
        &proxied,
        &["replicas".to_owned()],
        &plain,
    )
}

/// Where scripts connect to.
struct Target {
    port: u16,
    password: &'static str,
    database: &'static str,
}

fn chosen(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|n| n == name)
}

fn scripts(
    what: &str,
    target: &Target,
    names: &[String],
    more: &[(&str, &str)],
) -> anyhow::Result<bool> {
    println!("drivers: {what}");
    let status = Command::new("tests/drivers/run")
        .args(names)
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", target.port.to_string())
        .env("PGUSER", "app")
        .env("PGPASSWORD", target.password)
        .env("PGDATABASE", target.database)
        .envs(more.iter().copied())
        .status()
        .context("tests/drivers/run")?;
    Ok(status.success())
}

fn config(port: u16) -> String {
    format!(
        r#"
[server]
listen = ["127.0.0.1:0"]
workers = 2
[server.tls]
mode = "allow"
certificate = "proxy.crt"
private_key = "proxy.key"
[auth]
secret = "a secret of the tests"
[console]
users = [{{ name = "operator", password = "client", role = "admin" }}]
[pool]
size = {POOL}
[[cluster]]
name = "main"
primary = "127.0.0.1:{port}"
max_connections = 40
[[tenant]]
slug = "acme"
cluster = "main"
database = "appdb"
user = "app"
password = "direct"
roles = [{{ name = "app", password = "client" }}]
"#
    )
}

/// An authority and, signed by it, the proxy's certificate: some drivers take no self-signed one.
fn certificates(dir: &Path) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "authority of the tests");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names)?;
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&key, &authority)?;
    std::fs::write(dir.join("ca.crt"), authority.pem())?;
    std::fs::write(dir.join("proxy.crt"), leaf.pem())?;
    std::fs::write(dir.join("proxy.key"), key.serialize_pem())?;
    Ok(())
}
