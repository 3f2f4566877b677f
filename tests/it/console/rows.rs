//! What tables show of clients and server connections in known states.

use super::world::{Console, Row, World, has, numbers};
use crate::support::client::Client;
use crate::support::frames::Frames;
use crate::support::patience::eventually;

/// Four clients of a pool of two: one in a transaction, one pinned, one that waits, one idle.
struct Busy {
    world: World,
    console: Console,
    _clients: Vec<Client>,
}

impl Busy {
    fn new() -> Self {
        let world = World::new("", "size = 2\nmin_size = 1\nmax_clients = 9\nmax_pins = 1");
        let mut console = world.admin();
        let mut clients: Vec<Client> = (0..4).map(|_| world.client("acme")).collect();
        clients[0].query("BEGIN");
        clients[1].query("LISTEN x");
        clients[2].put(&Frames::default().query("SELECT 1"));
        eventually("one waits", || {
            console.row("SHOW POOLS", "database", "acme")["cl_waiting"] == "1"
        });
        Self {
            world,
            console,
            _clients: clients,
        }
    }
}

#[test]
fn pools_show_who_does_what() {
    let mut busy = Busy::new();
    let pool = busy.console.row("SHOW POOLS", "database", "acme");
    let expected = [
        ("user", busy.world.acme.name.as_str()),
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
    has(&pool, &expected);
    assert!(
        numbers(&pool, &["maxwait", "maxwait_us"])
            .iter()
            .any(|n| *n > 0)
    );
    let own = busy.console.row("SHOW POOLS", "database", "pgbouncer");
    has(&own, &[("user", "pgbouncer"), ("cl_active", "1")]);
}

#[test]
fn databases_and_tenants_show_limits_and_use() {
    let mut busy = Busy::new();
    let acme = busy.world.acme.clone();
    let database = busy.console.row("SHOW DATABASES", "name", "acme");
    let port = acme.port.to_string();
    let expected = [
        ("host", "127.0.0.1"),
        ("port", port.as_str()),
        ("database", acme.name.as_str()),
        ("force_user", acme.name.as_str()),
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
    ];
    has(&database, &expected);
    let tenant = busy.console.row("SHOW TENANTS", "tenant", "acme");
    let expected = [
        ("servers", "2"),
        ("clients", "4"),
        ("waiting", "1"),
        ("pinned", "1"),
        ("max_clients", "9"),
        ("roles", "1"),
    ];
    has(&tenant, &expected);
}

#[test]
fn lists_users_and_nodes_count() {
    let mut busy = Busy::new();
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
        has(
            &busy.console.row("SHOW LISTS", "list", list),
            &[("items", items)],
        );
    }
    let user = busy.console.row("SHOW USERS", "name", "app");
    has(&user, &[("current_client_connections", "4")]);
    let user = busy
        .console
        .row("SHOW USERS", "name", &busy.world.acme.name);
    has(&user, &[("current_connections", "2")]);
    let node = busy.console.rows("SHOW NODES").remove(0);
    let name = format!("127.0.0.1:{}", busy.world.acme.port);
    let expected = [
        ("node", name.as_str()),
        ("role", "primary"),
        ("clusters", "main,other"),
        ("connections", "2"),
        ("max_connections", "90"),
        ("waiting", "0"),
        ("tenants", "2"),
    ];
    has(&node, &expected);
}

/// Two clients, of which one listens and so keeps its server connection.
struct Pair {
    world: World,
    console: Console,
    one: Client,
    backend: String,
    _two: Client,
}

impl Pair {
    fn new() -> Self {
        let world = World::new("", "size = 2\nmax_pins = 1");
        let console = world.admin();
        let name = [("application_name", "one")];
        let mut one = world.proxy.client_with("acme", &name);
        let mut two = world.client("acme");
        one.query("LISTEN x");
        one.ask(&Frames::default().parse("p", "SELECT 1").sync());
        let backend = one.backend();
        two.value("SELECT 1");
        Self {
            world,
            console,
            one,
            backend,
            _two: two,
        }
    }

    fn client(&mut self) -> Row {
        self.console.row("SHOW CLIENTS", "application_name", "one")
    }
}

#[test]
fn clients_have_a_row_each() {
    let mut pair = Pair::new();
    let client = pair.client();
    let port = pair.one.socket.local_addr().unwrap().port().to_string();
    let own_port = pair.world.proxy.address().port().to_string();
    let process_id = pair.one.cancel_key[..4].try_into().unwrap();
    let process_id = i32::from_be_bytes(process_id).to_string();
    let expected = [
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
    ];
    has(&client, &expected);
    assert!(client["connect_time"].ends_with(" UTC"), "{client:?}");
    let own = pair.console.row("SHOW CLIENTS", "database", "pgbouncer");
    has(&own, &[("user", "admin"), ("state", "idle")]);
}

#[test]
fn server_connections_have_a_row_each() {
    let mut pair = Pair::new();
    let client = pair.client();
    let server = pair.console.row("SHOW SERVERS", "link", &client["ptr"]);
    assert_eq!(client["link"], server["ptr"]);
    let acme = &pair.world.acme;
    let node_port = acme.port.to_string();
    let expected = [
        ("type", "S"),
        ("user", acme.name.as_str()),
        ("database", "acme"),
        ("state", "active"),
        ("addr", "127.0.0.1"),
        ("port", node_port.as_str()),
        ("close_needed", "0"),
        ("remote_pid", pair.backend.as_str()),
        ("application_name", "one"),
        ("tls", ""),
    ];
    has(&server, &expected);
    let idle = pair.console.row("SHOW SERVERS", "link", "");
    has(&idle, &[("state", "idle")]);
    let sockets = pair.console.rows("SHOW SOCKETS");
    let states: Vec<&str> = sockets.iter().map(|r| r["state"].as_str()).collect();
    let expected = [
        "cl_active",
        "cl_active",
        "sv_active",
        "sv_idle",
        "cl_active",
    ];
    assert_eq!(states, expected);
}

#[test]
fn pins_have_a_reason() {
    let mut pair = Pair::new();
    let client = pair.client();
    let server = pair.console.row("SHOW SERVERS", "link", &client["ptr"]);
    let pins = pair.console.rows("SHOW PINS");
    assert_eq!(pins.len(), 1, "{pins:?}");
    let expected = [
        ("tenant", "acme"),
        ("user", "app"),
        ("reason", "listen"),
        ("client_id", client["id"].as_str()),
        ("server_id", server["id"].as_str()),
        ("application_name", "one"),
    ];
    has(&pins[0], &expected);
}

#[test]
fn what_there_is_nothing_of_has_no_rows() {
    let world = World::new("", "");
    let mut console = world.admin();
    for empty in [
        "MEM",
        "PEERS",
        "PEER_POOLS",
        "DNS_HOSTS",
        "DNS_ZONES",
        "PINS",
        "ACTIVE_SOCKETS",
    ] {
        assert_eq!(console.rows(&format!("SHOW {empty}")), Vec::<Row>::new());
    }
}
