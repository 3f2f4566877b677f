//! A new process takes over from an old one: clients of either notice nothing.

mod process;
mod service;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::Signal;

use self::process::{Place, Process, RETIRES};
use super::support::client::Client;
use super::support::frames::Frames;
use super::support::patience::eventually;
use super::support::postgres::Database;

/// Ends the test's loops when a thread of it ends.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Counts server connections until `over`, as a superuser sees them; the most that there were.
fn most_connections(database: &Database, databases: &[Database], over: &AtomicBool) -> usize {
    let names: Vec<String> = databases.iter().map(|d| format!("'{}'", d.name)).collect();
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname IN ({})",
        names.join(",")
    );
    let mut watcher = Client::direct(database).unwrap();
    let mut most = 0;
    while !over.load(Ordering::Acquire) {
        most = most.max(watcher.value(&sql).parse().unwrap());
    }
    most
}

fn pgbench(place: &Place, database: &Database, seconds: u32) -> Command {
    std::fs::write(place.path("script.sql"), "SELECT 1;\n").unwrap();
    let mut command = Command::new("pgbench");
    command
        .args(["-n", "-C", "-c", "4", "-T", &seconds.to_string(), "-f"])
        .arg(place.path("script.sql"))
        .args(["-h", "127.0.0.1", "-p", &place.address.port().to_string()])
        .args(["-U", &format!("app.{}", database.name), &database.name])
        .env("PGPASSWORD", Client::PASSWORD)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn three_takeovers_in_a_row_lose_no_connection_and_no_transaction() {
    let database = Database::fresh();
    database.admin(&format!(
        "CREATE TABLE done (n int); GRANT ALL ON done TO {}",
        database.name
    ));
    let databases = [database.clone()];
    let place = Place::of(&databases, "max_connections = 6", "size = 6");
    let mut processes = vec![place.start("p0")];
    let (over, committed, connected) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let bench = pgbench(&place, &database, 8).spawn().unwrap();
    std::thread::scope(|scope| {
        let _ending = Ending(&over);
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    assert_eq!(place.client(&database).value("SELECT 1"), "1");
                    connected.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let run = |mut client: Client| {
            while !over.load(Ordering::Acquire) {
                client.query("BEGIN");
                client.query("INSERT INTO done VALUES (1)");
                assert_eq!(client.query("COMMIT").commands(), ["COMMIT"]);
                committed.fetch_add(1, Ordering::Relaxed);
            }
        };
        for number in 1..=3 {
            // Clients of each process that live until all is over.
            for _ in 0..2 {
                let client = place.client(&database);
                scope.spawn(move || run(client));
            }
            processes.push(place.start(&format!("p{number}")));
            let before = connected.load(Ordering::Relaxed);
            eventually("new connections go on", || {
                connected.load(Ordering::Relaxed) > before + 30
            });
        }
        let output = bench.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && errors.lines().all(|l| l.starts_with("pgbench (")),
            "{errors}"
        );
        assert!(
            report.contains("number of failed transactions: 0 "),
            "{report}"
        );
    });
    assert_eq!(
        database.admin("SELECT count(*) FROM done"),
        committed.load(Ordering::Relaxed).to_string()
    );
    let mut last = processes.pop().unwrap();
    for mut old in processes {
        assert!(old.end().success(), "{}", old.log());
    }
    assert!(last.is_running());
    assert_eq!(place.client(&database).value("SELECT 1"), "1");
    last.says("the older process has ended");
}

#[test]
fn a_cancel_request_finds_its_client_in_the_old_process() {
    let database = Database::fresh();
    let place = Place::of(std::slice::from_ref(&database), "", "");
    let mut old = place.start("old");
    let mut client = place.client(&database);
    let _new = place.succeed(&old, "new");
    client.put(&Frames::default().query("SELECT pg_sleep(600)"));
    eventually("it runs", || {
        database.admin("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'") == "1"
    });
    let mut request = TcpStream::connect(place.address).unwrap();
    let mut bytes = (u32::try_from(client.cancel_key.len()).unwrap() + 8)
        .to_be_bytes()
        .to_vec();
    bytes.extend(80_877_102_u32.to_be_bytes());
    bytes.extend(&client.cancel_key);
    request.write_all(&bytes).unwrap();
    // Its end is the word that it was carried out.
    std::io::copy(&mut request, &mut std::io::sink()).unwrap();
    assert_eq!(client.ready().errors(), ["57014"]);
    assert_eq!(client.value("SELECT 'next'"), "next");
    drop(client);
    assert!(old.end().success());
}

#[test]
fn both_keep_to_one_cap_and_both_make_progress() {
    const CAP: usize = 4;
    let databases = [Database::fresh(), Database::fresh()];
    let place = Place::of(
        &databases,
        &format!("max_connections = {CAP}"),
        "size = 4\nmin_size = 2",
    );
    let watched = Database::fresh();
    let mut processes = Vec::new();
    let over = AtomicBool::new(false);
    let counts: Vec<AtomicUsize> = (0..6).map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        let ending = Ending(&over);
        let watcher = scope.spawn(|| most_connections(&watched, &databases, &over));
        for number in 0..3_usize {
            processes.push(place.start(&format!("p{number}")));
            for (at, database) in databases.iter().enumerate() {
                let count = &counts[number * 2 + at];
                for _ in 0..3 {
                    let mut client = place.client(database);
                    let over = &over;
                    scope.spawn(move || {
                        while !over.load(Ordering::Acquire) {
                            assert_eq!(client.value("SELECT 1 FROM pg_sleep(0.002)"), "1");
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            }
        }
        let before: Vec<usize> = counts.iter().map(|c| c.load(Ordering::Relaxed)).collect();
        for (count, before) in counts.iter().zip(before) {
            eventually("each tenant makes progress in each process", || {
                count.load(Ordering::Relaxed) > before + 20
            });
        }
        drop(ending);
        let most = watcher.join().unwrap();
        assert!((1..=CAP).contains(&most), "{most} server connections");
    });
    let mut last = processes.pop().unwrap();
    for mut old in processes {
        assert!(old.end().success());
    }
    last.signal(Signal::SIGTERM);
    assert!(last.end().success());
}

#[test]
fn a_new_process_that_cannot_start_leaves_the_old_one_as_it_was() {
    let database = Database::fresh();
    let place = Place::of(std::slice::from_ref(&database), "", "");
    let mut old = place.start("old");
    let mut client = place.client(&database);
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let wrong = [
        (place.config("") + "nonsense = 1\n", 2),
        (
            place.config(&format!(", '{}'", busy.local_addr().unwrap())),
            1,
        ),
    ];
    for (config, code) in wrong {
        let mut new = Process::spawn(&place.path("new"), &config, &[]);
        assert_eq!(new.end().code(), Some(code), "{}", new.log());
        std::fs::remove_file(place.path("new.notify")).unwrap();
        assert_eq!(place.client(&database).value("SELECT 1"), "1");
        assert_eq!(client.value("SELECT 2"), "2");
    }
    let _new = place.start("good");
    drop(client);
    assert!(old.end().success());
}

#[test]
fn the_old_process_accepts_again_when_the_new_one_is_killed_or_ends() {
    let database = Database::fresh();
    let place = Place::of(std::slice::from_ref(&database), "max_connections = 2", "");
    let mut old = place.start("old");
    let mut client = place.client(&database);
    for (name, signal) in [("killed", Signal::SIGKILL), ("ended", Signal::SIGTERM)] {
        let mut new = place.succeed(&old, name);
        assert_eq!(place.client(&database).value("SELECT 1"), "1");
        new.signal(signal);
        assert_eq!(new.end().success(), signal == Signal::SIGTERM);
        for _ in 0..20 {
            assert_eq!(place.client(&database).value("SELECT 1"), "1");
        }
        assert_eq!(client.value("SELECT 2"), "2");
        assert!(old.is_running());
        eventually("it has the path again", || {
            UnixStream::connect(place.path("takeover.sock")).is_ok()
        });
    }
    let mut last = place.start("last");
    drop(client);
    assert!(old.end().success());
    last.signal(Signal::SIGTERM);
    assert!(last.end().success());
    assert!(!place.path("takeover.sock").exists());
}

#[test]
fn the_places_of_a_killed_old_process_come_back() {
    let databases = [Database::fresh(), Database::fresh()];
    let place = Place::of(&databases, "max_connections = 1", "");
    let mut old = place.start("old");
    let mut holder = place.client(&databases[0]);
    holder.query("BEGIN");
    let new = place.succeed(&old, "new");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| place.client(&databases[1]).value("SELECT 'served'"));
        std::thread::sleep(Process::MOMENT);
        assert!(!waiting.is_finished(), "the only place is taken");
        old.kill();
        assert_eq!(waiting.join().unwrap(), "served");
    });
    new.says("the older process has ended");
}

/// The newer process's waiter gets the older one's idle connection, and the other way round.
#[test]
fn idle_connections_make_room_for_the_other_process() {
    let databases = [Database::fresh(), Database::fresh()];
    let place = Place::of(&databases, "max_connections = 1", "acquire_timeout = '15s'");
    let old = place.start("old");
    let mut of_old = place.client(&databases[0]);
    assert_eq!(of_old.value("SELECT 1"), "1");
    let _new = place.succeed(&old, "new");
    let mut of_new = place.client(&databases[1]);
    for round in 0..5 {
        let expected = round.to_string();
        assert_eq!(of_new.value(&format!("SELECT {round}")), expected);
        assert_eq!(of_old.value(&format!("SELECT {round}")), expected);
    }
}

#[test]
fn who_lent_is_replaced_by_its_own_successor_when_it_is_killed() {
    let databases = [Database::fresh(), Database::fresh()];
    let place = Place::of(&databases, "max_connections = 1", "");
    let mut first = place.start("first");
    let mut client = place.client(&databases[0]);
    let mut second = place.succeed(&first, "second");
    let kept = place.client(&databases[0]);
    let third = place.succeed(&second, "third");
    second.kill();
    drop(kept);
    first.says("another one serves");
    third.says("the older process has ended");
    client.query("BEGIN");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| place.client(&databases[1]).value("SELECT 'served'"));
        std::thread::sleep(Process::MOMENT);
        assert!(!waiting.is_finished(), "both keep to one cap");
        client.query("COMMIT");
        assert_eq!(waiting.join().unwrap(), "served");
    });
    assert_eq!(client.value("SELECT 1"), "1");
    drop(client);
    assert!(first.end().success(), "{}", first.log());
}

#[test]
fn unix_sockets_survive_and_what_the_new_one_does_not_name_is_closed() {
    let database = Database::fresh();
    let place = Place::of(std::slice::from_ref(&database), "", "");
    let (kept, given_up) = (place.path("kept"), place.path("given-up"));
    for dir in [&kept, &given_up] {
        std::fs::create_dir(dir).unwrap();
    }
    let file = |dir: &std::path::Path| dir.join(format!(".s.PGSQL.{}", place.address.port()));
    let unix = |dir: &std::path::Path| format!(", 'unix:{}'", dir.display());
    let both = unix(&kept) + &unix(&given_up);
    let mut old = place.start_with("old", &place.config(&both));
    assert!(file(&kept).exists() && file(&given_up).exists());
    let client = place.client(&database);
    let mut new = place.start_with("new", &place.config(&unix(&kept)));
    old.says(RETIRES);
    eventually("nobody listens where nobody accepts", || {
        UnixStream::connect(file(&given_up)).is_err() && !file(&given_up).exists()
    });
    drop(client);
    assert!(old.end().success());
    assert!(UnixStream::connect(file(&kept)).is_ok());
    new.says("the older process has ended");
    new.signal(Signal::SIGTERM);
    assert!(new.end().success());
    assert!(!file(&kept).exists());
}

#[test]
fn the_http_port_goes_to_whoever_serves() {
    let database = Database::fresh();
    let place = Place::of(std::slice::from_ref(&database), "", "");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let http = free.local_addr().unwrap();
    drop(free);
    let config = place
        .config("")
        .replace("takeover =", &format!("http = '{http}'\ntakeover ="));
    let ready = || {
        let mut answer = String::new();
        let asked = TcpStream::connect(http).and_then(|mut socket| {
            socket.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")?;
            socket.read_to_string(&mut answer)
        });
        asked.is_ok() && answer.starts_with("HTTP/1.1 200")
    };
    let serving = "serving metrics and health over HTTP";
    let old = place.start_with("old", &config);
    let _client = place.client(&database);
    eventually("the old one answers", ready);
    let mut new = place.start_with("new", &config);
    new.says(serving);
    eventually("the new one answers", ready);
    new.kill();
    eventually("the old one has it again", || {
        old.log().matches(serving).count() == 2
    });
    eventually("it answers again", ready);
}

#[test]
fn a_retiring_process_drains_on_sigterm() {
    let database = Database::fresh();
    let place = Place::of(std::slice::from_ref(&database), "", "");
    let mut old = place.start("old");
    let (mut idle, mut busy) = (place.client(&database), place.client(&database));
    busy.query("BEGIN");
    let _new = place.succeed(&old, "new");
    old.signal(Signal::SIGTERM);
    let last = idle.end();
    assert_eq!(last[0].field(b'C').as_deref(), Some("57P01"));
    assert_eq!(busy.query("COMMIT").commands(), ["COMMIT"]);
    assert!(old.end().success());
    assert_eq!(place.client(&database).value("SELECT 1"), "1");
}

/// One message of the takeover, as it is on the wire.
fn frame(json: &str) -> Vec<u8> {
    let length = u32::try_from(json.len()).unwrap().to_be_bytes();
    [&length, json.as_bytes()].concat()
}

#[test]
fn strangers_at_the_takeover_socket_change_nothing() {
    let database = Database::fresh();
    let place = Place::of(std::slice::from_ref(&database), "", "");
    let mut old = place.start("old");
    let other_version = frame(r#"{"say":"hello","version":999,"pid":1,"wants":"listeners"}"#);
    let too_early = frame(r#"{"say":"serving"}"#);
    let vanishes = frame(r#"{"say":"hello","version":1,"pid":1,"wants":"listeners"}"#);
    for (bytes, refused) in [
        (other_version, true),
        (too_early, false),
        (vanishes, false),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), false),
    ] {
        let mut peer = UnixStream::connect(place.path("takeover.sock")).unwrap();
        peer.write_all(&bytes).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _reset = peer.read_to_end(&mut answer);
        assert_eq!(
            String::from_utf8_lossy(&answer).contains("refused"),
            refused
        );
        assert_eq!(place.client(&database).value("SELECT 1"), "1");
    }
    let _new = place.start("new");
    assert!(old.end().success());
}

#[test]
fn a_new_process_that_is_refused_says_so_and_ends() {
    let database = Database::fresh();
    let place = Place::of(&[database], "", "");
    let old = std::os::unix::net::UnixListener::bind(place.path("takeover.sock")).unwrap();
    let mut new = Process::spawn(&place.path("new"), &place.config(""), &[]);
    let (mut peer, _) = old.accept().unwrap();
    let refused = frame(r#"{"say":"refused","reason":"of another time"}"#);
    peer.write_all(&refused).unwrap();
    assert_eq!(new.end().code(), Some(1));
    assert!(new.log().contains("of another time"), "{}", new.log());
}
