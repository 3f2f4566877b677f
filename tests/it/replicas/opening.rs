//! A transaction block that is opened at a server only with its first statement.

use crate::support::client::Client;
use crate::support::frames::Frames;
use crate::support::replicas::{Routed, Tenant, served, shared};

fn extended(sql: &str) -> Frames {
    Frames::default().run(sql).sync()
}

/// A tenant whose only server connection to the primary is taken by the client that is returned.
fn taken() -> (Tenant, Routed) {
    let database = shared().database();
    let toml = shared().toml(&database, "", "");
    let proxy = toml.pool("size = 1\nacquire_timeout = '1500ms'").start();
    let tenant = Tenant { database, proxy };
    let mut busy = tenant.client();
    busy.silent("BEGIN");
    assert_eq!(busy.query("SELECT 1").port, shared().primary.port());
    (tenant, busy)
}

#[test]
fn an_empty_transaction_needs_no_server() {
    let (tenant, _busy) = taken();
    let mut client = tenant.client();
    for begin in [
        "BEGIN",
        "BEGIN READ ONLY",
        "START TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    ] {
        for (end, tag) in [
            ("COMMIT", "COMMIT"),
            ("END", "COMMIT"),
            ("ROLLBACK", "ROLLBACK"),
        ] {
            for form in [|sql: &str| Frames::default().query(sql), extended] {
                let opened = client.0.ask(&form(begin));
                assert_eq!((opened.status(), served(&opened)), ('T', None));
                let ended = client.0.ask(&form(end));
                assert_eq!(
                    (ended.status(), ended.commands()),
                    ('I', vec![tag.to_owned()])
                );
            }
        }
    }
    // Nor does one that is said to be read only, or to be something else.
    for modes in ["READ ONLY", "ISOLATION LEVEL REPEATABLE READ", "DEFERRABLE"] {
        client.silent("BEGIN");
        assert_eq!(
            client
                .silent(&format!("SET TRANSACTION {modes}"))
                .commands(),
            ["SET"]
        );
        client.silent("COMMIT");
    }
}

#[test]
fn a_block_whose_first_statement_gets_no_server_has_failed() {
    let (tenant, mut busy) = taken();
    let mut client = tenant.client();
    client.silent("BEGIN");
    let refused = client.0.query("SELECT 1");
    assert_eq!(
        (refused.errors(), refused.status()),
        (vec!["53300".to_owned()], 'E')
    );
    for sql in ["SELECT 1", "BEGIN", "SET TRANSACTION READ ONLY"] {
        for form in [|sql: &str| Frames::default().query(sql), extended] {
            let again = client.0.ask(&form(sql));
            assert_eq!(
                (again.errors(), again.status()),
                (vec!["25P02".to_owned()], 'E'),
                "{sql}"
            );
        }
    }
    // As at a server, a COMMIT rolls back.
    let ended = client.silent("COMMIT");
    assert_eq!(
        (ended.commands(), ended.status()),
        (vec!["ROLLBACK".to_owned()], 'I')
    );
    busy.silent("COMMIT");
    assert_eq!(client.query("SELECT 1").reply.one(), "1");
}

#[test]
fn what_a_server_would_warn_of_is_said_by_it() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    let codes = |reply: &crate::support::client::Reply| -> Vec<String> {
        let notices = reply.0.iter().filter(|m| m.tag == b'N');
        notices
            .filter_map(|m| m.field(b'C'))
            .filter(|c| c != "00000")
            .collect()
    };
    client.silent("BEGIN READ ONLY");
    assert_eq!(codes(&client.0.query("BEGIN")), ["25001"]);
    assert_eq!(client.0.query("COMMIT").status(), 'I');
    assert_eq!(codes(&client.0.query("COMMIT")), ["25P01"]);
    assert_eq!(
        codes(&client.0.query("SET TRANSACTION READ ONLY")),
        ["25P01"]
    );
}

#[test]
fn modes_that_are_said_later_count() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    let (primary, replicas) = (shared().primary.port(), shared().ports());
    for form in [|sql: &str| Frames::default().query(sql), extended] {
        client.0.ask(&form("BEGIN"));
        client.0.ask(&form("SET TRANSACTION READ ONLY"));
        let read = client.ask(&form("SELECT current_setting('transaction_read_only')"));
        assert!(replicas.contains(&read.port), "{read:?}");
        assert_eq!(
            (read.reply.one().as_str(), read.why.as_str()),
            ("on", "read_only")
        );
        client.0.ask(&form("COMMIT"));

        client.0.ask(&form("BEGIN READ ONLY"));
        let described = client.ask(&form("SET TRANSACTION READ WRITE"));
        assert_eq!(described.port, primary);
        let write = client
            .0
            .ask(&form("SELECT current_setting('transaction_read_only')"));
        assert_eq!(write.one(), "off");
        client.0.ask(&form("COMMIT"));
    }
    client.silent("BEGIN READ ONLY");
    client.silent("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    let read = client.query("SELECT current_setting('transaction_isolation')");
    assert!(replicas.contains(&read.port), "{read:?}");
    assert_eq!(read.reply.one(), "repeatable read");
    client.silent("COMMIT");
}

#[test]
fn serializable_transactions_are_not_for_a_standby() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    let primary = shared().primary.port();
    let asked =
        "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')";
    let opened = client.query("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY");
    assert_eq!(opened.port, primary);
    assert_eq!(client.silent(asked).one(), "serializable|on");
    client.silent("COMMIT");

    client.silent("BEGIN READ ONLY");
    let described = client.query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE");
    assert_eq!(described.port, primary);
    assert_eq!(client.silent(asked).one(), "serializable|on");
    client.silent("COMMIT");

    client
        .0
        .query("SET default_transaction_isolation = 'serializable'");
    let read = client.read_only(asked);
    assert_eq!(
        (read.port, read.reply.one().as_str()),
        (primary, "serializable|on")
    );
}

#[test]
fn each_transaction_of_a_pipeline_is_served_where_it_belongs() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    client.query("CREATE TABLE t (id int)");
    let replicas = shared().ports();
    // Syncs of their own, all in one packet.
    let mut one = Frames::default();
    for sql in [
        "BEGIN READ ONLY",
        "SELECT count(*) FROM t",
        "COMMIT",
        "INSERT INTO t VALUES (1)",
    ] {
        one = one.run(sql).sync();
    }
    client.0.put(&one);
    let replies: Vec<_> = (0..4).map(|_| client.0.ready()).collect();
    let errors: Vec<String> = replies.iter().flat_map(|r| r.errors()).collect();
    assert_eq!(errors, [""; 0], "{replies:?}");
    let by = |at: usize| served(&replies[at]).map(|(port, _)| port);
    assert!(
        by(1).is_some_and(|port| replicas.contains(&port)),
        "{replies:?}"
    );
    assert_eq!(
        (by(0), by(2), by(3)),
        (None, None, Some(shared().primary.port()))
    );

    // Queries, in one packet.
    let mut one = Frames::default();
    for sql in [
        "BEGIN READ ONLY",
        "SELECT count(*) FROM t",
        "COMMIT",
        "INSERT INTO t VALUES (2)",
    ] {
        one = one.query(sql);
    }
    client.0.put(&one);
    let replies: Vec<_> = (0..4).map(|_| client.0.ready()).collect();
    assert_eq!(replies[1].one(), "1");
    assert_eq!(
        served(&replies[3]).map(|(port, _)| port),
        Some(shared().primary.port())
    );
    assert_eq!(client.query("SELECT count(*) FROM t").reply.one(), "2");
}

#[test]
fn a_batch_of_one_sync_stays_together() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    client.query("CREATE TABLE t (id int)");
    // The block ends within the batch, and what follows it writes.
    let mut one = Frames::default();
    for sql in [
        "BEGIN READ ONLY",
        "SELECT count(*) FROM t",
        "COMMIT",
        "INSERT INTO t VALUES (1)",
    ] {
        one = one.run(sql);
    }
    let reply = client.0.ask(&one.sync());
    assert_eq!(reply.errors(), [""; 0], "{reply:?}");
    assert_eq!(
        served(&reply).map(|(port, _)| port),
        Some(shared().primary.port())
    );
    // All of it in one text.
    let text = "BEGIN READ ONLY; SELECT count(*) FROM t; COMMIT; INSERT INTO t VALUES (2)";
    let all = client.query(text);
    assert_eq!(
        (all.port, all.reply.errors()),
        (shared().primary.port(), vec![])
    );
    // Behind a block that is held.
    client.silent("BEGIN READ ONLY");
    let all = client.query("SELECT count(*) FROM t; COMMIT; INSERT INTO t VALUES (3)");
    assert_eq!(
        (all.port, all.reply.errors()),
        (shared().primary.port(), vec![])
    );
    client.silent("BEGIN READ ONLY");
    let mut one = Frames::default();
    for sql in [
        "SELECT count(*) FROM t",
        "COMMIT",
        "INSERT INTO t VALUES (4)",
    ] {
        one = one.run(sql);
    }
    let reply = client.ask(&one.sync());
    assert_eq!(
        (reply.port, reply.reply.errors()),
        (shared().primary.port(), vec![])
    );
    // One that ends with its batch is a read like any other.
    let one = Frames::default()
        .run("BEGIN READ ONLY")
        .run("SELECT 1")
        .run("COMMIT");
    let reply = client.ask(&one.sync());
    assert!(shared().ports().contains(&reply.port), "{reply:?}");
    assert_eq!(client.query("SELECT count(*) FROM t").reply.one(), "4");
}

#[test]
fn a_block_that_is_prepared_and_not_run_says_nothing_of_its_batch() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    client.query("CREATE TABLE t (id int)");
    let write = |begun: Frames| begun.run("INSERT INTO t VALUES (1)").sync();
    let modes = ["BEGIN READ ONLY", "SET TRANSACTION READ ONLY"];
    for name in ["", "begin"] {
        for (sql, held) in [(modes[0], false), (modes[1], false), (modes[1], true)] {
            if held {
                client.silent("BEGIN");
            }
            let written = client.ask(&write(Frames::default().parse(name, sql)));
            assert_eq!(written.reply.errors(), [""; 0], "{sql}");
            assert_eq!(written.port, shared().primary.port(), "{sql}");
            if held {
                client.0.query("COMMIT");
            }
            client.0.query("DEALLOCATE ALL");
        }
    }
    assert_eq!(client.query("SELECT count(*) FROM t").reply.one(), "6");
}

#[test]
fn a_write_in_a_read_only_block_is_refused_by_the_server_itself() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    client.query("CREATE TABLE t (id int)");
    client.silent("BEGIN READ ONLY");
    client.query("SELECT 1");
    let refused = client.silent("INSERT INTO t VALUES (1)");
    assert_eq!(
        (refused.errors(), refused.status()),
        (vec!["25006".to_owned()], 'E')
    );
    client.silent("ROLLBACK");
    // Savepoints and errors inside the block are the replica's.
    client.silent("BEGIN READ ONLY");
    assert!(shared().ports().contains(&client.query("SAVEPOINT a").port));
    assert_eq!(client.silent("SELECT 1/0").errors(), ["22012"]);
    client.silent("ROLLBACK TO a");
    assert_eq!(client.silent("SELECT 7").one(), "7");
    client.silent("COMMIT");
}

#[test]
fn a_text_that_ends_the_block_and_goes_on_stays_where_the_block_was() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    client.query("CREATE TABLE t (id int)");
    client.silent("BEGIN READ ONLY");
    assert!(shared().ports().contains(&client.query("SELECT 1").port));
    let reply = client.silent("COMMIT; INSERT INTO t VALUES (1)");
    assert_eq!(
        (reply.errors(), reply.status()),
        (vec!["25006".to_owned()], 'I')
    );
    // As its first statement it is seen beforehand.
    client.silent("BEGIN READ ONLY");
    let all = client.query("SELECT 1; COMMIT; INSERT INTO t VALUES (1)");
    assert_eq!(all.port, shared().primary.port());
    assert_eq!(all.reply.status(), 'I');
    assert_eq!(client.query("SELECT count(*) FROM t").reply.one(), "1");
}

#[test]
fn a_direct_connection_is_answered_the_same() {
    let tenant = Tenant::serving("");
    let mut through = tenant.client();
    let mut direct = Client::direct(&tenant.database).unwrap();
    for sql in [
        "BEGIN",
        "COMMIT",
        "BEGIN READ ONLY",
        "SELECT 1",
        "COMMIT",
        "START TRANSACTION READ ONLY",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SELECT current_setting('transaction_isolation')",
        "ROLLBACK",
        "BEGIN",
        "SET TRANSACTION READ ONLY",
        "CREATE TABLE x (a int)",
        "SELECT 1",
        "COMMIT",
        "BEGIN READ ONLY",
        "SELECT nonsense",
        "SELECT 1",
        "END",
        "begin read only; select 1; commit",
    ] {
        for form in [|sql: &str| Frames::default().query(sql), extended] {
            let (a, b) = (through.0.ask(&form(sql)), direct.ask(&form(sql)));
            assert_eq!(
                (a.tags(), a.rows(), a.errors(), a.commands()),
                (b.tags(), b.rows(), b.errors(), b.commands()),
                "{sql}"
            );
            assert_eq!(a.status(), b.status(), "{sql}");
        }
    }
}

#[test]
fn what_follows_a_read_that_is_asked_after_goes_where_it_belongs() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    client.query("CREATE TABLE t (id int)");
    // What it may leave is asked of the server behind its transaction.
    let body = "BEGIN PERFORM set_config('app.x', n::text, false); RETURN n; END";
    client.query(&format!(
        "CREATE FUNCTION f(n int) RETURNS int LANGUAGE plpgsql AS '{}'",
        body.replace('\'', "''")
    ));
    for n in 1..=40 {
        let mut all = Frames::default();
        for sql in [
            "BEGIN READ ONLY",
            &format!("SELECT f({n})"),
            "COMMIT",
            "INSERT INTO t VALUES (1)",
        ] {
            all = all.query(sql);
        }
        client.0.put(&all);
        let replies: Vec<_> = (0..4).map(|_| client.0.ready()).collect();
        let errors: Vec<String> = replies.iter().flat_map(|r| r.errors()).collect();
        assert_eq!(errors, [""; 0], "{n} {replies:?}");
        assert_eq!(replies[1].one(), n.to_string());
    }
    assert_eq!(client.0.value("SELECT count(*) FROM t"), "40");
}
