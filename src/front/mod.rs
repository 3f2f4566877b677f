//! One client from accept to dispatch: encryption, startup, evidence, proof, limits; then a
//! worker has it.
//!
//! Guarantees: before the login succeeds a client learns nothing that depends on whether its
//! tenant or role exists; its memory is bounded; its places in the counts of clients are given
//! back however it ends; nothing lasts longer than `login_timeout`. A reload replaces the
//! settings for the logins that begin after it.

mod attempt;
mod channel;
mod claim;
mod counts;
mod end;
mod fair;
mod journal;
pub mod listen;
mod login;
mod opening;
mod operator;
mod origin;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::timeout;

use crate::config::Listener;
use crate::console::Console;
use crate::gauge::{Gauge, Place};
use crate::worker::{Carried, NewClient, Workers};

pub use channel::{Accepted, Ends};
pub use counts::{Counts, Reason};
pub use settings::{FrontSettings, SettingsError};

use attempt::Attempt;
use channel::Channel;
use end::End;
use fair::Fair;
use journal::Journal;

/// Clients beyond `max_clients` that are still listened to: they may be cancel requests, and the
/// others are told why they cannot stay. Who comes beyond these is told at once.
const OVERFLOW: usize = 64;

/// Where clients go that have logged in.
pub trait Dispatch: Send + Sync {
    /// Takes a client over.
    fn admit(&self, client: NewClient);
    /// Carries out a cancel request.
    fn cancel(&self, process_id: i32, key: &[u8]) -> Carried;
}

impl Dispatch for Workers {
    fn admit(&self, client: NewClient) {
        Self::admit(self, client);
    }

    fn cancel(&self, process_id: i32, key: &[u8]) -> Carried {
        Self::cancel(self, process_id, key)
    }
}

/// Serves accepted sockets until a worker has them.
pub struct Front {
    settings: ArcSwap<FrontSettings>,
    dispatch: Box<dyn Dispatch>,
    clients: Gauge,
    overflow: Gauge,
    /// Listeners that accept nobody for now, for want of descriptors.
    short: Gauge,
    /// Accepted sockets that no worker has yet, also those that turn out to be no clients.
    accepted: Gauge,
    /// TLS handshakes that may use a processor at the same time.
    handshakes: Fair,
    journal: Arc<Journal>,
    /// Without it nobody gets in there.
    console: Option<Console>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front")
            .field("clients", &self.clients)
            .finish_non_exhaustive()
    }
}

impl Front {
    /// A front that hands its clients to `dispatch`.
    pub fn new(settings: FrontSettings, dispatch: impl Dispatch + 'static) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            settings: ArcSwap::from_pointee(settings),
            dispatch: Box::new(dispatch),
            clients: Gauge::default(),
            overflow: Gauge::default(),
            short: Gauge::default(),
            handshakes: Fair::new(cores.div_ceil(2)),
            accepted: Gauge::default(),
            journal: Arc::default(),
            console: None,
        }
    }

    /// The same with a console.
    #[must_use]
    pub fn with_console(self, console: Console) -> Self {
        Self {
            console: Some(console),
            ..self
        }
    }

    /// The settings now.
    pub fn settings(&self) -> Arc<FrontSettings> {
        self.settings.load_full()
    }

    /// Replaces the settings, for logins that begin after it.
    pub fn replace_settings(&self, settings: FrontSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// The clients of the whole proxy, logging in or logged in.
    pub fn clients(&self) -> &Gauge {
        &self.clients
    }

    /// How logins have ended so far.
    pub fn counts(&self) -> Counts {
        self.journal.counts()
    }

    /// Carries out a cancel request, of a session of the console or of a tenant's client.
    fn cancel(&self, process_id: i32, key: &[u8]) -> Carried {
        let console = self.console.as_ref();
        let own = console.and_then(|console| console.cancel(process_id, key));
        own.unwrap_or_else(|| self.dispatch.cancel(process_id, key))
    }

    /// The listeners that accept nobody for now, for want of descriptors.
    pub fn short(&self) -> &Gauge {
        &self.short
    }

    /// Whether nobody is connected, not even a cancel request.
    pub fn is_empty(&self) -> bool {
        self.accepted.taken() == 0 && self.clients.taken() == 0
    }

    /// Counts a socket that was just accepted, before the task begins that serves it.
    fn enter(&self) -> Option<Place> {
        self.accepted.enter(usize::MAX)
    }

    /// Serves one client until a worker has it or its connection has ended. A socket without `ends`
    /// is a Unix socket.
    pub async fn serve(
        self: Arc<Self>,
        socket: Accepted,
        listener: Arc<Listener>,
        ends: Option<Ends>,
    ) {
        let settings = self.settings();
        let mut attempt = Attempt {
            front: &self,
            settings: &settings,
            listener: &listener,
            ends,
        };
        let limit = settings.login_timeout;
        let login = timeout(limit, Box::pin(attempt.run(Channel::new(socket))));
        if login.await.is_err() {
            self.journal.failure(attempt.peer(), &End::Late(limit));
        }
    }
}
