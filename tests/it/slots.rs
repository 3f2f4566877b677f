//! Places of clients, descriptors, and what reloads leave behind.
//!
//! What counts or limits the descriptors of the whole process runs in a child: this program again,
//! told by its environment to do one test for itself.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::support::alone::alone;
use super::support::client::Client;
use super::support::frames::Frames;
use super::support::patience::eventually;
use super::support::postgres::Database;
use super::support::proxy::{Proxy, Toml};

fn refusal(proxy: &Proxy, tenant: &str) -> String {
    Client::connect(proxy.address(), tenant, &[])
        .unwrap_err()
        .to_string()
}

fn toml(database: &Database, pool: &str) -> Toml {
    Toml::default()
        .pool(pool)
        .cluster("main", database.port, "")
        .tenant(&database.name, "main", database, "")
}

#[test]
fn a_full_proxy_and_a_full_tenant_refuse_with_53300_and_have_room_again() {
    let (one, two) = (Database::fresh(), Database::fresh());
    let proxy = Toml::default()
        .server("max_clients = 3")
        .pool("max_clients = 2")
        .cluster("main", one.port, "")
        .tenant("one", "main", &one, "")
        .tenant("two", "main", &two, "")
        .start();
    let (first, _second) = (proxy.client("one"), proxy.client("one"));
    assert!(refusal(&proxy, "one").starts_with("53300"));
    let _third = proxy.client("two");
    assert!(refusal(&proxy, "two").starts_with("53300"));
    drop(first);
    eventually("there is room", || proxy.app.clients() == 2);
    assert_eq!(proxy.client("one").value("SELECT 1"), "1");
}

#[test]
fn failed_logins_leave_no_place_taken() {
    let database = Database::fresh();
    let proxy = toml(&database, "max_clients = 2")
        .server("max_clients = 4")
        .start();
    for _ in 0..5 {
        assert!(refusal(&proxy, "nobody").starts_with("28P01"));
    }
    // Rubbish, silence, half a startup packet, a reset in the middle of TLS.
    let startup_of_tls = [0, 0, 0, 8, 4, 210, 22, 47];
    for bytes in [&b"rubbish!"[..], b"", b"\0\0\0\x30\0\x03", &startup_of_tls] {
        let mut socket = TcpStream::connect(proxy.address()).unwrap();
        socket.write_all(bytes).unwrap();
        if bytes == startup_of_tls {
            let mut answer = [0];
            socket.read_exact(&mut answer).unwrap();
            socket.write_all(&[22, 3, 1, 1, 0, 1]).unwrap();
        }
        reset(socket);
    }
    eventually("all places are free", || proxy.app.clients() == 0);
    let (_one, mut two) = (proxy.client(&database.name), proxy.client(&database.name));
    assert_eq!(two.value("SELECT 1"), "1");
}

/// Closes with a reset instead of an end.
fn reset(socket: TcpStream) {
    let socket = socket2::Socket::from(socket);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn clients_that_vanish_leave_no_place_taken() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    for round in 0..3 {
        let mut holder = proxy.client(&database.name);
        holder.query("BEGIN");
        let mut waiting: Vec<Client> = (0..4).map(|_| proxy.client(&database.name)).collect();
        for client in &mut waiting {
            client.put(&Frames::default().query("SELECT 1"));
        }
        let mut half_sent = proxy.client(&database.name);
        half_sent.send(b"Q\0\0\0\x20SELECT").unwrap();
        for client in waiting.drain(..2) {
            reset(client.socket);
        }
        drop(waiting);
        drop(half_sent);
        eventually("only the holder is there", || proxy.app.clients() == 1);
        if round == 1 {
            reset(holder.socket);
        }
    }
    eventually("all places are free", || proxy.app.clients() == 0);
    assert_eq!(proxy.client(&database.name).value("SELECT 1"), "1");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn five_hundred_reloads_leave_the_descriptors_as_they_were() {
    if !alone("slots::five_hundred_reloads_leave_the_descriptors_as_they_were") {
        return;
    }
    let (database, other) = (Database::fresh(), Database::fresh());
    let toml = |round: usize| {
        let toml = Toml::default()
            .pool(&format!("size = {}", 5 + round % 2))
            .cluster("main", database.port, "")
            .tenant("stays", "main", &database, "");
        let comes_and_goes = round.is_multiple_of(3);
        if comes_and_goes {
            toml.tenant("other", "main", &other, "").text()
        } else {
            toml.text()
        }
    };
    let proxy = Proxy::start(&toml(0));
    let mut client = proxy.client("stays");
    let round = |number: usize, client: &mut Client| {
        proxy.reload(&toml(number));
        if number.is_multiple_of(50) {
            assert_eq!(client.value("SELECT 1"), "1");
            if number.is_multiple_of(3) {
                assert_eq!(proxy.client("other").value("SELECT 1"), "1");
            }
        }
    };
    round(1, &mut client);
    eventually("the logins have ended", || proxy.app.clients() == 1);
    let before = descriptors();
    for number in 2..502 {
        round(number, &mut client);
    }
    eventually("the descriptors are as before", || descriptors() <= before);
    assert_eq!(client.value("SELECT 1"), "1");
}

/// Accepting fails, is not tried in a loop, and works again.
#[test]
fn a_proxy_out_of_descriptors_recovers() {
    use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
    if !alone("slots::a_proxy_out_of_descriptors_recovers") {
        return;
    }
    let log = Log::default();
    let lines = log.clone();
    tracing_subscriber::fmt()
        .with_writer(move || lines.clone())
        .init();
    let database = Database::fresh();
    let proxy = toml(&database, "").server("max_clients = 5000").start();
    let mut client = proxy.client(&database.name);
    assert_eq!(client.value("SELECT 1"), "1");
    // Both ends of each connection are here. What is left is used up by connections that say
    // nothing, of which the last ones are not accepted.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let limit = u64::try_from(descriptors()).unwrap() + 60;
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
    let mut silent: Vec<TcpStream> = Vec::new();
    while let Ok(socket) = connect(proxy.address()) {
        silent.push(socket);
    }
    assert!(silent.len() >= 30, "{}", silent.len());
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
        let (user, system) = (usage.user_time(), usage.system_time());
        (user.tv_sec() + system.tv_sec()) * 1_000 + (user.tv_usec() + system.tv_usec()) / 1_000
    };
    let before = used();
    std::thread::sleep(Duration::from_millis(600));
    let spent = used() - before;
    assert!(
        spent < 300,
        "{spent} ms of processor time in 600 ms: it spins"
    );
    // Who is there is served.
    assert_eq!(client.value("SELECT 2"), "2");
    assert_eq!(log.count("cannot accept clients for now"), 1, "said once");
    drop(silent);
    eventually("the silent ones have gone", || proxy.app.clients() == 1);
    assert_eq!(proxy.client(&database.name).value("SELECT 3"), "3");
    // It may have run short again while the silent ones went, one by one.
    let short = log.count("cannot accept clients for now");
    assert_eq!(log.count("accepting clients again"), short);
}

/// The log of this process.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn count(&self, text: &str) -> usize {
        let log = self.0.lock().unwrap();
        String::from_utf8_lossy(&log).matches(text).count()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&address, Duration::from_secs(5))
}
