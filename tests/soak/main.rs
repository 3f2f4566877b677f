//! Isolation under load: 20 tenants, 200 clients, everything that can go wrong at once.
//!
//! All clients send a random mix of protocol traffic while server connections are killed from
//! outside, the configuration changes, and clients vanish. Checked all the time: each row carries
//! its tenant's mark and each reply its request's nonce, no session finds another one's state, no
//! cancel hits another query, nothing takes longer than a deadline. Checked at the end: each
//! acknowledged write is there exactly once, each refused one is not, and clients, server
//! connections, permits, descriptors and memory are back where they were.
//!
//! Takes 30 seconds; `TENANTRY_SOAK` is another number of seconds, `TENANTRY_SOAK_SEED` the seed
//! of an earlier run (the mix of each client follows from it, their interleaving does not).

mod actor;
mod disorder;
mod disturb;
mod ledger;
mod setup;
mod traffic;
mod wire;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tenantry::app::App;

use actor::Actor;
use setup::{PERMITS, Variant};

const CLIENTS: usize = 200;
/// How long the proxy may take to come to rest when all clients have gone.
const REST: Duration = Duration::from_secs(30);
/// What memory may grow by after the warm-up, in KiB, besides what the test itself keeps.
const GROWTH: u64 = 64 * 1024;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_crosses_is_lost_doubled_or_leaked_under_mixed_traffic() {
    let seed = number("TENANTRY_SOAK_SEED").unwrap_or_else(rand::random);
    let length = Duration::from_secs(number("TENANTRY_SOAK").unwrap_or(30));
    println!(
        "TENANTRY_SOAK={} TENANTRY_SOAK_SEED={seed}",
        length.as_secs()
    );
    let cluster = setup::server();
    let app =
        Arc::new(App::start(setup::config(&cluster, Variant::FIRST)).expect("the proxy starts"));
    let address = app.tcp_address().expect("it listens on TCP");
    let descriptors = descriptors();
    let end = Instant::now() + length;

    let quiet = Arc::new(AtomicBool::new(false));
    let (actors, warm, disturbed) = thread::scope(|scope| {
        let disturber = scope.spawn(|| disturb::run(&cluster, &app, seed, &quiet));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || Actor::new(number, seed).run(address, end)))
            .collect();
        let warm = scope.spawn(move || {
            thread::sleep(length / 3);
            resident()
        });
        let actors: Vec<Actor> = clients
            .into_iter()
            .map(|c| c.join().expect("a client's thread"))
            .collect();
        quiet.store(true, Ordering::Release);
        let warm = warm.join().expect("a look at the memory");
        (
            actors,
            warm,
            disturber.join().expect("the disturber's thread"),
        )
    });
    let memory = resident();
    report(&actors, &disturbed, warm, memory);

    assert_eq!(failures(&actors, &disturbed), Vec::<String>::new());
    comes_to_rest("clients", || app.clients() == 0);
    comes_to_rest("server connections", || backends(&cluster) == 0);
    comes_to_rest("permits", || {
        app.budget()
            .all()
            .iter()
            .all(|(_, node)| node.taken() == 0 && node.waiting() == 0)
    });
    comes_to_rest("descriptors", || self::descriptors() <= descriptors);
    ledger::check(&cluster, &actors);
    everything_happened(&actors, &disturbed);
    assert!(
        memory < warm + GROWTH,
        "memory grew from {warm} to {memory} KiB"
    );
}

fn failures(actors: &[Actor], disturbed: &disturb::Disturbed) -> Vec<String> {
    let told = actors.iter().flat_map(|a| a.ledger.failures.iter());
    told.chain(&disturbed.failures).take(20).cloned().collect()
}

/// A soak that did not do some kind of work proves nothing about it.
fn everything_happened(actors: &[Actor], disturbed: &disturb::Disturbed) {
    let done = |kind: &str| actors.iter().any(|a| a.ledger.counts.contains_key(kind));
    for (weight, kind, _) in traffic::KINDS {
        let leaves = ["vanish", "cancel too late", "state of a session"].contains(kind);
        assert!(
            *weight < 10 || leaves || done(kind),
            "no client came to do: {kind}"
        );
    }
    assert!(done("sessions left by the client") && disturbed.killed > 0 && disturbed.reloads > 0);
}

fn report(actors: &[Actor], disturbed: &disturb::Disturbed, warm: u64, memory: u64) {
    let mut counts = std::collections::BTreeMap::new();
    for (what, count) in actors.iter().flat_map(|a| &a.ledger.counts) {
        *counts.entry(*what).or_insert(0) += count;
    }
    for (what, count) in counts {
        println!("{count:9} {what}");
    }
    let sum = |of: fn(&Actor) -> usize| actors.iter().map(of).sum::<usize>();
    println!(
        "{:9} writes acknowledged",
        sum(|a| a.ledger.acknowledged.len())
    );
    println!("{:9} writes refused", sum(|a| a.ledger.refused.len()));
    println!(
        "{:9} server connections killed, {} reloads, at most {} server connections of {PERMITS}",
        disturbed.killed, disturbed.reloads, disturbed.most
    );
    println!("{memory:9} KiB resident at the end, {warm} KiB after a third");
}

/// Waits until something holds, or fails.
fn comes_to_rest(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + REST;
    while !holds() {
        assert!(
            Instant::now() < deadline,
            "{what} did not come back to what they were"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

fn backends(cluster: &tenantry::demo::cluster::Cluster) -> usize {
    let sql = "select count(*) from pg_stat_activity where usename ~ '^t[0-9]'";
    cluster
        .psql("postgres", sql)
        .expect("a count")
        .parse()
        .expect("a number")
}

/// Open descriptors of this process.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("Linux").count()
}

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .expect("VmRSS");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}
