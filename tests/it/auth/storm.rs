//! Floods at the front door: those who log in meanwhile, and those who have, are served.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::ServerName;
use socket2::{Domain, Socket, Type};

use super::client::{Address, SSL_REQUEST};
use super::login::{End, Login};
use super::world::{Method, Mode, PASSWORD, Proxy, tls};

/// Handshakes under way at the same time.
const STORM: usize = 200;
/// Threads that keep them up.
const THREADS: usize = 4;

/// SSLRequest and a ClientHello for this name: what costs its sender nothing and the proxy a
/// signature.
fn opening(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = SSL_REQUEST.to_vec();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

fn connect_from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source: SocketAddr = source.parse().unwrap();
    socket.bind(&source.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    socket.into()
}

/// Keeps handshakes from 127.0.0.2 waiting until `over`, and counts those that were answered.
fn storm(to: SocketAddr, bytes: &[u8], answered: &AtomicU64, over: &AtomicBool) {
    let begin = || {
        let mut socket = connect_from("127.0.0.2:0", to);
        socket.write_all(bytes).unwrap();
        socket
    };
    let mut sockets: Vec<TcpStream> = (0..STORM / THREADS).map(|_| begin()).collect();
    while !over.load(Ordering::Relaxed) {
        for socket in &mut sockets {
            let mut answer = [0; 64];
            // `S`, then the first bytes of the handshake.
            socket.read_exact(&mut answer).unwrap();
            answered.fetch_add(1, Ordering::Relaxed);
            *socket = begin();
        }
    }
}

#[test]
fn a_storm_of_handshakes_neither_delays_others_nor_disturbs_those_who_are_in() {
    let proxy = Proxy::start(Mode::Allow, "secret = \"salts\"", "");
    let Address::Tcp(to) = *proxy.tcp(Method::Scram) else {
        unreachable!("asked for TCP");
    };
    let mut inside = proxy.plain(&Login::new("app.acme", PASSWORD));
    let (answered, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let bytes = opening("acme.db.test");
    let overtaken = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| storm(to, &bytes, &answered, &over));
        }
        let queries = scope.spawn(|| {
            let mut queries = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(inside.current_database(), "tenant_acme");
                queries += 1;
            }
            queries
        });
        while answered.load(Ordering::Relaxed) < 2 * STORM as u64 {
            thread::yield_now();
        }
        let mut overtaken: Vec<u64> = (0..15)
            .map(|_| {
                let before = answered.load(Ordering::Relaxed);
                let login = Login::new("app", PASSWORD);
                let tls = tls("globex.db.test");
                let attempt = proxy.secure(Method::Scram, &tls, &login).unwrap();
                assert_eq!(attempt.end, End::Ready);
                answered.load(Ordering::Relaxed) - before
            })
            .collect();
        over.store(true, Ordering::Relaxed);
        assert!(queries.join().unwrap() > 0);
        overtaken.sort_unstable();
        overtaken
    });
    println!("handshakes of the storm during each login: {overtaken:?}");
    // First come, first served would be twice the storm, once for each flight of the client.
    assert!(
        overtaken[overtaken.len() / 2] < STORM as u64,
        "{overtaken:?}"
    );
}
