//! How clients come to a worker: a place in their tenant's pool, and the greeting that ends the login.
//!
//! What a client is greeted with ([`Worker::greet`]) is what a server says to its startup settings. The
//! first client with such settings is introduced to a server; those after it are greeted at once.

use mio::Interest;
use mio::event::Source;

use super::NewClient;
use super::clients::{CancelKey, Client, ClientState, shutdown};
use super::deadlines::Deadline;
use super::routing::{Course, Way};
use super::run::{Phase, Turn, Worker, token};
use super::socket::Connected;
use super::stats::Ended;
use crate::config::{PoolMode, Replication};
use crate::error::{ClientError, SqlState};
use crate::session::Session;
use crate::wire::frame::{self, READY_IDLE};

impl Worker {
    /// Takes a client over and greets it as soon as its pool knows what to report.
    pub(super) fn admit(&mut self, mut new: NewClient) {
        let mut socket = Connected::new(new.stream, new.read_ahead);
        if self.phase != Phase::Serving {
            return turn_away(&mut socket, &shutdown());
        }
        if let Err(error) = self.refresh(&mut new.identity) {
            return turn_away(&mut socket, &error);
        }
        let Some(pool) = self.pool_for(&new.identity, new.route) else {
            let text = "the tenant's cluster is not configured any more";
            return turn_away(
                &mut socket,
                &ClientError::fatal(SqlState::UNAVAILABLE, text),
            );
        };
        let Ok(key) = CancelKey::new(new.protocol) else {
            let text = "no random numbers for a cancel key";
            return turn_away(
                &mut socket,
                &ClientError::fatal(SqlState::UNAVAILABLE, text),
            );
        };
        let settings = self.pools[pool].settings.intern(&new.settings);
        let limits = self.pools[pool].limits();
        if settings.replicates() && limits.replication == Replication::Refuse {
            let text = "replication is not allowed for this tenant";
            let error = ClientError::fatal(SqlState::UNSUPPORTED, text);
            let hint = "set pool.replication to logical, with pool.mode = session";
            return turn_away(&mut socket, &error.with_hint(hint));
        }
        self.pools[pool].greet(&new.identity);
        self.tallies.clients += 1;
        let origin = new.peer.filter(|peer| socket.stream.peer() != Some(*peer));
        let origin = origin.map(Box::new);
        let serial = self.next_serial();
        let slot = self.clients.insert(Client {
            serial,
            socket,
            session: Session::new(settings, serial),
            state: ClientState::Idle,
            pool,
            course: Course::at(pool),
            seat: self.pools[pool].members.len(),
            turn: 0,
            since: self.now,
            begun: self.micros,
            asked: self.micros,
            connected: self.micros,
            origin,
            deadline: Deadline::default(),
            role: new.identity.role,
            key,
            shown: None,
            doom: None,
            counted: false,
            told: false,
            _places: new.places,
        });
        self.pools[pool].members.push(slot);
        let token = token(Turn::Client(slot, serial));
        let interest = Interest::READABLE | Interest::WRITABLE;
        let stream = &mut self.clients[slot].socket.stream;
        if let Err(error) = stream.register(self.poll.registry(), token, interest) {
            tracing::error!(%error, "a client's socket cannot be watched");
            return self.client_gone(slot);
        }
        self.welcome(slot);
    }

    /// Greets a client at once if its pool knows what to say, else puts it in line.
    pub(super) fn welcome(&mut self, slot: usize) {
        if let Some(error) = self.unserved(slot) {
            return self.close_client(slot, &error.as_fatal());
        }
        let client = &self.clients[slot];
        let known = client.session.settings().reported.get().is_some();
        if known && self.pools[client.pool].limits().mode != PoolMode::Session {
            return self.greet(slot, None);
        }
        self.clients[slot].state = ClientState::Login;
        match self.way_in(slot) {
            Way::Line(line) => {
                if self.acquire(slot, line) {
                    self.introduce(slot);
                }
            }
            Way::Wait => {}
            Way::Refuse(error) => self.close_client(slot, &error.as_fatal()),
        }
    }

    /// A client at its login has got a server connection: gives that its startup settings.
    pub(super) fn introduce(&mut self, slot: usize) {
        let ClientState::Leased(server) = self.clients[slot].state else {
            return;
        };
        self.clients[slot].state = ClientState::Introducing(server);
        let when = self.pools[self.clients[slot].pool].limits().reset;
        let link = &mut self.servers[server].link;
        let mut sql = Vec::new();
        // What was said to others is not this client's.
        link.take_notices();
        link.prepare_for(&self.clients[slot].session, when, &mut sql);
        if sql.is_empty() {
            // In its turn: a whole line of such clients must not nest.
            let serial = self.clients[slot].serial;
            return self.ready.push_back(Turn::Client(slot, serial));
        }
        if self.servers[server].socket.send(&sql).is_err() {
            self.server_lost(server, "it closed the connection");
        }
    }

    /// The server has taken a client's startup settings, or refused them.
    pub(super) fn introduced(&mut self, slot: usize, server: usize) {
        if let Some(fault) = self.servers[server].link.take_fault() {
            let mut refusal = Vec::new();
            frame::put(&mut refusal, b'E', &[&as_fatal(&fault)]);
            let _gone = self.clients[slot].socket.send(&refusal);
            // The list of settings it has now is in doubt.
            self.servers[server].doubtful = Some(Ended::Unclean);
            return self.client_gone(slot);
        }
        let link = &mut self.servers[server].link;
        let (reported, notices) = (link.reported.clone(), link.take_notices());
        // Another client with the same settings may have been first.
        let settings = self.clients[slot].session.settings();
        let _known = (
            settings.notices.set(notices),
            settings.reported.set(reported),
        );
        let session_mode = self.pools[self.clients[slot].pool].is_session();
        let settings = self.clients[slot].session.settings();
        if session_mode && !self.servers[server].link.fresh().same(settings) {
            // The server takes them: now one that was opened with them.
            self.close_server(server, Ended::Replaced);
            return self.welcome(slot);
        }
        let held = &self.servers[server];
        self.clients[slot].state = ClientState::Leased(server);
        let process_id = session_mode.then_some(held.process_id);
        self.greet(slot, process_id);
        if self.clients.contains(slot) {
            self.settle(slot);
        }
    }

    /// Sends what follows AuthenticationOk (manual 55.2.1).
    fn greet(&mut self, slot: usize, process_id: Option<i32>) {
        let client = &mut self.clients[slot];
        let own = self
            .workers
            .process_ids
            .encode(self.number, self.workers.inboxes.len(), slot);
        client.shown = process_id;
        if let Some(real) = process_id {
            self.workers.process_ids.add(real, (self.number, slot));
        }
        let mut out = Vec::new();
        out.extend(
            client
                .session
                .settings()
                .notices
                .get()
                .into_iter()
                .flatten(),
        );
        for (name, value) in client
            .session
            .settings()
            .reported
            .get()
            .into_iter()
            .flatten()
        {
            frame::put(
                &mut out,
                b'S',
                &[name.as_bytes(), b"\0", value.as_bytes(), b"\0"],
            );
        }
        let process_id = process_id.unwrap_or(own).to_be_bytes();
        frame::put(&mut out, b'K', &[&process_id, client.key.as_bytes()]);
        out.extend_from_slice(READY_IDLE);
        self.pools[client.pool].stats.sent += out.len() as u64;
        if client.socket.send(&out).is_err() {
            return self.client_gone(slot);
        }
        let serial = client.serial;
        self.set_client_deadline(slot);
        self.ready.push_back(Turn::Client(slot, serial));
    }
}

fn turn_away(socket: &mut Connected, error: &ClientError) {
    let mut last = Vec::new();
    error.encode(&mut last);
    let _gone = socket.send(&last);
    socket.stream.finish();
}

/// An ErrorResponse's fields with severity FATAL: at a login there is nothing to go on with.
fn as_fatal(fields: &[u8]) -> Vec<u8> {
    let mut out = b"SFATAL\0VFATAL\0".to_vec();
    let mut rest = fields;
    while let Some((field, after)) = frame::cstr(rest) {
        if !field.is_empty() && !matches!(field[0], b'S' | b'V') {
            out.extend_from_slice(field);
            out.push(0);
        }
        rest = after;
    }
    out.push(0);
    out
}
