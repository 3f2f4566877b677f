//! A primary that dies and a replica that takes its place, and a switchover that nobody notices.

use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tenantry::demo::cluster::{Cluster, Mode};

use crate::load::{Fate, Load};
use crate::support::client::Client;
use crate::support::patience::eventually;
use crate::support::replicas::Trio;
use crate::world::{World, alone, full};

/// Clients that keep account.
const WRITERS: usize = 12;

/// How long writes may take to be taken again.
const RESUMED: Duration = Duration::from_secs(2);

/// What a client may be told in the course of a failover.
const CODES: [&str; 5] = ["08006", "08007", "57P01", "57P03", "53300"];

/// How long there is load before something happens, and after it.
fn phase() -> Duration {
    Duration::from_secs(if full() { 15 } else { 2 })
}

/// Waits until so many more rows are acknowledged, and for the time of a phase.
fn under_load(load: &Load) {
    let before = load.acknowledged();
    eventually("rows are acknowledged", || {
        load.acknowledged() > before + 50
    });
    std::thread::sleep(phase());
}

/// A script of pgbench's: what it does besides the clients that keep account.
const SCRIPT: &str = "BEGIN;\nINSERT INTO bench VALUES (1);\nCOMMIT;\nBEGIN READ ONLY;\nSELECT count(*) FROM pg_class;\nCOMMIT;\nUPDATE one SET n = n + 1 WHERE k = :client_id;\n";

/// pgbench, until it has lost all of its clients or is told to end.
fn pgbench(world: &World, files: &tempfile::TempDir, protocol: &str, seconds: u64) -> Child {
    let script = files.path().join("script.sql");
    std::fs::write(&script, SCRIPT).expect("the script is written");
    let log = std::fs::File::create(log_of(files, protocol)).expect("a file of the test");
    let address = world.address();
    let tenant = &world.database.name;
    Command::new("pgbench")
        .args(["-n", "-c", "4", "-j", "1", "-M", protocol, "-f"])
        .arg(&script)
        .args([
            "-T",
            &seconds.to_string(),
            "-h",
            "127.0.0.1",
            "-p",
            &address.port().to_string(),
        ])
        .args(["-U", &format!("app.{tenant}"), tenant])
        .env("PGPASSWORD", Client::PASSWORD)
        .stdout(log.try_clone().expect("a file of the test"))
        .stderr(log)
        .spawn()
        .expect("pgbench is installed")
}

/// Where it says what it does: it is told of each transaction who has served it, more than a pipe
/// holds that nobody reads.
fn log_of(files: &tempfile::TempDir, protocol: &str) -> std::path::PathBuf {
    files.path().join(format!("{protocol}.log"))
}

/// What it has said, but for who has served.
fn said(files: &tempfile::TempDir, protocol: &str) -> String {
    let said = std::fs::read_to_string(log_of(files, protocol)).expect("it has a log");
    let lines = said.lines().filter(|line| !line.starts_with("NOTICE:"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn prepare(trio: &Trio, routing: &str) -> World {
    let world = World::new(trio, routing, "size = 15", &trio.cluster(""));
    let mut client = world.client();
    for sql in [
        // No key: a row that is written twice is there twice.
        "CREATE TABLE acks (id bigint)",
        "CREATE TABLE bench (a int)",
        "CREATE TABLE one AS SELECT k, 0 AS n FROM generate_series(0, 3) k",
    ] {
        assert_eq!(client.0.query(sql).errors(), [""; 0]);
    }
    trio.catch_up();
    world.awaits(&trio.ports());
    world
}

/// Makes a replica one that each commit waits for.
fn synchronous(primary: &Cluster, replica: &Cluster) {
    let set = |server: &Cluster, name: &str, value: &str| {
        let sql = format!(
            "ALTER SYSTEM SET {name} = '{}';\nSELECT pg_reload_conf();",
            value.replace('\'', "''")
        );
        server.psql("postgres", &sql).unwrap();
    };
    let now = replica.psql("postgres", "SHOW primary_conninfo").unwrap();
    set(
        replica,
        "primary_conninfo",
        &format!("{now} application_name=chosen"),
    );
    set(primary, "synchronous_standby_names", "chosen");
    eventually("the replica is synchronous", || {
        let sql = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        primary.psql("postgres", sql).unwrap() == "1"
    });
}

/// Kills a server and all of its processes at once.
fn kill_all(server: &Cluster) {
    let postmaster = server.pid().expect("it runs").to_string();
    let listed = Command::new("ps")
        .args(["-A", "-o", "ppid=,pid="])
        .output()
        .expect("ps is there");
    let listed = String::from_utf8_lossy(&listed.stdout);
    let children = listed.lines().filter_map(|line| {
        let (parent, process) = line.trim().split_once(char::is_whitespace)?;
        (parent == postmaster)
            .then(|| process.trim().parse::<i32>().ok())
            .flatten()
    });
    let own = postmaster.parse::<i32>().ok();
    for process in own.into_iter().chain(children) {
        // It may have ended by itself.
        let _gone = kill(Pid::from_raw(process), Signal::SIGKILL);
    }
    server.kill9().unwrap();
}

/// How often each row is there.
fn rows(server: &Cluster, database: &str) -> BTreeMap<u64, u64> {
    let rows = server
        .psql(database, "SELECT id, count(*) FROM acks GROUP BY 1")
        .unwrap();
    let pair = |line: &str| {
        let (id, count) = line.split_once('|').unwrap();
        (id.parse().unwrap(), count.parse().unwrap())
    };
    rows.lines().map(pair).collect()
}

/// Holds what clients were told against what is there.
fn hold_against(load: &Load, there: &BTreeMap<u64, u64>) {
    let mut unknown = (0, 0);
    for (id, fate) in load.fates() {
        let count = there.get(&id).copied().unwrap_or_default();
        match fate {
            Fate::Written => assert_eq!(count, 1, "row {id} was acknowledged"),
            Fate::Refused(why) => assert_eq!(count, 0, "row {id} was refused: {why}"),
            Fate::Unknown => {
                assert!(count <= 1, "row {id} is there {count} times");
                unknown = (unknown.0 + 1, unknown.1 + count);
            }
        }
    }
    println!(
        "{} rows acknowledged and there once; of {} in doubt {} are there",
        load.acknowledged(),
        unknown.0,
        unknown.1
    );
}

#[test]
fn a_promoted_replica_takes_the_writes_and_none_is_lost() {
    let _alone = alone();
    let trio = Trio::start(&[]);
    synchronous(&trio.primary, &trio.replicas[0]);
    let world = prepare(&trio, "");
    let database = world.database.name.clone();
    let files = tempfile::tempdir().expect("a temporary directory");
    let load = Load::new();
    std::thread::scope(|scope| {
        let _stops = Stops(&load);
        for client in 0..WRITERS {
            let (load, world) = (&load, &world);
            scope.spawn(move || load.write(world, client));
        }
        let benches = ["simple", "prepared"].map(|p| pgbench(&world, &files, p, 3600));
        let _end = benches.map(Ends);
        under_load(&load);

        kill_all(&trio.primary);
        // All that may have reached it.
        std::thread::sleep(Duration::from_millis(500));
        let last = load.begun();
        trio.replicas[0].promote().unwrap();
        let promoted = Instant::now();
        let back = |client| load.last_of(client).is_some_and(|at| at > promoted);
        eventually("a row is acknowledged again", || (0..WRITERS).any(back));
        let first = promoted.elapsed();
        eventually("each client is served again", || (0..WRITERS).all(back));
        println!(
            "writes resumed {first:?} after the promotion, those of the last client {:?}",
            promoted.elapsed()
        );
        assert!(first < RESUMED, "{first:?}");

        // As it was: whatever reached it would stay there.
        let set = "ALTER SYSTEM SET synchronous_standby_names = ''";
        trio.primary.restart().unwrap();
        trio.primary.psql("postgres", set).unwrap();
        trio.primary
            .psql("postgres", "SELECT pg_reload_conf()")
            .unwrap();
        under_load(&load);
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
        assert_eq!(trio.primary.psql("postgres", &sql).unwrap(), "0");
        let old = rows(&trio.primary, &database);
        let late = old.keys().filter(|id| **id >= last).count();
        assert_eq!(late, 0, "rows at the former primary");
        load.stop();
    });
    println!("clients were told: {:?}", load.codes());
    hold_against(&load, &rows(&trio.replicas[0], &database));
    for code in load.codes().keys() {
        assert!(CODES.contains(&code.as_str()), "a client was told {code}");
    }
}

#[test]
fn a_switchover_in_a_pause_is_not_noticed() {
    let _alone = alone();
    let trio = Trio::start(&[]);
    let world = prepare(&trio, "");
    let database = world.database.name.clone();
    let files = tempfile::tempdir().expect("a temporary directory");
    let load = Load::new();
    let length = phase().as_secs() * 2 + 8;
    let benches = std::thread::scope(|scope| {
        let _stops = Stops(&load);
        for client in 0..WRITERS {
            let (load, world) = (&load, &world);
            scope.spawn(move || load.write(world, client));
        }
        let benches = ["simple", "prepared"].map(|p| pgbench(&world, &files, p, length));
        under_load(&load);

        let begin = Instant::now();
        world.console("PAUSE CLUSTER main");
        trio.primary.stop(Mode::Fast).unwrap();
        trio.replicas[0].promote().unwrap();
        world.console("RESUME CLUSTER main");
        let resumed = Instant::now();
        let back = |client| load.last_of(client).is_some_and(|at| at > resumed);
        eventually("each client is served again", || (0..WRITERS).all(back));
        println!(
            "paused, switched and served again within {:?}, {:?} after the resumption",
            begin.elapsed(),
            resumed.elapsed()
        );
        trio.replicas[1].follow(&trio.replicas[0]).unwrap();
        under_load(&load);
        let outputs = benches.map(|bench| {
            let mut bench = bench;
            bench.wait().expect("pgbench ends")
        });
        load.stop();
        outputs
    });
    println!("clients were told: {:?}", load.codes());
    assert_eq!(load.codes(), BTreeMap::new());
    hold_against(&load, &rows(&trio.replicas[0], &database));
    for (status, protocol) in benches.iter().zip(["simple", "prepared"]) {
        let said = said(&files, protocol);
        let failed = !said.contains("number of failed transactions: 0 ");
        assert!(status.success() && !failed, "{said}");
        for bad in ["aborted", "FATAL", "ERROR"] {
            assert!(!said.contains(bad), "{said}");
        }
    }
}

/// Stops the load in the end, whatever the end.
struct Stops<'a>(&'a Load);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A process that is ended, if it has not ended by itself.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}
