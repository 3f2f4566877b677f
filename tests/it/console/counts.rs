//! A scripted run, after which every number of every table is known.

use super::world::{Console, Row, World};
use crate::support::client::{Client, Message};
use crate::support::frames::Frames;
use crate::support::patience::eventually;

/// A client that counts the bytes it sends and reads after its login.
struct Counted {
    client: Client,
    sent: usize,
    read: usize,
}

impl Counted {
    fn new(client: Client) -> Self {
        Self {
            client,
            sent: 0,
            read: 0,
        }
    }

    fn ask(&mut self, frames: &Frames) {
        self.sent += frames.0.len();
        let reply = self.client.ask(frames);
        let bytes = |m: &Message| m.body.len() + 5;
        self.read += reply.0.iter().map(bytes).sum::<usize>();
        assert_eq!(reply.errors(), [""; 0], "{reply:?}");
    }

    fn query(&mut self, sql: &str) {
        self.ask(&Frames::default().query(sql));
    }
}

fn numbers(row: &Row, names: &[&str]) -> Vec<u64> {
    let number = |name: &&str| row[*name].parse().unwrap_or_else(|e| panic!("{name}: {e}"));
    names.iter().map(number).collect()
}

const COUNTS: [&str; 7] = [
    "xact_count",
    "query_count",
    "server_assignment_count",
    "client_parse_count",
    "server_parse_count",
    "bind_count",
    "wait_count",
];

fn totals(console: &mut Console) -> Row {
    console.row("SHOW STATS_TOTALS", "database", "acme")
}

#[test]
fn statistics_count_what_has_happened() {
    let world = World::new("", "size = 1");
    let mut console = world.admin();
    let mut client = Counted::new(world.client("acme"));
    assert!(
        console
            .rows("SHOW STATS")
            .iter()
            .all(|r| r["database"] != "globex")
    );
    let row = totals(&mut console);
    let before = numbers(&row, &["bytes_received", "bytes_sent"]);
    // For its greeting the first client of a pool is given a server connection, which must be opened.
    assert_eq!(numbers(&row, &COUNTS), [0, 0, 1, 0, 0, 0, 1], "{row:?}");
    // Three transactions of five queries.
    client.query("SELECT 1");
    client.query("SELECT 2");
    for sql in ["BEGIN", "SELECT 3", "COMMIT"] {
        client.query(sql);
    }
    // Two batches, one of them with a statement that is prepared once and bound twice.
    let prepared = Frames::default().parse("p", "SELECT 4");
    client.ask(
        &prepared
            .bind("p", &[])
            .execute()
            .bind("p", &[])
            .execute()
            .sync(),
    );
    client.ask(&Frames::default().run("SELECT 5").sync());
    let row = totals(&mut console);
    assert_eq!(numbers(&row, &COUNTS), [5, 7, 6, 1, 1, 2, 1], "{row:?}");
    let after = numbers(&row, &["bytes_received", "bytes_sent"]);
    let moved = [after[0] - before[0], after[1] - before[1]];
    assert_eq!(moved, [client.sent as u64, client.read as u64]);

    // One client waits for the other one's only server connection.
    let mut other = world.client("acme");
    client.query("BEGIN");
    other.put(&Frames::default().query("SELECT 6"));
    eventually("it waits", || {
        console.row("SHOW POOLS", "database", "acme")["cl_waiting"] == "1"
    });
    client.query("COMMIT");
    other.ready();
    let row = totals(&mut console);
    assert_eq!(numbers(&row, &COUNTS), [7, 10, 8, 1, 1, 2, 2], "{row:?}");
    let times = numbers(&row, &["xact_time", "query_time", "wait_time"]);
    assert!(
        times[0] >= times[1] && times.iter().all(|t| *t > 0),
        "{times:?}"
    );

    // The four tables agree, and the console has counted itself.
    let stats = console.row("SHOW STATS", "database", "acme");
    for name in COUNTS {
        assert_eq!(stats[&format!("total_{name}")], row[name], "{name}");
    }
    assert_eq!(stats["total_requests"], "10");
    assert_eq!(stats["total_received"], row["bytes_received"]);
    let own: u64 = console.row("SHOW STATS", "database", "pgbouncer")["total_query_count"]
        .parse()
        .unwrap();
    let all = console.row("SHOW TOTALS", "name", "total_query_count");
    assert_eq!(all["value"], (10 + own + 1).to_string());
    console.does("RECONNECT acme");
    eventually("the connection is closed", || {
        totals(&mut console)["server_closed_count"] == "1"
    });
    assert!(numbers(&totals(&mut console), &["server_lifetime"])[0] > 0);
}

#[test]
fn averages_are_those_since_the_start_at_first() {
    let world = World::new("", "");
    let mut console = world.admin();
    let mut client = world.client("acme");
    let started = std::time::Instant::now();
    for _ in 0..200 {
        client.value("SELECT 1");
    }
    let row = console.row("SHOW STATS_AVERAGES", "database", "acme");
    let (found, most) = (numbers(&row, &["query_count"])[0], started.elapsed());
    assert!(found > 0, "200 in {most:?} and less than a minute: {row:?}");
    let stats = console.row("SHOW STATS", "database", "acme");
    let [queries, time, average] = numbers(
        &stats,
        &["total_query_count", "total_query_time", "avg_query_time"],
    )[..] else {
        panic!("three numbers")
    };
    assert_eq!((queries, average), (200, time / 200));
}

#[test]
fn pools_and_databases_show_who_does_what() {
    let world = World::new("", "size = 2\nmin_size = 1\nmax_clients = 9\nmax_pins = 1");
    let mut console = world.admin();
    let mut clients: Vec<Client> = (0..4).map(|_| world.client("acme")).collect();
    clients[0].query("BEGIN");
    clients[1].query("LISTEN x");
    clients[2].put(&Frames::default().query("SELECT 1"));
    eventually("one waits", || {
        console.row("SHOW POOLS", "database", "acme")["cl_waiting"] == "1"
    });
    let pool = console.row("SHOW POOLS", "database", "acme");
    let expected = [
        ("user", world.acme.name.as_str()),
        ("cl_active", "3"),
        ("cl_waiting", "1"),
        ("cl_active_cancel_req", "0"),
        ("cl_waiting_cancel_req", "0"),
        ("sv_active", "2"),
        ("sv_active_cancel", "0"),
        ("sv_being_canceled", "0"),
        ("sv_idle", "0"),
        ("sv_used", "0"),
        ("sv_tested", "0"),
        ("sv_login", "0"),
        ("pool_mode", "transaction"),
        ("load_balance_hosts", "~"),
        ("cl_pinned", "1"),
        ("sv_closing", "0"),
        ("sv_close_needed", "0"),
        ("paused", "0"),
    ];
    for (name, value) in expected {
        assert_eq!(pool[name], value, "{name} of {pool:?}");
    }
    let own = console.row("SHOW POOLS", "database", "pgbouncer");
    assert_eq!(
        (own["user"].as_str(), own["cl_active"].as_str()),
        ("pgbouncer", "1")
    );
    let database = console.row("SHOW DATABASES", "name", "acme");
    let port = world.acme.port.to_string();
    for (name, value) in [
        ("host", "127.0.0.1"),
        ("port", port.as_str()),
        ("database", world.acme.name.as_str()),
        ("force_user", world.acme.name.as_str()),
        ("pool_size", "2"),
        ("min_pool_size", "1"),
        ("reserve_pool_size", "0"),
        ("server_lifetime", "3600"),
        ("pool_mode", "transaction"),
        ("max_connections", "0"),
        ("current_connections", "2"),
        ("max_client_connections", "9"),
        ("current_client_connections", "4"),
        ("paused", "0"),
        ("disabled", "0"),
        ("cluster", "main"),
        ("status", "active"),
        ("reserve_pool", "0"),
    ] {
        assert_eq!(database[name], value, "{name} of {database:?}");
    }
    let tenant = console.row("SHOW TENANTS", "tenant", "acme");
    for (name, value) in [
        ("servers", "2"),
        ("clients", "4"),
        ("waiting", "1"),
        ("pinned", "1"),
        ("max_clients", "9"),
        ("roles", "1"),
    ] {
        assert_eq!(tenant[name], value, "{name} of {tenant:?}");
    }
    let lists = |console: &mut Console, list: &str| {
        console.row("SHOW LISTS", "list", list)["items"].clone()
    };
    for (list, items) in [
        ("databases", "3"),
        // app, two server roles, two of the console.
        ("users", "5"),
        ("pools", "2"),
        ("used_clients", "5"),
        ("login_clients", "0"),
        ("used_servers", "2"),
        ("free_clients", "0"),
        ("dns_pending", "0"),
    ] {
        assert_eq!(lists(&mut console, list), items, "{list}");
    }
    let user = console.row("SHOW USERS", "name", "app");
    assert_eq!(user["current_client_connections"], "4");
    let user = console.row("SHOW USERS", "name", &world.acme.name);
    assert_eq!(user["current_connections"], "2");
    let node = &console.rows("SHOW NODES")[0];
    assert_eq!(node["node"], format!("127.0.0.1:{port}"));
    for (name, value) in [
        ("role", "primary"),
        ("clusters", "main,other"),
        ("connections", "2"),
        ("max_connections", "90"),
        ("waiting", "0"),
        ("tenants", "2"),
    ] {
        assert_eq!(node[name], value, "{name} of {node:?}");
    }
}

#[test]
fn clients_servers_and_pins_are_told_apart() {
    let world = World::new("", "size = 2\nmax_pins = 1");
    let mut console = world.admin();
    let name = [("application_name", "one")];
    let mut one = world.proxy.client_with("acme", &name);
    let mut two = world.client("acme");
    one.query("LISTEN x");
    one.ask(&Frames::default().parse("p", "SELECT 1").sync());
    let backend = one.backend();
    two.value("SELECT 1");
    let client = console.row("SHOW CLIENTS", "application_name", "one");
    let port = one.socket.local_addr().unwrap().port().to_string();
    let own_port = world.proxy.address().port().to_string();
    let process_id = i32::from_be_bytes(one.cancel_key[..4].try_into().unwrap()).to_string();
    for (column, value) in [
        ("type", "C"),
        ("user", "app"),
        ("database", "acme"),
        ("replication", "none"),
        ("state", "active"),
        ("addr", "127.0.0.1"),
        ("port", port.as_str()),
        ("local_addr", "127.0.0.1"),
        ("local_port", own_port.as_str()),
        ("wait", "0"),
        ("close_needed", "0"),
        ("remote_pid", "0"),
        ("tls", ""),
        ("prepared_statements", "1"),
        ("process_id", process_id.as_str()),
        ("pin", "listen"),
    ] {
        assert_eq!(client[column], value, "{column} of {client:?}");
    }
    assert!(client["connect_time"].ends_with(" UTC"), "{client:?}");
    let server = console.row("SHOW SERVERS", "link", &client["ptr"]);
    assert_eq!(client["link"], server["ptr"]);
    let node_port = world.acme.port.to_string();
    for (column, value) in [
        ("type", "S"),
        ("user", world.acme.name.as_str()),
        ("database", "acme"),
        ("state", "active"),
        ("addr", "127.0.0.1"),
        ("port", node_port.as_str()),
        ("close_needed", "0"),
        ("remote_pid", backend.as_str()),
        ("application_name", "one"),
        ("tls", ""),
    ] {
        assert_eq!(server[column], value, "{column} of {server:?}");
    }
    let idle = console.row("SHOW SERVERS", "link", "");
    assert_eq!(idle["state"], "idle");
    let states: Vec<_> = console
        .rows("SHOW SOCKETS")
        .iter()
        .map(|r| r["state"].clone())
        .collect();
    assert_eq!(
        states,
        [
            "cl_active",
            "cl_active",
            "sv_active",
            "sv_idle",
            "cl_active"
        ]
    );
    assert_eq!(console.rows("SHOW ACTIVE_SOCKETS"), Vec::<Row>::new());
    let pins = console.rows("SHOW PINS");
    assert_eq!(pins.len(), 1, "{pins:?}");
    for (column, value) in [
        ("tenant", "acme"),
        ("user", "app"),
        ("reason", "listen"),
        ("client_id", client["id"].as_str()),
        ("server_id", server["id"].as_str()),
        ("application_name", "one"),
    ] {
        assert_eq!(pins[0][column], value, "{column} of {pins:?}");
    }
    let own = console.row("SHOW CLIENTS", "database", "pgbouncer");
    assert_eq!(
        (own["user"].as_str(), own["state"].as_str()),
        ("admin", "idle")
    );
    for empty in ["MEM", "PEERS", "PEER_POOLS", "DNS_HOSTS", "DNS_ZONES"] {
        assert_eq!(console.rows(&format!("SHOW {empty}")), Vec::<Row>::new());
    }
}
