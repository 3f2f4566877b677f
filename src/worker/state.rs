//! Sessions that keep a server connection, and what is asked of it at the end of a transaction.

use super::clients::ClientState;
use super::run::Worker;
use super::servers::ServerState;
use crate::error::{ClientError, Severity};
use crate::session::{Schema, not_on_a_replica, too_many_pins};

impl Worker {
    /// The session has changed settings for good: from now on they follow it.
    #[cold]
    pub(super) fn adopt_settings(&mut self, client: usize, server: usize) {
        let client = &mut self.clients[client];
        let pool = &mut self.pools[client.pool];
        let link = &mut self.servers[server].link;
        client.session.adopt(link, &mut pool.settings);
    }

    /// The schema is another one: texts mean something else, and so may functions; to all roles of
    /// the tenant, whoever has changed it.
    #[cold]
    pub(super) fn schema_changed(&mut self, server: usize, changed: Schema) {
        let temporary = match self.servers[server].state {
            ServerState::Leased(client) => self.clients[client].session.has_temporary(),
            _ => false,
        };
        let now = self.now;
        let tenant = self.pools[self.servers[server].pool].tenant.id;
        for &slot in self.by_tenant.get(&tenant).into_iter().flatten() {
            let pool = &mut self.pools[slot];
            pool.statements.renew();
            if changed == Schema::Routines || !(temporary || pool.catalog.known().is_clean()) {
                pool.catalog.outdate(now);
            }
        }
    }

    /// Asks what the session's transaction has left.
    #[cold]
    pub(super) fn inquire(&mut self, slot: usize, server: usize) {
        let held = &mut self.servers[server];
        let mut sql = Vec::new();
        held.link
            .put_inquiry(&mut self.clients[slot].session, &mut sql);
        if held.socket.send(&sql).is_err() {
            self.server_unwritable(server);
        }
    }

    /// A session has begun or ceased to keep its server connection for itself.
    #[cold]
    pub(super) fn count_pin(&mut self, slot: usize) {
        let client = &mut self.clients[slot];
        let pool = &mut self.pools[client.pool];
        client.counted = client.session.keeps();
        if client.counted {
            pool.pinned += 1;
        } else {
            pool.pinned -= 1;
            client.told = false;
        }
    }

    /// Whether what has pinned a session is gone.
    #[cold]
    pub(super) fn is_released(&mut self, slot: usize) -> bool {
        let session = &mut self.clients[slot].session;
        let released = session.is_released();
        if session.keeps() != self.clients[slot].counted {
            self.count_pin(slot);
        }
        released
    }

    /// A transaction is over and the session stays where it is: one line a pin.
    #[cold]
    pub(super) fn pinned(&mut self, slot: usize) {
        let client = &mut self.clients[slot];
        let pool = &self.pools[client.pool];
        let Some(reason) = client.session.pin() else {
            return;
        };
        if let ClientState::Leased(server) = client.state
            && self.servers[server].link.is_routed()
        {
            // Its functions have left it: nothing could be refused before.
            return self.close_client(slot, &not_on_a_replica(reason).as_fatal());
        }
        if pool.pinned > pool.limits().pins() {
            // Its functions have left what keeps it where it is: nothing could be refused before.
            let error = ClientError {
                severity: Severity::Fatal,
                ..too_many_pins()
            };
            return self.close_client(slot, &error);
        }
        client.told = true;
        self.tallies.pins[reason as usize] += 1;
        let (tenant, role, reason) = (pool.tenant.slug(), &client.role, reason.as_str());
        tracing::info!(%tenant, %role, reason, "session pinned to its server connection");
    }
}
