//! Random sequences of everything that leaves state in a session, through a pool of two server
//! connections and on direct connections: every reply is the same.
//!
//! Four sessions say 24 statements or more each sequence, interleaved, most of it in a pool that
//! gives each next transaction of a session another server connection. Compared are all messages:
//! rows and their descriptions, command tags, errors and notices with all their fields,
//! ParameterStatus, transaction status, what a login reports. What differs is made as short as it
//! can be and printed with both replies.
//!
//! | variable | is |
//! | --- | --- |
//! | `TENANTRY_SEQUENCES` | how many sequences; 20000 is the long form |
//! | `TENANTRY_SEED` | number of the first one (1) |
//! | `TENANTRY_KINDS` | only these kinds of statements (`set,role,observe,transaction`), or all but these (`-temp,-role`), see `kinds.rs` and `texts.rs` |
//! | `TENANTRY_POOL` | server connections of the pool (2); with 4 a session that is pinned without need makes nobody wait |
//! | `TENANTRY_THREADS` | sequences at a time |
//! | `TENANTRY_DIFFERENCES` | stop after so many different ones (1) |
//!
//! One session of a third of the sequences does what pins; it counts as keeping its server
//! connection for as long as it has something that others must not see, or until it leaves where
//! that cannot be asked. A session that keeps one without need makes another one wait, in vain: that is
//! a difference. `TENANTRY_KINDS=-unpin` lets pins last until their session leaves.
//!
//! Differences that are allowed, since they cannot be avoided:
//!
//! - A custom setting that another session used on the same server connection is empty where a
//!   direct connection says NULL or that there is no such parameter: PostgreSQL never forgets a
//!   name. NULL, empty and unknown are taken for the same where a direct connection has no value.
//! - `currval` and `lastval` in a later transaction; `pg_prepared_statements`: not asked.
//! - Where in the server's code a statement of a failed transaction was refused (25P02).
//! - RESET beside other statements in one query, by a session with startup parameters: up to the
//!   end of its transaction it sees the server's values. Not said.
//! - Describe of a statement in a failed transaction, on a server connection that does not have it.
//! - "cached plan must not change result type" outside of a transaction, where the client has not had
//!   the statement described: it may be parsed anew elsewhere.
//! - Process ids, numbers of temporary schemas and of tables, names of the databases.
#![allow(
    clippy::unwrap_used,
    reason = "a test and its support fail by panicking"
)]
#![allow(
    unreachable_pub,
    reason = "what the support offers is public within this program only"
)]

#[path = "../it/support/mod.rs"]
mod support;

mod compare;
mod dice;
mod generate;
mod kinds;
mod run;
mod sequence;
mod shrink;
mod sweep;
mod texts;
mod world;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kinds::{KINDS, Kind};
use run::{Counts, Difference, Pair, run};
use sequence::{Sequence, Step};
use world::Database;

/// Sequences of `make test`.
const SHORT: u64 = 100;
/// Between two lines about the progress.
const PROGRESS: Duration = Duration::from_secs(10);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What is to be done, and what has been.
struct Work {
    kinds: Vec<Kind>,
    first: u64,
    end: u64,
    next: AtomicU64,
    most: usize,
    pool: usize,
    started: Instant,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    counts: Counts,
    told: Duration,
    /// By how they differ and what was said last.
    differences: BTreeSet<String>,
}

#[test]
fn random_sequences_are_as_on_direct_connections() {
    let first = number("TENANTRY_SEED").unwrap_or(1);
    let sequences = number("TENANTRY_SEQUENCES").unwrap_or(SHORT);
    let work = Work {
        kinds: kinds_wanted(),
        first,
        end: first + sequences,
        next: AtomicU64::new(first),
        most: count("TENANTRY_DIFFERENCES", 1),
        pool: count("TENANTRY_POOL", 2),
        started: Instant::now(),
        done: Mutex::default(),
    };
    let cluster = world::server();
    thread::scope(|scope| {
        for thread in 0..count("TENANTRY_THREADS", 3) {
            let mut pair = Pair {
                direct: Database::create(cluster, &format!("differential_direct{thread}")),
                pooled: Database::create(cluster, &format!("differential_pooled{thread}")),
                size: work.pool,
                acquire_timeout: 2000,
            };
            let work = &work;
            scope.spawn(move || work.run(&mut pair));
        }
    });
    work.end();
}

/// Whatever is carried pins nobody.
#[test]
fn statements_that_are_carried_keep_no_server_connection() {
    let cluster = world::server();
    let mut pair = Pair {
        direct: Database::create(cluster, "differential_direct"),
        pooled: Database::create(cluster, "differential_pooled"),
        size: 2,
        acquire_timeout: 0,
    };
    let pinned = sweep::pinned(&mut pair, &kinds_wanted());
    for (text, ways) in &pinned {
        println!("{text} ({})", ways.join(", "));
    }
    assert!(pinned.is_empty(), "{} statements, see above", pinned.len());
}

fn count(name: &str, default: usize) -> usize {
    number(name).map_or(default, |n| usize::try_from(n).expect("not that many"))
}

/// All kinds, or those of `TENANTRY_KINDS`.
fn kinds_wanted() -> Vec<Kind> {
    let Ok(text) = std::env::var("TENANTRY_KINDS") else {
        return KINDS.to_vec();
    };
    let named: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|n| !n.is_empty())
        .collect();
    for name in &named {
        let name = name.trim_start_matches('-');
        assert!(
            KINDS.iter().any(|k| k.name == name),
            "there is no kind {name:?}"
        );
    }
    let without = named.iter().all(|n| n.starts_with('-'));
    let is_named = |kind: &Kind| named.iter().any(|n| n.trim_start_matches('-') == kind.name);
    KINDS
        .iter()
        .filter(|k| is_named(k) != without)
        .copied()
        .collect()
}

impl Work {
    fn run(&self, pair: &mut Pair) {
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end || self.done().differences.len() >= self.most {
                return;
            }
            let sequence = generate::sequence(seed, &self.kinds);
            match run(pair, &sequence) {
                Ok(counts) => self.note(counts),
                Err(difference) => self.differs(pair, sequence, difference),
            }
        }
    }

    fn done(&self) -> std::sync::MutexGuard<'_, Done> {
        self.done.lock().expect("no holder panics")
    }

    fn note(&self, counts: Counts) {
        let mut done = self.done();
        done.counts.add(counts);
        let elapsed = self.started.elapsed();
        if elapsed > done.told + PROGRESS {
            done.told = elapsed;
            println!("{}", self.summary(&done));
        }
    }

    fn differs(&self, pair: &mut Pair, sequence: Sequence, difference: Box<Difference>) {
        let seed = sequence.seed;
        let (sequence, difference) = shrink::shrink(pair, sequence, difference);
        let key = key(&sequence, &difference);
        let text = told(&sequence, &difference);
        let mut done = self.done();
        done.counts.sequences += 1;
        if done.differences.insert(key) {
            println!("\nsequence {seed} differs:\n{text}");
        }
    }

    fn summary(&self, done: &Done) -> String {
        let counts = &done.counts;
        let seconds = self.started.elapsed().as_secs_f64();
        let share = 100 * counts.moved / counts.transactions.max(1);
        let rate = counts.statements as f64 / seconds;
        format!(
            "{} sequences of {} in {seconds:.0} s, {} statements ({rate:.0} a second), {} left out, \
             {share}% of {} transactions on another server connection than the one before, \
             {} sessions that pin, {} differences",
            counts.sequences,
            self.end - self.first,
            counts.statements,
            counts.skipped,
            counts.transactions,
            counts.pins,
            done.differences.len()
        )
    }

    fn end(&self) {
        let done = self.done();
        println!("{}", self.summary(&done));
        assert_eq!(done.differences, BTreeSet::new(), "see above");
        let counts = &done.counts;
        // A larger pool has less reason to.
        assert!(
            self.pool > 2 || 2 * counts.moved >= counts.transactions,
            "only {} of {} transactions had another server connection",
            counts.moved,
            counts.transactions
        );
    }
}

/// What makes a difference another one: how replies differ and what was said last, or, where a
/// session waited in vain, what the others said.
fn key(sequence: &Sequence, difference: &Difference) -> String {
    let begins = |text: &String| texts::BEGIN.iter().any(|begin| text.contains(begin));
    let mut said: Vec<String> = sequence.steps.iter().map(Step::said).collect();
    let last = said.pop().unwrap_or_default();
    if difference.is_wait() {
        said.retain(|text| !begins(text));
        return format!("waits beside{}", said.join(""));
    }
    format!("{} after{last}", difference.signature)
}

/// The sequence and both replies to its last step; of long ones, what differs.
fn told(sequence: &Sequence, difference: &Difference) -> String {
    let (direct, pooled) = (&difference.direct, &difference.pooled);
    let lines = |own: &[String], other: &[String]| {
        let short = own.len() <= 8;
        let shown = |(at, line): (usize, &String)| {
            let differs = other.get(at) != Some(line);
            (short || differs).then(|| format!("    {line}\n"))
        };
        own.iter().enumerate().filter_map(shown).collect::<String>()
    };
    format!(
        "{sequence}  direct:\n{}  through the pool:\n{}",
        lines(direct, pooled),
        lines(pooled, direct)
    )
}
