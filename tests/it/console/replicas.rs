//! What the console shows of nodes and replicas, and how a cluster is paused for a switchover.

use std::time::Duration;

use tenantry::demo::cluster::Mode;

use super::world::{Console, Row, has, numbers, users};
use crate::support::client::Client;
use crate::support::frames::Frames;
use crate::support::pair::{Pair, WATCHED, monitored};
use crate::support::patience::eventually;
use crate::support::postgres::{Database, server};
use crate::support::proxy::{Proxy, Toml};

const MOMENT: Duration = Duration::from_millis(150);

/// A proxy with a tenant `acme` on two servers, the standby of which serves.
struct World {
    acme: Database,
    proxy: Proxy,
    console: Console,
}

impl World {
    fn new(pair: &Pair) -> Self {
        let acme = Database::fresh_on(&pair.primary);
        let listen = "listen = ['127.0.0.1:0', { address = '127.0.0.1:0', route = 'replica' }]";
        // A standby that has little time is waited for.
        let routing = "[routing]\nconsistency_wait = '20s'";
        let toml = Toml::default().tables(&users()).tables(routing);
        let text = pair.cluster(toml).tenant("acme", "main", &acme, "").text();
        let proxy = Proxy::start(&text.replace("listen = ['127.0.0.1:0']", listen));
        let console = console(&proxy);
        let mut world = Self {
            acme,
            proxy,
            console,
        };
        eventually("the standby serves", || world.replica()["state"] == "ready");
        pair.catch_up();
        world
    }

    fn client(&self) -> Client {
        self.proxy.client("acme")
    }

    /// A client of the listener for reads.
    fn reader(&self) -> Client {
        let addresses = self.proxy.app.addresses();
        let address = addresses[1].to_string().parse().expect("a TCP address");
        Client::connect(address, "acme", &[]).expect("the login works")
    }

    fn replica(&mut self) -> Row {
        self.console.rows("SHOW REPLICAS").remove(0)
    }

    fn pool(&mut self) -> Row {
        self.console.row("SHOW POOLS", "database", "acme")
    }
}

fn console(proxy: &Proxy) -> Console {
    let client = Client::log_in(proxy.address(), "admin", "pgbouncer", &[]);
    Console(client.expect("the login works"))
}

fn read(client: &mut Client) -> String {
    client.query("BEGIN READ ONLY");
    let is_standby = client.value("SELECT pg_is_in_recovery()");
    client.query("COMMIT");
    is_standby
}

#[test]
fn replicas_nodes_and_servers_show_who_serves() {
    let pair = Pair::shared();
    let mut world = World::new(pair);
    let (primary, replica) = (pair.primary_node(), pair.replica_node());
    let mut client = world.client();
    client.query("CREATE TABLE t ()");
    client.query("BEGIN READ ONLY");
    assert_eq!(client.value("SELECT pg_is_in_recovery()"), "t");
    let row = world.replica();
    let expected = [
        ("cluster", "main"),
        ("node", replica.as_str()),
        ("weight", "2"),
        ("share", "100"),
        ("state", "ready"),
        ("sv_active", "1"),
        ("sv_idle", "0"),
    ];
    has(&row, &expected);
    assert!(row["replayed"].contains('/'), "{row:?}");
    numbers(&row, &["lag", "lag_bytes"]);
    client.query("COMMIT");
    has(&world.replica(), &[("sv_active", "0"), ("sv_idle", "1")]);

    let mut nodes = world.console.rows("SHOW NODES");
    nodes.sort_by_key(|row| row["role"].clone());
    let expected = [
        ("node", primary.as_str()),
        ("role", "primary"),
        ("clusters", "main"),
        ("connections", "1"),
        ("tenants", "1"),
        ("found", "primary"),
        ("state", "~"),
        ("reached", "yes"),
    ];
    has(&nodes[0], &expected);
    let expected = [
        ("node", replica.as_str()),
        ("role", "replica"),
        ("clusters", "main"),
        ("connections", "1"),
        ("tenants", "1"),
        ("found", "replica"),
        ("state", "ready"),
        ("reached", "yes"),
    ];
    has(&nodes[1], &expected);
    for node in [&primary, &replica] {
        let server = world.console.row("SHOW SERVERS", "node", node);
        has(&server, &[("database", "acme"), ("state", "idle")]);
    }
    let pool = world.pool();
    has(
        &pool,
        &[("cl_active", "1"), ("sv_active", "0"), ("sv_idle", "2")],
    );
}

#[test]
fn one_row_a_database_and_user_counts_all_nodes() {
    let pair = Pair::shared();
    let mut world = World::new(pair);
    let mut client = world.client();
    let totals = |console: &mut Console, counts: &[&str]| {
        let row = console.row("SHOW STATS_TOTALS", "database", "acme");
        numbers(&row, counts)
    };
    let counts = ["xact_count", "query_count", "server_assignment_count"];
    // One assignment for the greeting.
    assert_eq!(totals(&mut world.console, &counts), [0, 0, 1]);
    for _ in 0..3 {
        assert_eq!(read(&mut client), "t");
    }
    for _ in 0..4 {
        assert_eq!(client.value("SELECT pg_is_in_recovery()"), "f");
    }
    // Three of two queries, for their BEGIN is answered here; four of one.
    assert_eq!(totals(&mut world.console, &counts), [7, 10, 1 + 7]);
    let mut reader = world.reader();
    for _ in 0..4 {
        assert_eq!(reader.value("SELECT pg_is_in_recovery()"), "t");
    }
    assert_eq!(totals(&mut world.console, &counts[..2]), [11, 14]);
    eventually("all are free again", || world.pool()["sv_idle"] == "3");
    has(&world.pool(), &[("cl_active", "2"), ("cl_waiting", "0")]);
    client.query("BEGIN READ ONLY");
    client.query("SELECT 1");
    let clients = world.console.rows("SHOW CLIENTS");
    let active = clients.iter().filter(|c| c["state"] == "active");
    assert_eq!(active.count(), 1, "{clients:?}");
    has(&world.pool(), &[("sv_active", "1"), ("sv_idle", "2")]);
    let database = world.console.row("SHOW DATABASES", "name", "acme");
    let port = pair.primary.port().to_string();
    let expected = [("port", port.as_str()), ("current_connections", "3")];
    has(&database, &expected);
}

#[test]
fn who_waits_for_a_replica_is_seen_waiting() {
    let pair = Pair::start();
    let mut world = World::new(&pair);
    let mut client = world.client();
    assert_eq!(read(&mut client), "t");
    pair.replica.pause_replay().expect("it pauses");
    client.query("CREATE TABLE t ()");
    client.query("BEGIN READ ONLY");
    client.put(&Frames::default().query("SELECT count(*) FROM t"));
    eventually("it waits", || world.pool()["cl_waiting"] == "1");
    std::thread::sleep(MOMENT);
    let pool = world.pool();
    has(&pool, &[("cl_active", "0"), ("sv_active", "0")]);
    let [seconds, micros] = numbers(&pool, &["maxwait", "maxwait_us"])[..] else {
        panic!("two numbers")
    };
    let waited = Duration::from_secs(seconds) + Duration::from_micros(micros);
    assert!((MOMENT..MOMENT * 40).contains(&waited), "{waited:?}");
    let row = world.console.row("SHOW CLIENTS", "state", "waiting");
    assert_eq!(numbers(&row, &["wait"])[0], waited.as_secs(), "{row:?}");
    eventually("the lag is seen", || {
        numbers(&world.replica(), &["lag", "lag_bytes"])
            .iter()
            .all(|n| *n > 0)
    });
    pair.replica.resume_replay().expect("it goes on");
    assert_eq!(client.ready().one(), "0");
    client.query("COMMIT");
    has(&world.pool(), &[("cl_waiting", "0"), ("cl_active", "1")]);
}

#[test]
fn pause_cluster_waits_for_replicas_too() {
    let pair = Pair::shared();
    let mut world = World::new(pair);
    let (mut busy, mut next) = (world.client(), world.client());
    assert_eq!(read(&mut next), "t");
    busy.query("BEGIN READ ONLY");
    busy.query("SELECT 1");
    world
        .console
        .0
        .put(&Frames::default().query("PAUSE CLUSTER main"));
    assert!(world.console.0.is_silent(MOMENT), "a read is under way");
    let mut other = console(&world.proxy);
    assert_eq!(other.row("SHOW DATABASES", "name", "acme")["paused"], "1");
    next.query("BEGIN READ ONLY");
    next.put(&Frames::default().query("SELECT pg_is_in_recovery()"));
    assert!(next.is_silent(MOMENT));
    busy.query("COMMIT");
    assert_eq!(world.console.0.ready().commands(), ["PAUSE"]);
    assert_eq!(pair.connections(&world.acme), [0, 0]);
    assert!(next.is_silent(MOMENT));
    world.console.does("RESUME CLUSTER main");
    assert_eq!(next.ready().one(), "t");
    next.query("COMMIT");
}

#[test]
fn a_switchover_in_a_pause_is_a_wait_for_clients() {
    let pair = Pair::start();
    let mut world = World::new(&pair);
    let mut client = world.client();
    client.query("CREATE TABLE t (n int)");
    assert_eq!(read(&mut client), "t");
    world.console.does("PAUSE CLUSTER main");
    client.put(&Frames::default().query("INSERT INTO t VALUES (1)"));
    assert!(client.is_silent(MOMENT));
    // A primary that is shut down has sent its standby everything.
    pair.primary.stop(Mode::Fast).expect("it stops");
    pair.replica.promote().expect("it is promoted");
    let new = pair.replica_node();
    eventually("the new primary is found", || {
        world.console.row("SHOW NODES", "node", &new)["found"] == "primary"
    });
    let database = world.console.row("SHOW DATABASES", "name", "acme");
    has(&database, &[("port", &pair.replica.port().to_string())]);
    assert!(client.is_silent(MOMENT));
    world.console.does("RESUME CLUSTER main");
    assert_eq!(client.ready().commands(), ["INSERT 0 1"]);
    assert_eq!(client.value("SELECT count(*) FROM t"), "1");
    eventually("the old one is missed", || {
        world.replica()["state"] == "unreachable"
    });
    let old = world.replica();
    let expected = [("share", "0"), ("replayed", "~"), ("weight", "1")];
    has(&old, &expected);
}

#[test]
fn a_dispute_is_shown() {
    let (pair, other) = (Pair::shared(), server());
    monitored(other);
    let (acme, second) = (
        Database::fresh_on(&pair.primary),
        format!("127.0.0.1:{}", other.port()),
    );
    let lines = format!("replicas = ['{second}']\n{WATCHED}");
    let proxy = Toml::default()
        .tables(&users())
        .cluster("main", pair.primary.port(), &lines)
        .tenant("acme", "main", &acme, "")
        .start();
    let mut console = console(&proxy);
    for node in [&pair.primary_node(), &second] {
        eventually("both are seen", || {
            console.row("SHOW NODES", "node", node)["found"] == "disputed"
        });
        let row = console.row("SHOW REPLICAS", "node", node);
        has(
            &row,
            &[("state", "no standby"), ("share", "0"), ("lag", "~")],
        );
    }
}
