//! Session state in transaction mode beyond plain settings: what is asked after, what pins and for
//! how long, what a pool refuses.
//!
//! Whether a session is pinned is seen by a second one over a pool of one server connection.

use std::time::Duration;

use super::support::client::Client;
use super::support::frames::Frames;
use super::support::postgres::Database;
use super::support::proxy::Proxy;

fn frames() -> Frames {
    Frames::default()
}

/// Two sessions over one server connection.
fn pair(pool: &str) -> (Database, Proxy, Client, Client) {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, &format!("size = 1\n{pool}"));
    let (a, b) = (proxy.client(&database.name), proxy.client(&database.name));
    (database, proxy, a, b)
}

/// Asks something; the other session must keep the server connection.
fn waits(client: &mut Client, sql: &str, why: &str) {
    client.put(&frames().query(sql));
    assert!(client.is_silent(Duration::from_millis(100)), "{why}");
}

/// How a statement is sent.
type Send = fn(&str) -> Frames;

const PROTOCOLS: [Send; 2] = [|sql| frames().query(sql), |sql| frames().run(sql).sync()];

#[test]
fn settings_whose_value_the_text_does_not_tell_follow_their_session() {
    for (sql, name, shown) in [
        ("SELECT set_config('my.x', 'a' || 'b', false)", "my.x", "ab"),
        ("SET DateStyle = 'German'", "DateStyle", "German, DMY"),
        (
            "SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE",
            "TimeZone",
            "<+02>-02",
        ),
        ("SET my.x = E'a\\tb'", "my.x", "a\tb"),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "default_transaction_isolation",
            "serializable",
        ),
        (
            "DO $$ BEGIN PERFORM set_config('my.x', 'do', false); END $$",
            "my.x",
            "do",
        ),
    ] {
        for send in PROTOCOLS {
            let (_database, _proxy, mut a, mut b) = pair("");
            let before = b.value(&format!(
                "SELECT coalesce(current_setting('{name}', true), '')"
            ));
            assert!(a.ask(&send(sql)).errors().is_empty(), "{sql}");
            for _ in 0..2 {
                let seen = b.value(&format!(
                    "SELECT coalesce(current_setting('{name}', true), '')"
                ));
                assert_eq!(seen, before, "{sql}");
                assert_eq!(a.value(&format!("SHOW {name}")), shown, "{sql}");
            }
        }
    }
}

#[test]
fn a_bound_parameter_names_the_setting() {
    let (_database, _proxy, mut a, mut b) = pair("");
    let sql = "SELECT set_config($1, $2, false)";
    let set = frames()
        .parse("s", sql)
        .bind("s", &["work_mem", "7MB"])
        .execute()
        .sync();
    assert_eq!(a.ask(&set).one(), "7MB");
    assert_eq!(b.value("SHOW work_mem"), "4MB");
    assert_eq!(a.value("SHOW work_mem"), "7MB");
    // By its name, elsewhere.
    let again = frames().bind("s", &["work_mem", "8MB"]).execute().sync();
    assert_eq!(a.ask(&again).one(), "8MB");
    assert_eq!(b.value("SHOW work_mem"), "4MB");
    assert_eq!(a.value("SHOW work_mem"), "8MB");
}

#[test]
fn savepoints_take_back_what_they_should_and_pin_nobody() {
    for (around, shown) in [
        ("SAVEPOINT s; SET; ROLLBACK TO s", "4MB"),
        ("SET; SAVEPOINT s; ROLLBACK TO s", "7MB"),
        ("SAVEPOINT s; SET; RELEASE s", "7MB"),
    ] {
        let (_database, _proxy, mut a, mut b) = pair("");
        a.query("BEGIN");
        for sql in around.split("; ") {
            let sql = sql.replace("SET", "SET work_mem = '7MB'");
            assert!(a.query(&sql).errors().is_empty(), "{sql}");
        }
        a.query("COMMIT");
        assert_eq!(b.value("SHOW work_mem"), "4MB", "{around}");
        assert_eq!(a.value("SHOW work_mem"), shown, "{around}");
    }
}

#[test]
fn a_role_is_its_sessions_alone() {
    let (database, _proxy, mut a, mut b) = pair("");
    let other = format!("{}_other", database.name);
    let name = &database.name;
    database.admin(&format!("CREATE ROLE {other}"));
    database.admin(&format!("GRANT {other} TO {name}"));
    for send in PROTOCOLS {
        assert_eq!(
            a.ask(&send(&format!("SET ROLE {other}"))).commands(),
            ["SET"]
        );
        for _ in 0..2 {
            assert_eq!(b.value("SELECT current_user"), *name);
            assert_eq!(a.value("SELECT current_user"), other);
        }
        assert_eq!(a.query("RESET ALL").commands(), ["RESET"]);
        assert_eq!(b.value("SELECT current_user"), *name);
        assert_eq!(a.value("SELECT current_user"), other, "RESET ALL keeps it");
        assert_eq!(a.ask(&send("RESET ROLE")).commands(), ["RESET"]);
        assert_eq!(b.value("SELECT current_user"), *name);
        assert_eq!(a.value("SELECT current_user"), *name);
    }
    a.query(&format!("SET ROLE {other}"));
    database.admin(&format!("REVOKE {other} FROM {name}"));
    b.query("SELECT 1");
    // What follows must not run as somebody else.
    a.put(&frames().query("SELECT current_user"));
    let end = a.end();
    assert!(end.iter().all(|message| message.tag != b'D'), "{end:?}");
    database.admin(&format!("DROP ROLE {other}"));
}

#[test]
fn a_reset_to_a_startup_value_is_seen_at_once() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let start = [
        ("TimeZone", "Asia/Tokyo"),
        ("search_path", "Pg_Catalog, \"Odd\""),
    ];
    let (mut a, mut b) = (
        proxy.client_with(&database.name, &start),
        proxy.client(&database.name),
    );
    for send in PROTOCOLS {
        for (reset, tag) in [
            ("RESET TimeZone", "RESET"),
            ("SET TimeZone TO DEFAULT", "SET"),
            ("SET TIME ZONE LOCAL", "SET"),
            ("RESET ALL", "RESET"),
        ] {
            a.query("BEGIN");
            a.query("SET TimeZone = 'Europe/Rome'");
            assert_eq!(a.ask(&send(reset)).commands(), [tag], "{reset}");
            if reset != "RESET ALL" {
                assert_eq!(a.value("SHOW TimeZone"), "Asia/Tokyo", "{reset}");
                a.query("COMMIT");
                assert_eq!(
                    b.value("SHOW TimeZone"),
                    b.value("SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'")
                );
            } else {
                a.query("ROLLBACK");
            }
        }
    }
    a.query("RESET search_path");
    assert_eq!(a.value("SHOW search_path"), "pg_catalog, \"Odd\"");
}

#[test]
fn a_pin_ends_with_its_reason() {
    for (make, end) in [
        ("CREATE TEMP TABLE t (a int)", "DROP TABLE t"),
        ("CREATE TEMP TABLE t (a int)", "DISCARD TEMP"),
        ("LISTEN c", "UNLISTEN c"),
        ("SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)"),
        (
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_advisory_unlock_all()",
        ),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c"),
        ("PREPARE p AS SELECT 1", "DEALLOCATE p"),
        (
            "DO $$ BEGIN CREATE TEMP TABLE t (a int); END $$",
            "DROP TABLE t",
        ),
    ] {
        for send in PROTOCOLS {
            let (_database, _proxy, mut a, mut b) = pair("max_pins = 1");
            assert!(a.ask(&send(make)).errors().is_empty(), "{make}");
            waits(&mut b, "SELECT 1", make);
            assert!(a.ask(&send(end)).errors().is_empty(), "{end}");
            assert_eq!(b.ready().one(), "1", "{end}");
        }
    }
}

#[test]
fn what_a_transaction_takes_back_pins_nobody() {
    for sql in [
        "BEGIN; CREATE TEMP TABLE t (a int); ROLLBACK",
        "BEGIN; CREATE TEMP TABLE t (a int) ON COMMIT DROP; COMMIT",
        "BEGIN; LISTEN c; ROLLBACK",
        "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; ROLLBACK",
        "CREATE TEMP TABLE t (a int; SELECT 1",
    ] {
        let (_database, _proxy, mut a, mut b) = pair("");
        for sql in sql.split("; ") {
            a.query(sql);
        }
        assert_eq!(b.query("SELECT 1").one(), "1", "{sql}");
    }
}

/// Functions of the tenant's own, reached without being named.
const HIDDEN: &[&str] = &[
    "CREATE TABLE t (a int)",
    "CREATE FUNCTION locks() RETURNS trigger LANGUAGE plpgsql AS \
     'BEGIN PERFORM pg_advisory_lock(7); RETURN new; END'",
    "CREATE TRIGGER locks BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION locks()",
    "CREATE VIEW sets AS SELECT set_config('work_mem', '7MB', false)",
    "CREATE FUNCTION lower(varchar) RETURNS text LANGUAGE plpgsql AS \
     'BEGIN CREATE TEMP TABLE hidden (a int); RETURN $1; END'",
    "CREATE FUNCTION plain() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION dynamic(text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE $1; END'",
];

#[test]
fn what_the_databases_own_functions_leave_is_found() {
    let database = Database::fresh();
    for sql in HIDDEN {
        database.admin(sql);
    }
    database.admin("GRANT ALL ON t, sets TO PUBLIC");
    let proxy = Proxy::of(&database, "size = 1\nmax_pins = 1");
    let client = || proxy.client(&database.name);
    let mut b = client();
    for (pins, release) in [
        ("INSERT INTO t VALUES (1)", "SELECT pg_advisory_unlock(7)"),
        ("SELECT lower('A'::varchar)", "DROP TABLE hidden"),
        ("SELECT dynamic('LISTEN c')", "UNLISTEN *"),
    ] {
        for send in PROTOCOLS {
            let mut a = client();
            assert!(a.ask(&send(pins)).errors().is_empty(), "{pins}");
            waits(&mut b, "SELECT plain()", pins);
            assert!(a.query(release).errors().is_empty(), "{release}");
            assert_eq!(b.ready().one(), "1", "{release}");
        }
    }
    let mut a = client();
    assert_eq!(a.value("SELECT * FROM sets"), "7MB");
    assert_eq!(b.value("SHOW work_mem"), "4MB");
    assert_eq!(a.value("SHOW work_mem"), "7MB");
    // Unseen custom settings may be lost; they never reach another session.
    assert!(
        a.query("SELECT dynamic('SET my.deep = 1')")
            .errors()
            .is_empty()
    );
    assert_eq!(
        b.value("SELECT coalesce(current_setting('my.deep', true), '')"),
        ""
    );
}

#[test]
fn a_function_made_meanwhile_is_looked_at() {
    let (_database, _proxy, mut a, mut b) = pair("max_pins = 1");
    a.query("BEGIN");
    a.query(
        "CREATE FUNCTION pg_temp_not() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_lock(1)'",
    );
    a.query("COMMIT");
    a.query("SELECT pg_temp_not()");
    waits(&mut b, "SELECT 1", "the lock is held");
}

#[test]
fn rejected_state_fails_its_transaction_and_nothing_else() {
    for send in PROTOCOLS {
        let (_database, _proxy, mut a, _b) = pair("session_state = 'reject'");
        for sql in [
            "SET work_mem = '7MB'",
            "SELECT set_config('a.b', 'c', false)",
            "LISTEN c",
            "CREATE TEMP TABLE t (a int)",
        ] {
            let refused = a.ask(&send(sql));
            assert_eq!(refused.errors(), ["0A000"], "{sql}");
            assert_eq!(refused.status(), 'I', "{sql}");
        }
        a.query("BEGIN");
        assert!(
            a.ask(&send("SET LOCAL work_mem = '7MB'"))
                .errors()
                .is_empty()
        );
        assert_eq!(a.ask(&send("SET work_mem = '8MB'")).errors(), ["0A000"]);
        assert_eq!(a.query("SELECT 1").errors(), ["25P02"]);
        assert_eq!(a.query("COMMIT").commands(), ["ROLLBACK"]);
        assert_eq!(a.value("SHOW work_mem"), "4MB");
    }
}

#[test]
fn ignored_state_stays_where_it_was_made() {
    let (_database, _proxy, mut a, mut b) = pair("session_state = 'ignore'");
    a.query("SET work_mem = '7MB'");
    a.query("CREATE TEMP TABLE t (a int)");
    assert_eq!(b.value("SHOW work_mem"), "7MB");
    assert!(b.query("SELECT * FROM t").errors().is_empty());
    // Nor does a name keep its session there.
    a.query("BEGIN");
    a.query("SET LOCAL TimeZone = 'Asia/Tokyo'");
    a.ask(&frames().parse("n", FROZEN).sync());
    a.query("COMMIT");
    assert_eq!(b.value("SELECT 1"), "1");
}

#[test]
fn reset_always_leaves_nothing_of_another_session() {
    let (_database, _proxy, mut a, mut b) = pair("session_state = 'ignore'\nreset = 'always'");
    for sql in [
        "SET work_mem = '7MB'",
        "CREATE TEMP TABLE t (a int)",
        "LISTEN c",
        "SELECT pg_advisory_lock(1)",
    ] {
        assert!(a.query(sql).errors().is_empty(), "{sql}");
    }
    assert_eq!(a.value("SHOW work_mem"), "7MB");
    assert_eq!(b.value("SHOW work_mem"), "4MB");
    assert_eq!(b.query("SELECT * FROM t").errors(), ["42P01"]);
    assert_eq!(b.value("SELECT count(*) FROM pg_listening_channels()"), "0");
    // Other tests use the same server.
    let locks = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
        WHERE locktype = 'advisory' AND datname = current_database()";
    assert_eq!(b.value(locks), "0");
}

#[test]
fn pins_are_limited_and_the_pool_goes_on() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 3\nmax_pins = 1");
    let client = || proxy.client(&database.name);
    let (mut a, mut b) = (client(), client());
    assert!(a.query("LISTEN c").errors().is_empty());
    for send in PROTOCOLS {
        assert_eq!(b.ask(&send("LISTEN c")).errors(), ["53300"]);
        assert_eq!(b.value("SELECT 1"), "1");
    }
    assert!(a.query("UNLISTEN *").errors().is_empty());
    assert_eq!(a.value("SELECT 1"), "1");
    assert!(b.query("LISTEN c").errors().is_empty());
    // One that vanishes makes room as well.
    drop(b);
    super::support::patience::eventually("the pin is gone", || {
        client().query("LISTEN c").errors().is_empty()
    });
}

#[test]
fn sequences_tell_nothing_of_another_transaction() {
    let (database, _proxy, mut a, mut b) = pair("");
    database.admin("CREATE SEQUENCE s");
    database.admin("GRANT ALL ON SEQUENCE s TO PUBLIC");
    for send in PROTOCOLS {
        a.query("SELECT nextval('s')");
        assert_eq!(b.ask(&send("SELECT currval('s')")).errors(), ["55000"]);
        assert_eq!(b.ask(&send("SELECT lastval()")).errors(), ["55000"]);
        a.query("BEGIN");
        let next = a.value("SELECT nextval('s')");
        assert_eq!(a.ask(&send("SELECT currval('s')")).one(), next);
        a.query("COMMIT");
    }
}

#[test]
fn notifications_reach_an_idle_listener() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 2");
    let (mut a, mut b) = (proxy.client(&database.name), proxy.client(&database.name));
    a.query("LISTEN c");
    b.query("NOTIFY c, 'hello'");
    let told = a.until(b'A');
    assert!(told.tags().ends_with('A'));
}

#[test]
fn discard_all_tells_the_client_what_a_direct_connection_would() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let start = [("TimeZone", "Asia/Tokyo"), ("application_name", "mine")];
    let mut pooled = proxy.client_with(&database.name, &start);
    let mut direct = Client::direct_with(&database, &start).expect("the login works");
    for sql in [
        "SET TimeZone = 'Europe/Rome'",
        "DISCARD ALL",
        "SET application_name = 'other'",
        "BEGIN",
        "DISCARD ALL",
        "ROLLBACK",
        "DISCARD ALL",
        "RESET ALL",
    ] {
        let told = |client: &mut Client| client.query(sql).0;
        assert_eq!(told(&mut pooled), told(&mut direct), "{sql}");
    }
}

#[test]
fn statements_of_the_protocol_are_found_by_sql_under_their_names() {
    let (_database, _proxy, mut a, mut b) = pair("");
    a.ask(&frames().parse("P", "SELECT $1::int + 40").sync());
    a.ask(&frames().parse("two words", "SELECT 1").sync());
    for send in PROTOCOLS {
        b.query("SELECT 1");
        assert_eq!(a.ask(&send("EXECUTE \"P\"(2)")).one(), "42");
        assert_eq!(a.ask(&send("execute \"two words\"")).one(), "1");
        assert_eq!(a.ask(&send("EXECUTE p(2)")).errors(), ["26000"]);
        assert_eq!(b.ask(&send("EXECUTE \"P\"(2)")).errors(), ["26000"]);
    }
    let refused = a.ask(&frames().bind("P", &[]).execute().sync());
    let text = refused.0[0].field(b'M').expect("an error");
    assert!(
        text.ends_with("prepared statement \"P\" requires 1"),
        "{text}"
    );
}

/// Seen where a text is parsed on another server connection than the one that the client asked.
#[test]
fn a_schema_change_elsewhere_is_the_servers_own_error_and_no_wrong_data() {
    let database = Database::fresh();
    database.admin("CREATE TABLE t (k int, v bigint)");
    database.admin("GRANT ALL ON t TO PUBLIC");
    let proxy = Proxy::of(&database, "size = 2");
    let (mut a, mut b) = (proxy.client(&database.name), proxy.client(&database.name));
    let describe = |name: &str, sql: &str| frames().parse(name, sql).describe(name).sync();
    a.ask(&describe("read", "SELECT v FROM t"));
    a.ask(&describe("write", "INSERT INTO t VALUES ($1, $2)"));
    b.query("BEGIN");
    let elsewhere = a.backend();
    database.admin("ALTER TABLE t ALTER v TYPE float8");
    b.query("COMMIT");
    let mut c = proxy.client(&database.name);
    // C keeps the server connection on which A has prepared them.
    c.query("BEGIN");
    while c.backend() == elsewhere {
        c.query("COMMIT");
        b.query("BEGIN");
        c.query("BEGIN");
        b.query("COMMIT");
    }
    let write = a.ask(&frames().bind("write", &["1", "7"]).execute().sync());
    assert_eq!(write.commands(), ["INSERT 0 1"]);
    let read = a.ask(&frames().bind("read", &[]).execute().sync());
    assert_eq!(read.errors(), ["0A000"]);
    assert_eq!(
        read.0[0].field(b'R').as_deref(),
        Some("RevalidateCachedQuery")
    );
    // Prepared anew it is a new statement.
    a.ask(&frames().close("read").sync());
    a.ask(&describe("read", "SELECT v FROM t"));
    assert_eq!(
        a.ask(&frames().bind("read", &[]).execute().sync()).one(),
        "7"
    );
}

#[test]
fn a_notice_about_startup_settings_reaches_each_session_that_has_them() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let long = "x".repeat(65);
    let start = [("application_name", long.as_str())];
    let direct = Client::direct_with(&database, &start).expect("the login works");
    assert_eq!(direct.notices.len(), 1);
    for _ in 0..2 {
        let pooled = proxy.client_with(&database.name, &start);
        let codes = |client: &Client| {
            client
                .notices
                .iter()
                .map(|n| n.field(b'C'))
                .collect::<Vec<_>>()
        };
        assert_eq!(codes(&pooled), codes(&direct));
    }
}

/// Each was once found by the differential test.
#[test]
fn batches_around_a_reset_are_as_on_a_direct_connection() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let start = [("TimeZone", "Asia/Tokyo"), ("my.x", "start")];
    let run = |texts: &[&str]| texts.iter().fold(frames(), |f, sql| f.run(sql)).sync();
    let mut direct = Client::direct_with(&database, &start).expect("the login works");
    let mut pooled = proxy.client_with(&database.name, &start);
    let mut other = proxy.client(&database.name);
    direct.ask(&frames().parse("n", FROZEN).sync());
    pooled.ask(&frames().parse("n", FROZEN).sync());
    let named = || {
        frames()
            .run("SET TIME ZONE 3")
            .bind("n", &[])
            .execute()
            .sync()
    };
    for batch in [
        run(&["DISCARD SEQUENCES", "SHOW TimeZone"]),
        run(&["SET TimeZone = 'Europe/Rome'", "RESET ALL", "SHOW TimeZone"]),
        run(&[
            "SET TimeZone = 'Europe/Rome'",
            "RESET TimeZone",
            "SHOW my.x",
        ]),
        run(&["RESET ALL", "SELECT 1/0"]),
        named(),
        run(&["DISCARD ALL", "SHOW TimeZone"]),
        run(&["DISCARD ALL", "SELECT 1/0"]),
        run(&[
            "DISCARD ALL",
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
            "ROLLBACK",
        ]),
        run(&["SHOW TimeZone", "SHOW my.x"]),
    ] {
        // A session with other settings, between them.
        assert_eq!(other.value("SELECT current_setting('TimeZone')"), "Etc/UTC");
        assert_eq!(pooled.ask(&batch).0, direct.ask(&batch).0);
        assert_eq!(
            other.value("SELECT coalesce(current_setting('my.x', true), '')"),
            ""
        );
    }
}

/// Its meaning depends on the time zone in which it is parsed.
const FROZEN: &str = "SELECT extract(epoch FROM '2024-01-01 00:00'::timestamptz)::bigint";
