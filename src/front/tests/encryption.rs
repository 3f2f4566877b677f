//! TLS in both ways, what may not be smuggled past it, and certificates as proof.

use std::fs;
use std::sync::Arc;

use futures_util::FutureExt as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::harness::*;
use crate::auth::scram::ClientBinding;
use crate::front::Ends;
use crate::front::fair::Who;
use crate::tls::binding::server_end_point;

const APP: &[(&str, &str)] = &[("user", "app")];
const APP_ACME: &[(&str, &str)] = &[("user", "app.acme")];

/// Certificates in a directory, and a front that uses them.
struct Secured {
    world: World,
    roots: RootCertStore,
    server: Vec<u8>,
    authority: CertifiedIssuer<'static, KeyPair>,
    _dir: tempfile::TempDir,
}

fn secured(mode: &str, method: &str) -> Secured {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["*.db.test".to_owned()]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let text = format!(
        "[server.tls]\nmode = '{mode}'\ndomain = 'db.test'\ncertificate = '{}'\n\
         private_key = '{}'\nclient_ca = '{}'\n[auth]\nmethod = '{method}'\nsecret = 's'",
        write("server.crt", server.pem()),
        write("server.key", key.serialize_pem()),
        write("ca.crt", authority.pem()),
    );
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let server = server.der().to_vec();
    Secured {
        world: World::new(&text),
        roots,
        server,
        authority,
        _dir: dir,
    }
}

impl Secured {
    fn connector(&self, alpn: &[&[u8]], common_name: Option<&str>) -> TlsConnector {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match common_name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = KeyPair::generate().unwrap();
                let mut params = CertificateParams::new(Vec::new()).unwrap();
                params.distinguished_name.push(DnType::CommonName, name);
                let shown = params.signed_by(&key, &self.authority).unwrap();
                let chain = vec![CertificateDer::from(shown.der().to_vec())];
                let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    async fn tls(&self, name: &str, common_name: Option<&str>) -> TlsStream<TcpStream> {
        let (mut socket, _task) = self.world.tcp().await;
        socket.write_all(SSL_REQUEST).await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'S');
        let name = ServerName::try_from(name.to_owned()).unwrap();
        self.connector(&[], common_name)
            .connect(name, socket)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn the_server_name_is_evidence_and_the_channel_is_bound() {
    let secured = secured("require", "scram-sha-256");
    let binding = ClientBinding::EndPoint(server_end_point(&secured.server).unwrap());
    let mut socket = secured.tls("acme.db.test", None).await;
    let login = log_in(&mut socket, APP, "pw", &binding).await;
    assert!(ended_well(&login), "{login:?}");
    assert!(login.heard.windows(18).any(|w| w == b"SCRAM-SHA-256-PLUS"));
    let mut socket = secured.tls("globex.db.test", None).await;
    let disagrees = log_in(&mut socket, APP_ACME, "pw", &binding).await;
    assert_eq!(disagrees.code(), Some("28P01"));
    let mut socket = secured.tls("acme.db.test", None).await;
    let elsewhere = ClientBinding::EndPoint(vec![0; 32]);
    let intercepted = log_in(&mut socket, APP, "pw", &elsewhere).await;
    assert_eq!(intercepted.code(), Some("28000"));
    let mut socket = secured.tls("acme.db.test", None).await;
    let downgraded = log_in(&mut socket, APP, "pw", &ClientBinding::NotOffered).await;
    assert_eq!(downgraded.code(), Some("28000"));
}

#[tokio::test]
async fn what_was_decrypted_and_not_used_goes_along() {
    let secured = secured("require", "trust");
    let mut socket = secured.tls("acme.db.test", None).await;
    let pipelined = [&startup(0, APP)[..], b"Q\0\0\0\x06;\0"].concat();
    socket.write_all(&pipelined).await.unwrap();
    socket.flush().await.unwrap();
    assert_eq!(read_message(&mut socket).await, Some((b'R', vec![0; 4])));
    let client = loop {
        if let Some(client) = secured.world.sink.clients.lock().unwrap().pop() {
            break client;
        }
        tokio::task::yield_now().await;
    };
    assert!(client.stream.is_tls());
    assert_eq!(client.read_ahead, b"Q\0\0\0\x06;\0");
}

#[tokio::test]
async fn certificates_prove_their_own_role_only() {
    let secured = secured("verify-client", "cert");
    let mut socket = secured.tls("acme.db.test", Some("app.acme")).await;
    assert!(ended_well(
        &log_in(&mut socket, APP, "", &ClientBinding::Unavailable).await
    ));
    for (server_name, pairs) in [
        ("globex.db.test", APP),
        ("acme.db.test", &[("user", "bare")]),
        ("nosuch.db.test", APP),
        ("acme.db.test", &[("user", "app.globex")]),
    ] {
        let mut socket = secured.tls(server_name, Some("app.acme")).await;
        let refused = log_in(&mut socket, pairs, "", &ClientBinding::Unavailable).await;
        assert_eq!(refused.code(), Some("28P01"), "{server_name} {pairs:?}");
    }
}

#[tokio::test]
async fn direct_tls_needs_alpn() {
    let secured = secured("allow", "trust");
    for (alpn, good) in [(&[&b"postgresql"[..]][..], true), (&[], false)] {
        let (socket, _task) = secured.world.tcp().await;
        let name = ServerName::try_from("acme.db.test").unwrap();
        let mut socket = secured
            .connector(alpn, None)
            .connect(name, socket)
            .await
            .unwrap();
        let sent = socket.write_all(&startup(0, APP)).await;
        let answer = if sent.is_ok() {
            read_message(&mut socket).await
        } else {
            None
        };
        assert_eq!(answer.is_some(), good);
    }
    let (socket, _task) = secured.world.tcp().await;
    let name = ServerName::try_from("acme.db.test").unwrap();
    assert!(
        secured
            .connector(&[b"http/1.1"], None)
            .connect(name, socket)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn plain_text_behind_a_request_for_tls_is_never_a_startup() {
    let secured = secured("allow", "trust");
    let (mut socket, task) = secured.world.tcp().await;
    let smuggled = [SSL_REQUEST, &startup(0, APP_ACME)].concat();
    socket.write_all(&smuggled).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'S');
    let mut rest = Vec::new();
    let _reset = socket.read_to_end(&mut rest).await;
    task.await.unwrap();
    assert!(secured.world.sink.clients.lock().unwrap().is_empty());
    assert_eq!(secured.world.front.clients().taken(), 0);
}

#[tokio::test]
async fn tls_can_be_required_but_not_of_unix_sockets() {
    let secured = secured("require", "trust");
    let (mut socket, _task) = secured.world.tcp().await;
    for pairs in [APP_ACME, &[("user", "app.nosuch")]] {
        let (mut socket, _task) = secured.world.tcp().await;
        let refused = log_in(&mut socket, pairs, "", &ClientBinding::Unavailable).await;
        assert_eq!(refused.code(), Some("28000"));
    }
    assert!(ended_well(&secured.world.log_in(APP_ACME, "").await));
    socket.write_all(GSS_REQUEST).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'N');
    socket.write_all(SSL_REQUEST).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'S');
}

#[tokio::test]
async fn requests_are_answered_once() {
    let world = World::with_method("trust");
    for request in [SSL_REQUEST, GSS_REQUEST] {
        let (mut socket, task) = world.tcp().await;
        socket.write_all(request).await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'N');
        socket.write_all(request).await.unwrap();
        let (_, body) = read_message(&mut socket).await.expect("an error");
        assert_eq!(refusal(&body).code, "08P01");
        task.await.unwrap();
    }
    let (mut socket, task) = world.tcp().await;
    socket
        .write_all(&[SSL_REQUEST, GSS_REQUEST, &startup(0, APP_ACME)].concat())
        .await
        .unwrap();
    assert_eq!(
        (
            socket.read_u8().await.unwrap(),
            socket.read_u8().await.unwrap()
        ),
        (b'N', b'N')
    );
    assert_eq!(read_message(&mut socket).await, Some((b'R', vec![0; 4])));
    task.await.unwrap();
}

/// Waits until so many handshakes wait for a turn.
async fn queued(world: &World, number: usize) {
    while world.front.handshakes.waiting() < number {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_storm_of_handshakes_from_one_address_comes_behind_a_client_from_another() {
    const STORM: usize = 200;
    let secured = secured("require", "scram-sha-256");
    let world = &secured.world;
    let stranger = Who::new("192.0.2.1".parse().ok(), None);
    let mut held = Vec::new();
    while let Some(turn) = world.front.handshakes.turn(&stranger).now_or_never() {
        held.push(turn);
    }
    let (done, mut order) = tokio::sync::mpsc::channel(STORM + 1);
    let begin = async |peer: &str, name: &str, good: bool| {
        let ends = Ends::new(peer.parse().unwrap(), "10.0.0.9:6432".parse().unwrap());
        let (mut socket, _task) = world.tcp_at(ends).await;
        let (connector, done) = (secured.connector(&[], None), done.clone());
        let name = ServerName::try_from(name.to_owned()).unwrap();
        tokio::spawn(async move {
            socket.write_all(SSL_REQUEST).await.unwrap();
            assert_eq!(socket.read_u8().await.unwrap(), b'S');
            connector.connect(name, socket).await.unwrap();
            done.send(good).await.unwrap();
        });
    };
    for n in 0..STORM {
        // Half for one tenant, half for as many others.
        let name = if n % 2 == 0 { 0 } else { n };
        begin("192.0.2.66:1", &format!("t{name}.db.test"), false).await;
    }
    queued(world, STORM).await;
    begin("192.0.2.7:1", "t0.db.test", true).await;
    queued(world, STORM + 1).await;
    drop(held);
    let mut place = 0;
    while !order.recv().await.unwrap() {
        place += 1;
    }
    // At once there are half as many turns as cores, and each handshake takes two of them.
    assert!(place < 20, "behind {place} of {STORM}");
}
