//! COPY in both directions, in both protocols, with both ways of failing: as PostgreSQL does it.

use super::support::client::{Client, Reply};
use super::support::frames::Frames;
use super::support::postgres::Database;
use super::support::proxy::Proxy;

fn frames() -> Frames {
    Frames::default()
}

/// A database with the table `t`, and a proxy with one server connection.
fn world() -> (Database, Proxy) {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let mut setup = proxy.client(&database.name);
    setup.query("CREATE TABLE t (v int CHECK (v < 100))");
    (database, proxy)
}

/// Sends it all in one packet, and reads so many ReadyForQuery.
fn exchange(client: &mut Client, sent: &Frames, replies: usize) -> Vec<String> {
    client.put(sent);
    (0..replies).map(|_| client.ready().tags()).collect()
}

/// The same packet, on a direct connection and through the proxy (whole, and byte by byte), gives
/// the same messages; the table ends up with `rows`; and the lease comes back.
fn as_direct(sent: &Frames, replies: usize, rows: &str) -> Vec<String> {
    let (database, proxy) = world();
    let mut direct = Client::direct(&database).unwrap();
    let expected = exchange(&mut direct, sent, replies);
    let check = |client: &mut Client| {
        assert_eq!(client.value("SELECT count(*) FROM t"), rows);
        client.query("TRUNCATE t");
    };
    check(&mut direct);
    let mut whole = proxy.client(&database.name);
    assert_eq!(exchange(&mut whole, sent, replies), expected);
    check(&mut proxy.client(&database.name));
    let mut bytewise = proxy.client(&database.name);
    bytewise.put_bytewise(sent);
    let got: Vec<String> = (0..replies).map(|_| bytewise.ready().tags()).collect();
    assert_eq!(got, expected, "byte by byte");
    check(&mut proxy.client(&database.name));
    assert_eq!(whole.value("SELECT 1"), "1");
    expected
}

fn extended_copy() -> Frames {
    frames().run("COPY t FROM STDIN")
}

#[test]
fn simple_copy_in_one_packet() {
    let sent = frames()
        .query("COPY t FROM STDIN")
        .copy_data("1\n2\n")
        .copy_data("3\n")
        .copy_done()
        .query("SELECT 'after'");
    assert_eq!(as_direct(&sent, 2, "3"), ["GCZ", "TDCZ"]);
}

#[test]
fn extended_copy_in_one_packet_with_one_sync() {
    let sent = extended_copy().copy_data("1\n").copy_done().sync();
    assert_eq!(as_direct(&sent, 1, "1"), ["12GCZ"]);
}

#[test]
fn sync_behind_copys_execute_is_eaten() {
    let sent = extended_copy()
        .sync()
        .copy_data("1\n")
        .copy_done()
        .sync()
        .query("SELECT 1");
    assert_eq!(as_direct(&sent, 2, "1"), ["12GCZ", "TDCZ"]);
}

#[test]
fn extended_copy_step_by_step() {
    let (database, proxy) = world();
    let mut a = proxy.client(&database.name);
    a.put(&extended_copy().sync());
    assert_eq!(a.until(b'G').tags(), "12G");
    a.put(&frames().copy_data("1\n"));
    a.put(&frames().copy_data("2\n").copy_done().sync());
    assert_eq!(a.ready().tags(), "CZ");
    assert_eq!(
        proxy.client(&database.name).value("SELECT count(*) FROM t"),
        "2"
    );
}

#[test]
fn extended_copy_of_a_named_statement_on_another_server_connection() {
    let (database, _) = world();
    let proxy = Proxy::of(&database, "size = 2");
    let mut a = proxy.client(&database.name);
    a.ask(&frames().parse("c", "COPY t FROM STDIN").sync());
    let mut other = proxy.client(&database.name);
    other.query("BEGIN");
    a.put(&frames().bind("c", &[]).execute().sync());
    assert_eq!(a.until(b'G').tags(), "2G");
    a.put(&frames().copy_data("1\n").copy_done().sync());
    assert_eq!(a.ready().tags(), "CZ");
}

#[test]
fn copy_fail_in_both_protocols() {
    let simple = frames()
        .query("COPY t FROM STDIN")
        .copy_data("1\n")
        .copy_fail("no more");
    assert_eq!(as_direct(&simple, 1, "0"), ["GEZ"]);
    let extended = extended_copy().copy_data("1\n").copy_fail("no more").sync();
    assert_eq!(as_direct(&extended, 1, "0"), ["12GEZ"]);
}

#[test]
fn constraint_that_fails_in_mid_stream() {
    let simple = frames()
        .query("COPY t FROM STDIN")
        .copy_data("1\n")
        .copy_data("100\n")
        .copy_data("2\n")
        .copy_done()
        .query("SELECT 1");
    assert_eq!(as_direct(&simple, 2, "0"), ["GEZ", "TDCZ"]);
    let extended = extended_copy()
        .copy_data("100\n")
        .copy_data("2\n")
        .copy_done()
        .sync()
        .query("SELECT 1");
    assert_eq!(as_direct(&extended, 2, "0"), ["12GEZ", "TDCZ"]);
}

#[test]
fn client_that_goes_on_with_copy_data_after_the_error() {
    let (database, proxy) = world();
    let mut a = proxy.client(&database.name);
    a.put(
        &frames()
            .query("COPY t FROM STDIN")
            .copy_data("100\n")
            .copy_data("1\n")
            .copy_done(),
    );
    assert_eq!(a.ready().tags(), "GEZ");
    let mut b = proxy.client(&database.name);
    assert_eq!(b.query("BEGIN").status(), 'T');
    // What comes late is for nobody: neither for the server of another session nor answered.
    a.put(&frames().copy_data("1\n").copy_done().query("SELECT 'a'"));
    assert_eq!(b.value("SELECT 'b'"), "b");
    b.query("COMMIT");
    assert_eq!(a.ready().one(), "a");
}

#[test]
fn before_statement_trigger_that_fails() {
    let trigger = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN RAISE EXCEPTION 'no'; END $$; \
        CREATE TRIGGER no BEFORE INSERT ON t EXECUTE FUNCTION no()";
    let dialogues = [
        (extended_copy().copy_data("1\n").copy_done().sync(), 1),
        (extended_copy().sync(), 1),
        (
            frames()
                .query("COPY t FROM STDIN")
                .copy_data("1\n")
                .copy_done(),
            1,
        ),
    ];
    for (sent, replies) in dialogues {
        let (database, proxy) = world();
        proxy.client(&database.name).query(trigger);
        let mut direct = Client::direct(&database).unwrap();
        let expected = exchange(&mut direct, &sent, replies);
        let mut a = proxy.client(&database.name);
        assert_eq!(exchange(&mut a, &sent, replies), expected);
        assert_eq!(a.value("SELECT 1"), "1");
        assert_eq!(
            proxy.client(&database.name).value("SELECT count(*) FROM t"),
            "0"
        );
    }
}

#[test]
fn copy_of_a_missing_table() {
    let sent = extended_copy();
    let sent = Frames(
        String::from_utf8(sent.0)
            .unwrap()
            .replace("COPY t", "COPY x")
            .into_bytes(),
    );
    let expected = as_direct(&sent.sync().query("SELECT 1"), 2, "0");
    assert_eq!(expected[1], "TDCZ");
}

#[test]
fn copy_out_in_both_protocols() {
    let out = "COPY (SELECT generate_series(1, 3)) TO STDOUT";
    let sent = frames().query(out).run(out).sync().query("SELECT 1");
    assert_eq!(as_direct(&sent, 3, "0"), ["HdddcCZ", "12HdddcCZ", "TDCZ"]);
}

#[test]
fn copy_out_that_fails_in_mid_stream() {
    let out = "COPY (SELECT 1 / (3 - v) FROM generate_series(1, 5) v) TO STDOUT";
    let sent = frames().query(out).run(out).sync().query("SELECT 1");
    assert_eq!(as_direct(&sent, 3, "0"), ["HddEZ", "12HddEZ", "TDCZ"]);
}

#[test]
fn who_sends_something_else_in_mid_copy_is_told_and_closed() {
    let (database, proxy) = world();
    let begun = [
        frames().query("COPY t FROM STDIN; COPY t FROM STDIN"),
        extended_copy().sync(),
    ];
    let others = [
        frames().query("SELECT 1"),
        frames().bind("", &[]).sync(),
        frames().describe("s").sync(),
        frames().parse("s", "SELECT 1").sync(),
    ];
    let is_closed = |mut client: Client| {
        let end = client.end();
        let last = end.last().filter(|m| m.tag == b'E').expect("it is told");
        let code = last.field(b'S').zip(last.field(b'C'));
        assert_eq!(code, Some(("FATAL".into(), "08P01".into())), "{end:?}");
        // Nobody else notices.
        let mut next = proxy.client(&database.name);
        assert_eq!(next.value("SELECT count(*) FROM t"), "0");
    };
    for begun in &begun {
        for other in &others {
            let mut pipelined = proxy.client(&database.name);
            pipelined.put(begun);
            pipelined.put(other);
            is_closed(pipelined);
            let mut waiting = proxy.client(&database.name);
            waiting.put(begun);
            waiting.until(b'G');
            waiting.put(other);
            is_closed(waiting);
        }
    }
}

#[test]
fn client_that_vanishes_in_mid_copy_leaves_nothing() {
    let (database, proxy) = world();
    let mut a = proxy.client(&database.name);
    a.put(&frames().query("COPY t FROM STDIN").copy_data("1\n"));
    assert_eq!(a.until(b'G').tags(), "G");
    // Half a message, too.
    a.send(b"d\0\0\0\x092").unwrap();
    drop(a);
    let mut b = proxy.client(&database.name);
    assert_eq!(b.value("SELECT count(*) FROM t"), "0");
    assert_eq!(b.query("SELECT 1").status(), 'I');
}

#[test]
fn multi_statement_string_with_copies() {
    let sent = frames()
        .query("SELECT 1; COPY t FROM STDIN; COPY t TO STDOUT; SELECT 2")
        .copy_data("7\n")
        .copy_done()
        .query("SELECT 3");
    assert_eq!(as_direct(&sent, 2, "1"), ["TDCGCHdcCTDCZ", "TDCZ"]);
}

#[test]
fn copy_of_many_megabytes_streams_both_ways() {
    let (database, proxy) = world();
    let mut a = proxy.client(&database.name);
    a.put(&frames().query("COPY t FROM STDIN"));
    assert_eq!(a.until(b'G').tags(), "G");
    let chunk = "42\n".repeat(100_000);
    for _ in 0..10 {
        a.put(&frames().copy_data(&chunk));
    }
    let reply: Reply = a.ask(&frames().copy_done());
    assert_eq!(reply.commands(), ["COPY 1000000"]);
    a.put(&frames().query("COPY t TO STDOUT"));
    let copied = a.ready().0.iter().filter(|m| m.tag == b'd').count();
    assert_eq!(copied, 1_000_000);
}
