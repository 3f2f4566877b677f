//! What an operator looks at: a runtime of its own, so that logins and queries do not hold it up
//! nor it them, and the HTTP port on it. It serves until the proxy is dropped, also while it drains.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tracing::info;

use super::AppError;
use crate::front::{Counts, Front};
use crate::http::{self, Facts, Logins, Phase, Reloads, Site, Sources};
use crate::takeover::Standing;
use crate::tenant::switches::Switches;
use crate::upstream::Connectors;
use crate::upstream::budget::Budget;
use crate::upstream::health::Health;
use crate::worker::Workers;

/// How often it is tried to open a port that another process has.
const AGAIN: Duration = Duration::from_millis(100);

/// The runtime, and what runs on it.
#[derive(Debug)]
pub(super) struct Control {
    runtime: Runtime,
    http: Option<SocketAddr>,
}

/// The parts of the proxy that are told of.
pub(super) struct Watched {
    pub(super) front: Arc<Front>,
    pub(super) workers: Workers,
    pub(super) budget: Budget,
    pub(super) connectors: Arc<Connectors>,
    pub(super) health: Health,
    pub(super) switches: Switches,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) reloads: ReloadCounts,
    pub(super) listeners: usize,
}

impl Control {
    pub(super) fn new() -> std::io::Result<Self> {
        let runtime = super::runtime("control", 1, super::Thread::Equal)?;
        Ok(Self {
            runtime,
            http: None,
        })
    }

    /// Where else what an operator looks at runs.
    pub(super) fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// Opens the HTTP port. Where a predecessor still has it, it is opened when that has let it go.
    pub(super) fn open_http(
        &self,
        address: Option<SocketAddr>,
        has_predecessor: bool,
    ) -> Result<Option<Opening>, AppError> {
        let Some(address) = address else {
            return Ok(None);
        };
        let _inside = self.runtime.enter();
        match http::bind(address) {
            Ok(bound) => Ok(Some((bound.address(), Some(bound)))),
            Err(e) if e.kind() == ErrorKind::AddrInUse && has_predecessor => {
                Ok(Some((address, None)))
            }
            Err(e) => Err(AppError::Http(address, e)),
        }
    }

    /// Serves it for as long as no successor does.
    pub(super) fn serve_http(&mut self, (address, bound): Opening, watched: Watched) {
        self.http = Some(address);
        self.runtime.spawn(keep_http(address, bound, watched));
    }

    /// Where the HTTP port is.
    pub(super) fn http(&self) -> Option<SocketAddr> {
        self.http
    }
}

/// The address, and the port if it is open already.
pub(super) type Opening = (SocketAddr, Option<http::Bound>);

/// Serves the HTTP port but while a successor does: that one needs the address.
async fn keep_http(address: SocketAddr, mut bound: Option<http::Bound>, watched: Watched) {
    let mut standing = watched.standing.clone();
    let site = Arc::new(Site::new(watched.sources()));
    loop {
        let back = standing.wait_for(|s| !matches!(s, Standing::Retiring(_)));
        if back.await.is_err() {
            return;
        }
        let open = match bound.take() {
            Some(open) => open,
            None => tokio::select! {
                // Cancel-safe: what was not returned is closed.
                open = open_again(address) => open,
                // Cancel-safe: only looks.
                retired = standing.wait_for(|s| matches!(s, Standing::Retiring(_))) => match retired {
                    Ok(_) => continue,
                    Err(_) => return,
                },
            },
        };
        info!(address = %open.address(), "serving metrics and health over HTTP");
        tokio::select! {
            // Cancel-safe: what was accepted is served by tasks of its own.
            () = http::run(open, Arc::clone(&site)) => return,
            // Cancel-safe: only looks.
            retired = standing.wait_for(|s| matches!(s, Standing::Retiring(_))) => {
                if retired.is_err() {
                    return;
                }
            }
        }
    }
}

/// Opens the port when whoever has it has let it go.
async fn open_again(address: SocketAddr) -> http::Bound {
    let mut told = false;
    loop {
        match http::bind(address) {
            Ok(bound) => return bound,
            Err(error) if !std::mem::replace(&mut told, true) => {
                info!(%address, %error, "HTTP waits for its port");
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

impl Watched {
    fn sources(self) -> Sources {
        let started = SystemTime::now();
        Sources {
            workers: self.workers.clone(),
            budget: self.budget.clone(),
            connectors: Arc::clone(&self.connectors),
            health: self.health.clone(),
            facts: Box::new(move || self.facts(started)),
        }
    }

    fn facts(&self, started: SystemTime) -> Facts {
        let settings = self.front.settings();
        let phase = if *self.standing.borrow() != Standing::Serving {
            Phase::Draining
        } else if self.workers.is_suspended() {
            Phase::Suspended
        } else {
            Phase::Serving
        };
        Facts {
            phase,
            listeners: self.listeners,
            short: self.front.short().taken(),
            clients: self.front.clients().taken(),
            max_clients: settings.max_clients(),
            registry: Arc::clone(settings.registry()),
            paused: self.switches.all_paused(),
            started,
            reloads: self.reloads.now(),
            logins: logins(&self.front.counts()),
        }
    }
}

fn logins(counts: &Counts) -> Logins {
    let by_method = counts.logins.iter();
    let failures = counts.failures.iter();
    Logins {
        by_method: by_method.map(|(m, count)| (m.word(), *count)).collect(),
        failures: failures.map(|(r, count)| (r.name(), *count)).collect(),
        cancels: counts.cancels,
    }
}

/// How reloads ended. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct ReloadCounts(Arc<Mutex<Reloads>>);

impl ReloadCounts {
    /// Of a proxy that starts now with its first configuration.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Reloads {
            succeeded: 0,
            failed: 0,
            applied: SystemTime::now(),
            refused: false,
        })))
    }

    /// Takes note of the end of a reload.
    pub(super) fn note<T, E>(&self, outcome: &Result<T, E>) {
        let mut reloads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reloads.refused = outcome.is_err();
        if outcome.is_ok() {
            reloads.succeeded += 1;
            reloads.applied = SystemTime::now();
        } else {
            reloads.failed += 1;
        }
    }

    /// How many there were so far.
    pub(super) fn now(&self) -> Reloads {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
