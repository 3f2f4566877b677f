//! What the file says for all tenants and each tenant may say otherwise: `[pool]` and `[routing]`.

use std::time::Duration;

/// `[pool]`: limits and times of one pool. A duration of zero means none where the contract says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    /// When a lease ends.
    pub mode: PoolMode,
    /// Server connections per pool, at least 1.
    pub size: usize,
    /// Kept open even when idle.
    pub min_size: usize,
    /// Longest wait for a server connection, then 53300.
    pub acquire_timeout: Duration,
    /// Longest connect and login at a server.
    pub connect_timeout: Duration,
    /// An idle server connection is closed after this; zero: never.
    pub idle_timeout: Duration,
    /// A server connection is replaced after this, with jitter; zero: never.
    pub max_lifetime: Duration,
    /// A pool without clients is forgotten after this.
    pub pool_ttl: Duration,
    /// Clients of one tenant.
    pub max_clients: usize,
    /// Longest query; zero: none.
    pub query_timeout: Duration,
    /// Longest transaction; zero: none.
    pub transaction_timeout: Duration,
    /// Longest silence of a client inside a transaction; zero: none.
    pub idle_transaction_timeout: Duration,
    /// Longest silence of a client outside one; zero: none.
    pub client_idle_timeout: Duration,
    /// Prepared statements kept per server connection, at least 1.
    pub max_prepared_statements: usize,
    /// SQL run on each new server connection; empty: none.
    pub connect_query: String,
    /// What servers see as application_name.
    pub application_name: ApplicationName,
    /// What becomes of session state in transaction mode.
    pub session_state: StateMode,
    /// When a server connection is reset before another session gets it.
    pub reset: ResetWhen,
    /// Whether clients may speak the replication protocol.
    pub replication: Replication,
    /// Sessions of one pool that may keep a server connection for themselves; 0: all but one of
    /// `size`.
    pub max_pins: usize,
}

/// `[routing]`: which reads go to replicas, and how fresh these must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingSettings {
    /// What goes to replicas.
    pub reads: Reads,
    /// Which writes such a read must see.
    pub consistency: Consistency,
    /// How long a read waits for a replica to catch up; then it goes to the primary.
    pub consistency_wait: Duration,
    /// A replica further behind serves no `bounded` reads.
    pub max_lag: MaxLag,
    /// What becomes of reads while no replica is there.
    pub no_replica: NoReplica,
    /// Whether each transaction says by a NOTICE which node served it.
    pub notice: bool,
    /// How one of several replicas is chosen.
    pub balance: Balance,
}

/// What goes to replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Nothing.
    Off,
    /// Transactions that say that they are read only.
    Transactions,
    /// Also single statements that only read.
    Statements,
}

/// Which writes a read at a replica must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Those that this instance has acknowledged to any session of the tenant.
    Tenant,
    /// Those of its own session.
    Session,
    /// Those that are older than `max_lag`.
    Bounded,
    /// None in particular.
    Eventual,
}

/// How far a replica may be behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxLag {
    /// In time.
    Time(Duration),
    /// In bytes of WAL.
    Bytes(u64),
}

/// What becomes of reads while no replica is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoReplica {
    /// They go to the primary.
    Primary,
    /// They fail.
    Error,
}

/// How one of several replicas is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest server connections in use, by weight.
    LeastConnections,
}

/// What becomes of session state in transaction mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateMode {
    /// Settings follow the session, the rest keeps it on its server connection.
    Carry,
    /// Statements that would need it are refused.
    Reject,
    /// Nothing is looked at: state stays on whichever server connection it was made.
    Ignore,
}

/// Whether clients may speak the replication protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// They may not.
    Refuse,
    /// Logical replication (`replication=database`), in session mode.
    Logical,
}

/// When a server connection is reset before another session gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetWhen {
    /// If the last session may have left state.
    Dirty,
    /// Always.
    Always,
}

impl PoolSettings {
    /// How many sessions of a pool may keep a server connection for themselves.
    pub fn pins(&self) -> usize {
        match self.max_pins {
            0 => self.size.saturating_sub(1).max(1),
            limit => limit.min(self.size),
        }
    }

    /// Whether any limit runs while a client is served or idle.
    #[inline]
    pub fn is_timed(&self) -> bool {
        !(self.query_timeout.is_zero()
            && self.transaction_timeout.is_zero()
            && self.idle_transaction_timeout.is_zero()
            && self.client_idle_timeout.is_zero())
    }
}

/// When a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// With the session.
    Session,
    /// With the transaction.
    Transaction,
    /// With the statement; transaction blocks are refused.
    Statement,
}

/// What servers see as application_name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplicationName {
    /// The client's.
    Pass,
    /// The client's with the tenant after it.
    Append,
}
