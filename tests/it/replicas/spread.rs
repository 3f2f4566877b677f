//! How reads are spread over the replicas, and that writes never are.

use std::collections::BTreeMap;

use crate::support::frames::Frames;
use crate::support::replicas::{Routed, Tenant, shared};

/// How often each node has served.
fn count(rounds: usize, mut served: impl FnMut() -> u16) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..rounds {
        *counts.entry(served()).or_default() += 1;
    }
    counts
}

/// All of them at the replicas, none more than 5 % off an even share.
fn assert_even(counts: &BTreeMap<u16, usize>) {
    let (all, ports) = (counts.values().sum::<usize>(), shared().ports());
    assert!(counts.keys().all(|port| ports.contains(port)), "{counts:?}");
    for port in ports {
        let share = counts.get(&port).copied().unwrap_or_default() * ports.len() * 100 / all;
        assert!((95..=105).contains(&share), "{counts:?}");
    }
}

fn extended(sql: &str) -> Frames {
    Frames::default().run(sql).sync()
}

#[test]
fn read_only_transactions_are_spread_evenly_in_simple_protocol() {
    let tenant = Tenant::serving("");
    let mut clients: Vec<Routed> = (0..4).map(|_| tenant.client()).collect();
    let mut turn = 0;
    let counts = count(200, || {
        turn += 1;
        clients[turn % 4].read_only("SELECT 1").port
    });
    assert_even(&counts);
}

#[test]
fn read_only_transactions_are_spread_evenly_in_extended_protocol() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    let counts = count(200, || {
        let opened = client.0.ask(&extended("BEGIN READ ONLY"));
        assert_eq!((opened.tags().as_str(), opened.status()), ("12CZ", 'T'));
        let port = client.ask(&extended("SELECT 1")).port;
        assert_eq!(client.0.ask(&extended("COMMIT")).status(), 'I');
        port
    });
    assert_even(&counts);
}

#[test]
fn named_statements_are_parsed_at_each_replica() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    let parsed = client
        .0
        .ask(&Frames::default().parse("s", "SELECT $1::int + 1").sync());
    assert_eq!(parsed.errors(), [""; 0]);
    let counts = count(40, || {
        client.silent("BEGIN READ ONLY");
        let served = client.ask(&Frames::default().bind("s", &["41"]).execute().sync());
        assert_eq!(served.why, "read_only");
        assert_eq!(served.reply.one(), "42");
        client.silent("COMMIT");
        served.port
    });
    assert_even(&counts);
}

#[test]
fn what_may_write_never_reaches_a_replica() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    let primary = shared().primary.port();
    client.query("CREATE TABLE t (id int)");
    for begin in [
        "BEGIN",
        "BEGIN READ WRITE",
        "START TRANSACTION",
        "begin isolation level serializable",
    ] {
        for form in [|sql: &str| Frames::default().query(sql), extended] {
            // Held or not, the first reply of a server tells who it is.
            let mut told = crate::support::replicas::served(&client.0.ask(&form(begin)));
            for sql in [
                "SELECT count(*) FROM t",
                "INSERT INTO t VALUES (1)",
                "COMMIT",
            ] {
                let reply = client.0.ask(&form(sql));
                assert_eq!(reply.errors(), [""; 0], "{begin} {sql}");
                told = told.or(crate::support::replicas::served(&reply));
            }
            assert_eq!(told, Some((primary, "writes".to_owned())), "{begin}");
        }
    }
    for form in [|sql: &str| Frames::default().query(sql), extended] {
        for sql in ["SELECT count(*) FROM t", "INSERT INTO t VALUES (1)"] {
            assert_eq!(client.ask(&form(sql)).port, primary, "{sql}");
        }
    }
    assert_eq!(client.query("SELECT count(*) FROM t").reply.one(), "10");
}

#[test]
fn weights_are_shares_of_the_reads() {
    let (trio, [one, two]) = (shared(), shared().ports());
    let database = trio.database();
    let list = format!("['127.0.0.1:{one}', {{ address = '127.0.0.1:{two}', weight = 3 }}]");
    let proxy = crate::support::proxy::Toml::default()
        .tables("[routing]\nnotice = true")
        .cluster("main", trio.primary.port(), &trio.cluster_of(&list, ""))
        .tenant(&database.name, "main", &database, "")
        .start();
    let tenant = Tenant { database, proxy };
    let mut client = tenant.client();
    crate::support::patience::eventually("both serve", || {
        let counts = count(8, || client.read_only("SELECT 1").port);
        counts.contains_key(&one) && counts.contains_key(&two)
    });
    let counts = count(400, || client.read_only("SELECT 1").port);
    assert!((95..=105).contains(&counts[&one]), "{counts:?}");
    assert_eq!(counts[&one] + counts[&two], 400);
}

#[test]
fn the_replica_with_fewer_connections_in_use_is_chosen() {
    let tenant = Tenant::serving("balance = 'least-connections'");
    // Where they are equal it takes turns.
    let (mut busy, mut client) = (tenant.client(), tenant.client());
    busy.silent("BEGIN READ ONLY");
    let taken = busy.query("SELECT 1").port;
    for _ in 0..20 {
        assert_ne!(client.read_only("SELECT 1").port, taken);
    }
    busy.silent("COMMIT");
}

#[test]
fn each_replica_has_a_budget_of_its_own() {
    let tenant = Tenant::new("", "max_connections = 2");
    tenant.awaits(&shared().ports());
    // Four transactions fill both replicas; what writes is not in their way.
    let mut clients: Vec<Routed> = (0..4).map(|_| tenant.client()).collect();
    let mut ports: Vec<u16> = Vec::new();
    for client in &mut clients {
        client.silent("BEGIN READ ONLY");
        ports.push(client.query("SELECT 1").port);
    }
    ports.sort_unstable();
    let [low, high] = {
        let mut p = shared().ports();
        p.sort_unstable();
        p
    };
    assert_eq!(ports, [low, low, high, high]);
    let mut other = tenant.client();
    other.silent("BEGIN READ ONLY");
    other.0.put(&Frames::default().query("SELECT 2"));
    assert!(other.0.is_silent(std::time::Duration::from_millis(100)));
    assert_eq!(
        tenant.client().query("SELECT 3").port,
        shared().primary.port()
    );
    for client in &mut clients {
        client.silent("COMMIT");
    }
    assert_eq!(other.0.ready().one(), "2");
    for replica in &shared().replicas {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'",
            tenant.database.name
        );
        let open: usize = replica.psql("postgres", &sql).unwrap().parse().unwrap();
        assert!(open <= 2, "{open} connections");
    }
}
