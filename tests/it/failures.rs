//! Servers that fail, refuse, restart or change: what clients see, and that they are served again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tenantry::demo::cluster::{Cluster, Mode};

use super::support::client::Client;
use super::support::frames::Frames;
use super::support::patience::eventually;
use super::support::postgres::{Database, server};
use super::support::proxy::{Proxy, Toml};
use super::support::script::ScriptedServer;

/// The message of a refused login.
fn refusal(proxy: &Proxy, tenant: &str) -> String {
    Client::connect(proxy.address(), tenant, &[])
        .unwrap_err()
        .to_string()
}

/// The configuration of one tenant, with a line of its own.
fn toml(database: &Database, pool: &str) -> Toml {
    Toml::default()
        .pool(pool)
        .cluster("main", database.port, "")
        .tenant(&database.name, "main", database, "")
}

#[test]
fn waiting_clients_get_through_when_the_server_is_back() {
    let own = Cluster::builder().start().unwrap();
    own.psql(
        "postgres",
        "CREATE ROLE t0 LOGIN PASSWORD 'server-secret'; CREATE DATABASE t0 OWNER t0;",
    )
    .unwrap_or_else(|_| own.psql("postgres", "CREATE DATABASE t0 OWNER t0").unwrap());
    let database = Database {
        name: "t0".into(),
        port: own.port(),
    };
    let proxy = toml(&database, "size = 6").start();
    let mut clients: Vec<Client> = (0..6).map(|_| proxy.client("t0")).collect();
    let mut in_transaction = proxy.client("t0");
    in_transaction.query("BEGIN");
    own.stop(Mode::Fast).unwrap();
    // Its own transaction is lost, and it is told so.
    let told = in_transaction.end();
    assert_eq!(
        told.first().and_then(|m| m.field(b'C')).as_deref(),
        Some("57P01"),
        "{told:?}"
    );
    for client in &mut clients {
        // All at the same time: each needs a server connection of its own.
        client.put(&Frames::default().query("SELECT pg_sleep(1), 'served'"));
    }
    assert!(clients[0].is_silent(Duration::from_millis(300)));
    own.restart().unwrap();
    let begin = Instant::now();
    for client in &mut clients {
        assert_eq!(client.ready().one(), "|served");
    }
    // One after the other it would take six seconds, and the pauses between attempts besides.
    assert!(
        begin.elapsed() < Duration::from_millis(5_500),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn a_server_that_stays_away_is_told_with_the_true_reason() {
    // A port that nobody listens on any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let database = Database {
        name: "nobody".into(),
        port,
    };
    let proxy = toml(&database, "acquire_timeout = '300ms'").start();
    let text = refusal(&proxy, "nobody");
    assert!(text.starts_with("08006: cannot reach the server"), "{text}");
}

/// Attempts fail; then one at a time probes, with pauses.
#[test]
fn one_attempt_probes_while_the_others_wait() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let counted = Arc::clone(&attempts);
    std::thread::spawn(move || {
        for _socket in listener.incoming().flatten() {
            // Closed at once: a failed attempt.
            counted.fetch_add(1, Ordering::AcqRel);
        }
    });
    let database = Database {
        name: "broken".into(),
        port,
    };
    let proxy = toml(&database, "size = 20\nacquire_timeout = '1500ms'").start();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let text = refusal(&proxy, "broken");
                assert!(text.starts_with("08006"), "{text}");
            });
        }
    });
    // Up to 20 at the start, then after about 50, 100, 200, 400 and 800 ms one each.
    let attempts = attempts.load(Ordering::Acquire);
    assert!((4..=28).contains(&attempts), "{attempts} attempts");
}

#[test]
fn a_killed_backend_in_a_transaction_ends_its_client() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let mut client = proxy.client(&database.name);
    client.query("BEGIN");
    let backend = client.backend();
    database.admin(&format!("SELECT pg_terminate_backend({backend})"));
    let told = client.end();
    let error = told.first().expect("it is told");
    assert_eq!(error.field(b'S').as_deref(), Some("FATAL"));
    assert_eq!(error.field(b'C').as_deref(), Some("57P01"));
    assert_eq!(proxy.client(&database.name).value("SELECT 1"), "1");
}

/// The answer to a query of a server that is shut down right behind it: both arrive at once.
fn answer_and_end() -> Vec<u8> {
    let messages = [
        (b'C', &b"SELECT 0\0"[..]),
        (b'Z', b"I"),
        (b'E', b"SFATAL\0VFATAL\0C57P01\0Mthe end\0\0"),
    ];
    let bytes = messages.map(|(tag, body)| {
        let len = u32::try_from(body.len() + 4).expect("it is short");
        [&[tag][..], &len.to_be_bytes(), body].concat()
    });
    bytes.concat()
}

#[test]
fn what_a_server_says_at_its_end_is_no_answer_to_what_comes_next() {
    let server = ScriptedServer::start(|mut peer| {
        if peer.number > 0 {
            return peer.serve();
        }
        while let Some(message) = peer.read() {
            if message.tag == b'Q' && peer.raw(&answer_and_end()).is_err() {
                return;
            }
        }
    });
    let proxy = Proxy::of(&server.database(), "size = 1");
    let mut client = proxy.client("scripted");
    assert_eq!(client.query("SELECT 1").errors(), [""; 0]);
    // It had no part in that server connection any more.
    assert_eq!(client.value("SELECT 2"), "1");
}

#[test]
fn who_keeps_a_server_connection_is_told_of_its_end_in_its_words() {
    let server = ScriptedServer::start(|mut peer| {
        if peer.read().is_some_and(|message| message.tag == b'Q') {
            // The socket stays open. If the other side is gone the test fails without that.
            let _gone = peer.raw(&answer_and_end());
        }
    });
    let proxy = Proxy::of(&server.database(), "size = 1\nmode = 'session'");
    let mut client = proxy.client("scripted");
    assert_eq!(client.query("SELECT 1").errors(), [""; 0]);
    let told = client.end();
    assert_eq!(told[0].field(b'M').as_deref(), Some("the end"), "{told:?}");
}

#[test]
fn who_waits_for_a_server_connection_that_is_killed_gets_another() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let (mut holder, mut waiting) = (proxy.client(&database.name), proxy.client(&database.name));
    holder.query("BEGIN");
    let backend = holder.backend();
    waiting.put(&Frames::default().query("SELECT 'served'"));
    // The one worker has put it in line when it answers somebody who came later.
    let settled = proxy.client(&database.name).ask(&Frames::default().sync());
    assert_eq!(settled.tags(), "Z");
    database.admin(&format!("SELECT pg_terminate_backend({backend})"));
    assert_eq!(waiting.ready().one(), "served");
}

/// Why somebody waits: because the server gives no further connection, or because all are in use.
#[test]
fn who_waited_in_vain_is_told_what_kept_it_waiting() {
    let database = Database::fresh();
    let name = &database.name;
    database.admin(&format!("ALTER ROLE {name} CONNECTION LIMIT 1"));
    for (size, text) in [
        (2, "too many connections for role"),
        (1, "no server connection"),
    ] {
        let pool = format!("size = {size}\nacquire_timeout = '1500ms'");
        let proxy = Proxy::of(&database, &pool);
        let (mut holder, mut waiting) = (proxy.client(name), proxy.client(name));
        holder.query("BEGIN");
        let reply = waiting.query("SELECT 1");
        assert_eq!(reply.errors(), ["53300"]);
        let told = reply.0[0].field(b'M').unwrap();
        assert!(told.starts_with(text), "{told}");
        drop((holder, waiting, proxy));
        eventually("the server has room again", || database.connections() == 0);
    }
}

#[test]
fn a_killed_idle_backend_is_nobodys_concern() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let mut client = proxy.client(&database.name);
    for _ in 0..3 {
        let backend = client.backend();
        database.admin(&format!("SELECT pg_terminate_backend({backend})"));
        eventually("it is gone", || database.connections() == 0);
        assert_ne!(client.backend(), backend);
    }
}

#[test]
fn a_lost_server_is_08006_and_with_a_commit_in_flight_08007() {
    let server = ScriptedServer::start(|mut peer| {
        while let Some(message) = peer.read() {
            let text = String::from_utf8_lossy(&message.body).into_owned();
            if text.starts_with("COMMIT") || text.starts_with("SELECT 'die'") {
                let _gone = peer.socket.shutdown(std::net::Shutdown::Both);
                return;
            }
            let in_block = [b'C', 0, 0, 0, 10, b'B', b'E', b'G', b'I', b'N', 0];
            let done = match message.tag {
                b'Q' if text.starts_with("BEGIN") => {
                    peer.raw(&in_block).and_then(|()| peer.send(b'Z', b"T"))
                }
                b'Q' => peer.answer("x"),
                _ => return,
            };
            if done.is_err() {
                return;
            }
        }
    });
    let proxy = Proxy::of(&server.database(), "");
    for (sql, code) in [("COMMIT", "08007"), ("SELECT 'die'", "08006")] {
        let mut client = proxy.client("scripted");
        assert_eq!(client.query("BEGIN").status(), 'T');
        client.put(&Frames::default().query(sql));
        let told = client.end();
        let error = told.last().expect("it is told");
        assert_eq!(error.field(b'S').as_deref(), Some("FATAL"));
        assert_eq!(error.field(b'C').as_deref(), Some(code), "{told:?}");
        assert!(error.field(b'H').is_some());
    }
}

#[test]
fn a_password_changed_on_the_server_does_not_strand_the_pool() {
    let database = Database::fresh();
    let before = toml(&database, "size = 2").text();
    let proxy = Proxy::start(&before);
    let mut client = proxy.client(&database.name);
    let mut other = proxy.client(&database.name);
    assert_eq!(client.value("SELECT 1"), "1");
    database.admin(&format!("ALTER ROLE {} PASSWORD 'changed'", database.name));
    // The connection that is there goes on; a new one fails, which is told at once.
    client.query("BEGIN");
    let backend = client.backend();
    database.admin(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE usename = '{}' AND pid <> {backend}",
        database.name
    ));
    proxy.reload(&before.replace(Database::PASSWORD, "changed"));
    assert_eq!(other.value("SELECT 2"), "2");
    assert_eq!(client.query("COMMIT").status(), 'I');
    assert_ne!(client.backend(), backend);
}

#[test]
fn a_wrong_password_is_told_at_once_with_a_hint() {
    let database = Database::fresh();
    let text = toml(&database, "")
        .text()
        .replace(Database::PASSWORD, "wrong");
    let proxy = Proxy::start(&text);
    let begin = Instant::now();
    let text = refusal(&proxy, &database.name);
    assert!(text.starts_with("08006: server login failed"), "{text}");
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "acquire_timeout is 30s"
    );
    // And the next one does not wait for an attempt that may come in some seconds.
    for _ in 0..6 {
        assert!(refusal(&proxy, &database.name).starts_with("08006"));
    }
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn a_missing_database_is_3d000() {
    let mut database = Database::fresh();
    database.name += "_not";
    let role = database.name.trim_end_matches("_not").to_owned();
    let text = toml(&database, "").text();
    let proxy = Proxy::start(&text.replace(
        &format!("user = '{}'", database.name),
        &format!("user = '{role}'"),
    ));
    let text = refusal(&proxy, &database.name);
    assert!(text.starts_with("3D000"), "{text}");
}

#[test]
fn a_server_that_is_full_is_tried_again() {
    let database = Database::fresh();
    database.admin(&format!("ALTER ROLE {} CONNECTION LIMIT 1", database.name));
    let proxy = Proxy::of(&database, "");
    let mut direct = Client::direct(&database).unwrap();
    assert_eq!(direct.value("SELECT 1"), "1");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| proxy.client(&database.name).value("SELECT 'in'"));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!waiting.is_finished());
        drop(direct);
        assert_eq!(waiting.join().unwrap(), "in");
    });
}

/// A tenant without a stored login: its clients' roles and SCRAM keys are used. The verifier is the
/// server's own.
fn passthrough(database: &Database, verifier: &str) -> String {
    let (name, port) = (&database.name, database.port);
    format!(
        "[server]\nlisten = ['127.0.0.1:0']\nworkers = 1\n[auth]\nsecret = 'long enough for the salts of tests'\n\
         [[cluster]]\nname = 'main'\nprimary = '127.0.0.1:{port}'\ntls = 'disable'\n\
         [[tenant]]\nslug = '{name}'\ncluster = 'main'\ndatabase = '{name}'\n\
         roles = [{{ name = 'app', password = '{verifier}' }}]\n"
    )
}

/// `app` exists once on the shared server: one test at a time may change its password.
static APP: Mutex<()> = Mutex::new(());

/// Gives the server's role `app` the clients' password, with a fresh salt, and returns the verifier.
fn salted(database: &Database) -> String {
    database.admin(&format!(
        "DO $$ BEGIN CREATE ROLE app LOGIN; EXCEPTION WHEN duplicate_object THEN END $$; \
         ALTER ROLE app PASSWORD '{}'",
        Client::PASSWORD
    ));
    database.admin("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")
}

#[test]
fn a_clients_own_key_opens_the_server_also_after_a_new_salt() {
    let _alone = APP.lock().unwrap();
    let database = Database::fresh();
    let proxy = Proxy::start(&passthrough(&database, &salted(&database)));
    let mut client = proxy.client(&database.name);
    assert_eq!(client.value("SELECT current_user"), "app");
    // A new salt on both sides: old keys are worth nothing.
    let verifier = salted(&database);
    proxy.reload(&passthrough(&database, &verifier));
    database.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    eventually("it is gone", || database.connections() == 0);
    let mut fresh = proxy.client(&database.name);
    assert_eq!(fresh.value("SELECT current_user"), "app");
    // The newest key serves those who logged in with an older one, too.
    assert_eq!(client.value("SELECT current_user"), "app");
    assert!(server().pid().is_some());
}
