//! As whom nodes are asked: logins that are refused, a client's own key, TLS.

use std::fs;
use std::time::{Duration, Instant};

use tenantry::auth::scram::{
    ClientBinding, ClientExchange, ClientSecret, Genuine, ServerBinding, ServerExchange, Verifier,
};
use tenantry::demo::cluster::Cluster;
use tenantry::nodes::ReplicaState;
use tenantry::types::{ScramClientKey, Secret};
use tenantry::upstream::Credentials;

use super::world::{Servers, World, monitors, password};
use crate::support::patience::eventually;
use crate::support::postgres::Database;

/// What a login of `low` through the proxy leaves us with.
fn key_of_login(server: &Cluster) -> ScramClientKey {
    let sql = "SELECT rolpassword FROM pg_authid WHERE rolname = 'low'";
    let verifier = Verifier::parse(&server.psql("postgres", sql).unwrap()).unwrap();
    let (client, first) = ClientExchange::start(ClientBinding::Unavailable).unwrap();
    let binding = ServerBinding::Unavailable;
    let started = ServerExchange::start(verifier, Genuine::Known, binding, "SCRAM-SHA-256", &first);
    let (exchange, reply) = started.unwrap();
    let secret = ClientSecret::Password(Database::PASSWORD);
    let (_, last) = client.respond(&reply, secret).unwrap();
    exchange.finish(&last).unwrap().1
}

#[test]
fn a_refused_login_is_given_up_for_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("server.crt"), dir.path().join("server.key"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let servers = Servers::with(Cluster::builder().tls(&certificate, &key), 1);
    let replica = &servers.replicas[0];
    let config = servers.config("tls = 'require'\nprobe_interval = '50ms'");
    let world = World::of(&config);

    let wrong = Credentials::Password(Secret::new("wrong".to_owned()));
    world.offer(&config[0], "low", wrong);
    eventually("the login is refused", || {
        world.is(replica, ReplicaState::Refusing)
    });
    // Nothing can be asked for many intervals, which costs nothing.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(300) {
        world.breathe();
    }
    let key = Credentials::ScramKey(key_of_login(&servers.primary));
    // Both nodes may refuse the first one, each at its own time.
    eventually("the replica is ready", || {
        world.offer(&config[0], "low", key.clone());
        world.is(replica, ReplicaState::Ready)
    });
    let sql = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
               WHERE application_name = 'tenantry monitor'";
    assert_eq!(replica.psql("postgres", sql).unwrap(), "t");

    // What is open is not touched by what is offered.
    world.offer(&config[0], "nobody", password());
    eventually("the primary can be asked", || world.position().is_some());
    assert_eq!((monitors(replica), monitors(&servers.primary)), (1, 1));
    // The key is of no use any more: another login, when one works.
    let rotate = "SET password_encryption = 'scram-sha-256';
                  ALTER ROLE low PASSWORD 'server-secret'; 
                  SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'low'";
    servers.primary.psql("postgres", rotate).unwrap();
    eventually("the primary cannot be asked", || world.position().is_none());
    eventually("the primary can be asked again", || {
        world.offer(&config[0], "low", password());
        world.position().is_some()
    });
}
