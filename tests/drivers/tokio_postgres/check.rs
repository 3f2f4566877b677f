//! Exact checks that are counted, waits with an end, and clients of the target.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use tokio_postgres::{Client, Error};

use crate::tls;

/// How long one wait may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many checks held.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// How many checks held so far.
pub(super) fn count() -> usize {
    COUNT.load(Ordering::Relaxed)
}

/// `got` is exactly `want`.
pub(super) fn equal<T: PartialEq + std::fmt::Debug>(got: T, want: T, what: &str) -> Result<()> {
    COUNT.fetch_add(1, Ordering::Relaxed);
    ensure!(got == want, "{what}: got {got:.300?}, want {want:.300?}");
    Ok(())
}

/// The request fails with this SQLSTATE.
pub(super) async fn fails<T>(
    want: &str,
    what: &str,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<()> {
    match within(what, request).await? {
        Ok(_) => bail!("{what}: succeeded, want SQLSTATE {want}"),
        Err(error) => equal(
            error.code().map(|code| code.code()),
            Some(want),
            &format!("{what} ({error})"),
        ),
    }
}

/// Waits, but not for ever.
pub(super) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, wait)
        .await
        .map_err(|_| anyhow!("{what}: not within {PATIENCE:?}"))
}

/// A client of the target.
pub(super) async fn connect() -> Result<Client> {
    connect_with("").await
}

/// A client with startup `options`.
pub(super) async fn connect_with(options: &str) -> Result<Client> {
    let (config, connector) = tls::target(options)?;
    let (client, connection) = within("connect", config.connect(connector)).await??;
    tokio::spawn(connection);
    Ok(client)
}
