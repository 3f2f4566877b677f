//! A proxy as a process of its own: what it has open and resident is its alone, and it ends with
//! the test.
//!
//! The program is the one built with the tests; `TENANTRY_BINARY` names another.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::patience::eventually;

/// How long a line of the log may be waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines kept to be shown where a test fails.
const TAIL: usize = 200;

/// Lines that are counted, by a part of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// It listens; the line tells where.
    Listening,
    /// A configuration is in force.
    Reloaded,
    /// A configuration was refused.
    NotReloaded,
    /// A bug.
    Panicked,
}

const PARTS: [(Line, &str); 4] = [
    (Line::Listening, "listening address="),
    (Line::Reloaded, "configuration reloaded"),
    (Line::NotReloaded, "configuration not reloaded"),
    (Line::Panicked, "panicked at"),
];

#[derive(Debug, Default)]
struct Said {
    counts: [usize; PARTS.len()],
    addresses: Vec<SocketAddr>,
    tail: VecDeque<String>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Log {
    said: Mutex<Said>,
    more: Condvar,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads to the end: a full pipe would stop the proxy.
    fn follow(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            self.note(String::from_utf8_lossy(&line).into_owned());
        }
        self.lock().ended = true;
        self.more.notify_all();
    }

    fn note(&self, line: String) {
        let mut said = self.lock();
        for (at, (kind, part)) in PARTS.iter().enumerate() {
            let Some((_, rest)) = line.split_once(part) else {
                continue;
            };
            said.counts[at] += 1;
            if *kind == Line::Listening {
                said.addresses.extend(rest.trim().parse::<SocketAddr>());
            }
            self.more.notify_all();
        }
        if said.tail.len() == TAIL {
            said.tail.pop_front();
        }
        said.tail.push_back(line);
    }
}

/// A proxy that serves a file until it is dropped.
#[derive(Debug)]
pub struct ProxyProcess {
    child: Child,
    log: Arc<Log>,
    address: SocketAddr,
}

impl ProxyProcess {
    /// Serves the file, whose first listener is TCP.
    pub fn start(file: &Path) -> Self {
        Self::spawn(Command::new(binary()), file)
    }

    /// The same with no more than so many open descriptors.
    pub fn start_with_descriptors(file: &Path, limit: usize) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
        shell.args(["-c", &script]).arg(binary());
        Self::spawn(shell, file)
    }

    fn spawn(mut command: Command, file: &Path) -> Self {
        command.args(["serve", "--config"]).arg(file);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the proxy starts");
        let stderr = child.stderr.take().expect("it is a pipe");
        let log = Arc::new(Log::default());
        let follower = Arc::clone(&log);
        std::thread::spawn(move || follower.follow(stderr));
        let mut proxy = Self {
            child,
            log,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        proxy.wait_for(Line::Listening, 1);
        proxy.address = proxy.log.lock().addresses[0];
        // The last thing that it opens; before it the signal would end it.
        eventually("it listens to SIGHUP", || proxy.catches_hang_up());
        proxy
    }

    fn catches_hang_up(&self) -> bool {
        let caught = u64::from_str_radix(&self.status("SigCgt:"), 16);
        caught.is_ok_and(|signals| signals & 1 == 1)
    }

    /// The first TCP address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many such lines it has logged.
    pub fn count(&self, line: Line) -> usize {
        self.log.lock().counts[index(line)]
    }

    /// Waits until there are so many such lines.
    pub fn wait_for(&self, line: Line, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut said = self.log.lock();
        while said.counts[index(line)] < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !said.ended,
                "no {count} lines {line:?}:\n{}",
                text(&said)
            );
            let woken = self.log.more.wait_timeout(said, left);
            said = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        kill(self.pid(), Signal::SIGHUP).expect("the proxy runs");
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        text(&self.log.lock())
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.pid());
        fs::read_dir(path).expect("the proxy runs").count()
    }

    /// Resident memory, in KiB.
    pub fn resident(&self) -> u64 {
        let text = self.status("VmRSS:");
        text.trim_end_matches(" kB").parse().expect("a number")
    }

    fn status(&self, field: &str) -> String {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(path).expect("the proxy runs");
        let line = status.lines().find_map(|l| l.strip_prefix(field));
        line.expect("Linux says so").trim().to_owned()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are small"))
    }
}

impl Drop for ProxyProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn index(line: Line) -> usize {
    let at = PARTS.iter().position(|(kind, _)| *kind == line);
    at.expect("every line is in the list")
}

fn text(said: &Said) -> String {
    said.tail
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("\n")
}

fn binary() -> std::ffi::OsString {
    std::env::var_os("TENANTRY_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_tenantry").into())
}

/// A verifier of one round: the password as a stored secret whose check costs a client nothing.
pub fn cheap_verifier(password: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let verifier =
        tenantry::auth::scram::Verifier::from_password(password, b"salt of the tests".into(), 1);
    format!(
        "SCRAM-SHA-256$1:{}${}:{}",
        STANDARD.encode(&verifier.salt),
        STANDARD.encode(verifier.stored_key),
        STANDARD.encode(verifier.server_key)
    )
}
