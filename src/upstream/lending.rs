//! One budget for two processes while one takes over from the other: what they say to each other
//! about places, and the books of the one that lends.
//!
//! Guarantees, whatever the interleaving, for as long as messages arrive in order: the arbiter
//! counts every place that a borrower has, so the limit holds over both; who asks is served in the
//! order of how long they have waited, wherever they wait; when the borrower has gone, all that it
//! had comes back.
//!
//! A borrower may itself lend: then it passes on what it is asked, and its own borrower's places
//! are among those that it has.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::{Budget, NodeBudget, Permit, Ticket, Waiter};
use crate::types::NodeAddr;

/// Tells the processes that borrow from one budget apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkId(pub u64);

/// What is said about a node. Times are milliseconds of the clock of whoever handles the note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Borrower to arbiter, first of all: so many places are out here. The limit is for a node that
    /// the arbiter does not know.
    Has {
        /// Places that are out.
        taken: usize,
        /// The borrower's limit.
        limit: usize,
    },
    /// Borrower to arbiter: somebody waits here.
    Ask {
        /// Tells it from the others of this node.
        number: u64,
        /// Since when.
        since: u64,
    },
    /// Borrower to arbiter: it waits no longer.
    Withdraw {
        /// As asked.
        number: u64,
    },
    /// Borrower to arbiter: one place is free again.
    Return,
    /// Arbiter to borrower: a place for who asked.
    Granted {
        /// As asked.
        number: u64,
    },
    /// Arbiter to borrower: since when somebody outside of it waits; `u64::MAX`: nobody does.
    Owed {
        /// Since when.
        since: u64,
    },
    /// Arbiter to borrower: one more waits, an idle connection should close.
    Evict,
}

/// The way to another process.
pub trait Peer: Debug + Send + Sync {
    /// Sends a note. Called under the lock of a budget: it only passes the note on, in order.
    fn tell(&self, node: &NodeAddr, note: Note);
}

/// What one borrower has and asks for.
#[derive(Debug)]
pub struct Lender {
    budget: Budget,
    link: LinkId,
    peer: Arc<dyn Peer>,
    books: Mutex<Books>,
}

#[derive(Debug)]
enum Books {
    Open(HashMap<NodeAddr, Account>),
    Closed,
}

#[derive(Debug)]
struct Account {
    /// Held so that the node keeps its count even where our configuration does not name it.
    node: Arc<NodeBudget>,
    held: Vec<Permit>,
    /// `None`: it is just getting in line.
    asked: HashMap<u64, Option<Ticket>>,
}

impl Lender {
    /// Begins to lend to the process behind `peer`.
    pub fn new(budget: &Budget, link: LinkId, peer: Arc<dyn Peer>) -> Arc<Self> {
        budget.lend_to(link, &peer);
        Arc::new(Self {
            budget: budget.clone(),
            link,
            peer,
            books: Mutex::new(Books::Open(HashMap::new())),
        })
    }

    /// What the borrower says.
    pub fn told(self: &Arc<Self>, node: &NodeAddr, note: Note) {
        match note {
            Note::Has { taken, limit } => self.has(node, taken, limit),
            Note::Ask { number, since } => self.asks(node, number, since),
            Note::Withdraw { number } => {
                // Both are dropped outside of the lock.
                let _ticket = self.account(node, |a| a.asked.remove(&number));
            }
            Note::Return => {
                let _permit = self.account(node, |a| a.held.pop());
            }
            Note::Granted { .. } | Note::Owed { .. } | Note::Evict => {}
        }
    }

    /// The borrower has gone: all that it had comes back.
    pub fn end(&self) {
        let closed = std::mem::replace(&mut *self.lock(), Books::Closed);
        self.budget.end_lending(self.link);
        drop(closed);
    }

    fn has(&self, name: &NodeAddr, taken: usize, limit: usize) {
        let node = self.budget.node_or(name, limit);
        let mut held = node.lent(taken);
        let mut books = self.lock();
        if let Books::Open(accounts) = &mut *books {
            let account = accounts.entry(name.clone()).or_insert_with(|| Account {
                node,
                held: Vec::new(),
                asked: HashMap::new(),
            });
            account.held.append(&mut held);
        }
        drop(books);
        drop(held);
    }

    fn asks(self: &Arc<Self>, name: &NodeAddr, number: u64, since: u64) {
        let node = self.account(name, |a| {
            a.asked.insert(number, None);
            Some(Arc::clone(&a.node))
        });
        let Some(node) = node else {
            return;
        };
        let (lender, of) = (Arc::clone(self), name.clone());
        let grant = Box::new(move |permit| lender.grant(&of, number, permit));
        let waiter = Waiter {
            id: (usize::MAX, number),
            since,
        };
        let mut ticket = Some(node.enqueue_for(Some(self.link), waiter, grant));
        self.account(name, |a| {
            // Not there any more: it was granted at once.
            let slot = a.asked.get_mut(&number)?;
            *slot = ticket.take();
            Some(())
        });
        drop(ticket);
    }

    fn grant(&self, name: &NodeAddr, number: u64, permit: Permit) {
        let mut permit = Some(permit);
        let ticket = self.account(name, |a| {
            // Not there any more: it was withdrawn, and the place goes to the next.
            let ticket = a.asked.remove(&number)?;
            a.held.extend(permit.take());
            self.peer.tell(name, Note::Granted { number });
            Some(ticket)
        });
        drop((ticket, permit));
    }

    fn account<T>(
        &self,
        node: &NodeAddr,
        change: impl FnOnce(&mut Account) -> Option<T>,
    ) -> Option<T> {
        match &mut *self.lock() {
            Books::Open(accounts) => accounts.get_mut(node).and_then(change),
            Books::Closed => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "lending_tests.rs"]
mod tests;
