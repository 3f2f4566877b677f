//! What HTTP tells of: parts of the proxy that it reads itself, and plain facts from the rest of
//! the program, which is above it.

use std::sync::Arc;
use std::time::SystemTime;

use crate::tenant::Registry;
use crate::upstream::Connectors;
use crate::upstream::budget::Budget;
use crate::upstream::health::Health;
use crate::worker::Workers;

/// Where everything comes from.
pub struct Sources {
    /// Asked for reports.
    pub workers: Workers,
    /// Which nodes there are, and what they give us.
    pub budget: Budget,
    /// Which nodes answer.
    pub connectors: Arc<Connectors>,
    /// Who is the primary of clusters with replicas, and how these are.
    pub health: Health,
    /// Called for each request; must not block.
    pub facts: Box<dyn Fn() -> Facts + Send + Sync>,
}

/// What only the rest of the program knows, at one moment.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What the proxy is doing.
    pub phase: Phase,
    /// Where it listens for clients.
    pub listeners: usize,
    /// Of these, those that accept nobody for now, for want of descriptors.
    pub short: usize,
    /// Clients logged in or logging in.
    pub clients: usize,
    /// How many there may be.
    pub max_clients: usize,
    /// The tenants.
    pub registry: Arc<Registry>,
    /// Everything is paused.
    pub paused: bool,
    /// When it began to serve.
    pub started: SystemTime,
    /// Of the configuration.
    pub reloads: Reloads,
    /// How logins ended.
    pub logins: Logins,
}

/// What the proxy is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Serving,
    /// SUSPEND: nothing is read.
    Suspended,
    /// It is ending: transactions may finish.
    Draining,
}

/// How reloads of the configuration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reloads {
    /// Applied.
    pub succeeded: u64,
    /// Refused, whatever the reason; nothing has changed then.
    pub failed: u64,
    /// When the configuration in force was applied.
    pub applied: SystemTime,
    /// Whether the last one was refused.
    pub refused: bool,
}

/// How logins ended, each with its name in metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logins {
    /// Logins, by method.
    pub by_method: Vec<(&'static str, u64)>,
    /// Connections that no worker got, by reason.
    pub failures: Vec<(&'static str, u64)>,
    /// Cancel requests.
    pub cancels: u64,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}
