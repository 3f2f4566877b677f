//! What an operator looks at: a runtime of its own, so that logins and queries do not hold it up
//! nor it them, and the HTTP port on it. It serves until the proxy is dropped, also while it drains.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tracing::info;

use super::AppError;
use crate::front::{Counts, Front};
use crate::http::{self, Facts, Logins, Phase, Reloads, Site, Sources};
use crate::tenant::switches::Switches;
use crate::upstream::Connectors;
use crate::upstream::budget::Budget;
use crate::worker::Workers;

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
    pub(super) switches: Switches,
    pub(super) shutdown: watch::Receiver<bool>,
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

    /// Opens the HTTP port.
    pub(super) fn serve_http(
        &mut self,
        address: SocketAddr,
        watched: Watched,
    ) -> Result<(), AppError> {
        let bound = {
            let _inside = self.runtime.enter();
            http::bind(address).map_err(|e| AppError::Http(address, e))?
        };
        info!(address = %bound.address(), "serving metrics and health over HTTP");
        self.http = Some(bound.address());
        let site = Arc::new(Site::new(watched.sources()));
        self.runtime.spawn(http::run(bound, site));
        Ok(())
    }

    /// Where the HTTP port is.
    pub(super) fn http(&self) -> Option<SocketAddr> {
        self.http
    }
}

impl Watched {
    fn sources(self) -> Sources {
        let started = SystemTime::now();
        Sources {
            workers: self.workers.clone(),
            budget: self.budget.clone(),
            connectors: Arc::clone(&self.connectors),
            facts: Box::new(move || self.facts(started)),
        }
    }

    fn facts(&self, started: SystemTime) -> Facts {
        let settings = self.front.settings();
        let phase = if *self.shutdown.borrow() {
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

    fn now(&self) -> Reloads {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
