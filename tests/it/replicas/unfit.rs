//! Statements that only read, but that a standby cannot do, or that would mean something else there.

use crate::support::replicas::{Tenant, shared};

#[test]
fn a_block_that_begins_with_one_is_served_by_the_primary() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    for sql in [
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_try_advisory_xact_lock_shared(1)",
        "SELECT txid_current()",
        "SELECT pg_current_wal_lsn()",
        "SELECT pg_export_snapshot()",
    ] {
        client.silent("BEGIN READ ONLY");
        let served = client.query(sql);
        assert_eq!(served.reply.errors(), [""; 0], "{sql}");
        assert_eq!(
            (served.port, served.why.as_str()),
            (shared().primary.port(), "unfit"),
            "{sql}"
        );
        client.silent("COMMIT");
    }
    client.silent("BEGIN READ ONLY");
    assert_eq!(client.query("LISTEN a").port, shared().primary.port());
    client.silent("COMMIT");
    // The pin holds it there until there is no reason any more.
    assert_eq!(client.silent("SELECT 1").one(), "1");
    client.silent("UNLISTEN a");
}

#[test]
fn one_that_comes_later_in_a_block_is_refused_in_clear_words() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    for sql in [
        "LISTEN a",
        "SELECT pg_advisory_lock(1)",
        "PREPARE p AS SELECT 1",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    ] {
        client.silent("BEGIN READ ONLY");
        assert!(shared().ports().contains(&client.query("SELECT 1").port));
        let refused = client.silent(sql);
        assert_eq!(refused.errors(), ["0A000"], "{sql} {refused:?}");
        let error = refused.0.iter().find(|m| m.tag == b'E').unwrap();
        let text = error.field(b'M').unwrap();
        assert!(text.contains("served by a replica"), "{text}");
        assert!(error.field(b'H').is_some(), "{error:?}");
        client.silent("ROLLBACK");
    }
    assert_eq!(client.query("SELECT 1").port, shared().primary.port());
}

#[test]
fn settings_of_a_block_at_a_replica_are_carried_on() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    client.silent("BEGIN READ ONLY");
    client.query("SET TimeZone = 'Asia/Tokyo'");
    client.silent("COMMIT");
    for _ in 0..4 {
        assert_eq!(client.read_only("SHOW TimeZone").reply.one(), "Asia/Tokyo");
    }
    assert_eq!(client.query("SHOW TimeZone").reply.one(), "Asia/Tokyo");
    client.silent("BEGIN READ ONLY");
    client.query("SET TimeZone = 'UTC'");
    client.silent("ROLLBACK");
    assert_eq!(client.read_only("SHOW TimeZone").reply.one(), "Asia/Tokyo");
    let mut other = tenant.client();
    for _ in 0..4 {
        assert_ne!(other.read_only("SHOW TimeZone").reply.one(), "Asia/Tokyo");
    }
}

#[test]
fn a_cursor_without_hold_lives_at_the_replica() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    client.silent("BEGIN READ ONLY");
    let declared = client.query("DECLARE c CURSOR FOR SELECT generate_series(1, 3)");
    assert!(shared().ports().contains(&declared.port), "{declared:?}");
    assert_eq!(client.silent("FETCH 2 FROM c").rows(), ["1", "2"]);
    client.silent("COMMIT");
}
