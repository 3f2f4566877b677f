//! What changes while a worker serves: tenants that are changed or removed, and the end.

use std::sync::Arc;

use super::Keeping;
use super::clients::{removed, shutdown};
use super::failover::primary_of;
use super::pool::Pool;
use super::run::{Phase, Worker};
use super::stats::Ended;
use crate::config::TenantStatus;
use crate::error::{ClientError, SqlState};
use crate::tenant::{Identity, Tenant};
use crate::types::TenantId;

impl Worker {
    /// Takes over a changed tenant. Clients stay, but for those whose role is gone and those of a
    /// suspended tenant, which end at their next transaction boundary.
    pub(super) fn tenant_changed(&mut self, tenant: &Arc<Tenant>) {
        let slots = self.by_tenant.get(&tenant.id).cloned().unwrap_or_default();
        for &slot in &slots {
            if self.pools[slot].removed {
                continue;
            }
            if self.pools[slot].home().is_none() {
                self.branch_changed(slot, tenant);
                continue;
            }
            if !self.rename(slot, tenant) {
                self.retire(slot);
                self.doom(&[slot], |_| Some(removed()));
                continue;
            }
            let before = Arc::clone(&self.pools[slot].tenant.config.cluster);
            let moved = self.pools[slot].reconfigure(Arc::clone(tenant));
            if !moved && before != tenant.config.cluster {
                // Of replicas that are no more nobody tells.
                let view = self.around.health.view(&before.name);
                self.see(slot, view);
            }
            if moved {
                self.settle_at(slot);
                for server in self.pools[slot].idle.clone() {
                    self.close_server(server, Ended::Replaced);
                }
            }
            self.shrink(slot);
            self.fill(slot);
        }
        let slots: Vec<usize> = slots
            .into_iter()
            .filter(|slot| !self.pools[*slot].removed)
            .collect();
        self.doom(&slots, |role| unwelcome(tenant, role));
        for slot in slots {
            self.serve_line(slot);
        }
    }

    /// The pool's node is the primary of its tenant's cluster as it is now.
    fn settle_at(&mut self, slot: usize) {
        let cluster = Arc::clone(&self.pools[slot].tenant.config.cluster);
        let view = self.around.health.view(&cluster.name);
        let at = primary_of(&cluster, view.as_deref());
        let before = self.pools[slot].at.clone();
        self.unlist(slot, &before);
        if let Some(node) = self.around.budget.node(&at) {
            self.pools[slot].node = node;
            self.pools[slot].at = at;
        }
        self.pools[slot].ticket = None;
        let asked = self.asked;
        if let Some(home) = self.pools[slot].home() {
            // Positions of another cluster say nothing here.
            home.writes.note(asked);
        }
        self.see(slot, view);
    }

    /// A pool of connections to a replica: where these would have to be others, they end when they
    /// are free.
    fn branch_changed(&mut self, slot: usize, tenant: &Arc<Tenant>) {
        let pool = &mut self.pools[slot];
        if pool.reconfigure(Arc::clone(tenant)) {
            pool.ticket = None;
            for server in self.pools[slot].idle.clone() {
                self.close_server(server, Ended::Replaced);
            }
        }
        if let Some(login) = &tenant.config.login {
            self.pools[slot].role = login.role.clone();
        }
        self.shrink(slot);
    }

    /// A login that began before a change arrives after it: gives it the tenant as it is now, or
    /// says why it may not stay.
    pub(super) fn refresh(&self, identity: &mut Identity) -> Result<(), ClientError> {
        let Some(registry) = &self.registry else {
            return Ok(());
        };
        match registry.by_slug(identity.tenant.slug().as_str()) {
            Some(now) if Arc::ptr_eq(now, &identity.tenant) => Ok(()),
            Some(now) if now.id == identity.tenant.id => {
                identity.tenant = Arc::clone(now);
                unwelcome(now, identity.role.as_str()).map_or(Ok(()), Err)
            }
            // One of that name may have come since: it is another one.
            Some(_) | None => Err(removed()),
        }
    }

    /// Follows a change of the tenant's server role. False: the pool cannot; another one has that
    /// role already, or from now on each client comes with its own.
    fn rename(&mut self, slot: usize, tenant: &Tenant) -> bool {
        let pool = &self.pools[slot];
        let before = pool.tenant.config.login.as_ref().map(|login| &login.role);
        let after = tenant.config.login.as_ref().map(|login| &login.role);
        if before == after {
            return true;
        }
        let (Some(_), Some(after)) = (before, after) else {
            return false;
        };
        let Some(route) = pool.home().map(|home| home.route) else {
            return true;
        };
        let new = (tenant.id, after.clone(), route);
        if self.by_key.contains_key(&new) {
            return false;
        }
        self.by_key.remove(&(tenant.id, pool.role.clone(), route));
        self.pools[slot].role = new.1.clone();
        self.by_key.insert(new, slot);
        true
    }

    /// Closes idle connections above a size that was made smaller.
    fn shrink(&mut self, slot: usize) {
        while self.pools[slot].open > self.pools[slot].limits().size
            && let Some(&server) = self.pools[slot].idle.first()
        {
            self.close_server(server, Ended::Idle);
        }
    }

    /// A pool that nobody may join any more.
    pub(super) fn retire(&mut self, slot: usize) {
        let pool = &mut self.pools[slot];
        pool.removed = true;
        if pool.home().is_none() {
            pool.deserted = Some(self.now);
        }
        self.disown(slot);
        for server in self.pools[slot].idle.clone() {
            self.close_server(server, Ended::Shutdown);
        }
        self.plan(slot);
    }

    /// The tenant is configured no longer: its clients end at their next transaction boundary.
    pub(super) fn tenant_removed(&mut self, id: TenantId) {
        let slots = self.by_tenant.get(&id).cloned().unwrap_or_default();
        for &slot in &slots {
            self.retire(slot);
        }
        self.doom(&slots, |_| Some(removed()));
    }

    /// Lends idle connections to clients in line: the tenant was paused until now.
    pub(super) fn serve_line(&mut self, slot: usize) {
        while !self.pools[slot].holds_back() && self.pools[slot].has_waiters() {
            let Some(server) = self.idle_server(slot) else {
                return self.fill(slot);
            };
            self.release(server);
        }
    }

    /// Ends clients of these pools, as `why` says of their role.
    fn doom(&mut self, pools: &[usize], why: impl Fn(&str) -> Option<ClientError>) {
        let members = |pool: &usize| self.pools[*pool].members.clone();
        let clients: Vec<usize> = pools.iter().flat_map(members).collect();
        for slot in clients {
            let Some(client) = self.clients.get_mut(slot) else {
                continue;
            };
            client.doom = why(client.role.as_str()).map(Box::new);
            self.settle_unleased(slot);
        }
    }

    /// Fills pools up again, or leaves unused server connections to their `idle_timeout`.
    pub(super) fn keep_open(&mut self, keeping: Keeping) {
        self.keeping = keeping;
        let pools: Vec<usize> = self.pools.iter().map(|(slot, _)| slot).collect();
        for slot in pools {
            self.fill(slot);
        }
    }

    /// Lets transactions finish; everything else goes now.
    pub(super) fn drain(&mut self) {
        self.phase = self.phase.max(Phase::Draining);
        let clients: Vec<usize> = self.clients.iter().map(|(slot, _)| slot).collect();
        for client in clients {
            if self.clients.contains(client) {
                self.settle_unleased(client);
            }
        }
        self.close_idle(Ended::Shutdown, |_| true);
    }

    /// Closes everything.
    pub(super) fn stop(&mut self) {
        self.phase = Phase::Stopping;
        let clients: Vec<usize> = self.clients.iter().map(|(slot, _)| slot).collect();
        for client in clients {
            if self.clients.contains(client) {
                self.close_client(client, &shutdown());
            }
        }
        self.close_idle(Ended::Shutdown, |_| true);
    }

    /// Closes the idle server connections of some pools.
    pub(super) fn close_idle(&mut self, why: Ended, of: impl Fn(&Pool) -> bool) {
        let idle: Vec<usize> = self
            .pools
            .iter()
            .filter(|(_, p)| of(p))
            .flat_map(|(_, p)| p.idle.clone())
            .collect();
        for server in idle {
            self.close_server(server, why);
        }
    }
}

/// Why clients of a role may not stay, if so.
fn unwelcome(tenant: &Tenant, role: &str) -> Option<ClientError> {
    if tenant.config.status == TenantStatus::Suspended {
        let error = ClientError::fatal(SqlState::UNAVAILABLE, "the tenant is suspended");
        return Some(error.with_hint("ask whoever runs this service"));
    }
    tenant.role(role).is_none().then(removed)
}
