//! Throw-away PostgreSQL servers for `tenantry demo`, the tests and the benchmarks.
//!
//! Guarantees: each server has a free port of 127.0.0.1, a directory of its own and a superuser
//! `postgres`; it accepts connections when [`Builder::start`] returns; server and directory are
//! gone when the [`Cluster`] is dropped or its process ends, in whatever way. Durability is
//! switched off: nothing here is meant to survive a power cut. Calls block; they need no runtime.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

mod builder;
mod standby;

pub use self::builder::Builder;
pub use self::standby::Frozen;
pub use super::binaries::{Binaries, NotFound};
use super::scratch::ScratchDir;
use crate::types::Secret;

/// How long a server may take to start or stop: generous, for machines under load.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a server that starts or stops.
const POLL: Duration = Duration::from_millis(20);
/// The superuser of every cluster.
const SUPERUSER: &str = "postgres";

/// A server could not be made, reached or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No PostgreSQL here.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// Files or processes of the machine.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program of PostgreSQL failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Its name.
        program: String,
        /// What it printed.
        output: String,
    },
    /// The server ended, or was not ready in time.
    #[error("the server on port {port} {what}; its log ends with:\n{log}")]
    Server {
        /// Its port.
        port: u16,
        /// What happened.
        what: &'static str,
        /// Last lines of its log.
        log: String,
    },
}

/// How to stop a server (manual, 19.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Waits until all clients have gone.
    Smart,
    /// Ends all clients, then shuts down in order.
    Fast,
    /// Drops everything, as in a crash; recovers at the next start.
    Immediate,
}

/// A running server. Shared between threads as it is.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    port: u16,
    password: Secret,
    postmaster: Mutex<Option<Child>>,
    dir: ScratchDir,
}

impl Cluster {
    /// A server with the usual settings, to be changed.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// TCP port on 127.0.0.1, also the number of the Unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Directory of the Unix socket; only root and the account of the server may enter it.
    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the server keeps its data.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Process id of the postmaster while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running().as_ref().map(Child::id)
    }

    /// A URL for the superuser over TCP, with its password.
    pub fn superuser_url(&self, database: &str) -> String {
        format!(
            "postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}",
            self.password.expose(),
            self.port
        )
    }

    /// A client program (`psql`, `pgbench` ..) that reaches this server as superuser.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.binaries.client(program);
        command
            .env("PGHOST", self.socket_dir())
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", SUPERUSER);
        command
    }

    /// Runs SQL as superuser, one statement after the other, and returns the rows: columns
    /// divided by `|`, without the last line end. The first error ends it.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, ClusterError> {
        let mut command = self.command("psql");
        command.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-f",
            "-",
            "-d",
            database,
        ]);
        run(command, "psql", sql.as_bytes())
    }

    /// Starts a streaming replica of this server, with its settings; it accepts connections
    /// when this returns, and may lag behind.
    pub fn start_replica(&self) -> Result<Self, ClusterError> {
        let replica = Self::prepare(self.binaries.clone(), self.password.clone())?;
        let mut copy = self.binaries.server("pg_basebackup", replica.dir.path());
        copy.arg("-D")
            .arg(replica.data_dir())
            .arg("-h")
            .arg(self.socket_dir());
        copy.args(["-p", &self.port.to_string(), "-U", SUPERUSER]);
        copy.args(["-R", "-X", "stream", "-c", "fast", "--no-sync"]);
        run(copy, "pg_basebackup", b"")?;
        replica.start_on_free_port()
    }

    /// Stops the server and waits for its end; its directory stays for [`Cluster::restart`].
    pub fn stop(&self, mode: Mode) -> Result<(), ClusterError> {
        self.end(match mode {
            Mode::Smart => Signal::SIGTERM,
            Mode::Fast => Signal::SIGINT,
            Mode::Immediate => Signal::SIGQUIT,
        })
    }

    /// Kills the postmaster with SIGKILL and waits for its end. Its idle backends notice and
    /// go, busy ones at the end of their query.
    pub fn kill9(&self) -> Result<(), ClusterError> {
        self.end(Signal::SIGKILL)
    }

    /// Starts the server again on its port, after a fast stop if it still runs.
    pub fn restart(&self) -> Result<(), ClusterError> {
        self.stop(Mode::Fast)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = match self.launch() {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // After a SIGKILL the old backends hold the shared memory until they have noticed.
            let text = error.to_string();
            let transient = text.contains("is still in use") || text.contains("could not bind");
            if !transient || Instant::now() > deadline {
                return Err(error);
            }
            std::thread::sleep(POLL);
        }
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn prepare(binaries: Binaries, password: Secret) -> Result<Self, ClusterError> {
        let dir = ScratchDir::new("tenantry-pg-").map_err(|source| ClusterError::Io {
            what: "a temporary directory".into(),
            source,
        })?;
        binaries
            .hand_over(dir.path())
            .map_err(|e| io_error("handing over", dir.path(), e))?;
        Ok(Self {
            binaries,
            port: 0,
            password,
            postmaster: Mutex::new(None),
            dir,
        })
    }

    fn initialise(&self) -> Result<(), ClusterError> {
        let password_file = self.dir.path().join("password");
        fs::write(&password_file, self.password.expose())
            .and_then(|()| self.own(&password_file))
            .map_err(|e| io_error("writing", &password_file, e))?;
        let mut initdb = self.binaries.server("initdb", self.dir.path());
        initdb
            .arg("-D")
            .arg(self.data_dir())
            .arg("--pwfile")
            .arg(&password_file);
        initdb.args([
            "-U",
            SUPERUSER,
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ]);
        run(initdb, "initdb", b"")?;
        fs::remove_file(&password_file).map_err(|e| io_error("removing", &password_file, e))
    }

    /// Between the choice of a free port and its use another process may take it: again, then.
    fn start_on_free_port(mut self) -> Result<Self, ClusterError> {
        let mut attempts = 5;
        loop {
            self.port = free_port()?;
            attempts -= 1;
            match self.launch() {
                Ok(()) => return Ok(self),
                Err(error) if attempts == 0 || !error.to_string().contains("could not bind") => {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
    }

    fn launch(&self) -> Result<(), ClusterError> {
        let log = self.log_path();
        let file = fs::File::create(&log).map_err(|e| io_error("creating", &log, e))?;
        let stderr = file.try_clone().map_err(|e| io_error("opening", &log, e))?;
        let mut postgres = self.binaries.server("postgres", self.dir.path());
        postgres
            .arg("-D")
            .arg(self.data_dir())
            .arg("-c")
            .arg(format!("port={}", self.port));
        postgres
            .arg("-k")
            .arg(self.socket_dir())
            .stdout(file)
            .stderr(stderr);
        // Ctrl-C in a terminal goes to its whole process group: this one is ours to stop.
        let child = postgres.process_group(0).spawn();
        let child =
            child.map_err(|e| io_error("starting", &self.binaries.dir().join("postgres"), e))?;
        *self.running() = Some(child);
        self.wait_until_ready()
    }

    fn wait_until_ready(&self) -> Result<(), ClusterError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.running().as_mut().map(Child::try_wait);
            if matches!(ended, Some(Ok(Some(_)))) {
                *self.running() = None;
                return Err(self.server_error("did not start"));
            }
            let mut probe = self.command("pg_isready");
            probe
                .args(["-q", "-d", "postgres"])
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            if probe.status().is_ok_and(|status| status.success()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.server_error("was not ready in time"));
            }
            std::thread::sleep(POLL);
        }
    }

    fn end(&self, signal: Signal) -> Result<(), ClusterError> {
        let Some(mut child) = self.running().take() else {
            return Ok(());
        };
        send(&child, signal);
        let deadline = Instant::now() + PATIENCE;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                send(&child, Signal::SIGKILL);
                child.wait().ok();
                return Err(self.server_error("did not stop in time and was killed"));
            }
            std::thread::sleep(POLL / 4);
        }
        Ok(())
    }

    fn copy_in(&self, source: &Path, name: &str) -> Result<(), ClusterError> {
        let target = self.data_dir().join(name);
        fs::copy(source, &target)
            .and_then(|_| fs::set_permissions(&target, Permissions::from_mode(0o600)))
            .and_then(|()| self.own(&target))
            .map_err(|e| io_error("copying", source, e))
    }

    fn own(&self, path: &Path) -> io::Result<()> {
        self.binaries.hand_over(path)
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.postmaster
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn server_error(&self, what: &'static str) -> ClusterError {
        ClusterError::Server {
            port: self.port,
            what,
            log: self.log_tail(),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end(Signal::SIGQUIT).ok();
    }
}

/// Runs a program to its end and returns what it printed; on failure that is the error.
pub(super) fn run(
    mut command: Command,
    program: &str,
    input: &[u8],
) -> Result<String, ClusterError> {
    let failed = |source| ClusterError::Io {
        what: format!("running {program}"),
        source,
    };
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let stdin = child.stdin.take();
    // Written beside the reading: neither pipe may fill up while the other one waits.
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input).ok()));
        child.wait_with_output()
    });
    let output = output.map_err(failed)?;
    let mut text = String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned();
    if output.status.success() {
        return Ok(text);
    }
    text += String::from_utf8_lossy(&output.stderr).trim_end();
    Err(ClusterError::Program {
        program: program.to_owned(),
        output: text,
    })
}

fn send(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        kill(Pid::from_raw(pid), signal).ok();
    }
}

fn free_port() -> Result<u16, ClusterError> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| ClusterError::Io {
            what: "looking for a free port".into(),
            source,
        })
}

/// 32 hexadecimal digits: needs no quoting in a URL, a shell or SQL.
pub(super) fn random_password() -> Result<Secret, ClusterError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| ClusterError::Io {
        what: "reading random bytes".into(),
        source: io::Error::other(e),
    })?;
    Ok(Secret::new(
        bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    ))
}

fn io_error(what: &str, path: &Path, source: io::Error) -> ClusterError {
    ClusterError::Io {
        what: format!("{what} {}", path.display()),
        source,
    }
}

#[cfg(test)]
mod tests;
