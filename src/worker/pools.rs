//! Pools of a worker: found, listed by what is idle, forgotten.

use std::rc::Rc;

use super::deadlines::{Owner, millis};
use super::failover::primary_of;
use super::pool::{self, Pool};
use super::routing::{Home, Part, Writes};
use super::run::Worker;
use super::stats::Ended;
use crate::config::Route;
use crate::tenant::Identity;
use crate::types::{NodeAddr, TenantId};

impl Worker {
    /// The pool that serves an identity, made if it is new; `None`: its node is not configured.
    pub(super) fn pool_for(&mut self, identity: &Identity, route: Route) -> Option<usize> {
        let key = pool::key(identity, route);
        if let Some(&slot) = self.by_key.get(&key) {
            return Some(slot);
        }
        let cluster = &identity.tenant.config.cluster;
        let view = self.around.health.view(&cluster.name);
        let at = primary_of(cluster, view.as_deref());
        let node = self.around.budget.node(&at)?;
        let serial = self.next_serial();
        let home = Home::new(route, view, self.writes_of(identity.tenant.id));
        let mut pool = Pool::new(identity, home, (at, node), serial);
        pool.held = self.around.switches.is_paused(&identity.tenant);
        let slot = self.pools.insert(pool);
        self.by_tenant.entry(key.0).or_default().push(slot);
        self.by_key.insert(key, slot);
        self.fill(slot);
        Some(slot)
    }

    /// The tenant's writes: one count for all of its pools.
    fn writes_of(&self, tenant: TenantId) -> Rc<Writes> {
        let pools = self.by_tenant.get(&tenant).into_iter().flatten();
        let mut homes = pools.filter_map(|slot| self.pools[*slot].home());
        homes
            .next()
            .map_or_else(Rc::default, |home| Rc::clone(&home.writes))
    }

    /// Notes that a pool has an idle connection, for [`Worker::evict`].
    pub(super) fn list_idle(&mut self, slot: usize) {
        if self.pools[slot].listed.is_some() {
            return;
        }
        let turn = self.next_serial();
        let pool = &mut self.pools[slot];
        pool.listed = Some(turn);
        let node = &pool.at;
        match self.idle_pools.get_mut(node) {
            Some(listed) => drop(listed.insert(turn, slot)),
            None => drop(self.idle_pools.insert(node.clone(), [(turn, slot)].into())),
        }
    }

    /// Takes a pool out of the list of its node.
    pub(super) fn unlist(&mut self, slot: usize, node: &NodeAddr) {
        let Some(turn) = self.pools[slot].listed.take() else {
            return;
        };
        if let Some(listed) = self.idle_pools.get_mut(node) {
            listed.remove(&turn);
            if listed.is_empty() {
                self.idle_pools.remove(node);
            }
        }
    }

    /// Closes one idle connection to a node, of the pool that has had one for the longest time.
    pub(super) fn evict(&mut self, node: &NodeAddr) {
        let owed = |budget: &crate::upstream::budget::Budget| {
            budget
                .node(node)
                .is_some_and(|n| n.owed_since() != u64::MAX)
        };
        if !owed(&self.around.budget) {
            return;
        }
        while let Some(slot) = self.first_idle(node) {
            self.unlist(slot, node);
            let Some(&oldest) = self.pools[slot].idle.first() else {
                continue;
            };
            self.close_server(oldest, Ended::Evicted);
            if self.pools.get(slot).is_some_and(|p| !p.idle.is_empty()) {
                self.list_idle(slot);
            }
            return;
        }
    }

    fn first_idle(&self, node: &NodeAddr) -> Option<usize> {
        let (_, slot) = self.idle_pools.get(node)?.first_key_value()?;
        Some(*slot)
    }

    /// Sets a pool's deadline for what is next: forgetting it.
    pub(super) fn plan(&mut self, slot: usize) {
        let pool = &mut self.pools[slot];
        if let Some(since) = pool.deserted {
            let ttl = if pool.removed {
                0
            } else {
                millis(pool.limits().pool_ttl)
            };
            let owner = Owner::Pool(slot, pool.serial);
            self.deadlines
                .set(&mut pool.deadline, owner, since.saturating_add(ttl));
        }
    }

    /// A pool's deadline: a new attempt is due, or nobody has used it for long.
    pub(super) fn pool_due(&mut self, slot: usize) {
        let pool = &self.pools[slot];
        let ttl = if pool.removed {
            0
        } else {
            millis(pool.limits().pool_ttl)
        };
        let forgotten = pool
            .deserted
            .is_some_and(|since| since.saturating_add(ttl) <= self.now);
        if !forgotten {
            self.plan(slot);
            return self.fill(slot);
        }
        for server in self.pools[slot].idle.clone() {
            self.close_server(server, Ended::Idle);
        }
        let branches = self.branches_of(slot);
        let idle = branches.iter().flat_map(|b| self.pools[*b].idle.clone());
        for server in idle.collect::<Vec<_>>() {
            self.close_server(server, Ended::Idle);
        }
        if self.pools[slot].is_empty() && branches.iter().all(|b| self.pools[*b].is_empty()) {
            for branch in branches {
                self.forget(branch);
            }
            self.forget(slot);
        } else {
            // Something is still under way; it is looked at again soon.
            let pool = &mut self.pools[slot];
            let owner = Owner::Pool(slot, pool.serial);
            self.deadlines
                .set(&mut pool.deadline, owner, self.now + 1_000);
        }
    }

    /// The pools of connections to replicas that a pool has, also to such that serve no more.
    pub(super) fn branches_of(&self, home: usize) -> Vec<usize> {
        let tenant = self.pools[home].tenant.id;
        let pools = self.by_tenant.get(&tenant).into_iter().flatten().copied();
        let of = |slot: &usize| matches!(self.pools[*slot].part, Part::Branch(h) if h == home);
        pools.filter(of).collect()
    }

    fn forget(&mut self, slot: usize) {
        self.disown(slot);
        let node = self.pools[slot].at.clone();
        self.unlist(slot, &node);
        let pool: Pool = self.pools.remove(slot);
        self.tallies.gone.add(&pool.stats);
        if let Some(slots) = self.by_tenant.get_mut(&pool.tenant.id) {
            slots.retain(|s| *s != slot);
            if slots.is_empty() {
                self.by_tenant.remove(&pool.tenant.id);
            }
        }
    }

    /// From now on the pool is found by nobody.
    pub(super) fn disown(&mut self, slot: usize) {
        let pool = &self.pools[slot];
        let Some(home) = pool.home() else {
            return;
        };
        let key = (pool.tenant.id, pool.role.clone(), home.route);
        if self.by_key.get(&key) == Some(&slot) {
            self.by_key.remove(&key);
        }
    }
}
