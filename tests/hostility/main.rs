//! A hostile day: one attack after the other, against a proxy that serves others all the while.
//!
//! The others get not one error. After each attack the descriptors of the proxy's process are, by
//! themselves, what they were before it; at the end its resident memory is within a tenth of what
//! it was after a warm-up that ran each attack once in small.
//!
//! The short form takes some seconds; `TENANTRY_HOSTILITY=full` is the long one, a million first
//! packets and ten thousand silent connections among it (`TENANTRY_PACKETS` is another number).
//! `TENANTRY_HOSTILITY_SEED` is the seed of an earlier run: what is sent follows from it, its
//! order among connections does not. `TENANTRY_HOSTILITY_ONLY` names one attack. What it lacks:
//! hosts that vanish without a word, which takes a network that can be cut.
#![allow(
    unreachable_pub,
    reason = "the support is shared with the integration tests"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a test and its support fail by panicking"
)]

mod floods;
mod garbage;
mod good;
mod packets;
#[path = "../it/auth/pki.rs"]
mod pki;
mod servers;
mod shortage;
mod slow;
mod streams;
#[path = "../it/support/mod.rs"]
mod support;
mod wire;
mod world;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use good::{Good, Relogin};
use support::process::{Line, ProxyProcess};
use world::{GOOD, World};

/// Clients that keep to the rules.
const GOOD_CLIENTS: usize = 6;

/// How long the proxy may take to come to rest after an attack.
const REST: Duration = Duration::from_secs(60);

/// An attack of a size; returns the size, as it came to be.
type Attack = fn(&World, u64) -> u64;

/// All attacks, and how large they are: to warm up and then, in the short form and in the long one.
/// What takes its time however small it is, the short form does once.
const ATTACKS: [(&str, Attack, [u64; 4]); 11] = [
    (
        "first packets",
        packets::attack,
        [2_000, 6_000, 50_000, 1_000_000],
    ),
    (
        "garbage later on",
        garbage::attack,
        [96, 240, 1_000, 20_000],
    ),
    ("never speak", slow::silence, [500, 0, 2_000, 10_000]),
    ("a byte a second", slow::trickle, [40, 0, 100, 600]),
    (
        "cancel requests",
        floods::cancels,
        [500, 2_000, 5_000, 100_000],
    ),
    (
        "wrong passwords",
        floods::passwords,
        [500, 1_000, 5_000, 100_000],
    ),
    ("slow readers", streams::readers, [16, 16, 32, 400]),
    ("slow writers", streams::writers, [16, 0, 32, 400]),
    ("half-open peers", streams::halves, [40, 100, 400, 4_000]),
    ("bad servers", servers::attack, [1, 0, 2, 20]),
    ("no descriptors", shortage::attack, [1, 0, 2, 10]),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Short,
    Full,
}

#[test]
fn others_are_served_without_an_error_and_everything_comes_back() {
    let form = match std::env::var("TENANTRY_HOSTILITY").as_deref() {
        Ok("full") => Form::Full,
        _ => Form::Short,
    };
    let seed = number("TENANTRY_HOSTILITY_SEED").unwrap_or_else(rand::random);
    println!("{form:?} form, TENANTRY_HOSTILITY_SEED={seed}");
    let (login_timeout, tick) = match form {
        Form::Short => (Duration::from_secs(2), Duration::from_millis(25)),
        Form::Full => (Duration::from_secs(15), Duration::from_secs(1)),
    };
    let world = World::new(seed, login_timeout, tick);
    good::prepare(&world.good, 2 * GOOD_CLIENTS);
    let good = Good::default();
    thread::scope(|scope| {
        for client in 0..GOOD_CLIENTS {
            let (good, address) = (&good, world.address());
            scope.spawn(move || good.run(address, GOOD, client, Relogin::Often));
        }
        // A failed attack must not leave them running for ever.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            day(&world, &good, form);
        }));
        good.end();
        if let Err(panic) = outcome {
            println!("{}\n{}", world.proxy.tail(), world.evil.log_tail());
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(good.failures(), Vec::<String>::new());
}

/// The warm-up, all attacks, and the look at the memory.
fn day(world: &World, good: &Good, form: Form) {
    support::patience::eventually("they are served", || good.transactions() > 100);
    let (small, large) = match form {
        Form::Short => (0, 1),
        Form::Full => (2, 3),
    };
    println!("{}", Row::HEAD);
    for (name, attack, sizes) in attacks() {
        Row::of(world, good, &format!("({name})"), || {
            attack(world, sizes[small])
        });
    }
    let warm = resting(world, good).1;
    for (name, attack, sizes) in attacks() {
        let count = match (name, form) {
            ("first packets", _) => number("TENANTRY_PACKETS").unwrap_or(sizes[large]),
            _ => sizes[large],
        };
        if count > 0 {
            Row::of(world, good, name, || attack(world, count));
        }
    }
    let deadline = Instant::now() + REST;
    let mut memory = resting(world, good).1;
    while memory * 10 > warm * 11 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(500));
        memory = resting(world, good).1;
    }
    println!("resident: {warm} KiB after the warm-up, {memory} KiB at the end");
    assert_eq!(
        world.proxy.count(Line::Panicked),
        0,
        "{}",
        world.proxy.tail()
    );
    assert!(memory * 10 <= warm * 11, "memory grew by more than a tenth");
}

fn attacks() -> impl Iterator<Item = (&'static str, Attack, [u64; 4])> {
    let only = std::env::var("TENANTRY_HOSTILITY_ONLY").ok();
    ATTACKS
        .into_iter()
        .filter(move |(name, ..)| only.as_deref().is_none_or(|only| only == *name))
}

/// Descriptors and memory while the good clients rest.
fn resting(world: &World, good: &Good) -> (usize, u64) {
    let _held = good.hold();
    (world.proxy.descriptors(), world.proxy.resident())
}

/// What an attack came to.
struct Row;

impl Row {
    const HEAD: &str = "attack                  amount  seconds | of the others: transactions, errors, slowest | descriptors before, most, after | KiB resident before, most, after";

    /// Runs an attack, prints what it came to, and fails where something was left behind.
    fn of(world: &World, good: &Good, name: &str, attack: impl FnOnce() -> u64) {
        let (descriptors, memory) = resting(world, good);
        let (done, failed) = (good.transactions(), good.failures().len());
        good.take_slowest();
        let begin = Instant::now();
        let (amount, most) = watched(&world.proxy, attack);
        let seconds = begin.elapsed().as_secs_f64();
        let slowest = good.take_slowest();
        let after = comes_back(world, good, descriptors);
        let (others, errors) = (good.transactions() - done, good.failures().len() - failed);
        println!(
            "{name:22} {amount:>7} {seconds:>8.1} | {others:>7} {errors:>3} {slowest:>9.1?} | {descriptors:>6} {:>6} {:>6} | {memory:>7} {:>7} {:>7}",
            most.0, after.0, most.1, after.1
        );
        assert!(others > 0, "{name}: the others were not served");
        assert_eq!(good.failures(), Vec::<String>::new(), "{name}");
        assert!(
            after.0 <= descriptors,
            "{name}: {} descriptors, {descriptors} before",
            after.0
        );
    }
}

/// Runs an attack; returns also the most descriptors and memory that were seen.
fn watched(proxy: &ProxyProcess, attack: impl FnOnce() -> u64) -> (u64, (usize, u64)) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = (0, 0);
            while !over.load(Ordering::Acquire) {
                most.0 = most.0.max(proxy.descriptors());
                most.1 = most.1.max(proxy.resident());
                thread::sleep(Duration::from_millis(200));
            }
            most
        });
        let amount = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attack));
        over.store(true, Ordering::Release);
        let most = watcher.join().expect("it only looks");
        match amount {
            Ok(amount) => (amount, most),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Waits until the descriptors are what they were; what is there then, or at the end of patience.
fn comes_back(world: &World, good: &Good, before: usize) -> (usize, u64) {
    let deadline = Instant::now() + REST;
    loop {
        let now = resting(world, good);
        if now.0 <= before || Instant::now() > deadline {
            return now;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
