//! Read-your-writes: each client writes over one connection and reads over another one, or over the
//! same, while the replay of one replica is stopped, delayed and let go on at random.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tenantry::demo::cluster::Cluster;

use crate::support::frames::Frames;
use crate::support::replicas::{Routed, Trio};
use crate::world::{World, alone, full, seed};

/// Clients, each with two connections.
const CLIENTS: usize = 50;

/// Of the reads, while no replica is held up.
const SHARE: u64 = 80;

/// What is counted, while nothing is held up and while something is.
#[derive(Debug, Default)]
struct Reads {
    all: AtomicU64,
    at_replicas: AtomicU64,
    stale: AtomicU64,
}

impl Reads {
    fn note(&self, at_replica: bool, stale: bool) {
        self.all.fetch_add(1, Ordering::Relaxed);
        self.at_replicas
            .fetch_add(u64::from(at_replica), Ordering::Relaxed);
        self.stale.fetch_add(u64::from(stale), Ordering::Relaxed);
    }

    /// In per cent, of the replicas.
    fn share(&self) -> u64 {
        self.at_replicas.load(Ordering::Relaxed) * 100 / self.all.load(Ordering::Relaxed).max(1)
    }
}

/// What the clients and who holds up the replicas know of each other.
struct Run {
    /// Odd: a replica is held up. It changes whenever that does.
    epoch: AtomicUsize,
    running: AtomicBool,
    calm: Reads,
    held_up: Reads,
    /// The last number that each client was told to be written.
    written: Vec<AtomicU64>,
}

/// Which writes a read is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Those of the client, over its other connection, and of any other client.
    Tenant,
    /// Those of the client, over the same connection.
    Session,
}

#[test]
fn no_read_misses_a_write_while_a_replica_is_held_up() {
    let _alone = alone();
    let seed = seed();
    let trio = Trio::start(&[]);
    for (consistency, of) in [
        ("tenant", Of::Tenant),
        ("session", Of::Session),
        ("eventual", Of::Tenant),
    ] {
        let run = read_and_write(&trio, consistency, of, seed);
        let stale = [&run.calm, &run.held_up].map(|reads| reads.stale.load(Ordering::Relaxed));
        println!(
            "{consistency}: {} reads, {} % of them by replicas; {} more while one was held up, {} %; stale: {}, {}",
            run.calm.all.load(Ordering::Relaxed),
            run.calm.share(),
            run.held_up.all.load(Ordering::Relaxed),
            run.held_up.share(),
            stale[0],
            stale[1],
        );
        if consistency == "eventual" {
            assert!(stale[1] > 0, "the test could not fail");
            continue;
        }
        assert_eq!(stale, [0, 0], "{consistency}");
        assert!(
            run.calm.share() >= SHARE,
            "{consistency}: {}",
            run.calm.share()
        );
    }
}

fn read_and_write(trio: &Trio, consistency: &str, of: Of, seed: u64) -> Run {
    let routing = format!("consistency = '{consistency}'");
    let world = World::new(trio, &routing, "size = 20", &trio.cluster(""));
    let mut first = world.client();
    first
        .0
        .query("CREATE TABLE t (k int PRIMARY KEY, n bigint)");
    first.0.query(&format!(
        "INSERT INTO t SELECT k, 0 FROM generate_series(0, {CLIENTS}) k"
    ));
    trio.catch_up();
    world.awaits(&trio.ports());
    let run = Run {
        epoch: AtomicUsize::new(0),
        running: AtomicBool::new(true),
        calm: Reads::default(),
        held_up: Reads::default(),
        written: (0..CLIENTS).map(|_| AtomicU64::new(0)).collect(),
    };
    let rounds = if full() { 20_000 } else { 2_000 } / CLIENTS as u64;
    std::thread::scope(|scope| {
        let disturber = scope.spawn(|| disturb(trio, &run, seed));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (world, run) = (&world, &run);
                scope.spawn(move || {
                    let mut dice = StdRng::seed_from_u64(seed ^ number as u64);
                    let mut pair = (world.client(), world.client());
                    for round in 1..=rounds {
                        one_round(
                            run,
                            of,
                            (trio.primary.port(), number),
                            &mut pair,
                            round,
                            &mut dice,
                        );
                    }
                })
            })
            .collect();
        let outcomes: Vec<_> = clients
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        run.running.store(false, Ordering::Release);
        disturber.join().expect("the replicas can be held up");
        for outcome in outcomes {
            outcome.expect("a client is served");
        }
    });
    run
}

/// A write, and a read that must see it.
#[expect(
    clippy::too_many_arguments,
    reason = "a round of one run, by one client"
)]
fn one_round(
    run: &Run,
    of: Of,
    (primary, number): (u16, usize),
    (writer, reader): &mut (Routed, Routed),
    round: u64,
    dice: &mut StdRng,
) {
    let extended = number % 2 == 1;
    let form = |sql: &str| match extended {
        true => Frames::default().run(sql).sync(),
        false => Frames::default().query(sql),
    };
    let reply = writer.0.ask(&form(&format!(
        "UPDATE t SET n = {round} WHERE k = {number}"
    )));
    assert_eq!(reply.commands(), ["UPDATE 1"], "{reply:?}");
    run.written[number].store(round, Ordering::Release);
    let reader = match of {
        Of::Tenant => reader,
        Of::Session => writer,
    };
    // Every third time what another client has written.
    let whose = match of {
        Of::Tenant if dice.random_ratio(1, 3) => dice.random_range(0..CLIENTS),
        _ => number,
    };
    let (epoch, written) = (
        run.epoch.load(Ordering::Acquire),
        run.written[whose].load(Ordering::Acquire),
    );
    reader.0.ask(&form("BEGIN READ ONLY"));
    let served = reader.ask(&form(&format!("SELECT n FROM t WHERE k = {whose}")));
    reader.0.ask(&form("COMMIT"));
    let seen: u64 = served.reply.one().parse().unwrap();
    let calm = epoch % 2 == 0 && run.epoch.load(Ordering::Acquire) == epoch;
    let reads = if calm { &run.calm } else { &run.held_up };
    reads.note(served.port != primary, seen < written);
}

/// Holds one replica up, lets it catch up, leaves it alone, and so on; at least twice.
fn disturb(trio: &Trio, run: &Run, seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut turns = 0;
    while run.running.load(Ordering::Acquire) {
        let replica = &trio.replicas[dice.random_range(0..2)];
        run.epoch.fetch_add(1, Ordering::AcqRel);
        if turns % 2 == 0 {
            replica.pause_replay().unwrap();
            pass(run, dice.random_range(50..400));
            replica.resume_replay().unwrap();
        } else {
            delay(replica, &format!("{}ms", dice.random_range(20..300)));
            pass(run, dice.random_range(50..400));
            delay(replica, "0");
        }
        trio.one_catches_up(replica);
        run.epoch.fetch_add(1, Ordering::AcqRel);
        pass(run, dice.random_range(200..600));
        turns += 1;
    }
}

fn delay(replica: &Cluster, time: &str) {
    let sql =
        format!("ALTER SYSTEM SET recovery_min_apply_delay = '{time}';\nSELECT pg_reload_conf();");
    replica.psql("postgres", &sql).unwrap();
}

/// Lets time pass, in milliseconds, unless all is over.
fn pass(run: &Run, time: u64) {
    let end = Instant::now() + Duration::from_millis(time);
    while Instant::now() < end && run.running.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(5));
    }
}
