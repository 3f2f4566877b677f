//! Positions and replay, with a login that has no privileges and odd settings.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tenantry::demo::cluster::Cluster;
use tenantry::nodes::{Lsn, ReplicaState};

use super::world::{Servers, World, monitors, password};
use crate::support::client::Client;
use crate::support::patience::eventually;

/// Long enough for whatever must happen.
const LONG: Duration = Duration::from_secs(20);

/// What a tenant may do to its own role and database.
const ODD: &str = "
    ALTER ROLE low SET search_path = public, pg_catalog;
    ALTER ROLE low SET default_transaction_isolation = 'serializable';
    CREATE FUNCTION public.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT false';
    CREATE FUNCTION public.pg_last_wal_replay_lsn() RETURNS pg_lsn LANGUAGE sql AS $$ SELECT 'F/0'::pg_lsn $$;
    CREATE FUNCTION public.pg_current_wal_insert_lsn() RETURNS pg_lsn LANGUAGE sql AS $$ SELECT '0/1'::pg_lsn $$;
    CREATE TABLE public.n AS SELECT 0 AS n;
    GRANT SELECT, UPDATE ON public.n TO low;";

fn client(server: &Cluster) -> Client {
    let address = SocketAddr::from(([127, 0, 0, 1], server.port()));
    Client::log_in(address, "low", "low", &[]).unwrap()
}

#[test]
fn positions_cover_what_was_committed_and_replay_is_waited_for() {
    let servers = Servers::start(2);
    servers.primary.psql("low", ODD).unwrap();
    let config = servers.config("tls = 'disable'");
    let world = World::of(&config);
    for replica in &servers.replicas {
        assert_eq!(world.replica(replica), (ReplicaState::Unknown, 0));
    }
    assert_eq!(world.position(), None);
    assert_eq!(monitors(&servers.primary), 0);

    world.offer(&config[0], "low", password());
    for replica in &servers.replicas {
        let ready = || world.replica(replica) == (ReplicaState::Ready, 1000);
        eventually("a replica is ready", ready);
        assert_eq!(monitors(replica), 1);
    }
    assert!(world.is_primary(&servers.primary));
    eventually("the primary can be asked", || world.position().is_some());
    assert_eq!(world.position().map(|p| p.timeline), Some(1));

    // What is asked for is not told by probes.
    world
        .health
        .configure(&servers.config("tls = 'disable'\nprobe_interval = '1h'"));
    commits_are_covered(&world, &servers);
    the_end_of_a_page_is_reached_at_once(&world, &servers);
    world.health.configure(&config);
    paused_replay_is_waited_for_until_the_deadline(&world, &servers);
    a_promotion_is_seen_by_the_control_file_alone(&world, &servers);
}

/// Each write is seen at a replica that has replayed the position asked for behind it.
fn commits_are_covered(world: &World, servers: &Servers) {
    let mut writer = client(&servers.primary);
    let mut readers: Vec<Client> = servers.replicas.iter().map(client).collect();
    writer.query("SET default_transaction_isolation = 'read committed'");
    for reader in &mut readers {
        reader.query("SET default_transaction_isolation = 'read committed'");
    }
    let begin = Instant::now();
    for n in 1..=120 {
        // The commit is acknowledged before it is flushed.
        let commit = if n % 30 == 0 { "off" } else { "on" };
        writer.query(&format!("SET synchronous_commit = {commit}"));
        writer.query(&format!("UPDATE public.n SET n = {n}"));
        let position = world.position().expect("a position");
        let at = n % 2;
        world.replayed(&servers.replicas[at], position.lsn, LONG);
        assert!(world.gauges(&servers.replicas[at]).replayed() >= position.lsn);
        assert_eq!(readers[at].value("SELECT n FROM public.n"), n.to_string());
    }
    assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
}

/// The next record begins behind the header of a page, where no standby ever is.
fn the_end_of_a_page_is_reached_at_once(world: &World, servers: &Servers) {
    let mut writer = client(&servers.primary);
    let mut insert = || {
        let lsn = writer.value("SELECT pg_catalog.pg_current_wal_insert_lsn()");
        lsn.parse::<Lsn>().unwrap().0
    };
    let superuser = |size: u64| {
        let sql = format!("SELECT pg_logical_emit_message(true, 't', repeat('x', {size}))");
        servers.primary.psql("postgres", &sql).unwrap();
    };
    // What a message costs besides its text: two records, aligned to 8.
    let mut overhead = 100;
    let deadline = Instant::now() + LONG;
    let raw = loop {
        assert!(Instant::now() < deadline, "the end of a page is never met");
        let begin = insert();
        let left = 8192 - begin % 8192;
        if left < 2000 {
            superuser(left);
            continue;
        }
        let size = left - overhead;
        superuser(size);
        let end = insert();
        if end % 8192 == 24 {
            break end;
        }
        if end / 8192 == begin / 8192 {
            overhead = end - begin - size;
        } else {
            overhead += 8;
        }
    };
    let position = world.position().expect("a position");
    if position.lsn.0 != raw - 24 {
        // Somebody else has written since, such as the snapshot of running transactions.
        assert!(position.lsn.0 > raw, "{position}");
        return;
    }
    let took = world.replayed(&servers.replicas[0], position.lsn, LONG);
    assert!(took < LONG / 4, "{took:?}");
    assert_eq!(world.gauges(&servers.replicas[0]).replayed(), position.lsn);
}

fn paused_replay_is_waited_for_until_the_deadline(world: &World, servers: &Servers) {
    let replica = &servers.replicas[0];
    replica.pause_replay().unwrap();
    client(&servers.primary).query("UPDATE public.n SET n = -1");
    let position = world.position().expect("a position");
    let within = Duration::from_millis(300);
    let took = world.replayed(replica, position.lsn, within);
    assert!((within..LONG / 4).contains(&took), "{took:?}");
    let gauges = world.gauges(replica);
    assert!(gauges.replayed() < position.lsn);
    // It serves all the same, and is known to be behind.
    eventually("lag is seen", || {
        gauges.lag() > Duration::ZERO && gauges.lag_bytes() > 0
    });
    assert_eq!(world.replica(replica), (ReplicaState::Ready, 1000));
    world.replayed(&servers.replicas[1], position.lsn, LONG);
    assert!(world.gauges(&servers.replicas[1]).replayed() >= position.lsn);

    replica.resume_replay().unwrap();
    world.replayed(replica, position.lsn, LONG);
    assert!(gauges.replayed() >= position.lsn);
    eventually("lag is over", || {
        gauges.lag() == Duration::ZERO && gauges.lag_bytes() == 0
    });
}

/// Without pg_monitor a standby is astray until it has flushed something of the new timeline.
fn a_promotion_is_seen_by_the_control_file_alone(world: &World, servers: &Servers) {
    let [promoted, other] = &servers.replicas[..] else {
        panic!("two replicas");
    };
    servers.primary.kill9().unwrap();
    promoted.promote().unwrap();
    eventually("the promoted one is the primary", || {
        world.is_primary(promoted)
    });
    eventually("the other one is astray", || {
        world.is(other, ReplicaState::Astray)
    });
    assert_eq!(world.gauges(other).replayed(), Lsn(0));
    other.follow(promoted).unwrap();
    promoted.psql("postgres", "CHECKPOINT").unwrap();
    let restarted = || {
        // Of the timeline that it replays by now.
        other.psql("postgres", "CHECKPOINT").unwrap();
        world.is(other, ReplicaState::Ready)
    };
    eventually("the other one follows", restarted);
    let position = world.position().expect("a position");
    assert_eq!(position.timeline, 2);
    world.replayed(other, position.lsn, LONG);
    assert!(world.gauges(other).replayed() >= position.lsn);
}
