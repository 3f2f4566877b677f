//! What operators ask of the proxy as a whole while it serves, and how serving ends: by signals, and
//! on the console.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{App, Reloaded};
use crate::console::{Request, Shutdown, Wanted};
use crate::error::ClientError;

/// How often it is looked whether all clients have gone.
const LOOK: Duration = Duration::from_millis(20);

/// Requests that may wait until they are carried out.
const REQUESTS: usize = 16;

/// How the proxy ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// As an operator may ask on the console.
    Orderly(Shutdown),
    /// Everything is closed now.
    AtOnce,
}

/// All that a process hears from outside. What has come is kept until it is looked at.
pub(super) struct Ears {
    /// SIGHUP.
    pub(super) hangup: Signal,
    pub(super) ends: Ends,
    pub(super) operators: Operators,
}

impl Ears {
    /// Hears signals from now on, and what the console sends to the second. From within a tokio
    /// runtime, and before anybody can connect.
    pub(super) fn new() -> std::io::Result<(Self, mpsc::Sender<Request>)> {
        let (owner, asked) = mpsc::channel(REQUESTS);
        let ears = Self {
            hangup: signal(SignalKind::hangup())?,
            ends: Ends {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            operators: Operators {
                asked,
                pause: signal(SignalKind::user_defined1())?,
                resume: signal(SignalKind::user_defined2())?,
                quit: signal(SignalKind::quit())?,
            },
        };
        Ok((ears, owner))
    }
}

/// The signals that end the proxy.
pub(super) struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    /// The next of them. Cancel-safe.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            // Cancel-safe, both.
            _signal = self.terminate.recv() => {}
            _signal = self.interrupt.recv() => {}
        }
    }
}

/// What operators ask for.
pub(super) struct Operators {
    asked: mpsc::Receiver<Request>,
    pause: Signal,
    resume: Signal,
    quit: Signal,
}

impl Operators {
    /// Carries out what is asked for until that is the end.
    pub(super) async fn ending(&mut self, app: &Arc<App>) -> Ending {
        loop {
            tokio::select! {
                // Cancel-safe, all of them: what has come is kept.
                _signal = self.pause.recv() => signalled("SIGUSR1", app.console.pause()),
                _signal = self.resume.recv() => signalled("SIGUSR2", app.console.resume()),
                _signal = self.quit.recv() => return Ending::AtOnce,
                Some(request) = self.asked.recv() => {
                    let (answer, ending) = carry_out(app, request.what).await;
                    // Who has asked may have gone.
                    let _told = request.answer.send(answer);
                    if let Some(ending) = ending {
                        return ending;
                    }
                }
            }
        }
    }
}

fn signalled(name: &str, outcome: Result<(), ClientError>) {
    match outcome {
        Ok(()) => info!("{name}: done"),
        Err(error) => warn!("{name}: {error}"),
    }
}

type Answer = Result<Vec<String>, String>;

async fn carry_out(app: &Arc<App>, wanted: Wanted) -> (Answer, Option<Ending>) {
    let app = Arc::clone(app);
    let done = match wanted {
        Wanted::Shutdown(how) => return (Ok(Vec::new()), Some(Ending::Orderly(how))),
        Wanted::Reload => tokio::task::spawn_blocking(move || app.reload_from_source()),
        Wanted::Set { key, value } => tokio::task::spawn_blocking(move || app.set(&key, &value)),
    };
    let answer = match done.await {
        Ok(Ok(reloaded)) => Ok(to_be_known(&reloaded)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_panicked) => Err("it did not end; the old configuration stays in force".to_owned()),
    };
    (answer, None)
}

/// What an operator should know of a reload that went well.
fn to_be_known(reloaded: &Reloaded) -> Vec<String> {
    let named = |what: &str, keys: &[&str]| {
        let named = !keys.is_empty();
        named.then(|| format!("{what}: {}", keys.join(", ")))
    };
    let restart = named("changed, but takes a restart", &reloaded.restart);
    let unset = named(
        "set by hand, and now again as the file says",
        &reloaded.unset,
    );
    restart.into_iter().chain(unset).collect()
}

impl App {
    /// Ends, one way or another. Returns when the workers have ended.
    pub(super) fn end(&self, how: Ending) {
        let limit = self.config().server.drain_timeout;
        match how {
            Ending::Orderly(Shutdown::Drain) => self.drain(limit),
            Ending::Orderly(Shutdown::WaitForServers) => self.drain(Duration::MAX),
            Ending::Orderly(Shutdown::WaitForClients) => {
                self.station.leave();
                while !self.front.is_empty() {
                    std::thread::sleep(LOOK);
                }
                self.drain(limit);
            }
            Ending::AtOnce => {
                self.stop();
                self.drain(limit);
            }
        }
    }
}
