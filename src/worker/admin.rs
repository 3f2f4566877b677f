//! What an operator may ask of the workers while they serve: reports, and commands of the console.
//!
//! A command is done when each worker says so: by dropping its end of the channel.

use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};

use super::inbox::{Done, Message};
use super::report::{ClientRow, PoolRow, Question, ServerRow, Which, WorkerRow};
use super::slow::SlowLog;
use super::{Carried, Workers};
use crate::tenant::switches::Scope;

/// What to do with the server connections, or clients, of some tenants.
#[derive(Debug, Clone)]
pub(super) enum Order {
    /// The switches have changed. Of who is paused now all server connections end when they are
    /// free; it is done when they are gone.
    Switched(Scope),
    /// All server connections are replaced when they are free; done at once.
    Reconnect(Scope),
    /// Nothing; done when no server connection is to be replaced any more.
    AwaitFresh(Scope),
    /// All clients and server connections end now.
    Kill(Scope),
    /// All output is written and nothing read any more; done when nothing is left to write.
    Suspend,
    /// The end of a suspension.
    Resume,
}

impl Workers {
    /// Every pool.
    pub async fn pools(&self) -> Vec<PoolRow> {
        self.ask(Question::Pools)
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    /// Clients.
    pub async fn clients(&self, which: Which) -> Vec<ClientRow> {
        let rows = self.ask(|to| Question::Clients(which, to)).await;
        rows.into_iter().flatten().collect()
    }

    /// Every server connection.
    pub async fn servers(&self) -> Vec<ServerRow> {
        let rows = self.ask(Question::Servers).await;
        rows.into_iter().flatten().collect()
    }

    /// Each worker as a whole.
    pub async fn overview(&self) -> Vec<WorkerRow> {
        let rows = self.ask(Question::Worker).await;
        rows.into_iter().map(|row| *row).collect()
    }

    /// What is logged of slow transactions from now on.
    pub fn set_slow_log(&self, log: SlowLog) {
        for inbox in &*self.inboxes {
            inbox.put(Message::SlowLog(log));
        }
    }

    /// Tells that [`crate::tenant::switches::Switches`] have changed for these; waiting for the
    /// end of what is returned waits until the server connections of who is paused now are gone.
    pub fn switched(&self, scope: &Scope) -> Carried {
        self.order(&Order::Switched(scope.clone()))
    }

    /// Replaces server connections as they become free.
    pub fn reconnect(&self, scope: &Scope) -> Carried {
        self.order(&Order::Reconnect(scope.clone()))
    }

    /// Waits for the end of all server connections that are to be replaced.
    pub fn await_fresh(&self, scope: &Scope) -> Carried {
        self.order(&Order::AwaitFresh(scope.clone()))
    }

    /// Ends clients and server connections at once.
    pub fn kill(&self, scope: &Scope) -> Carried {
        self.order(&Order::Kill(scope.clone()))
    }

    /// Reads nothing any more, of clients or servers, until [`Workers::resume`]; the end of what
    /// is returned tells that all output is written.
    pub fn suspend(&self) -> Carried {
        self.suspended.store(true, Ordering::Release);
        self.order(&Order::Suspend)
    }

    /// Ends a suspension.
    pub fn resume(&self) -> Carried {
        self.suspended.store(false, Ordering::Release);
        self.order(&Order::Resume)
    }

    /// Whether a suspension is in force.
    pub fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
    }

    /// Ends one client and its server connection. False: there is no such client.
    pub async fn kill_client(&self, id: u64) -> bool {
        let count = self.inboxes.len() as u64;
        let Ok(home) = usize::try_from(id % count) else {
            return false;
        };
        let (found, answer) = oneshot::channel();
        self.inboxes[home].put(Message::KillClient {
            serial: id / count,
            found,
        });
        answer.await.unwrap_or(false)
    }

    fn order(&self, order: &Order) -> Carried {
        let (done, carried) = mpsc::channel(1);
        for inbox in &*self.inboxes {
            inbox.put(Message::Order(order.clone(), Done::clone(&done)));
        }
        Carried(carried)
    }

    /// Asks every worker; one that has ended says nothing.
    async fn ask<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Question) -> Vec<T> {
        let asked: Vec<_> = self
            .inboxes
            .iter()
            .map(|inbox| {
                let (to, answer) = oneshot::channel();
                inbox.put(Message::Question(question(to)));
                answer
            })
            .collect();
        let mut answers = Vec::with_capacity(asked.len());
        for answer in asked {
            answers.extend(answer.await);
        }
        answers
    }
}
