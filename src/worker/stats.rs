//! What workers count: per pool, and per worker. Plain numbers that one thread owns; whoever wants
//! to know them asks for a report ([`super::report`]).

use std::time::Duration;

use crate::session::Why;
use crate::wire::sql::PinReason;

/// Microseconds of the workers' common clock.
pub(super) type Micros = u64;

/// Totals of one pool since it was made, or of several.
///
/// Times are in microseconds and as coarse as a turn of the worker's loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transactions that have ended: ReadyForQuery that said idle. A statement on its own is one.
    pub transactions: u64,
    /// Simple queries, and extended batches up to their Sync, that were answered.
    pub queries: u64,
    /// Times that a client was given a server connection.
    pub leases: u64,
    /// Of these, times that it had waited for it.
    pub waits: u64,
    /// Bytes that clients sent after their login.
    pub received: u64,
    /// Bytes sent to clients after their login.
    pub sent: u64,
    /// Time in transactions.
    pub transaction_us: u64,
    /// Time from a query's first message to its ReadyForQuery.
    pub query_us: u64,
    /// Time that clients waited for the server connection that they were given then.
    pub wait_us: u64,
    /// Named statements that clients have parsed.
    pub client_parses: u64,
    /// Shared statements that were parsed on a server connection.
    pub server_parses: u64,
    /// Times that a named statement was bound.
    pub binds: u64,
    /// Server connections that have ended.
    pub server_closed: u64,
    /// Their age at their end.
    pub server_lifetime_us: u64,
}

impl Stats {
    /// Adds another's numbers.
    pub fn add(&mut self, other: &Self) {
        let Self {
            transactions,
            queries,
            leases,
            waits,
            received,
            sent,
            transaction_us,
            query_us,
            wait_us,
            client_parses,
            server_parses,
            binds,
            server_closed,
            server_lifetime_us,
        } = other;
        self.transactions += transactions;
        self.queries += queries;
        self.leases += leases;
        self.waits += waits;
        self.received += received;
        self.sent += sent;
        self.transaction_us += transaction_us;
        self.query_us += query_us;
        self.wait_us += wait_us;
        self.client_parses += client_parses;
        self.server_parses += server_parses;
        self.binds += binds;
        self.server_closed += server_closed;
        self.server_lifetime_us += server_lifetime_us;
    }
}

/// Upper bounds of a [`Histogram`]'s buckets are powers of two from this one, in microseconds.
const FIRST_BOUND: u32 = 6;

/// How many buckets a [`Histogram`] has, without the one for all that is longer.
pub const BUCKETS: usize = 22;

/// How long things took: a count for each power of two of microseconds, 64 us to 134 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS + 1],
    sum_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS + 1],
            sum_us: 0,
        }
    }
}

impl Histogram {
    /// Takes note of one.
    #[inline]
    pub(super) fn observe(&mut self, us: Micros) {
        let bits = u64::BITS - us.saturating_sub(1).leading_zeros();
        let bucket = bits.saturating_sub(FIRST_BOUND) as usize;
        self.counts[bucket.min(BUCKETS)] += 1;
        self.sum_us += us;
    }

    /// Takes note of one that took no time.
    #[inline]
    pub(super) fn observe_none(&mut self) {
        self.counts[0] += 1;
    }

    /// Adds another's numbers.
    pub fn add(&mut self, other: &Self) {
        for (own, more) in self.counts.iter_mut().zip(other.counts) {
            *own += more;
        }
        self.sum_us += other.sum_us;
    }

    /// Upper bounds (inclusive), each with how many took no longer: cumulative, as Prometheus has it.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let bounds = (FIRST_BOUND..).map(|bits| Duration::from_micros(1 << bits));
        bounds
            .zip(&self.counts[..BUCKETS])
            .scan(0, |total, (bound, count)| {
                *total += count;
                Some((bound, *total))
            })
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all took together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }
}

/// Why a server connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nobody used it for `idle_timeout`, its pool was forgotten, or the pool was made smaller.
    Idle,
    /// It was older than `max_lifetime`.
    Lifetime,
    /// It led where the pool leads no longer: configuration, RECONNECT, other startup settings.
    Replaced,
    /// The tenant is paused.
    Paused,
    /// Another tenant waited for a place at the node.
    Evicted,
    /// Its client went away, or was told to, in the middle of something.
    Abandoned,
    /// It held state of a session, or an answer that may still come, which could not be undone.
    Unclean,
    /// The server closed it, broke it, or spoke nonsense.
    Lost,
    /// The tenant is gone, or the proxy is ending.
    Shutdown,
}

impl Ended {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Idle,
        Self::Lifetime,
        Self::Replaced,
        Self::Paused,
        Self::Evicted,
        Self::Abandoned,
        Self::Unclean,
        Self::Lost,
        Self::Shutdown,
    ];

    /// Its name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::Replaced => "replaced",
            Self::Paused => "paused",
            Self::Evicted => "evicted",
            Self::Abandoned => "abandoned",
            Self::Unclean => "unclean",
            Self::Lost => "lost",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What a worker counts over all of its pools, for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Totals of pools that were forgotten.
    pub gone: Stats,
    /// How long queries took.
    pub query: Histogram,
    /// How long transactions took.
    pub transaction: Histogram,
    /// How long clients waited for a server connection; with those that did not wait.
    pub wait: Histogram,
    /// Transactions by why they were served where they were, as in [`Why::ALL`]; only where there
    /// are replicas.
    pub routed: [u64; Why::ALL.len()],
    /// How long reads waited for a replica that had caught up then.
    pub catch_up: Histogram,
    /// Sessions that were pinned, by [`PinReason`] as in [`PinReason::ALL`].
    pub pins: [u64; PinReason::ALL.len()],
    /// Server connections that were opened.
    pub connects: u64,
    /// Attempts that failed.
    pub connect_failures: u64,
    /// Server connections that have ended, as in [`Ended::ALL`].
    pub ends: [u64; Ended::ALL.len()],
    /// Their age at their end, in microseconds.
    pub server_lifetime_us: u64,
    /// Clients that were admitted.
    pub clients: u64,
    /// Cancel requests that were passed on to a server.
    pub cancels: u64,
}

impl Tallies {
    /// Adds another's numbers.
    pub fn add(&mut self, other: &Self) {
        self.gone.add(&other.gone);
        self.query.add(&other.query);
        self.transaction.add(&other.transaction);
        self.wait.add(&other.wait);
        self.catch_up.add(&other.catch_up);
        let arrays = [
            (&mut self.routed[..], &other.routed[..]),
            (&mut self.pins[..], &other.pins[..]),
            (&mut self.ends[..], &other.ends[..]),
        ];
        for (own, more) in arrays {
            for (own, more) in own.iter_mut().zip(more) {
                *own += more;
            }
        }
        self.server_lifetime_us += other.server_lifetime_us;
        self.connects += other.connects;
        self.connect_failures += other.connect_failures;
        self.clients += other.clients;
        self.cancels += other.cancels;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_up_to_and_with_its_bounds() {
        let mut histogram = Histogram::default();
        for us in [0, 1, 64, 65, 128, 129, u64::MAX / 4] {
            histogram.observe(us);
        }
        histogram.observe_none();
        histogram.observe_none();
        let at = |us: u64| {
            let bound = Duration::from_micros(us);
            let mut all = histogram.cumulative();
            all.find(|(b, _)| *b == bound).map(|(_, count)| count)
        };
        assert_eq!((at(64), at(128), at(256)), (Some(5), Some(7), Some(8)));
        assert_eq!(histogram.cumulative().last().map(|(_, n)| n), Some(8));
        assert_eq!(histogram.cumulative().count(), BUCKETS);
        assert_eq!(
            histogram.count(),
            9,
            "the longest is in no bucket but counts"
        );
    }
}
