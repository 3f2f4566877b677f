//! Refusals take the same time whatever the reason: 1,000 tries of each name that is unknown, as many
//! of a known one as of all those together, in random order, so that the load of the machine falls on
//! all of them alike.
//!
//! The statistic is the probability that a try of one kind takes longer than one of the other
//! (Mann and Whitney): a half where the two cannot be told apart, with a standard deviation of
//! 0.010 to 0.013 for so many; and it looks at ranks, so that outliers count for little.
//!
//! A program of its own, so that nothing else runs at the same time: what is at work in the proxy for
//! others is no part of what is measured.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "client and world are shared with the integration tests"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a test and its support fail by panicking"
)]

#[path = "../it/auth/client.rs"]
mod client;
#[path = "../it/auth/login.rs"]
mod login;
#[path = "../it/auth/pki.rs"]
mod pki;
#[path = "../it/auth/world.rs"]
mod world;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use client::{Address, Wire};
use login::{Login, log_in};
use world::{Method, Mode, Proxy};

/// One measurement at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Tries of each name that is unknown.
const TRIES: usize = 1_000;
/// How far from a half is still taken for chance: nearly four standard deviations, or more.
const TOLERANCE: f64 = 0.05;
/// Chance may strike once, not always: each time another proxy is measured, whose threads, memory and
/// hash tables are others.
const REPEATS: usize = 3;

/// Random enough for an order.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    fn shuffle(&mut self, items: &mut [usize]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// How long each answer of the proxy took, counted from the one before.
fn one_try(address: &Address, login: &Login<'_>) -> Vec<Duration> {
    let wire = Wire::plain(address).unwrap();
    let mut asked = Instant::now();
    let attempt = log_in(wire, login).unwrap();
    assert!(attempt.is_login_failure());
    let since = |heard: &Instant| *heard - std::mem::replace(&mut asked, *heard);
    attempt.heard.iter().map(since).collect()
}

/// Times of each answer to each login: `[login][answer][try]`. The first, whose name is known, is tried
/// as often as all others together: they share what is done for a name that is not, and the caches of
/// the processor must not know one of the two better.
fn measure(address: &Address, logins: &[Login<'_>], tries: usize) -> Vec<Vec<Vec<Duration>>> {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut order: Vec<usize> = (1..logins.len()).flat_map(|other| [0, other]).collect();
    let mut times = vec![Vec::new(); logins.len()];
    for _ in 0..tries {
        dice.shuffle(&mut order);
        for at in &order {
            let took = one_try(address, &logins[*at]);
            times[*at].resize(took.len(), Vec::with_capacity(tries));
            for (answer, took) in took.into_iter().enumerate() {
                times[*at][answer].push(took);
            }
        }
    }
    times
}

/// How probable it is that a value of `left` is greater than one of `right`.
fn dominance(left: &[Duration], right: &[Duration]) -> f64 {
    let mut sorted = right.to_vec();
    sorted.sort_unstable();
    let halves = |value: &Duration| {
        let below = sorted.partition_point(|other| other < value);
        below + sorted.partition_point(|other| other <= value)
    };
    let sum: usize = left.iter().map(halves).sum();
    let pairs = 2 * left.len() * right.len();
    f64::from(u32::try_from(sum).unwrap()) / f64::from(u32::try_from(pairs).unwrap())
}

/// Each answer to each login against that to the first one; what differs in each of [`REPEATS`]
/// measurements fails.
fn cannot_be_told_apart(method: Method, logins: &[Login<'_>]) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut seen = Vec::new();
    for _ in 0..REPEATS {
        let proxy = Proxy::start(Mode::Allow, "secret = \"salts\"", "");
        let address = proxy.tcp(method);
        let _warm = measure(address, logins, 20);
        let times = measure(address, logins, TRIES);
        let against_first = |other: &Vec<Vec<Duration>>| -> Vec<f64> {
            let pairs = other.iter().zip(&times[0]);
            pairs
                .map(|(other, first)| dominance(other, first))
                .collect()
        };
        let against_first: Vec<_> = times[1..].iter().map(against_first).collect();
        if against_first
            .iter()
            .flatten()
            .all(|p| (p - 0.5).abs() < TOLERANCE)
        {
            return;
        }
        seen.push(against_first);
    }
    let users: Vec<_> = logins.iter().map(|l| (l.user, l.database)).collect();
    panic!("{method:?}: {users:?} differ from the first by {seen:.3?}");
}

/// All of one shape, so that nothing differs but what the proxy makes of them.
fn attempt(user: &'static str, database: &'static str) -> Login<'static> {
    Login::new(user, "").database(database).made_proof()
}

#[test]
fn scram_takes_the_same_time_for_known_and_unknown_names() {
    let logins = [
        attempt("app.acme", "tenant_acme"),
        attempt("ape.acme", "tenant_acme"),
        attempt("app.acne", "tenant_acne"),
        attempt("app.acme", "tenant_acne"),
        attempt("app.acme", "tenant_hool"),
    ];
    cannot_be_told_apart(Method::Scram, &logins);
}

#[test]
fn md5_takes_the_same_time_for_known_and_unknown_names() {
    let logins = [
        attempt("app.acme", "tenant_acme"),
        attempt("ape.acme", "tenant_acme"),
        attempt("app.acne", "tenant_acne"),
    ];
    cannot_be_told_apart(Method::Md5, &logins);
}

#[test]
fn the_statistic_sees_a_shift() {
    let mut dice = Dice(42);
    let mut noise = |shift: u64| -> Vec<Duration> {
        let times = (0..TRIES).map(|_| u64::try_from(dice.below(1_000)).unwrap() + shift);
        times.map(Duration::from_micros).collect()
    };
    let (same, again, shifted) = (noise(0), noise(0), noise(100));
    assert!((dominance(&same, &again) - 0.5).abs() < TOLERANCE);
    assert!(dominance(&shifted, &same) > 0.5 + TOLERANCE);
    assert!(
        (dominance(&same, &same) - 0.5).abs() < 1e-9,
        "ties count for both"
    );
}
