//! tokio-postgres with its defaults against the target that the environment names (PGHOST, PGPORT,
//! PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE, PGSSLROOTCERT).
//!
//! Requests of one client are pipelined by polling them together; prepared statements have names
//! that count up from `s0` in each process. Lacks: the function call protocol and a COPY out that is
//! cancelled, which the driver does not offer.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

mod check;
mod sessions;
mod statements;
mod tls;

use check::connect;

/// How long the whole run may take.
const OVERALL: Duration = Duration::from_secs(120);

async fn setup() -> Result<()> {
    connect()
        .await?
        .batch_execute(
            "drop table if exists drv_tokio, drv_tokio_copy, drv_tokio_conc;
             create table drv_tokio (id int primary key, name text);
             create table drv_tokio_copy (id int primary key, name text);
             create table drv_tokio_conc (mark text, n int)",
        )
        .await?;
    Ok(())
}

async fn cleanup() -> Result<()> {
    connect()
        .await?
        .batch_execute("drop table drv_tokio, drv_tokio_copy, drv_tokio_conc")
        .await?;
    Ok(())
}

/// All sections, in order.
async fn run() -> Result<()> {
    setup().await.context("setup")?;
    statements::values().await.context("values")?;
    statements::prepared().await.context("prepared")?;
    statements::pipelines().await.context("pipelines")?;
    statements::copy().await.context("copy")?;
    sessions::cancellation().await.context("cancellation")?;
    statements::cursors().await.context("cursors")?;
    sessions::timeouts().await.context("timeouts")?;
    statements::large_objects().await.context("large_objects")?;
    statements::failures().await.context("failures")?;
    sessions::session_state().await.context("session_state")?;
    sessions::transactions().await.context("transactions")?;
    sessions::concurrency().await.context("concurrency")?;
    cleanup().await.context("cleanup")
}

#[tokio::main]
async fn main() {
    let outcome = tokio::time::timeout(OVERALL, run()).await;
    match outcome.unwrap_or_else(|_| Err(anyhow!("not done within {OVERALL:?}"))) {
        Ok(()) => println!("ok tokio-postgres: {} checks", check::count()),
        Err(error) => {
            println!("FAILED tokio-postgres: {error:#}");
            std::process::exit(1);
        }
    }
}
