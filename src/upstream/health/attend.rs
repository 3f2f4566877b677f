//! The task of one node: over one connection it asks how the node is, at its interval or when it
//! is suspected, and in between whatever somebody waits for.
//!
//! Guarantees: one question at a time, each with a limit; a node that does not answer is known as
//! unreachable when its limit is over, counted from the beginning of that question; the next attempt
//! is not sooner than [`GAP`] after the last.
//!
//! The connection has no permit: there is one for each node, beside `max_connections`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::desk::{Desk, Line};
use super::link::{Answer, Link};
use super::login::{Fault, Login, fault};
use super::member::{Failure, Report};
use super::question::{POSITION, PROBE, Pages, REPLAYED, found, position, replayed};
use super::table::{Inner, Node, Watched};
use crate::error::SqlState;
use crate::upstream::connect::Connectors;
use crate::upstream::error::ConnectError;

/// The least time between two attempts, whoever asks for them.
const GAP: Duration = Duration::from_millis(50);
/// How often a standby is asked how far it is while somebody waits for it.
const POLL: Duration = Duration::from_millis(1);

/// Looks after a node until it is dropped.
pub(super) struct Attendant {
    node: Arc<Node>,
    inner: Weak<Inner>,
    connectors: Arc<Connectors>,
    desk: Desk,
    link: Option<Connected>,
    /// Was refused here the last time.
    refused: Option<Arc<Login>>,
    times: Times,
}

/// A connection over which the node has answered.
struct Connected {
    link: Link,
    pages: Pages,
    limit: Duration,
}

struct Times {
    /// The last probe was due, with or without a login.
    ticked: Instant,
    /// The last attempt began.
    begun: Option<Instant>,
    /// The next one begins.
    due: Instant,
    /// The last question for a waiter began.
    polled: Option<Instant>,
    /// Something changes by the mere passing of time.
    again: Option<Instant>,
}

impl Attendant {
    pub(super) fn new(node: Arc<Node>, inner: Weak<Inner>, connectors: Arc<Connectors>) -> Self {
        let now = Instant::now();
        Self {
            node,
            inner,
            connectors,
            desk: Desk::default(),
            link: None,
            refused: None,
            times: Times {
                ticked: now,
                begun: None,
                due: now,
                polled: None,
                again: None,
            },
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            self.sort(now);
            let connected = self.link.is_some();
            if self.times.due <= now {
                Box::pin(self.probe()).await;
            } else if connected && self.next_poll(now).is_some_and(|at| at <= now) {
                self.poll().await;
            } else if connected && !self.desk.mail.positions.is_empty() {
                self.position().await;
            } else {
                self.rest(now).await;
            }
        }
    }

    /// Looks through what has arrived and what time it is.
    fn sort(&mut self, now: Instant) {
        self.desk.open(&self.node.mailbox);
        if std::mem::take(&mut self.desk.mail.renewed) {
            self.refused = None;
            self.hang_up();
            self.times.due = now;
        }
        // After a failure another login is tried at the next interval, not at each offer.
        let offered = std::mem::take(&mut self.desk.mail.offered) && self.times.begun.is_none();
        if std::mem::take(&mut self.desk.mail.suspected) || offered {
            self.hurry(now);
        }
        // The interval may have become shorter.
        self.times.due = self.times.due.min(self.times.ticked + self.node.interval());
        if self.times.again.is_some_and(|at| at <= now) {
            let inner = self.inner.upgrade();
            self.times.again = inner.and_then(|i| i.pass(&self.node));
        }
        self.desk.release(self.node.replayed(), now);
    }

    /// Moves the next attempt to now, or as near as it may be.
    fn hurry(&mut self, now: Instant) {
        let soonest = self.times.begun.map_or(now, |at| now.max(at + GAP));
        self.times.due = self.times.due.min(soonest);
    }

    /// When a waiter is next asked for.
    fn next_poll(&self, now: Instant) -> Option<Instant> {
        if self.desk.mail.waiters.is_empty() {
            return None;
        }
        Some(self.times.polled.map_or(now, |at| at + POLL))
    }

    /// Until something is to be done. What is given up here loses nothing.
    async fn rest(&mut self, now: Instant) {
        let poll = self.next_poll(now).filter(|_| self.link.is_some());
        let others = [self.times.again, self.desk.deadline(), poll];
        let until = others
            .into_iter()
            .flatten()
            .fold(self.times.due, Instant::min);
        let broken = async {
            match &mut self.link {
                Some(connected) => connected.link.broken().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            error = broken => self.lose(&error),
            () = Desk::rest(&self.node.mailbox, until) => {}
        }
    }

    /// Asks how the node is, over a new connection if there is none.
    async fn probe(&mut self) {
        let now = Instant::now();
        self.times.ticked = now;
        self.times.due = now + self.node.interval();
        if self.link.is_none() {
            if let Some((watched, login)) = self.choose_login() {
                self.times.begun = Some(now);
                self.connect(&watched, login).await;
            }
            return;
        }
        self.times.begun = Some(now);
        match self.ask(PROBE).await {
            Some(Answer::Row(row)) => match (found(&row), &mut self.link) {
                (Some(found), Some(connected)) => {
                    connected.pages = found.pages;
                    self.report(&Report::Found(found));
                }
                _ => self.refuse("an answer that makes no sense".to_owned()),
            },
            Some(Answer::Error(e)) => self.refuse(e.to_string()),
            None => {}
        }
    }

    /// Asks how far the primary is, for all who have asked so far.
    async fn position(&mut self) {
        let asked = std::mem::take(&mut self.desk.mail.positions);
        let answer = self.ask(POSITION).await;
        let told = match (&answer, &self.link) {
            (Some(Answer::Row(row)), Some(connected)) => position(row, connected.pages),
            _ => None,
        };
        let (Some(position), Some(inner)) = (told, self.inner.upgrade()) else {
            // It may be a standby now.
            return self.hurry(Instant::now());
        };
        for asked in asked {
            if inner.is_primary(&asked.cluster, &self.node.address) {
                asked.answer(position);
            }
        }
    }

    /// Asks how far the standby is, for all who wait for it.
    async fn poll(&mut self) {
        self.times.polled = Some(Instant::now());
        match self.ask(REPLAYED).await {
            Some(Answer::Row(row)) => {
                if let (Some(lsn), Some(inner)) = (replayed(&row), self.inner.upgrade()) {
                    inner.replayed(&self.node, lsn);
                }
            }
            Some(Answer::Error(_)) => self.hurry(Instant::now()),
            None => {}
        }
    }

    /// Asks over the connection; `None`: it is gone, which was reported.
    async fn ask(&mut self, question: &str) -> Option<Answer> {
        let connected = self.link.as_mut()?;
        let asking = timeout(connected.limit, connected.link.ask(question));
        let outcome = self.desk.meanwhile(&self.node.mailbox, asking).await;
        let error = match outcome {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error,
            Err(_) => ConnectError::Timeout(connected.limit),
        };
        self.lose(&error);
        None
    }

    async fn connect(&mut self, watched: &Watched, login: Arc<Login>) {
        let target = login.target(&watched.config, &self.node.address);
        let connectors = Arc::clone(&self.connectors);
        let attempt = timeout(login.limit, async move {
            let mut link = Link::open(&target, &connectors).await?;
            let answer = link.ask(PROBE).await?;
            Ok((link, answer))
        });
        let outcome = self.desk.meanwhile(&self.node.mailbox, attempt).await;
        match outcome.unwrap_or(Err(ConnectError::Timeout(login.limit))) {
            Ok((link, Answer::Row(row))) => match found(&row) {
                Some(found) => {
                    self.refused = None;
                    self.desk.line = Line::Up;
                    self.link = Some(Connected {
                        link,
                        pages: found.pages,
                        limit: login.limit,
                    });
                    self.report(&Report::Found(found));
                }
                None => self.refuse("an answer that makes no sense".to_owned()),
            },
            Ok((_, Answer::Error(error))) => {
                self.fail(&ConnectError::Refused(error), watched, login)
            }
            Err(error) => self.fail(&error, watched, login),
        }
    }

    fn choose_login(&self) -> Option<(Arc<Watched>, Arc<Login>)> {
        let places = self.node.places.load();
        places.iter().find_map(|place| {
            let login = place.watched.logins.choose(self.refused.as_ref())?;
            Some((Arc::clone(&place.watched), login))
        })
    }

    /// There is no connection now.
    fn fail(&mut self, error: &ConnectError, watched: &Watched, login: Arc<Login>) {
        match fault(error) {
            Fault::Refused => {
                self.refused = Some(login);
                watched.logins.want();
            }
            Fault::Doubtful => watched.logins.want(),
            Fault::Innocent => {}
        }
        let failure = match error {
            ConnectError::Refused(e) if e.code == SqlState::TOO_MANY => {
                return self.report(&Report::Full);
            }
            ConnectError::Unreachable(_) | ConnectError::Timeout(_) | ConnectError::Lost(_) => {
                Failure::Unreachable
            }
            ConnectError::Refused(_)
            | ConnectError::SignIn(_)
            | ConnectError::Tls(_)
            | ConnectError::TlsSettings(_)
            | ConnectError::Protocol(_)
            | ConnectError::ConnectQuery(_) => Failure::Refusing,
        };
        self.report(&Report::Failed(failure, error.to_string()));
    }

    /// A connection has broken. One that was just closed may have been meant alone: what it is
    /// about, the next attempt tells, at once. One that hangs holds nothing and is closed.
    fn lose(&mut self, error: &ConnectError) {
        self.hang_up();
        if matches!(error, ConnectError::Timeout(_)) {
            self.report(&Report::Failed(Failure::Unreachable, error.to_string()));
        } else {
            self.hurry(Instant::now());
        }
    }

    /// The node has answered with an error where it should not.
    fn refuse(&mut self, why: String) {
        self.hang_up();
        self.report(&Report::Failed(Failure::Refusing, why));
    }

    fn hang_up(&mut self) {
        if self.link.take().is_some() {
            self.desk.line = Line::Down;
            self.report(&Report::Interrupted);
        }
    }

    fn report(&mut self, report: &Report) {
        let inner = self.inner.upgrade();
        self.times.again = inner.and_then(|i| i.report(&self.node, report));
    }
}
