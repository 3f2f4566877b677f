//! Nodes that hang, die and come back; the configuration that forgets them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry::nodes::{ClusterView, ReplicaState};

use super::world::{MONITOR, Servers, World, config, monitors, node};
use crate::support::patience::eventually;

/// Besides interval and timeout: for machines under load.
const SLACK: Duration = Duration::from_secs(3);

#[test]
fn a_replica_that_hangs_is_unreachable_and_comes_back_step_by_step() {
    let servers = Servers::start(2);
    let lines = format!("tls = 'disable'\nprobe_interval = '200ms'\n{MONITOR}");
    let world = World::of(&servers.config(&lines));
    let [first, second] = &servers.replicas[..] else {
        panic!("two replicas");
    };
    for replica in &servers.replicas {
        let ready = || world.replica(replica) == (ReplicaState::Ready, 1000);
        eventually("a replica is ready", ready);
    }
    let frozen = first.freeze().unwrap();
    let begin = Instant::now();
    eventually("it is unreachable", || {
        world.is(first, ReplicaState::Unreachable)
    });
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(2200) + SLACK, "{took:?}");
    assert_eq!(world.gauges(first).replayed().0, 0);
    // Nobody else is touched, and who waits for it is told in time.
    assert_eq!(world.replica(second), (ReplicaState::Ready, 1000));
    let position = world.position().expect("a position");
    let took = world.replayed(first, position.lsn, Duration::from_millis(50));
    assert!(took < SLACK, "{took:?}");

    let before = world.told().len();
    drop(frozen);
    eventually("it has a part of its share", || {
        world.replica(first).1 >= 280
    });
    let share = |view: &Arc<ClusterView>| {
        let mut replicas = view.replicas.iter();
        replicas.find(|r| r.node == node(first)).map(|r| r.share)
    };
    let told: Vec<_> = world.told()[before..].iter().filter_map(share).collect();
    // A machine under load may skip a step, but not the first.
    let steps = told.iter().all(|share| (share - 100) % 90 == 0);
    assert!(told[0] == 100 && steps && told.is_sorted(), "{told:?}");

    a_dead_one_is_known_at_once(&world, &servers);
    what_is_no_longer_configured_is_left(&world, &servers);
}

/// Its connection ends, so nobody waits for the next probe.
fn a_dead_one_is_known_at_once(world: &World, servers: &Servers) {
    let [first, second] = &servers.replicas[..] else {
        panic!("two replicas");
    };
    let lines = format!("tls = 'disable'\nprobe_interval = '1h'\n{MONITOR}");
    world.health.configure(&servers.config(&lines));
    second.kill9().unwrap();
    eventually("it is unreachable", || {
        world.is(second, ReplicaState::Unreachable)
    });
    second.restart().unwrap();
    // The next probe is an hour away, but traffic may see it.
    let suspected = || {
        world.health.suspect(&node(second));
        world.is(second, ReplicaState::Ready)
    };
    eventually("it is ready again", suspected);
    // A connection that is ended alone is no sign of the node's health.
    let told = world.told().len();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mon'";
    first.psql("postgres", end).unwrap();
    eventually("it is asked over another one", || monitors(first) == 1);
    let told = world.told().split_off(told);
    let replicas = told.iter().flat_map(|view| &view.replicas);
    let mut of_first = replicas.filter(|r| r.node == node(first));
    assert!(of_first.all(|r| r.state == ReplicaState::Ready));
}

fn what_is_no_longer_configured_is_left(world: &World, servers: &Servers) {
    let [first, second] = &servers.replicas[..] else {
        panic!("two replicas");
    };
    let lines = format!("tls = 'disable'\n{MONITOR}");
    let one = config(servers.primary.port(), &[first.port()], &lines);
    world.health.configure(&one);
    eventually("the second is left", || monitors(second) == 0);
    assert_eq!(world.view().replicas.len(), 1);
    assert_eq!((monitors(first), monitors(&servers.primary)), (1, 1));
    // A cluster without replicas costs nothing.
    world
        .health
        .configure(&config(servers.primary.port(), &[], &lines));
    eventually("all are left", || {
        monitors(first) + monitors(&servers.primary) == 0
    });
    assert!(world.health.all().is_empty());
    assert_eq!(world.position(), None);
}
