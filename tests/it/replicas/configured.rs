//! Listeners for replicas, and a list of replicas that changes.

use std::net::SocketAddr;

use tenantry::config::ListenAddr;

use crate::support::client::Client;
use crate::support::patience::eventually;
use crate::support::replicas::{Routed, Tenant, shared};

/// A tenant with a second listener, for replicas; where that one is.
fn with_listener(routing: &str) -> (Tenant, SocketAddr) {
    let database = shared().database();
    let toml = shared().toml(&database, routing, "");
    let text = toml.text().replace(
        "listen = ['127.0.0.1:0']",
        "listen = ['127.0.0.1:0', { address = '127.0.0.1:0', route = 'replica' }]",
    );
    let proxy = crate::support::proxy::Proxy::start(&text);
    let mut tcp = proxy.app.addresses().iter().filter_map(|a| match a {
        ListenAddr::Tcp(address) => Some(*address),
        ListenAddr::Unix(_) => None,
    });
    let second = tcp.nth(1).unwrap();
    (Tenant { database, proxy }, second)
}

#[test]
fn a_listener_for_replicas_serves_nothing_else() {
    let (tenant, address) = with_listener("");
    tenant.awaits(&shared().ports());
    let mut client = Routed(Client::connect(address, &tenant.database.name, &[]).unwrap());
    let mut seen = Vec::new();
    for _ in 0..10 {
        let served = client.query("SHOW in_hot_standby");
        assert_eq!(
            (served.why.as_str(), served.reply.one().as_str()),
            ("listener", "on")
        );
        seen.push(served.port);
    }
    for port in shared().ports() {
        assert!(seen.contains(&port), "{seen:?}");
    }
    assert_eq!(
        client.query("CREATE TABLE t (a int)").reply.errors(),
        ["25006"]
    );
    client.0.query("BEGIN");
    assert_eq!(client.silent("SHOW transaction_read_only").one(), "on");
    client.silent("COMMIT");
    let told = |name: &str| {
        let all = &client.0.parameters;
        all.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
    };
    assert_eq!(told("in_hot_standby").as_deref(), Some("on"));
}

#[test]
fn a_position_that_no_replica_has_is_no_way_to_the_primary_there() {
    let (tenant, address) = with_listener("");
    tenant.awaits(&shared().ports());
    let mut client = Routed(Client::connect(address, &tenant.database.name, &[]).unwrap());
    for position in ["7:0/1", "nonsense"] {
        client
            .0
            .query(&format!("SET tenantry.position = '{position}'"));
        assert_eq!(client.silent("SELECT 1").errors(), ["57P03"], "{position}");
    }
}

#[test]
fn libpq_finds_the_listener_that_it_is_told_to_look_for() {
    let (tenant, standby) = with_listener("");
    tenant.awaits(&shared().ports());
    let primary = tenant.proxy.address();
    let name = &tenant.database.name;
    let ask = |ports: [u16; 2], attributes: &str| {
        let target = format!(
            "host=127.0.0.1,127.0.0.1 port={},{} user=app.{name} dbname={name} password={} \
             sslmode=disable target_session_attrs={attributes}",
            ports[0],
            ports[1],
            Client::PASSWORD
        );
        let output = std::process::Command::new("psql")
            .args([
                "-X",
                "-A",
                "-t",
                "-c",
                "SELECT pg_is_in_recovery()",
                &target,
            ])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(
            output.status.success(),
            "{attributes} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    };
    let both = [primary.port(), standby.port()];
    for ports in [both, [both[1], both[0]]] {
        for (attributes, in_recovery) in [
            ("read-only", "t"),
            ("standby", "t"),
            ("prefer-standby", "t"),
            ("primary", "f"),
            ("read-write", "f"),
        ] {
            assert_eq!(
                ask(ports, attributes),
                in_recovery,
                "{attributes} {ports:?}"
            );
        }
    }
}

#[test]
fn a_replica_that_is_taken_out_serves_no_more_and_nobody_notices() {
    let tenant = Tenant::serving("");
    let [one, two] = shared().ports();
    let text = |list: &str| {
        crate::support::proxy::Toml::default()
            .tables("[routing]\nnotice = true")
            .cluster(
                "main",
                shared().primary.port(),
                &shared().cluster_of(list, ""),
            )
            .tenant(&tenant.database.name, "main", &tenant.database, "")
            .text()
    };
    let mut clients: Vec<Routed> = (0..4).map(|_| tenant.client()).collect();
    let mut ask = |ports: &[u16]| {
        for client in &mut clients {
            let served = client.read_only("SELECT 1");
            assert_eq!(served.reply.one(), "1");
            assert!(ports.contains(&served.port), "{served:?} {ports:?}");
        }
    };
    ask(&[one, two]);
    tenant.proxy.reload(&text(&format!("['127.0.0.1:{one}']")));
    tenant.awaits(&[one]);
    ask(&[one]);
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'",
        tenant.database.name
    );
    eventually("its server connections are closed", || {
        shared().replicas[1].psql("postgres", &sql).unwrap() == "0"
    });
    tenant.proxy.reload(&text("[]"));
    let mut client = tenant.client();
    eventually("the primary serves all", || {
        // Without replicas nothing is held, and nobody is told of.
        let reply = client.0.query("BEGIN READ ONLY");
        let direct = client.0.query("SELECT pg_is_in_recovery()").one() == "f";
        client.0.query("COMMIT");
        assert_eq!(reply.errors(), [""; 0]);
        direct
    });
    tenant
        .proxy
        .reload(&text(&format!("['127.0.0.1:{one}', '127.0.0.1:{two}']")));
    tenant.awaits(&[one, two]);
    ask(&[one, two]);
}
