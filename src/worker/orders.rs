//! An operator's commands, as each worker carries them out: for the pools that it has.
//!
//! Who is paused is told by the switches alone; a pool that is made later asks them itself.

use super::admin::Order;
use super::inbox::Done;
use super::pool::Awaited;
use super::run::Worker;
use super::stats::Ended;
use crate::error::{ClientError, SqlState};
use crate::tenant::switches::Scope;

impl Worker {
    /// Carries an order out; `done` is dropped when it is.
    pub(super) fn order(&mut self, order: Order, done: &Done) {
        match order {
            Order::Switched(scope) => self.switched(&scope, done),
            Order::Reconnect(scope) => self.reconnect(&scope),
            Order::AwaitFresh(scope) => self.await_pools(&scope, Awaited::Fresh, done),
            Order::Kill(scope) => self.kill(&scope, done),
            Order::Suspend => self.suspend(done),
            Order::Resume => self.resume(),
        }
    }

    fn pools_of(&self, scope: &Scope) -> Vec<usize> {
        let pools = self.pools.iter();
        let of = pools.filter(|(_, pool)| scope.contains(&pool.tenant));
        of.map(|(slot, _)| slot).collect()
    }

    fn switched(&mut self, scope: &Scope, done: &Done) {
        for slot in self.pools_of(scope) {
            let pool = &mut self.pools[slot];
            pool.held = self.around.switches.is_paused(&pool.tenant);
            if pool.held {
                self.close_idle_of(slot, Ended::Paused);
                self.await_pool(slot, Awaited::Gone, done);
            } else {
                pool.tell_awaited();
                self.serve_line(slot);
                self.fill(slot);
            }
        }
    }

    fn reconnect(&mut self, scope: &Scope) {
        for slot in self.pools_of(scope) {
            self.pools[slot].next_generation();
            self.close_idle_of(slot, Ended::Replaced);
            self.fill(slot);
        }
    }

    fn kill(&mut self, scope: &Scope, done: &Done) {
        let pools = self.pools_of(scope);
        for &slot in &pools {
            self.pools[slot].held = true;
            for client in self.pools[slot].members.clone() {
                self.close_client(client, &killed());
            }
        }
        self.switched(scope, done);
    }

    /// Ends the client with this serial number. False: there is none.
    pub(super) fn kill_client(&mut self, serial: u64) -> bool {
        let found = self.clients.iter().find(|(_, c)| c.serial == serial);
        let Some((slot, _)) = found else {
            return false;
        };
        self.close_client(slot, &killed());
        true
    }

    fn await_pools(&mut self, scope: &Scope, what: Awaited, done: &Done) {
        for slot in self.pools_of(scope) {
            self.await_pool(slot, what, done);
        }
    }

    fn await_pool(&mut self, slot: usize, what: Awaited, done: &Done) {
        let pool = &mut self.pools[slot];
        // Whoever has gone away waits no longer.
        pool.awaited.retain(|(_, done)| !done.is_closed());
        pool.awaited.push((what, done.clone()));
        pool.tell_awaited();
    }

    fn close_idle_of(&mut self, slot: usize, why: Ended) {
        for server in self.pools[slot].idle.clone() {
            self.close_server(server, why);
        }
    }
}

/// What a client is told that an operator ends.
fn killed() -> ClientError {
    let text = "terminating connection due to administrator command";
    ClientError::fatal(SqlState::SHUTDOWN, text)
}
