//! A replica in trouble: what it costs the clients whose reads it was to serve.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tenantry::demo::cluster::Mode;

use crate::relay::Relay;
use crate::support::client::Client;
use crate::support::frames::Frames;
use crate::support::patience::eventually;
use crate::support::replicas::Trio;
use crate::world::{World, alone, full};

/// Clients that read.
const CLIENTS: usize = 8;

/// `connect_timeout`, `consistency_wait` and `probe_interval`, all as they are by default.
const MOST: Duration = Duration::from_millis(2_000 + 50 + 500);

/// What the clients have met with.
#[derive(Debug, Default)]
struct Met {
    over: AtomicBool,
    reads: AtomicU64,
    worst: Mutex<Duration>,
    failed: Mutex<Vec<String>>,
}

impl Met {
    /// Reads, one transaction after the other.
    fn read(&self, world: &World) {
        let mut client = Client::connect(world.address(), &world.database.name, &[]).unwrap();
        while !self.over.load(Ordering::Acquire) {
            let begin = Instant::now();
            for sql in ["BEGIN READ ONLY", "SELECT count(*) FROM t", "COMMIT"] {
                if let Err(error) = client.try_rows(&Frames::default().query(sql)) {
                    self.failed.lock().unwrap().push(format!("{sql}: {error}"));
                    client = Client::connect(world.address(), &world.database.name, &[]).unwrap();
                    break;
                }
            }
            let mut worst = self.worst.lock().unwrap();
            *worst = (*worst).max(begin.elapsed());
            self.reads.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// One that writes now and then, so that reads need what was just written.
    fn write(&self, world: &World) {
        let mut client = Client::connect(world.address(), &world.database.name, &[]).unwrap();
        while !self.over.load(Ordering::Acquire) {
            client.query("INSERT INTO t VALUES (1)");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs the clients through a time of trouble, and tells what a read cost at most.
fn under(world: &World, what: &str, trouble: impl FnOnce(&dyn Fn())) {
    let met = Met::default();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| met.read(world));
        }
        scope.spawn(|| met.write(world));
        let on = || {
            let before = met.reads.load(Ordering::Acquire);
            eventually("reads are served", || {
                met.reads.load(Ordering::Acquire) > before + 100
            });
        };
        on();
        trouble(&on);
        met.over.store(true, Ordering::Release);
    });
    let (worst, failed) = (
        *met.worst.lock().unwrap(),
        met.failed.lock().unwrap().clone(),
    );
    println!(
        "{what}: {} reads, the slowest took {worst:?}, {} failed",
        met.reads.load(Ordering::Acquire),
        failed.len()
    );
    assert!(worst <= MOST, "{what}: {worst:?}");
    // What had been answered in part is lost with a server that dies; nothing else is.
    assert!(
        failed
            .iter()
            .all(|e| e.contains("08006") || e.contains("57P01")),
        "{what}: {failed:?}"
    );
}

/// Trouble of this length, which is longer than it takes to be noticed.
fn lasts() {
    std::thread::sleep(Duration::from_secs(if full() { 10 } else { 3 }));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one trouble after the other")]
fn a_replica_in_trouble_costs_a_client_no_more_than_its_limits() {
    let _alone = alone();
    let trio = Trio::start(&[]);
    let relays = trio.ports().map(Relay::start);
    let list = format!(
        "['127.0.0.1:{}', '127.0.0.1:{}']",
        relays[0].port(),
        relays[1].port()
    );
    let world = World::new(&trio, "", "size = 10", &trio.cluster_of(&list, ""));
    let mut client = world.client();
    client.0.query("CREATE TABLE t (a int)");
    trio.catch_up();
    let both = [relays[0].port(), relays[1].port()];
    world.awaits(&both);

    under(&world, "none", |on| on());
    under(&world, "a replica hangs with all connections open", |on| {
        let frozen = trio.replicas[0].freeze().unwrap();
        lasts();
        on();
        drop(frozen);
    });
    world.awaits(&both);
    under(
        &world,
        "a replica is not reached: connections are taken and nothing is said",
        |on| {
            relays[0].hangs();
            world.console("RECONNECT");
            lasts();
            on();
            relays[0].passes();
        },
    );
    world.awaits(&both);
    under(&world, "a replica refuses", |on| {
        relays[0].refuses();
        lasts();
        on();
        relays[0].passes();
    });
    world.awaits(&both);
    under(&world, "a replica answers slowly", |on| {
        relays[0].delays(Duration::from_millis(200));
        lasts();
        on();
        relays[0].passes();
    });
    world.awaits(&both);
    under(
        &world,
        "a replica answers more slowly than may be waited for",
        |on| {
            relays[0].delays(Duration::from_secs(5));
            lasts();
            on();
            relays[0].passes();
        },
    );
    world.awaits(&both);
    under(&world, "replay stands still", |on| {
        trio.replicas[0].pause_replay().unwrap();
        lasts();
        on();
        trio.replicas[0].resume_replay().unwrap();
    });
    world.awaits(&both);
    under(&world, "replay stands still at both", |on| {
        for replica in &trio.replicas {
            replica.pause_replay().unwrap();
        }
        lasts();
        on();
        for replica in &trio.replicas {
            replica.resume_replay().unwrap();
        }
    });
    world.awaits(&both);
    under(&world, "a replica restarts", |on| {
        trio.replicas[0].restart().unwrap();
        on();
    });
    world.awaits(&both);
    under(&world, "a replica crashes", |on| {
        trio.replicas[0].stop(Mode::Immediate).unwrap();
        on();
        trio.replicas[0].restart().unwrap();
        on();
    });
    world.awaits(&both);
}
