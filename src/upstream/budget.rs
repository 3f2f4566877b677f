//! How many server connections a node gives us in all, over every tenant and worker.
//!
//! A hard cap, first come first served: a place that is given back goes to who has waited longest,
//! and nobody overtakes. Usable from any thread, never blocks for long, no runtime. A [`Permit`]
//! is to be held until the server has closed its side.
//!
//! It lacks a fair share between tenants.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::types::NodeAddr;

/// The budgets of all nodes. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Budget(Arc<Mutex<HashMap<NodeAddr, Arc<NodeBudget>>>>);

impl Budget {
    /// The budget of a node that is configured.
    pub fn node(&self, node: &NodeAddr) -> Option<Arc<NodeBudget>> {
        self.nodes().get(node).cloned()
    }

    /// Takes over the limits of a configuration. A node that is no longer named keeps its budget
    /// for as long as somebody holds it, so that naming it again cannot double the limit.
    pub fn configure(&self, limits: impl IntoIterator<Item = (NodeAddr, usize)>) {
        let mut named = Vec::new();
        let mut nodes = self.nodes();
        for (node, limit) in limits {
            let budget = nodes
                .entry(node)
                .or_insert_with(|| Arc::new(NodeBudget::new(limit)));
            named.push((Arc::clone(budget), limit));
        }
        // Who is named is held by `named`, too.
        nodes.retain(|_, budget| Arc::strong_count(budget) > 1);
        drop(nodes);
        for (budget, limit) in named {
            budget.set_limit(limit);
        }
    }

    /// Every node and its budget, in the order of their names, to be shown.
    pub fn all(&self) -> Vec<(NodeAddr, Arc<NodeBudget>)> {
        let mut all: Vec<_> = self
            .nodes()
            .iter()
            .map(|(node, b)| (node.clone(), Arc::clone(b)))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<NodeAddr, Arc<NodeBudget>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who waits for a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// The worker and, there, the pool.
    pub id: (usize, u64),
    /// Since when, in milliseconds of the caller's clock.
    pub since: u64,
}

/// Called once, outside of every lock, by whatever thread gives a place back.
type Grant = Box<dyn FnOnce(Permit) + Send>;

/// The budget of one node.
pub struct NodeBudget {
    state: Mutex<State>,
    /// `since` of the first waiter, `u64::MAX` without one: read by workers at every release.
    owed_since: AtomicU64,
}

struct State {
    limit: usize,
    taken: usize,
    next_ticket: u64,
    /// By ticket, so in order of arrival.
    waiting: BTreeMap<u64, (Waiter, Grant)>,
    /// A thread is handing out places: whoever gives one back meanwhile leaves it to that thread.
    /// So grants come in order, and a grant that drops its permit does not recurse.
    dispatching: bool,
}

impl NodeBudget {
    fn new(limit: usize) -> Self {
        let waiting = BTreeMap::new();
        let state = State {
            limit,
            taken: 0,
            next_ticket: 0,
            waiting,
            dispatching: false,
        };
        Self {
            state: Mutex::new(state),
            owed_since: AtomicU64::new(u64::MAX),
        }
    }

    /// A permit, if a place is free and nobody waits for it.
    pub fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.lock();
        if state.taken >= state.limit || !state.waiting.is_empty() {
            return None;
        }
        state.taken += 1;
        Some(Permit(Arc::clone(self)))
    }

    /// Waits in line. `grant` is called once with the permit, perhaps before this returns, perhaps
    /// from another thread; it should only pass the permit on.
    ///
    /// Dropping the ticket leaves the line. If the grant was already under way it comes
    /// nevertheless; dropping its permit gives the place to the next.
    pub fn enqueue(self: &Arc<Self>, waiter: Waiter, grant: Grant) -> Ticket {
        let number = {
            let mut state = self.lock();
            let number = state.next_ticket;
            state.next_ticket += 1;
            state.waiting.insert(number, (waiter, grant));
            self.publish(&state);
            number
        };
        self.dispatch();
        Ticket {
            node: Arc::clone(self),
            number,
        }
    }

    /// Since when the first in line has waited; `u64::MAX` if nobody does. One relaxed load.
    pub fn owed_since(&self) -> u64 {
        self.owed_since.load(Ordering::Relaxed)
    }

    /// The first in line.
    pub fn first_waiting(&self) -> Option<Waiter> {
        self.lock()
            .waiting
            .first_key_value()
            .map(|(_, (waiter, _))| *waiter)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// How many permits are out; after the limit has shrunk this may exceed it for a while.
    pub fn taken(&self) -> usize {
        self.lock().taken
    }

    /// How many permits may be out.
    pub fn limit(&self) -> usize {
        self.lock().limit
    }

    fn set_limit(self: &Arc<Self>, limit: usize) {
        self.lock().limit = limit;
        self.dispatch();
    }

    fn release(self: &Arc<Self>) {
        self.lock().taken -= 1;
        self.dispatch();
    }

    fn cancel(&self, number: u64) {
        let mut state = self.lock();
        let removed = state.waiting.remove(&number);
        self.publish(&state);
        drop(state);
        // Its grant may own anything: dropped outside of the lock.
        drop(removed);
    }

    /// Hands free places to who waits, one after the other, unless another thread is at it.
    fn dispatch(self: &Arc<Self>) {
        let mut mine = Dispatching {
            node: self,
            owned: false,
        };
        while let Some(grant) = mine.next() {
            grant(Permit(Arc::clone(self)));
        }
    }

    fn publish(&self, state: &State) {
        let first = state.waiting.first_key_value();
        let since = first.map_or(u64::MAX, |(_, (waiter, _))| waiter.since);
        self.owed_since.store(since, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for NodeBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("NodeBudget")
            .field("limit", &state.limit)
            .field("taken", &state.taken)
            .field("waiting", &state.waiting.len())
            .finish()
    }
}

/// The right to hand out places; given back when done, also if a grant panics.
struct Dispatching<'a> {
    node: &'a NodeBudget,
    owned: bool,
}

impl Dispatching<'_> {
    /// The next grant that is due, its place taken; `None`: none is, or another thread does it.
    fn next(&mut self) -> Option<Grant> {
        let mut state = self.node.lock();
        if state.dispatching && !self.owned {
            return None;
        }
        let due = (state.taken < state.limit)
            .then(|| state.waiting.pop_first())
            .flatten();
        // In the same critical section as the look at the line: nobody who gives a place back
        // after it can take this thread for one that will look again.
        self.owned = due.is_some();
        state.dispatching = self.owned;
        let (_, (_, grant)) = due?;
        state.taken += 1;
        self.node.publish(&state);
        Some(grant)
    }
}

impl Drop for Dispatching<'_> {
    fn drop(&mut self) {
        if self.owned {
            self.node.lock().dispatching = false;
        }
    }
}

/// The right to one server connection at a node.
#[derive(Debug)]
#[must_use = "dropping it gives the place to the next"]
pub struct Permit(Arc<NodeBudget>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// A place in the line of a [`NodeBudget`]; dropping it leaves the line.
#[derive(Debug)]
#[must_use = "dropping it leaves the line"]
pub struct Ticket {
    node: Arc<NodeBudget>,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.node.cancel(self.number);
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
