//! New server connections of a worker: how many are wanted, the permit for each, what comes of it.

use std::rc::Rc;

use mio::Interest;
use mio::event::Source;

use super::clients::ClientState;
use super::deadlines::{Deadline, Millis, NEVER, Owner, millis};
use super::inbox::{Dialled, Message};
use super::run::{Phase, Turn, Worker, token};
use super::servers::{Server, ServerState};
use super::socket::Connected;
use super::stats::Ended;
use crate::config::Route;
use crate::error::ClientError;
use crate::session::{Link, Setting, Settings};
use crate::upstream::backoff::Attempt;
use crate::upstream::budget::{Permit, Waiter};
use crate::upstream::{ServerCancel, Upstream, connect};

/// When `min_size` could not be reached for want of permits: the wait until the next attempt.
const WARM_AGAIN: Millis = 1_000;

impl Worker {
    /// Opens as many server connections as are wanted and allowed.
    #[inline]
    pub(super) fn fill(&mut self, slot: usize) {
        if self.pools[slot].room() > 0 {
            self.fill_up(slot);
        }
    }

    fn fill_up(&mut self, slot: usize) {
        // At the end nobody is in line and nothing is kept warm; and who is in the node's line is
        // told when a permit is there.
        if self.phase > Phase::Serving || self.pools[slot].ticket.is_some() {
            return;
        }
        for _ in 0..self.pools[slot].wanted(self.keeping) {
            let now = self.now;
            let pool = &mut self.pools[slot];
            let attempt = pool.backoff.may_try(now);
            match attempt {
                Attempt::Now | Attempt::Probe => {}
                Attempt::After(wait) => {
                    let at = now.saturating_add(wait);
                    let owner = Owner::Pool(slot, pool.serial);
                    return self.deadlines.set(&mut pool.deadline, owner, at);
                }
                Attempt::Probing => return,
            }
            if let Some(permit) = pool.node.try_acquire() {
                self.dial(slot, permit);
                continue;
            }
            if attempt == Attempt::Probe {
                pool.backoff.abandoned(now);
            }
            return self.queue_for_permit(slot);
        }
    }

    /// Gets in line at the node, and asks whoever has idle connections there to close one.
    fn queue_for_permit(&mut self, slot: usize) {
        let pool = &mut self.pools[slot];
        if !pool.has_waiters() {
            // What is kept warm does not compete with clients that wait.
            let owner = Owner::Pool(slot, pool.serial);
            let at = self.now + WARM_AGAIN;
            return self.deadlines.set(&mut pool.deadline, owner, at);
        }
        let inbox = std::sync::Arc::clone(&self.workers.inboxes[self.number]);
        let serial = pool.serial;
        let grant = Box::new(move |permit| {
            inbox.put(Message::Granted {
                pool: slot,
                serial,
                permit,
            });
        });
        let waiter = Waiter {
            id: (self.number, serial),
            since: self.now,
        };
        pool.ticket = Some((pool.node.enqueue(waiter, grant), self.now));
        let node = pool.at.clone();
        self.workers.evict(&node);
    }

    /// The node has given a permit.
    pub(super) fn granted(&mut self, slot: usize, permit: Permit) {
        let pool = &mut self.pools[slot];
        pool.ticket = None;
        if pool.wanted(self.keeping) == 0 {
            return;
        }
        match pool.backoff.may_try(self.now) {
            Attempt::Now | Attempt::Probe => self.dial(slot, permit),
            Attempt::After(_) | Attempt::Probing => drop(permit),
        }
        self.fill(slot);
    }

    fn dial(&mut self, slot: usize, permit: Permit) {
        let settings = self.settings_to_dial(slot);
        let mut target = self.pools[self.home_of(slot)].target(settings);
        let pool = &mut self.pools[slot];
        pool.dialling += 1;
        target.node = pool.at.clone();
        let (serial, generation) = (pool.serial, pool.generation);
        let health = self.around.health.clone();
        let connectors = std::sync::Arc::clone(&self.around.connectors);
        let inbox = std::sync::Arc::clone(&self.workers.inboxes[self.number]);
        self.around.dialler.spawn(async move {
            let result = connect(&target, &connectors).await;
            if result.is_ok() {
                health.offer(&target);
            }
            let dialled = Box::new(Dialled {
                generation,
                permit,
                settings: target.settings,
                result,
            });
            inbox.put(Message::Dialled {
                pool: slot,
                serial,
                dialled,
            });
        });
    }

    /// A dial has ended.
    pub(super) fn dialled(&mut self, slot: usize, dialled: Dialled) {
        let Dialled {
            generation,
            permit,
            settings,
            result,
        } = dialled;
        let now = self.now;
        self.tallies.connect_failures += u64::from(result.is_err());
        let home = self.home_of(slot);
        let pool = &mut self.pools[slot];
        pool.dialling -= 1;
        match result {
            Ok(upstream) => {
                self.tallies.connects += 1;
                if pool.generation == generation {
                    pool.backoff.succeeded();
                    pool.last_error = None;
                }
                let fresh = self.pools[home].settings.intern(&settings);
                self.connected(slot, upstream, (permit, generation, fresh));
            }
            Err(_) if pool.generation != generation => {}
            Err(error) if settings.iter().any(|(name, _)| name == "replication") => {
                self.refuse_replication(slot, &error.client_error());
            }
            Err(error) => {
                let tenant = pool.tenant.slug();
                tracing::warn!(%tenant, role = %pool.role, %error, "no server connection");
                pool.backoff.failed(now);
                let told = error.client_error();
                pool.last_error = Some(told.clone());
                let stuck = error.is_final() && pool.open == 0;
                drop(permit);
                if home != slot {
                    self.branch_failed(slot);
                } else if stuck {
                    self.refuse_all(slot, &told);
                } else {
                    let node = self.pools[slot].at.clone();
                    self.around.health.suspect(&node);
                }
            }
        }
        self.pools[slot].tell_awaited();
        self.fill(slot);
    }

    /// The server does not let this role replicate, which says nothing of other logins.
    fn refuse_replication(&mut self, slot: usize, error: &ClientError) {
        let clients = &self.clients;
        let replicates = |client: &usize| clients[*client].session.settings().replicates();
        let waits = |client: &usize| clients[*client].state == ClientState::Login;
        let members = self.pools[slot].members.iter().copied();
        let refused: Vec<usize> = members.filter(|c| replicates(c) && waits(c)).collect();
        let severity = crate::error::Severity::Fatal;
        let error = ClientError {
            severity,
            ..error.clone()
        };
        for client in refused {
            self.close_client(client, &error);
        }
    }

    /// Nobody in this line will be served: all are told why.
    fn refuse_all(&mut self, slot: usize, error: &ClientError) {
        let clients = &self.clients;
        let mut told = Vec::new();
        let pool = &mut self.pools[slot];
        while let Some(w) = pool.first(|w| clients.get(w.client).is_some_and(|c| c.waits(w))) {
            pool.skip_first();
            told.push(w.client);
        }
        for client in told {
            if self.clients[client].state == ClientState::Login {
                let severity = crate::error::Severity::Fatal;
                self.close_client(
                    client,
                    &ClientError {
                        severity,
                        ..error.clone()
                    },
                );
            } else {
                let severity = crate::error::Severity::Error;
                self.refuse(
                    client,
                    &ClientError {
                        severity,
                        ..error.clone()
                    },
                );
            }
        }
    }

    /// One that was dialled for a former target is closed at once, its permit held to the end.
    fn connected(
        &mut self,
        pool_slot: usize,
        upstream: Upstream,
        (permit, generation, fresh): (Permit, u32, Rc<Settings>),
    ) {
        let serial = self.next_serial();
        let pool = &mut self.pools[pool_slot];
        pool.open += 1;
        pool.stale += usize::from(pool.generation != generation);
        let life = millis(pool.limits().max_lifetime);
        // Up to a tenth less, so that connections opened together do not end together.
        let jitter = serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (life / 10 + 1);
        let home = self.home_of(pool_slot);
        let route = self.pools[home].home().map(|home| home.route);
        let routed = home != pool_slot && route == Some(Route::Primary);
        let mut link = Link::new(Rc::clone(&fresh), upstream.parameters.clone());
        if routed {
            link.set_routed();
        } else {
            let _known = fresh.reported.set(upstream.parameters);
        }
        let pool = &self.pools[pool_slot];
        let config = &pool.tenant.config;
        let cancel = ServerCancel {
            node: pool.at.clone(),
            tls: config.cluster.tls.clone(),
            peer: upstream.peer,
            process_id: upstream.process_id,
            key: upstream.cancel_key,
            connect_timeout: config.pool.connect_timeout,
        };
        let server = Server {
            serial,
            socket: Connected::new(upstream.stream, Vec::new()),
            link,
            state: ServerState::Idle { since: self.now },
            pool: pool_slot,
            generation,
            process_id: upstream.process_id,
            cancel: std::sync::Arc::new(cancel),
            cancels: 0,
            cancelling: Vec::new(),
            doubtful: None,
            sent: None,
            connected: self.micros,
            dies: if life == 0 {
                NEVER
            } else {
                self.now + life - jitter
            },
            deadline: Deadline::default(),
            _permit: permit,
        };
        let slot = self.servers.insert(server);
        let token = token(Turn::Server(slot, serial));
        let interest = Interest::READABLE | Interest::WRITABLE;
        let stream = &mut self.servers[slot].socket.stream;
        if let Err(error) = stream.register(self.poll.registry(), token, interest) {
            tracing::error!(%error, "a server's socket cannot be watched");
            return self.close_server(slot, Ended::Lost);
        }
        self.release(slot);
    }

    /// What the next server connection of a pool is to be opened with: in session mode, the
    /// settings of the first in line, once a server has taken them.
    fn settings_to_dial(&mut self, slot: usize) -> Vec<Setting> {
        let clients = &self.clients;
        let pool = &mut self.pools[slot];
        if !pool.is_session() {
            return Vec::new();
        }
        let first = pool.first(|w| clients.get(w.client).is_some_and(|c| c.waits(w)));
        let settings = first.map(|w| clients[w.client].session.settings());
        // Whether it may replicate only the login tells.
        let proven = settings.filter(|s| s.reported.get().is_some() || s.replicates());
        proven.map(|s| s.list().to_vec()).unwrap_or_default()
    }
}
