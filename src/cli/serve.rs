//! `tenantry serve`: reads the configuration, sets up logs and runs the proxy.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, anyhow};
use tracing::warn;

use super::check::warnings;
use super::{ConfigArg, Failure};
use crate::app::{self, AppError, Outside};
use crate::config::Source;
use crate::logs::Logs;
use crate::systemd;

pub(super) fn main(args: &ConfigArg) -> Result<(), Failure> {
    let path = args.path()?;
    // First of all: the environment is changed, and there are no threads yet.
    let sockets = systemd::sockets().context("the sockets of the service manager")?;
    serve(&path, sockets, || {})
}

/// Serves the configuration of a file until SIGTERM or SIGINT; `started` is called when clients
/// can connect.
pub(super) fn serve(
    path: &Path,
    sockets: Vec<OwnedFd>,
    started: impl FnOnce(),
) -> Result<(), Failure> {
    let (source, config) = Source::open(path)?;
    let logs = Logs::to_stderr(&config.log).map_err(|e| anyhow!("setting up logs: {e}"))?;
    for warning in warnings(&config) {
        warn!("{warning}");
    }
    let outside = Outside {
        source: Some(source),
        logs: Some(logs),
        sockets,
    };
    app::serve(config, outside, |_| started()).map_err(|error| match error {
        AppError::Config(errors) => Failure::Config(errors),
        AppError::Unusable(faults) => Failure::Unusable(faults),
        error @ (AppError::Listen(..)
        | AppError::Http(..)
        | AppError::Takeover(_)
        | AppError::Passed(_)
        | AppError::Start(_)) => Failure::Failed(error.into()),
    })
}
