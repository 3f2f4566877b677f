//! How far replicas are behind, by our clock alone: since when has a replica not reached what the
//! primary had told. An idle primary is no lag, and clocks of machines are never compared.
//!
//! Times are as fine as probes are: what a lag of zero leaves unseen was written since the
//! primary was last asked.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::nodes::Lsn;

/// Most positions that are remembered. With more the older half is thinned, so that a day of lag
/// still fits, more coarsely.
const MOST: usize = 256;

/// What the primary has told, and when: places that grow.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<(Instant, Lsn)>);

impl History {
    /// The primary has told a position.
    pub(super) fn told(&mut self, at: Instant, lsn: Lsn) {
        match self.0.back() {
            Some((_, last)) if *last == lsn => return,
            // Made anew: what it had told before says nothing.
            Some((_, last)) if *last > lsn => self.0.clear(),
            Some(_) | None => {}
        }
        self.0.push_back((at, lsn));
        if self.0.len() > MOST {
            self.thin();
        }
    }

    /// Since when, and how much, somebody is behind who has replayed this.
    pub(super) fn lag(&self, replayed: Lsn, now: Instant) -> (Duration, u64) {
        let reached = self.0.partition_point(|(_, lsn)| *lsn <= replayed);
        let since = self.0.get(reached).map(|(at, _)| *at);
        let time = since.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let last = self.0.back().map_or(0, |(_, lsn)| lsn.0);
        (time, last.saturating_sub(replayed.0))
    }

    /// Everybody has replayed this.
    pub(super) fn reached_by_all(&mut self, replayed: Lsn) {
        let reached = self.0.partition_point(|(_, lsn)| *lsn <= replayed);
        // The last one tells how much is missing.
        let spare = reached.min(self.0.len().saturating_sub(1));
        self.0.drain(..spare);
    }

    /// Joins pairs of the older half: the time of the first, the place of the second, so that a
    /// lag never looks shorter than it is.
    fn thin(&mut self) {
        let newer = self.0.split_off(MOST / 2);
        let older = std::mem::take(&mut self.0);
        let older: Vec<_> = older.into();
        let joined = older
            .chunks(2)
            .map(|pair| (pair[0].0, pair[pair.len() - 1].1));
        self.0 = joined.chain(newer).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_idle_primary_is_no_lag() {
        let start = Instant::now();
        let mut history = History::default();
        for second in 0..100 {
            history.told(start + SECOND * second, Lsn(1000));
        }
        assert_eq!(
            history.lag(Lsn(1000), start + SECOND * 100),
            (Duration::ZERO, 0)
        );
        assert_eq!(
            history.lag(Lsn(900), start + SECOND * 100),
            (SECOND * 100, 100)
        );
    }

    #[test]
    fn lag_counts_from_the_first_position_that_is_not_reached() {
        let start = Instant::now();
        let mut history = History::default();
        for second in 0..10 {
            history.told(start + SECOND * second, Lsn(u64::from(second) * 10));
        }
        let now = start + SECOND * 9;
        assert_eq!(history.lag(Lsn(90), now), (Duration::ZERO, 0));
        assert_eq!(history.lag(Lsn(89), now), (Duration::ZERO, 1));
        assert_eq!(history.lag(Lsn(40), now), (SECOND * 4, 50));
        assert_eq!(history.lag(Lsn(200), now), (Duration::ZERO, 0));
        history.reached_by_all(Lsn(35));
        assert_eq!(history.0.len(), 6);
        assert_eq!(history.lag(Lsn(40), now), (SECOND * 4, 50));
        history.reached_by_all(Lsn(200));
        assert_eq!(history.lag(Lsn(80), now), (Duration::ZERO, 10));
    }

    #[test]
    fn a_day_of_lag_is_bounded_and_never_looks_shorter() {
        let start = Instant::now();
        let mut history = History::default();
        let mut now = start;
        for step in 0..172_800_u32 {
            now = start + SECOND / 2 * step;
            history.told(now, Lsn(u64::from(step)));
        }
        assert!(history.0.len() <= MOST);
        for step in [0, 1, 5_000, 100_000, 172_000, 172_798_u32] {
            let truth = now - (start + SECOND / 2 * (step + 1));
            let (shown, bytes) = history.lag(Lsn(u64::from(step)), now);
            assert!(shown >= truth, "{step}: {shown:?} for {truth:?}");
            assert_eq!(bytes, u64::from(172_799 - step));
        }
        let (recent, _) = history.lag(Lsn(172_797), now);
        assert_eq!(recent, SECOND / 2);
    }

    #[test]
    fn a_primary_made_anew_begins_anew() {
        let start = Instant::now();
        let mut history = History::default();
        history.told(start, Lsn(1000));
        history.told(start + SECOND, Lsn(10));
        assert_eq!(history.lag(Lsn(10), start + SECOND), (Duration::ZERO, 0));
    }
}
