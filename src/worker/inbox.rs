//! What reaches a worker from outside.
//!
//! The queue has no limit of its own: every message stands for something that has one. Clients hold
//! a place in `max_clients`, dialled connections and grants a permit or a ticket, tenants a row of
//! the configuration, and of cancel requests no more are kept than [`CANCELS`].

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::{Poll, Token, Waker};

use super::admin::Order;
use super::report::Question;
use super::slow::SlowLog;
use super::{Keeping, NewClient};
use crate::nodes::{ClusterView, Position};
use crate::session::Setting;
use crate::tenant::{Registry, Tenant};
use crate::types::{ClusterName, NodeAddr, TenantId};
use crate::upstream::ConnectError;
use crate::upstream::Upstream;
use crate::upstream::budget::Permit;

/// The waker's token; no socket has it.
pub(super) const WAKER: Token = Token(usize::MAX);

/// Cancel requests that may wait at a worker; more are forgotten, which a cancel request may be.
const CANCELS: usize = 1024;

/// One thing to do.
#[derive(Debug)]
pub(super) enum Message {
    Client(Box<NewClient>),
    Dialled {
        pool: usize,
        serial: u64,
        dialled: Box<Dialled>,
    },
    Granted {
        pool: usize,
        serial: u64,
        permit: Permit,
    },
    Evict(NodeAddr),
    Cancel {
        client: usize,
        key: Box<[u8]>,
        done: Done,
    },
    CancelDone {
        server: usize,
        serial: u64,
        outcome: CancelOutcome,
    },
    Cluster(Arc<ClusterView>),
    Position {
        cluster: ClusterName,
        id: u64,
        position: Option<Position>,
    },
    Replayed,
    Registry(Arc<Registry>),
    TenantChanged(Arc<Tenant>),
    TenantRemoved(TenantId),
    SlowLog(SlowLog),
    Question(Question),
    Order(Order, Done),
    KillClient {
        serial: u64,
        found: tokio::sync::oneshot::Sender<bool>,
    },
    Keep(Keeping),
    Drain,
    Stop,
}

/// A dial that has ended.
#[derive(Debug)]
pub(super) struct Dialled {
    /// The pool's generation when it began.
    pub(super) generation: u32,
    pub(super) permit: Permit,
    /// Those of the startup packet.
    pub(super) settings: Vec<Setting>,
    pub(super) result: Result<Upstream, ConnectError>,
}

/// Held by who carries out a cancel request, dropped at the end.
pub(super) type Done = tokio::sync::mpsc::Sender<super::Nothing>;

/// Whether a cancel request has certainly been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CancelOutcome {
    Certain,
    Unknown,
}

/// The way into a worker.
#[derive(Debug)]
pub(super) struct Inbox {
    /// `None`: the worker has ended, and what comes is dropped.
    queue: Mutex<Option<VecDeque<Message>>>,
    waker: Waker,
}

impl Inbox {
    pub(super) fn new(poll: &Poll) -> io::Result<Arc<Self>> {
        let waker = Waker::new(poll.registry(), WAKER)?;
        Ok(Arc::new(Self {
            queue: Mutex::new(Some(VecDeque::new())),
            waker,
        }))
    }

    pub(super) fn put(&self, message: Message) {
        let mut queue = self.lock();
        let Some(messages) = &mut *queue else {
            // Dropped outside of the lock: it may own anything.
            drop(queue);
            return;
        };
        if matches!(message, Message::Cancel { .. }) && messages.len() >= CANCELS {
            return;
        }
        let was_empty = messages.is_empty();
        messages.push_back(message);
        drop(queue);
        if was_empty && let Err(error) = self.waker.wake() {
            tracing::error!(%error, "a worker cannot be woken");
        }
    }

    /// All that has come, in order.
    pub(super) fn take(&self) -> VecDeque<Message> {
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The worker has ended: whoever waits for an answer learns so.
    pub(super) fn close(&self) {
        let left = self.lock().take();
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<Message>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
