//! Pools: their size, the line of those who wait, and how server connections age.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::support::client::Client;
use super::support::frames::Frames;
use super::support::patience::eventually;
use super::support::postgres::Database;
use super::support::proxy::{Proxy, Toml};
use super::support::script::ScriptedServer;

/// A client that waits in line: the worker has taken note of it when this returns.
fn in_line(proxy: &Proxy, tenant: &str, sql: &str) -> Client {
    let mut client = proxy.client(tenant);
    client.put(&Frames::default().query(sql));
    settled(proxy, tenant);
    client
}

/// What clients have sent before is read when this returns: the one worker answers in order, and
/// answers a Sync by itself.
fn settled(proxy: &Proxy, tenant: &str) {
    let reply = proxy.client(tenant).ask(&Frames::default().sync());
    assert_eq!(reply.tags(), "Z");
}

fn taken(proxy: &Proxy) -> usize {
    proxy
        .app
        .budget()
        .all()
        .iter()
        .map(|(_, node)| node.taken())
        .sum()
}

#[test]
fn size_is_never_exceeded_under_churn() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 3");
    let most = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..8 {
                    let mut client = proxy.client(&database.name);
                    for _ in 0..=round % 3 {
                        let sql = "SELECT count(*) FROM pg_stat_activity \
                                   WHERE datname = current_database()";
                        let seen = client.value(sql).parse().unwrap();
                        most.fetch_max(seen, Ordering::AcqRel);
                    }
                }
            });
        }
    });
    let most = most.into_inner();
    assert!((1..=3).contains(&most), "{most} server connections");
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    let database = Database::fresh();
    database.admin(&format!(
        "CREATE TABLE seen (n int); ALTER TABLE seen OWNER TO {}",
        database.name
    ));
    let proxy = Proxy::of(&database, "size = 1");
    let mut holder = proxy.client(&database.name);
    holder.query("BEGIN");
    let mut waiting: Vec<Client> = (0..8)
        .map(|n| {
            in_line(
                &proxy,
                &database.name,
                &format!("INSERT INTO seen VALUES ({n})"),
            )
        })
        .collect();
    holder.query("COMMIT");
    for client in &mut waiting {
        assert_eq!(client.ready().commands(), ["INSERT 0 1"]);
    }
    let order = database.admin("SELECT string_agg(n::text, '' ORDER BY ctid) FROM seen");
    assert_eq!(order, "01234567");
}

#[test]
fn a_waiter_that_vanishes_is_skipped() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let mut holder = proxy.client(&database.name);
    holder.query("BEGIN");
    let before = proxy.app.clients();
    let gone = in_line(&proxy, &database.name, "SELECT 'gone'");
    let mut stays = in_line(&proxy, &database.name, "SELECT 'stays'");
    drop(gone);
    eventually("its place is free", || proxy.app.clients() == before + 1);
    holder.query("COMMIT");
    assert_eq!(stays.ready().one(), "stays");
    assert_eq!(holder.value("SELECT 1"), "1");
}

/// The slot of a waiter that vanished goes to a client of another tenant, which waits for its own
/// server connection: that of the first tenant must not be given to it.
#[test]
fn the_entry_of_a_vanished_waiter_is_not_taken_for_the_next_client_in_its_slot() {
    let (one, two) = (Database::fresh(), Database::fresh());
    let proxy = Toml::default()
        .pool("size = 1")
        .cluster("main", one.port, "")
        .tenant(&one.name, "main", &one, "")
        .tenant(&two.name, "main", &two, "")
        .start();
    let (mut holds_one, mut holds_two) = (proxy.client(&one.name), proxy.client(&two.name));
    holds_one.query("BEGIN");
    holds_two.query("BEGIN");
    let before = proxy.app.clients();
    let gone = in_line(&proxy, &one.name, "SELECT current_database()");
    let mut stays = in_line(&proxy, &one.name, "SELECT current_database()");
    eventually("nobody else is there", || proxy.app.clients() == before + 2);
    drop(gone);
    eventually("its slot is free", || proxy.app.clients() == before + 1);
    let mut other = proxy.client(&two.name);
    other.put(&Frames::default().query("SELECT current_database()"));
    assert_eq!(holds_two.value("SELECT 1"), "1");
    holds_one.query("COMMIT");
    assert_eq!(stays.ready().one(), one.name);
    holds_two.query("COMMIT");
    assert_eq!(other.ready().one(), two.name);
}

#[test]
fn acquire_timeout_is_told_and_the_client_goes_on() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1\nacquire_timeout = '700ms'");
    let mut holder = proxy.client(&database.name);
    holder.query("BEGIN");
    let mut client = proxy.client(&database.name);
    let reply = client.query("SELECT 1");
    assert_eq!(
        (reply.tags(), reply.errors()),
        ("EZ".into(), vec!["53300".into()])
    );
    let text = reply.0[0].field(b'M').unwrap();
    assert!(
        text.contains("700ms") && text.contains("acquire_timeout"),
        "{text}"
    );
    let hint = reply.0[0].field(b'H').unwrap();
    assert!(hint.contains("pool.size") && hint.contains(" 1 "), "{hint}");
    // Extended: an error, and ReadyForQuery not before the Sync.
    client.put(&Frames::default().run("SELECT 2").flush());
    assert_eq!(client.until(b'E').errors(), ["53300"]);
    client.put(&Frames::default().run("SELECT 3"));
    assert!(client.is_silent(Duration::from_millis(50)));
    assert_eq!(client.ask(&Frames::default().sync()).tags(), "Z");
    holder.query("COMMIT");
    assert_eq!(client.value("SELECT 4"), "4");
    assert_eq!(
        client.ask(&Frames::default().run("SELECT 5").sync()).one(),
        "5"
    );
}

#[test]
fn an_idle_server_connection_is_closed_after_idle_timeout() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "idle_timeout = '100ms'");
    let mut client = proxy.client(&database.name);
    assert_eq!(client.value("SELECT 1"), "1");
    eventually("it is closed", || database.connections() == 0);
    eventually("its permit is back", || taken(&proxy) == 0);
    assert_eq!(client.value("SELECT 2"), "2");
}

#[test]
fn a_server_connection_is_replaced_after_max_lifetime_but_not_in_a_transaction() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1\nmax_lifetime = '100ms'");
    let mut client = proxy.client(&database.name);
    client.query("BEGIN");
    let first = client.backend();
    assert_eq!(client.query("SELECT pg_sleep(0.15)").errors(), [""; 0]);
    assert_eq!(client.backend(), first);
    client.query("COMMIT");
    assert_ne!(client.backend(), first);
    // An idle one, too.
    eventually("it is closed", || database.connections() == 0);
}

#[test]
fn min_size_is_kept_warm_while_there_are_clients() {
    let database = Database::fresh();
    let pool = "min_size = 3\nidle_timeout = '50ms'\nmax_lifetime = '400ms'\npool_ttl = '50ms'";
    let proxy = Proxy::of(&database, pool);
    let client = proxy.client(&database.name);
    eventually("three are open", || database.connections() == 3);
    database.admin(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'",
        database.name
    ));
    eventually("three again", || database.connections() == 3);
    std::thread::sleep(Duration::from_millis(500));
    eventually("three of the next generation", || {
        database.connections() == 3
    });
    drop(client);
    eventually("the pool is forgotten", || database.connections() == 0);
    eventually("with its permits", || taken(&proxy) == 0);
}

#[test]
fn a_pool_without_clients_is_forgotten_and_made_again() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "pool_ttl = '50ms'");
    for _ in 0..3 {
        assert_eq!(proxy.client(&database.name).value("SELECT 1"), "1");
        eventually("its connection is closed", || database.connections() == 0);
        eventually("its permit is back", || taken(&proxy) == 0);
    }
}

#[test]
fn connect_query_runs_on_each_new_server_connection() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, r#"connect_query = "SET work_mem = '5MB'""#);
    let mut client = proxy.client(&database.name);
    assert_eq!(client.value("SHOW work_mem"), "5MB");
}

#[test]
fn a_failing_connect_query_is_told_at_once() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "connect_query = 'SELECT nothing_here'");
    let refused = Client::connect(proxy.address(), &database.name, &[]).unwrap_err();
    let text = refused.to_string();
    assert!(text.starts_with("08006: connect_query failed"), "{text}");
    assert!(text.contains("nothing_here"), "{text}");
}

/// Idle for more than half of `idle_timeout`; `min_size` keeps it open none the less.
const SOON_CHECKED: &str = "size = 1\nmin_size = 1\nidle_timeout = '40ms'";

#[test]
fn a_server_connection_is_asked_after_long_idling_before_it_is_lent() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = ScriptedServer::start(move |mut peer| {
        while let Some(message) = peer.read() {
            if message.tag == b'Q' {
                log.lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&message.body).into_owned());
                let empty = message.body == b"\0";
                let done = if empty {
                    peer.send(b'I', b"").and_then(|()| peer.send(b'Z', b"I"))
                } else {
                    peer.answer("x")
                };
                if done.is_err() {
                    return;
                }
            }
        }
    });
    let proxy = Proxy::of(&server.database(), SOON_CHECKED);
    let mut client = proxy.client("scripted");
    client.value("SELECT 1");
    client.value("SELECT 2");
    std::thread::sleep(Duration::from_millis(60));
    client.value("SELECT 3");
    assert_eq!(
        *seen.lock().unwrap(),
        ["SELECT 1\0", "SELECT 2\0", "\0", "SELECT 3\0"]
    );
}

#[test]
fn one_that_does_not_answer_the_check_is_replaced() {
    let server = ScriptedServer::start(|mut peer| {
        while let Some(message) = peer.read() {
            let check = message.body == b"\0";
            if check || (message.tag == b'Q' && peer.answer(&peer.number.to_string()).is_err()) {
                // Gone as if it had died long ago.
                let _gone = peer.socket.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    });
    let proxy = Proxy::of(&server.database(), SOON_CHECKED);
    let mut client = proxy.client("scripted");
    assert_eq!(client.value("SELECT 1"), "0");
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(client.value("SELECT 1"), "1");
}

/// All of them get the same server connection in one go.
#[test]
fn a_long_line_of_logins_is_served() {
    use std::io::{Read as _, Write as _};
    const CLIENTS: usize = 2_000;
    let database = Database::fresh();
    let toml = |status: &str| {
        Toml::default()
            .pool("size = 1\nmax_clients = 3000")
            .cluster("main", database.port, "")
            .tenant(
                &database.name,
                "main",
                &database,
                &format!("status = '{status}'"),
            )
            .text()
            .replace("[auth]\n", "[auth]\nmethod = 'trust'\n")
    };
    let proxy = Proxy::start(&toml("paused"));
    let mut startup = vec![0, 0, 0, 0, 0, 3, 0, 0];
    startup
        .extend_from_slice(format!("user\0app.{0}\0database\0{0}\0\0", database.name).as_bytes());
    let len = u32::try_from(startup.len()).unwrap();
    startup[..4].copy_from_slice(&len.to_be_bytes());
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut socket = std::net::TcpStream::connect(proxy.address()).unwrap();
            socket.write_all(&startup).unwrap();
            socket
        })
        .collect();
    eventually("all wait", || proxy.app.clients() == CLIENTS);
    proxy.reload(&toml("active"));
    for socket in &mut clients {
        let mut seen = Vec::new();
        while !seen.ends_with(b"Z\0\0\0\x05I") {
            let mut some = [0; 4096];
            let n = socket.read(&mut some).unwrap();
            assert!(n > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&some[..n]);
        }
    }
}
