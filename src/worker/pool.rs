//! The server connections of one (tenant, node, server role): who is idle, who waits, what is owed.
//!
//! Data and the rules over it; the worker acts. Waiters are first come, first served.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Keeping;
use super::catalog::CatalogView;
use super::deadlines::{Deadline, Millis, millis};
use super::inbox::Done;
use super::routing::{Home, Part};
use super::stats::Stats;
use crate::config::{PoolMode, PoolSettings, Reads, Route, StateMode, TenantStatus};
use crate::error::ClientError;
use crate::session::{Extent, Setting, SettingsTable, Statements, Tally};
use crate::tenant::{Identity, Tenant};
use crate::types::{NodeAddr, RoleName, ScramClientKey, Secret};
use crate::upstream::backoff::Backoff;
use crate::upstream::budget::{NodeBudget, Ticket};
use crate::upstream::{Credentials, Target};

/// A server connection idle for longer, or for half of `idle_timeout` where that is less, is asked
/// whether it still lives before it is lent.
const CHECK_AFTER: Millis = 30_000;

/// One pool.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) serial: u64,
    pub(super) tenant: Arc<Tenant>,
    /// The server role.
    pub(super) role: RoleName,
    credentials: Credentials,
    /// Where its server connections lead.
    pub(super) at: NodeAddr,
    pub(super) part: Part,
    pub(super) node: Arc<NodeBudget>,
    /// Slots of idle server connections; the last one was used last.
    pub(super) idle: Vec<usize>,
    /// Server connections that count towards `size`: all but closing ones.
    pub(super) open: usize,
    pub(super) dialling: usize,
    pub(super) ticket: Option<(Ticket, Millis)>,
    waiters: VecDeque<Waiter>,
    waiting: usize,
    /// Slots of its clients, each at its [`super::clients::Client::seat`].
    pub(super) members: Vec<usize>,
    pub(super) settings: SettingsTable,
    pub(super) statements: Statements,
    pub(super) catalog: CatalogView,
    /// Sessions that keep a server connection for themselves.
    pub(super) pinned: usize,
    pub(super) backoff: Backoff,
    pub(super) last_error: Option<ClientError>,
    /// Changes with the target: older server connections are closed, not reused.
    pub(super) generation: u32,
    pub(super) deadline: Deadline,
    /// When the last client left, if none is there.
    pub(super) deserted: Option<Millis>,
    /// The tenant is no longer configured.
    pub(super) removed: bool,
    /// Its place in the worker's list of pools with idle connections to its node.
    pub(super) listed: Option<u64>,
    pub(super) stats: Stats,
    /// Paused by the operator.
    pub(super) held: bool,
    /// Server connections whose end is awaited.
    pub(super) closing: usize,
    /// Open ones of an older generation.
    pub(super) stale: usize,
    pub(super) awaited: Vec<(Awaited, Done)>,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// No server connection is left.
    Gone,
    /// None is to be replaced.
    Fresh,
}

/// A client in line; `turn` tells this wait from all others of the worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) client: usize,
    pub(super) turn: u64,
    pub(super) since: Millis,
}

/// What a pool is found by: tenant, server role, and what its clients ask for.
pub(super) type Key = (crate::types::TenantId, RoleName, Route);

/// The pool that serves an identity.
pub(super) fn key(identity: &Identity, route: Route) -> Key {
    let tenant = &identity.tenant;
    let stored = tenant.config.login.as_ref().map(|login| login.role.clone());
    let role = stored.unwrap_or_else(|| identity.role.clone());
    (tenant.id, role, route)
}

/// A node, and its budget.
pub(super) type At = (NodeAddr, Arc<NodeBudget>);

/// What proves the server role: stored, or the client's own.
fn credentials(tenant: &Tenant, role: &RoleName, key: Option<&ScramClientKey>) -> Credentials {
    let password = |secret: Option<&Secret>| match secret {
        Some(secret) => Credentials::Password(secret.clone()),
        None => Credentials::None,
    };
    match (&tenant.config.login, key) {
        (Some(login), _) => password(login.password.as_ref()),
        (None, Some(key)) => Credentials::ScramKey(key.clone()),
        (None, None) => {
            let own = tenant.role(role.as_str()).and_then(|r| r.password.as_ref());
            password(own.filter(|p| !p.expose().starts_with("SCRAM-SHA-256$")))
        }
    }
}

impl Pool {
    /// The pool of an identity's clients.
    pub(super) fn new(identity: &Identity, home: Home, node: At, serial: u64) -> Self {
        let tenant = Arc::clone(&identity.tenant);
        let (_, role, _) = key(identity, home.route);
        let credentials = credentials(&tenant, &role, identity.key.as_ref());
        let part = Part::Home(Box::new(home));
        Self::of((tenant, role), credentials, (part, node), serial)
    }

    /// A pool of connections to a replica for the clients of this one, which is at `home`.
    pub(super) fn branch(&self, node: At, home: usize, serial: u64) -> Self {
        let owner = (Arc::clone(&self.tenant), self.role.clone());
        let mut branch = Self::of(owner, Credentials::None, (Part::Branch(home), node), serial);
        branch.held = self.held;
        branch
    }

    fn of(
        (tenant, role): (Arc<Tenant>, RoleName),
        credentials: Credentials,
        (part, (at, node)): (Part, At),
        serial: u64,
    ) -> Self {
        Self {
            serial,
            credentials,
            tenant,
            role,
            at,
            part,
            node,
            idle: Vec::new(),
            open: 0,
            dialling: 0,
            ticket: None,
            waiters: VecDeque::new(),
            waiting: 0,
            members: Vec::new(),
            settings: SettingsTable::default(),
            statements: Statements::default(),
            catalog: CatalogView::default(),
            pinned: 0,
            backoff: Backoff::new(serial),
            last_error: None,
            generation: 0,
            deadline: Deadline::default(),
            deserted: None,
            removed: false,
            listed: None,
            stats: Stats::default(),
            held: false,
            closing: 0,
            stale: 0,
            awaited: Vec::new(),
        }
    }

    /// Adds what a session has done.
    #[inline]
    pub(super) fn count(&mut self, tally: Tally) {
        self.stats.queries += u64::from(tally.queries);
        self.stats.transactions += u64::from(tally.transactions);
        if !tally.prepares() {
            return;
        }
        self.stats.client_parses += u64::from(tally.client_parses);
        self.stats.server_parses += u64::from(tally.server_parses);
        self.stats.binds += u64::from(tally.binds);
    }

    /// Server connections lead elsewhere from now on.
    pub(super) fn next_generation(&mut self) {
        self.generation += 1;
        self.stale = self.open;
    }

    /// Whether none of its server connections is left or under way.
    pub(super) fn is_empty(&self) -> bool {
        self.open + self.closing + self.dialling == 0
    }

    /// Tells those whose wait is over.
    pub(super) fn tell_awaited(&mut self) {
        let (empty, stale, paused) = (self.is_empty(), self.stale > 0, self.is_paused());
        self.awaited.retain(|(what, _)| match what {
            Awaited::Gone => !empty && paused,
            Awaited::Fresh => stale,
        });
    }

    pub(super) fn limits(&self) -> &PoolSettings {
        &self.tenant.config.pool
    }

    /// Whether the catalog is to be read before a server connection is lent.
    #[inline]
    pub(super) fn owes_catalog(&self, now: Millis) -> bool {
        self.catalog.is_due(now)
            && matches!(self.part, Part::Home(_))
            && self.limits().mode != PoolMode::Session
            && self.limits().session_state == StateMode::Carry
    }

    /// How long a server connection may idle and be lent unasked.
    pub(super) fn check_after(&self) -> Millis {
        match millis(self.limits().idle_timeout) {
            0 => CHECK_AFTER,
            timeout => CHECK_AFTER.min(timeout / 2),
        }
    }

    /// A client has logged in: its key is the newest proof there is.
    pub(super) fn greet(&mut self, identity: &Identity) {
        self.deserted = None;
        if self.tenant.config.login.is_none() && identity.key.is_some() {
            let fresh = credentials(&self.tenant, &self.role, identity.key.as_ref());
            if !same_credentials(&fresh, &self.credentials) {
                self.backoff.succeeded();
            }
            self.credentials = fresh;
        }
    }

    /// Takes over a changed tenant; true: it is reached in another way from now on.
    pub(super) fn reconfigure(&mut self, tenant: Arc<Tenant>) -> bool {
        let (old, new) = (&self.tenant.config, &tenant.config);
        let moved = old.cluster.leads_elsewhere(&new.cluster)
            || old.database != new.database
            || old.login != new.login
            || old.pool.connect_query != new.pool.connect_query;
        if moved {
            let key = match &self.credentials {
                Credentials::ScramKey(key) => Some(key.clone()),
                Credentials::None | Credentials::Password(_) => None,
            };
            self.credentials = credentials(&tenant, &self.role, key.as_ref());
            self.next_generation();
            self.backoff.succeeded();
            self.settings.forget();
            self.catalog = CatalogView::default();
            self.last_error = None;
        }
        let extent = self.extent();
        self.tenant = tenant;
        if self.extent() != extent {
            self.catalog.hasten();
        }
        moved
    }

    /// How much of the catalog is asked for.
    pub(super) fn extent(&self) -> Extent {
        match self.tenant.config.routing.reads {
            Reads::Statements => Extent::Reads,
            Reads::Off | Reads::Transactions => Extent::State,
        }
    }

    /// What a new server connection connects to.
    pub(super) fn target(&self, settings: Vec<Setting>) -> Target {
        let config = &self.tenant.config;
        Target {
            node: self.at.clone(),
            cluster: Arc::clone(&config.cluster),
            database: config.database.clone(),
            role: self.role.clone(),
            credentials: self.credentials.clone(),
            settings,
            connect_query: config.pool.connect_query.clone(),
            connect_timeout: config.pool.connect_timeout,
        }
    }

    /// How many server connections are kept open although nobody uses them.
    pub(super) fn warm(&self, keeping: Keeping) -> usize {
        match keeping {
            Keeping::Warm if self.deserted.is_none() && self.keeps_warm() => self.limits().min_size,
            Keeping::Warm | Keeping::Nothing => 0,
        }
    }

    /// Replicas are connected to when they are needed.
    fn keeps_warm(&self) -> bool {
        self.home().is_some_and(|home| home.route == Route::Primary)
    }

    /// How many further server connections are wanted now.
    pub(super) fn wanted(&self, keeping: Keeping) -> usize {
        if self.removed || self.tenant.config.status == TenantStatus::Suspended {
            return 0;
        }
        let have = self.open + self.dialling;
        let warm = self.warm(keeping);
        // In session mode whoever waits has found no idle one that fits.
        let idle = if self.is_session() {
            0
        } else {
            self.idle.len()
        };
        let spare = idle + self.dialling + usize::from(self.catalog.is_first_read());
        // While it is paused nobody in line is served, and nothing is kept warm.
        let (waiting, warm) = if self.is_paused() {
            (0, 0)
        } else {
            (self.waiting, warm)
        };
        let asked = waiting.saturating_sub(spare).max(warm.saturating_sub(have));
        asked.min(self.room())
    }

    /// How many further server connections its size allows.
    #[inline]
    pub(super) fn room(&self) -> usize {
        let have = self.open + self.dialling;
        self.limits().size.saturating_sub(have)
    }

    /// Whether leases end with the session: then a server connection is one that was opened with
    /// the session's startup settings, so that RESET means what it means directly.
    #[inline]
    pub(super) fn is_session(&self) -> bool {
        self.limits().mode == PoolMode::Session
    }

    /// Whether clients wait although a server connection is there: it is paused, or the catalog
    /// is read for the first time.
    pub(super) fn holds_back(&self) -> bool {
        self.is_paused() || self.catalog.is_first_read()
    }

    /// Whether the tenant is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.held || self.tenant.config.status == TenantStatus::Paused
    }

    pub(super) fn wait(&mut self, waiter: Waiter) {
        self.waiting += 1;
        self.waiters.push_back(waiter);
    }

    /// A client in line has gone, was refused or was served; its entry is skipped from now on.
    pub(super) fn left_line(&mut self) {
        self.waiting -= 1;
        if self.waiting == 0 {
            self.waiters.clear();
            self.ticket = None;
        }
    }

    /// The first in line that still waits, as `waits` says.
    pub(super) fn first(&mut self, waits: impl Fn(&Waiter) -> bool) -> Option<Waiter> {
        while let Some(waiter) = self.waiters.front() {
            if waits(waiter) {
                return Some(*waiter);
            }
            self.waiters.pop_front();
        }
        None
    }

    /// Takes the first entry out of the line.
    pub(super) fn skip_first(&mut self) {
        self.waiters.pop_front();
    }

    /// Whether a free server connection must go because somebody has waited for its node for
    /// longer than `first`, the first in this pool's line. If that somebody is this pool itself, the
    /// connection at hand will do, and its place in the node's line is given up if others wait
    /// there, too: who still waits here gets in line again behind them.
    #[inline]
    pub(super) fn owes_node(&mut self, first: Option<Millis>) -> bool {
        let owed = self.node.owed_since();
        if owed == Millis::MAX {
            return false;
        }
        if self
            .ticket
            .as_ref()
            .is_some_and(|(_, since)| *since == owed)
        {
            if self.node.waiting() > 1 {
                self.ticket = None;
            }
            return false;
        }
        first.is_none_or(|since| owed < since)
    }

    /// Entries of clients that left the line are dropped when they come up; too many: now.
    pub(super) fn compact(&mut self, waits: impl Fn(&Waiter) -> bool) {
        if self.waiters.len() > 2 * self.waiting + 64 {
            self.waiters.retain(waits);
        }
    }

    /// Whether anybody waits.
    pub(super) fn has_waiters(&self) -> bool {
        self.waiting > 0
    }

    /// The line, with entries of clients that have left it.
    pub(super) fn line(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters.iter()
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }
}

fn same_credentials(a: &Credentials, b: &Credentials) -> bool {
    match (a, b) {
        (Credentials::None, Credentials::None) => true,
        (Credentials::Password(a), Credentials::Password(b)) => a == b,
        (Credentials::ScramKey(a), Credentials::ScramKey(b)) => a.0 == b.0,
        (Credentials::None | Credentials::Password(_) | Credentials::ScramKey(_), _) => false,
    }
}
