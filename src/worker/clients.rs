//! Clients of a worker: waiting, leases, refusals, end. How they come: [`super::admission`].

use std::net::SocketAddr;
use std::rc::Rc;

use mio::event::Source;
use subtle::ConstantTimeEq;

use super::Protocol;
use super::deadlines::{Deadline, Millis, Owner, after};
use super::pool::{Pool, Waiter};
use super::routing::Course;
use super::run::{Phase, Turn, Worker};
use super::servers::ServerState;
use super::socket::Connected;
use super::stats::Micros;
use crate::error::{ClientError, SqlState};
use crate::gauge::Place;
use crate::session::Session;
use crate::types::RoleName;

/// One client.
pub(super) struct Client {
    pub(super) serial: u64,
    pub(super) socket: Connected,
    pub(super) session: Session,
    pub(super) state: ClientState,
    pub(super) pool: usize,
    /// Where its requests go.
    pub(super) course: Course,
    /// Its place among the pool's members.
    pub(super) seat: usize,
    /// Its last wait, by a number that no other client's wait on this worker has: its slot may have
    /// had another occupant, whose entry is still in some line.
    pub(super) turn: u64,
    /// Since when it has been in its state.
    pub(super) since: Millis,
    /// When its transaction began.
    pub(super) begun: Micros,
    /// When its query began, or its wait for a server connection.
    pub(super) asked: Micros,
    /// When it was admitted.
    pub(super) connected: Micros,
    /// Where it comes from, where its socket does not tell.
    pub(super) origin: Option<Box<SocketAddr>>,
    pub(super) deadline: Deadline,
    pub(super) role: RoleName,
    pub(super) key: CancelKey,
    /// The process id that it was shown, where that is its server's.
    pub(super) shown: Option<i32>,
    /// It counts among its pool's pinned ones.
    pub(super) counted: bool,
    /// Its pin is in the log.
    pub(super) told: bool,
    /// What to tell it at the next transaction boundary.
    pub(super) doom: Option<Box<ClientError>>,
    pub(super) _places: [Place; 2],
}

/// Named by what is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientState {
    /// In line for the server connection that tells what its startup settings come to.
    Login,
    /// That server connection's answer.
    Introducing(usize),
    /// Its next request.
    Idle,
    /// A replica that has replayed what its request must see.
    CatchingUp,
    /// In line with a request.
    Waiting,
    /// Requests and replies, over that server connection.
    Leased(usize),
}

/// What a cancel request must show.
pub(super) struct CancelKey {
    bytes: [u8; 32],
    protocol: Protocol,
}

impl CancelKey {
    pub(super) fn new(protocol: Protocol) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self { bytes, protocol })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self.protocol {
            Protocol::V3_0 => &self.bytes[..4],
            Protocol::V3_2 => &self.bytes,
        }
    }
}

impl Client {
    /// Whether a cancel request's key is this client's.
    pub(super) fn has_key(&self, key: &[u8]) -> bool {
        self.key.as_bytes().ct_eq(key).into()
    }

    /// Whether an entry of a line is its present wait.
    pub(super) fn waits(&self, waiter: &Waiter) -> bool {
        self.turn == waiter.turn && self.is_in_line()
    }

    /// Whether it waits for a server connection.
    pub(super) fn is_in_line(&self) -> bool {
        matches!(self.state, ClientState::Waiting | ClientState::Login)
    }
}

impl Worker {
    /// Whether a waiting client has gone.
    pub(super) fn watch_for_end(&mut self, slot: usize) {
        if self.clients[slot].socket.closing {
            self.client_gone(slot);
        }
    }

    /// Whether a client has gone whose server takes no more for now. One that has only ended its
    /// side may have sent all that it wants to be done.
    #[cold]
    pub(super) fn watch_for_reset(&mut self, slot: usize) {
        let socket = &mut self.clients[slot].socket;
        if socket.closing && socket.stream.is_reset() {
            self.client_gone(slot);
        }
    }

    /// Leases an idle server connection (true), or puts the client in line.
    pub(super) fn acquire(&mut self, slot: usize, pool: usize) -> bool {
        self.clients[slot].course.line = pool;
        if !self.pools[pool].holds_back()
            && !self.pools[pool].has_waiters()
            && let Some(server) = self.idle_for(slot)
        {
            self.lease(slot, server);
            self.tallies.wait.observe_none();
            return true;
        }
        let turn = self.next_serial();
        let client = &mut self.clients[slot];
        if client.state != ClientState::Login {
            client.state = ClientState::Waiting;
        }
        client.turn = turn;
        client.since = self.now;
        client.asked = self.micros;
        let waiter = Waiter {
            client: slot,
            turn: client.turn,
            since: self.now,
        };
        let clients = &self.clients;
        let pool_ = &mut self.pools[pool];
        pool_.compact(|w| clients.get(w.client).is_some_and(|c| c.waits(w)));
        pool_.wait(waiter);
        let due = after(self.now, pool_.limits().acquire_timeout);
        let client = &mut self.clients[slot];
        let owner = Owner::Client(slot, client.serial);
        self.deadlines.set(&mut client.deadline, owner, due);
        self.fill(pool);
        false
    }

    fn idle_for(&mut self, slot: usize) -> Option<usize> {
        let client = &self.clients[slot];
        if !self.pools[client.course.line].is_session() {
            return self.idle_server(client.course.line);
        }
        let settings = Rc::clone(client.session.settings());
        self.idle_fitting(client.course.line, &settings)
    }

    pub(super) fn lease(&mut self, slot: usize, server: usize) {
        self.servers[server].state = ServerState::Leased(slot);
        let client = &mut self.clients[slot];
        self.pools[client.pool].stats.leases += 1;
        client.begun = self.micros;
        client.since = self.now;
        let before = std::mem::replace(&mut client.state, ClientState::Leased(server));
        if self.pools[client.pool].is_routed() && before != ClientState::Login {
            self.routed(slot, server);
        }
    }

    /// Answers the request that the input begins with by an error; the client stays.
    pub(super) fn refuse_now(&mut self, slot: usize, input: &[u8], error: &ClientError) {
        let client = &mut self.clients[slot];
        let mut answer = Vec::new();
        client.session.refuse(input, error, &mut answer);
        self.pools[client.pool].stats.sent += answer.len() as u64;
        // A failed write shows again as a failed read.
        let _gone = client.socket.send(&answer);
    }

    /// Answers a waiting client's request by an error; the client stays.
    pub(super) fn refuse(&mut self, slot: usize, error: &ClientError) {
        let client = &mut self.clients[slot];
        let in_line = client.state == ClientState::Waiting;
        if !in_line && client.state != ClientState::CatchingUp {
            return;
        }
        client.course.catch_up = None;
        client.state = ClientState::Idle;
        let mut answer = Vec::new();
        client
            .session
            .refuse(&client.socket.held, error, &mut answer);
        let sent = client.socket.send(&answer);
        self.pools[client.pool].stats.sent += answer.len() as u64;
        let serial = client.serial;
        if in_line {
            self.pools[self.clients[slot].course.line].left_line();
        }
        if sent.is_err() {
            return self.client_gone(slot);
        }
        self.ready.push_back(Turn::Client(slot, serial));
        self.set_client_deadline(slot);
    }

    /// At a transaction boundary: whether the client must go now.
    #[inline]
    pub(super) fn settle_unleased(&mut self, slot: usize) {
        if self.phase == Phase::Serving && self.clients[slot].doom.is_none() {
            return;
        }
        let client = &self.clients[slot];
        let resting = match client.state {
            ClientState::Leased(server) => self.servers[server].link.at_rest(),
            ClientState::Idle | ClientState::CatchingUp => !client.session.holds_opening(),
            ClientState::Login | ClientState::Waiting => true,
            ClientState::Introducing(_) => false,
        };
        if resting {
            let error = client.doom.as_deref().cloned().unwrap_or_else(shutdown);
            self.close_client(slot, &error);
        }
    }

    /// Tells a client why, and lets it go.
    pub(super) fn close_client(&mut self, slot: usize, error: &ClientError) {
        let mut last = Vec::new();
        error.encode(&mut last);
        self.part_with(slot, &last);
    }

    /// Sends a client the last that it gets, and lets it go.
    pub(super) fn part_with(&mut self, slot: usize, last: &[u8]) {
        let client = &mut self.clients[slot];
        self.pools[client.pool].stats.sent += last.len() as u64;
        // It may be gone already.
        let _gone = client.socket.send(last);
        self.client_gone(slot);
    }

    /// A client is no more: what it had goes back, is reset or closed.
    pub(super) fn client_gone(&mut self, slot: usize) {
        let Some(mut client) = self.clients.try_remove(slot) else {
            return;
        };
        client.socket.stream.finish();
        let _gone = client.socket.stream.deregister(self.poll.registry());
        self.pools[client.pool].count(client.session.take_tally());
        self.slow.forget(slot);
        match client.state {
            ClientState::Idle | ClientState::CatchingUp => {}
            ClientState::Login | ClientState::Waiting => {
                self.pools[client.course.line].left_line();
            }
            ClientState::Leased(server) | ClientState::Introducing(server) => {
                self.give_back(server, &client.session);
            }
        }
        if let Some(real) = client.shown {
            self.workers.process_ids.remove(real, (self.number, slot));
        }
        let pool = &mut self.pools[client.pool];
        pool.pinned -= usize::from(client.counted);
        pool.members.swap_remove(client.seat);
        if let Some(&moved) = pool.members.get(client.seat) {
            self.clients[moved].seat = client.seat;
        }
        if pool.members.is_empty() {
            pool.deserted = Some(self.now);
            self.plan(client.pool);
        }
    }
}

impl Pool {
    /// Why a client that waited for `acquire_timeout` got nothing.
    pub(super) fn why_waited(&self) -> ClientError {
        let limits = self.limits();
        let wait = limits.acquire_timeout;
        if self.is_paused() {
            let text = format!("the tenant is paused, still so after {wait:?}");
            return ClientError::error(SqlState::UNAVAILABLE, text).with_hint("try again later");
        }
        let (full, size) = (self.open >= limits.size, limits.size);
        let reason = if full {
            format!("all {size} server connections of the pool are in use (pool.size)")
        } else if let (Some(error), None) = (&self.last_error, &self.ticket) {
            return ClientError {
                severity: crate::error::Severity::Error,
                ..error.clone()
            };
        } else {
            format!(
                "the node's {} server connections are in use (max_connections)",
                self.node.limit()
            )
        };
        let text =
            format!("no server connection became free within {wait:?} (pool.acquire_timeout)");
        ClientError::error(SqlState::TOO_MANY, text).with_hint(reason)
    }
}

/// What clients are told when the proxy ends.
pub(super) fn shutdown() -> ClientError {
    ClientError::fatal(SqlState::SHUTDOWN, "the proxy is shutting down").with_hint("connect again")
}

/// What clients are told whose tenant or role was taken out of the configuration.
pub(super) fn removed() -> ClientError {
    ClientError::fatal(SqlState::SHUTDOWN, "this login is no longer configured")
}
