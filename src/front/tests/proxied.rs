//! Clients that a balancer passes on: whose address counts, and who gets no further.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::harness::*;
use crate::auth::scram::ClientBinding;
use crate::front::{Ends, Reason};
use crate::wire::proxy_header;

const BALANCED: &str = "[server]\nlisten = ['unix:/nowhere']\nproxy_protocol = 'required'\n\
                        proxy_protocol_sources = ['10.0.0.0/24', '127.0.0.1']\n\
                        login_timeout = '500ms'\n[auth]\nmethod = 'trust'";

fn ends(peer: &str) -> Ends {
    Ends::new(peer.parse().unwrap(), "10.0.0.9:6432".parse().unwrap())
}

/// A header for a client at this address of IPv4.
fn header(source: &str) -> Vec<u8> {
    let (SocketAddr::V4(source), SocketAddr::V4(target)) =
        (source.parse().unwrap(), "203.0.113.1:5432".parse().unwrap())
    else {
        panic!("IPv4");
    };
    let mut bytes = proxy_header::local()[..12].to_vec();
    bytes.extend([0x21, 0x11, 0, 12 + 7]);
    bytes.extend(source.ip().octets());
    bytes.extend(target.ip().octets());
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(target.port().to_be_bytes());
    bytes.extend(*b"\x02\0\x04acme");
    bytes
}

async fn log_in_from(world: &World, from: &str, first: &[u8], user: &str) -> Login {
    let (mut socket, task) = world.tcp_at(ends(from)).await;
    socket.write_all(first).await.unwrap();
    let pairs = [("user", user)];
    let login = log_in(&mut socket, &pairs, "", &ClientBinding::Unavailable).await;
    drop(socket);
    task.await.unwrap();
    login
}

#[tokio::test]
async fn the_clients_own_address_counts_everywhere() {
    let world = World::new(BALANCED);
    let near = header("198.51.100.7:1000");
    let far = header("192.0.2.7:2000");
    let refused = log_in_from(&world, "10.0.0.5:1", &near, "app.far").await;
    assert_eq!(refused.code(), Some("28P01"));
    assert_eq!(world.front.counts().failed(Reason::Network), 1);
    assert!(ended_well(
        &log_in_from(&world, "10.0.0.5:1", &far, "app.far").await
    ));
    let clients = world.sink.clients.lock().unwrap();
    assert_eq!(clients[0].peer, "192.0.2.7:2000".parse().ok());
    assert_eq!(clients[0].local, "203.0.113.1:5432".parse().ok());
}

#[tokio::test]
async fn a_balancers_own_connection_keeps_its_address() {
    let world = World::new(BALANCED);
    let local = proxy_header::local();
    assert!(ended_well(
        &log_in_from(&world, "127.0.0.1:7", &local, "app.acme").await
    ));
    let refused = log_in_from(&world, "127.0.0.1:7", &local, "app.far").await;
    assert_eq!(refused.code(), Some("28P01"));
    let clients = world.sink.clients.lock().unwrap();
    assert_eq!(clients[0].peer, "127.0.0.1:7".parse().ok());
}

/// Sends this and nothing more, and reads to the end: no word must come.
async fn closed(world: &World, from: &str, bytes: &[u8]) {
    let (mut socket, task) = world.tcp_at(ends(from)).await;
    // It may be closed already.
    let _closed = socket.write_all(bytes).await;
    task.await.unwrap();
    let mut rest = Vec::new();
    let closed = timeout(Duration::from_secs(20), socket.read_to_end(&mut rest));
    // A reset where not all was read.
    let _reset = closed.await.expect("it is closed");
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn nobody_else_gets_any_further() {
    let world = World::new(BALANCED);
    let login = startup(0, &[("user", "app.acme")]);
    let good = [header("192.0.2.7:2000"), login.clone()].concat();
    let v1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 2000 6432\r\n";
    for (from, bytes) in [
        ("10.0.1.5:1", &good[..]),
        ("192.0.2.7:2000", &good),
        ("10.0.0.5:1", &login),
        ("10.0.0.5:1", SSL_REQUEST.repeat(2).as_slice()),
        ("10.0.0.5:1", v1),
    ] {
        let before = world.front.counts().failed(Reason::ProxyHeader);
        closed(&world, from, bytes).await;
        let after = world.front.counts().failed(Reason::ProxyHeader);
        assert_eq!(after, before + 1, "{from}");
    }
    for cut in [0, 5, 15, 16, 20] {
        let before = world.front.counts().failed(Reason::Timeout);
        closed(&world, "10.0.0.5:1", &good[..cut]).await;
        assert_eq!(world.front.counts().failed(Reason::Timeout), before + 1);
    }
    assert_eq!(world.front.clients().taken(), 0);
    assert!(world.sink.clients.lock().unwrap().is_empty());
}

#[tokio::test]
async fn unix_sockets_have_no_header() {
    let world = World::new(BALANCED);
    assert!(ended_well(&world.log_in(&[("user", "app.acme")], "").await));
}
