//! What a read at a replica sees: what was acknowledged before it, as the tenant wants it.

use std::time::Duration;

use crate::support::frames::Frames;
use crate::support::patience::eventually;
use crate::support::replicas::{Routed, Tenant, Trio};

/// Servers of its own, whose replicas replay no more: each test of this file stops the replay.
struct Stopped {
    trio: Trio,
}

impl Stopped {
    fn new() -> Self {
        Self {
            trio: Trio::start(&[]),
        }
    }

    fn tenant(&self, routing: &str) -> (Tenant, Routed) {
        let tenant = Tenant::of(&self.trio, routing, "");
        let mut client = tenant.client();
        client.query("CREATE TABLE t (a int)");
        self.trio.catch_up();
        tenant.awaits(&self.trio.ports());
        (tenant, client)
    }

    fn pause(&self) {
        for replica in &self.trio.replicas {
            replica.pause_replay().unwrap();
        }
    }

    fn resume(&self) {
        for replica in &self.trio.replicas {
            replica.resume_replay().unwrap();
        }
    }
}

const COUNT: &str = "SELECT count(*) FROM t";

#[test]
fn no_session_of_a_tenant_misses_a_write() {
    let servers = Stopped::new();
    let primary = servers.trio.primary.port();
    let (tenant, mut writer) = servers.tenant("consistency_wait = '20ms'");
    let mut reader = tenant.client();
    for n in 1..=20 {
        writer.query("INSERT INTO t VALUES (1)");
        let read = reader.read_only(COUNT);
        assert_eq!(read.reply.one(), n.to_string());
    }
    servers.pause();
    writer.query("INSERT INTO t VALUES (1)");
    let read = reader.read_only(COUNT);
    assert_eq!((read.port, read.why.as_str()), (primary, "behind"));
    assert_eq!(read.reply.one(), "21");
    servers.resume();
    tenant.awaits(&servers.trio.ports());
    assert_eq!(reader.read_only(COUNT).reply.one(), "21");

    // One of them is enough.
    servers.trio.replicas[0].pause_replay().unwrap();
    writer.query("INSERT INTO t VALUES (1)");
    servers.trio.one_catches_up(&servers.trio.replicas[1]);
    eventually("it serves", || {
        let read = reader.read_only(COUNT);
        assert_eq!(read.reply.one(), "22");
        read.port == servers.trio.replicas[1].port()
    });
    servers.resume();

    session_misses_only_what_others_wrote(&servers);
    eventual_reads_miss_what_is_not_replayed(&servers);
    bounded_reads_leave_a_replica_that_is_too_far_behind(&servers);
    a_read_waits_for_a_replica_that_will_catch_up(&servers);
    a_token_of_another_session_is_waited_for(&servers);
    a_write_behind_a_read_at_the_primary_is_a_write(&servers);
}

fn a_write_behind_a_read_at_the_primary_is_a_write(servers: &Stopped) {
    let (tenant, mut writer) = servers.tenant("consistency_wait = '20ms'");
    let mut reader = tenant.client();
    assert_eq!(reader.read_only(COUNT).reply.one(), "0");
    servers.pause();
    writer.0.query("SET tenantry.position = '7:0/1'");
    let mut all = Frames::default();
    for sql in [
        "BEGIN READ ONLY",
        COUNT,
        "COMMIT",
        "INSERT INTO t VALUES (1)",
    ] {
        all = all.query(sql);
    }
    writer.0.put(&all);
    let replies: Vec<_> = (0..4).map(|_| writer.0.ready()).collect();
    assert_eq!(replies[3].commands(), ["INSERT 0 1"], "{replies:?}");
    assert_eq!(reader.read_only(COUNT).reply.one(), "1");
    servers.resume();
}

fn session_misses_only_what_others_wrote(servers: &Stopped) {
    let (tenant, mut writer) = servers.tenant("consistency = 'session'\nconsistency_wait = '20ms'");
    let mut reader = tenant.client();
    servers.pause();
    writer.query("INSERT INTO t VALUES (1)");
    let own = writer.read_only(COUNT);
    assert_eq!(
        (own.port, own.reply.one().as_str()),
        (servers.trio.primary.port(), "1")
    );
    let other = reader.read_only(COUNT);
    assert!(servers.trio.ports().contains(&other.port), "{other:?}");
    assert_eq!(other.reply.one(), "0");
    servers.resume();
}

fn eventual_reads_miss_what_is_not_replayed(servers: &Stopped) {
    let (_tenant, mut client) = servers.tenant("consistency = 'eventual'");
    servers.pause();
    client.query("INSERT INTO t VALUES (1)");
    let read = client.read_only(COUNT);
    assert!(servers.trio.ports().contains(&read.port), "{read:?}");
    assert_eq!(read.reply.one(), "0");
    servers.resume();
}

fn bounded_reads_leave_a_replica_that_is_too_far_behind(servers: &Stopped) {
    for bound in ["max_lag = '300ms'", "max_lag = '8KiB'"] {
        let (tenant, mut client) = servers.tenant(&format!("consistency = 'bounded'\n{bound}"));
        servers.pause();
        eventually("they lag too far", || {
            client.query("INSERT INTO t SELECT generate_series(1, 100)");
            let read = client.read_only(COUNT);
            assert!(read.why != "behind", "{read:?}");
            read.port == servers.trio.primary.port()
        });
        servers.resume();
        tenant.awaits(&servers.trio.ports());
    }
}

fn a_read_waits_for_a_replica_that_will_catch_up(servers: &Stopped) {
    let (_tenant, mut client) = servers.tenant("consistency_wait = '15s'");
    servers.pause();
    client.query("INSERT INTO t VALUES (1)");
    client.silent("BEGIN READ ONLY");
    client.0.put(&Frames::default().query(COUNT));
    assert!(client.0.is_silent(Duration::from_millis(200)), "it waits");
    servers.resume();
    let reply = client.0.ready();
    let (port, _) = crate::support::replicas::served(&reply).unwrap();
    assert!(servers.trio.ports().contains(&port), "{reply:?}");
    assert_eq!(reply.one(), "1");
    client.silent("COMMIT");
}

fn a_token_of_another_session_is_waited_for(servers: &Stopped) {
    let (tenant, mut client) =
        servers.tenant("consistency = 'eventual'\nconsistency_wait = '20ms'");
    servers.pause();
    client.query("INSERT INTO t VALUES (1)");
    let at = servers
        .trio
        .primary
        .psql("postgres", "SELECT pg_current_wal_insert_lsn()")
        .unwrap();
    let primary = servers.trio.primary.port();
    let mut reader = tenant.client();
    assert_eq!(reader.read_only(COUNT).reply.one(), "0");
    reader.0.query(&format!("SET tenantry.position = '1:{at}'"));
    let read = reader.read_only(COUNT);
    assert_eq!((read.port, read.reply.one().as_str()), (primary, "1"));
    // Of another timeline it says nothing here, and what is no position cannot be met.
    for position in ["7:0/1", "nonsense"] {
        reader
            .0
            .query(&format!("SET tenantry.position = '{position}'"));
        let read = reader.read_only(COUNT);
        assert_eq!(
            (read.port, read.reply.one().as_str()),
            (primary, "1"),
            "{position}"
        );
    }
    // What SHOW tells of one session is good for another.
    let told = client.0.value("SHOW tenantry.position");
    assert!(told.starts_with("1:"), "{told}");
    reader.0.query(&format!("SET tenantry.position = '{told}'"));
    assert_eq!(reader.read_only(COUNT).reply.one(), "1");
    servers.resume();
    servers.trio.catch_up();
    reader.0.query(&format!("SET tenantry.position = '1:{at}'"));
    let read = reader.read_only(COUNT);
    assert!(servers.trio.ports().contains(&read.port), "{read:?}");
    assert_eq!(read.reply.one(), "1");
}
