//! The replicas that a pool knows: which of them serve, whose turn it is, the pools of connections to
//! them.

use std::rc::Rc;
use std::sync::Arc;

use super::catching::Writes;
use super::{Home, Part};
use crate::config::{Balance, Consistency, MaxLag, Route, RoutingSettings};
use crate::nodes::{ClusterView, Lsn, ReplicaState, ReplicaView};
use crate::types::NodeAddr;
use crate::worker::clients::ClientState;
use crate::worker::deadlines::Millis;
use crate::worker::run::{Turn, Worker};

/// A replica that could not be connected to is left alone for so long, unless it is heard of.
const AVOIDED: Millis = 1_000;

/// A replica, for one pool.
#[derive(Debug)]
pub(in crate::worker) struct Branch {
    pub(in crate::worker) node: NodeAddr,
    /// The slot of the pool of connections to it, once there was need of one.
    pub(in crate::worker) pool: Option<usize>,
    /// What it is behind the others in turns.
    credit: i64,
    /// It could not be connected to: not before that.
    avoided: Millis,
}

/// Some of a view's replicas, by their places in it. The configuration allows no more than fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replicas(u64);

impl Replicas {
    pub(super) fn of(all: &[ReplicaView], wanted: impl Fn(usize, &ReplicaView) -> bool) -> Self {
        let numbered = all.iter().enumerate();
        let bits = numbered.map(|(at, replica)| u64::from(wanted(at, replica)) << at);
        Self(bits.sum())
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let at = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (at < 64).then_some(at)
        })
    }
}

impl Home {
    pub(in crate::worker) fn new(
        route: Route,
        view: Option<Arc<ClusterView>>,
        writes: Rc<Writes>,
    ) -> Self {
        let mut home = Self {
            route,
            view: None,
            branches: Vec::new(),
            writes,
        };
        home.see(view);
        home
    }

    /// Takes over another view; returned are the pools of replicas that it has not.
    pub(in crate::worker) fn see(&mut self, view: Option<Arc<ClusterView>>) -> Vec<usize> {
        let mut before = std::mem::take(&mut self.branches);
        for replica in view.iter().flat_map(|view| &view.replicas) {
            let known = before.iter().position(|b| b.node == replica.node);
            self.branches.push(match known {
                Some(at) => before.swap_remove(at),
                None => Branch {
                    node: replica.node.clone(),
                    pool: None,
                    credit: 0,
                    avoided: 0,
                },
            });
        }
        self.view = view;
        before.into_iter().filter_map(|b| b.pool).collect()
    }

    pub(super) fn replicas(&self) -> &[ReplicaView] {
        self.view.as_ref().map_or(&[], |view| &view.replicas)
    }

    /// Those that serve and are not too far behind.
    pub(super) fn serving(&self, routing: &RoutingSettings, now: Millis) -> Replicas {
        let close = |replica: &ReplicaView| match (routing.consistency, routing.max_lag) {
            (Consistency::Bounded, MaxLag::Time(most)) => replica.gauges.lag() <= most,
            (Consistency::Bounded, MaxLag::Bytes(most)) => replica.gauges.lag_bytes() <= most,
            (Consistency::Tenant | Consistency::Session | Consistency::Eventual, _) => true,
        };
        Replicas::of(self.replicas(), |at, replica| {
            replica.state == ReplicaState::Ready
                && replica.share > 0
                && self.branches[at].avoided <= now
                && close(replica)
        })
    }

    /// Of these, those that have replayed so far.
    pub(super) fn fresh(&self, of: Replicas, needed: Lsn) -> Replicas {
        Replicas::of(self.replicas(), |at, replica| {
            of.0 >> at & 1 == 1 && replica.gauges.replayed() >= needed
        })
    }

    /// Smooth weighted round robin: each gains its share, who is furthest behind is chosen and pays
    /// for all.
    pub(super) fn next_in_turn(&mut self, of: Replicas) -> usize {
        let (mut total, mut best) = (0, 0);
        let mut most = i64::MIN;
        for at in of.iter() {
            let share = self.view.as_ref().map_or(0, |view| view.replicas[at].share);
            let credit = &mut self.branches[at].credit;
            *credit += i64::from(share);
            total += i64::from(share);
            if *credit > most {
                (most, best) = (*credit, at);
            }
        }
        self.branches[best].credit -= total;
        best
    }
}

impl Worker {
    /// One of several replicas.
    pub(super) fn choose(&mut self, home: usize, of: Replicas) -> usize {
        let pool = &mut self.pools[home];
        match (pool.tenant.config.routing.balance, &mut pool.part) {
            (Balance::RoundRobin, Part::Home(home)) => home.next_in_turn(of),
            _ => {
                let least = self.least_used(home, of);
                let home = self.pools[home].home_mut();
                home.map_or(0, |home| home.next_in_turn(least))
            }
        }
    }

    /// Those with the fewest server connections in use, beside their shares.
    pub(super) fn least_used(&self, home: usize, of: Replicas) -> Replicas {
        let load = |at: &usize| {
            let known = self.pools[home].home()?;
            let share = known.replicas()[*at].share;
            let used = known.branches[*at].pool.map_or(0, |pool| {
                let pool = &self.pools[pool];
                pool.open - pool.idle.len() + pool.waiting()
            });
            Some((used as u64 + 1) * 1_000_000 / u64::from(share.max(1)))
        };
        let least = of.iter().map(|at| load(&at)).min();
        let bits = of.iter().filter(|at| Some(load(at)) == least);
        Replicas(bits.map(|at| 1 << at).sum())
    }

    /// The pool of connections to a replica, made if it is new.
    pub(super) fn branch(&mut self, home: usize, at: usize) -> Option<usize> {
        let known = &self.pools[home].home()?.branches[at];
        if let Some(pool) = known.pool {
            return Some(pool);
        }
        let node = known.node.clone();
        let budget = self.around.budget.node(&node)?;
        let serial = self.next_serial();
        let branch = self.pools[home].branch((node, budget), home, serial);
        let tenant = branch.tenant.id;
        let pool = self.pools.insert(branch);
        self.by_tenant.entry(tenant).or_default().push(pool);
        self.pools[home].home_mut()?.branches[at].pool = Some(pool);
        Some(pool)
    }

    /// A replica could not be connected to: those in line there go elsewhere.
    pub(in crate::worker) fn branch_failed(&mut self, pool: usize) {
        let home = self.home_of(pool);
        let until = self.now + AVOIDED;
        let known = self.pools[home].home_mut();
        let mut branches = known.into_iter().flat_map(|h| &mut h.branches);
        if let Some(branch) = branches.find(|b| b.pool == Some(pool)) {
            branch.avoided = until;
        }
        let node = self.pools[pool].at.clone();
        self.around.health.suspect(&node);
        self.empty_line(pool);
    }

    /// Those in a line choose again where they go.
    pub(in crate::worker) fn empty_line(&mut self, pool: usize) {
        let clients = &self.clients;
        let mut moved = Vec::new();
        let line = &mut self.pools[pool];
        while let Some(w) = line.first(|w| clients.get(w.client).is_some_and(|c| c.waits(w))) {
            line.skip_first();
            line.left_line();
            moved.push(w.client);
        }
        for slot in moved {
            if self.clients[slot].state == ClientState::Login {
                self.welcome(slot);
            } else {
                self.go_on(slot);
            }
        }
    }

    /// A client whose request waits has its turn with it.
    pub(in crate::worker) fn go_on(&mut self, slot: usize) {
        let client = &mut self.clients[slot];
        client.state = ClientState::Idle;
        self.ready.push_back(Turn::Client(slot, client.serial));
    }
}
