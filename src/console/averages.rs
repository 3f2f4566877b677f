//! Averages of the statistics period, as PgBouncer works them out: what has happened since the last
//! sample but one, divided by the time since then. So a period of at least 60 s is shown.
//!
//! Owned here, not by the workers: they only count.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Inner;
use crate::types::TenantId;
use crate::worker::Workers;
use crate::worker::stats::Stats;

/// Time between samples: PgBouncer's `stats_period`.
const PERIOD: Duration = Duration::from_secs(60);

/// The samples.
#[derive(Debug)]
pub(super) struct Averages(Mutex<State>);

#[derive(Debug)]
struct State {
    older: Sample,
    newer: Sample,
}

/// What there was at one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    at: Instant,
    by_tenant: HashMap<TenantId, Stats>,
    all: Stats,
    console: Stats,
}

impl Sample {
    /// The numbers of a tenant then.
    pub(super) fn of(&self, tenant: TenantId) -> Stats {
        self.by_tenant.get(&tenant).copied().unwrap_or_default()
    }

    /// All tenants' together, those of pools that are gone included.
    pub(super) fn all(&self) -> Stats {
        self.all
    }

    /// The console's own.
    pub(super) fn console(&self) -> Stats {
        self.console
    }

    /// The averages from this sample to now.
    pub(super) fn averages(&self, then: &Stats, now: &Stats) -> Stats {
        averages(then, now, self.at.elapsed())
    }
}

impl Default for Averages {
    fn default() -> Self {
        let nothing = Sample {
            at: Instant::now(),
            by_tenant: HashMap::new(),
            all: Stats::default(),
            console: Stats::default(),
        };
        Self(Mutex::new(State {
            older: nothing.clone(),
            newer: nothing,
        }))
    }
}

impl Averages {
    /// What averages count from.
    pub(super) fn from(&self) -> Sample {
        self.lock().older.clone()
    }

    fn add(&self, sample: Sample) {
        let mut state = self.lock();
        state.older = std::mem::replace(&mut state.newer, sample);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The numbers of each tenant and of all now.
pub(super) async fn taken(workers: &Workers) -> (HashMap<TenantId, Stats>, Stats) {
    let (mut by_tenant, mut all) = (HashMap::<_, Stats>::new(), Stats::default());
    for pool in workers.pools().await {
        by_tenant
            .entry(pool.tenant.id)
            .or_default()
            .add(&pool.stats);
        all.add(&pool.stats);
    }
    for worker in workers.overview().await {
        all.add(&worker.tallies.gone);
    }
    (by_tenant, all)
}

/// Takes a sample every [`PERIOD`], for as long as there is a console.
pub(super) async fn sample(console: Weak<Inner>) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + PERIOD, PERIOD);
    loop {
        ticks.tick().await;
        let Some(workers) = console.upgrade().map(|inner| inner.around.workers.clone()) else {
            return;
        };
        let (by_tenant, all) = taken(&workers).await;
        let Some(inner) = console.upgrade() else {
            return;
        };
        inner.averages.add(Sample {
            at: Instant::now(),
            by_tenant,
            all,
            console: inner.sessions.stats(),
        });
    }
}

/// Counts a second; times for each transaction, query, lease.
fn averages(then: &Stats, now: &Stats, took: Duration) -> Stats {
    let us = took.as_micros().max(1);
    // A pool that was forgotten and made anew has begun to count anew.
    let since = |now: u64, then: u64| now.saturating_sub(then);
    let a_second = |now: u64, then: u64| {
        let rate = u128::from(since(now, then)) * 1_000_000 / us;
        u64::try_from(rate).unwrap_or(u64::MAX)
    };
    let each = |time: u64, count: u64| time.checked_div(count).unwrap_or(0);
    let transactions = since(now.transactions, then.transactions);
    let queries = since(now.queries, then.queries);
    let leases = since(now.leases, then.leases);
    let closed = since(now.server_closed, then.server_closed);
    Stats {
        transactions: a_second(now.transactions, then.transactions),
        queries: a_second(now.queries, then.queries),
        leases: a_second(now.leases, then.leases),
        waits: a_second(now.waits, then.waits),
        received: a_second(now.received, then.received),
        sent: a_second(now.sent, then.sent),
        transaction_us: each(since(now.transaction_us, then.transaction_us), transactions),
        query_us: each(since(now.query_us, then.query_us), queries),
        wait_us: each(since(now.wait_us, then.wait_us), leases),
        client_parses: a_second(now.client_parses, then.client_parses),
        server_parses: a_second(now.server_parses, then.server_parses),
        binds: a_second(now.binds, then.binds),
        server_closed: a_second(now.server_closed, then.server_closed),
        server_lifetime_us: each(
            since(now.server_lifetime_us, then.server_lifetime_us),
            closed,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_means_since_the_last_sample_but_one() {
        let then = Stats {
            queries: 100,
            query_us: 1_000,
            received: 5_000,
            ..Stats::default()
        };
        let now = Stats {
            queries: 220,
            query_us: 7_000,
            received: 4_000,
            transactions: 60,
            ..then
        };
        let found = averages(&then, &now, Duration::from_secs(60));
        assert_eq!((found.queries, found.query_us), (2, 50));
        assert_eq!((found.transactions, found.transaction_us), (1, 0));
        assert_eq!(found.received, 0, "less than before: counted anew");
        let quick = averages(&then, &now, Duration::ZERO);
        assert_eq!(quick.queries, 120_000_000);
    }

    #[test]
    fn the_period_is_that_of_two_samples() {
        let averages = Averages::default();
        let sample = |queries| Sample {
            at: Instant::now(),
            by_tenant: HashMap::from([(
                TenantId(1),
                Stats {
                    queries,
                    ..Stats::default()
                },
            )]),
            all: Stats::default(),
            console: Stats::default(),
        };
        averages.add(sample(1));
        assert_eq!(averages.from().of(TenantId(1)).queries, 0);
        averages.add(sample(2));
        assert_eq!(averages.from().of(TenantId(1)).queries, 1);
        assert_eq!(averages.from().of(TenantId(2)).queries, 0);
    }
}
