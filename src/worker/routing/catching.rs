//! Reads at replicas see what was acknowledged before them.
//!
//! A request for the primary's position that is begun after an acknowledgement bounds all writes
//! acknowledged until then, and a replica that has replayed so far has them all. Nothing is asked per
//! commit: only when a read needs it, and who needs it at the same time shares the answer. A read
//! that has waited for `consistency_wait` goes to the primary.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::Way;
use super::replicas::Replicas;
use crate::config::{Consistency, Route};
use crate::nodes::{Lsn, Position};
use crate::session::{Place, Seen, Why};
use crate::types::ClusterName;
use crate::worker::clients::ClientState;
use crate::worker::deadlines::{Millis, Owner, after, millis};
use crate::worker::inbox::Message;
use crate::worker::run::Worker;
use crate::worker::stats::Micros;

/// Writes that were acknowledged, and what bounds them. At first nobody knows what was acknowledged
/// before: by an earlier process, or before the tenant's pools were forgotten.
#[derive(Debug, Default)]
pub(in crate::worker) struct Writes {
    /// A position is to be asked for that is of a later request than this one.
    since: Cell<u64>,
    /// There were writes that `bound` does not cover.
    news: Cell<News>,
    bound: Cell<Lsn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum News {
    None,
    #[default]
    Some,
}

impl Writes {
    /// One was acknowledged, or may have been done, after `asked` requests for a position.
    #[inline]
    pub(in crate::worker) fn note(&self, asked: u64) {
        self.since.set(asked);
        self.news.set(News::Some);
    }
}

/// A read that waits for a replica.
#[derive(Debug, Clone, Copy)]
pub(in crate::worker) struct CatchUp {
    /// The position that it needs is of a later request than this one.
    since: u64,
    /// That position, once it is known.
    lsn: Option<Lsn>,
    /// It gives up then.
    until: Millis,
    /// It began to wait then.
    began: Micros,
}

impl CatchUp {
    /// When it began to wait.
    pub(in crate::worker) fn began(&self) -> Micros {
        self.began
    }
}

/// What is known of the position of a cluster's primary.
#[derive(Debug, Default)]
pub(in crate::worker) struct Known {
    /// The last request that was sent.
    sent: u64,
    /// The last one that was answered, and how.
    answer: Option<(u64, Position)>,
}

/// What a read needs of a replica.
pub(super) enum Need {
    /// To have replayed that.
    Replayed(Lsn),
    /// A position that is of a later request than this one.
    Asking(u64),
    /// More than can be known.
    Primary,
}

impl Worker {
    /// What a read that arrives now must see.
    pub(super) fn need(&self, slot: usize) -> Need {
        let client = &self.clients[slot];
        let pool = &self.pools[client.pool];
        let Some(home) = pool.home() else {
            return Need::Primary;
        };
        let cluster = &pool.tenant.config.cluster.name;
        let answer = self.positions.get(cluster).and_then(|known| known.answer);
        let writes = match pool.tenant.config.routing.consistency {
            _ if home.route == Route::Replica => None,
            Consistency::Tenant => Some(&*home.writes),
            Consistency::Session => client.course.writes.as_deref(),
            Consistency::Bounded | Consistency::Eventual => None,
        };
        let mut needed = Lsn::default();
        if let Some(writes) = writes {
            if writes.news.get() == News::Some {
                match answer.filter(|(id, _)| *id > writes.since.get()) {
                    Some((_, position)) => {
                        writes.bound.set(position.lsn);
                        writes.news.set(News::None);
                    }
                    None => return Need::Asking(writes.since.get()),
                }
            }
            needed = writes.bound.get();
        }
        match (client.session.seen(), answer) {
            (None, _) => Need::Replayed(needed),
            // Its timeline tells whether the position means anything here.
            (Some(Seen::Position(_)), None) => Need::Asking(0),
            (Some(seen), answer) => seen_too(seen, answer.map(|(_, known)| known), needed),
        }
    }

    /// What a read needs that has waited: later writes do not matter to it.
    pub(super) fn need_of_waiting(&self, slot: usize, wait: CatchUp) -> Need {
        let client = &self.clients[slot];
        let cluster = &self.pools[client.pool].tenant.config.cluster.name;
        let answer = self.positions.get(cluster).and_then(|known| known.answer);
        match (wait.lsn, answer) {
            (Some(lsn), _) => Need::Replayed(lsn),
            (None, Some((id, known))) if id > wait.since => match client.session.seen() {
                Some(seen) => seen_too(seen, Some(known), known.lsn),
                None => Need::Replayed(known.lsn),
            },
            (None, _) => Need::Asking(wait.since),
        }
    }

    /// The read waits for the primary's position by a request that is begun after `since`.
    pub(super) fn ask_position(&mut self, slot: usize, since: u64) -> Way {
        if let Some(way) = self.catch_up(slot, since, None) {
            return way;
        }
        let cluster = self.pools[self.clients[slot].pool]
            .tenant
            .config
            .cluster
            .name
            .clone();
        let known = self.positions.entry(cluster.clone()).or_default();
        if known.sent > since && known.answer.is_none_or(|(id, _)| id < known.sent) {
            return Way::Wait;
        }
        self.asked += 1;
        known.sent = self.asked;
        let inbox = Arc::clone(&self.workers.inboxes[self.number]);
        let (id, of) = (self.asked, cluster.clone());
        let then = move |position| {
            let cluster = of;
            inbox.put(Message::Position {
                cluster,
                id,
                position,
            });
        };
        self.around.health.position(&cluster, Box::new(then));
        Way::Wait
    }

    /// The read waits until one of these replicas has replayed what it needs.
    pub(super) fn ask_replay(&mut self, slot: usize, serving: Replicas, needed: Lsn) -> Way {
        let asked = self.clients[slot]
            .course
            .catch_up
            .as_ref()
            .and_then(|wait| wait.lsn);
        if let Some(way) = self.catch_up(slot, 0, Some(needed)) {
            return way;
        }
        if asked.is_some() {
            // They have been asked.
            return Way::Wait;
        }
        let client = &self.clients[slot];
        let left = client
            .course
            .catch_up
            .as_ref()
            .map_or(0, |w| w.until.saturating_sub(self.now));
        let until = tokio::time::Instant::now() + Duration::from_millis(left);
        let Some(home) = self.pools[client.pool].home() else {
            return Way::Wait;
        };
        for at in serving.iter() {
            let node = &home.branches[at].node;
            let inbox = Arc::clone(&self.workers.inboxes[self.number]);
            let then = Box::new(move || inbox.put(Message::Replayed));
            self.around.health.replayed(node, needed, until, then);
        }
        Way::Wait
    }

    /// Puts a read among those that wait. `Some`: it has waited long enough.
    fn catch_up(&mut self, slot: usize, since: u64, lsn: Option<Lsn>) -> Option<Way> {
        let client = &self.clients[slot];
        let wait = self.pools[client.pool]
            .tenant
            .config
            .routing
            .consistency_wait;
        let before = client.course.catch_up.as_deref().copied();
        let until = before.map_or(after_wait(self.now, wait), |w| w.until);
        if until <= self.now {
            return Some(self.at_primary(slot, Why::Behind));
        }
        let client = &mut self.clients[slot];
        client.course.catch_up = Some(Box::new(CatchUp {
            since: before.map_or(since, |w| w.since),
            lsn,
            until,
            began: before.map_or(self.micros, |w| w.began),
        }));
        client.state = ClientState::CatchingUp;
        let owner = Owner::Client(slot, client.serial);
        self.deadlines.set(&mut client.deadline, owner, until);
        self.catching.push((slot, client.serial));
        None
    }

    /// The position of a primary has come, or cannot be told.
    pub(in crate::worker) fn position_known(
        &mut self,
        cluster: &ClusterName,
        id: u64,
        position: Option<Position>,
    ) {
        let known = self.positions.entry(cluster.clone()).or_default();
        if let Some(position) = position
            && known.answer.is_none_or(|(last, _)| last < id)
        {
            known.answer = Some((id, position));
        }
        if position.is_none() && known.sent == id {
            known.sent = 0;
        }
        self.wake(|worker, slot, wait| {
            let client = &mut worker.clients[slot];
            let of = &worker.pools[client.pool].tenant.config.cluster.name;
            let concerned = wait.lsn.is_none() && wait.since < id && of == cluster;
            if concerned && position.is_none() {
                client.course.forced = Some(Why::Behind);
            }
            concerned
        });
    }

    /// A replica has replayed more.
    pub(in crate::worker) fn replayed(&mut self) {
        self.wake(|worker, slot, wait| {
            let pool = &worker.pools[worker.clients[slot].pool];
            let (Some(needed), Some(home)) = (wait.lsn, pool.home()) else {
                return false;
            };
            let serving = home.serving(&pool.tenant.config.routing, worker.now);
            !home.fresh(serving, needed).is_empty()
        });
    }

    /// Those that wait for a replica go on, if `may` says so.
    fn wake(&mut self, mut may: impl FnMut(&mut Self, usize, CatchUp) -> bool) {
        for (slot, serial) in std::mem::take(&mut self.catching) {
            if !self.client_is(slot, serial) || self.clients[slot].state != ClientState::CatchingUp
            {
                continue;
            }
            let wait = self.clients[slot].course.catch_up.as_deref().copied();
            if wait.is_some_and(|wait| may(self, slot, wait)) {
                self.go_on(slot);
            } else {
                self.catching.push((slot, serial));
            }
        }
    }

    /// A read has waited long enough.
    pub(in crate::worker) fn caught_up_too_late(&mut self, slot: usize) {
        self.clients[slot].course.forced = Some(Why::Behind);
        self.go_on(slot);
    }

    /// A transaction has ended at the primary that may have written.
    #[inline]
    pub(in crate::worker) fn note_write(&mut self, slot: usize) {
        let client = &mut self.clients[slot];
        let pool = &self.pools[client.pool];
        // What is served at the primary may write, a read with what is sent behind it, too.
        let written = client.course.why.place() == Place::Primary;
        let Some(home) = pool.home().filter(|_| written) else {
            return;
        };
        match pool.tenant.config.routing.consistency {
            Consistency::Session => {
                let writes = client.course.writes.get_or_insert_default();
                writes.note(self.asked);
            }
            Consistency::Tenant | Consistency::Bounded | Consistency::Eventual => {}
        }
        home.writes.note(self.asked);
    }
}

/// What a read needs whose session has seen a position elsewhere.
fn seen_too(seen: Seen, known: Option<Position>, needed: Lsn) -> Need {
    match (seen, known) {
        (Seen::Position(seen), Some(known)) if seen.timeline == known.timeline => {
            Need::Replayed(needed.max(seen.lsn))
        }
        (Seen::Position(_) | Seen::Unreadable, _) => Need::Primary,
    }
}

fn after_wait(now: Millis, wait: Duration) -> Millis {
    if wait.is_zero() {
        now
    } else {
        after(now, wait).max(now + millis(wait).max(1))
    }
}
