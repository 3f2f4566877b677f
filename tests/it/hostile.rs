//! Peers that misbehave: what they do must end with them.

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use super::support::client::{Client, PATIENCE};
use super::support::frames::Frames;
use super::support::patience::eventually;
use super::support::postgres::Database;
use super::support::proxy::{Proxy, Toml};
use super::support::script::ScriptedServer;

fn frames() -> Frames {
    Frames::default()
}

fn world() -> (Database, Proxy, Client) {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 2");
    let client = proxy.client(&database.name);
    (database, proxy, client)
}

/// Whoever sends such bytes, in whatever state, is told 08P01 and closed; nobody else notices.
fn refused(all: &[&[u8]]) {
    let (database, proxy, mut good) = world();
    let states = [
        frames(),
        frames().query("BEGIN"),
        frames().run("SELECT 1").flush(),
    ];
    for (bytes, before) in all.iter().zip(states.iter().cycle()) {
        let mut bad = proxy.client(&database.name);
        bad.put(before);
        bad.send(bytes).unwrap();
        let last = bad.end().into_iter().rev().find(|m| m.tag == b'E');
        let last = last.expect("the client is told");
        assert_eq!(last.field(b'C').as_deref(), Some("08P01"), "{bytes:?}");
        assert_eq!(last.field(b'S').as_deref(), Some("FATAL"));
        assert_eq!(good.query("SELECT 'good'").tags(), "TDCZ");
    }
}

#[test]
fn lengths_that_cannot_be() {
    refused(&[
        b"Q\0\0\0\0",
        b"P\0\0\0\0",
        b"S\0\0\0\0",
        b"d\0\0\0\0",
        b"Q\0\0\0\x03",
        b"Q\x80\0\0\0",
        b"B\x80\0\0\0",
        b"Q\xff\xff\xff\xff",
        b"Q\x7f\xff\xff\xff",
    ]);
}

#[test]
fn unknown_message_types() {
    refused(&[
        b"?\0\0\0\x04",
        b"p\0\0\0\x04",
        b"Z\0\0\0\x04",
        b"\0\0\0\0\x04",
        b"\xff\0\0\0\x04",
    ]);
}

#[test]
fn strings_without_an_end() {
    refused(&[
        b"P\0\0\0\x08abcd",
        b"B\0\0\0\x08abcd",
        b"B\0\0\0\x07a\0b",
        b"D\0\0\0\x08Sabc",
        b"C\0\0\0\x08Sabc",
    ]);
}

#[test]
fn empty_bodies_are_an_error_and_no_crash() {
    let (database, proxy, mut good) = world();
    for tag in *b"QPBDCEF" {
        let mut bad = proxy.client(&database.name);
        bad.put(&frames().message(tag, b"").sync());
        bad.until(b'E');
        assert_eq!(good.query("SELECT 1").tags(), "TDCZ", "{}", char::from(tag));
    }
}

/// Every kind of message, in an order that makes sense.
fn everything() -> Frames {
    frames()
        .query("CREATE TABLE IF NOT EXISTS t (v text)")
        .parse("s", "INSERT INTO t VALUES ($1) RETURNING v")
        .describe("s")
        .bind("s", &["one"])
        .describe_portal("")
        .execute()
        .flush()
        .sync()
        .query("COPY t FROM STDIN")
        .copy_data("two\n")
        .copy_done()
        .run("SELECT count(*) FROM t")
        .close("s")
        .close_portal("")
        .sync()
        .query("SELECT 1; SELECT 2")
        .query("TRUNCATE t")
}

#[test]
fn packets_and_messages_are_unrelated() {
    let (database, proxy, mut whole) = world();
    whole.query("CREATE TABLE t (v text)");
    let read =
        |client: &mut Client| -> Vec<String> { (0..6).map(|_| client.ready().tags()).collect() };
    whole.put(&everything());
    let expected = ["CZ", "1tT2TDCZ", "GCZ", "12DC33Z", "TDCTDCZ", "CZ"];
    assert_eq!(read(&mut whole), expected);
    let mut bytewise = proxy.client(&database.name);
    bytewise.put_bytewise(&everything());
    assert_eq!(read(&mut bytewise), expected);
    let mut pieces = proxy.client(&database.name);
    for piece in everything().0.chunks(7) {
        pieces.send(piece).unwrap();
    }
    assert_eq!(read(&mut pieces), expected);
}

#[test]
fn large_messages_pass_in_pieces() {
    let (database, proxy, mut a) = world();
    let large = "x".repeat(300 * 1024);
    assert_eq!(a.value(&format!("SELECT length('{large}')")), "307200");
    let mut b = proxy.client(&database.name);
    let sql = format!("SELECT length('{large}')");
    let batch = frames()
        .parse("big", &sql)
        .bind("big", &[])
        .execute()
        .sync();
    assert_eq!(b.ask(&batch).one(), "307200");
    assert_eq!(
        b.ask(&frames().bind("big", &[]).execute().sync()).one(),
        "307200"
    );
    drop((a, b));
    let mut c = proxy.client(&database.name);
    let huge = "y".repeat(20 << 20);
    let batch = frames()
        .parse("", "SELECT length($1)")
        .bind("", &[&huge])
        .execute()
        .sync();
    assert_eq!(c.ask(&batch).one(), "20971520");
}

#[test]
fn large_row_passes() {
    let (_database, _proxy, mut a) = world();
    assert_eq!(a.value("SELECT repeat('x', 50000000)").len(), 50_000_000);
    assert_eq!(a.value("SELECT 1"), "1");
}

#[test]
fn client_that_does_not_read_stops_its_server() {
    const ROW: usize = 64 << 20;
    let (report, reported) = mpsc::sync_channel(64);
    let server = ScriptedServer::start(move |mut peer| {
        if peer.number > 0 {
            return peer.serve();
        }
        peer.read();
        let total = u32::try_from(ROW + 4).unwrap();
        peer.raw(&[b"D", &total.to_be_bytes()[..]].concat()).ok();
        // Nobody takes anything for this long: the pipe is full.
        peer.socket
            .set_write_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let chunk = vec![0; 64 << 10];
        let mut sent = 0;
        while sent < ROW {
            match peer.socket.write(&chunk) {
                Ok(n) => sent += n,
                Err(_) => break,
            }
        }
        report.send(sent).ok();
        peer.read();
    });
    let proxy = Toml::default()
        .pool("size = 2")
        .cluster("main", server.database().port, "")
        .tenant("scripted", "main", &server.database(), "")
        .start();
    let mut a = proxy.client("scripted");
    a.put(&frames().query("SELECT 1"));
    let sent = reported.recv_timeout(PATIENCE).unwrap();
    // What four socket buffers of the kernel hold at most; the proxy itself holds next to nothing.
    assert!(
        sent < ROW / 2,
        "{sent} bytes went into a client that does not read"
    );
    assert_eq!(
        proxy.client("scripted").value("SELECT 1"),
        "1",
        "others are served"
    );
    let socket = socket2::Socket::from(a.socket);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
    eventually("it is noticed", || proxy.app.clients() == 0);
}

#[test]
fn client_that_does_not_read_what_the_proxy_itself_answers_is_not_read() {
    const TOTAL: usize = 64 << 20;
    let (database, proxy, mut a) = world();
    a.socket
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let syncs = b"S\0\0\0\x04".repeat(10_000);
    let mut sent = 0;
    while sent < TOTAL && a.send(&syncs).is_ok() {
        sent += syncs.len();
    }
    assert!(
        sent < TOTAL / 2,
        "{sent} bytes were answered into a client that does not read"
    );
    assert_eq!(proxy.client(&database.name).value("SELECT 1"), "1");
}

#[test]
fn server_that_does_not_read_stops_its_client() {
    const DATA: usize = 64 << 20;
    let server = ScriptedServer::start(|mut peer| {
        if peer.number > 0 {
            return peer.serve();
        }
        peer.read();
        // CopyInResponse; then it reads nothing until the test is over.
        peer.raw(b"G\0\0\0\x07\0\0\0").ok();
        std::thread::park_timeout(PATIENCE);
    });
    let proxy = Toml::default()
        .pool("size = 2")
        .cluster("main", server.database().port, "")
        .tenant("scripted", "main", &server.database(), "")
        .start();
    let mut a = proxy.client("scripted");
    a.put(&frames().query("COPY t FROM STDIN"));
    a.until(b'G');
    // Nobody takes anything for this long: the pipe is full.
    a.socket
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let chunk = frames().copy_data(&"x".repeat(64 << 10)).0;
    let mut sent = 0;
    while sent < DATA && a.send(&chunk).is_ok() {
        sent += chunk.len();
    }
    // As above.
    assert!(
        sent < DATA / 2,
        "{sent} bytes went to a server that does not read"
    );
    assert_eq!(
        proxy.client("scripted").value("SELECT 1"),
        "1",
        "others are served"
    );
}

#[test]
fn clients_that_vanish_anywhere_leave_no_slot_behind() {
    let (database, proxy, mut good) = world();
    let bytes = everything().0;
    for cut in (1..bytes.len()).step_by(47) {
        let mut bad = proxy.client(&database.name);
        bad.send(&bytes[..cut]).unwrap();
    }
    assert_eq!(good.query("SELECT 1").tags(), "TDCZ");
    let deadline = std::time::Instant::now() + PATIENCE;
    while proxy.app.clients() > 1 {
        assert!(
            std::time::Instant::now() < deadline,
            "{} slots leak",
            proxy.app.clients() - 1
        );
        assert_eq!(good.query("SELECT 1").tags(), "TDCZ");
    }
}

/// A server that has not begun with a query when the cancel request comes ignores that, and would
/// work for nobody.
#[test]
fn what_nobody_waits_for_is_cancelled_until_it_ends() {
    let server = ScriptedServer::start(|mut peer| {
        peer.read();
        std::thread::park_timeout(PATIENCE);
    });
    let proxy = Toml::default()
        .cluster("main", server.database().port, "")
        .tenant("scripted", "main", &server.database(), "")
        .start();
    let mut client = proxy.client("scripted");
    client.put(&frames().query("SELECT pg_sleep(1000)"));
    eventually("it is lent", || {
        proxy
            .app
            .budget()
            .all()
            .iter()
            .any(|(_, node)| node.taken() > 0)
    });
    drop(client);
    eventually("it is cancelled again", || server.cancels() > 1);
}

#[test]
fn more_than_fits_behind_what_is_held_back_waits_in_the_kernel() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "");
    let settings = [("options", "-c work_mem=7MB")];
    let mut client = proxy.client_with(&database.name, &settings);
    // What follows a RESET waits for its answer.
    client.put(&frames().query("SELECT pg_sleep(0.5); RESET ALL"));
    let large = format!("SELECT length('{}')", "x".repeat(100_000));
    for _ in 0..8 {
        client.put(&frames().query(&large));
    }
    assert!(client.ready().errors().is_empty());
    for _ in 0..8 {
        assert_eq!(client.ready().one(), "100000");
    }
}
