//! When a server connection goes back to its pool, and when it must not.

use std::sync::mpsc;
use std::time::Duration;

use super::support::client::{Client, PATIENCE};
use super::support::frames::Frames;
use super::support::postgres::Database;
use super::support::proxy::{Proxy, Toml};
use super::support::script::{Peer, ScriptedServer};

/// Long enough for a proxy that lends too early to show it.
const MOMENT: Duration = Duration::from_millis(150);
/// Fails when it is executed, not before.
const FAILS: &str = "SELECT 1/(pg_backend_pid() * 0)";

fn frames() -> Frames {
    Frames::default()
}

/// A proxy with one server connection for all, and two clients.
fn pair() -> (Database, Proxy, Client, Client) {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let (a, b) = (proxy.client(&database.name), proxy.client(&database.name));
    (database, proxy, a, b)
}

/// `b` asks and gets nothing as long as `a` has the only server connection.
fn waits(b: &mut Client) {
    b.put(&frames().query("SELECT 'b'"));
    assert!(b.is_silent(MOMENT), "the server connection was lent twice");
}

fn served(b: &mut Client) {
    let reply = b.ready();
    assert_eq!((reply.tags().as_str(), reply.one().as_str()), ("TDCZ", "b"));
}

#[test]
fn lease_is_kept_while_a_transaction_is_open() {
    let (_database, _proxy, mut a, mut b) = pair();
    assert_eq!(a.query("BEGIN").status(), 'T');
    waits(&mut b);
    assert_eq!(a.value("SELECT 'a'"), "a");
    assert_eq!(a.query("COMMIT").status(), 'I');
    served(&mut b);
}

#[test]
fn lease_is_kept_while_in_failed_transaction() {
    let (_database, _proxy, mut a, mut b) = pair();
    a.query("BEGIN");
    assert_eq!(a.query("SELECT 1/0").status(), 'E');
    waits(&mut b);
    assert_eq!(a.query("SELECT 1").errors(), ["25P02"]);
    assert_eq!(a.query("COMMIT").commands(), ["ROLLBACK"]);
    served(&mut b);
}

#[test]
fn lease_is_kept_while_a_sync_is_unanswered() {
    let (database, _proxy, mut a, mut b) = pair();
    let mut holder = Client::direct(&database).unwrap();
    holder.query("SELECT pg_advisory_lock(1)");
    a.put(
        &frames()
            .run("SELECT 1")
            .sync()
            .run("SELECT pg_advisory_xact_lock(1)")
            .sync()
            .run("SELECT 3")
            .sync(),
    );
    assert_eq!(a.ready().one(), "1");
    waits(&mut b);
    holder.query("SELECT pg_advisory_unlock(1)");
    assert_eq!(a.ready().tags(), "12DCZ");
    assert_eq!(a.ready().one(), "3");
    served(&mut b);
}

#[test]
fn lease_is_kept_while_a_reply_is_in_flight() {
    let (database, _proxy, mut a, mut b) = pair();
    let mut holder = Client::direct(&database).unwrap();
    holder.query("SELECT pg_advisory_lock(1)");
    // The first of two queries says idle; the second is still to be answered.
    a.put(
        &frames()
            .query("SELECT 1")
            .query("SELECT pg_advisory_xact_lock(1)"),
    );
    assert_eq!(a.ready().status(), 'I');
    waits(&mut b);
    holder.query("SELECT pg_advisory_unlock(1)");
    assert_eq!(a.ready().tags(), "TDCZ");
    served(&mut b);
}

#[test]
fn lease_is_kept_while_a_batch_has_no_sync() {
    let (_database, _proxy, mut a, mut b) = pair();
    a.put(&frames().run("SELECT 1").flush());
    assert_eq!(a.until(b'C').tags(), "12DC");
    waits(&mut b);
    assert_eq!(a.ask(&frames().run("SELECT 2").sync()).one(), "2");
    served(&mut b);
}

#[test]
fn lease_is_kept_while_a_failed_batch_has_no_sync() {
    let (_database, _proxy, mut a, mut b) = pair();
    a.put(&frames().run(FAILS).flush());
    assert_eq!(a.until(b'E').tags(), "12E");
    waits(&mut b);
    a.put(&frames().run("SELECT 'skipped'").flush());
    assert!(a.is_silent(MOMENT), "the batch is skipped up to its Sync");
    assert_eq!(a.ask(&frames().sync()).tags(), "Z");
    served(&mut b);
}

#[test]
fn error_in_the_middle_of_a_batch_skips_to_its_own_sync() {
    let (_database, _proxy, mut a, mut b) = pair();
    a.put(
        &frames()
            .run("SELECT 1")
            .run(FAILS)
            .run("SELECT 3")
            .sync()
            .run("SELECT 4")
            .sync(),
    );
    let failed = a.ready();
    assert_eq!(
        (failed.tags().as_str(), failed.rows()),
        ("12DC12EZ", vec!["1".to_owned()])
    );
    assert_eq!(a.ready().one(), "4");
    waits_not(&mut b);
}

fn waits_not(b: &mut Client) {
    assert_eq!(b.value("SELECT 'b'"), "b");
}

#[test]
fn packet_that_starts_with_sync_is_answered_once_for_each_sync() {
    let (_database, _proxy, mut a, mut b) = pair();
    a.put(&frames().sync().run("SELECT 1").sync());
    assert_eq!(a.ready().tags(), "Z");
    assert_eq!(a.ready().tags(), "12DCZ");
    // The same while a server connection is held.
    a.query("BEGIN");
    a.put(&frames().sync().run("SELECT 2").sync().query("COMMIT"));
    assert_eq!(
        (a.ready().tags().as_str(), a.ready().one().as_str()),
        ("Z", "2")
    );
    assert_eq!(a.ready().status(), 'I');
    waits_not(&mut b);
}

#[test]
fn several_syncs_in_one_packet_are_all_answered() {
    let (_database, _proxy, mut a, mut b) = pair();
    a.put(&frames().sync().sync().run("SELECT 1").sync().sync().sync());
    let tags: Vec<String> = (0..5).map(|_| a.ready().tags()).collect();
    assert_eq!(tags, ["Z", "Z", "12DCZ", "Z", "Z"]);
    waits_not(&mut b);
    assert_eq!(a.value("SELECT 'a'"), "a");
}

#[test]
fn pipelined_transaction_keeps_its_lease_between_batches() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 2");
    let (mut a, mut b) = (proxy.client(&database.name), proxy.client(&database.name));
    let pid = "SELECT pg_backend_pid()";
    a.put(&frames().run("BEGIN").sync().run(pid).sync());
    assert_eq!(a.ready().status(), 'T');
    let backend = a.ready().one();
    assert_ne!(b.backend(), backend);
    assert_eq!(a.ask(&frames().run(pid).sync()).one(), backend);
    assert_eq!(a.ask(&frames().run("COMMIT").sync()).status(), 'I');
}

fn scripted(script: impl Fn(Peer) + Send + Sync + 'static) -> (ScriptedServer, Proxy) {
    let server = ScriptedServer::start(script);
    let proxy = Toml::default()
        .pool("size = 1")
        .cluster("main", server.database().port, "")
        .tenant("scripted", "main", &server.database(), "")
        .start();
    (server, proxy)
}

/// The first server connection answers its first query by `bytes`; later ones serve well.
fn lost_by(bytes: &'static [u8]) {
    let (_server, proxy) = scripted(move |mut peer| {
        if peer.number > 0 {
            return peer.serve();
        }
        while let Some(message) = peer.read() {
            if message.tag == b'Q' && peer.raw(bytes).is_err() {
                return;
            }
        }
    });
    let mut a = proxy.client("scripted");
    a.put(&frames().query("SELECT 1"));
    let last = a.end().pop().expect("the client is told");
    assert_eq!(
        (last.tag, last.field(b'C').as_deref()),
        (b'E', Some("08006"))
    );
    assert_eq!(
        proxy.client("scripted").value("SELECT 1"),
        "1",
        "of the second one"
    );
}

#[test]
fn server_that_sends_an_unknown_message_is_never_handed_on() {
    lost_by(b"?\0\0\0\x04Z\0\0\0\x05I");
}

#[test]
fn server_that_sends_a_bad_length_is_never_handed_on() {
    lost_by(b"D\0\0\0\x02Z\0\0\0\x05I");
}

#[test]
fn server_that_answers_what_was_not_asked_is_never_handed_on() {
    lost_by(b"1\0\0\0\x04Z\0\0\0\x05I");
}

#[test]
fn server_that_says_an_impossible_status_is_never_handed_on() {
    lost_by(b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05Q");
}

#[test]
fn server_that_says_ready_twice_is_never_handed_on() {
    let (_server, proxy) = scripted(|mut peer| {
        if peer.number > 0 {
            return peer.serve();
        }
        while let Some(message) = peer.read() {
            if message.tag == b'Q' {
                peer.raw(b"I\0\0\0\x04Z\0\0\0\x05IZ\0\0\0\x05I").ok();
            }
        }
    });
    let mut a = proxy.client("scripted");
    a.put(&frames().query(""));
    assert_eq!(a.ready().tags(), "IZ", "its own answer was complete");
    assert_eq!(proxy.client("scripted").value("SELECT 1"), "1");
}

/// The first server connection says `bytes` while it is idle.
fn lost_when_idle_by(bytes: &'static [u8]) {
    let (speak, may_speak) = mpsc::sync_channel(64);
    let (gone, is_gone) = mpsc::sync_channel(64);
    let may_speak = std::sync::Mutex::new(may_speak);
    let (_server, proxy) = scripted(move |mut peer| {
        if peer.number > 0 {
            return peer.serve();
        }
        peer.read();
        peer.answer("0").ok();
        may_speak.lock().unwrap().recv().ok();
        peer.raw(bytes).ok();
        while peer.read().is_some() {}
        gone.send(()).ok();
    });
    let mut a = proxy.client("scripted");
    assert_eq!(a.value("SELECT 1"), "0");
    speak.send(()).unwrap();
    is_gone.recv_timeout(PATIENCE).expect("it is closed");
    assert_eq!(
        a.value("SELECT 1"),
        "1",
        "the client is served by another one"
    );
}

#[test]
fn server_that_speaks_while_idle_is_never_handed_on() {
    lost_when_idle_by(b"Z\0\0\0\x05I");
}

#[test]
fn server_that_sends_half_a_message_while_idle_is_never_handed_on() {
    lost_when_idle_by(b"N\0\0\0\x17SNOTICE\0C00");
}

#[test]
fn half_read_server_connection_of_a_client_that_vanished_is_never_handed_on() {
    let (sent, is_sent) = mpsc::sync_channel(64);
    let (gone, is_gone) = mpsc::sync_channel(64);
    let (_server, proxy) = scripted(move |mut peer| {
        if peer.number > 0 {
            return peer.serve();
        }
        peer.read();
        // A row of which only the beginning comes.
        peer.raw(b"D\0\0\x10\0\0\x01secret").ok();
        sent.send(()).ok();
        while peer.read().is_some() {}
        gone.send(()).ok();
    });
    let mut a = proxy.client("scripted");
    a.put(&frames().query("SELECT 1"));
    is_sent.recv_timeout(PATIENCE).unwrap();
    drop(a);
    is_gone.recv_timeout(PATIENCE).expect("it is closed");
    assert_eq!(proxy.client("scripted").value("SELECT 1"), "1");
}

#[test]
fn server_connection_that_could_not_be_reset_is_never_handed_on() {
    let (_server, proxy) = scripted(|mut peer| {
        while let Some(message) = peer.read() {
            let asked = if message.body == b"DISCARD ALL\0" {
                peer.raw(b"E\0\0\0\x16SERROR\0CXX000\0Mx\0\0Z\0\0\0\x05I")
            } else {
                peer.answer(&peer.number.to_string())
            };
            if asked.is_err() {
                return;
            }
        }
    });
    let mut a = proxy.client("scripted");
    assert_eq!(a.value("LISTEN gossip"), "0");
    drop(a);
    assert_eq!(proxy.client("scripted").value("SELECT 1"), "1");
}

/// A query and the greater part of a message that the server ignores, CopyData outside of COPY; it is
/// so long that it passes in pieces.
fn with_half_a_message() -> (Frames, Vec<u8>) {
    let message = [&b"d\0\x03\0\0"[..], &[b'x'; 0x2_fffc]].concat();
    let (first, rest) = message.split_at(0x2_8000);
    (frames().query("SELECT 1").raw(first), rest.to_vec())
}

#[test]
fn lease_is_kept_while_a_message_of_the_client_is_half_sent() {
    let (_database, _proxy, mut a, mut b) = pair();
    let (first, rest) = with_half_a_message();
    a.put(&first);
    assert_eq!(a.ready().one(), "1");
    b.put(&frames().query("SELECT 2"));
    assert!(b.is_silent(MOMENT));
    a.put(&frames().raw(&rest));
    assert_eq!(b.ready().one(), "2");
}

#[test]
fn server_connection_of_a_client_that_vanished_in_mid_message_is_never_handed_on() {
    let (_database, _proxy, mut a, mut b) = pair();
    let backend = a.backend();
    a.put(&with_half_a_message().0);
    assert_eq!(a.ready().one(), "1");
    drop(a);
    assert_ne!(b.backend(), backend);
}

#[test]
fn lease_is_kept_while_a_message_of_the_server_is_half_read() {
    let (finish, may_finish) = mpsc::sync_channel(64);
    let may_finish = std::sync::Mutex::new(may_finish);
    let (_server, proxy) = scripted(move |mut peer| {
        peer.read();
        // In one packet: the end of the answer, and half a notice.
        peer.raw(b"I\0\0\0\x04Z\0\0\0\x05IN\0\0\0\x17SNOTICE\0C00")
            .ok();
        may_finish.lock().unwrap().recv().ok();
        peer.raw(b"000\0Mx\0\0").ok();
        peer.serve();
    });
    let (mut a, mut b) = (proxy.client("scripted"), proxy.client("scripted"));
    a.put(&frames().query(""));
    assert_eq!(a.ready().tags(), "IZ");
    b.put(&frames().query("SELECT 1"));
    assert!(b.is_silent(MOMENT));
    finish.send(()).unwrap();
    let reply = b.ready();
    assert_eq!((reply.tags().as_str(), reply.one()), ("TDCZ", "0".into()));
}

#[test]
fn transaction_of_a_client_that_vanished_is_never_handed_on() {
    let (database, _proxy, mut a, mut b) = pair();
    database.admin(&format!(
        "CREATE TABLE t (v int); GRANT ALL ON t TO {}",
        database.name
    ));
    a.query("BEGIN");
    assert_eq!(
        a.query("INSERT INTO t VALUES (1)").commands(),
        ["INSERT 0 1"]
    );
    let backend = a.backend();
    drop(a);
    assert_ne!(b.backend(), backend);
    assert_eq!(b.value("SELECT count(*) FROM t"), "0");
    assert_eq!(b.query("SELECT 1").status(), 'I');
}

#[test]
fn terminate_is_obeyed_in_every_state() {
    let (database, proxy, _a, mut b) = pair();
    database.admin(&format!(
        "CREATE TABLE t (v int); GRANT ALL ON t TO {}",
        database.name
    ));
    let states = [
        ("idle", frames()),
        ("in a transaction", frames().query("BEGIN")),
        (
            "in a failed transaction",
            frames().query("BEGIN").query("x"),
        ),
        ("in a batch", frames().run("SELECT 1")),
        ("in a failed batch", frames().run(FAILS)),
        (
            "in COPY",
            frames().query("COPY t FROM STDIN").copy_data("1\n"),
        ),
        (
            "in a large result",
            frames().query("SELECT repeat('x', 50000000)"),
        ),
        ("in a query", frames().query("SELECT pg_sleep(60)")),
    ];
    for (state, sent) in states {
        let mut a = proxy.client(&database.name);
        a.put(&sent.terminate());
        // The pool has one server connection: it must have come back, or have been replaced.
        assert_eq!(b.value("SELECT count(*) FROM t"), "0", "{state}");
        assert_eq!(b.query("SELECT 1").status(), 'I', "{state}");
    }
    let mut waiting = proxy.client(&database.name);
    b.query("BEGIN");
    waiting.put(&frames().query("SELECT 1").terminate());
    assert_eq!(b.query("COMMIT").status(), 'I');
    waiting.end();
    assert_eq!(b.value("SELECT 'b'"), "b");
}
