//! Traffic by tenant, with a bounded number of names: the busiest tenants have series of their
//! own, all others are `other`.
//!
//! Guarantees: at most [`NAMES`] names at a time, and few change an hour ([`REVIEW`], [`CHANGES`]); no series
//! ever goes down while it is there; what was counted for `other` is never counted for a name, and
//! the other way round, so rates and increases add up whoever gets or loses a name. A tenant that
//! gets a name begins at zero if it has been part of `other`; one that loses it takes its series
//! with it and is part of `other` from then on.
//!
//! It lacks what a pool counted between the last scrape and its end: that is told as `other`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::types::{RoleName, Slug, TenantId};
use crate::worker::report::{PoolRow, ServerCounts};
use crate::worker::stats::Stats;

/// Tenants with a name.
pub(super) const NAMES: usize = 50;

/// The sum of all tenants without a name. A tenant that is called so never gets one.
pub(super) const OTHER: &str = "other";

/// How often names may change hands.
const REVIEW: Duration = Duration::from_secs(600);

/// After this long traffic weighs half.
const HALF_LIFE: Duration = Duration::from_secs(600);

/// Who takes a name from another must have this many times its traffic.
const CLEARLY: f64 = 2.0;

/// How many names change hands at a time.
const CHANGES: usize = 5;

/// What a query weighs beside its bytes.
const QUERY_BYTES: u64 = 512;

/// What is known from scrape to scrape.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Pools as last seen; only those of the last report.
    pools: HashMap<(TenantId, RoleName), Stats>,
    /// Recent traffic of the tenants of the last report.
    weights: HashMap<Slug, f64>,
    named: HashMap<Slug, Stats>,
    /// All that was ever counted for a name, also for names that are no more.
    attributed: Stats,
    other: Stats,
    weighed: Option<Instant>,
    reviewed: Option<Instant>,
}

/// What one tenant, or all others, have at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Now {
    pub(super) clients: usize,
    pub(super) waiting: usize,
    pub(super) pinned: usize,
    pub(super) servers: usize,
    pub(super) longest_wait: Duration,
}

/// One value of the label `tenant`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) tenant: String,
    pub(super) stats: Stats,
    pub(super) now: Now,
}

/// A report of the pools, with what belongs to it.
pub(super) struct Report<'a> {
    pub(super) pools: &'a [PoolRow],
    /// Totals of pools that are no more.
    pub(super) gone: Stats,
    pub(super) at: Instant,
    /// Whether a tenant is still configured.
    pub(super) exists: &'a dyn Fn(&Slug) -> bool,
}

/// What a report adds for one tenant.
#[derive(Default)]
struct Gain {
    stats: Stats,
    now: Now,
}

impl Ledger {
    /// Takes a report into account. Names come sorted, `other` last.
    pub(super) fn enter(&mut self, report: &Report<'_>) -> Vec<Entry> {
        let mut total = report.gone;
        for row in report.pools {
            total.add(&row.stats);
        }
        let gains = self.gains(report.pools);
        self.weigh(&gains, report.at);
        self.review(report);
        let mut rest = Now::default();
        let mut present: HashMap<&Slug, Now> = HashMap::new();
        for (slug, gain) in &gains {
            if let Some(stats) = self.named.get_mut(slug) {
                stats.add(&gain.stats);
                self.attributed.add(&gain.stats);
                present.insert(slug, gain.now);
            } else {
                rest.add(&gain.now);
            }
        }
        self.other = at_least(self.other, less(total, self.attributed));
        let mut entries: Vec<Entry> = self
            .named
            .iter()
            .map(|(slug, stats)| Entry {
                tenant: slug.to_string(),
                stats: *stats,
                now: present.get(slug).copied().unwrap_or_default(),
            })
            .collect();
        entries.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        entries.push(Entry {
            tenant: OTHER.to_owned(),
            stats: self.other,
            now: rest,
        });
        entries
    }

    /// What each tenant's pools have counted since the last report.
    fn gains(&mut self, rows: &[PoolRow]) -> HashMap<Slug, Gain> {
        let mut pools: HashMap<(TenantId, RoleName), Stats> = HashMap::with_capacity(rows.len());
        let mut gains: HashMap<Slug, Gain> = HashMap::new();
        let mut slugs: HashMap<TenantId, &Slug> = HashMap::new();
        for row in rows {
            let key = (row.tenant.id, row.role.clone());
            pools.entry(key).or_default().add(&row.stats);
            let gain = gains.entry(row.tenant.slug().clone()).or_default();
            gain.now.add(&Now::of(row));
            slugs.insert(row.tenant.id, row.tenant.slug());
        }
        for (key, stats) in &pools {
            let before = self.pools.get(key).copied().unwrap_or_default();
            let gain = slugs.get(&key.0).and_then(|slug| gains.get_mut(*slug));
            gain.expect("made above").stats.add(&since(before, *stats));
        }
        self.pools = pools;
        gains
    }

    fn weigh(&mut self, gains: &HashMap<Slug, Gain>, at: Instant) {
        let age = self.weighed.map_or(Duration::ZERO, |then| at - then);
        let keeps = 0.5_f64.powf(age.as_secs_f64() / HALF_LIFE.as_secs_f64());
        let weights = gains.iter().map(|(slug, gain)| {
            let Stats {
                received,
                sent,
                queries,
                ..
            } = gain.stats;
            let fresh = (received + sent + QUERY_BYTES * queries) as f64;
            let old = self.weights.get(slug).copied().unwrap_or_default();
            (slug.clone(), old * keeps + fresh)
        });
        self.weights = weights.collect();
        self.weighed = Some(at);
    }

    /// Decides who has a name.
    fn review(&mut self, report: &Report<'_>) {
        self.named.retain(|slug, _| (report.exists)(slug));
        let mut unnamed: Vec<(Slug, f64)> = self
            .weights
            .iter()
            .filter(|(slug, _)| slug.as_str() != OTHER && (report.exists)(slug))
            .filter(|(slug, _)| !self.named.contains_key(*slug))
            .map(|(slug, weight)| (slug.clone(), *weight))
            .collect();
        unnamed.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(&a.0)));
        while self.named.len() < NAMES
            && let Some((slug, _)) = unnamed.pop()
        {
            self.named.insert(slug, Stats::default());
        }
        let due = self.reviewed.is_none_or(|then| report.at - then >= REVIEW);
        if !due || unnamed.is_empty() {
            return;
        }
        self.reviewed = Some(report.at);
        for (slug, weight) in unnamed.into_iter().rev().take(CHANGES) {
            let Some((weakest, least)) = self.weakest() else {
                return;
            };
            if weight <= CLEARLY * least {
                return;
            }
            self.named.remove(&weakest);
            self.named.insert(slug, Stats::default());
        }
    }

    fn weakest(&self) -> Option<(Slug, f64)> {
        let weighed = self.named.keys().map(|slug| {
            let weight = self.weights.get(slug).copied().unwrap_or_default();
            (slug, weight)
        });
        weighed
            .min_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(b.0)))
            .map(|(slug, weight)| (slug.clone(), weight))
    }
}

impl Now {
    fn of(row: &PoolRow) -> Self {
        Self {
            clients: row.clients,
            waiting: row.waiting,
            pinned: row.pinned,
            servers: open(row.servers),
            longest_wait: row.longest_wait,
        }
    }

    fn add(&mut self, other: &Self) {
        self.clients += other.clients;
        self.waiting += other.waiting;
        self.pinned += other.pinned;
        self.servers += other.servers;
        self.longest_wait = self.longest_wait.max(other.longest_wait);
    }
}

/// Server connections that are open: not those that are only being opened.
fn open(servers: ServerCounts) -> usize {
    let ServerCounts {
        active,
        active_cancel,
        being_canceled,
        idle,
        used,
        tested,
        login: _,
        closing,
    } = servers;
    active + active_cancel + being_canceled + idle + used + tested + closing
}

/// What a pool has counted since it was last seen; one that counts from zero again was made anew.
fn since(before: Stats, now: Stats) -> Stats {
    let gain = less(now, before);
    let mut sum = before;
    sum.add(&gain);
    if sum == now { gain } else { now }
}

/// Field by field, nothing where it would be less than nothing.
fn less(from: Stats, what: Stats) -> Stats {
    each(from, what, u64::saturating_sub)
}

/// Field by field, the larger one.
fn at_least(one: Stats, other: Stats) -> Stats {
    each(one, other, u64::max)
}

fn each(one: Stats, other: Stats, of: fn(u64, u64) -> u64) -> Stats {
    Stats {
        transactions: of(one.transactions, other.transactions),
        queries: of(one.queries, other.queries),
        leases: of(one.leases, other.leases),
        waits: of(one.waits, other.waits),
        received: of(one.received, other.received),
        sent: of(one.sent, other.sent),
        transaction_us: of(one.transaction_us, other.transaction_us),
        query_us: of(one.query_us, other.query_us),
        wait_us: of(one.wait_us, other.wait_us),
        client_parses: of(one.client_parses, other.client_parses),
        server_parses: of(one.server_parses, other.server_parses),
        binds: of(one.binds, other.binds),
        server_closed: of(one.server_closed, other.server_closed),
        server_lifetime_us: of(one.server_lifetime_us, other.server_lifetime_us),
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
