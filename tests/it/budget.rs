//! `max_connections` of a cluster: a hard cap of its node, whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::support::client::Client;
use super::support::frames::Frames;
use super::support::patience::eventually;
use super::support::postgres::Database;
use super::support::proxy::{Proxy, Toml};
use super::support::script::ScriptedServer;

/// One node with that many connections for tenants named as their databases.
fn node(databases: &[Database], max: usize, pool: &str) -> Toml {
    let toml = Toml::default().pool(pool).cluster(
        "main",
        databases[0].port,
        &format!("max_connections = {max}"),
    );
    databases
        .iter()
        .fold(toml, |toml, d| toml.tenant(&d.name, "main", d, ""))
}

fn taken(proxy: &Proxy) -> usize {
    proxy.app.budget().all()[0].1.taken()
}

/// Ends the test's loops when a thread of it ends.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn the_cap_holds_over_tenants_pools_and_workers() {
    const CAP: usize = 4;
    let databases: Vec<Database> = (0..5).map(|_| Database::fresh()).collect();
    let proxy = node(
        &databases,
        CAP,
        "size = 3\nidle_timeout = '30ms'\nmax_lifetime = '100ms'",
    )
    .server("")
    .text()
    .replace("workers = 1", "workers = 2");
    let proxy = Proxy::start(&proxy);
    let names: Vec<String> = databases.iter().map(|d| format!("'{}'", d.name)).collect();
    let count = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname IN ({}) AND pid <> pg_backend_pid()",
        names.join(",")
    );
    let watcher_of = Database::fresh();
    let mut watcher = Client::direct(&watcher_of).unwrap();
    let over = AtomicBool::new(false);
    let done = AtomicUsize::new(0);
    let mut most = 0;
    std::thread::scope(|scope| {
        for number in 0..15 {
            let (proxy, database, over, done) = (&proxy, &databases[number % 5], &over, &done);
            scope.spawn(move || {
                // One that panics must not let the watch go on for ever.
                let _over = Ending(over);
                while !over.load(Ordering::Acquire) {
                    let mut client = proxy.client(&database.name);
                    for round in 0..10 {
                        let sql = if round % 4 == 3 {
                            "SELECT pg_sleep(0.005)"
                        } else {
                            "SELECT 1"
                        };
                        assert_eq!(client.query(sql).errors(), [""; 0]);
                        done.fetch_add(1, Ordering::AcqRel);
                    }
                    // Some leave in the middle of a query.
                    if number % 3 == 0 {
                        client.put(&Frames::default().query("SELECT pg_sleep(0.01)"));
                    }
                }
            });
        }
        let end = Instant::now() + Duration::from_millis(1_500);
        while Instant::now() < end || done.load(Ordering::Acquire) < 300 {
            if over.load(Ordering::Acquire) {
                break;
            }
            most = most.max(watcher.value(&count).parse::<usize>().unwrap());
        }
        over.store(true, Ordering::Release);
    });
    assert!((2..=CAP).contains(&most), "{most} server connections");
    eventually("all permits are back", || taken(&proxy) == 0);
}

#[test]
fn idle_connections_of_others_are_closed_when_somebody_waits() {
    let databases = [Database::fresh(), Database::fresh(), Database::fresh()];
    // With two workers the idle connection may be another worker's.
    for workers in ["workers = 1", "workers = 2"] {
        let toml = node(&databases, 1, "").text();
        let proxy = Proxy::start(&toml.replace("workers = 1", workers));
        let mut clients: Vec<Client> = databases.iter().map(|d| proxy.client(&d.name)).collect();
        for _ in 0..5 {
            for (client, database) in clients.iter_mut().zip(&databases) {
                assert_eq!(client.value("SELECT current_database()"), database.name);
            }
        }
    }
}

#[test]
fn the_node_serves_tenants_in_the_order_in_which_they_came() {
    let databases: Vec<Database> = (0..5).map(|_| Database::fresh()).collect();
    let proxy = node(&databases, 1, "").start();
    // Logged in while the one connection goes round.
    let mut clients: Vec<Client> = databases.iter().map(|d| proxy.client(&d.name)).collect();
    let (holder, waiting) = clients.split_first_mut().unwrap();
    holder.query("BEGIN");
    for client in waiting.iter_mut() {
        client.put(&Frames::default().query("SELECT clock_timestamp()"));
        // The one worker has read what was sent before when it answers this.
        assert_eq!(proxy.app.budget().all().len(), 1);
        let before = proxy.app.budget().all()[0].1.waiting();
        eventually("it is in line", || {
            proxy.app.budget().all()[0].1.waiting() >= before.max(1)
        });
        std::thread::sleep(Duration::from_millis(3));
    }
    eventually("all are in line", || {
        proxy.app.budget().all()[0].1.waiting() == 4
    });
    holder.query("COMMIT");
    let times: Vec<String> = waiting.iter_mut().map(|c| c.ready().one()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// The pool's own connection serves its first waiter, and its place in the node's line is given up
/// for the next tenant's; who is behind in the pool must be in the node's line again.
#[test]
fn who_is_behind_in_a_pool_keeps_waiting_for_the_node() {
    let databases = [Database::fresh(), Database::fresh(), Database::fresh()];
    let proxy = node(&databases, 2, "size = 2").start();
    let [mut late, mut of_other, mut first] =
        [2, 1, 0].map(|n: usize| proxy.client(&databases[n].name));
    let name = &databases[0].name;
    let (mut second, mut third) = (proxy.client(name), proxy.client(name));
    of_other.query("BEGIN");
    first.query("BEGIN");
    let in_line = || proxy.app.budget().all()[0].1.waiting();
    second.put(&Frames::default().query("BEGIN"));
    eventually("it is in line", || in_line() == 1);
    third.put(&Frames::default().query("SELECT 'third'"));
    let settled = proxy.client(name).ask(&Frames::default().sync());
    assert_eq!(settled.tags(), "Z");
    late.put(&Frames::default().query("SELECT 'late'"));
    eventually("the other tenant is in line", || in_line() == 2);
    first.query("COMMIT");
    assert_eq!(second.ready().status(), 'T');
    of_other.query("COMMIT");
    assert_eq!(late.ready().one(), "late");
    assert_eq!(third.ready().one(), "third");
}

#[test]
fn a_permit_is_held_until_the_server_has_gone() {
    let (goodbye, gone) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (said, may_go) = (Arc::clone(&goodbye), Arc::clone(&gone));
    let server = ScriptedServer::start(move |mut peer| {
        while let Some(message) = peer.read() {
            if message.tag == b'Q' && peer.answer(&peer.number.to_string()).is_err() {
                return;
            }
        }
        if peer.number == 0 {
            said.store(true, Ordering::Release);
            while !may_go.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        let _gone = peer.socket.shutdown(std::net::Shutdown::Both);
    });
    let mut toml = Toml::default().cluster("main", server.database().port, "max_connections = 1");
    for tenant in ["one", "two"] {
        let database = Database {
            name: format!("db_{tenant}"),
            ..server.database()
        };
        toml = toml.tenant(tenant, "main", &database, "");
    }
    let proxy = toml.start();
    let mut one = proxy.client("one");
    assert_eq!(one.value("SELECT 1"), "0");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| proxy.client("two").value("SELECT 1"));
        eventually("the idle one is closed", || goodbye.load(Ordering::Acquire));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished());
        assert_eq!(taken(&proxy), 1);
        gone.store(true, Ordering::Release);
        assert_eq!(waiting.join().unwrap(), "1");
    });
}

#[test]
fn a_crashed_client_leaves_no_permit_behind() {
    let databases = [Database::fresh(), Database::fresh()];
    let proxy = node(&databases, 1, "pool_ttl = '50ms'").start();
    let mut crashes = proxy.client(&databases[0].name);
    crashes.query("BEGIN");
    crashes.put(&Frames::default().query("SELECT pg_sleep(600)"));
    eventually("it runs", || {
        databases[0].admin("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(600)%' AND datname = current_database()") == "1"
    });
    drop(crashes);
    assert_eq!(proxy.client(&databases[1].name).value("SELECT 1"), "1");
    eventually("all permits are back", || taken(&proxy) == 0);
    assert_eq!(proxy.app.clients(), 0);
}

#[test]
fn clusters_that_name_one_node_share_the_smallest_cap() {
    let databases = [Database::fresh(), Database::fresh()];
    let port = databases[0].port;
    let proxy = Toml::default()
        .cluster("wide", port, "max_connections = 7")
        .cluster("narrow", port, "max_connections = 1")
        .tenant("one", "wide", &databases[0], "")
        .tenant(
            "two",
            "narrow",
            &databases[1],
            "pool = { acquire_timeout = '700ms' }",
        )
        .start();
    let mut one = proxy.client("one");
    let mut two = proxy.client("two");
    one.query("BEGIN");
    let reply = two.query("SELECT 1");
    assert_eq!(reply.errors(), ["53300"]);
    let hint = reply.0[0].field(b'H').unwrap();
    assert!(
        hint.contains("max_connections") && hint.contains(" 1 "),
        "{hint}"
    );
    one.query("COMMIT");
    assert_eq!(two.value("SELECT 1"), "1");
}
