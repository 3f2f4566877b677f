//! What workers do when a cluster's nodes are others than before: writes go to a new primary, reads
//! leave replicas that serve no more.
//!
//! Nothing that a server has begun is done again, but for a read that was the first statement of its
//! transaction, of whose answer nothing has reached the client: that goes to the primary.

use std::sync::Arc;

use super::Workers;
use super::clients::ClientState;
use super::inbox::Message;
use super::routing::Part;
use super::run::Worker;
use super::servers::ServerState;
use super::stats::Ended;
use crate::config::Cluster;
use crate::nodes::{ClusterView, Primary, ReplicaState};
use crate::session::Why;
use crate::types::NodeAddr;

/// Where writes go: as the configuration says, until it is known better.
pub(super) fn primary_of(cluster: &Cluster, view: Option<&ClusterView>) -> NodeAddr {
    match view.map(|view| &view.primary) {
        Some(Primary::Node(node)) => node.clone(),
        Some(Primary::Disputed(_)) | None => cluster.primary.clone(),
    }
}

impl Workers {
    /// Tells all workers how a cluster is from now on.
    pub fn cluster_changed(&self, view: &Arc<ClusterView>) {
        for inbox in &*self.inboxes {
            inbox.put(Message::Cluster(Arc::clone(view)));
        }
    }
}

impl Worker {
    /// A cluster is another one than before.
    pub(super) fn cluster_changed(&mut self, view: &Arc<ClusterView>) {
        let pools = self.pools.iter();
        let homes = pools.filter(|(_, pool)| pool.home().is_some());
        let of = homes.filter(|(_, pool)| pool.tenant.config.cluster.name == view.cluster);
        for slot in of.map(|(slot, _)| slot).collect::<Vec<_>>() {
            self.see(slot, Some(Arc::clone(view)));
        }
        self.replayed();
    }

    /// A pool learns how its cluster is.
    pub(super) fn see(&mut self, slot: usize, view: Option<Arc<ClusterView>>) {
        let cluster = Arc::clone(&self.pools[slot].tenant.config.cluster);
        let primary = primary_of(&cluster, view.as_deref());
        let disputed = view
            .as_ref()
            .is_some_and(|v| matches!(v.primary, Primary::Disputed(_)));
        let Some(home) = self.pools[slot].home_mut() else {
            return;
        };
        let dropped = home.see(view);
        let lost: Vec<usize> = home
            .view
            .iter()
            .flat_map(|view| &view.replicas)
            .zip(&home.branches)
            .filter(|(replica, _)| replica.state != ReplicaState::Ready)
            .filter_map(|(_, branch)| branch.pool)
            .collect();
        for branch in lost {
            self.desert(branch, "the replica serves no more");
        }
        for branch in dropped {
            self.drop_branch(branch, &primary);
        }
        if self.pools[slot].at != primary {
            self.follow(slot, primary);
        } else if disputed {
            // Those that are there may lead to the wrong one.
            self.pools[slot].next_generation();
            self.desert(slot, "nobody knows which node is the primary");
        }
    }

    /// A replica is one no more. What reads at a node that is the primary now may go on to its end.
    fn drop_branch(&mut self, branch: usize, primary: &NodeAddr) {
        if self.pools[branch].at != *primary {
            self.desert(branch, "the replica serves no more");
        }
        self.empty_line(branch);
        self.retire(branch);
    }

    /// Writes go to another node from now on.
    fn follow(&mut self, slot: usize, primary: NodeAddr) {
        let Some(budget) = self.around.budget.node(&primary) else {
            return;
        };
        let before = std::mem::replace(&mut self.pools[slot].at, primary);
        self.unlist(slot, &before);
        let asked = self.asked;
        let pool = &mut self.pools[slot];
        pool.node = budget;
        pool.ticket = None;
        pool.next_generation();
        pool.backoff.succeeded();
        pool.last_error = None;
        let cluster = pool.tenant.config.cluster.name.clone();
        if let Some(home) = pool.home() {
            // Positions of the former timeline say nothing here.
            home.writes.note(asked);
        }
        self.positions.remove(&cluster);
        self.desert(slot, "its node is not the primary any more");
        self.fill(slot);
    }

    /// All server connections of a pool end now: none of them may do anything any more.
    fn desert(&mut self, pool: usize, why: &str) {
        let servers = self.servers.iter();
        let of = servers.filter(|(_, s)| s.pool == pool && s.state != ServerState::Closing);
        let current = self.pools[pool].generation;
        let branch = matches!(self.pools[pool].part, Part::Branch(_));
        let slots: Vec<usize> = of
            .filter(|(_, s)| {
                branch || s.generation != current || s.cancel.node != self.pools[pool].at
            })
            .map(|(slot, _)| slot)
            .collect();
        for slot in slots {
            if self.servers.contains(slot) {
                self.server_lost(slot, why);
            }
        }
        if branch {
            self.empty_line(pool);
        }
    }

    /// Whether the client's request, of which the server has answered nothing, can be sent again
    /// elsewhere; if so, it is.
    pub(super) fn again(&mut self, server: usize) -> bool {
        let held = &mut self.servers[server];
        let ServerState::Leased(slot) = held.state else {
            return false;
        };
        let client = &mut self.clients[slot];
        let possible = held.sent.is_some()
            && client.state == ClientState::Leased(server)
            && client.session.can_be_taken_back();
        if !possible {
            return false;
        }
        client.session.take_back(&mut held.link);
        let mut input = held.sent.take().unwrap_or_default();
        input.extend_from_slice(&client.socket.held);
        client.socket.held = input;
        client.course.forced = Some(Why::Again);
        held.doubtful = Some(Ended::Lost);
        self.go_on(slot);
        self.close_server(server, Ended::Lost);
        let node = self.servers[server].cancel.node.clone();
        self.around.health.suspect(&node);
        true
    }
}
