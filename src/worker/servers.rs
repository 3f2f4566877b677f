//! Server connections of a worker: lending, taking back, closing. How they come: `dialling`.

use mio::event::Source;

use super::clients::ClientState;
use super::deadlines::{Deadline, Millis, NEVER, Owner, after};
use super::inbox::Done;
use super::run::{Phase, READ, Turn, Worker};
use super::socket::{Connected, End};
use super::stats::{Ended, Micros};
use crate::config::PoolMode;
use crate::error::{ClientError, SqlState};
use crate::session::{Catalog, Link, Session, Settings, TxStatus};
use crate::upstream::ServerCancel;
use crate::upstream::budget::Permit;
use crate::wire::frame;

/// How long a closing server connection may go on with its work until that is cancelled again.
const CANCEL_AGAIN: Millis = 3_000;

/// One server connection.
pub(super) struct Server {
    pub(super) serial: u64,
    pub(super) socket: Connected,
    pub(super) link: Link,
    pub(super) state: ServerState,
    pub(super) pool: usize,
    pub(super) generation: u32,
    pub(super) process_id: i32,
    /// How a query of it is cancelled.
    pub(super) cancel: std::sync::Arc<ServerCancel>,
    /// Cancel requests under way for it.
    pub(super) cancels: u32,
    /// Who asked for them and waits for their end.
    pub(super) cancelling: Vec<Done>,
    /// Never to be lent again, and why.
    pub(super) doubtful: Option<Ended>,
    /// What the client of this lease has sent to a replica that has answered nothing of it yet.
    pub(super) sent: Option<Vec<u8>>,
    pub(super) dies: Millis,
    pub(super) connected: Micros,
    pub(super) deadline: Deadline,
    /// Held until the server has gone.
    pub(super) _permit: Permit,
}

/// Who has a server connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerState {
    /// Its pool.
    Idle { since: Millis },
    /// That client.
    Leased(usize),
    /// We, with a query of our own.
    Owned(Purpose),
    /// Nobody; its end is awaited.
    Closing,
}

/// Why we query a server connection ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Is it still there?
    Check,
    /// Undo what a session has left.
    Reset,
    /// What may the database's own functions leave?
    Catalog,
}

impl Worker {
    /// A server connection at rest goes to the first in line, to its pool, or away.
    #[inline]
    pub(super) fn release(&mut self, slot: usize) {
        let now = self.now;
        let server = &self.servers[slot];
        let pool = &self.pools[server.pool];
        let surplus = pool.open > pool.limits().size;
        let outdated = server.generation != pool.generation || server.dies <= now;
        if server.doubtful.is_some() || outdated || surplus || pool.is_paused() {
            let why = self.why_not_again(slot);
            return self.close_server(slot, why);
        }
        if self.phase == Phase::Serving && self.reads_catalog(slot) {
            return self.own_query(slot, Purpose::Catalog);
        }
        let server = &mut self.servers[slot];
        let clients = &self.clients;
        let pool = &mut self.pools[server.pool];
        let first = if pool.has_waiters() && !pool.holds_back() {
            pool.first(|w| clients.get(w.client).is_some_and(|c| c.waits(w)))
        } else {
            None
        };
        if pool.owes_node(first.map(|w| w.since)) {
            return self.close_server(slot, Ended::Evicted);
        }
        if let Some(waiter) = first {
            if pool.is_session() && !fits(&server.link, clients[waiter.client].session.settings()) {
                return self.close_server(slot, Ended::Replaced);
            }
            pool.skip_first();
            pool.left_line();
            let pool_slot = server.pool;
            self.hand_over(slot, waiter.client);
            // Those behind may have lost the pool's place in the node's line.
            return self.fill(pool_slot);
        }
        if self.phase > Phase::Serving || pool.removed {
            return self.close_server(slot, Ended::Shutdown);
        }
        let pool_slot = server.pool;
        server.state = ServerState::Idle { since: now };
        let idle = after(now, pool.limits().idle_timeout);
        let owner = Owner::Server(slot, server.serial);
        self.deadlines
            .set(&mut server.deadline, owner, idle.min(server.dies));
        pool.idle.push(slot);
        if pool.idle.len() == 1 {
            self.list_idle(pool_slot);
        }
    }

    /// Whether it reads the catalog now: over a connection to the primary, unless clients ask for a
    /// standby.
    fn reads_catalog(&mut self, slot: usize) -> bool {
        let pool = self.servers[slot].pool;
        let home = self.home_of(pool);
        let known = &self.pools[home];
        if !known.owes_catalog(self.now) || (home != pool && !known.is_for_standbys()) {
            return false;
        }
        self.pools[home].catalog.begin(self.now);
        if home != pool {
            // Its line waits for the answer as the home's would.
            self.pools[pool].catalog.begin(self.now);
        }
        true
    }

    /// Why a free server connection is not lent again.
    #[cold]
    fn why_not_again(&self, slot: usize) -> Ended {
        let server = &self.servers[slot];
        let pool = &self.pools[server.pool];
        if let Some(why) = server.doubtful {
            why
        } else if pool.is_paused() {
            Ended::Paused
        } else if server.generation != pool.generation {
            Ended::Replaced
        } else if server.dies <= self.now {
            Ended::Lifetime
        } else {
            Ended::Idle
        }
    }

    /// Lends a server connection to a client that was in line; the client goes on in its turn.
    fn hand_over(&mut self, server: usize, client: usize) {
        let at_login = self.clients[client].state == ClientState::Login;
        let wait = self.micros - self.clients[client].asked;
        let stats = &mut self.pools[self.clients[client].pool].stats;
        stats.waits += 1;
        stats.wait_us += wait;
        self.tallies.wait.observe(wait);
        self.lease(client, server);
        if at_login {
            return self.introduce(client);
        }
        if self.pools[self.clients[client].pool].limits().is_timed() {
            self.set_client_deadline(client);
        } else {
            let waiting = &mut self.clients[client];
            let owner = Owner::Client(client, waiting.serial);
            self.deadlines.set(&mut waiting.deadline, owner, NEVER);
        }
        self.ready
            .push_back(Turn::Client(client, self.clients[client].serial));
    }

    /// In session mode, an idle server connection that fits; if none does, the one that was idle
    /// for the longest time makes room.
    pub(super) fn idle_fitting(&mut self, pool: usize, settings: &Settings) -> Option<usize> {
        let servers = &self.servers;
        let idle = &mut self.pools[pool].idle;
        let fitting = idle.iter().rposition(|s| fits(&servers[*s].link, settings));
        if let Some(at) = fitting {
            let slot = idle.remove(at);
            return self.checked(slot);
        }
        if let Some(&oldest) = idle.first() {
            self.close_server(oldest, Ended::Replaced);
        }
        None
    }

    /// An idle server connection that may be lent now. One that was idle for long is asked first.
    pub(super) fn idle_server(&mut self, pool: usize) -> Option<usize> {
        loop {
            let slot = self.pools[pool].idle.pop()?;
            if let Some(slot) = self.checked(slot) {
                return Some(slot);
            }
        }
    }

    /// A server connection just taken from its pool's idle ones, unless it must be asked first.
    fn checked(&mut self, slot: usize) -> Option<usize> {
        let server = &self.servers[slot];
        let ServerState::Idle { since } = server.state else {
            return None;
        };
        if since + self.pools[server.pool].check_after() > self.now {
            return Some(slot);
        }
        self.own_query(slot, Purpose::Check);
        None
    }

    fn own_query(&mut self, slot: usize, purpose: Purpose) {
        let server = &mut self.servers[slot];
        server.state = ServerState::Owned(purpose);
        let mut sql = Vec::new();
        match purpose {
            Purpose::Check => server.link.put_own_query(b"", &mut sql),
            Purpose::Reset => server.link.put_discard(&mut sql),
            Purpose::Catalog => {
                let extent = self.pools[server.pool].extent();
                let query = Catalog::query(server.link.server_version(), extent);
                server.link.put_listing(query.as_bytes(), &mut sql);
            }
        }
        let due = after(self.now, self.pools[server.pool].limits().connect_timeout);
        let owner = Owner::Server(slot, server.serial);
        self.deadlines.set(&mut server.deadline, owner, due);
        if server.socket.send(&sql).is_err() {
            self.close_server(slot, Ended::Lost);
        }
    }

    /// Our own query was answered.
    pub(super) fn own_query_done(&mut self, slot: usize) {
        // Zero is for those of which nothing is known.
        let number = u32::try_from(self.next_serial() & 0xffff_ffff).map_or(1, |n| n.max(1));
        let server = &mut self.servers[slot];
        let fault = server.link.take_fault();
        if server.state == ServerState::Owned(Purpose::Catalog) {
            let pool_slot = server.pool;
            let home = self.home_of(pool_slot);
            let server = &mut self.servers[slot];
            self.pools[pool_slot].catalog.end();
            let pool = &mut self.pools[home];
            pool.catalog.end();
            if let Some(rows) = server.link.take_listed().filter(|_| fault.is_none()) {
                let rows = rows.iter().map(|(kind, name)| (&**kind, &**name));
                pool.catalog.set(Catalog::read(rows), number);
            } else {
                let (tenant, role) = (pool.tenant.slug(), &pool.role);
                tracing::warn!(%tenant, %role, "the catalog cannot be read: every transaction is asked after");
            }
            self.release(slot);
            return self.serve_line(pool_slot);
        } else if fault.is_some() {
            return self.close_server(slot, Ended::Unclean);
        }
        self.release(slot);
    }

    /// A session has ended while it had this server connection.
    pub(super) fn give_back(&mut self, slot: usize, session: &Session) {
        let server = &self.servers[slot];
        let session_mode = self.pools[server.pool].limits().mode == PoolMode::Session;
        let resting = server.link.at_rest()
            && session.at_boundary()
            && server.socket.is_clear()
            && server.cancels == 0
            && server.doubtful.is_none()
            && !server.link.fresh().replicates();
        let marked = session_mode || session.pin().is_some();
        if resting && !marked {
            self.release(slot);
        } else if resting
            && session.is_discardable()
            && self.phase == Phase::Serving
            && !self.pools[server.pool].is_paused()
        {
            self.own_query(slot, Purpose::Reset);
        } else {
            let left = if resting {
                Ended::Unclean
            } else {
                Ended::Abandoned
            };
            let why = server.doubtful.unwrap_or(left);
            self.close_server(slot, why);
        }
    }

    /// A server connection's deadline: idle or alive for too long, or our query unanswered.
    pub(super) fn server_due(&mut self, slot: usize) {
        match self.servers[slot].state {
            ServerState::Idle { since } => {
                let server = &self.servers[slot];
                let pool = &self.pools[server.pool];
                let kept = pool.open <= pool.warm(self.keeping);
                let idle = after(since, pool.limits().idle_timeout);
                if server.dies <= self.now {
                    self.close_server(slot, Ended::Lifetime);
                } else if idle <= self.now && !kept {
                    self.close_server(slot, Ended::Idle);
                } else {
                    let owner = Owner::Server(slot, server.serial);
                    let due = server.dies.min(after(self.now, pool.limits().idle_timeout));
                    let deadline = &mut self.servers[slot].deadline;
                    self.deadlines.set(deadline, owner, due);
                }
            }
            ServerState::Owned(_) => self.close_server(slot, Ended::Lost),
            ServerState::Closing => self.cancel_closing(slot),
            ServerState::Leased(_) => {}
        }
    }

    /// A server connection failed or made no sense: its client is told and closed too.
    pub(super) fn server_lost(&mut self, slot: usize, why: &str) {
        if self.servers[slot].sent.is_some() && self.again(slot) {
            return;
        }
        self.suspect(slot);
        if let ServerState::Leased(client) = self.servers[slot].state {
            let last = parting(&mut self.servers[slot].link, why);
            // Its client's end is that of the connection, too: counted as what it is.
            self.servers[slot].doubtful = Some(Ended::Lost);
            self.part_with(client, &last);
        } else {
            tracing::debug!(
                server = self.servers[slot].process_id,
                why,
                "server connection lost"
            );
        }
        if self
            .servers
            .get(slot)
            .is_some_and(|s| s.state != ServerState::Closing)
        {
            self.close_server(slot, Ended::Lost);
        }
    }

    /// What is lost may be more than this connection; and a COMMIT whose answer is lost may have
    /// been done.
    fn suspect(&mut self, slot: usize) {
        let server = &self.servers[slot];
        let (node, in_doubt) = (server.cancel.node.clone(), server.link.commit_in_flight());
        self.around.health.suspect(&node);
        if let (ServerState::Leased(client), true) = (server.state, in_doubt) {
            self.note_write(client);
        }
    }

    /// Ends a server connection. Its permit is held until the server has gone (end of file).
    pub(super) fn close_server(&mut self, slot: usize, why: Ended) {
        let server = &mut self.servers[slot];
        let was = std::mem::replace(&mut server.state, ServerState::Closing);
        if was == ServerState::Closing {
            return;
        }
        if server.link.at_rest() && server.socket.is_clear() {
            let _gone = server.socket.send(b"X\0\0\0\x04");
        }
        server.socket.stream.finish();
        server.socket.out = Vec::new();
        server.socket.readable = true;
        let (pool, serial) = (server.pool, server.serial);
        let age = self.micros - server.connected;
        self.tallies.ends[why as usize] += 1;
        self.tallies.server_lifetime_us += age;
        let held = &mut self.pools[pool];
        held.closing += 1;
        held.stale -= usize::from(server.generation != held.generation);
        held.stats.server_closed += 1;
        held.stats.server_lifetime_us += age;
        if was == ServerState::Owned(Purpose::Catalog) {
            let home = self.home_of(pool);
            self.pools[home].catalog.end();
            self.pools[pool].catalog.end();
        }
        self.servers[slot].sent = None;
        if let ServerState::Idle { .. } = was {
            self.pools[pool].idle.retain(|s| *s != slot);
        }
        self.pools[pool].open -= 1;
        self.ready.push_back(Turn::Server(slot, serial));
        if was == ServerState::Owned(Purpose::Catalog) {
            self.serve_line(pool);
        }
        self.cancel_closing(slot);
        self.pools[pool].tell_awaited();
        self.fill(pool);
    }

    /// Cancels what a closing server connection works on, which has no reader any more; again and
    /// again while it is there, since a server ignores the request where it has not begun yet.
    fn cancel_closing(&mut self, slot: usize) {
        let server = &mut self.servers[slot];
        if !server.link.is_busy() {
            return;
        }
        if server.cancels == 0 {
            super::cancels::fire(&self.around, std::sync::Arc::clone(&server.cancel));
        }
        let owner = Owner::Server(slot, server.serial);
        self.deadlines
            .set(&mut server.deadline, owner, self.now + CANCEL_AGAIN);
    }

    /// Reads a closing server connection to its end.
    pub(super) fn drain_server(&mut self, slot: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = self.servers[slot].socket.read(&mut buffer[..READ]);
        self.buffer = buffer;
        match outcome {
            Ok((_, End::Open)) => {
                if self.servers[slot].socket.readable {
                    let serial = self.servers[slot].serial;
                    self.ready.push_back(Turn::Server(slot, serial));
                }
            }
            Ok((_, End::Closed)) | Err(_) => {
                let mut gone = self.servers.remove(slot);
                let _gone = gone.socket.stream.deregister(self.poll.registry());
                let pool = &mut self.pools[gone.pool];
                pool.closing -= 1;
                pool.tell_awaited();
            }
        }
    }
}

/// Whether a server connection was opened with these startup settings. Any will do to find out
/// whether servers take them at all.
fn fits(link: &Link, settings: &Settings) -> bool {
    if settings.replicates() || link.fresh().replicates() {
        return link.fresh().same(settings);
    }
    settings.reported.get().is_none() || link.fresh().same(settings)
}

/// The last that a client is sent whose server connection is gone: in the server's words, if it had any.
fn parting(link: &mut Link, why: &str) -> Vec<u8> {
    let mut last = Vec::new();
    if let Some(words) = link.take_last_words() {
        frame::put(&mut last, b'E', &[&words]);
    } else if !link.said_fatal() {
        lost(link, why).encode(&mut last);
    }
    last
}

/// What a client is told whose server connection is gone.
fn lost(link: &Link, why: &str) -> ClientError {
    // At a standby nothing is committed.
    if link.commit_in_flight() && !link.is_routed() {
        let text = "the server connection was lost while a COMMIT was in flight";
        return ClientError::fatal(SqlState::UNKNOWN_OUTCOME, text)
            .with_hint("find out whether the transaction took effect before repeating it");
    }
    let text = format!("the server connection was lost: {why}");
    let hint = if link.status() == TxStatus::Idle && link.is_busy() {
        "connect again; find out whether the statement took effect before repeating it"
    } else {
        "connect again; the transaction has not taken effect"
    };
    ClientError::fatal(SqlState::LOST, text).with_hint(hint)
}
