//! Server connections against a real PostgreSQL: every way to sign in, TLS, refusals, cancel.
#![allow(
    clippy::unwrap_used,
    reason = "a test and its support fail by panicking"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use support::{ask, password, receive, send, server, set_tls, target};
use tenantry::auth::scram::{
    ClientBinding, ClientExchange, ClientSecret, Genuine, ServerBinding, ServerExchange, Verifier,
};
use tenantry::config::{UpstreamTls, UpstreamTlsMode};
use tenantry::error::SqlState;
use tenantry::types::{DbName, NodeAddr, ScramClientKey};
use tenantry::upstream::{
    ConnectError, Connectors, Credentials, ServerCancel, SignInError, Target, Upstream, cancel,
    connect,
};

const TLS_IN_USE: &str = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

async fn works(target: &Target) -> Upstream {
    let mut upstream = connect(target, &Connectors::default())
        .await
        .expect("it connects");
    assert_eq!(
        ask(&mut upstream, "SELECT current_user"),
        target.role.as_str()
    );
    let process_id = ask(&mut upstream, "SELECT pg_backend_pid()");
    assert_eq!(process_id, upstream.process_id.to_string());
    assert_eq!(upstream.cancel_key.len(), 4);
    upstream
}

async fn fails(target: &Target) -> ConnectError {
    let outcome = connect(target, &Connectors::default()).await;
    outcome.expect_err("the connect must fail")
}

async fn refusal(target: &Target) -> String {
    match fails(target).await {
        ConnectError::Refused(e) => e.code.as_str().to_owned(),
        other => panic!("{other}"),
    }
}

/// The key that a client's login with this password at this role's verifier yields.
fn key_of_login(role: &str) -> ScramClientKey {
    let stored = server().sql(&format!(
        "SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'"
    ));
    let verifier = Verifier::parse(&stored).expect("PostgreSQL stores SCRAM verifiers");
    let (client, first) = ClientExchange::start(ClientBinding::Unavailable).unwrap();
    let binding = ServerBinding::Unavailable;
    let started = ServerExchange::start(verifier, Genuine::Known, binding, "SCRAM-SHA-256", &first);
    let (exchange, reply) = started.unwrap();
    let (_, last) = client
        .respond(&reply, ClientSecret::Password("secret"))
        .unwrap();
    exchange.finish(&last).unwrap().1
}

#[tokio::test]
async fn every_method_signs_in() {
    for role in ["trust", "clear", "md5", "scram"] {
        let upstream = works(&server().target(role)).await;
        assert!(!upstream.stream.is_tls());
        assert!(
            upstream
                .parameters
                .iter()
                .any(|(n, v)| n == "server_encoding" && v == "UTF8")
        );
        assert_eq!(
            upstream.peer.map(|p| p.port()),
            Some(server().cluster.port())
        );
    }
    let trusted = Target {
        credentials: Credentials::None,
        ..server().target("trust")
    };
    works(&trusted).await;
}

#[tokio::test]
async fn passwords_are_prepared_as_postgresql_prepares_them() {
    let odd = Target {
        credentials: password("IXIX"),
        ..server().target("odd")
    };
    works(&odd).await;
    let odd = Target {
        credentials: password("I\u{ad}X\u{2168}"),
        ..odd
    };
    works(&odd).await;
}

#[tokio::test]
async fn a_unix_socket_needs_no_tls() {
    let mut target = server().target("scram");
    let host = server().cluster.socket_dir().to_str().unwrap().into();
    target.node = NodeAddr {
        host,
        port: server().cluster.port(),
    };
    let tls = UpstreamTls {
        mode: UpstreamTlsMode::VerifyFull,
        ca: None,
        client_identity: None,
    };
    set_tls(&mut target, tls);
    assert_eq!(works(&target).await.peer, None);
}

#[tokio::test]
async fn a_clients_key_signs_in_until_the_verifier_changes() {
    let key = key_of_login("rotated");
    let target = Target {
        credentials: Credentials::ScramKey(key),
        ..server().target("rotated")
    };
    works(&target).await;
    let mut over_tls = target.clone();
    let tls = UpstreamTls {
        mode: UpstreamTlsMode::Require,
        ca: None,
        client_identity: None,
    };
    set_tls(&mut over_tls, tls);
    assert!(works(&over_tls).await.stream.is_tls());
    server().sql("SET password_encryption = 'scram-sha-256'; ALTER ROLE rotated PASSWORD 'secret'");
    let failure = fails(&target).await;
    let told = failure.client_error();
    assert_eq!(told.code, SqlState::LOST);
    assert!(
        told.message
            .starts_with("server login failed: password authentication"),
        "{told}"
    );
}

#[tokio::test]
async fn a_key_answers_nothing_but_scram() {
    let key = key_of_login("scram");
    for role in ["clear", "md5"] {
        let credentials = Credentials::ScramKey(key.clone());
        let failure = fails(&Target {
            credentials,
            ..server().target(role)
        })
        .await;
        assert!(
            matches!(failure, ConnectError::SignIn(SignInError::KeyNeedsScram)),
            "{failure}"
        );
    }
}

#[tokio::test]
async fn tls_modes_mean_what_libpq_means() {
    use UpstreamTlsMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    let (ours, other, listed) = (Some("ca.crt"), Some("other_ca.crt"), Some("server.crt"));
    for (mode, host, ca, expected) in [
        (Disable, "127.0.0.1", None, Some("false")),
        (Prefer, "127.0.0.1", None, Some("true")),
        (Require, "127.0.0.1", None, Some("true")),
        (Require, "127.0.0.1", ours, Some("true")),
        (Require, "127.0.0.1", other, None),
        (VerifyCa, "127.0.0.1", ours, Some("true")),
        (VerifyCa, "localhost", other, None),
        (VerifyFull, "localhost", ours, Some("true")),
        (VerifyFull, "localhost", listed, Some("true")),
        (VerifyFull, "127.0.0.1", ours, None),
        (VerifyFull, "127.0.0.1", listed, None),
    ] {
        let target = server().tls_target(mode, host, ca);
        let outcome = connect(&target, &Connectors::default()).await;
        match (outcome, expected) {
            (Ok(mut upstream), Some(tls)) => assert_eq!(ask(&mut upstream, TLS_IN_USE), tls),
            (Err(ConnectError::Tls(_)), None) => {}
            (outcome, _) => panic!("{mode:?} {host} {ca:?}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_certificate_signs_in() {
    let mut target = Target {
        credentials: Credentials::None,
        ..server().target("cert")
    };
    let identity = (server().file("client.crt"), server().file("client.key"));
    let mut tls = UpstreamTls {
        mode: UpstreamTlsMode::VerifyCa,
        ca: Some(server().file("ca.crt")),
        client_identity: Some(identity),
    };
    set_tls(&mut target, tls.clone());
    works(&target).await;
    tls.client_identity = None;
    set_tls(&mut target, tls);
    assert_eq!(refusal(&target).await, "28000");
}

#[tokio::test]
async fn refusals_keep_their_reason() {
    let scram = server().target("scram");
    for role in ["scram", "clear", "md5"] {
        let wrong = Target {
            credentials: password("wrong"),
            ..server().target(role)
        };
        assert_eq!(refusal(&wrong).await, "28P01");
        assert_eq!(fails(&wrong).await.client_error().code, SqlState::LOST);
    }
    assert_eq!(refusal(&server().target("nobody")).await, "28P01");
    assert_eq!(refusal(&server().target("reject")).await, "28000");
    assert_eq!(refusal(&server().target("full")).await, "53300");
    let elsewhere = Target {
        database: DbName::new("nowhere"),
        ..scram.clone()
    };
    assert_eq!(refusal(&elsewhere).await, "3D000");
    assert_eq!(
        fails(&elsewhere).await.client_error().code.as_str(),
        "3D000"
    );
    let none = Target {
        credentials: Credentials::None,
        ..scram
    };
    let failure = fails(&none).await;
    assert!(
        matches!(failure, ConnectError::SignIn(SignInError::NoPassword)),
        "{failure}"
    );
}

#[tokio::test]
async fn connect_query_is_run_and_leaves_nothing_unread() {
    let mut target = server().target("scram");
    target.connect_query = "SET application_name = 'warm'; SELECT generate_series(1, 500)".into();
    let mut upstream = works(&target).await;
    let name = upstream
        .parameters
        .iter()
        .find(|(n, _)| n == "application_name");
    assert_eq!(name.map(|(_, v)| v.as_str()), Some("warm"));
    assert_eq!(ask(&mut upstream, "SHOW application_name"), "warm");
    target.connect_query = "SELECT nonsense".into();
    match fails(&target).await {
        ConnectError::ConnectQuery(e) => assert_eq!(e.code.as_str(), "42703"),
        other => panic!("{other}"),
    }
    for left_open in ["BEGIN", "COPY (SELECT 1) TO STDOUT"] {
        target.connect_query = left_open.into();
        let failure = fails(&target).await;
        assert!(matches!(failure, ConnectError::Protocol(_)), "{failure}");
    }
}

#[tokio::test]
async fn a_late_connect_query_is_cancelled_and_its_server_connection_gone() {
    let mut target = server().target("late");
    target.connect_query = "SELECT pg_sleep(300)".into();
    target.connect_timeout = Duration::from_millis(1500);
    let failure = fails(&target).await;
    assert!(matches!(failure, ConnectError::Timeout(_)), "{failure}");
    let left = server().sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'late'");
    assert_eq!(left, "0");
}

#[tokio::test]
async fn cancel_ends_the_query() {
    for mode in [UpstreamTlsMode::Disable, UpstreamTlsMode::Require] {
        let target = server().tls_target(mode, "127.0.0.1", None);
        let mut upstream = works(&target).await;
        send(&mut upstream, "SELECT pg_sleep(300)");
        let running = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND wait_event = 'PgSleep'",
            upstream.process_id
        );
        while server().sql(&running) != "1" {}
        let mut request = ServerCancel {
            node: target.node.clone(),
            tls: target.cluster.tls.clone(),
            peer: upstream.peer,
            process_id: upstream.process_id,
            key: vec![0; 4],
            connect_timeout: Duration::from_secs(20),
        };
        if request.key != upstream.cancel_key {
            cancel(&request, &Connectors::default()).await.unwrap();
            assert_eq!(server().sql(&running), "1");
        }
        request.key = upstream.cancel_key.clone();
        cancel(&request, &Connectors::default()).await.unwrap();
        let answer = receive(&mut upstream);
        assert!(String::from_utf8_lossy(&answer).contains("57014"));
        assert_eq!(ask(&mut upstream, "SELECT 1"), "1");
    }
}

#[tokio::test]
async fn unreachable_and_silent_servers_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut silent = target("127.0.0.1", port, "scram");
    silent.connect_timeout = Duration::from_millis(200);
    let began = Instant::now();
    assert!(matches!(fails(&silent).await, ConnectError::Timeout(_)));
    // The limit, and the second to say farewell.
    assert!(began.elapsed() < Duration::from_secs(15));
    drop(listener);
    let failure = fails(&target("127.0.0.1", port, "scram")).await;
    assert!(matches!(failure, ConnectError::Unreachable(_)), "{failure}");
    assert_eq!(failure.client_error().code, SqlState::LOST);
    let missing = fails(&target("/nonexistent", port, "scram")).await;
    assert!(matches!(missing, ConnectError::Unreachable(_)), "{missing}");
}

/// Until the server has gone it counts the connection, so whoever holds a permit for it must wait.
#[tokio::test]
async fn a_failed_connect_ends_when_the_server_has_ended_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut fails = target("127.0.0.1", listener.local_addr().unwrap().port(), "trust");
    fails.connect_query = "SELECT 1/0".to_owned();
    let (end, may_end) = std::sync::mpsc::sync_channel(1);
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = [0; 200];
        assert!(socket.read(&mut request).unwrap() > 8, "a startup packet");
        socket
            .write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I")
            .unwrap();
        assert!(socket.read(&mut request).unwrap() > 5, "connect_query");
        socket
            .write_all(b"E\0\0\0\x16SERROR\0C22012\0Mx\0\0Z\0\0\0\x05I")
            .unwrap();
        may_end.recv().unwrap();
    });
    let connectors = Connectors::default();
    let mut connecting = std::pin::pin!(connect(&fails, &connectors));
    let early = tokio::time::timeout(Duration::from_millis(300), connecting.as_mut()).await;
    assert!(early.is_err(), "it has ended before the server did");
    end.send(()).unwrap();
    assert!(matches!(
        connecting.await,
        Err(ConnectError::ConnectQuery(_))
    ));
    server.join().unwrap();
}

/// A server that answers SSLRequest with these bytes; returns what came after it.
fn answering(answer: &'static [u8]) -> (u16, std::thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = [0; 8];
        socket.read_exact(&mut request).unwrap();
        socket.write_all(answer).unwrap();
        let mut more = vec![0; 200];
        let read = socket.read(&mut more).unwrap_or(0);
        more.truncate(read);
        more
    };
    (port, std::thread::spawn(serve))
}

async fn against(answer: &'static [u8], mode: UpstreamTlsMode) -> (ConnectError, Vec<u8>) {
    let (port, server) = answering(answer);
    let mut target = target("127.0.0.1", port, "scram");
    set_tls(
        &mut target,
        UpstreamTls {
            mode,
            ca: None,
            client_identity: None,
        },
    );
    let failure = fails(&target).await;
    (failure, server.join().unwrap())
}

#[tokio::test]
async fn a_server_without_tls_is_used_only_where_that_is_allowed() {
    let (failure, sent) = against(b"N", UpstreamTlsMode::Require).await;
    assert!(
        matches!(failure, ConnectError::Tls(_)) && sent.is_empty(),
        "{failure}"
    );
    let (failure, sent) = against(b"N", UpstreamTlsMode::Prefer).await;
    assert!(matches!(failure, ConnectError::Lost(_)), "{failure}");
    assert!(
        sent.windows(4).any(|w| w == b"user"),
        "the startup message comes in plain text"
    );
}

#[tokio::test]
async fn plaintext_behind_the_answer_to_sslrequest_is_not_believed() {
    let smuggled = b"SR\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x01Z\0\0\0\x05I";
    let (failure, _) = against(smuggled, UpstreamTlsMode::Require).await;
    assert!(matches!(failure, ConnectError::Tls(_)), "{failure}");
    let (failure, _) = against(b"E", UpstreamTlsMode::Prefer).await;
    assert!(matches!(failure, ConnectError::Protocol(_)), "{failure}");
}
