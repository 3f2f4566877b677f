//! Hints in comments, and single reads by PostgreSQL's parser.

use crate::support::frames::Frames;
use crate::support::replicas::{Tenant, shared};

#[test]
fn a_comment_says_where_a_statement_is_served() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    for sql in [
        "/* tenantry: replica */ SELECT 1",
        "/* a */ /*tenantry:replica*/ SELECT 1",
    ] {
        for frames in [
            Frames::default().query(sql),
            Frames::default().run(sql).sync(),
        ] {
            let served = client.ask(&frames);
            assert!(shared().ports().contains(&served.port), "{served:?}");
            assert_eq!(
                (served.why.as_str(), served.reply.one().as_str()),
                ("hint", "1")
            );
        }
    }
    client.silent("BEGIN READ ONLY");
    let served = client.query("/* tenantry: primary */ SELECT 1");
    assert_eq!(
        (served.port, served.why.as_str()),
        (shared().primary.port(), "hint")
    );
    client.silent("COMMIT");
    client.silent("/* tenantry: replica */ BEGIN");
    assert!(shared().ports().contains(&client.query("SELECT 1").port));
    client.silent("COMMIT");
    // Anywhere else it is a comment.
    let served = client.query("SELECT 1 /* tenantry: replica */");
    assert_eq!(served.port, shared().primary.port());
    // Who says so answers for it.
    let served = client.query("/* tenantry: replica */ CREATE TABLE t (a int)");
    assert_eq!(served.reply.errors(), ["25006"]);
}

#[test]
fn single_reads_go_to_replicas_where_that_is_wanted() {
    let tenant = Tenant::serving("reads = 'statements'");
    let mut client = tenant.client();
    client.query("CREATE TABLE t (a int)");
    for sql in [
        "SELECT count(*) FROM t",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "TABLE t",
    ] {
        for frames in [
            Frames::default().query(sql),
            Frames::default().run(sql).sync(),
        ] {
            let served = client.ask(&frames);
            assert!(shared().ports().contains(&served.port), "{sql} {served:?}");
            assert_eq!(
                (served.why.as_str(), served.reply.errors()),
                ("statement", vec![])
            );
        }
    }
    for sql in [
        "INSERT INTO t VALUES (1)",
        "WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM x",
        "SELECT * FROM t FOR UPDATE",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT 1; SELECT 2",
        "EXPLAIN ANALYZE DELETE FROM t",
        "SELECT * INTO u FROM t",
    ] {
        let served = client.query(sql);
        assert_eq!(served.reply.errors(), [""; 0], "{sql}");
        assert_eq!(
            (served.port, served.why.as_str()),
            (shared().primary.port(), "writes"),
            "{sql}"
        );
    }
    // What its text does not tell is not for a replica either; it holds the server connection.
    let mut other = tenant.client();
    assert_eq!(other.query("DO 'BEGIN END'").port, shared().primary.port());
    // In a block that may write each statement does.
    client.silent("BEGIN");
    assert_eq!(
        client.query("SELECT count(*) FROM t").port,
        shared().primary.port()
    );
    client.silent("COMMIT");
}

#[test]
fn reads_stay_at_the_primary_where_that_is_wanted() {
    let tenant = Tenant::new("reads = 'off'", "");
    let mut client = tenant.client();
    let opened = client.query("BEGIN READ ONLY");
    assert_eq!(opened.port, shared().primary.port());
    client.silent("SELECT 1");
    client.silent("COMMIT");
}
