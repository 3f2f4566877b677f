//! What an operator has switched while the proxy runs: PAUSE, KILL, DISABLE. It outlives reloads,
//! and ends with the process.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Tenant;
use crate::types::{ClusterName, Slug};

/// Whom a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All tenants.
    All,
    /// One tenant.
    Tenant(Slug),
    /// The tenants of one cluster.
    Cluster(ClusterName),
}

impl Scope {
    /// Whether it is about that tenant.
    pub fn contains(&self, tenant: &Tenant) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(slug) => tenant.slug() == slug,
            Self::Cluster(name) => tenant.config.cluster.name == *name,
        }
    }
}

/// The switches. Clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct Switches(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    all_paused: bool,
    clusters: HashSet<ClusterName>,
    tenants: HashMap<Slug, Tenancy>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tenancy {
    paused: bool,
    disabled: bool,
}

impl Switches {
    /// Pauses: clients wait for a server connection.
    pub fn pause(&self, scope: &Scope) {
        let mut state = self.lock();
        match scope {
            Scope::All => state.all_paused = true,
            Scope::Tenant(slug) => state.tenants.entry(slug.clone()).or_default().paused = true,
            Scope::Cluster(name) => drop(state.clusters.insert(name.clone())),
        }
    }

    /// Ends a pause of that very scope; the end of a pause of all ends every other one, too.
    /// False: it was not paused.
    pub fn resume(&self, scope: &Scope) -> bool {
        let mut state = self.lock();
        match scope {
            Scope::All => {
                let was = state.all_paused
                    || !state.clusters.is_empty()
                    || state.tenants.values().any(|t| t.paused);
                state.all_paused = false;
                state.clusters.clear();
                state.tenants.retain(|_, t| {
                    t.paused = false;
                    t.disabled
                });
                was
            }
            Scope::Tenant(slug) => {
                let tenancy = state.tenants.get_mut(slug);
                tenancy.is_some_and(|t| std::mem::take(&mut t.paused))
            }
            Scope::Cluster(name) => state.clusters.remove(name),
        }
    }

    /// Refuses, or takes again, new clients of a tenant.
    pub fn admit(&self, tenant: &Slug, admission: Admission) {
        let mut state = self.lock();
        let tenancy = state.tenants.entry(tenant.clone()).or_default();
        tenancy.disabled = admission == Admission::Refused;
    }

    /// Whether all, its cluster or itself is paused.
    pub fn is_paused(&self, tenant: &Tenant) -> bool {
        let state = self.lock();
        state.all_paused
            || state.clusters.contains(&tenant.config.cluster.name)
            || state.tenants.get(tenant.slug()).is_some_and(|t| t.paused)
    }

    /// Whether everything is paused.
    pub fn all_paused(&self) -> bool {
        self.lock().all_paused
    }

    /// Whether new clients of it are refused.
    pub fn is_disabled(&self, tenant: &Tenant) -> bool {
        let state = self.lock();
        state.tenants.get(tenant.slug()).is_some_and(|t| t.disabled)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether new clients of a tenant get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// As ever.
    Allowed,
    /// DISABLE.
    Refused,
}
