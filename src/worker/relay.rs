//! HOT: read, ask the machine, write. No allocation per message, no lock, no log line.
//!
//! A side that cannot take more stops reading from the other: what is held is bounded by one read.

use super::clients::ClientState;
use super::routing::Way;
use super::run::{READ, Turn, Worker};
use super::servers::{Server, ServerState};
use super::socket::End;
use super::stats::Ended;
use crate::config::PoolMode;
use crate::session::{Desync, Flow, Leased, Replies, Schema, Step, Verdict, WHOLE};

/// Replies that a client may leave unread before its requests wait.
const UNREAD: usize = 16 * 1024;

impl Worker {
    /// A client can be read or written, or has been given what it waited for.
    #[inline]
    pub(super) fn client_event(&mut self, slot: usize) {
        if !self.clients[slot].socket.is_clear() && !self.client_drained(slot) {
            return;
        }
        match self.clients[slot].state {
            ClientState::Idle => self.read_client(slot),
            ClientState::Leased(server)
                if self.servers[server].socket.is_clear() && !self.servers[server].is_frozen() =>
            {
                self.read_client(slot);
            }
            ClientState::Leased(_) => self.watch_for_reset(slot),
            ClientState::Introducing(server) if self.servers[server].link.at_rest() => {
                self.introduced(slot, server);
            }
            ClientState::Login
            | ClientState::Waiting
            | ClientState::CatchingUp
            | ClientState::Introducing(_) => {
                self.watch_for_end(slot);
            }
        }
    }

    /// Writes what a client had left unread, and lets its server go on; false: it still has some.
    fn client_drained(&mut self, slot: usize) -> bool {
        match self.clients[slot].socket.flush() {
            Ok(true) => {
                if let ClientState::Leased(server) = self.clients[slot].state {
                    self.resume_server(server);
                    self.settle(slot);
                }
                true
            }
            Ok(false) => self.clients[slot].socket.out.len() < UNREAD,
            Err(_) => {
                self.client_gone(slot);
                false
            }
        }
    }

    /// Reads once, and gives the machine what there is.
    fn read_client(&mut self, slot: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let held = std::mem::take(&mut self.clients[slot].socket.held);
        let kept = self.unkeep(held, &mut buffer);
        let socket = &mut self.clients[slot].socket;
        // What is held back may be more than one message: then it goes first.
        let outcome = if socket.readable && kept <= WHOLE {
            socket.read(&mut buffer[kept..kept + READ])
        } else {
            Ok((0, End::Open))
        };
        let serial = self.clients[slot].serial;
        match outcome {
            Ok((read, end)) => {
                self.pools[self.clients[slot].pool].stats.received += read as u64;
                let used = self.feed_client(slot, &buffer[..kept + read]);
                if self.client_is(slot, serial) {
                    let rest = self.keep(&buffer[used..kept + read]);
                    self.clients[slot].socket.held = rest;
                    self.after_reading(slot, end);
                }
            }
            Err(_) => self.client_gone(slot),
        }
        self.buffer = buffer;
    }

    fn after_reading(&mut self, slot: usize, end: End) {
        if end == End::Closed {
            return self.client_gone(slot);
        }
        let client = &self.clients[slot];
        let stuck = matches!(
            client.state,
            ClientState::Waiting | ClientState::CatchingUp | ClientState::Login
        );
        if client.socket.readable && !stuck && client.socket.held.len() < WHOLE {
            self.ready.push_back(Turn::Client(slot, client.serial));
        }
    }

    /// Gives a client's bytes to the machine, as far as it takes them.
    fn feed_client(&mut self, slot: usize, input: &[u8]) -> usize {
        let serial = self.clients[slot].serial;
        let mut used = 0;
        while self.client_is(slot, serial) {
            let step = match self.clients[slot].state {
                ClientState::Leased(server) => self.feed_leased(slot, server, &input[used..]),
                _ => self.feed_unleased(slot, &input[used..]),
            };
            used += step.used;
            match step.verdict {
                Verdict::More | Verdict::Hold => {
                    if self.clients.get(slot).is_some_and(|c| c.serial == serial) {
                        self.settle(slot);
                    }
                    break;
                }
                Verdict::Lease => match self.way(slot, &input[used..]) {
                    Way::Line(line) => {
                        if !self.acquire(slot, line) {
                            break;
                        }
                    }
                    Way::Wait => break,
                    Way::Refuse(error) => self.refuse_now(slot, &input[used..], &error),
                },
                Verdict::Terminate => self.client_gone(slot),
                Verdict::Fail(error) => self.close_client(slot, &error),
            }
        }
        used
    }

    fn feed_unleased(&mut self, slot: usize, input: &[u8]) -> Step {
        let mut answer = std::mem::take(&mut self.answer);
        let client = &mut self.clients[slot];
        let pool = &mut self.pools[client.pool];
        let openings = pool.openings();
        let with = (&mut pool.statements, openings);
        let step = client.session.read_unleased(input, with, &mut answer);
        if !answer.is_empty() {
            self.pools[client.pool].stats.sent += answer.len() as u64;
            // A failed write shows again as a failed read.
            let _gone = client.socket.send(&answer);
        }
        answer.clear();
        self.answer = answer;
        step
    }

    fn feed_leased(&mut self, slot: usize, server: usize, input: &[u8]) -> Step {
        let client = &mut self.clients[slot];
        let pool = &mut self.pools[client.pool];
        let limits = &pool.tenant.config.pool;
        let mut leased = Leased {
            link: &mut self.servers[server].link,
            max_prepared: limits.max_prepared_statements,
            mode: limits.mode,
            state: limits.session_state,
            catalog: pool.catalog.known(),
            pins_left: limits.pins().saturating_sub(pool.pinned),
            statements: &mut pool.statements,
        };
        let timed = limits.is_timed();
        if !leased.link.is_busy() {
            client.asked = self.micros;
            if self.slow.wants_texts() {
                self.slow.begins(slot, client, input);
            }
            if leased.link.at_rest() {
                client.begun = self.micros;
                let session = &client.session;
                leased
                    .link
                    .prepare_for(session, limits.reset, &mut self.scratch);
            }
        }
        if leased.link.is_awaiting() {
            return self.hold_back(server);
        }
        client.session.put_opening(leased.link, &mut self.scratch);
        let mut flow = Flow::new(input, &mut self.scratch);
        let step = client
            .session
            .read(input, &mut leased, &mut flow, &mut self.answer);
        if !self.answer.is_empty() {
            pool.stats.sent += self.answer.len() as u64;
            // A failed write shows again as a failed read.
            let _gone = client.socket.send(&self.answer);
            self.answer.clear();
        }
        let bytes = flow.finish();
        let sent = if bytes.is_empty() {
            Ok(())
        } else {
            self.servers[server].socket.send(bytes)
        };
        self.scratch.clear();
        if client.session.keeps() != client.counted {
            self.count_pin(slot);
        }
        if timed {
            self.set_client_deadline(slot);
        }
        if sent.is_err() {
            self.server_unwritable(server);
        }
        if self.servers[server].sent.is_some() {
            self.keep_sent(server, &input[..step.used]);
        }
        step
    }

    /// What the server said before it went is still to be read.
    pub(super) fn server_unwritable(&mut self, server: usize) {
        let gone = &mut self.servers[server].socket;
        (gone.readable, gone.closing) = (true, true);
        self.ready
            .push_back(Turn::Server(server, self.servers[server].serial));
    }

    /// The client's request waits until the server has taken what is in the scratch buffer, if
    /// anything is.
    fn hold_back(&mut self, server: usize) -> Step {
        if !self.scratch.is_empty() && self.servers[server].socket.send(&self.scratch).is_err() {
            self.server_unwritable(server);
        }
        self.scratch.clear();
        Step {
            used: 0,
            verdict: Verdict::Hold,
        }
    }

    /// A server connection can be read or written.
    #[inline]
    pub(super) fn server_event(&mut self, slot: usize) {
        if !self.servers[slot].socket.is_clear() {
            match self.servers[slot].socket.flush() {
                Ok(true) => self.resume_client(slot),
                Ok(false) => {}
                Err(_) => self.servers[slot].socket.closing = true,
            }
        }
        if !self.servers[slot].socket.readable {
            return;
        }
        match self.servers[slot].state {
            ServerState::Leased(client) => {
                if self.clients[client].socket.is_clear() {
                    self.read_server(slot);
                }
            }
            ServerState::Idle { .. } | ServerState::Owned(_) => self.read_server(slot),
            ServerState::Closing => self.drain_server(slot),
        }
    }

    fn read_server(&mut self, slot: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let held = std::mem::take(&mut self.servers[slot].socket.held);
        let kept = self.unkeep(held, &mut buffer);
        let serial = self.servers[slot].serial;
        match self.servers[slot]
            .socket
            .read(&mut buffer[kept..kept + READ])
        {
            Ok((read, end)) => {
                let fed = self.feed_server(slot, &buffer[..kept + read]);
                if self.server_is(slot, serial) {
                    self.after_replies(slot, fed, &buffer[..kept + read], end);
                }
            }
            Err(error) => self.server_lost(slot, &error.to_string()),
        }
        self.buffer = buffer;
    }

    /// Gives the machine what a server sent, and the client what is its.
    fn feed_server(&mut self, slot: usize, input: &[u8]) -> Result<usize, Desync> {
        let server = &mut self.servers[slot];
        let client = match server.state {
            ServerState::Leased(client) => Some(&mut self.clients[client]),
            _ => None,
        };
        let mut flow = Flow::new(input, &mut self.scratch);
        let mut spoken = false;
        let fed = match client {
            Some(client) => {
                let session = Some(&mut client.session);
                let fed = Replies {
                    session,
                    link: &mut server.link,
                }
                .read(input, &mut flow);
                let bytes = flow.finish();
                if server.link.has_failed() {
                    self.scratch.clear();
                    return fed;
                }
                self.pools[client.pool].stats.sent += bytes.len() as u64;
                if !bytes.is_empty() && server.sent.is_some() {
                    spoken = true;
                }
                if !bytes.is_empty() && client.socket.send(bytes).is_err() {
                    // A failed write shows again as a failed read.
                    (client.socket.readable, client.socket.closing) = (true, true);
                }
                fed
            }
            None => Replies {
                session: None,
                link: &mut server.link,
            }
            .read(input, &mut flow),
        };
        self.scratch.clear();
        if spoken {
            self.forget_sent(slot);
        }
        fed
    }

    fn after_replies(&mut self, slot: usize, fed: Result<usize, Desync>, input: &[u8], end: End) {
        if self.servers[slot].link.has_failed() && self.again(slot) {
            return;
        }
        let used = match fed {
            Ok(used) => used,
            Err(desync) => return self.server_lost(slot, &desync.to_string()),
        };
        let rest = self.keep(&input[used..]);
        let server = &mut self.servers[slot];
        server.socket.held = rest;
        if end == End::Closed {
            return self.server_lost(slot, "it closed the connection");
        }
        if server.socket.readable {
            self.ready.push_back(Turn::Server(slot, server.serial));
        }
        let changed = server.link.schema_changed();
        if changed != Schema::Same {
            self.schema_changed(slot, changed);
        }
        if self.servers[slot].link.has_last_words() {
            self.ends_at_rest(slot);
        }
        let server = &self.servers[slot];
        match server.state {
            ServerState::Leased(client) => {
                self.replied(client, slot);
                self.part_at_rest(slot);
            }
            ServerState::Owned(_) if server.link.at_rest() => self.own_query_done(slot),
            ServerState::Idle { .. } if !server.link.at_rest() || server.doubtful.is_some() => {
                self.server_lost(slot, "it spoke unasked");
            }
            ServerState::Owned(_) | ServerState::Idle { .. } | ServerState::Closing => {}
        }
    }

    /// The server ends the connection and owes nothing: whose transaction has ended goes on elsewhere.
    #[cold]
    fn ends_at_rest(&mut self, slot: usize) {
        let server = &mut self.servers[slot];
        server.doubtful = Some(Ended::Lost);
        let node = server.cancel.node.clone();
        self.around.health.suspect(&node);
    }

    /// Whoever keeps such a server connection between transactions ends with it.
    #[inline]
    fn part_at_rest(&mut self, slot: usize) {
        let ended =
            |s: &Server| s.link.has_last_words() && matches!(s.state, ServerState::Leased(_));
        if self.servers.get(slot).is_some_and(ended) {
            self.server_lost(slot, "it ended the connection");
        }
    }

    /// The server has answered something of its client's.
    #[inline]
    fn replied(&mut self, client: usize, server: usize) {
        if matches!(self.clients[client].state, ClientState::Introducing(_)) {
            if self.servers[server].link.at_rest() {
                self.introduced(client, server);
            }
            return;
        }
        if self.servers[server].link.has_fault() {
            // It refused the session's settings (a cancel request may have hit them).
            return self.server_lost(server, "it did not take the session's settings");
        }
        if self.clients[client].session.has_news() {
            self.count_replies(client);
        }
        if self.clients[client].session.has_changed() {
            self.adopt_settings(client, server);
        }
        if self.clients[client].session.keeps() != self.clients[client].counted {
            self.count_pin(client);
        }
        if !self.servers[server].cancelling.is_empty() {
            self.send_cancel(server);
        }
        let held = !self.clients[client].socket.held.is_empty();
        if held || self.clients[client].session.owes_sync() {
            self.ready
                .push_back(Turn::Client(client, self.clients[client].serial));
        }
        let timed = self.pools[self.clients[client].pool].limits().is_timed();
        if timed && !self.servers[server].link.is_busy() {
            self.set_client_deadline(client);
        }
        self.settle(client);
    }

    /// Queries of a client were answered: how many, and how long they took.
    #[inline]
    fn count_replies(&mut self, slot: usize) {
        let client = &mut self.clients[slot];
        let pool = &mut self.pools[client.pool];
        let tally = client.session.take_tally();
        let query = self.micros - client.asked;
        pool.stats.query_us += query;
        self.tallies.query.observe(query);
        self.slow.query(slot, query);
        // Those sent behind it were under way all the while.
        client.asked = self.micros;
        if tally.transactions > 0 {
            let transaction = self.micros - client.begun;
            pool.stats.transaction_us += transaction;
            self.tallies.transaction.observe(transaction);
            client.begun = self.micros;
            self.slow.transaction(slot, transaction, (client, pool));
        }
        pool.count(tally);
        if pool.is_routed() {
            self.note_write(slot);
        }
    }

    /// The one place where a lease ends: everything is answered, complete and sent, nothing pins.
    #[inline]
    pub(super) fn settle(&mut self, slot: usize) {
        let client = &mut self.clients[slot];
        let ClientState::Leased(server) = client.state else {
            return self.settle_unleased(slot);
        };
        let held = &self.servers[server];
        if held.link.at_rest()
            && client.session.at_boundary()
            && !client.session.owes_sync()
            && held.socket.is_clear()
            && held.cancels == 0
            && self.pools[client.pool].limits().mode != PoolMode::Session
        {
            if client.session.wonders() {
                self.inquire(slot, server);
            } else if client.session.pin().is_none() || self.is_released(slot) {
                self.clients[slot].session.end_of_lease();
                self.clients[slot].state = ClientState::Idle;
                self.release(server);
            } else if !self.clients[slot].told {
                return self.pinned(slot);
            }
        }
        self.settle_unleased(slot);
    }

    /// The client has read what it was sent: its server may send more.
    fn resume_server(&mut self, server: usize) {
        if self.servers[server].socket.readable {
            self.ready
                .push_back(Turn::Server(server, self.servers[server].serial));
        }
    }

    /// The server has taken what it was sent: its client may send more.
    fn resume_client(&mut self, server: usize) {
        if let ServerState::Leased(client) = self.servers[server].state {
            let waiting = &self.clients[client];
            self.ready.push_back(Turn::Client(client, waiting.serial));
            self.settle(client);
        }
    }
}
