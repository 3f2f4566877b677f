//! A new process takes over from an old one, and no client notices.
//!
//! Guarantees: the listening sockets are never closed in between, so no connection is refused or
//! reset; clients of the old process finish there; the limit of each node holds over both; a cancel
//! request finds its client in either. A new process that fails before it serves changes nothing;
//! one that dies later leaves the sockets to the old one, if that is still there.
//!
//! It lacks: handing over clients, and what an operator has switched by hand. And a process that was
//! killed may leave busy servers behind, which do not count any more.
//!
//! How the two talk is told in `docs/design/takeover.md`.

mod frame;
mod incumbent;
mod link;
mod message;
mod path;
mod successor;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::{ListenAddr, Listener};
use crate::front::Front;
use crate::front::listen::{self, Bound, Gate};
use crate::worker::Keeping;

pub use link::{Desk, Neighbours};
pub use message::FileOwner;
pub use successor::Predecessor;

use link::Side;
use message::Message;
use path::OwnSocket;

/// Why a new process cannot take over.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// The socket at `server.takeover`.
    #[error("the takeover socket {0}: {1}")]
    Socket(PathBuf, io::Error),
    /// The old process does not hand over, and says why.
    #[error("the running process does not hand over: {0}")]
    Refused(String),
    /// The old process is of another kind.
    #[error("the running process said what makes no sense: {0}")]
    Strange(&'static str),
}

/// Where a process stands between its predecessor and its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It accepts clients.
    Serving,
    /// Its clients finish; this other process accepts new ones.
    Retiring(u32),
    /// It ends.
    Ending,
}

/// One listening socket, and whether clients are accepted there.
#[derive(Debug)]
pub struct Listening {
    /// As configured.
    pub listener: Arc<Listener>,
    /// The socket.
    pub bound: Arc<Bound>,
    /// Who removes its file.
    pub file: FileOwner,
    /// The address of the configuration with the whole path of a Unix socket: by this the next
    /// process finds it.
    pub asked: ListenAddr,
    gate: watch::Sender<Gate>,
}

impl Listening {
    /// Where nobody is accepted yet.
    pub fn new(listener: Listener, asked: ListenAddr, bound: Bound, file: FileOwner) -> Self {
        Self {
            asked,
            listener: Arc::new(listener),
            bound: Arc::new(bound),
            file,
            gate: watch::channel(Gate::Shut).0,
        }
    }
}

/// The listening sockets of a process and its standing.
#[derive(Debug)]
pub struct Station {
    path: Option<PathBuf>,
    front: Arc<Front>,
    neighbours: Arc<Neighbours>,
    /// Also when it has left them.
    addresses: Vec<ListenAddr>,
    listening: Mutex<Vec<Listening>>,
    standing: watch::Sender<Standing>,
    own: Mutex<Option<Arc<OwnSocket>>>,
}

impl Station {
    /// Does not accept yet.
    pub fn new(
        path: Option<PathBuf>,
        front: Arc<Front>,
        neighbours: Arc<Neighbours>,
        listening: Vec<Listening>,
    ) -> Arc<Self> {
        let addresses = listening.iter().map(|l| l.bound.address().clone());
        Arc::new(Self {
            addresses: addresses.collect(),
            path,
            front,
            neighbours,
            listening: Mutex::new(listening),
            standing: watch::channel(Standing::Serving).0,
            own: Mutex::default(),
        })
    }

    /// Takes over from `predecessor`, if there is one, accepts clients and waits for a successor.
    ///
    /// # Errors
    /// Then the predecessor serves as before.
    pub fn serve(self: &Arc<Self>, predecessor: Option<Predecessor>) -> Result<(), TakeoverError> {
        let waiting = incumbent::prepare(self)?;
        for listening in &*self.listening() {
            let (bound, front) = (Arc::clone(&listening.bound), Arc::clone(&self.front));
            let (listener, gate) = (Arc::clone(&listening.listener), listening.gate.subscribe());
            self.neighbours
                .runtime
                .spawn(listen::run(bound, front, listener, gate));
        }
        match predecessor {
            Some(predecessor) => predecessor.take_over(self)?,
            None => self.open(),
        }
        match waiting {
            Some(waiting) => waiting.start(Arc::clone(self)),
            None => Ok(()),
        }
    }

    /// Where it listens, or did until it left, in the order of the configuration.
    pub fn addresses(&self) -> &[ListenAddr] {
        &self.addresses
    }

    /// Where it stands, now and later.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Whether it retires and has nothing to do any more: no client, and no older process that
    /// borrows from it.
    pub fn has_finished(&self) -> bool {
        matches!(*self.standing.borrow(), Standing::Retiring(_))
            && self.front.is_empty()
            && self.neighbours.all(Side::Older).is_empty()
    }

    /// Accepts no more, for good; an older process that still runs accepts again. It still lends
    /// and borrows, until it is closed.
    pub fn leave(&self) {
        self.standing.send_replace(Standing::Ending);
        for older in self.neighbours.all(Side::Older) {
            older.send(Message::Leaving);
        }
        for listening in self.listening().drain(..) {
            listening.gate.send_replace(Gate::Closed);
        }
        if let Some(own) = self.own().take() {
            own.shut();
        }
    }

    /// Leaves, and ends what connects it with other processes.
    pub fn close(&self) {
        self.leave();
        self.neighbours.close();
    }

    /// Accepts clients, unless it ends.
    fn open(&self) {
        self.set_gates(Gate::Open);
        self.neighbours.workers.keep(Keeping::Warm);
        self.settle_files();
    }

    fn set_gates(&self, gate: Gate) {
        for listening in &*self.listening() {
            listening.gate.send_replace(gate);
        }
    }

    /// The successor serves from these of our sockets; the others are closed.
    fn retire(&self, successor: u32, wanted: &[usize]) {
        if !self.turn(Standing::Retiring(successor)) {
            return;
        }
        let mut at = 0;
        self.listening().retain(|listening| {
            let keep = wanted.contains(&at);
            at += 1;
            let gate = if keep { Gate::Shut } else { Gate::Closed };
            listening.gate.send_replace(gate);
            keep
        });
        self.neighbours.workers.keep(Keeping::Nothing);
        self.settle_files();
        info!(
            successor,
            "another process has taken over: no more clients are accepted here"
        );
    }

    /// The successor accepts no more: we do again.
    fn accept_again(&self) {
        if matches!(*self.standing.borrow(), Standing::Retiring(_)) && self.turn(Standing::Serving)
        {
            warn!("the process that had taken over is ending: clients are accepted here again");
            self.open();
        }
    }

    /// The successor has gone: we decide about places again, and accept if it did.
    fn alone_again(&self) {
        self.neighbours.budget.decide_again();
        self.accept_again();
    }

    /// False: it is ending, which nothing changes.
    fn turn(&self, to: Standing) -> bool {
        self.standing.send_if_modified(|now| {
            let may = *now != Standing::Ending;
            if may {
                *now = to;
            }
            may
        })
    }

    fn is_ending(&self) -> bool {
        *self.standing.borrow() == Standing::Ending
    }

    /// The files of Unix sockets are for the last process to remove: one without a successor and
    /// without a predecessor that might need them again.
    fn settle_files(&self) {
        let last = *self.standing.borrow() == Standing::Serving
            && self.neighbours.all(Side::Older).is_empty();
        for listening in &*self.listening() {
            listening
                .bound
                .own_file(last && listening.file == FileOwner::Us);
        }
    }

    fn listening(&self) -> MutexGuard<'_, Vec<Listening>> {
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, Option<Arc<OwnSocket>>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
