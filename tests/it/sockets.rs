//! What is set on the sockets towards clients and servers.

use std::net::SocketAddr;

use super::support::client::Client;
use super::support::postgres::Database;
use super::support::proxy::{Proxy, Toml};

/// The kernel's clock in `/proc/net/tcp`, ticks a second.
const TICKS: u64 = 100;

/// The timer of a TCP connection of 127.0.0.1 with these ports: its kind, and its rest in seconds.
fn timer(local: u16, remote: u16) -> (u8, u64) {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (local, remote) = (format!(":{local:04X}"), format!(":{remote:04X}"));
    let row = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields[1].ends_with(&local) && fields[2].ends_with(&remote)).then(|| fields[5].to_owned())
    });
    let row = row.expect("the connection is there");
    let (kind, rest) = row.split_once(':').unwrap();
    let rest = u64::from_str_radix(rest, 16).unwrap();
    (kind.parse().unwrap(), rest / TICKS)
}

/// Whether the kernel will ask about a silent peer within so many seconds: of a client's socket,
/// and of a server connection's.
fn asked_within(proxy: &Proxy, client: &mut Client, database: &Database) -> [Option<u64>; 2] {
    const KEEPALIVE: u8 = 2;
    let ours = client.value("SELECT inet_client_port()").parse().unwrap();
    let port = |address: SocketAddr| address.port();
    let theirs = port(client.socket.local_addr().unwrap());
    [(port(proxy.address()), theirs), (ours, database.port)].map(|(local, remote)| {
        // What is not acknowledged yet has a timer of its own.
        loop {
            match timer(local, remote) {
                (KEEPALIVE, rest) => return Some(rest),
                (0, _) => return None,
                _ => std::thread::yield_now(),
            }
        }
    })
}

#[test]
fn silent_peers_on_both_sides_are_asked_for_and_a_reload_counts_for_new_ones() {
    let database = Database::fresh();
    let with = |keepalive: &str| {
        Toml::default()
            .server(&format!("keepalive = '{keepalive}'"))
            .pool("size = 2\nmax_lifetime = '1h'")
            .cluster("main", database.port, "")
            .tenant(&database.name, "main", &database, "")
    };
    let proxy = with("30s").start();
    let mut first = proxy.client(&database.name);
    let asked = asked_within(&proxy, &mut first, &database);
    assert!(
        asked.iter().all(|rest| rest.is_some_and(|rest| rest <= 30)),
        "{asked:?}"
    );
    first.query("BEGIN");
    proxy.reload(&with("0s").text());
    let mut second = proxy.client(&database.name);
    let asked = asked_within(&proxy, &mut second, &database);
    assert_eq!(asked, [None, None]);
    proxy.reload(&with("600s").text());
    let mut third = proxy.client(&database.name);
    let asked = asked_within(&proxy, &mut third, &database);
    assert!(asked[0] > Some(500), "{asked:?}");
    assert_eq!(asked[1], None, "an old server connection stays as it is");
}
