//! The loop of a worker, and what it owns.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};
use slab::Slab;

use super::clients::Client;
use super::deadlines::{Deadlines, Fired, Millis, Owner};
use super::inbox::{Message, WAKER};
use super::pool::{Key, Pool};
use super::reporting::Report;
use super::routing::Known;
use super::servers::Server;
use super::slow::Slow;
use super::stats::{Micros, Tallies};
use super::suspension::Suspension;
use super::{Keeping, Surroundings, Workers};
use crate::session::{ReadCache, WHOLE};
use crate::tenant::Registry;
use crate::types::{ClusterName, NodeAddr, TenantId};

/// Bytes taken from a socket in one turn.
pub(super) const READ: usize = 64 * 1024;

/// Events taken from the kernel at once.
const EVENTS: usize = 1024;

/// Entries of deadlines that a worker may have however few owners there are.
const DEADLINES: usize = 1024;

/// Buffers kept for input that must wait.
pub(super) const SPARE: usize = 64;

/// What a worker is started with.
pub(super) struct Seat {
    pub(super) number: usize,
    pub(super) poll: Poll,
    pub(super) workers: Workers,
    pub(super) around: Surroundings,
}

/// How far a worker is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Transactions may finish.
    Draining,
    /// Nothing may.
    Stopping,
}

/// Something that has work although the kernel will not say so again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Client(usize, u64),
    Server(usize, u64),
}

/// One worker.
pub(super) struct Worker {
    pub(super) number: usize,
    pub(super) poll: Poll,
    pub(super) workers: Workers,
    pub(super) around: Surroundings,
    pub(super) clients: Slab<Client>,
    pub(super) servers: Slab<Server>,
    pub(super) pools: Slab<Pool>,
    pub(super) by_key: HashMap<Key, usize>,
    pub(super) by_tenant: HashMap<TenantId, Vec<usize>>,
    /// All tenants as they are now; `None`: as they were at the start.
    pub(super) registry: Option<Arc<Registry>>,
    /// Pools with idle connections by node and turn, those that had them first in front.
    pub(super) idle_pools: HashMap<NodeAddr, BTreeMap<u64, usize>>,
    /// Clients whose reads wait for a replica; some of them wait no longer.
    pub(super) catching: Vec<(usize, u64)>,
    /// Requests for positions so far.
    pub(super) asked: u64,
    /// Looked up by each read that goes to a replica: with a faster hash than that of `std`.
    pub(super) positions: hashbrown::HashMap<ClusterName, Known>,
    pub(super) reads: ReadCache,
    pub(super) deadlines: Deadlines,
    pub(super) now: Millis,
    /// The same clock, finer.
    pub(super) micros: Micros,
    pub(super) tallies: Tallies,
    pub(super) slow: Slow,
    /// Reports in the making.
    pub(super) reports: VecDeque<Report>,
    pub(super) suspended: Option<Suspension>,
    pub(super) serial: u64,
    pub(super) buffer: Box<[u8]>,
    pub(super) scratch: Vec<u8>,
    pub(super) answer: Vec<u8>,
    pub(super) spare: Vec<Vec<u8>>,
    pub(super) ready: VecDeque<Turn>,
    pub(super) phase: Phase,
    pub(super) keeping: Keeping,
}

/// A socket's token: what it is, its slot, and the low bits of its serial number, by which an
/// event for a former occupant of the slot is known.
pub(super) fn token(kind: Turn) -> Token {
    let (bit, slot, serial) = match kind {
        Turn::Client(slot, serial) => (0, slot, serial),
        Turn::Server(slot, serial) => (1, slot, serial),
    };
    Token((low(serial) << 32) | (slot << 1) | bit)
}

/// The part of a serial number that a token has room for.
#[inline]
fn low(serial: u64) -> usize {
    usize::try_from(serial & 0xffff_ffff).unwrap_or_default()
}

impl Worker {
    pub(super) fn new(seat: Seat) -> Self {
        Self {
            number: seat.number,
            poll: seat.poll,
            workers: seat.workers,
            around: seat.around,
            clients: Slab::new(),
            servers: Slab::new(),
            pools: Slab::new(),
            by_key: HashMap::new(),
            by_tenant: HashMap::new(),
            registry: None,
            idle_pools: HashMap::new(),
            catching: Vec::new(),
            asked: 0,
            positions: hashbrown::HashMap::default(),
            reads: ReadCache::default(),
            deadlines: Deadlines::default(),
            now: 0,
            micros: 0,
            tallies: Tallies::default(),
            slow: Slow::default(),
            reports: VecDeque::new(),
            suspended: None,
            serial: 0,
            buffer: vec![0; WHOLE + READ].into(),
            scratch: Vec::new(),
            answer: Vec::new(),
            spare: Vec::new(),
            ready: VecDeque::new(),
            phase: Phase::Serving,
            keeping: Keeping::Warm,
        }
    }

    /// Serves until told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        while !self.is_done() {
            let wait = self.next_wait();
            if let Err(error) = self.poll.poll(&mut events, wait)
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "waiting for events failed");
            }
            self.micros = elapsed(self.around.epoch);
            self.now = self.micros / 1000;
            if self.suspended.is_some() {
                self.suspended_turn(&events);
                continue;
            }
            for event in &events {
                self.event(event);
            }
            self.work_off();
            self.expire();
            self.report();
        }
        self.workers.inboxes[self.number].close();
    }

    fn is_done(&self) -> bool {
        match self.phase {
            Phase::Serving => false,
            Phase::Draining => self.clients.is_empty() && self.servers.is_empty(),
            Phase::Stopping => self.clients.is_empty(),
        }
    }

    fn next_wait(&self) -> Option<Duration> {
        if self.suspended.is_some() {
            return None;
        }
        if !self.ready.is_empty() || !self.reports.is_empty() {
            return Some(Duration::ZERO);
        }
        let next = self.deadlines.next()?;
        Some(Duration::from_millis(next.saturating_sub(self.now).max(1)))
    }

    /// Keeps in mind what the kernel has said of a socket.
    pub(super) fn note(&mut self, event: &Event) {
        let token = event.token();
        let (slot, serial) = ((token.0 & 0xffff_ffff) >> 1, token.0 >> 32);
        let socket = if token == WAKER {
            None
        } else if token.0 & 1 == 0 {
            let client = self.clients.get_mut(slot);
            client
                .filter(|c| low(c.serial) == serial)
                .map(|c| &mut c.socket)
        } else {
            let server = self.servers.get_mut(slot);
            server
                .filter(|s| low(s.serial) == serial)
                .map(|s| &mut s.socket)
        };
        if let Some(socket) = socket {
            socket.note(event);
        }
    }

    #[inline]
    fn event(&mut self, event: &Event) {
        let token = event.token();
        if token == WAKER {
            return self.messages();
        }
        let (slot, serial) = ((token.0 & 0xffff_ffff) >> 1, token.0 >> 32);
        if token.0 & 1 == 0 {
            let Some(client) = self.clients.get_mut(slot) else {
                return;
            };
            if low(client.serial) == serial {
                client.socket.note(event);
                self.client_event(slot);
            }
        } else {
            let Some(server) = self.servers.get_mut(slot) else {
                return;
            };
            if low(server.serial) == serial {
                server.socket.note(event);
                self.server_event(slot);
            }
        }
    }

    /// Gives everybody on the ready list one turn; who has more to do is on the list again.
    fn work_off(&mut self) {
        for _ in 0..self.ready.len() {
            match self.ready.pop_front() {
                Some(Turn::Client(slot, serial)) if self.client_is(slot, serial) => {
                    self.client_event(slot);
                }
                Some(Turn::Server(slot, serial)) if self.server_is(slot, serial) => {
                    self.server_event(slot);
                }
                _ => {}
            }
        }
    }

    pub(super) fn client_is(&self, slot: usize, serial: u64) -> bool {
        self.clients.get(slot).is_some_and(|c| c.serial == serial)
    }

    pub(super) fn server_is(&self, slot: usize, serial: u64) -> bool {
        self.servers.get(slot).is_some_and(|s| s.serial == serial)
    }

    fn pool_is(&self, slot: usize, serial: u64) -> bool {
        self.pools.get(slot).is_some_and(|p| p.serial == serial)
    }

    /// A number that nothing else on this worker has had.
    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn messages(&mut self) {
        let inbox = Arc::clone(&self.workers.inboxes[self.number]);
        for message in inbox.take() {
            self.message(message);
        }
    }

    /// Does what a message asks for.
    pub(super) fn message(&mut self, message: Message) {
        match message {
            Message::Client(client) => self.admit(*client),
            Message::Dialled {
                pool,
                serial,
                dialled,
            } => {
                if self.pool_is(pool, serial) {
                    self.dialled(pool, *dialled);
                }
            }
            Message::Granted {
                pool,
                serial,
                permit,
            } => {
                if self.pool_is(pool, serial) {
                    self.granted(pool, permit);
                }
            }
            Message::Evict(node) => self.evict(&node),
            Message::Cancel { client, key, done } => self.cancel(client, &key, done),
            Message::CancelDone {
                server,
                serial,
                outcome,
            } => {
                if self.server_is(server, serial) {
                    self.cancel_done(server, outcome);
                }
            }
            Message::Cluster(view) => self.cluster_changed(&view),
            Message::Position {
                cluster,
                id,
                position,
            } => self.position_known(&cluster, id, position),
            Message::Replayed => self.replayed(),
            Message::Registry(registry) => self.registry = Some(registry),
            Message::TenantChanged(tenant) => self.tenant_changed(&tenant),
            Message::TenantRemoved(id) => self.tenant_removed(id),
            Message::SlowLog(log) => self.slow.set(log),
            Message::Question(question) => self.reports.push_back(Report::of(question)),
            Message::Order(order, done) => self.order(order, &done),
            Message::KillClient { serial, found } => {
                // Who asked may be gone.
                let _gone = found.send(self.kill_client(serial));
            }
            Message::Keep(keeping) => self.keep_open(keeping),
            Message::Drain => self.drain(),
            Message::Stop => self.stop(),
        }
    }

    /// Drops entries of deadlines that nobody has any more, once they are most of them: a pool of a
    /// tenant that is gone would leave one for an hour.
    fn compact_deadlines(&mut self) {
        let owners = self.clients.len() + self.servers.len() + self.pools.len();
        if self.deadlines.len() <= 4 * owners + DEADLINES {
            return;
        }
        let (clients, servers, pools) = (&self.clients, &self.servers, &self.pools);
        self.deadlines.compact(|at, owner| {
            let deadline = match owner {
                Owner::Client(slot, serial) => {
                    let client = clients.get(slot).filter(|c| c.serial == serial);
                    client.map(|c| &c.deadline)
                }
                Owner::Server(slot, serial) => {
                    let server = servers.get(slot).filter(|s| s.serial == serial);
                    server.map(|s| &s.deadline)
                }
                Owner::Pool(slot, serial) => {
                    let pool = pools.get(slot).filter(|p| p.serial == serial);
                    pool.map(|p| &p.deadline)
                }
            };
            deadline.is_some_and(|d| d.is_armed(at))
        });
    }

    fn expire(&mut self) {
        self.compact_deadlines();
        while let Some((at, owner)) = self.deadlines.pop(self.now) {
            let now = self.now;
            match owner {
                Owner::Client(slot, serial) if self.client_is(slot, serial) => {
                    let deadline = &mut self.clients[slot].deadline;
                    if self.deadlines.fired(deadline, (at, owner), now) == Fired::Due {
                        self.client_due(slot);
                    }
                }
                Owner::Server(slot, serial) if self.server_is(slot, serial) => {
                    let deadline = &mut self.servers[slot].deadline;
                    if self.deadlines.fired(deadline, (at, owner), now) == Fired::Due {
                        self.server_due(slot);
                    }
                }
                Owner::Pool(slot, serial) if self.pool_is(slot, serial) => {
                    let deadline = &mut self.pools[slot].deadline;
                    if self.deadlines.fired(deadline, (at, owner), now) == Fired::Due {
                        self.pool_due(slot);
                    }
                }
                Owner::Client(..) | Owner::Server(..) | Owner::Pool(..) => {}
            }
        }
    }

    /// Copies input that must wait aside.
    #[inline]
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Vec<u8> {
        if bytes.is_empty() {
            return Vec::new();
        }
        let mut kept = self.spare.pop().unwrap_or_default();
        kept.extend_from_slice(bytes);
        kept
    }

    /// Puts what was kept at the start of `buffer`; returns how much it is.
    #[inline]
    pub(super) fn unkeep(&mut self, mut kept: Vec<u8>, buffer: &mut [u8]) -> usize {
        let len = kept.len();
        if len > 0 {
            buffer[..len].copy_from_slice(&kept);
            if self.spare.len() < SPARE && kept.capacity() <= READ {
                kept.clear();
                self.spare.push(kept);
            }
        }
        len
    }
}

/// Microseconds of the workers' common clock.
fn elapsed(epoch: Instant) -> Micros {
    let since = epoch.elapsed();
    since.as_secs() * 1_000_000 + u64::from(since.subsec_micros())
}
