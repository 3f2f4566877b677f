//! Proxies as processes of their own, and what they tell their service manager.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::super::support::client::{Client, PATIENCE};
use super::super::support::patience::eventually;
use super::super::support::postgres::Database;
use super::super::support::proxy::Toml;

/// Said by a process that was taken over from.
pub const RETIRES: &str = "no more clients are accepted here";

/// A place that processes take over from each other: one address, one takeover socket.
pub struct Place {
    pub dir: TempDir,
    pub address: SocketAddr,
    toml: Toml,
}

impl Place {
    /// One cluster with these lines, tenants named as their databases.
    pub fn of(databases: &[Database], cluster: &str, pool: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        let toml = Toml::default()
            .pool(pool)
            .cluster("main", databases[0].port, cluster);
        let toml = databases
            .iter()
            .fold(toml, |toml, d| toml.tenant(&d.name, "main", d, ""));
        Self { dir, address, toml }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The usual configuration, listening also at these addresses.
    pub fn config(&self, more: &str) -> String {
        let listen = format!("listen = ['{}'{more}]", self.address);
        let takeover = format!(
            "takeover = '{}'\ndrain_timeout = '5s'\n",
            self.path("takeover.sock").display()
        );
        self.toml
            .clone()
            .server(&takeover)
            .text()
            .replace("listen = ['127.0.0.1:0']", &listen)
            .replace("workers = 1", "workers = 2")
    }

    /// Starts a process and waits until it serves.
    pub fn start(&self, name: &str) -> Process {
        self.start_with(name, &self.config(""))
    }

    /// Starts the successor of a process and waits until that one accepts nobody any more.
    pub fn succeed(&self, old: &Process, name: &str) -> Process {
        let said = old.log().matches(RETIRES).count();
        let new = self.start(name);
        eventually("the old one retires", || {
            old.log().matches(RETIRES).count() > said
        });
        new
    }

    pub fn start_with(&self, name: &str, config: &str) -> Process {
        let mut process = Process::spawn(&self.dir.path().join(name), config, &[]);
        process.hear("READY=1");
        process
    }

    pub fn client(&self, database: &Database) -> Client {
        Client::connect(self.address, &database.name, &[]).expect("a login")
    }
}

/// A proxy; it is killed when dropped.
pub struct Process {
    pub child: Child,
    /// What it has told its service manager: read at once, as a manager does.
    told: Receiver<String>,
    manager: Arc<UnixDatagram>,
    log: PathBuf,
}

impl Process {
    /// Starts it with files of this name.
    pub fn spawn(name: &Path, config: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenantry"));
        command.envs(environment.iter().copied());
        Self::spawn_by(name, config, command)
    }

    /// The same by a command that runs the binary with its arguments.
    pub fn spawn_by(name: &Path, config: &str, mut command: Command) -> Self {
        let file = |extension: &str| name.with_extension(extension);
        std::fs::write(file("toml"), config).unwrap();
        let manager = Arc::new(UnixDatagram::bind(file("notify")).unwrap());
        let told = listen(&manager);
        let log = file("log");
        let child = command
            .args(["serve", "--config"])
            .arg(file("toml"))
            .env("NOTIFY_SOCKET", file("notify"))
            .stderr(Stdio::from(File::create(&log).unwrap()))
            .spawn()
            .expect("the proxy starts");
        Self {
            child,
            told,
            manager,
            log,
        }
    }

    /// What it told its service manager next.
    pub fn told(&self) -> String {
        self.told_before(Instant::now() + PATIENCE)
    }

    fn told_before(&self, deadline: Instant) -> String {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.told.recv_timeout(left) {
            Ok(told) => told,
            Err(error) => panic!("{error}; its log:\n{}", self.log()),
        }
    }

    /// Waits until it has told this; returns the whole message.
    pub fn hear(&mut self, word: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.told_before(deadline);
            if told.contains(word) {
                return told;
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("the process is there");
    }

    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    /// How it ended; fails if it does not.
    pub fn end(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.expect("it has ended")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until its log says this.
    pub fn says(&self, text: &str) {
        eventually(text, || self.log().contains(text));
    }

    /// How long a moment is in which nothing should happen.
    pub const MOMENT: Duration = Duration::from_millis(700);
}

/// Reads what arrives, in a thread, until the socket is shut.
fn listen(manager: &Arc<UnixDatagram>) -> Receiver<String> {
    let (into, told) = sync_channel(1_000);
    let manager = Arc::clone(manager);
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = manager.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if into.try_send(text).is_err() {
                return;
            }
        }
    });
    told
}

impl Drop for Process {
    fn drop(&mut self) {
        let _shut = self.manager.shutdown(std::net::Shutdown::Both);
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}
