//! Replicas that cancel a read, die or are not there, and primaries that are none, or too many.

use tenantry::demo::cluster::Mode;

use crate::support::frames::Frames;
use crate::support::patience::eventually;
use crate::support::replicas::{Routed, Tenant, Trio, served};

/// What the replica does to whoever reads what is dropped: it cancels at once.
fn impatient() -> Trio {
    Trio::start(&[
        ("max_standby_streaming_delay", "0"),
        ("hot_standby_feedback", "off"),
    ])
}

/// A client that reads at a replica until the lock that it needs there goes away by a conflict.
fn begin_read(client: &mut Routed, ports: &[u16]) {
    client.silent("BEGIN READ ONLY");
    let first = client.query("SELECT count(*) FROM t");
    assert!(ports.contains(&first.port), "{first:?}");
}

#[test]
fn a_read_that_a_conflict_cancels_is_run_again_at_the_primary() {
    let trio = impatient();
    let tenant = Tenant::of(&trio, "consistency = 'eventual'", "");
    let mut client = tenant.client();
    client.query("CREATE TABLE t AS SELECT generate_series(1, 10) AS a");
    trio.catch_up();
    tenant.awaits(&trio.ports());

    // The first statement: nothing of it has been answered.
    client.silent("BEGIN READ ONLY");
    client
        .0
        .put(&Frames::default().query("SELECT a, pg_sleep(2) FROM t WHERE a = 1"));
    let reading = |replica: &tenantry::demo::cluster::Cluster| {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'PgSleep'",
            tenant.database.name
        );
        replica.psql("postgres", &sql).unwrap() == "1"
    };
    eventually("a replica reads", || trio.replicas.iter().any(reading));
    trio.primary
        .psql(&tenant.database.name, "ALTER TABLE t ADD COLUMN b int")
        .unwrap();
    let reply = client.0.ready();
    assert_eq!(reply.errors(), [""; 0], "{reply:?}");
    assert_eq!(reply.rows(), ["1|"]);
    assert_eq!(
        served(&reply),
        Some((trio.primary.port(), "again".to_owned()))
    );
    assert_eq!(client.silent("COMMIT").errors(), [""; 0]);

    // The second one: the first was answered, the server's own error passes.
    trio.catch_up();
    tenant.awaits(&trio.ports());
    begin_read(&mut client, &trio.ports());
    client
        .0
        .put(&Frames::default().query("SELECT a, pg_sleep(5) FROM t WHERE a = 1"));
    eventually("a replica reads", || trio.replicas.iter().any(reading));
    trio.primary
        .psql(&tenant.database.name, "DROP TABLE t")
        .unwrap();
    let reply = client.0.ready();
    assert_eq!(
        (reply.errors(), reply.status()),
        (vec!["40001".to_owned()], 'E'),
        "{reply:?}"
    );
    assert_eq!(client.silent("ROLLBACK").status(), 'I');
    assert_eq!(client.query("SELECT 1").reply.one(), "1");
}

#[test]
fn reads_of_a_replica_that_dies_go_on_elsewhere() {
    let trio = Trio::start(&[]);
    let tenant = Tenant::of(&trio, "", "");
    tenant.awaits(&trio.ports());
    let mut clients: Vec<Routed> = (0..4).map(|_| tenant.client()).collect();
    for client in &mut clients {
        client.silent("BEGIN READ ONLY");
        client
            .0
            .put(&Frames::default().query("SELECT pg_sleep(1.5), 7"));
    }
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'PgSleep'",
        tenant.database.name
    );
    eventually("both replicas read", || {
        trio.replicas
            .iter()
            .all(|r| r.psql("postgres", &sql).unwrap() == "2")
    });
    // Its backends notice while they sleep, and say nothing.
    trio.replicas[0].kill9().unwrap();
    for client in &mut clients {
        let reply = client.0.ready();
        assert_eq!(reply.rows(), ["|7"], "{reply:?}");
        assert_eq!(client.silent("COMMIT").errors(), [""; 0]);
    }
    // All of the reads at the other one.
    tenant.awaits(&[trio.replicas[1].port()]);
    // A transaction of which something was answered is lost with its replica, and its client told so.
    let mut lost = tenant.client();
    lost.silent("BEGIN READ ONLY");
    assert_eq!(lost.query("SELECT 1").port, trio.replicas[1].port());
    trio.replicas[1].kill9().unwrap();
    lost.0.put(&Frames::default().query("SELECT 2"));
    let told = lost.0.end();
    let codes: Vec<_> = told.iter().filter_map(|m| m.field(b'C')).collect();
    // The backend may answer before it notices that its postmaster is gone.
    assert!(
        codes
            .iter()
            .all(|c| ["00000", "57P01", "57P02", "08006"].contains(&c.as_str())),
        "{told:?}"
    );
    assert!(told.iter().any(|m| m.tag == b'E'), "{told:?}");

    // None is left: the primary serves the reads, once that is known without an attempt.
    let mut client = tenant.client();
    eventually("no replica is tried", || {
        let read = client.read_only("SELECT 1");
        assert_eq!(read.port, trio.primary.port(), "{read:?}");
        read.why == "no_replica"
    });
    for replica in &trio.replicas {
        replica.restart().unwrap();
    }
    tenant.awaits(&trio.ports());
}

#[test]
fn reads_are_refused_without_a_replica_where_that_is_wanted() {
    let trio = Trio::start(&[]);
    let tenant = Tenant::of(&trio, "no_replica = 'error'", "");
    tenant.awaits(&trio.ports());
    for replica in &trio.replicas {
        replica.stop(Mode::Fast).unwrap();
    }
    let mut client = tenant.client();
    eventually("no replica serves", || {
        client.silent("BEGIN READ ONLY");
        let reply = client.0.query("SELECT 1");
        if reply.errors().is_empty() {
            client.silent("COMMIT");
            return false;
        }
        assert_eq!(
            (reply.errors(), reply.status()),
            (vec!["57P03".to_owned()], 'E')
        );
        assert!(
            reply
                .0
                .iter()
                .any(|m| m.field(b'H').is_some_and(|h| h.contains("no_replica")))
        );
        client.silent("ROLLBACK");
        true
    });
    assert_eq!(client.query("SELECT 1").port, trio.primary.port());
}

#[test]
fn writes_follow_a_promoted_replica() {
    let trio = Trio::start(&[]);
    let tenant = Tenant::of(&trio, "", "");
    let mut client = tenant.client();
    client.query("CREATE TABLE t (a int)");
    trio.catch_up();
    trio.primary.kill9().unwrap();
    trio.replicas[0].promote().unwrap();
    let new = trio.replicas[0].port();
    let mut fresh = tenant.client();
    let written = fresh.query("INSERT INTO t VALUES (1)");
    assert_eq!((written.port, written.reply.errors()), (new, vec![]));
    // The other one follows the old primary still: it serves nothing.
    let read = fresh.read_only("SELECT count(*) FROM t");
    assert_eq!((read.port, read.reply.one().as_str()), (new, "1"));
    trio.replicas[1].follow(&trio.replicas[0]).unwrap();
    tenant.awaits(&[trio.replicas[1].port()]);
    // The old primary comes back as it was: nothing is sent to it.
    trio.primary.restart().unwrap();
    for n in 2..=20 {
        assert_eq!(fresh.query("INSERT INTO t VALUES (1)").port, new);
        assert_eq!(
            fresh.read_only("SELECT count(*) FROM t").reply.one(),
            n.to_string()
        );
    }
    let old = trio
        .primary
        .psql(&tenant.database.name, "SELECT count(*) FROM t")
        .unwrap();
    assert_eq!(old, "0");
    // A position of the former timeline says nothing any more.
    fresh.0.query("SET tenantry.position = '1:0/1'");
    assert_eq!(fresh.read_only("SELECT 1").port, new);
}

#[test]
fn two_primaries_of_one_timeline_get_no_writes() {
    let trio = Trio::start(&[]);
    let tenant = Tenant::of(&trio, "", "");
    let mut client = tenant.client();
    client.query("CREATE TABLE t (a int)");
    trio.catch_up();
    // One keeps its server connection, the other is amid a transaction.
    let (mut pinned, mut busy) = (tenant.client(), tenant.client());
    pinned.query("CREATE TEMP TABLE own (a int)");
    busy.silent("BEGIN");
    busy.query("INSERT INTO t VALUES (0)");
    // Both are promoted from timeline 1 to 2.
    for replica in &trio.replicas {
        replica.promote().unwrap();
    }
    eventually("writes are refused", || {
        // Its server connection may be that of a node that is none of them any more.
        let mut client = tenant.client();
        let reply = client.0.query("INSERT INTO t VALUES (1)");
        if reply.errors() != ["57P03"] {
            return false;
        }
        let error = reply.0.iter().find(|m| m.tag == b'E').unwrap();
        let hint = error.field(b'H').unwrap();
        assert!(hint.contains("an operator must stop all but one"), "{hint}");
        for port in trio.ports() {
            assert!(hint.contains(&format!("127.0.0.1:{port}")), "{hint}");
        }
        true
    });
    for mut lost in [pinned, busy] {
        let told = lost.0.end();
        assert_eq!(told[0].field(b'C').as_deref(), Some("08006"), "{told:?}");
    }
    let mut reader = tenant.client();
    reader.silent("BEGIN READ ONLY");
    let reply = reader.0.query("SELECT count(*) FROM t");
    assert_eq!(
        (reply.errors(), served(&reply)),
        (vec!["57P03".to_owned()], None)
    );
    reader.silent("ROLLBACK");
}
