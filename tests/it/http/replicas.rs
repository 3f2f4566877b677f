//! What metrics and health tell of clusters with replicas.

use super::{http, toml};
use crate::support::client::Client;
use crate::support::frames::Frames;
use crate::support::http::{Scrape, get};
use crate::support::pair::{Pair, WATCHED, monitored};
use crate::support::patience::eventually;
use crate::support::postgres::{Database, server};
use crate::support::proxy::{Proxy, Toml};

/// A proxy in front of both servers of a pair, which has found the standby to serve.
struct World {
    database: Database,
    proxy: Proxy,
    labels: String,
}

impl World {
    fn new(pair: &Pair, routing: &str) -> Self {
        let database = Database::fresh_on(&pair.primary);
        let toml = Toml::default().server("http = '127.0.0.1:0'");
        let proxy = pair
            .cluster(toml.tables(routing))
            .tenant(&database.name, "main", &database, "")
            .start();
        let labels = format!("{{cluster=\"main\",node=\"{}\"}}", pair.replica_node());
        let world = Self {
            database,
            proxy,
            labels,
        };
        eventually("the standby serves", || {
            world.scrape().count(&world.of("tenantry_replica_up")) == 1
        });
        pair.catch_up();
        world
    }

    fn client(&self) -> Client {
        self.proxy.client(&self.database.name)
    }

    fn scrape(&self) -> Scrape {
        Scrape::of(http(&self.proxy))
    }

    /// A series of the replica.
    fn of(&self, family: &str) -> String {
        format!("{family}{}", self.labels)
    }
}

#[test]
fn transactions_are_counted_by_where_they_went_and_why() {
    let world = World::new(Pair::shared(), "[routing]\nconsistency_wait = '20s'");
    let mut client = world.client();
    for sql in ["CREATE TABLE t ()", "SELECT 1", "SELECT 2"] {
        client.query(sql);
    }
    let read_only = |client: &mut Client, sql: &str| {
        for sql in ["BEGIN READ ONLY", sql, "COMMIT"] {
            assert_eq!(client.query(sql).errors(), [""; 0], "{sql}");
        }
    };
    for _ in 0..4 {
        read_only(&mut client, "SELECT count(*) FROM t");
    }
    read_only(&mut client, "SELECT pg_advisory_xact_lock(1)");
    for _ in 0..2 {
        client.query("/* tenantry: replica */ SELECT 1");
    }
    client.query("/* tenantry: primary */ SELECT 1");
    // Sent nowhere, as neither is SET: that goes with the next statement.
    for sql in ["BEGIN READ ONLY", "COMMIT"] {
        client.query(sql);
    }
    let scrape = world.scrape();
    let expected = [
        ("to=\"primary\",reason=\"hint\"", 1.0),
        ("to=\"primary\",reason=\"unfit\"", 1.0),
        ("to=\"primary\",reason=\"writes\"", 3.0),
        ("to=\"replica\",reason=\"hint\"", 2.0),
        ("to=\"replica\",reason=\"read_only\"", 4.0),
    ];
    let expected = expected.map(|(labels, count)| (labels.to_owned(), count));
    assert_eq!(
        scrape.present("tenantry_routed_transactions_total"),
        expected
    );
    let own = |family: &str| format!("{family}{{tenant=\"{}\"}}", world.database.name);
    // One of them is the login's.
    assert_eq!(scrape.count(&own("tenantry_leases_total")), 11 + 1);
    let cluster_primary = format!(
        "tenantry_cluster_primary{{cluster=\"main\",node=\"{}\"}}",
        Pair::shared().primary_node()
    );
    assert_eq!(scrape.count(&cluster_primary), 1);
    assert_eq!(
        scrape.count("tenantry_cluster_disputed{cluster=\"main\"}"),
        0
    );
    assert_eq!(scrape.count(&world.of("tenantry_replica_share")), 1);
    assert!(scrape.value(&world.of("tenantry_replica_lag_seconds")) < 20.0);
}

#[test]
fn nothing_goes_to_replicas_where_reads_are_off() {
    let world = World::new(Pair::shared(), "[routing]\nreads = 'off'");
    let mut client = world.client();
    let is_standby = "SELECT pg_is_in_recovery()";
    client.query("BEGIN READ ONLY");
    assert_eq!(client.value(is_standby), "f");
    client.query("COMMIT");
    let hint = format!("/* tenantry: replica */ {is_standby}");
    assert_eq!(client.value(&hint), "f");
    for setting in [
        "default_transaction_read_only = on",
        "tenantry.route = 'replica'",
    ] {
        client.query(&format!("SET {setting}"));
        assert_eq!(client.value(is_standby), "f", "{setting}");
    }
    let scrape = world.scrape();
    let expected = [("to=\"primary\",reason=\"writes\"".to_owned(), 6.0)];
    assert_eq!(
        scrape.present("tenantry_routed_transactions_total"),
        expected
    );
}

#[test]
fn a_replica_that_lags_is_told_and_so_is_who_waited_for_it() {
    let pair = Pair::start();
    let world = World::new(&pair, "[routing]\nconsistency_wait = '20s'");
    let (mut client, mut hasty) = (world.client(), world.client());
    pair.replica.pause_replay().expect("it pauses");
    client.query("CREATE TABLE t ()");
    client.query("BEGIN READ ONLY");
    client.put(&Frames::default().query("SELECT count(*) FROM t"));
    eventually("it waits", || {
        world.scrape().count("tenantry_clients{state=\"waiting\"}") == 1
    });
    eventually("the lag is told", || {
        let scrape = world.scrape();
        let families = ["tenantry_replica_lag_seconds", "tenantry_replica_lag_bytes"];
        families.iter().all(|f| scrape.value(&world.of(f)) > 0.0)
    });
    let scrape = world.scrape();
    assert_eq!(scrape.count("tenantry_catch_up_duration_seconds_count"), 0);
    assert_eq!(scrape.count(&world.of("tenantry_replica_up")), 1);
    pair.replica.resume_replay().expect("it goes on");
    assert_eq!(client.ready().one(), "0");
    client.query("COMMIT");
    let scrape = world.scrape();
    assert_eq!(scrape.count("tenantry_catch_up_duration_seconds_count"), 1);
    assert!(scrape.value("tenantry_catch_up_duration_seconds_sum") > 0.0);
    // Without it reads go to the primary, and that is told, too.
    drop(pair.replica);
    eventually("it is down", || {
        world.scrape().count(&world.of("tenantry_replica_up")) == 0
    });
    hasty.query("BEGIN READ ONLY");
    assert_eq!(hasty.value("SELECT pg_is_in_recovery()"), "f");
    let scrape = world.scrape();
    let reason = "tenantry_routed_transactions_total{to=\"primary\",reason=\"no_replica\"}";
    assert_eq!(scrape.count(reason), 1);
    assert_eq!(scrape.count(&world.of("tenantry_replica_share")), 0);
    assert_eq!(get(http(&world.proxy), "/health/ready").status, 200);
}

#[test]
fn a_disputed_primary_is_told_and_matters_where_there_is_nothing_else() {
    let (pair, other) = (Pair::shared(), server());
    monitored(other);
    let (disputed, fine) = (Database::fresh_on(&pair.primary), Database::fresh());
    let lines = format!("replicas = ['127.0.0.1:{}']\n{WATCHED}", other.port());
    let alone = Toml::default()
        .server("http = '127.0.0.1:0'")
        .cluster("torn", pair.primary.port(), &lines)
        .tenant("torn", "torn", &disputed, "");
    let proxy = alone.start();
    let torn = "tenantry_cluster_disputed{cluster=\"torn\"}";
    eventually("both are seen", || {
        Scrape::of(http(&proxy)).count(torn) == 1
    });
    let scrape = Scrape::of(http(&proxy));
    assert_eq!(scrape.present("tenantry_cluster_primary"), []);
    let ready = get(http(&proxy), "/health/ready");
    assert_eq!(ready.status, 503);
    let (ok, detail) = ready.check("clusters");
    assert!(!ok && detail.contains(&pair.primary_node()), "{detail}");
    assert!(detail.contains(" and "), "{detail}");
    assert!(ready.check("nodes").0, "{}", ready.body);
    // A tenant elsewhere is served.
    let both = alone
        .cluster("fine", fine.port, "")
        .tenant("fine", "fine", &fine, "");
    proxy.reload(&both.text());
    let ready = get(http(&proxy), "/health/ready");
    assert_eq!(ready.status, 200);
    assert!(ready.check("clusters").1.starts_with("torn: "));
    proxy.client("fine").query("SELECT 1");
}

#[test]
fn a_primary_out_of_reach_is_told() {
    let pair = Pair::start();
    let world = World::new(&pair, "");
    let ready = get(http(&world.proxy), "/health/ready");
    let expected = "1 with replicas, each with its primary";
    assert_eq!(ready.check("clusters"), (true, expected.to_owned()));
    let node = pair.primary_node();
    drop(pair.primary);
    eventually("it is missed", || {
        let ready = get(http(&world.proxy), "/health/ready");
        let (ok, detail) = ready.check("clusters");
        assert!(ok && ready.status == 200, "{}", ready.body);
        detail == format!("main: the primary {node} is out of reach")
    });
}

#[test]
fn clusters_without_replicas_are_told_nothing_of() {
    let database = Database::fresh();
    let proxy = toml(&database)
        .tenant(&database.name, "main", &database, "")
        .start();
    proxy.client(&database.name).query("SELECT 1");
    let scrape = Scrape::of(http(&proxy));
    for family in ["tenantry_replica_up", "tenantry_cluster_primary"] {
        assert!(!scrape.text.contains(family), "{}", scrape.text);
    }
    assert_eq!(scrape.present("tenantry_routed_transactions_total"), []);
    let (ok, detail) = get(http(&proxy), "/health/ready").check("clusters");
    assert!(ok && detail.starts_with("0 with replicas"), "{detail}");
}
