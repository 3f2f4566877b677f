//! What is refused after the proof, what is refused before it for everybody, and that nothing hangs.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::harness::*;
use crate::auth::scram::ClientBinding;
use crate::config::{ListenAddr, Listener};
use crate::front::FrontSettings;
use crate::front::listen::{Gate, bind, run};
use crate::tenant::Registry;

const TRUST: &str = "[auth]\nmethod = 'trust'";

#[tokio::test]
async fn a_suspended_tenant_is_told_after_the_proof_only() {
    let world = World::with_method("scram-sha-256");
    let pairs = [("user", "app.asleep")];
    assert_eq!(world.log_in(&pairs, "wrong").await.code(), Some("28P01"));
    let refused = world.log_in(&pairs, "pw").await.error.unwrap();
    assert_eq!(
        (refused.code.as_str(), refused.message.as_str()),
        ("57P03", "tenant \"asleep\" is suspended")
    );
    assert!(refused.hint.is_some());
}

#[tokio::test]
async fn a_tenants_limit_is_named_and_lives_on_over_reloads() {
    let world = World::with_method("scram-sha-256");
    let pairs = [("user", "app.narrow")];
    assert!(ended_well(&world.log_in(&pairs, "pw").await));
    let before = world.front.settings();
    let config = config("[auth]\nsecret = 's'");
    let registry = Arc::new(Registry::build(&config, &before.registry));
    let next = FrontSettings::build(Some(&before), &config, registry).unwrap();
    world.front.replace_settings(next);
    let refused = world.log_in(&pairs, "pw").await.error.unwrap();
    assert_eq!(refused.code, "53300");
    assert!(
        refused
            .message
            .contains("max_clients = 1 of tenant \"narrow\""),
        "{refused:?}"
    );
    world.sink.clients.lock().unwrap().clear();
    assert!(
        ended_well(&world.log_in(&pairs, "pw").await),
        "its place is free again"
    );
}

#[tokio::test]
async fn the_proxys_limit_is_told_and_cancels_pass_it() {
    let world = World::new(&format!("[server]\nmax_clients = 1\n{TRUST}"));
    let pairs = [("user", "app.acme")];
    assert!(ended_well(&world.log_in(&pairs, "").await));
    let refused = world.log_in(&pairs, "").await.error.unwrap();
    assert_eq!(refused.code, "53300");
    assert!(
        refused.message.contains("max_clients = 1 of the proxy"),
        "{refused:?}"
    );
    let (mut socket, task) = world.unix();
    let request = packet(&[&[4, 210, 22, 46, 0, 0, 0, 7][..], &[9; 32]].concat());
    socket.write_all(&request).await.unwrap();
    assert_eq!(
        read_message(&mut socket).await,
        None,
        "a cancel request has no answer"
    );
    task.await.unwrap();
    assert_eq!(*world.sink.cancels.lock().unwrap(), [(7, vec![9; 32])]);
}

#[tokio::test]
async fn a_worker_learns_both_ends_of_a_connection() {
    let world = World::new(TRUST);
    let (mut socket, task) = world.tcp().await;
    let pairs = [("user", "app.acme")];
    let login = log_in(&mut socket, &pairs, "", &ClientBinding::Unavailable);
    assert!(ended_well(&login.await));
    task.await.unwrap();
    assert!(ended_well(&world.log_in(&pairs, "").await));
    let clients = world.sink.clients.lock().unwrap();
    let ends: Vec<_> = clients.iter().map(|c| (c.peer, c.local)).collect();
    let tcp = (socket.local_addr().ok(), socket.peer_addr().ok());
    assert_eq!(ends, [tcp, (None, None)]);
}

#[tokio::test]
async fn a_silent_client_is_closed_after_the_login_timeout() {
    let world = World::new(&format!("[server]\nlogin_timeout = '50ms'\n{TRUST}"));
    let (mut silent, first) = world.unix();
    let (mut slow, second) = world.unix();
    slow.write_all(&startup(0, &[("user", "app.acme")])[..9])
        .await
        .unwrap();
    let mut rest = Vec::new();
    assert_eq!(silent.read_to_end(&mut rest).await.unwrap(), 0);
    assert_eq!(slow.read_to_end(&mut rest).await.unwrap(), 0);
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(world.front.clients().taken(), 0);
}

#[tokio::test]
async fn bad_first_packets_are_refused_at_once() {
    let world = World::new(TRUST);
    for (bytes, code) in [
        (&b"\0\0\0\0"[..], "08P01"),
        (b"\x80\0\0\0", "08P01"),
        (b"\0\0\0\x07", "08P01"),
        (b"\0\0\x27\x15", "08P01"),
        (b"GET / HTTP/1.0\r\n", "08P01"),
        (b"\0\0\0\x08\0\x02\0\0", "0A000"),
        (b"\0\0\0\x09\0\x03\0\0\0", "28000"),
    ] {
        let (mut socket, task) = world.unix();
        socket.write_all(bytes).await.unwrap();
        let (kind, body) = read_message(&mut socket).await.expect("an error");
        assert_eq!(
            (kind, refusal(&body).code.as_str()),
            (b'E', code),
            "{bytes:?}"
        );
        task.await.unwrap();
    }
}

#[tokio::test]
async fn physical_replication_is_refused_before_anything_is_asked() {
    let world = World::with_method("scram-sha-256");
    for user in ["app.acme", "app.nosuch"] {
        let refused = world
            .log_in(&[("user", user), ("replication", "true")], "pw")
            .await;
        let error = refused.error.expect("refused");
        assert_eq!(error.code, "0A000");
        assert!(error.hint.is_some());
    }
}

#[tokio::test]
async fn a_listener_serves_until_it_is_told_to_stop() {
    let world = World::new(TRUST);
    let dir = tempfile::tempdir().unwrap();
    let address = ListenAddr::Unix(dir.path().to_owned());
    let bound = bind(&address, 5432).unwrap();
    let listener = Arc::new(Listener {
        address,
        method: None,
        route: crate::config::Route::Primary,
    });
    let (stop, stopped) = watch::channel(Gate::Open);
    let running = tokio::spawn(run(
        Arc::new(bound),
        Arc::clone(&world.front),
        listener,
        stopped,
    ));
    let path = dir.path().join(".s.PGSQL.5432");
    for _ in 0..2 {
        let mut socket = UnixStream::connect(&path).await.unwrap();
        let login = log_in(
            &mut socket,
            &[("user", "app.acme")],
            "",
            &ClientBinding::Unavailable,
        );
        assert!(ended_well(&login.await));
    }
    stop.send(Gate::Shut).unwrap();
    // It waits for the other process that has this socket.
    let mut early = UnixStream::connect(&path).await.unwrap();
    stop.send(Gate::Open).unwrap();
    let startup = [("user", "app.acme")];
    let login = log_in(&mut early, &startup, "", &ClientBinding::Unavailable);
    assert!(ended_well(&login.await));
    stop.send(Gate::Closed).unwrap();
    running.await.unwrap();
    assert!(UnixStream::connect(&path).await.is_err() && !path.exists());
}
