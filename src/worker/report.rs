//! What workers tell of themselves, for the console and for metrics.
//!
//! A worker makes a report in slices, one a turn of its loop, so that traffic goes on however many
//! clients there are. Rows are therefore not all of one moment; a client that comes or goes
//! meanwhile may be missing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::stats::{Stats, Tallies};
use crate::tenant::Tenant;
use crate::types::{NodeAddr, RoleName};

/// One pool: the server connections of one (tenant, server role).
#[derive(Debug, Clone)]
pub struct PoolRow {
    /// Whose it is, with its configuration.
    pub tenant: Arc<Tenant>,
    /// The server role.
    pub role: RoleName,
    /// Its totals.
    pub stats: Stats,
    /// Clients, whatever they do.
    pub clients: usize,
    /// Of these, in line for a server connection, or waiting for a replica to catch up.
    pub waiting: usize,
    /// Of these, with a cancel request under way to their server.
    pub canceling: usize,
    /// Of these, with a cancel request that is not under way yet.
    pub cancel_waiting: usize,
    /// Of these, pinned to their server connection.
    pub pinned: usize,
    /// Server connections.
    pub servers: ServerCounts,
    /// Server connections that are to be replaced when they come back.
    pub stale: usize,
    /// How long the first in line has waited.
    pub longest_wait: Duration,
    /// Nobody is served: the tenant's status, PAUSE or KILL.
    pub paused: bool,
    /// The tenant is configured no longer; its last clients are leaving.
    pub removed: bool,
}

impl PoolRow {
    /// Adds another pool of the same tenant and role.
    pub fn add(&mut self, other: &Self) {
        self.stats.add(&other.stats);
        self.clients += other.clients;
        self.waiting += other.waiting;
        self.canceling += other.canceling;
        self.cancel_waiting += other.cancel_waiting;
        self.pinned += other.pinned;
        self.servers.add(&other.servers);
        self.stale += other.stale;
        self.longest_wait = self.longest_wait.max(other.longest_wait);
        self.paused |= other.paused;
        self.removed &= other.removed;
    }
}

/// Server connections of a pool by what they do; each is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// Lent to a client.
    pub active: usize,
    /// Lent, and a cancel request is under way to them.
    pub active_cancel: usize,
    /// Would be free but for a cancel request that is under way.
    pub being_canceled: usize,
    /// Free.
    pub idle: usize,
    /// Free, and idle for so long that they are asked for a sign of life before they are lent.
    pub used: usize,
    /// At work for us: sign of life, reset, catalog.
    pub tested: usize,
    /// Being opened.
    pub login: usize,
    /// Ending: the server has not closed its side yet.
    pub closing: usize,
}

impl ServerCounts {
    /// Adds another's numbers.
    fn add(&mut self, other: &Self) {
        let Self {
            active,
            active_cancel,
            being_canceled,
            idle,
            used,
            tested,
            login,
            closing,
        } = other;
        self.active += active;
        self.active_cancel += active_cancel;
        self.being_canceled += being_canceled;
        self.idle += idle;
        self.used += used;
        self.tested += tested;
        self.login += login;
        self.closing += closing;
    }
}

/// One client.
#[derive(Debug, Clone)]
pub struct ClientRow {
    /// Its own in this process.
    pub id: u64,
    /// Its tenant.
    pub tenant: Arc<Tenant>,
    /// What it logged in as.
    pub role: RoleName,
    /// What it does.
    pub state: ClientDoes,
    /// How it is connected.
    pub socket: SocketRow,
    /// When its last query began; before the first one, when it connected.
    pub requested: SystemTime,
    /// How long it has waited for a server connection until now.
    pub waited: Duration,
    /// Its server connection's id.
    pub server: Option<u64>,
    /// The process id in its cancel key.
    pub process_id: i32,
    /// As it was set last.
    pub application_name: String,
    /// Its named statements.
    pub prepared: usize,
    /// Why it keeps its server connection.
    pub pin: Option<&'static str>,
    /// Whether it replicates.
    pub replicates: bool,
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientDoes {
    /// It has a server connection.
    Active,
    /// It has asked for nothing.
    Idle,
    /// It is in line.
    Waiting,
    /// A cancel request of its own is under way.
    ActiveCancel,
    /// A cancel request of its own waits.
    WaitingCancel,
}

/// One server connection.
#[derive(Debug, Clone)]
pub struct ServerRow {
    /// Its own in this process.
    pub id: u64,
    /// Whose data it reaches.
    pub tenant: Arc<Tenant>,
    /// The server role.
    pub role: RoleName,
    /// The node.
    pub node: NodeAddr,
    /// What it does.
    pub state: ServerDoes,
    /// How it is connected.
    pub socket: SocketRow,
    /// When it was last given a query.
    pub requested: SystemTime,
    /// It is to be replaced when it comes back.
    pub close_needed: bool,
    /// Its client's id.
    pub client: Option<u64>,
    /// Of the server process.
    pub process_id: i32,
    /// That of its client.
    pub application_name: String,
    /// Statements that are prepared on it.
    pub prepared: usize,
    /// Whether it replicates.
    pub replicates: bool,
}

/// What a server connection does; see [`ServerCounts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in `ServerCounts`")]
pub enum ServerDoes {
    Active,
    ActiveCancel,
    BeingCanceled,
    Idle,
    Used,
    Tested,
    Closing,
}

/// A socket, of either side.
#[derive(Debug, Clone)]
pub struct SocketRow {
    /// The other end; `None` for Unix sockets. Of a client behind a balancer: what that says.
    pub peer: Option<SocketAddr>,
    /// Our end.
    pub local: Option<SocketAddr>,
    /// Since when.
    pub connected: SystemTime,
    /// Protocol version and cipher suite.
    pub tls: Option<String>,
    /// Bytes read that wait for something.
    pub held: usize,
    /// Bytes that the kernel did not take yet.
    pub unsent: usize,
}

/// A worker as a whole.
#[derive(Debug, Clone, Default)]
pub struct WorkerRow {
    /// Clients.
    pub clients: usize,
    /// Server connections, with those that are ending.
    pub servers: usize,
    /// Pools.
    pub pools: usize,
    /// What it has counted.
    pub tallies: Tallies,
}

/// What is asked for, and whom it is told.
#[derive(Debug)]
pub(super) enum Question {
    Pools(oneshot::Sender<Vec<PoolRow>>),
    Clients(Which, oneshot::Sender<Vec<ClientRow>>),
    Servers(oneshot::Sender<Vec<ServerRow>>),
    Worker(oneshot::Sender<Box<WorkerRow>>),
}

/// Which clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those that are pinned.
    Pinned,
}
