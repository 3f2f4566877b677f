//! Who the primary is after promotions.

use std::time::Duration;

use tenantry::demo::cluster::Mode;
use tenantry::nodes::{Primary, ReplicaState};

use super::world::{MONITOR, Servers, World, config, node};
use crate::support::patience::eventually;

fn lines() -> String {
    format!("tls = 'disable'\nprobe_interval = '100ms'\n{MONITOR}")
}

#[test]
fn writes_follow_a_promotion_and_a_former_primary_gets_none() {
    let servers = Servers::start(2);
    let world = World::of(&servers.config(&lines()));
    let [promoted, other] = &servers.replicas[..] else {
        panic!("two replicas");
    };
    for replica in &servers.replicas {
        eventually("a replica is ready", || {
            world.is(replica, ReplicaState::Ready)
        });
    }
    eventually("the primary can be asked", || world.position().is_some());
    let before = world.position().expect("a position");
    servers.primary.kill9().unwrap();
    eventually("it cannot be asked", || world.position().is_none());
    assert!(
        world.is_primary(&servers.primary),
        "nobody else says that it is"
    );

    promoted.promote().unwrap();
    eventually("the promoted one is the primary", || {
        world.is_primary(promoted)
    });
    eventually("and can be asked", || world.position().is_some());
    let after = world.position().expect("a position");
    assert!(after.timeline > before.timeline, "{before} {after}");
    assert_eq!(
        world.replica(&servers.primary),
        (ReplicaState::Unreachable, 0)
    );
    assert!(world.is(other, ReplicaState::Astray));

    other.follow(promoted).unwrap();
    eventually("the other one follows", || {
        world.is(other, ReplicaState::Ready)
    });
    promoted
        .psql("postgres", "CREATE TABLE t AS SELECT 7 AS n")
        .unwrap();
    let position = world.position().expect("a position");
    world.replayed(other, position.lsn, Duration::from_secs(20));
    assert_eq!(other.psql("postgres", "SELECT n FROM t").unwrap(), "7");

    servers.primary.restart().unwrap();
    eventually("the former primary is known as one", || {
        world.is(&servers.primary, ReplicaState::NoStandby)
    });
    // It alone is not enough.
    promoted.stop(Mode::Immediate).unwrap();
    eventually("the primary is gone", || world.position().is_none());
    assert!(world.is_primary(promoted));
    promoted.restart().unwrap();
    eventually("the primary is back", || world.position().is_some());
    let disputed = |p: &Primary| matches!(p, Primary::Disputed(_));
    assert!(!world.told().iter().any(|view| disputed(&view.primary)));
}

#[test]
fn two_primaries_of_one_timeline_are_a_dispute() {
    let servers = Servers::start(2);
    let world = World::of(&servers.config(&lines()));
    for replica in &servers.replicas {
        eventually("a replica is ready", || {
            world.is(replica, ReplicaState::Ready)
        });
    }
    servers.primary.kill9().unwrap();
    for replica in &servers.replicas {
        replica.promote().unwrap();
    }
    let both: Vec<_> = servers.replicas.iter().map(node).collect();
    eventually("there is a dispute", || {
        world.view().primary == Primary::Disputed(both.clone())
    });
    for replica in &servers.replicas {
        assert_eq!(world.replica(replica), (ReplicaState::NoStandby, 0));
    }
    assert_eq!(world.position(), None);
    // The operator decides.
    let first = servers.replicas[0].port();
    world
        .health
        .configure(&config(servers.primary.port(), &[first], &lines()));
    assert!(world.is_primary(&servers.replicas[0]));
    eventually("it can be asked", || world.position().is_some());
}
