//! What one session leaves behind, another must never see: neither beside it nor after it.

use super::support::client::Client;
use super::support::frames::Frames;
use super::support::postgres::Database;
use super::support::proxy::Proxy;

/// One session does `leave` and then sees `own` by `probe`; everybody else sees `clean`.
struct Case {
    leave: &'static str,
    probe: &'static str,
    own: &'static str,
    clean: &'static str,
}

const fn case(
    leave: &'static str,
    probe: &'static str,
    own: &'static str,
    clean: &'static str,
) -> Case {
    Case {
        leave,
        probe,
        own,
        clean,
    }
}

const CASES: &[Case] = &[
    case("SET work_mem = '7MB'", "SHOW work_mem", "7MB", "4MB"),
    case(
        "BEGIN; SET work_mem = '7MB'; COMMIT",
        "SHOW work_mem",
        "7MB",
        "4MB",
    ),
    case(
        "SELECT set_config('my.mark', 'secret', false)",
        "SELECT coalesce(current_setting('my.mark', true), '')",
        "secret",
        "",
    ),
    case(
        "CREATE TEMP TABLE mine AS SELECT 1",
        "SELECT coalesce(to_regclass('mine')::text, '')",
        "mine",
        "",
    ),
    case(
        "SET ROLE pg_read_all_data",
        "SELECT (current_user = session_user)::text",
        "false",
        "true",
    ),
    case(
        "LISTEN gossip",
        "SELECT count(*) FROM pg_listening_channels()",
        "1",
        "0",
    ),
    case(
        "SELECT pg_advisory_lock(42)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        "1",
        "0",
    ),
    case(
        "BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT 1; COMMIT",
        "SELECT count(*) FROM pg_cursors WHERE name = 'held'",
        "1",
        "0",
    ),
    case(
        "PREPARE mine AS SELECT 1",
        "SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'",
        "1",
        "0",
    ),
    case(
        "DO $$ BEGIN PERFORM set_config('my.mark', 'secret', false); END $$",
        "SELECT coalesce(current_setting('my.mark', true), '')",
        "secret",
        "",
    ),
];

fn world(size: u32) -> (Database, Proxy) {
    let database = Database::fresh();
    database.admin(&format!("GRANT pg_read_all_data TO {}", database.name));
    let proxy = Proxy::of(&database, &format!("size = {size}"));
    (database, proxy)
}

/// How the state is left: by a simple query, or by the extended protocol.
fn check(leave: impl Fn(&mut Client, &str)) {
    let (database, proxy) = world(3);
    let mut other = proxy.client(&database.name);
    for case in CASES {
        let mut one = proxy.client(&database.name);
        leave(&mut one, case.leave);
        for _ in 0..2 {
            assert_eq!(
                other.value(case.probe),
                case.clean,
                "beside: {}",
                case.leave
            );
            assert_eq!(one.value(case.probe), case.own, "itself: {}", case.leave);
        }
        drop(one);
        // All three server connections at once, whichever it was.
        let mut all: Vec<Client> = (0..3).map(|_| proxy.client(&database.name)).collect();
        for client in &mut all {
            client.query("BEGIN");
            assert_eq!(
                client.value(case.probe),
                case.clean,
                "after: {}",
                case.leave
            );
        }
        for client in &mut all {
            client.query("COMMIT");
        }
    }
}

#[test]
fn state_left_by_simple_queries_is_never_seen_by_another() {
    check(|client, sql| {
        assert!(client.query(sql).errors().is_empty(), "{sql}");
    });
}

#[test]
fn state_left_in_the_extended_protocol_is_never_seen_by_another() {
    check(|client, sql| {
        for sql in split(sql) {
            let reply = client.ask(&Frames::default().run(sql).sync());
            assert!(reply.errors().is_empty(), "{sql}: {reply:?}");
        }
    });
}

/// The extended protocol takes one statement at a time.
fn split(sql: &str) -> Vec<&str> {
    if sql.starts_with("DO") {
        vec![sql]
    } else {
        sql.split("; ").collect()
    }
}

#[test]
fn state_left_by_a_function_call_is_never_seen_by_another() {
    let (database, proxy) = world(3);
    let (mut one, mut other) = (proxy.client(&database.name), proxy.client(&database.name));
    // set_config(text, text, bool), OID 2078, all in text.
    let body = b"\0\0\x08\x1e\0\0\0\x03\0\0\0\x08work_mem\0\0\0\x037MB\0\0\0\x01f\0\0";
    let reply = one.ask(&Frames::default().message(b'F', body));
    assert_eq!(reply.tags(), "VZ", "{reply:?}");
    assert_eq!(other.value("SHOW work_mem"), "4MB");
    assert_eq!(one.value("SHOW work_mem"), "7MB");
    drop(one);
    let mut all: Vec<Client> = (0..3).map(|_| proxy.client(&database.name)).collect();
    for client in &mut all {
        client.query("BEGIN");
        assert_eq!(client.value("SHOW work_mem"), "4MB");
    }
}

/// The second session prepares it without a server connection, since a server has taken it before.
#[test]
fn state_left_by_a_text_that_was_prepared_before_is_never_seen_by_another() {
    let (database, proxy) = world(1);
    let setting = "SELECT set_config('work_mem', '7MB', false)";
    let run = || Frames::default().bind("s", &[]).execute().sync();
    for _ in 0..2 {
        let mut one = proxy.client(&database.name);
        assert_eq!(
            one.ask(&Frames::default().parse("s", setting).sync())
                .tags(),
            "1Z"
        );
        assert_eq!(one.ask(&run()).one(), "7MB");
        assert_eq!(one.value("SHOW work_mem"), "7MB");
        drop(one);
        assert_eq!(proxy.client(&database.name).value("SHOW work_mem"), "4MB");
    }
}

/// With `pg_temp` in the path every new table is a temporary one, whatever its statement says.
#[test]
fn tables_of_a_session_whose_path_makes_them_temporary_are_never_seen_by_another() {
    let (database, proxy) = world(1);
    let path = [("search_path", "pg_temp, public")];
    let mut one = proxy.client_with(&database.name, &path);
    assert!(
        one.query("CREATE TABLE mine AS SELECT 1")
            .errors()
            .is_empty()
    );
    assert_eq!(one.value("SELECT count(*) FROM mine"), "1");
    drop(one);
    let mut other = proxy.client(&database.name);
    assert_eq!(
        other.value("SELECT coalesce(to_regclass('mine')::text, '')"),
        ""
    );
}

#[test]
fn startup_settings_are_there_again_after_a_reset() {
    let (database, proxy) = world(1);
    for _ in 0..3 {
        let mut one = proxy.client_with(&database.name, &[("TimeZone", "Asia/Tokyo")]);
        assert_eq!(one.value("SHOW TimeZone"), "Asia/Tokyo");
        // Pins, so that the server connection is reset.
        assert!(one.query("LISTEN gossip").errors().is_empty());
    }
}

/// Its mode, a way of sending, and what is left.
#[test]
fn what_discard_all_does_not_undo_ends_the_server_connection() {
    let sends: [fn(&str) -> Frames; 2] = [
        |sql| Frames::default().query(sql),
        |sql| Frames::default().run(sql).sync(),
    ];
    let (seed, body) = ("SELECT setseed(0.5)", "DO $$ BEGIN END $$");
    // In transaction mode it is asked what a DO has left.
    for (mode, texts) in [("transaction", &[seed][..]), ("session", &[seed, body])] {
        let database = Database::fresh();
        let proxy = Proxy::of(&database, &format!("mode = '{mode}'\nsize = 1"));
        for (send, sql) in sends
            .into_iter()
            .flat_map(|send| texts.iter().map(move |sql| (send, *sql)))
        {
            let mut one = proxy.client(&database.name);
            let backend = one.backend();
            assert!(one.ask(&send(sql)).errors().is_empty(), "{sql}");
            assert_eq!(one.backend(), backend);
            drop(one);
            assert_ne!(
                proxy.client(&database.name).backend(),
                backend,
                "{mode}: {sql}"
            );
        }
    }
}

#[test]
fn state_left_in_session_mode_is_gone() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "mode = 'session'\nsize = 1");
    let mut one = proxy.client(&database.name);
    one.ask(&Frames::default().run("SET work_mem = '7MB'").sync());
    one.ask(&Frames::default().parse("s", "SELECT 1").sync());
    drop(one);
    let mut other = proxy.client(&database.name);
    assert_eq!(other.value("SHOW work_mem"), "4MB");
    let again = Frames::default().parse("s", "SELECT 2").sync();
    assert_eq!(other.ask(&again).tags(), "1Z");
}

#[test]
fn state_left_by_a_text_too_large_to_be_read_is_never_seen_by_another() {
    let large = format!("/*{}*/ SET work_mem = '7MB'", "x".repeat(200 << 10));
    for extended in [false, true] {
        let (database, proxy) = world(2);
        let mut one = proxy.client(&database.name);
        let sent = if extended {
            Frames::default().run(&large).sync()
        } else {
            Frames::default().query(&large)
        };
        assert_eq!(one.ask(&sent).commands(), ["SET"]);
        assert_eq!(proxy.client(&database.name).value("SHOW work_mem"), "4MB");
        assert_eq!(one.value("SHOW work_mem"), "7MB");
        drop(one);
        let mut all: Vec<Client> = (0..2).map(|_| proxy.client(&database.name)).collect();
        for client in &mut all {
            client.query("BEGIN");
            assert_eq!(client.value("SHOW work_mem"), "4MB");
        }
    }
}

/// It could hit the very statement that takes it back, and whoever comes next would pay for that.
#[test]
fn a_session_with_a_short_time_limit_takes_turns_with_nobody() {
    let (database, proxy) = world(2);
    let short = [("statement_timeout", "5ms")];
    let mut one = proxy.client_with(&database.name, &short);
    let backend = one.backend();
    let mut other = proxy.client(&database.name);
    assert_ne!(other.backend(), backend);
    assert_eq!(one.backend(), backend);
}

#[test]
fn set_local_ends_with_its_transaction_and_does_not_pin() {
    let (database, proxy) = world(1);
    let (mut a, mut b) = (proxy.client(&database.name), proxy.client(&database.name));
    a.query("BEGIN; SET LOCAL work_mem = '7MB'");
    assert_eq!(a.value("SHOW work_mem"), "7MB");
    a.query("COMMIT");
    assert_eq!(b.value("SHOW work_mem"), "4MB");
    assert_eq!(a.value("SHOW work_mem"), "4MB");
}

#[test]
fn notification_reaches_only_who_listens() {
    let (database, proxy) = world(3);
    let (mut a, mut b) = (proxy.client(&database.name), proxy.client(&database.name));
    a.query("LISTEN gossip");
    assert!(
        b.query("NOTIFY gossip, 'secret'")
            .0
            .iter()
            .all(|m| m.tag != b'A')
    );
    let heard = a.until(b'A');
    assert!(heard.0.last().unwrap().body.ends_with(b"gossip\0secret\0"));
    assert!(b.query("SELECT 1").0.iter().all(|m| m.tag != b'A'));
}

#[test]
fn startup_settings_are_each_sessions_own() {
    let (database, proxy) = world(1);
    let with = |zone: &str| proxy.client_with(&database.name, &[("TimeZone", zone)]);
    let (mut utc, mut tokyo) = (with("UTC"), with("Asia/Tokyo"));
    let mut plain = proxy.client(&database.name);
    let default = plain.value("SHOW TimeZone");
    for _ in 0..3 {
        assert_eq!(utc.value("SHOW TimeZone"), "UTC");
        assert_eq!(tokyo.value("SHOW TimeZone"), "Asia/Tokyo");
        assert_eq!(plain.value("SHOW TimeZone"), default);
    }
}

#[test]
fn function_calls_work_and_notices_pass() {
    let (database, proxy) = world(2);
    let mut a = proxy.client(&database.name);
    // int4abs, OID 1397, of a text argument: -7.
    let body = b"\0\0\x05\x75\0\0\0\x01\0\0\0\x02-7\0\0";
    let reply = a.ask(&Frames::default().message(b'F', body));
    assert_eq!(reply.tags(), "VZ");
    assert_eq!(reply.0[0].body, b"\0\0\0\x017");
    let mut b = proxy.client(&database.name);
    let notice = b.query("DROP TABLE IF EXISTS nothing");
    assert_eq!(notice.0.iter().filter(|m| m.tag == b'N').count(), 1);
    assert_eq!(b.query("").tags(), "IZ");
    assert_eq!(
        b.query("SELECT 1; SELECT 2; SELECT 1/0; SELECT 3").tags(),
        "TDCTDCEZ"
    );
    assert_eq!(b.ask(&Frames::default().run("").sync()).tags(), "12IZ");
}

#[test]
fn reset_in_session_mode_goes_back_to_the_startup_value() {
    let db = Database::fresh();
    let proxy = Proxy::of(&db, "mode = \"session\"\nsize = 1");
    for zone in ["Asia/Tokyo", "UTC", "Asia/Tokyo", "Asia/Tokyo"] {
        let mut client = proxy.client_with(&db.name, &[("TimeZone", zone)]);
        assert_eq!(client.value("SHOW TimeZone"), zone);
        client.query("SET TimeZone = 'Europe/Berlin'");
        client.query("RESET TimeZone");
        assert_eq!(client.value("SHOW TimeZone"), zone);
    }
}
