//! The console: the database `tenantry`, also called `pgbouncer`, where operators look at the proxy
//! and command it, with psql or any driver.
//!
//! Tables and commands are PgBouncer's (`show`, `orders`), so that its exporters, boards and scripts
//! work; what is ours comes after its columns. Both query protocols are spoken (`session`).
//! Guarantees: a report never holds up traffic (workers make it in slices); memory of a session is
//! bounded; who may only look changes nothing; what is changed is one line of the log, with who did it.
//! What the proxy as a whole must do (reload, end) is a [`Request`] to whoever owns it.

mod averages;
mod command;
mod help;
mod lexer;
mod link;
mod orders;
mod session;
mod sessions;
mod show;
mod table;
mod time;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::config::{Config, ConsoleRole};
use crate::gauge::{Gauge, Place};
use crate::tenant::switches::Switches;
use crate::tenant::{Registry, Tenant};
use crate::upstream::Connectors;
use crate::upstream::budget::Budget;
use crate::upstream::health::Health;
use crate::worker::{Carried, Protocol, Workers};

pub use command::Shutdown;
pub use link::Link;

use averages::Averages;
use sessions::Sessions;

/// What clients read as `server_version`, as PgBouncer's console says it: drivers and tools tell by
/// it which tables and columns to expect.
const SERVER_VERSION: &str = "1.25.0/bouncer";

/// What SHOW VERSION says. Exporters look for the first number with two dots.
const VERSION: &str = concat!(
    "PgBouncer 1.25.0 compatible, Tenantry ",
    env!("CARGO_PKG_VERSION")
);

/// Sessions of the console at a time. They are not counted in `server.max_clients`, so that an
/// operator can look when clients have taken all of it.
pub const MAX_SESSIONS: usize = 64;

/// How long sessions may take to say that they end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(10);

/// Something that only the owner of the proxy can do.
#[derive(Debug)]
pub struct Request {
    /// What.
    pub what: Wanted,
    /// Whom to tell how it went: texts to be shown, or why it was not done.
    pub answer: oneshot::Sender<Result<Vec<String>, String>>,
}

/// What is asked of the owner of the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The configuration is to be read again.
    Reload,
    /// One key of it is to be another one until the next reload.
    Set {
        /// Its path, such as `pool.size`, or PgBouncer's name of it.
        key: String,
        /// As it was typed, with quotes.
        value: String,
    },
    /// The proxy is to end.
    Shutdown(Shutdown),
}

/// What the console knows of the configuration at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// All of it.
    pub config: Arc<Config>,
    /// The tenants.
    pub registry: Arc<Registry>,
}

/// What the console shows and commands.
#[derive(Debug)]
pub struct Around {
    /// The workers.
    pub workers: Workers,
    /// Who is paused or disabled.
    pub switches: Switches,
    /// Server connections of nodes.
    pub budget: Budget,
    /// Which of them are primaries and replicas, and how far these are.
    pub health: Health,
    /// Which of them answer.
    pub connectors: Arc<Connectors>,
    /// Clients of the whole proxy, logging in or logged in; without the console's.
    pub clients: Gauge,
    /// To who owns the proxy, if somebody carries out what only its owner can do.
    pub owner: Option<mpsc::Sender<Request>>,
    /// Where sessions run.
    pub runtime: Handle,
}

/// The console. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Console(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    around: Around,
    view: ArcSwap<View>,
    places: Gauge,
    sessions: Sessions,
    averages: Averages,
    /// SUSPEND is in force.
    suspended: Mutex<bool>,
}

/// A client that has logged in to the console; AuthenticationOk is sent, nothing after it.
#[derive(Debug, Clone)]
pub struct Login {
    /// Its name.
    pub user: String,
    /// What it may do.
    pub role: ConsoleRole,
    /// The protocol agreed upon.
    pub protocol: Protocol,
    /// The startup parameter `application_name`.
    pub application_name: String,
    /// The other end of its socket; `None` for Unix sockets.
    pub peer: Option<SocketAddr>,
    /// Our end.
    pub local: Option<SocketAddr>,
    /// What encrypts it.
    pub tls: Option<String>,
    /// When it connected.
    pub connected: SystemTime,
}

impl Console {
    /// A console.
    pub fn new(around: Around, view: View) -> Self {
        let console = Self(Arc::new(Inner {
            averages: Averages::default(),
            around,
            view: ArcSwap::from_pointee(view),
            places: Gauge::default(),
            sessions: Sessions::default(),
            suspended: Mutex::new(false),
        }));
        let sampled = Arc::downgrade(&console.0);
        console.0.around.runtime.spawn(averages::sample(sampled));
        console
    }

    /// Takes note of another configuration.
    pub fn configured(&self, view: View) {
        self.0.view.store(Arc::new(view));
    }

    /// A place for one more session.
    pub fn enter(&self) -> Option<Place> {
        self.0.places.enter(MAX_SESSIONS)
    }

    /// Serves a session until its client has gone.
    pub fn serve(&self, link: impl Link + 'static, login: Login, place: Place) {
        let console = self.clone();
        self.0.around.runtime.spawn(async move {
            session::run(&console, link, login).await;
            drop(place);
            console.resume_if_alone();
        });
    }

    /// Carries out a cancel request, if it is for a session of the console.
    pub fn cancel(&self, process_id: i32, key: &[u8]) -> Option<Carried> {
        let found = self.0.sessions.cancel(process_id, key);
        found.then(Carried::at_once)
    }

    /// Pauses everything and does not wait for it, as PAUSE on the console: for signals.
    ///
    /// # Errors
    /// It is paused or suspended already.
    pub fn pause(&self) -> Result<(), crate::error::ClientError> {
        let scope = crate::tenant::switches::Scope::All;
        orders::pause(self, &scope).map(drop)
    }

    /// Ends every pause and suspension, as RESUME on the console: for signals.
    ///
    /// # Errors
    /// Nothing is paused.
    pub fn resume(&self) -> Result<(), crate::error::ClientError> {
        orders::resume(self, &crate::tenant::switches::Scope::All)
    }

    /// Ends all sessions, and waits a little until they have said so.
    pub async fn end(&self) {
        self.0.sessions.kill_all();
        let ended = async {
            while self.0.places.taken() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        // Who does not read its end does not learn of it.
        let _late = tokio::time::timeout(LAST_WORDS, ended).await;
    }

    /// Whether new clients of a tenant are refused.
    pub fn is_disabled(&self, tenant: &Tenant) -> bool {
        self.0.around.switches.is_disabled(tenant)
    }

    /// Whether SUSPEND is in force.
    pub fn is_suspended(&self) -> bool {
        *self.suspension()
    }

    fn suspension(&self) -> std::sync::MutexGuard<'_, bool> {
        let suspended = self.0.suspended.lock();
        suspended.unwrap_or_else(PoisonError::into_inner)
    }

    /// A suspension ends with the last session of the console: nobody could end it any more.
    fn resume_if_alone(&self) {
        if self.0.places.taken() == 0 && self.is_suspended() {
            tracing::info!("the console was left while suspended: resuming");
            orders::end_suspension(self);
        }
    }

    fn view(&self) -> Arc<View> {
        self.0.view.load_full()
    }
}
