//! Starts PostgreSQL and a standby with the tenant of `docs/operations.md` and runs `tests/operations/follow.py`,
//! which does what that page says.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};
use tenantry::demo::cluster::Cluster;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("operations: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn pid(server: &Cluster) -> anyhow::Result<String> {
    Ok(server.pid().context("it runs")?.to_string())
}

fn run() -> anyhow::Result<()> {
    let server = Cluster::builder().max_connections(70).start()?;
    let role = "create role tenant_acme login password 'server-secret'";
    server.psql("postgres", role)?;
    server.psql("postgres", "create database tenant_acme owner tenant_acme")?;
    let standby = server.start_replica()?;
    // Beside this program's own folder.
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::parent).context("a folder")?;
    let status = Command::new("python3")
        .arg("tests/operations/follow.py")
        .env("SERVER_PORT", server.port().to_string())
        .env("SERVER_PID", pid(&server)?)
        .env("STANDBY_PORT", standby.port().to_string())
        .env("STANDBY_SOCKET", standby.socket_dir())
        .env("TENANTRY_BINARY", folder.join("tenantry"))
        .status()
        .context("tests/operations/follow.py")?;
    ensure!(status.success(), "follow.py failed");
    Ok(())
}
