//! How much of its share a replica gets: all of it at the start, but a tenth at first when it
//! comes back from a bad state, for its caches may be cold.

use std::time::Duration;

use tokio::time::Instant;

use crate::nodes::ReplicaState;

/// Until it gets all of it again.
const LENGTH: Duration = Duration::from_secs(10);
/// How often it gets more.
const STEP: Duration = Duration::from_secs(1);
/// What it begins with, in thousandths.
const FIRST: u32 = 100;
/// All of it.
const FULL: u32 = 1000;

/// Where a replica is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ramp {
    /// It was in no bad state yet.
    Fresh,
    /// It is in a bad state.
    Down,
    /// It came back then.
    Since(Instant),
    /// All of it.
    Full,
}

impl Ramp {
    /// Follows the state.
    pub(super) fn step(self, state: ReplicaState, now: Instant) -> Self {
        match (state, self) {
            (ReplicaState::Unknown, ramp) => ramp,
            (ReplicaState::Ready, Self::Fresh | Self::Full) => Self::Full,
            (ReplicaState::Ready, Self::Down) => Self::Since(now),
            (ReplicaState::Ready, Self::Since(since)) if now >= since + LENGTH => Self::Full,
            (ReplicaState::Ready, rising @ Self::Since(_)) => rising,
            (
                ReplicaState::Unreachable
                | ReplicaState::Refusing
                | ReplicaState::NoStandby
                | ReplicaState::Astray,
                _,
            ) => Self::Down,
        }
    }

    /// How much it gets now.
    pub(super) fn thousandths(self, now: Instant) -> u32 {
        match self {
            Self::Fresh | Self::Down => 0,
            Self::Since(since) => {
                FIRST + (FULL - FIRST) * steps(since, now) / steps(since, since + LENGTH)
            }
            Self::Full => FULL,
        }
    }

    /// When it gets more.
    pub(super) fn next(self, now: Instant) -> Option<Instant> {
        let Self::Since(since) = self else {
            return None;
        };
        let next = since + STEP * (steps(since, now) + 1);
        (next > now).then_some(next)
    }
}

/// Whole ones, as many as there are at most.
fn steps(since: Instant, now: Instant) -> u32 {
    let passed = now.saturating_duration_since(since).min(LENGTH);
    u32::try_from(passed.as_millis() / STEP.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_it_gets_all_at_once() {
        let now = Instant::now();
        let ramp = Ramp::Fresh.step(ReplicaState::Unknown, now);
        assert_eq!(ramp.thousandths(now), 0);
        let ramp = ramp.step(ReplicaState::Ready, now);
        assert_eq!((ramp.thousandths(now), ramp.next(now)), (1000, None));
    }

    #[test]
    fn one_that_comes_back_gets_more_each_second() {
        let start = Instant::now();
        let mut ramp = Ramp::Full.step(ReplicaState::Astray, start);
        assert_eq!(ramp.thousandths(start), 0);
        let (mut now, mut shares) = (start, Vec::new());
        ramp = ramp.step(ReplicaState::Ready, now);
        while let Some(next) = ramp.next(now) {
            shares.push(ramp.thousandths(now));
            now = next;
            ramp = ramp.step(ReplicaState::Ready, now);
        }
        assert_eq!(shares, [100, 190, 280, 370, 460, 550, 640, 730, 820, 910]);
        assert_eq!((ramp, now), (Ramp::Full, start + LENGTH));
        // A second fall begins anew.
        let ramp = ramp.step(ReplicaState::Refusing, now);
        assert_eq!(ramp.step(ReplicaState::Ready, now), Ramp::Since(now));
    }
}
