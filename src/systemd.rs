//! What the service manager is told, and the sockets it passes (`sd_notify(3)`, `sd_listen_fds(3)`).
//!
//! Without a service manager all of it does nothing. What cannot be told is logged and forgotten.

use std::os::fd::OwnedFd;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tracing::debug;

/// Something to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word<'a> {
    /// Clients can connect, with the configuration that was read last.
    Ready,
    /// The configuration is being read; `Ready` follows.
    Reloading,
    /// The process is ending.
    Stopping,
    /// For whoever asks for the status.
    Status(&'a str),
    /// The service is another process from now on.
    MainPid(u32),
    /// The process still lives.
    Alive,
}

/// Tells the service manager.
pub fn tell(word: Word<'_>) {
    let told = match word {
        Word::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Word::Reloading => NotifyState::monotonic_usec_now()
            .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
        Word::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        Word::Status(text) => sd_notify::notify(&[NotifyState::Status(text)]),
        Word::MainPid(pid) => sd_notify::notify(&[NotifyState::MainPid(pid)]),
        Word::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
    };
    if let Err(error) = told {
        debug!(?word, %error, "the service manager cannot be told");
    }
}

/// Says that the configuration is being read; `Ready` when the value is dropped.
pub fn reloading() -> Reloading {
    tell(Word::Reloading);
    Reloading(())
}

/// The configuration is being read.
#[derive(Debug)]
#[must_use = "dropping it says that the reload is over"]
pub struct Reloading(());

impl Drop for Reloading {
    fn drop(&mut self) {
        tell(Word::Ready);
    }
}

/// How often it wants to hear that we live, if at all; a word every half of it is right.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

/// The sockets that it has passed to this process. To be called once, before there are threads:
/// the variables that tell of them are taken out of the environment.
pub fn sockets() -> std::io::Result<Vec<OwnedFd>> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for at in 0..passed.len() {
        if let Ok(socket) = passed.take_unix_listener(at) {
            sockets.extend(socket.map(OwnedFd::from));
        } else {
            sockets.extend(passed.take_tcp_listener(at)?.map(OwnedFd::from));
        }
    }
    Ok(sockets)
}

/// Whether another process belongs to the same service: only then may it be named as its main one.
pub fn is_same_service(pid: u32) -> bool {
    let group = |of: &str| std::fs::read_to_string(format!("/proc/{of}/cgroup")).ok();
    group("self").is_some_and(|own| group(&pid.to_string()) == Some(own))
}
