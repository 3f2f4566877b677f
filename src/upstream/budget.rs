//! How many server connections a node gives us in all, over every tenant and worker.
//!
//! A hard cap, first come first served: a place that is given back goes to who has waited longest,
//! and nobody overtakes. Usable from any thread, never blocks for long, no runtime. A [`Permit`]
//! is to be held until the server has closed its side.
//!
//! While one process takes over from another both share one budget: one is the arbiter, the others
//! borrow. A borrower hands out nothing itself: who waits there waits in the arbiter's line, and
//! what is given back there goes back to the arbiter. How the two talk: [`super::lending`].
//!
//! It lacks a fair share between tenants.

mod sharing;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lending::{LinkId, Note};
use crate::types::NodeAddr;
use sharing::Shared;

/// The budgets of all nodes. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Budget(Arc<Mutex<Nodes>>);

#[derive(Debug, Default)]
struct Nodes {
    by_name: HashMap<NodeAddr, Arc<NodeBudget>>,
    shared: Shared,
}

impl Budget {
    /// The budget of a node that is configured.
    pub fn node(&self, node: &NodeAddr) -> Option<Arc<NodeBudget>> {
        self.nodes().by_name.get(node).cloned()
    }

    /// Takes over the limits of a configuration. A node that is no longer named keeps its budget
    /// for as long as somebody holds it, so that naming it again cannot double the limit.
    pub fn configure(&self, limits: impl IntoIterator<Item = (NodeAddr, usize)>) {
        let mut named = Vec::new();
        let mut nodes = self.nodes();
        for (node, limit) in limits {
            named.push((nodes.node(&node, limit), limit));
        }
        // Who is named is held by `named`, too.
        nodes
            .by_name
            .retain(|_, budget| Arc::strong_count(budget) > 1);
        drop(nodes);
        for (budget, limit) in named {
            budget.set_limit(limit);
        }
    }

    /// Every node and its budget, in the order of their names, to be shown.
    pub fn all(&self) -> Vec<(NodeAddr, Arc<NodeBudget>)> {
        let mut all: Vec<_> = self
            .nodes()
            .by_name
            .iter()
            .map(|(node, b)| (node.clone(), Arc::clone(b)))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nodes {
    fn node(&mut self, node: &NodeAddr, limit: usize) -> Arc<NodeBudget> {
        let Self { by_name, shared } = self;
        let budget = by_name
            .entry(node.clone())
            .or_insert_with(|| Arc::new(NodeBudget::new(node.clone(), limit, shared.clone())));
        Arc::clone(budget)
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

/// A place in a line: who came first is first; of those that came together, who asked first.
type Turn = (u64, u64);

struct InLine {
    waiter: Waiter,
    grant: Grant,
    /// The borrower that it waits for, if any.
    behalf: Option<LinkId>,
}

/// The budget of one node.
pub struct NodeBudget {
    node: NodeAddr,
    state: Mutex<State>,
    /// `since` of the first waiter of all processes, `u64::MAX` without one: read by workers at
    /// every release.
    owed_since: AtomicU64,
}

struct State {
    limit: usize,
    taken: usize,
    next_ticket: u64,
    waiting: BTreeMap<Turn, InLine>,
    shared: Shared,
    /// Since when somebody waits at the arbiter; `u64::MAX`: nobody does.
    owed_there: u64,
    /// A thread is handing out places: whoever gives one back meanwhile leaves it to that thread.
    /// So grants come in order, and a grant that drops its permit does not recurse.
    dispatching: bool,
}

impl NodeBudget {
    fn new(node: NodeAddr, limit: usize, shared: Shared) -> Self {
        if let Some(arbiter) = &shared.arbiter {
            arbiter.tell(&node, Note::Has { taken: 0, limit });
        }
        let state = State {
            limit,
            taken: 0,
            next_ticket: 0,
            waiting: BTreeMap::new(),
            shared,
            owed_there: u64::MAX,
            dispatching: false,
        };
        Self {
            node,
            state: Mutex::new(state),
            owed_since: AtomicU64::new(u64::MAX),
        }
    }

    /// A permit, if a place is free and nobody waits for it.
    pub fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.lock();
        let full = state.taken >= state.limit || !state.waiting.is_empty();
        if full || state.shared.arbiter.is_some() {
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
        self.enqueue_for(None, waiter, grant)
    }

    /// The same on behalf of a borrower.
    pub(super) fn enqueue_for(
        self: &Arc<Self>,
        behalf: Option<LinkId>,
        waiter: Waiter,
        grant: Grant,
    ) -> Ticket {
        let turn = {
            let mut state = self.lock();
            let number = state.next_ticket;
            state.next_ticket += 1;
            let turn = (waiter.since, number);
            let entry = InLine {
                waiter,
                grant,
                behalf,
            };
            state.waiting.insert(turn, entry);
            self.publish(&mut state);
            state.ask(&self.node, turn);
            turn
        };
        self.dispatch();
        if self.lock().waiting.contains_key(&turn) {
            self.tell_borrowers(behalf, Note::Evict);
        }
        Ticket {
            node: Arc::clone(self),
            turn,
        }
    }

    /// Since when the first in line has waited, here or in a process that shares the budget;
    /// `u64::MAX` if nobody does. One relaxed load.
    pub fn owed_since(&self) -> u64 {
        self.owed_since.load(Ordering::Relaxed)
    }

    /// The first in line.
    pub fn first_waiting(&self) -> Option<Waiter> {
        self.lock()
            .waiting
            .first_key_value()
            .map(|(_, entry)| entry.waiter)
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
        let mut state = self.lock();
        state.taken -= 1;
        state.tell_arbiter(&self.node, Note::Return);
        drop(state);
        self.dispatch();
    }

    fn cancel(&self, turn: Turn) {
        let mut state = self.lock();
        let removed = state.waiting.remove(&turn);
        if removed.is_some() {
            self.publish(&mut state);
            state.tell_arbiter(&self.node, Note::Withdraw { number: turn.1 });
        }
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
        let due = (state.taken < state.limit && state.shared.arbiter.is_none())
            .then(|| state.waiting.pop_first())
            .flatten();
        // In the same critical section as the look at the line: nobody who gives a place back
        // after it can take this thread for one that will look again.
        self.owned = due.is_some();
        state.dispatching = self.owned;
        let (_, entry) = due?;
        state.taken += 1;
        self.node.publish(&mut state);
        Some(entry.grant)
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
    turn: Turn,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.node.cancel(self.turn);
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
