//! Who gets in, by which method, and that those who do not cannot tell why.

use super::harness::*;
use crate::auth::scram::ClientBinding;
use crate::worker::Protocol;
use tokio::io::AsyncWriteExt;

type Pairs = &'static [(&'static str, &'static str)];

/// Ways to say `app` of `acme`.
const GOOD: &[Pairs] = &[
    &[("user", "app.acme")],
    &[("user", "app@acme"), ("database", "app@acme")],
    &[("user", "app.acme"), ("database", "tenant_acme")],
    &[("user", "app"), ("database", "acme")],
    &[("user", "app"), ("options", "-c tenant=acme")],
    &[
        ("user", "app"),
        ("tenant", "acme"),
        ("database", "tenant_acme"),
    ],
];

/// Ways to get nowhere whatever the password, but the last: there the password is wrong.
const BAD: &[(&str, Pairs)] = &[
    ("unknown tenant", &[("user", "app.nosuch")]),
    (
        "unknown tenant by database",
        &[("user", "app"), ("database", "nosuch")],
    ),
    ("unknown role", &[("user", "nobody.acme")]),
    ("role without a password", &[("user", "bare.acme")]),
    ("no tenant", &[("user", "app")]),
    (
        "disagreeing",
        &[("user", "app.acme"), ("options", "tenant=globex")],
    ),
    (
        "two options",
        &[
            ("user", "app"),
            ("options", "tenant=acme"),
            ("tenant", "globex"),
        ],
    ),
    (
        "foreign database",
        &[("user", "app.acme"), ("database", "tenant_globex")],
    ),
    (
        "other tenant's slug",
        &[("user", "app.acme"), ("database", "globex")],
    ),
    ("forbidden network", &[("user", "app.far")]),
    ("console", &[("user", "admin"), ("database", "tenantry")]),
];

#[tokio::test]
async fn every_kind_of_evidence_logs_in_by_scram() {
    let world = World::with_method("scram-sha-256");
    for pairs in GOOD {
        let login = world.log_in(pairs, "pw").await;
        assert!(ended_well(&login), "{pairs:?}: {login:?}");
    }
    let clients = world.sink.clients.lock().unwrap();
    assert_eq!(clients.len(), GOOD.len());
    for client in clients.iter() {
        assert_eq!(client.identity.tenant.slug().as_str(), "acme");
        assert_eq!(client.identity.role.as_str(), "app");
        assert!(client.identity.key.is_some() && client.settings.is_empty());
    }
    assert_eq!(world.front.clients().taken(), GOOD.len());
}

#[tokio::test]
async fn md5_and_trust_log_in() {
    for method in ["md5", "trust"] {
        let world = World::with_method(method);
        assert!(ended_well(&world.log_in(GOOD[0], "pw").await), "{method}");
        assert!(world.sink.clients.lock().unwrap()[0].identity.key.is_none());
    }
}

/// The server's bytes with the user's name blotted out.
fn alike(login: &Login, pairs: Pairs) -> String {
    let user = format!("\"{}\"", pairs[0].1);
    String::from_utf8(login.heard.clone())
        .unwrap()
        .replace(&user, "\"<user>\"")
}

#[tokio::test]
async fn refusals_are_the_same_bytes() {
    for method in ["scram-sha-256", "md5", "cert"] {
        let world = World::with_method(method);
        let known: Pairs = &[("user", "app.acme")];
        let expected = world.log_in(known, "wrong").await;
        assert_eq!(expected.code(), Some("28P01"), "{method}");
        let error = expected.error.as_ref().unwrap();
        assert_eq!(
            error.message,
            "password authentication failed for user \"app.acme\""
        );
        assert_eq!((error.severity.as_str(), &error.hint), ("FATAL", &None));
        for (what, pairs) in BAD {
            let refused = world.log_in(pairs, "pw").await;
            assert_eq!(
                alike(&refused, pairs),
                alike(&expected, known),
                "{method}: {what}"
            );
        }
        assert!(world.sink.clients.lock().unwrap().is_empty());
        assert_eq!(
            world.front.clients().taken(),
            0,
            "no failed login keeps its place"
        );
    }
}

#[tokio::test]
async fn trust_refuses_unknown_names_all_the_same() {
    let world = World::with_method("trust");
    for (what, pairs) in BAD
        .iter()
        .filter(|(what, _)| *what != "role without a password")
    {
        assert_eq!(
            world.log_in(pairs, "").await.code(),
            Some("28P01"),
            "{what}"
        );
    }
}

#[tokio::test]
async fn salts_tell_nothing_and_survive_a_restart() {
    let (world, restarted) = (
        World::with_method("scram-sha-256"),
        World::with_method("scram-sha-256"),
    );
    let salt = async |world: &World, pairs: Pairs| world.log_in(pairs, "x").await.salt.unwrap();
    for pairs in [GOOD[0], BAD[0].1, BAD[2].1] {
        assert_eq!(
            salt(&world, pairs).await,
            salt(&restarted, pairs).await,
            "{pairs:?}"
        );
    }
    let known = salt(&world, GOOD[0]).await;
    for pairs in GOOD {
        assert_eq!(salt(&world, pairs).await, known, "{pairs:?}");
    }
    let by_user = salt(&world, &[("user", "app.nosuch")]).await;
    assert_ne!(by_user, known);
    let others: [Pairs; 3] = [
        &[("user", "app"), ("database", "nosuch")],
        &[("user", "app"), ("options", "tenant=nosuch")],
        &[("user", "app.nosuch"), ("database", "tenant_nosuch")],
    ];
    for pairs in others {
        assert_eq!(salt(&world, pairs).await, by_user, "{pairs:?}");
    }
}

/// Whoever may log in to the console shows in no salt, by whichever of its names it is asked for.
#[tokio::test]
async fn salts_of_the_console_tell_nothing() {
    const STORED: &str = "SCRAM-SHA-256$4096:AAECAwQFBgcICQoLDA0ODw==$\
                          AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let world = World::new(&format!(
        "[auth]\nsecret = 's'\n[console]\nusers = [{{ name = 'plain', password = 'x', role = 'admin' }}, \
         {{ name = 'stored', password = '{STORED}', role = 'stats' }}]"
    ));
    for user in ["plain", "stored", "nobody"] {
        let suffixed = format!("{user}.tenantry");
        let mut salts = Vec::new();
        for pairs in [
            &[("user", user), ("database", "tenantry")][..],
            &[("user", user), ("database", "pgbouncer")],
            &[("user", user), ("tenant", "tenantry")],
            &[("user", &suffixed)],
        ] {
            let login = world.log_in(pairs, "wrong").await;
            assert_eq!(login.code(), Some("28P01"), "{pairs:?}");
            salts.push(login.salt);
        }
        assert!(
            salts[0].is_some() && salts.iter().all(|s| *s == salts[0]),
            "{user}: {salts:?}"
        );
    }
}

#[tokio::test]
async fn settings_and_protocol_reach_the_worker() {
    let world = World::with_method("trust");
    let (mut socket, task) = world.unix();
    let pairs = [
        ("user", "app.acme"),
        ("options", "-c a.b=1"),
        ("TimeZone", "UTC"),
        ("_pq_.x", ""),
    ];
    socket.write_all(&startup(9, &pairs)).await.unwrap();
    let negotiated = read_message(&mut socket).await;
    assert_eq!(
        negotiated,
        Some((b'v', b"\0\x03\0\x02\0\0\0\x01_pq_.x\0".to_vec()))
    );
    assert_eq!(read_message(&mut socket).await, Some((b'R', vec![0; 4])));
    task.await.unwrap();
    let clients = world.sink.clients.lock().unwrap();
    let owned = |pair: (&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
    assert_eq!(
        clients[0].settings,
        [owned(("a.b", "1")), owned(("TimeZone", "UTC"))]
    );
    assert_eq!(clients[0].protocol, Protocol::V3_2);
}

#[tokio::test]
async fn odd_answers_are_protocol_violations_for_everybody() {
    let world = World::with_method("scram-sha-256");
    for user in ["app.acme", "app.nosuch"] {
        for odd in [
            &b"Q\0\0\0\x04"[..],
            b"p\0\0\0\0",
            b"p\x7f\xff\xff\xff",
            b"p\0\0\0\x04",
            b"p\0\0\0\x17SCRAM-SHA-256\0\0\0\0\x01x",
            b"p\0\0\0\x1bSCRAM-SHA-256-PLUS\0\0\0\0\x00",
        ] {
            let (mut socket, task) = world.unix();
            socket
                .write_all(&startup(0, &[("user", user)]))
                .await
                .unwrap();
            assert!(read_message(&mut socket).await.is_some());
            socket.write_all(odd).await.unwrap();
            let (kind, body) = read_message(&mut socket).await.expect("an error");
            assert_eq!(
                (kind, refusal(&body).code.as_str()),
                (b'E', "08P01"),
                "{odd:?}"
            );
            task.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_login_cut_anywhere_gives_its_place_back() {
    let world = World::with_method("scram-sha-256");
    let whole = startup(0, GOOD[0]);
    for cut in 0..=whole.len() {
        let (mut socket, task) = world.unix();
        socket.write_all(&whole[..cut]).await.unwrap();
        drop(socket);
        task.await.unwrap();
        assert_eq!(world.front.clients().taken(), 0, "cut at {cut}");
    }
}

#[tokio::test]
async fn channel_binding_is_not_claimed_without_tls() {
    let world = World::with_method("scram-sha-256");
    let (mut socket, _task) = world.unix();
    let login = log_in(
        &mut socket,
        GOOD[0],
        "pw",
        &ClientBinding::EndPoint(vec![1]),
    )
    .await;
    assert_eq!(login.code(), Some("08P01"));
}
