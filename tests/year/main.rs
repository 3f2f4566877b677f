//! A year in an hour: tenants, roles, passwords and clusters appear, change and vanish by reload
//! after reload, under load.
//!
//! Clients of tenants that stay notice nothing, whoever else fails has been changed; at the end
//! the proxy's process has as many descriptors as at its start, and its resident memory is within
//! a tenth of what it was after the warm-up.
//!
//! The short form does some dozens of reloads; `TENANTRY_RELOADS` is another number (5000 is a
//! year). `TENANTRY_YEAR_SEED` is the seed of an earlier run: the configurations follow from it,
//! what clients do at which of them does not.
#![allow(
    unreachable_pub,
    reason = "the support is shared with the integration tests"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a test and its support fail by panicking"
)]

mod load;
mod plan;
#[path = "../it/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use load::Load;
use plan::Plan;
use support::postgres::Database;
use support::process::{Line, ProxyProcess};

/// Clients that stay.
const STAYING: usize = 12;

/// Threads of clients that come and go.
const VISITORS: u64 = 6;

/// Reloads of the warm-up.
const WARM_UP: u64 = 100;

/// Visits for each of them: about as many as there are in a year of an hour, of which a hundred
/// reloads take more than a minute. Threads and their heaps, and code, are there only after a while.
const VISITS: u64 = 100;

/// The same in the short form.
const FEW_VISITS: u64 = 10;

/// How long the proxy may take to come to rest at the end.
const REST: Duration = Duration::from_secs(60);

#[test]
fn reloads_without_end_leave_nothing_behind() {
    let reloads = number("TENANTRY_RELOADS").unwrap_or(60);
    let seed = number("TENANTRY_YEAR_SEED").unwrap_or_else(rand::random);
    println!("TENANTRY_RELOADS={reloads} TENANTRY_YEAR_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let databases = (0..=plan::STEADY + plan::COMING).map(|_| Database::fresh());
    let first = Plan::new(databases.collect(), &mut dice);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("proxy.toml");
    write(&file, &first);
    let proxy = ProxyProcess::start(&file);
    let descriptors = proxy.descriptors();
    let load = Load::new(proxy.address(), first);
    let warm = thread::scope(|scope| {
        for client in 0..STAYING {
            let load = &load;
            scope.spawn(move || load.stay(client));
        }
        for visitor in 0..VISITORS {
            let (load, dice) = (&load, StdRng::seed_from_u64(seed ^ (visitor + 1)));
            scope.spawn(move || load.come_and_go(dice));
        }
        // A failed reload must not leave them running for ever.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            year(&proxy, &file, &load, (reloads, dice))
        }));
        load.end();
        outcome
    });
    let warm = warm.unwrap_or_else(|panic| {
        println!("{}", proxy.tail());
        std::panic::resume_unwind(panic)
    });
    println!(
        "{} queries of clients that stay; {} visits, of which a change hit {}",
        load.steady.load(Ordering::Acquire),
        load.visits.load(Ordering::Acquire),
        load.hit.load(Ordering::Acquire)
    );
    assert_eq!(load.failures(), Vec::<String>::new());
    comes_to_rest(&proxy, descriptors, warm);
}

/// From so many reloads on it is the long form.
const LONG: u64 = 1000;

/// In the long form the first hundred reloads come at the pace of a year in an hour, so that what
/// happens now and then has happened once before memory is compared; the others as fast as they may.
const PACE: Duration = Duration::from_millis(720);

/// All reloads; returns the memory after the warm-up.
fn year(proxy: &ProxyProcess, file: &Path, load: &Load, (reloads, mut dice): (u64, StdRng)) -> u64 {
    let warm_up = (reloads / 2).min(WARM_UP);
    let visits = if warm_up < WARM_UP {
        FEW_VISITS
    } else {
        VISITS
    };
    let pace = if reloads < LONG { Duration::ZERO } else { PACE };
    let (begin, mut warm) = (Instant::now(), 0);
    println!("reload  seconds  KiB resident  descriptors");
    for number in 1..=reloads {
        let (next, touched) = load.plan().next(&mut dice);
        load.announce(next.number, touched);
        write(file, &next);
        proxy.hang_up();
        load.wait_for(next);
        if number <= warm_up {
            load.wait_for_visits(number * visits);
            let due = pace * u32::try_from(number).expect("a few");
            thread::sleep(due.saturating_sub(begin.elapsed()));
        }
        if number == warm_up {
            warm = proxy.resident();
        }
        if number == warm_up || number % (reloads / 10).max(1) == 0 {
            let seconds = begin.elapsed().as_secs_f64();
            let (resident, descriptors) = (proxy.resident(), proxy.descriptors());
            println!("{number:6} {seconds:8.1} {resident:13} {descriptors:12}");
        }
        assert_eq!(load.failures(), Vec::<String>::new());
    }
    assert_eq!(proxy.count(Line::NotReloaded), 0, "{}", proxy.tail());
    assert_eq!(proxy.count(Line::Panicked), 0, "{}", proxy.tail());
    warm
}

/// Replaces the file, so that nobody reads half of it.
fn write(file: &Path, plan: &Plan) {
    let new = file.with_extension("new");
    std::fs::write(&new, plan.text()).expect("the configuration is written");
    std::fs::rename(&new, file).expect("it is replaced");
}

/// The clients have gone: descriptors are what they were at the start, memory is what it was.
fn comes_to_rest(proxy: &ProxyProcess, descriptors: usize, warm: u64) {
    let deadline = Instant::now() + REST;
    loop {
        let (now, memory) = (proxy.descriptors(), proxy.resident());
        let rests = now <= descriptors && memory * 10 <= warm * 11;
        if rests || Instant::now() > deadline {
            println!(
                "descriptors: {descriptors} at the start, {now} at the end; \
                 resident: {warm} KiB after the warm-up, {memory} KiB at the end"
            );
            assert!(rests, "something was left behind");
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
