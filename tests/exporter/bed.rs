//! Starts PostgreSQL and the proxy and runs `tests/exporter/compare.py`, which puts PgBouncer beside
//! them.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};
use tenantry::app::{self, Outside};
use tenantry::config::Source;
use tenantry::demo::cluster::Cluster;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("exporter: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let server = Cluster::builder().max_connections(60).start()?;
    server.psql("postgres", "create role app login password 'secret'")?;
    server.psql("postgres", "create database acme owner app")?;
    let text = format!(
        r#"
[server]
listen = ["127.0.0.1:0"]
workers = 2
[auth]
secret = "a secret of the tests"
[console]
users = [{{ name = "admin", password = "secret", role = "admin" }}]
[pool]
size = 20
[[cluster]]
name = "main"
primary = "127.0.0.1:{}"
[[tenant]]
slug = "acme"
cluster = "main"
database = "acme"
user = "app"
password = "secret"
roles = [{{ name = "app", password = "secret" }}]
"#,
        server.port()
    );
    let files = tempfile::tempdir()?;
    let file = files.path().join("proxy.toml");
    std::fs::write(&file, text)?;
    let (source, config) = Source::open(&file)?;
    let outside = Outside {
        source: Some(source),
        logs: None,
        ..Outside::default()
    };
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let proxy = std::thread::spawn(move || {
        // Nobody listens any more if the script has ended before.
        app::serve(config, outside, |app| {
            let _gone = tell.send(app.tcp_address());
        })
    });
    let address = told.recv().ok().flatten().context("the proxy starts")?;
    // Debian's own Python: the exporter and its driver are installed for that.
    let status = Command::new("/usr/bin/python3")
        .arg("tests/exporter/compare.py")
        .env("SERVER_PORT", server.port().to_string())
        .env("TENANTRY_PORT", address.port().to_string())
        .status()
        .context("tests/exporter/compare.py")?;
    ensure!(status.success(), "compare.py failed");
    // Its last command was SHUTDOWN.
    let ended = proxy.join();
    ensure!(
        matches!(ended, Ok(Ok(()))),
        "the proxy ended with {ended:?}"
    );
    Ok(())
}
