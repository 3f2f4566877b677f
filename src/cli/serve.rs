//! `tenantry serve`: reads the configuration, sets up logs and runs the proxy.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, anyhow};
use tracing::warn;
use tracing_subscriber::EnvFilter;

use super::check::warnings;
use super::{ConfigArg, Failure};
use crate::app::{self, AppError};
use crate::config::{self, Log, LogFormat};

pub(super) fn main(args: &ConfigArg) -> Result<(), Failure> {
    serve(&args.path()?, || {})
}

/// Serves the configuration of a file until SIGTERM or SIGINT; `started` is called when clients
/// can connect.
pub(super) fn serve(path: &Path, started: impl FnOnce()) -> Result<(), Failure> {
    let config = config::load(path)?;
    log_to_stderr(&config.log)?;
    for warning in warnings(&config) {
        warn!("{warning}");
    }
    app::serve(path, config, |_| started()).map_err(|error| match error {
        AppError::Config(errors) => Failure::Config(errors),
        AppError::Settings(error) => Failure::Settings(error),
        error @ (AppError::Listen(..) | AppError::Start(_)) => Failure::Failed(error.into()),
    })
}

fn log_to_stderr(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&log.level).context("[log] level")?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let set = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    set.map_err(|error| anyhow!("setting up logs: {error}").into())
}
