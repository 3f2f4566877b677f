//! Whoever comes, goes, is forgotten or gets a name: what is shown only grows and adds up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::tenant::{Registry, Tenant};
use crate::worker::report::ServerCounts;

/// Tenants `t000`, `t001` .., and one called `other`.
fn tenants(count: usize) -> Vec<Arc<Tenant>> {
    let mut text = "[[cluster]]\nname = 'main'\nprimary = 'h:1'\n".to_owned();
    let names = (0..count).map(|n| format!("t{n:03}"));
    for slug in names.chain(["other".to_owned()]) {
        text += &format!(
            "[[tenant]]\nslug = '{slug}'\ncluster = 'main'\ndatabase = 'db_{slug}'\nuser = 'u'\n"
        );
    }
    let config = crate::config::parse(&text, Path::new("t.toml"), &|_| None).unwrap();
    let registry = Registry::build(&config, &Registry::default());
    registry.iter().map(Arc::clone).collect()
}

fn row(tenant: &Arc<Tenant>, queries: u64) -> PoolRow {
    PoolRow {
        tenant: Arc::clone(tenant),
        role: RoleName::new("u"),
        stats: Stats {
            queries,
            transactions: queries / 2,
            ..Stats::default()
        },
        clients: 2,
        waiting: 1,
        canceling: 0,
        cancel_waiting: 0,
        pinned: 0,
        servers: ServerCounts {
            active: 1,
            ..ServerCounts::default()
        },
        stale: 0,
        longest_wait: Duration::from_secs(queries % 7),
        paused: false,
        removed: false,
    }
}

fn enter(ledger: &mut Ledger, pools: &[PoolRow], at: Instant) -> BTreeMap<String, u64> {
    let report = Report {
        pools,
        gone: Stats::default(),
        at,
        exists: &|_| true,
    };
    let entries = ledger.enter(&report);
    let told = entries.into_iter().map(|e| (e.tenant, e.stats.queries));
    told.collect()
}

#[test]
fn few_tenants_all_have_a_name_and_other_is_nothing() {
    let all = tenants(3);
    let mut ledger = Ledger::default();
    let rows: Vec<PoolRow> = all.iter().map(|t| row(t, 5)).collect();
    let told = enter(&mut ledger, &rows, Instant::now());
    let expected = [("other", 5), ("t000", 5), ("t001", 5), ("t002", 5)];
    let expected = expected.map(|(tenant, count)| (tenant.to_owned(), count));
    assert_eq!(
        told,
        BTreeMap::from(expected),
        "the one called other is in it"
    );
}

#[test]
fn what_everybody_has_now_is_told_beside_it() {
    let all = tenants(NAMES + 2);
    let mut ledger = Ledger::default();
    let rows: Vec<PoolRow> = (1..).zip(&all).map(|(n, t)| row(t, n)).collect();
    let entries = ledger.enter(&Report {
        pools: &rows,
        gone: Stats::default(),
        at: Instant::now(),
        exists: &|_| true,
    });
    assert_eq!(entries.len(), NAMES + 1);
    let rest = entries.last().unwrap();
    assert_eq!((rest.tenant.as_str(), rest.now.clients), (OTHER, 6));
    assert_eq!((rest.now.waiting, rest.now.servers), (3, 3));
    assert_eq!(entries[0].now.clients, 2);
}

#[test]
fn the_busiest_take_names_from_the_idle_but_not_at_once() {
    let all = tenants(NAMES + 1);
    let mut ledger = Ledger::default();
    let begin = Instant::now();
    let mut counts: Vec<u64> = (0..=NAMES as u64 + 1).map(|n| 1_000 - n).collect();
    let rows = |counts: &[u64]| -> Vec<PoolRow> {
        all.iter().zip(counts).map(|(t, n)| row(t, *n)).collect()
    };
    // Sorted, the one called other is the first.
    let last = NAMES + 1;
    let late = all[last].slug().to_string();
    let first = enter(&mut ledger, &rows(&counts), begin);
    assert!(!first.contains_key(&late));
    counts[last] += 1_000_000;
    let second = enter(&mut ledger, &rows(&counts), begin + Duration::from_secs(15));
    assert!(!second.contains_key(&late), "the review was a moment ago");
    assert_eq!(second[OTHER], first[OTHER] + 1_000_000);
    counts[last] += 7;
    let third = enter(&mut ledger, &rows(&counts), begin + REVIEW);
    assert_eq!(third[&late], 7, "what was told as other stays there");
    assert_eq!(third[OTHER], second[OTHER]);
    assert_eq!(third.len(), NAMES + 1);
}

#[test]
fn who_is_configured_no_more_loses_the_name() {
    let all = tenants(2);
    let mut ledger = Ledger::default();
    let rows = [row(&all[1], 4), row(&all[2], 5)];
    enter(&mut ledger, &rows, Instant::now());
    let entries = ledger.enter(&Report {
        pools: &rows[1..],
        gone: rows[0].stats,
        at: Instant::now(),
        exists: &|slug| slug != all[1].slug(),
    });
    let told: Vec<_> = entries
        .iter()
        .map(|e| (&*e.tenant, e.stats.queries))
        .collect();
    let name = all[2].slug().as_str();
    assert_eq!(told, [(name, 5), (OTHER, 0)]);
}

/// One thing that happens to a tenant between two scrapes.
#[derive(Debug, Clone)]
enum Event {
    Works(u64),
    /// Its pool is forgotten: its counts go to those that are gone.
    Forgotten,
    /// Its pool is missing on the page, as one that was forgotten in the middle of a report.
    Missed,
}

fn events(count: usize) -> impl Strategy<Value = Vec<Vec<(usize, Event)>>> {
    let event = prop_oneof![
        8 => (1..1_000_u64).prop_map(Event::Works),
        1 => (100_000..9_000_000_u64).prop_map(Event::Works),
        2 => Just(Event::Forgotten),
        1 => Just(Event::Missed),
    ];
    prop::collection::vec(prop::collection::vec((0..=count, event), 0..40), 1..40)
}

/// The model: pools, what is gone, all that ever happened.
#[derive(Default)]
struct World {
    pools: BTreeMap<usize, u64>,
    gone: u64,
    happened: u64,
}

impl World {
    fn meet(&mut self, tenant: usize, event: &Event, missed: &mut Vec<usize>) {
        match event {
            Event::Works(count) => {
                *self.pools.entry(tenant).or_default() += count;
                self.happened += count;
            }
            Event::Forgotten => self.gone += self.pools.remove(&tenant).unwrap_or_default(),
            Event::Missed => missed.push(tenant),
        }
    }
}

/// What Prometheus would make of a series: growth, and the whole value after it began anew.
fn increase(before: Option<u64>, now: u64) -> u64 {
    match before {
        Some(before) if now >= before => now - before,
        Some(_) | None => now,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_shown_goes_down_and_all_increases_add_up(rounds in events(NAMES + 20)) {
        let all = tenants(NAMES + 20);
        let (mut ledger, mut world) = (Ledger::default(), World::default());
        let (mut shown, mut sum) = (BTreeMap::new(), 0);
        let begin = Instant::now();
        for (round, events) in (1..).zip(&rounds) {
            let mut missed = Vec::new();
            for (tenant, event) in events {
                world.meet(*tenant, event, &mut missed);
            }
            // One that is missed was forgotten, after its worker told what is gone.
            let gone = world.gone;
            for tenant in missed {
                world.gone += world.pools.remove(&tenant).unwrap_or_default();
            }
            let rows: Vec<_> = world.pools.iter().map(|(t, n)| row(&all[*t], *n)).collect();
            let told = ledger.enter(&Report {
                pools: &rows,
                gone: Stats { queries: gone, ..Stats::default() },
                at: begin + Duration::from_secs(120) * round,
                exists: &|_| true,
            });
            let now: BTreeMap<_, _> = told.into_iter().map(|e| (e.tenant, e.stats.queries)).collect();
            prop_assert!(now.len() <= NAMES + 1);
            for (tenant, count) in &now {
                let before = shown.get(tenant).copied();
                prop_assert!(before.is_none_or(|b| b <= *count), "{} went down", tenant);
                sum += increase(before, *count);
            }
            prop_assert!(sum <= world.happened, "more than there was");
            shown = now;
        }
        // Once nothing is missed any more all of it is told.
        let rows: Vec<_> = world.pools.iter().map(|(t, n)| row(&all[*t], *n)).collect();
        let told = ledger.enter(&Report {
            pools: &rows,
            gone: Stats { queries: world.gone, ..Stats::default() },
            at: begin + Duration::from_secs(120) * 1_000,
            exists: &|_| true,
        });
        for entry in told {
            sum += increase(shown.get(&entry.tenant).copied(), entry.stats.queries);
        }
        prop_assert_eq!(sum, world.happened);
    }
}
