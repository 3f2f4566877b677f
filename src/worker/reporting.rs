//! Makes reports, a slice a turn of the loop.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::clients::{Client, ClientState};
use super::pool::{Pool, Waiter};
use super::report::{
    ClientDoes, ClientRow, PoolRow, Question, ServerCounts, ServerDoes, ServerRow, SocketRow,
    Which, WorkerRow,
};
use super::run::Worker;
use super::servers::{Server, ServerState};
use super::socket::Connected;
use super::stats::Micros;

/// Slots looked at in one turn.
const SLICE: usize = 512;

/// A report in the making: what was asked, how far it has come.
pub(super) struct Report {
    kind: Kind,
    /// The next slot.
    at: usize,
}

enum Kind {
    /// First what the server connections do, then the pools.
    PoolServers(PoolServers, oneshot::Sender<Vec<PoolRow>>),
    Pools(PoolServers, Vec<PoolRow>, oneshot::Sender<Vec<PoolRow>>),
    Clients(Which, Vec<ClientRow>, oneshot::Sender<Vec<ClientRow>>),
    Servers(Vec<ServerRow>, oneshot::Sender<Vec<ServerRow>>),
    Worker(oneshot::Sender<Box<WorkerRow>>),
}

/// By a pool's slot and serial number.
type PoolServers = HashMap<(usize, u64), Counted>;

/// What is counted elsewhere than in the pool.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    servers: ServerCounts,
    canceling: usize,
    cancel_waiting: usize,
    /// Clients that wait for a replica to catch up.
    catching: usize,
    /// When the first of them began to.
    caught: Option<Micros>,
}

impl Report {
    pub(super) fn of(question: Question) -> Self {
        let kind = match question {
            Question::Pools(to) => Kind::PoolServers(PoolServers::new(), to),
            Question::Clients(which, to) => Kind::Clients(which, Vec::new(), to),
            Question::Servers(to) => Kind::Servers(Vec::new(), to),
            Question::Worker(to) => Kind::Worker(to),
        };
        Self { kind, at: 0 }
    }
}

impl Worker {
    /// Goes on with the first report.
    #[inline]
    pub(super) fn report(&mut self) {
        if let Some(report) = self.reports.pop_front()
            && let Some(rest) = self.report_slice(report)
        {
            self.reports.push_front(rest);
        }
    }

    /// One slice of a report; what is left of it.
    fn report_slice(&self, Report { kind, at }: Report) -> Option<Report> {
        let end = at + SLICE;
        let slots = at..end;
        // Whoever asked may be gone: a failure to tell it does not matter.
        let kind = match kind {
            Kind::PoolServers(mut counts, to) => {
                for server in slots.filter_map(|slot| self.servers.get(slot)) {
                    self.count_server(server, &mut counts);
                }
                if end >= self.servers.capacity() {
                    self.count_catching(&mut counts);
                    let kind = Kind::Pools(counts, Vec::new(), to);
                    return Some(Report { kind, at: 0 });
                }
                Kind::PoolServers(counts, to)
            }
            Kind::Pools(counts, mut rows, to) => {
                rows.extend(slots.filter_map(|slot| self.pool_row(slot, &counts)));
                if end >= self.pools.capacity() {
                    let _gone = to.send(rows);
                    return None;
                }
                Kind::Pools(counts, rows, to)
            }
            Kind::Clients(which, mut rows, to) => {
                let clients = slots.filter_map(|slot| Some((slot, self.clients.get(slot)?)));
                let wanted = clients
                    .filter(|(_, c)| which == Which::All || (c.counted && c.session.keeps()));
                rows.extend(wanted.map(|(slot, client)| self.client_row(slot, client)));
                if end >= self.clients.capacity() {
                    let _gone = to.send(rows);
                    return None;
                }
                Kind::Clients(which, rows, to)
            }
            Kind::Servers(mut rows, to) => {
                let servers = slots.filter_map(|slot| self.servers.get(slot));
                rows.extend(servers.map(|server| self.server_row(server)));
                if end >= self.servers.capacity() {
                    let _gone = to.send(rows);
                    return None;
                }
                Kind::Servers(rows, to)
            }
            Kind::Worker(to) => {
                let _gone = to.send(Box::new(self.worker_row()));
                return None;
            }
        };
        Some(Report { kind, at: end })
    }

    fn worker_row(&self) -> WorkerRow {
        WorkerRow {
            clients: self.clients.len(),
            servers: self.servers.len(),
            pools: self.pools.len(),
            tallies: self.tallies,
        }
    }

    fn count_server(&self, server: &Server, counts: &mut PoolServers) {
        let home = self.home_of(server.pool);
        let pool = &self.pools[home];
        let counted = counts.entry((home, pool.serial)).or_default();
        let servers = &mut counted.servers;
        match self.does(server) {
            ServerDoes::Active => servers.active += 1,
            ServerDoes::ActiveCancel => servers.active_cancel += 1,
            ServerDoes::BeingCanceled => servers.being_canceled += 1,
            ServerDoes::Idle => servers.idle += 1,
            ServerDoes::Used => servers.used += 1,
            ServerDoes::Tested => servers.tested += 1,
            ServerDoes::Closing => servers.closing += 1,
        }
        if server.cancels > 0 {
            counted.canceling += 1;
        } else if !server.cancelling.is_empty() {
            counted.cancel_waiting += 1;
        }
    }

    fn count_catching(&self, counts: &mut PoolServers) {
        let mut catching = self.catching.clone();
        // Who has waited before may still be in the list for that.
        catching.sort_unstable();
        catching.dedup();
        for (slot, serial) in catching {
            let client = self.clients.get(slot).filter(|c| c.serial == serial);
            let Some(client) = client.filter(|c| c.state == ClientState::CatchingUp) else {
                continue;
            };
            let key = (client.pool, self.pools[client.pool].serial);
            let counted = counts.entry(key).or_default();
            counted.catching += 1;
            let began = client.course.catch_up.as_ref().map(|wait| wait.began());
            counted.caught = counted.caught.into_iter().chain(began).min();
        }
    }

    fn does(&self, server: &Server) -> ServerDoes {
        match server.state {
            ServerState::Leased(_) if server.cancels > 0 && !server.link.is_busy() => {
                ServerDoes::BeingCanceled
            }
            ServerState::Leased(_) if server.cancels > 0 => ServerDoes::ActiveCancel,
            ServerState::Leased(_) => ServerDoes::Active,
            ServerState::Owned(_) => ServerDoes::Tested,
            ServerState::Closing => ServerDoes::Closing,
            ServerState::Idle { since } => {
                if since + self.pools[server.pool].check_after() > self.now {
                    ServerDoes::Idle
                } else {
                    ServerDoes::Used
                }
            }
        }
    }

    fn pool_row(&self, slot: usize, counts: &PoolServers) -> Option<PoolRow> {
        let pool = self.pools.get(slot)?;
        // Those of connections to replicas count with the pool of their clients.
        pool.home()?;
        let branches = self.branches_of(slot);
        let counted = counts.get(&(slot, pool.serial));
        let counted = counted.copied().unwrap_or_default();
        let asked = |w: &Waiter| {
            let client = self.clients.get(w.client)?;
            client.waits(w).then_some(client.asked)
        };
        let mut parts = vec![pool];
        parts.extend(branches.into_iter().map(|branch| &self.pools[branch]));
        let first = parts.iter().filter_map(|p| p.line().find_map(asked));
        let first = first.chain(counted.caught).min();
        let mut stats = pool.stats;
        parts[1..].iter().for_each(|p| stats.add(&p.stats));
        let sum = |of: fn(&Pool) -> usize| parts.iter().map(|p| of(p)).sum();
        Some(PoolRow {
            tenant: std::sync::Arc::clone(&pool.tenant),
            role: pool.role.clone(),
            stats,
            clients: pool.members.len(),
            waiting: sum(Pool::waiting) + counted.catching,
            canceling: counted.canceling,
            cancel_waiting: counted.cancel_waiting,
            pinned: pool.pinned,
            servers: ServerCounts {
                login: sum(|p| p.dialling),
                ..counted.servers
            },
            stale: sum(|p| p.stale),
            longest_wait: first.map_or(Duration::ZERO, |asked| self.since(asked)),
            paused: pool.is_paused(),
            removed: pool.removed,
        })
    }

    fn client_row(&self, slot: usize, client: &Client) -> ClientRow {
        let pool = &self.pools[client.pool];
        let server = match client.state {
            ClientState::Leased(server) | ClientState::Introducing(server) => {
                Some(&self.servers[server])
            }
            ClientState::Login
            | ClientState::Idle
            | ClientState::Waiting
            | ClientState::CatchingUp => None,
        };
        let state = match (client.state, server) {
            (_, Some(server)) if server.cancels > 0 => ClientDoes::ActiveCancel,
            (_, Some(server)) if !server.cancelling.is_empty() => ClientDoes::WaitingCancel,
            (_, Some(_)) => ClientDoes::Active,
            (ClientState::Idle, None) => ClientDoes::Idle,
            (_, None) => ClientDoes::Waiting,
        };
        let own = self
            .workers
            .process_ids
            .encode(self.number, self.workers.inboxes.len(), slot);
        let mut socket = self.socket_row(&client.socket, client.connected);
        if let Some(origin) = &client.origin {
            socket.peer = Some(**origin);
        }
        let waited = match (state, &client.course.catch_up) {
            (ClientDoes::Waiting, Some(wait)) => self.since(wait.began()),
            (ClientDoes::Waiting, None) => self.since(client.asked),
            _ => Duration::ZERO,
        };
        ClientRow {
            id: self.id(client.serial),
            tenant: std::sync::Arc::clone(&pool.tenant),
            role: client.role.clone(),
            state,
            socket,
            requested: self.time_of_day(client.asked),
            waited,
            server: server.map(|server| self.id(server.serial)),
            process_id: server
                .filter(|_| pool.is_session())
                .map_or(own, |s| s.process_id),
            application_name: client.session.application_name(),
            prepared: client.session.prepared(),
            pin: client.session.pin().map(|reason| reason.as_str()),
            replicates: client.session.settings().replicates(),
        }
    }

    fn server_row(&self, server: &Server) -> ServerRow {
        let pool = &self.pools[server.pool];
        let client = match server.state {
            ServerState::Leased(client) => Some(&self.clients[client]),
            ServerState::Idle { .. } | ServerState::Owned(_) | ServerState::Closing => None,
        };
        let requested = match (client, server.state) {
            (Some(client), _) => client.asked,
            (None, ServerState::Idle { since }) => since * 1000,
            (None, _) => self.micros,
        };
        ServerRow {
            id: self.id(server.serial),
            tenant: std::sync::Arc::clone(&pool.tenant),
            role: pool.role.clone(),
            node: server.cancel.node.clone(),
            state: self.does(server),
            socket: self.socket_row(&server.socket, server.connected),
            requested: self.time_of_day(requested),
            close_needed: server.generation != pool.generation || server.doubtful.is_some(),
            client: client.map(|client| self.id(client.serial)),
            process_id: server.process_id,
            application_name: client
                .map(|client| client.session.application_name())
                .unwrap_or_default(),
            prepared: server.link.prepared_names().count(),
            replicates: server.link.fresh().replicates(),
        }
    }

    fn socket_row(&self, socket: &Connected, connected: Micros) -> SocketRow {
        SocketRow {
            peer: socket.stream.peer(),
            local: socket.stream.local(),
            connected: self.time_of_day(connected),
            tls: socket.stream.tls_in_words(),
            held: socket.held.len(),
            unsent: socket.out.len(),
        }
    }

    /// A number that nothing else in this process has had.
    fn id(&self, serial: u64) -> u64 {
        serial * self.workers.inboxes.len() as u64 + self.number as u64
    }

    fn since(&self, then: Micros) -> Duration {
        Duration::from_micros(self.micros.saturating_sub(then))
    }

    fn time_of_day(&self, at: Micros) -> SystemTime {
        self.around.started + Duration::from_micros(at)
    }
}
