//! Who waits for a node to say something: requests arrive from any thread, and are answered in
//! whatever way the node ends.
//!
//! Queues are as long as there are clients that wait; each has a deadline of its own.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::nodes::{Lsn, Position};
use crate::types::ClusterName;

/// A request for a position. Dropped, it is answered that it cannot be told.
pub(super) struct Asked {
    /// Whose primary's.
    pub(super) cluster: ClusterName,
    then: Option<Box<dyn FnOnce(Option<Position>) + Send>>,
}

impl Asked {
    pub(super) fn new(
        cluster: ClusterName,
        then: Box<dyn FnOnce(Option<Position>) + Send>,
    ) -> Self {
        let then = Some(then);
        Self { cluster, then }
    }

    pub(super) fn answer(mut self, position: Position) {
        if let Some(then) = self.then.take() {
            then(Some(position));
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(then) = self.then.take() {
            then(None);
        }
    }
}

/// Somebody who waits until a node has replayed something. Told when it is dropped.
pub(super) struct Waiter {
    pub(super) at_least: Lsn,
    pub(super) until: Instant,
    then: Option<Box<dyn FnOnce() + Send>>,
}

impl Waiter {
    pub(super) fn new(at_least: Lsn, until: Instant, then: Box<dyn FnOnce() + Send>) -> Self {
        Self {
            at_least,
            until,
            then: Some(then),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(then) = self.then.take() {
            then();
        }
    }
}

/// What has arrived for a node since it was last looked at.
#[derive(Default)]
pub(super) struct Mailbox {
    mail: Mutex<Mail>,
    wake: Notify,
}

/// Its content.
#[derive(Default)]
pub(super) struct Mail {
    pub(super) positions: Vec<Asked>,
    pub(super) waiters: Vec<Waiter>,
    /// It is to be asked how it is, soon.
    pub(super) suspected: bool,
    /// There is a login now.
    pub(super) offered: bool,
    /// Where or as whom to connect has changed.
    pub(super) renewed: bool,
}

impl Mailbox {
    /// Puts something in, from any thread.
    pub(super) fn put(&self, put: impl FnOnce(&mut Mail)) {
        put(&mut self.lock());
        self.wake.notify_one();
    }

    fn take(&self) -> Mail {
        std::mem::take(&mut *self.lock())
    }

    /// Nothing here runs anybody else's code.
    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the node's task has taken from the mailbox and not yet done.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) mail: Mail,
    pub(super) line: Line,
}

/// Whether there is a connection that requests could be sent over.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    #[default]
    Down,
    Up,
}

impl Desk {
    /// Takes what has arrived; what cannot be told now is said to be so.
    pub(super) fn open(&mut self, mailbox: &Mailbox) {
        let new = mailbox.take();
        self.mail.waiters.extend(new.waiters);
        self.mail.positions.extend(new.positions);
        self.mail.suspected |= new.suspected;
        self.mail.offered |= new.offered;
        self.mail.renewed |= new.renewed;
        if self.line == Line::Down {
            self.mail.positions.clear();
        }
    }

    /// Lets those go who have waited long enough, or for this.
    pub(super) fn release(&mut self, replayed: Lsn, now: Instant) {
        let stays = |w: &Waiter| w.at_least > replayed && w.until > now;
        self.mail.waiters.retain(stays);
    }

    /// When the next one has waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.mail.waiters.iter().map(|w| w.until).min()
    }

    /// Does something that may take long while deadlines are kept and mail is taken.
    pub(super) async fn meanwhile<F: Future>(&mut self, mailbox: &Mailbox, work: F) -> F::Output {
        let mut work = pin!(work);
        loop {
            self.open(mailbox);
            self.release(Lsn(0), Instant::now());
            let deadline = self.deadline();
            // The work goes on in the next round; the others lose nothing by being dropped.
            tokio::select! {
                biased;
                outcome = &mut work => return outcome,
                () = mailbox.wake.notified() => {}
                () = at(deadline) => {}
            }
        }
    }

    /// Until something arrives, or the time has come. May be given up at any time.
    pub(super) async fn rest(mailbox: &Mailbox, until: Instant) {
        tokio::select! {
            () = mailbox.wake.notified() => {}
            () = sleep_until(until) => {}
        }
    }
}

/// `None` never comes.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    fn waiter(told: &Arc<AtomicU32>, at_least: u64, until: Instant) -> Waiter {
        let told = Arc::clone(told);
        let then = move || {
            told.fetch_add(1, Ordering::AcqRel);
        };
        Waiter::new(Lsn(at_least), until, Box::new(then))
    }

    #[tokio::test]
    async fn deadlines_are_kept_while_a_node_does_not_answer() {
        let told: Arc<AtomicU32> = Arc::default();
        let (mailbox, mut desk) = (Mailbox::default(), Desk::default());
        let start = Instant::now();
        for millis in [5, 7, 60_000] {
            let until = start + Duration::from_millis(millis);
            mailbox.put(|mail| mail.waiters.push(waiter(&told, 10, until)));
        }
        let no_answer_until_both_are_told = async {
            while told.load(Ordering::Acquire) < 2 {
                tokio::task::yield_now().await;
            }
        };
        desk.meanwhile(&mailbox, no_answer_until_both_are_told)
            .await;
        assert!(start.elapsed() >= Duration::from_millis(7));
        desk.release(Lsn(9), Instant::now());
        assert_eq!(told.load(Ordering::Acquire), 2);
        desk.release(Lsn(10), Instant::now());
        assert_eq!(told.load(Ordering::Acquire), 3);
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_the_node_goes_away() {
        let (told, mailbox) = (Arc::default(), Mailbox::default());
        let until = Instant::now() + Duration::from_secs(60);
        mailbox.put(|mail| mail.waiters.push(waiter(&told, 1, until)));
        let (sent, received) = std::sync::mpsc::sync_channel(1);
        let asked = Asked::new(
            ClusterName::new("main"),
            Box::new(move |answer| sent.send(answer).unwrap()),
        );
        mailbox.put(|mail| mail.positions.push(asked));
        drop(mailbox);
        assert_eq!(told.load(Ordering::Acquire), 1);
        assert_eq!(received.recv(), Ok(None));
    }

    #[tokio::test]
    async fn without_a_connection_no_position_waits() {
        let (mailbox, mut desk) = (Mailbox::default(), Desk::default());
        let (sent, received) = std::sync::mpsc::sync_channel(1);
        let then = Box::new(move |answer: Option<Position>| sent.send(answer).unwrap());
        mailbox.put(|mail| {
            mail.positions
                .push(Asked::new(ClusterName::new("main"), then))
        });
        desk.open(&mailbox);
        assert_eq!(received.try_recv(), Ok(None));
    }
}
