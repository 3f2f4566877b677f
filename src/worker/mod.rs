//! Workers: each one thread that owns its clients, server connections and pools, and a loop over
//! them. Nothing in a worker is shared; what comes from outside comes through its inbox.
//!
//! A tenant lives on one worker. How work is divided is told in `docs/design/execution.md`.

mod admin;
mod admission;
mod cancels;
mod catalog;
mod changes;
mod clients;
mod deadlines;
mod dialling;
mod failover;
mod inbox;
mod orders;
mod pool;
mod pools;
pub mod pulse;
mod relay;
pub mod report;
mod reporting;
mod routing;
mod run;
mod servers;
pub mod slow;
mod socket;
mod state;
pub mod stats;
mod suspension;
mod timeouts;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime};

use tokio::sync::mpsc;

use crate::config::Route;
use crate::gauge::Place;
use crate::stream::Stream;
use crate::tenant::switches::Switches;
use crate::tenant::{Identity, Registry, Tenant};
use crate::upstream::Connectors;
use crate::upstream::budget::Budget;
use crate::upstream::health::Health;
use inbox::{Inbox, Message};

/// A client that has logged in (AuthenticationOk is sent, nothing after it), as handed to a worker.
#[derive(Debug)]
pub struct NewClient {
    /// Who it is.
    pub identity: Identity,
    /// Its socket.
    pub stream: Stream,
    /// Bytes already read behind the login messages; normally empty.
    pub read_ahead: Vec<u8>,
    /// Settings of the startup packet: `options` taken apart, without user, database, tenant,
    /// `_pq_.` names; later ones override earlier ones; in order of appearance.
    pub settings: Vec<(String, String)>,
    /// The protocol agreed upon.
    pub protocol: Protocol,
    /// Where it comes from; none on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The address that it reached; none on a Unix socket.
    pub local: Option<SocketAddr>,
    /// What it asks for, by the listener that it reached.
    pub route: Route,
    /// Its places in the counts of clients (the proxy's, the tenant's).
    pub places: [Place; 2],
}

/// Protocol versions that clients may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// 3.0: cancel keys of 4 bytes.
    V3_0,
    /// 3.2: cancel keys of up to 256 bytes (ours: 32).
    V3_2,
}

/// What workers need of the rest of the program.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where server connections are dialled.
    pub dialler: tokio::runtime::Handle,
    /// TLS towards servers, resolved addresses.
    pub connectors: Arc<Connectors>,
    /// Server connections that nodes give us.
    pub budget: Budget,
    /// The beginning of every worker's clock.
    pub epoch: Instant,
    /// The time of day then.
    pub started: SystemTime,
    /// How nodes are.
    pub health: Health,
    /// What the operator has switched.
    pub switches: Switches,
}

/// The workers, as seen by the rest of the program.
#[derive(Debug, Clone)]
pub struct Workers {
    inboxes: Arc<[Arc<Inbox>]>,
    process_ids: Arc<cancels::ProcessIds>,
    suspended: Arc<AtomicBool>,
}

/// A cancel request that is being carried out.
#[derive(Debug)]
pub struct Carried(mpsc::Receiver<Nothing>);

/// Held by somebody outside of the workers who has to do with a cancel request, too.
#[derive(Debug, Clone)]
pub struct Carrying(#[expect(dead_code, reason = "its end tells")] inbox::Done);

impl Carried {
    /// Of a request that nobody has to do with.
    pub fn at_once() -> Self {
        Self(mpsc::channel(1).1)
    }

    /// Waits until whoever had to do with the request has dropped their end.
    pub async fn end(mut self) {
        let _nothing = self.0.recv().await;
    }
}

/// Whether server connections are kept open that nobody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// As `min_size` says.
    Warm,
    /// None: another process serves new clients.
    Nothing,
}

/// Never sent: only the end of the channel tells something.
#[derive(Debug)]
enum Nothing {}

/// The threads of the workers; they end after [`Workers::stop`].
#[derive(Debug)]
#[must_use = "the threads are joined when the program ends"]
pub struct Threads(Vec<std::thread::JoinHandle<()>>);

impl Threads {
    /// Waits until every worker has ended.
    pub fn join(self) {
        for thread in self.0 {
            let _panicked = thread.join();
        }
    }
}

/// Runs a worker. Should it panic, the process ends: without it its tenants would wait for ever, and
/// who manages the service starts a new one. The panic itself is in the log.
fn run_or_abort(seat: run::Seat) {
    let run = std::panic::AssertUnwindSafe(|| run::Worker::new(seat).run());
    if std::panic::catch_unwind(run).is_err() {
        std::process::abort();
    }
}

impl Workers {
    /// Starts `count` workers.
    pub fn start(count: usize, around: &Surroundings) -> std::io::Result<(Self, Threads)> {
        let process_ids = Arc::new(cancels::ProcessIds::default());
        let polls = (0..count)
            .map(|_| mio::Poll::new())
            .collect::<Result<Vec<_>, _>>()?;
        let inboxes = polls
            .iter()
            .map(Inbox::new)
            .collect::<Result<Arc<[_]>, _>>()?;
        let workers = Self {
            inboxes,
            process_ids,
            suspended: Arc::default(),
        };
        let mut threads = Vec::with_capacity(count);
        for (number, poll) in polls.into_iter().enumerate() {
            let seat = run::Seat {
                number,
                poll,
                workers: workers.clone(),
                around: around.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("worker-{number}"));
            threads.push(thread.spawn(move || run_or_abort(seat))?);
        }
        Ok((workers, Threads(threads)))
    }

    /// Hands a client over. The worker sends what follows AuthenticationOk.
    pub fn admit(&self, client: NewClient) {
        let home = client.identity.tenant.id.0 as usize % self.inboxes.len();
        self.inboxes[home].put(Message::Client(Box::new(client)));
    }

    /// Carries out a cancel request (manual, 55.2.8): `process_id` and `key` as the client got
    /// them. Unknown ones are ignored, as PostgreSQL does.
    /// Returned is what tells the end: clients take the end of their cancel connection for the
    /// word that no later query of theirs will be hit.
    pub fn cancel(&self, process_id: i32, key: &[u8]) -> Carried {
        self.cancel_beside(process_id, key).1
    }

    /// The same for a request that others carry out, too: it ends when they have dropped what is
    /// returned beside it.
    pub fn cancel_beside(&self, process_id: i32, key: &[u8]) -> (Carrying, Carried) {
        let (done, carried) = mpsc::channel(1);
        for (worker, client) in self.process_ids.candidates(process_id, self.inboxes.len()) {
            self.inboxes[worker].put(Message::Cancel {
                client,
                key: key.into(),
                done: done.clone(),
            });
        }
        (Carrying(done), Carried(carried))
    }

    /// Tells all workers which tenants there are from now on. Logins may use them when this has
    /// returned, and not before: a worker takes a tenant that it does not know for one that is gone.
    pub fn registry_replaced(&self, registry: &Arc<Registry>) {
        for inbox in &*self.inboxes {
            inbox.put(Message::Registry(Arc::clone(registry)));
        }
    }

    /// Tells the tenant's worker that it changed.
    pub fn tenant_changed(&self, tenant: Arc<Tenant>) {
        let home = tenant.id.0 as usize % self.inboxes.len();
        self.inboxes[home].put(Message::TenantChanged(tenant));
    }

    /// Tells the tenant's worker that it is no longer configured.
    pub fn tenant_removed(&self, tenant: &Tenant) {
        let home = tenant.id.0 as usize % self.inboxes.len();
        self.inboxes[home].put(Message::TenantRemoved(tenant.id));
    }

    /// From now on, whether unused server connections are kept open.
    pub fn keep(&self, keeping: Keeping) {
        for inbox in &*self.inboxes {
            inbox.put(Message::Keep(keeping));
        }
    }

    /// Lets transactions finish and closes everything else; workers end when the last one has.
    pub fn drain(&self) {
        for inbox in &*self.inboxes {
            inbox.put(Message::Drain);
        }
    }

    /// Closes everything now.
    pub fn stop(&self) {
        for inbox in &*self.inboxes {
            inbox.put(Message::Stop);
        }
    }

    /// Somebody waits for a permit of this node: idle connections to it should close.
    pub fn evict(&self, node: &crate::types::NodeAddr) {
        for inbox in &*self.inboxes {
            inbox.put(Message::Evict(node.clone()));
        }
    }
}
