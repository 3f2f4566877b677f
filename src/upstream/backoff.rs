//! When to try a server again that could not be reached: exponential, with jitter, one at a time.
//!
//! Pure: the caller gives the time in milliseconds and acts on the answer. After a failure nobody
//! tries until a delay is over; then one attempt probes and the others wait for what it finds.

/// Delay after the first failure, in milliseconds; doubles with each further one.
const FIRST_DELAY: u64 = 50;
/// Longest delay, in milliseconds.
const LONGEST_DELAY: u64 = 5_000;

/// Whether a connect may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Nothing is known against it, in any number.
    Now,
    /// This one attempt, which must be reported; the others wait for it.
    Probe,
    /// Not before so many milliseconds; ask again then.
    After(u64),
    /// An attempt is probing: ask again when it was reported.
    Probing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Well,
    Resting { until: u64 },
    Probing,
}

/// The back-off of one pool's target.
#[derive(Debug, Clone)]
pub struct Backoff {
    state: State,
    /// Failed rounds since the last success.
    failures: u32,
    /// State of the jitter's generator.
    random: u64,
}

impl Backoff {
    /// Starts well; pools with different seeds do not retry in step.
    pub fn new(seed: u64) -> Self {
        Self {
            state: State::Well,
            failures: 0,
            random: seed,
        }
    }

    /// Asks whether to connect now. [`Attempt::Probe`] is given once, until the outcome is reported.
    #[must_use]
    pub fn may_try(&mut self, now: u64) -> Attempt {
        match self.state {
            State::Well => Attempt::Now,
            State::Probing => Attempt::Probing,
            State::Resting { until } if now < until => Attempt::After(until - now),
            State::Resting { .. } => {
                self.state = State::Probing;
                Attempt::Probe
            }
        }
    }

    /// A connect failed. Attempts that had begun together count as one failure.
    pub fn failed(&mut self, now: u64) {
        if let State::Resting { .. } = self.state {
            return;
        }
        let delay = (FIRST_DELAY << self.failures.min(16)).min(LONGEST_DELAY);
        self.failures = self.failures.saturating_add(1);
        // Up to a quarter less, so that pools that failed together do not come back together.
        let jitter = self.next_random() % (delay / 4 + 1);
        self.state = State::Resting {
            until: now + delay - jitter,
        };
    }

    /// A connect succeeded: all is well again.
    pub fn succeeded(&mut self) {
        self.state = State::Well;
        self.failures = 0;
    }

    /// The probing attempt was given up without an outcome: the next one who asks may probe.
    pub fn abandoned(&mut self, now: u64) {
        if self.state == State::Probing {
            self.state = State::Resting { until: now };
        }
    }

    /// Failed rounds since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// splitmix64: good enough for jitter, and the same for the same seed.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(seed);
            let mut now = 1_000;
            for expected in [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000] {
                backoff.failed(now);
                let Attempt::After(wait) = backoff.may_try(now) else {
                    panic!("no rest after a failure");
                };
                let shortest = expected - expected / 4;
                assert!(
                    (shortest..=expected).contains(&wait),
                    "{wait} for {expected}"
                );
                now += wait;
                assert_eq!(backoff.may_try(now - 1), Attempt::After(1));
                assert_eq!(backoff.may_try(now), Attempt::Probe);
            }
        }
    }

    #[test]
    fn one_probes_and_the_others_wait() {
        let mut backoff = Backoff::new(1);
        assert_eq!(backoff.may_try(0), Attempt::Now);
        assert_eq!(backoff.may_try(0), Attempt::Now);
        backoff.failed(0);
        assert_eq!(backoff.may_try(50), Attempt::Probe);
        assert_eq!(backoff.may_try(50), Attempt::Probing);
        assert_eq!(backoff.may_try(90_000), Attempt::Probing);
        backoff.succeeded();
        assert_eq!(backoff.may_try(50), Attempt::Now);
        assert_eq!(backoff.failures(), 0);
    }

    #[test]
    fn a_burst_of_failures_is_one() {
        let mut backoff = Backoff::new(7);
        for _ in 0..20 {
            backoff.failed(0);
        }
        assert_eq!(backoff.failures(), 1);
        assert!(matches!(backoff.may_try(0), Attempt::After(ms) if ms <= 50));
    }

    #[test]
    fn an_abandoned_probe_is_followed_by_another() {
        let mut backoff = Backoff::new(7);
        backoff.abandoned(0);
        assert_eq!(backoff.may_try(0), Attempt::Now);
        backoff.failed(0);
        assert_eq!(backoff.may_try(50), Attempt::Probe);
        backoff.abandoned(60);
        assert_eq!(backoff.may_try(60), Attempt::Probe);
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = Backoff {
            state: State::Probing,
            failures: u32::MAX,
            random: 0,
        };
        backoff.failed(5);
        assert!(matches!(backoff.may_try(5), Attempt::After(ms) if ms <= LONGEST_DELAY));
    }
}
