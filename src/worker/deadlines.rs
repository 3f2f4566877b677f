//! All timeouts of one worker: coarse, and lazy where they move.
//!
//! A thing has at most one entry that counts. Moving its deadline later stores a number; the entry
//! fires at the old time, finds the new one and is put back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Milliseconds since the worker started.
pub(super) type Millis = u64;

/// No deadline.
pub(super) const NEVER: Millis = Millis::MAX;

/// A duration as a deadline from `now`; zero means none.
pub(super) fn after(now: Millis, wait: Duration) -> Millis {
    match millis(wait) {
        0 => NEVER,
        wait => now.saturating_add(wait),
    }
}

/// Whole milliseconds, at least one unless the duration is zero.
pub(super) fn millis(wait: Duration) -> Millis {
    let rest = u64::from(wait.subsec_nanos().div_ceil(1_000_000));
    wait.as_secs().saturating_mul(1_000).saturating_add(rest)
}

/// What a deadline belongs to: a slot and the serial number of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Client(usize, u64),
    Server(usize, u64),
    Pool(usize, u64),
}

/// The deadline of one thing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    due: Millis,
    armed: Millis,
}

impl Deadline {
    /// Whether the entry for that time is the one that counts.
    pub(super) fn is_armed(&self, at: Millis) -> bool {
        self.armed == at
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self {
            due: NEVER,
            armed: NEVER,
        }
    }
}

/// What became of an entry that fired.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fired {
    /// The deadline has passed; it is unset now.
    Due,
    /// It does not count, or was put back.
    NotYet,
}

/// The entries of one worker.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BinaryHeap<Reverse<(Millis, Owner)>>);

impl Deadlines {
    /// Sets or moves a deadline.
    #[inline]
    pub(super) fn set(&mut self, deadline: &mut Deadline, owner: Owner, due: Millis) {
        deadline.due = due;
        if due < deadline.armed {
            deadline.armed = due;
            self.0.push(Reverse((due, owner)));
        }
    }

    /// How many entries there are, those that do not count any more among them.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Drops the entries that `counts` says no to: of owners that are gone, or that have a nearer one.
    pub(super) fn compact(&mut self, counts: impl Fn(Millis, Owner) -> bool) {
        self.0.retain(|Reverse((at, owner))| counts(*at, *owner));
        self.0.shrink_to(2 * self.0.len());
    }

    /// When the next entry fires.
    pub(super) fn next(&self) -> Option<Millis> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes an entry whose time has come.
    pub(super) fn pop(&mut self, now: Millis) -> Option<(Millis, Owner)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }

    /// Compares an entry taken by [`Self::pop`] with the deadline of its owner.
    pub(super) fn fired(
        &mut self,
        deadline: &mut Deadline,
        (at, owner): (Millis, Owner),
        now: Millis,
    ) -> Fired {
        if at != deadline.armed {
            return Fired::NotYet;
        }
        deadline.armed = NEVER;
        let due = deadline.due;
        if due <= now {
            deadline.due = NEVER;
            return Fired::Due;
        }
        if due != NEVER {
            self.set(deadline, owner, due);
        }
        Fired::NotYet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_moved_fires_once_at_its_last_time() {
        let (mut all, mut one, who) =
            (Deadlines::default(), Deadline::default(), Owner::Pool(1, 1));
        for due in [50, 90, 70, 40, 100] {
            all.set(&mut one, who, due);
        }
        let mut fired = Vec::new();
        for now in 0..200 {
            while let Some(entry) = all.pop(now) {
                if all.fired(&mut one, entry, now) == Fired::Due {
                    fired.push(now);
                }
            }
        }
        assert_eq!(fired, [100]);
    }

    #[test]
    fn what_does_not_count_any_more_is_dropped_and_the_rest_fires() {
        let (mut all, mut one, who) =
            (Deadlines::default(), Deadline::default(), Owner::Pool(1, 1));
        for due in (50..100).rev() {
            all.set(&mut one, who, due);
        }
        for gone in 2..1000 {
            all.set(&mut Deadline::default(), Owner::Client(1, gone), 1_000_000);
        }
        all.compact(|at, owner| owner == who && one.is_armed(at));
        assert_eq!(all.len(), 1);
        let entry = all.pop(50).expect("the nearest one is there");
        assert_eq!(all.fired(&mut one, entry, 50), Fired::Due);
    }

    #[test]
    fn an_unset_deadline_never_fires() {
        let (mut all, mut one, who) =
            (Deadlines::default(), Deadline::default(), Owner::Pool(1, 1));
        all.set(&mut one, who, 10);
        all.set(&mut one, who, NEVER);
        let entry = all.pop(10).expect("the entry is still there");
        assert_eq!(all.fired(&mut one, entry, 10), Fired::NotYet);
        assert_eq!(all.next(), None);
    }
}
