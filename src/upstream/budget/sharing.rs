//! A budget that several processes share: who is told of what.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::lending::{LinkId, Note, Peer};
use super::{Budget, NodeBudget, Permit, State, Turn};
use crate::types::NodeAddr;

/// With whom a budget is shared.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared {
    /// Who hands out the places instead of us.
    pub(super) arbiter: Option<Arc<dyn Peer>>,
    pub(super) borrowers: Vec<Borrower>,
}

#[derive(Debug, Clone)]
pub(super) struct Borrower {
    link: LinkId,
    peer: Arc<dyn Peer>,
    /// Since when somebody else waits, as it was told last; `u64::MAX`: nobody does.
    told: u64,
}

impl Budget {
    /// From now on `arbiter` decides. It is told of every place that is out and of who waits.
    pub fn borrow_from(&self, arbiter: &Arc<dyn Peer>) {
        let mut nodes = self.nodes();
        nodes.shared.arbiter = Some(Arc::clone(arbiter));
        for budget in nodes.by_name.values() {
            budget.borrow_from(arbiter);
        }
    }

    /// The arbiter has gone: from now on we decide again, over what is out here.
    pub fn decide_again(&self) {
        let mut nodes = self.nodes();
        nodes.shared.arbiter = None;
        let all: Vec<_> = nodes.by_name.values().cloned().collect();
        drop(nodes);
        for budget in all {
            budget.decide_again();
        }
    }

    /// What the arbiter says about a node.
    pub fn told(&self, node: &NodeAddr, note: Note) {
        let Some(budget) = self.node(node) else {
            return;
        };
        match note {
            Note::Granted { number } => budget.granted(number),
            Note::Owed { since } => budget.owed_there(since),
            Note::Evict => budget.tell_borrowers(None, Note::Evict),
            Note::Has { .. } | Note::Ask { .. } | Note::Withdraw { .. } | Note::Return => {}
        }
    }

    /// A process begins to borrow: it is told when others wait.
    pub(in crate::upstream) fn lend_to(&self, link: LinkId, peer: &Arc<dyn Peer>) {
        let mut nodes = self.nodes();
        let borrower = Borrower {
            link,
            peer: Arc::clone(peer),
            told: u64::MAX,
        };
        for budget in nodes.by_name.values() {
            budget.lend_to(borrower.clone());
        }
        nodes.shared.borrowers.push(borrower);
    }

    /// It borrows no longer.
    pub(in crate::upstream) fn end_lending(&self, link: LinkId) {
        let mut nodes = self.nodes();
        nodes.shared.borrowers.retain(|b| b.link != link);
        for budget in nodes.by_name.values() {
            budget.lock().shared.borrowers.retain(|b| b.link != link);
        }
    }

    /// The budget of a node, with the borrower's limit if we do not know the node.
    pub(in crate::upstream) fn node_or(&self, node: &NodeAddr, limit: usize) -> Arc<NodeBudget> {
        self.nodes().node(node, limit)
    }
}

impl NodeBudget {
    fn borrow_from(&self, arbiter: &Arc<dyn Peer>) {
        let mut state = self.lock();
        state.shared.arbiter = Some(Arc::clone(arbiter));
        let (taken, limit) = (state.taken, state.limit);
        arbiter.tell(&self.node, Note::Has { taken, limit });
        for turn in state.waiting.keys() {
            state.ask(&self.node, *turn);
        }
    }

    fn decide_again(self: &Arc<Self>) {
        let mut state = self.lock();
        state.shared.arbiter = None;
        state.owed_there = u64::MAX;
        self.publish(&mut state);
        drop(state);
        self.dispatch();
    }

    /// The arbiter has given a place to who asked by this number; if nobody waits for it any more
    /// it goes back.
    fn granted(self: &Arc<Self>, number: u64) {
        let mut state = self.lock();
        let turn = state.waiting.keys().find(|turn| turn.1 == number).copied();
        let Some(entry) = turn.and_then(|turn| state.waiting.remove(&turn)) else {
            return state.tell_arbiter(&self.node, Note::Return);
        };
        state.taken += 1;
        self.publish(&mut state);
        drop(state);
        (entry.grant)(Permit(Arc::clone(self)));
    }

    fn owed_there(&self, since: u64) {
        let mut state = self.lock();
        state.owed_there = since;
        self.publish(&mut state);
    }

    fn lend_to(&self, borrower: Borrower) {
        let mut state = self.lock();
        state.shared.borrowers.push(borrower);
        self.publish(&mut state);
    }

    /// Places that a borrower has already, above the limit if need be.
    pub(in crate::upstream) fn lent(self: &Arc<Self>, count: usize) -> Vec<Permit> {
        self.lock().taken += count;
        std::iter::repeat_with(|| Permit(Arc::clone(self)))
            .take(count)
            .collect()
    }

    pub(super) fn tell_borrowers(&self, but: Option<LinkId>, note: Note) {
        let state = self.lock();
        let others = state.shared.borrowers.iter();
        for borrower in others.filter(|b| Some(b.link) != but) {
            borrower.peer.tell(&self.node, note);
        }
    }

    /// Says since when somebody waits: to the workers, and to each borrower of all others but it.
    pub(super) fn publish(&self, state: &mut State) {
        let State {
            waiting,
            shared,
            owed_there,
            ..
        } = state;
        let first = |but: Option<LinkId>| {
            let mut others = waiting
                .values()
                .filter(|entry| but.is_none() || entry.behalf != but);
            let here = others.next().map_or(u64::MAX, |entry| entry.waiter.since);
            here.min(*owed_there)
        };
        self.owed_since.store(first(None), Ordering::Relaxed);
        for borrower in &mut shared.borrowers {
            let since = first(Some(borrower.link));
            if std::mem::replace(&mut borrower.told, since) != since {
                borrower.peer.tell(&self.node, Note::Owed { since });
            }
        }
    }
}

impl State {
    /// Asks the arbiter for a place, if there is one.
    pub(super) fn ask(&self, node: &NodeAddr, (since, number): Turn) {
        self.tell_arbiter(node, Note::Ask { number, since });
    }

    pub(super) fn tell_arbiter(&self, node: &NodeAddr, note: Note) {
        if let Some(arbiter) = &self.shared.arbiter {
            arbiter.tell(node, note);
        }
    }
}
