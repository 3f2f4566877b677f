//! What odd servers may say, without sockets.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::config::{Cluster, UpstreamTls, UpstreamTlsMode};
use crate::types::{ClusterName, DbName, NodeAddr, RoleName, Secret};

const OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
const KEY: &[u8] = b"K\0\0\0\x0c\0\0\0\x07\x01\x02\x03\x04";
const READY: &[u8] = b"Z\0\0\0\x05I";
const SASL: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";

fn target(credentials: Credentials) -> Target {
    let node = NodeAddr {
        host: "db".into(),
        port: 5432,
    };
    let tls = UpstreamTls {
        mode: UpstreamTlsMode::Disable,
        ca: None,
        client_identity: None,
    };
    let name = ClusterName::new("main");
    let primary = node.clone();
    Target {
        node,
        cluster: Arc::new(Cluster {
            replicas: Vec::new(),
            monitor: None,
            probe_interval: Duration::from_secs(1),
            name,
            primary,
            max_connections: 1,
            tls,
        }),
        database: DbName::new("acme"),
        role: RoleName::new("app"),
        credentials,
        settings: Vec::new(),
        connect_query: String::new(),
        connect_timeout: Duration::from_secs(5),
    }
}

fn with_password() -> Credentials {
    Credentials::Password(Secret::new("secret".to_owned()))
}

fn status(name: &str, value: &str) -> Vec<u8> {
    let length = u8::try_from(4 + name.len() + value.len() + 2).unwrap();
    [
        &[b'S', 0, 0, 0, length],
        name.as_bytes(),
        b"\0",
        value.as_bytes(),
        b"\0",
    ]
    .concat()
}

fn no_tls() -> Channel {
    Channel {
        is_tls: false,
        end_point: None,
    }
}

/// Signs in at a server that says just this, then runs `query` unless that is empty.
async fn against(
    script: &[&[u8]],
    credentials: Credentials,
    query: &str,
) -> Result<Session, ConnectError> {
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    theirs.write_all(&script.concat()).await.unwrap();
    let mut wire = Wire::new(ours);
    let mut session = sign_in(&mut wire, &target(credentials), no_tls()).await?;
    if !query.is_empty() {
        run(&mut wire, &mut session, query).await?;
    }
    settle(&mut wire, &mut session).await?;
    drop(theirs);
    Ok(session)
}

async fn protocol_error(script: &[&[u8]], query: &str) -> &'static str {
    match against(script, with_password(), query).await {
        Err(ConnectError::Protocol(what)) => what,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn parameters_are_kept_as_last_reported() {
    let (a, b, c) = (status("a", "1"), status("b", "2"), status("a", "3"));
    let session = against(&[OK, &a, KEY, &b, READY, &c], Credentials::None, "")
        .await
        .unwrap();
    let expected = [("a", "3"), ("b", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(session.parameters, expected);
    assert_eq!(
        (session.process_id, session.cancel_key),
        (7, vec![1, 2, 3, 4])
    );
}

#[tokio::test]
async fn parameters_are_bounded() {
    let many: Vec<u8> = (0..=MAX_PARAMETERS)
        .flat_map(|n| status(&n.to_string(), "x"))
        .collect();
    assert_eq!(
        protocol_error(&[OK, &many, READY], "").await,
        "too many parameters"
    );
}

#[tokio::test]
async fn nothing_but_announcements_may_follow_ready() {
    let row = b"D\0\0\0\x06\0\0";
    assert_eq!(
        protocol_error(&[OK, READY, row], "").await,
        "an unexpected message"
    );
    assert!(
        protocol_error(&[OK, b"Z\0\0\0\x05T"], "")
            .await
            .starts_with("not idle")
    );
}

#[tokio::test]
async fn a_server_connection_ended_at_its_start_is_worth_another_attempt() {
    let end = b"E\0\0\0\x12SFATAL\0C57P01\0\0".as_slice();
    for (script, query) in [
        (vec![OK, READY, end], ""),
        (vec![OK, READY, end], "select 1"),
        (vec![OK, end], ""),
    ] {
        let error = against(&script, Credentials::None, query)
            .await
            .unwrap_err();
        assert!(matches!(error, ConnectError::Refused(_)), "{error}");
        assert!(!error.is_final());
    }
}

#[tokio::test]
async fn a_server_that_does_not_prove_itself_is_refused() {
    assert_eq!(protocol_error(&[SASL, OK], "").await, "SASL out of order");
    assert_eq!(
        protocol_error(&[b"R\0\0\0\x08\0\0\0\x0c"], "").await,
        "SASL out of order"
    );
    let clear_text_twice = b"R\0\0\0\x08\0\0\0\x03".repeat(2);
    assert_eq!(
        protocol_error(&[&clear_text_twice], "").await,
        "a second authentication request"
    );
}

#[tokio::test]
async fn what_cannot_be_answered_is_said() {
    let key = || Credentials::ScramKey(crate::types::ScramClientKey(Arc::default()));
    let clear_text = b"R\0\0\0\x08\0\0\0\x03".as_slice();
    let gss = b"R\0\0\0\x08\0\0\0\x07".as_slice();
    for (script, credentials, expected) in [
        (clear_text, Credentials::None, SignInError::NoPassword),
        (clear_text, key(), SignInError::KeyNeedsScram),
        (
            b"R\0\0\0\x0c\0\0\0\x05salt",
            key(),
            SignInError::KeyNeedsScram,
        ),
        (SASL, Credentials::None, SignInError::NoPassword),
        (gss, with_password(), SignInError::Method(7)),
        (
            b"R\0\0\0\x0c\0\0\0\x0aOTP\0\0",
            with_password(),
            SignInError::Mechanism,
        ),
    ] {
        match against(&[script], credentials, "").await {
            Err(ConnectError::SignIn(e)) => assert_eq!(e, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn malformed_messages_are_refused() {
    for script in [
        b"R\0\0\0\x06\0\0".as_slice(),
        b"R\0\0\0\x0b\0\0\0\x05abc",
        b"R\0\0\0\x09\0\0\0\0x",
        b"X\0\0\0\x04",
    ] {
        protocol_error(&[script], "").await;
    }
    protocol_error(&[OK, b"K\0\0\0\x07abc"], "").await;
    protocol_error(&[OK, b"S\0\0\0\x05x"], "").await;
}

#[tokio::test]
async fn connect_query_may_not_leave_anything_behind() {
    let in_transaction = b"C\0\0\0\x0aBEGIN\0Z\0\0\0\x05T".as_slice();
    assert!(
        protocol_error(&[OK, READY, in_transaction], "BEGIN")
            .await
            .starts_with("not idle")
    );
    let copy = b"H\0\0\0\x07\0\0\0".as_slice();
    let refused = protocol_error(&[OK, READY, copy], "COPY t TO STDOUT").await;
    assert_eq!(refused, "connect_query must not use COPY");
}

#[test]
fn the_strongest_common_mechanism_is_chosen() {
    let tls = |end_point| Channel {
        is_tls: true,
        end_point,
    };
    let hash = || Some(vec![1]);
    let (plain, plus) = (SCRAM_SHA_256.to_owned(), SCRAM_SHA_256_PLUS.to_owned());
    let both = [plus.clone(), plain.clone()];
    for (offered, channel, expected) in [
        (&both[..], tls(hash()), Ok(ClientBinding::EndPoint(vec![1]))),
        (&both[..], tls(None), Ok(ClientBinding::Unavailable)),
        (&[plain][..], tls(hash()), Ok(ClientBinding::NotOffered)),
        (&both[..], no_tls(), Ok(ClientBinding::Unavailable)),
        (&[plus][..], no_tls(), Err(SignInError::Mechanism)),
        (&[][..], tls(hash()), Err(SignInError::Mechanism)),
    ] {
        assert_eq!(choose(offered, channel), expected);
    }
}
