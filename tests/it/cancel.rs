//! Cancel requests: exactly the running query of that client, never another's.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::support::client::Client;
use super::support::frames::Frames;
use super::support::patience::eventually;
use super::support::postgres::Database;
use super::support::proxy::{Proxy, Toml};

/// Sends a cancel request; its end says that it was carried out.
fn request_cancel(address: SocketAddr, key: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    let len = u32::try_from(8 + key.len()).unwrap();
    let request = [&len.to_be_bytes()[..], &80_877_102_u32.to_be_bytes(), key].concat();
    socket.write_all(&request).unwrap();
    socket
}

/// Sends a cancel request and waits until it was carried out.
fn cancel(address: SocketAddr, key: &[u8]) {
    let mut socket = request_cancel(address, key);
    let mut rest = Vec::new();
    // A reset says the same as an end.
    let _ended = socket.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}

fn sleeping(database: &Database) -> usize {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
               AND query LIKE 'SELECT pg_sleep%' AND datname = current_database()";
    database.admin(sql).parse().unwrap()
}

#[test]
fn a_cancel_ends_the_running_query() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "");
    let mut client = proxy.client(&database.name);
    client.put(&Frames::default().query("SELECT pg_sleep(600)"));
    eventually("it runs", || sleeping(&database) == 1);
    cancel(proxy.address(), &client.cancel_key);
    assert_eq!(client.ready().errors(), ["57014"]);
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_waiting_client_is_answered_here_and_goes_on() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let (mut holder, mut client) = (proxy.client(&database.name), proxy.client(&database.name));
    holder.query("BEGIN");
    client.put(&Frames::default().query("SELECT 1"));
    assert_eq!(
        proxy
            .client(&database.name)
            .ask(&Frames::default().sync())
            .tags(),
        "Z"
    );
    cancel(proxy.address(), &client.cancel_key);
    let reply = client.ready();
    assert_eq!(
        (reply.tags(), reply.errors()),
        ("EZ".into(), vec!["57014".into()])
    );
    // Extended: nothing but the error until its Sync.
    client.put(&Frames::default().run("SELECT 2").flush());
    assert_eq!(
        proxy
            .client(&database.name)
            .ask(&Frames::default().sync())
            .tags(),
        "Z"
    );
    cancel(proxy.address(), &client.cancel_key);
    assert_eq!(client.until(b'E').errors(), ["57014"]);
    assert_eq!(client.ask(&Frames::default().sync()).tags(), "Z");
    holder.query("COMMIT");
    assert_eq!(client.value("SELECT 3"), "3");
}

#[test]
fn a_wrong_key_and_an_idle_client_are_ignored() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let (mut idle, mut busy) = (proxy.client(&database.name), proxy.client(&database.name));
    busy.put(&Frames::default().query("SELECT pg_sleep(0.5), 'slept'"));
    eventually("it runs", || sleeping(&database) == 1);
    let key = busy.cancel_key.clone();
    let mut wrong = key.clone();
    *wrong.last_mut().unwrap() ^= 1;
    cancel(proxy.address(), &wrong);
    cancel(proxy.address(), &key[..4]);
    cancel(proxy.address(), &[&key[..], b"more"].concat());
    // The right process id, the key of another.
    cancel(
        proxy.address(),
        &[&key[..4], &idle.cancel_key[4..]].concat(),
    );
    cancel(proxy.address(), &idle.cancel_key);
    assert_eq!(busy.ready().one(), "|slept");
    assert_eq!(idle.value("SELECT 1"), "1");
}

/// Each client knows which of its queries it asked to be cancelled; the others must all succeed.
#[test]
fn in_a_storm_every_cancelled_query_is_one_whose_client_asked() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 4");
    let address = proxy.address();
    let hit = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for number in 0..12_u32 {
            let (proxy, database, hit) = (&proxy, &database, &hit);
            scope.spawn(move || {
                let mut client = proxy.client(&database.name);
                for round in 0..12_u32 {
                    let asked = (number + round) % 3 == 0;
                    let long = asked || (number + round) % 3 == 1;
                    let seconds = if long { "0.03" } else { "0" };
                    client.put(&Frames::default().query(&format!("SELECT pg_sleep({seconds})")));
                    if asked {
                        std::thread::sleep(Duration::from_millis(u64::from(round * 3)));
                        cancel(address, &client.cancel_key);
                    }
                    let errors = client.ready().errors();
                    match errors.as_slice() {
                        [] => {}
                        [code] if asked && code == "57014" => {
                            hit.fetch_add(1, Ordering::AcqRel);
                        }
                        other => panic!("{other:?}, asked: {asked}"),
                    }
                    // The request may have come too late, to an idle client. Then it was ignored.
                    assert_eq!(client.query("SELECT 1").errors(), [""; 0]);
                }
            });
        }
    });
    assert!(hit.into_inner() > 5);
}

#[test]
fn session_mode_shows_the_servers_process_id_and_cancels() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "mode = 'session'");
    let mut client = proxy.client(&database.name);
    let shown = u32::from_be_bytes(*client.cancel_key.first_chunk().unwrap());
    assert_eq!(client.backend(), shown.to_string());
    client.put(&Frames::default().query("SELECT pg_sleep(600)"));
    eventually("it runs", || sleeping(&database) == 1);
    cancel(proxy.address(), &client.cancel_key);
    assert_eq!(client.ready().errors(), ["57014"]);
    assert_eq!(client.backend(), shown.to_string());
}

#[test]
fn protocol_3_2_has_long_keys() {
    let database = Database::fresh();
    let toml = Toml::default()
        .cluster("main", database.port, "")
        .tenant(&database.name, "main", &database, "")
        .text();
    let proxy = Proxy::start(&toml.replace("[auth]\n", "[auth]\nmethod = 'trust'\n"));
    let mut socket = TcpStream::connect(proxy.address()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let names = format!("user\0app.{0}\0database\0{0}\0\0", database.name);
    let len = u32::try_from(8 + names.len()).unwrap();
    let startup = [&len.to_be_bytes()[..], &[0, 3, 0, 2], names.as_bytes()].concat();
    socket.write_all(&startup).unwrap();
    let mut key = Vec::new();
    loop {
        let (tag, body) = message(&mut socket);
        match tag {
            b'K' => key = body,
            b'Z' => break,
            b'E' => panic!("{}", String::from_utf8_lossy(&body)),
            _ => {}
        }
    }
    assert_eq!(key.len(), 4 + 32);
    socket
        .write_all(&Frames::default().query("SELECT pg_sleep(600)").0)
        .unwrap();
    eventually("it runs", || sleeping(&database) == 1);
    cancel(proxy.address(), &key[..8]);
    assert_eq!(sleeping(&database), 1);
    cancel(proxy.address(), &key);
    let mut tags = Vec::new();
    while tags.last() != Some(&b'Z') {
        tags.push(message(&mut socket).0);
    }
    assert!(tags.contains(&b'E'), "{tags:?}");
}

fn message(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 5];
    socket.read_exact(&mut head).unwrap();
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut body = vec![0; len - 4];
    socket.read_exact(&mut body).unwrap();
    (head[0], body)
}

/// A server whose cancel connections stay open until told; queries are answered by the number of
/// the connection, but settings and `SELECT 'wait'` only when their time has come.
struct SlowCanceller {
    port: u16,
    cancels: mpsc::Receiver<TcpStream>,
    answers: Arc<AtomicUsize>,
}

/// What a [`SlowCanceller`] answers.
const NO_SETTINGS: usize = 0;
const NO_WAIT: usize = 1;
const ALL: usize = 2;

impl SlowCanceller {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, cancels) = mpsc::sync_channel(8);
        let answers = Arc::new(AtomicUsize::new(NO_WAIT));
        let now = Arc::clone(&answers);
        std::thread::spawn(move || {
            for (number, socket) in listener.incoming().flatten().enumerate() {
                let (sender, now) = (sender.clone(), Arc::clone(&now));
                std::thread::spawn(move || {
                    // An error ends the connection, and the test if it needs it.
                    let _ended = serve(socket, number, &sender, &now);
                });
            }
        });
        Self {
            port,
            cancels,
            answers,
        }
    }
}

fn serve(
    mut socket: TcpStream,
    number: usize,
    cancels: &mpsc::SyncSender<TcpStream>,
    answers: &AtomicUsize,
) -> std::io::Result<()> {
    let mut head = [0; 8];
    socket.read_exact(&mut head)?;
    let mut rest = vec![0; u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize - 8];
    socket.read_exact(&mut rest)?;
    if head[4..] == 80_877_102_u32.to_be_bytes() {
        cancels.send(socket).map_err(std::io::Error::other)?;
        return Ok(());
    }
    let login = Frames::default()
        .message(b'R', &[0; 4])
        .message(b'S', b"client_encoding\0UTF8\0")
        .message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2])
        .message(b'Z', b"I");
    socket.write_all(&login.0)?;
    loop {
        let (tag, body) = message(&mut socket);
        if tag != b'Q' {
            return Ok(());
        }
        if String::from_utf8_lossy(&body).contains("WITH RECURSIVE") {
            // The catalog: there is nothing in it.
            let none = Frames::default().message(b'C', b"SELECT 0\0");
            socket.write_all(&none.message(b'Z', b"I").0)?;
            continue;
        }
        let level = match body.as_slice() {
            b"SELECT 'wait'\0" => ALL,
            other if other.starts_with(b"SELECT pg_catalog.set_config") => NO_WAIT,
            _ => NO_SETTINGS,
        };
        while answers.load(Ordering::Acquire) < level {
            std::thread::sleep(Duration::from_millis(2));
        }
        let value = number.to_string();
        let len = u32::try_from(value.len()).unwrap().to_be_bytes();
        let reply = Frames::default()
            .message(
                b'T',
                b"\0\x01v\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0",
            )
            .message(b'D', &[&[0, 1][..], &len, value.as_bytes()].concat())
            .message(b'C', b"SELECT 1\0")
            .message(b'Z', b"I");
        socket.write_all(&reply.0)?;
    }
}

/// A pool of one server connection whose query has ended by itself while a cancel request for it is
/// still on its way: the proxy, the client, the request, and the connection of who asked for it.
fn late_cancel(server: &SlowCanceller, pool: &str) -> (Proxy, Client, TcpStream, TcpStream) {
    let database = Database {
        name: "scripted".into(),
        port: server.port,
    };
    let pool = format!("size = 1\nconnect_timeout = '60s'\n{pool}");
    let proxy = Proxy::of(&database, &pool);
    let mut client = proxy.client("scripted");
    client.put(&Frames::default().query("SELECT 'wait'"));
    assert_eq!(
        proxy
            .client("scripted")
            .ask(&Frames::default().sync())
            .tags(),
        "Z"
    );
    let asking = request_cancel(proxy.address(), &client.cancel_key);
    let request = server
        .cancels
        .recv_timeout(Duration::from_secs(20))
        .unwrap();
    server.answers.store(ALL, Ordering::Release);
    assert_eq!(client.ready().one(), "0");
    (proxy, client, request, asking)
}

/// The server may act on a cancel request until it closes the connection of the request: until then
/// its server connection must not be lent to another client.
#[test]
fn a_lease_is_not_handed_on_while_a_cancel_is_in_flight() {
    let server = SlowCanceller::start();
    let (proxy, _first, request, _asking) = late_cancel(&server, "");
    let mut second = proxy.client("scripted");
    second.put(&Frames::default().query("SELECT 2"));
    assert!(second.is_silent(Duration::from_millis(150)));
    drop(request);
    assert_eq!(second.ready().one(), "0");
}

/// Who cancels may close the connection that it cancels next, and start something else on it.
#[test]
fn the_connection_of_a_cancel_request_ends_when_it_was_carried_out() {
    let server = SlowCanceller::start();
    let (_proxy, _client, request, mut asking) = late_cancel(&server, "");
    asking
        .set_read_timeout(Some(Duration::from_millis(150)))
        .unwrap();
    let early = asking.read(&mut [0]).unwrap_err();
    assert!(matches!(
        early.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    ));
    drop(request);
    asking
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert_eq!(asking.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_late_cancel_does_not_meet_the_next_query_of_the_same_client() {
    let server = SlowCanceller::start();
    let (_proxy, mut client, request, _asking) = late_cancel(&server, "");
    client.put(&Frames::default().query("SELECT 2"));
    assert!(client.is_silent(Duration::from_millis(150)));
    drop(request);
    assert_eq!(client.ready().one(), "0");
}

#[test]
fn a_late_cancel_of_a_client_that_was_ended_meets_nobody() {
    let server = SlowCanceller::start();
    let (proxy, mut client, request, _asking) =
        late_cancel(&server, "client_idle_timeout = '200ms'");
    client.end();
    // Number 1 was the cancel request.
    assert_eq!(proxy.client("scripted").value("SELECT 2"), "2");
    drop(request);
}

/// A cancel request that hit the session's settings would leave the query behind them to run
/// without.
#[test]
fn a_cancel_waits_until_the_settings_of_its_session_are_there() {
    let server = SlowCanceller::start();
    let database = Database {
        name: "scripted".into(),
        port: server.port,
    };
    let proxy = Proxy::of(&database, "size = 1\nconnect_timeout = '60s'");
    let mut client = proxy.client_with("scripted", &[("TimeZone", "UTC")]);
    // Takes the server connection back to its own time zone.
    assert_eq!(proxy.client("scripted").value("SELECT 1"), "0");
    server.answers.store(NO_SETTINGS, Ordering::Release);
    client.put(&Frames::default().query("SELECT 'wait'"));
    let settled = proxy.client("scripted").ask(&Frames::default().sync());
    assert_eq!(settled.tags(), "Z");
    let _waits_for_its_end = request_cancel(proxy.address(), &client.cancel_key);
    let early = server.cancels.recv_timeout(Duration::from_millis(150));
    assert!(early.is_err(), "it was sent while the settings were");
    server.answers.store(NO_WAIT, Ordering::Release);
    let request = server.cancels.recv_timeout(Duration::from_secs(20));
    drop(request.expect("it is sent"));
    server.answers.store(ALL, Ordering::Release);
    assert_eq!(client.ready().one(), "0");
}

#[test]
fn a_client_that_was_cancelled_in_line_is_not_given_a_server_connection() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let client = || proxy.client(&database.name);
    let settled = || assert_eq!(client().ask(&Frames::default().sync()).tags(), "Z");
    let (mut holder, mut refused, mut waits) = (client(), client(), client());
    holder.query("BEGIN");
    refused.put(&Frames::default().query("SELECT 'refused'"));
    settled();
    waits.put(&Frames::default().query("SELECT 'waits'"));
    settled();
    cancel(proxy.address(), &refused.cancel_key);
    assert_eq!(refused.ready().errors(), ["57014"]);
    holder.query("COMMIT");
    assert_eq!(waits.ready().one(), "waits");
}

/// Whether the request was carried out is not known: the server connection is not lent again.
#[test]
fn a_server_connection_whose_cancel_is_in_doubt_is_replaced() {
    let server = SlowCanceller::start();
    let database = Database {
        name: "scripted".into(),
        port: server.port,
    };
    let proxy = Proxy::of(&database, "size = 1\nconnect_timeout = '300ms'");
    let mut client = proxy.client("scripted");
    assert_eq!(client.value("SELECT 1"), "0");
    client.put(&Frames::default().query("SELECT 'wait'"));
    assert_eq!(
        proxy
            .client("scripted")
            .ask(&Frames::default().sync())
            .tags(),
        "Z"
    );
    let _waits_for_its_end = request_cancel(proxy.address(), &client.cancel_key);
    let request = server
        .cancels
        .recv_timeout(Duration::from_secs(20))
        .unwrap();
    server.answers.store(ALL, Ordering::Release);
    assert_eq!(client.ready().one(), "0");
    // Number 1 was the cancel request.
    assert_eq!(client.value("SELECT 2"), "2");
    drop(request);
}

#[test]
fn a_client_that_vanishes_frees_the_server_of_its_query() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let mut client: Client = proxy.client(&database.name);
    client.put(&Frames::default().query("SELECT pg_sleep(600)"));
    eventually("it runs", || sleeping(&database) == 1);
    drop(client);
    assert_eq!(proxy.client(&database.name).value("SELECT 1"), "1");
    eventually("it has ended", || sleeping(&database) == 0);
}
