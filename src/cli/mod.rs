//! The command line: which command was meant, which file holds the configuration, how it ended.
//!
//! One file a command family; each calls the library and none holds logic. Exit codes: 0 done,
//! 1 failed, 2 bad usage or configuration. Results go to standard output, the rest to standard
//! error.

pub mod check;
mod demo;
mod ping;
mod serve;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde_json::json;

use crate::app::Faults;
use crate::config::{ConfigError, ConfigErrors};

/// Where the configuration is looked for when nobody says where it is.
const USUAL_PLACES: [&str; 2] = ["proxy.toml", "/etc/tenantry/proxy.toml"];

/// One PostgreSQL endpoint in front of every tenant's database.
#[derive(Debug, Parser)]
#[command(name = "tenantry", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients until SIGTERM or Ctrl-C, which let transactions finish
    Serve(ConfigArg),
    /// Say whether the configuration is right, and if not, what is wrong where
    Check(CheckArgs),
    /// Ask a running Tenantry for a sign of life (for health checks)
    Ping(ping::PingArgs),
    /// Start throw-away PostgreSQL servers with three tenants and serve them until Ctrl-C
    Demo,
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct ConfigArg {
    /// Configuration file [default: ./proxy.toml, else /etc/tenantry/proxy.toml]
    #[arg(long, value_name = "PATH", env = "TENANTRY_CONFIG")]
    config: Option<PathBuf>,
}

/// What to check, and for whom.
#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// How a command ended, if not well.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The configuration names files that do not serve.
    #[error("{0}")]
    Unusable(#[from] Faults),
    /// No configuration was named, and there is none where it is looked for.
    #[error(
        "no configuration: give --config PATH, set TENANTRY_CONFIG, or write ./proxy.toml \
         or /etc/tenantry/proxy.toml"
    )]
    NoConfig,
    /// The command was well meant and failed.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
    /// As `Failed`, and the command has said so itself.
    #[error("failed")]
    Reported(u8),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Unusable(_) | Self::NoConfig => 2,
            Self::Failed(_) => 1,
            Self::Reported(code) => *code,
        }
    }
}

impl ConfigArg {
    /// The file that was named, else the first of the usual ones that exists.
    fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.config {
            return Ok(path.clone());
        }
        let usual = USUAL_PLACES
            .into_iter()
            .map(Path::new)
            .find(|path| path.exists());
        usual.map(Path::to_owned).ok_or(Failure::NoConfig)
    }
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::main(&args),
        Command::Check(args) => check_file(&args),
        Command::Ping(args) => ping::main(&args),
        Command::Demo => demo::main(),
    };
    let Err(failure) = result else {
        return ExitCode::SUCCESS;
    };
    if !matches!(failure, Failure::Reported(_)) {
        eprintln!("tenantry: {failure}");
    }
    ExitCode::from(failure.code())
}

fn check_file(args: &CheckArgs) -> Result<(), Failure> {
    let path = args.config.path()?;
    match check::check(&path) {
        Ok(report) if args.json => println!("{}", json!({ "ok": true, "report": report })),
        Ok(report) => println!("{report}"),
        Err(errors) if args.json => {
            let errors: Vec<_> = errors.iter().map(mistake).collect();
            println!(
                "{}",
                json!({ "ok": false, "file": path.display().to_string(), "errors": errors })
            );
            return Err(Failure::Reported(2));
        }
        Err(errors) => return Err(errors.into()),
    }
    Ok(())
}

fn mistake(error: &ConfigError) -> serde_json::Value {
    let (line, column) = error.position.unzip();
    json!({ "line": line, "column": column, "key": error.path, "message": error.message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_named_file_wins_even_if_it_is_missing() {
        let arg = ConfigArg {
            config: Some("/nonexistent/proxy.toml".into()),
        };
        assert_eq!(
            arg.path().expect("as named"),
            Path::new("/nonexistent/proxy.toml")
        );
    }

    #[test]
    fn exit_codes_tell_configuration_from_failure() {
        let config = ConfigErrors::about(Path::new("proxy.toml"), "no cluster");
        assert_eq!(Failure::from(config).code(), 2);
        assert_eq!(Failure::NoConfig.code(), 2);
        assert_eq!(Failure::from(anyhow::anyhow!("no answer")).code(), 1);
    }
}
