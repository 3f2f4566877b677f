//! What commands do to running clients.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::world::World;
use crate::support::client::Client;
use crate::support::frames::Frames;
use crate::support::patience::eventually;

const MOMENT: Duration = Duration::from_millis(150);

fn query(sql: &str) -> Frames {
    Frames::default().query(sql)
}

fn cancel(address: SocketAddr, key: &[u8]) {
    let mut socket = TcpStream::connect(address).unwrap();
    let len = u32::try_from(8 + key.len()).unwrap();
    let request = [&len.to_be_bytes()[..], &80_877_102_u32.to_be_bytes(), key].concat();
    socket.write_all(&request).unwrap();
    // A reset says the same as an end.
    let _ended = socket.read_to_end(&mut Vec::new());
}

#[test]
fn who_may_only_look_changes_nothing() {
    let world = World::new("", "");
    let mut watch = world.console("watch", "pgbouncer");
    for sql in [
        "PAUSE",
        "RESUME",
        "PAUSE acme",
        "DISABLE acme",
        "ENABLE acme",
        "KILL acme",
        "KILL_CLIENT 1",
        "RECONNECT",
        "WAIT_CLOSE",
        "SUSPEND",
        "RELOAD",
        "SET pool.size = 3",
        "SHUTDOWN",
    ] {
        assert_eq!(watch.fails(sql), "42501", "{sql}");
    }
    let state = watch.row("SHOW STATE", "key", "active");
    assert_eq!(state["value"], "yes");
}

#[test]
fn pause_lets_transactions_finish_and_makes_clients_wait() {
    let world = World::new("", "");
    let (mut console, mut other) = (world.admin(), world.admin());
    let (mut busy, mut next) = (world.client("acme"), world.client("acme"));
    busy.query("BEGIN");
    console.0.put(&query("PAUSE"));
    eventually("the pause is in force", || {
        other.row("SHOW DATABASES", "name", "acme")["paused"] == "1"
    });
    next.put(&query("SELECT 'next'"));
    assert!(console.0.is_silent(MOMENT), "a transaction is open");
    assert_eq!(busy.value("SELECT 1"), "1");
    busy.query("COMMIT");
    assert_eq!(console.0.ready().commands(), ["PAUSE"]);
    assert_eq!(world.acme.connections(), 0);
    assert!(next.is_silent(MOMENT));
    assert_eq!(other.fails("PAUSE"), "55000");
    assert_eq!(other.fails("PAUSE acme"), "55000");
    other.does("RESUME");
    assert_eq!(next.ready().one(), "next");
    assert_eq!(other.fails("RESUME"), "55000");
}

#[test]
fn one_tenant_or_one_cluster_is_paused_alone() {
    let world = World::new("", "");
    let mut console = world.admin();
    let (mut acme, mut globex) = (world.client("acme"), world.client("globex"));
    for (name, others) in [("acme", "globex"), ("CLUSTER main", "CLUSTER other")] {
        acme.value("SELECT 1");
        console.does(&format!("PAUSE {name}"));
        assert_eq!(console.row("SHOW DATABASES", "name", "acme")["paused"], "1");
        assert_eq!(
            console.row("SHOW DATABASES", "name", "globex")["paused"],
            "0"
        );
        acme.put(&query("SELECT 2"));
        assert_eq!(globex.value("SELECT 1"), "1");
        assert!(acme.is_silent(MOMENT));
        assert_eq!(console.fails(&format!("RESUME {others}")), "55000");
        console.does(&format!("RESUME {name}"));
        assert_eq!(acme.ready().one(), "2");
    }
}

#[test]
fn a_cancelled_pause_is_taken_back() {
    let world = World::new("", "");
    let (mut console, mut other) = (world.admin(), world.admin());
    let (mut busy, mut next) = (world.client("acme"), world.client("acme"));
    busy.query("BEGIN");
    console.0.put(&query("PAUSE acme"));
    eventually("the pause is in force", || {
        other.row("SHOW DATABASES", "name", "acme")["paused"] == "1"
    });
    next.put(&query("SELECT 'next'"));
    assert!(console.0.is_silent(MOMENT) && next.is_silent(MOMENT));
    let key = console.0.cancel_key.clone();
    cancel(world.proxy.address(), &key);
    assert_eq!(console.0.ready().errors(), ["57014"]);
    assert_eq!(next.ready().one(), "next");
    assert_eq!(console.fails("RESUME acme"), "55000", "nothing is paused");
    // One that comes when nothing waits stops nothing.
    cancel(world.proxy.address(), &key);
    assert_eq!(console.rows("SHOW STATE").len(), 3);
}

#[test]
fn a_pause_outlives_who_asked_for_it() {
    let world = World::new("", "");
    let mut console = world.admin();
    let (mut busy, mut next) = (world.client("acme"), world.client("acme"));
    busy.query("BEGIN");
    console.0.put(&query("PAUSE acme"));
    assert!(console.0.is_silent(MOMENT));
    drop(console);
    let mut other = world.admin();
    eventually("the session has ended", || {
        other.row("SHOW DATABASES", "name", "pgbouncer")["current_client_connections"] == "1"
    });
    busy.query("COMMIT");
    next.put(&query("SELECT 'next'"));
    assert!(next.is_silent(MOMENT));
    other.does("RESUME acme");
    assert_eq!(next.ready().one(), "next");
}

#[test]
fn a_disabled_tenant_takes_no_new_clients() {
    let world = World::new("", "");
    let mut console = world.admin();
    let mut old = world.client("acme");
    console.does("DISABLE acme");
    let error = Client::connect(world.proxy.address(), "acme", &[]).unwrap_err();
    let expected = "57P03: tenant \"acme\" is disabled: it takes no new clients";
    assert_eq!(error.to_string(), expected);
    assert_eq!(old.value("SELECT 1"), "1");
    assert_eq!(world.client("globex").value("SELECT 1"), "1");
    assert_eq!(
        console.row("SHOW DATABASES", "name", "acme")["disabled"],
        "1"
    );
    console.does("ENABLE acme");
    assert_eq!(world.client("acme").value("SELECT 1"), "1");
    for sql in ["DISABLE", "ENABLE"] {
        assert_eq!(console.fails(sql), "42601");
    }
}

#[test]
fn kill_ends_clients_and_pauses() {
    let world = World::new("", "");
    let mut console = world.admin();
    let (mut acme, mut globex) = (world.client("acme"), world.client("globex"));
    acme.query("BEGIN");
    console.does("KILL acme");
    let told = acme.end();
    assert_eq!(told[0].field(b'C').as_deref(), Some("57P01"), "{told:?}");
    assert_eq!(world.acme.connections(), 0);
    assert_eq!(globex.value("SELECT 1"), "1");
    let mut next = world.client("acme");
    next.put(&query("SELECT 'next'"));
    assert!(next.is_silent(MOMENT));
    console.does("RESUME acme");
    assert_eq!(next.ready().one(), "next");
    console.does("KILL");
    assert_eq!(globex.end()[0].field(b'C').as_deref(), Some("57P01"));
    assert_eq!(console.fails("KILL"), "55000");
    console.does("RESUME");
}

#[test]
fn one_client_is_killed_by_its_id() {
    let world = World::new("", "");
    let (mut console, mut other) = (world.admin(), world.console("watch", "tenantry"));
    let (mut one, mut two) = (
        world
            .proxy
            .client_with("acme", &[("application_name", "one")]),
        world.client("acme"),
    );
    assert_eq!(
        (one.value("SELECT 1"), two.value("SELECT 1")),
        ("1".into(), "1".into())
    );
    let id = console.row("SHOW CLIENTS", "application_name", "one")["id"].clone();
    console.does(&format!("KILL_CLIENT {id}"));
    assert_eq!(one.end()[0].field(b'C').as_deref(), Some("57P01"));
    assert_eq!(two.value("SELECT 1"), "1");
    assert_eq!(console.fails(&format!("KILL_CLIENT {id}")), "42704");
    assert_eq!(console.fails("KILL_CLIENT acme"), "42601");
    // A session of the console is a client, too.
    let id = console.row("SHOW CLIENTS", "user", "watch")["id"].clone();
    console.does(&format!("KILL_CLIENT {id}"));
    assert_eq!(other.0.end()[0].field(b'C').as_deref(), Some("57P01"));
}

#[test]
fn reconnect_replaces_server_connections_and_wait_close_waits_for_it() {
    let world = World::new("", "");
    let (mut console, mut other) = (world.admin(), world.admin());
    let (mut idle, mut busy) = (world.client("acme"), world.client("globex"));
    let before = idle.backend();
    busy.query("BEGIN");
    let held = busy.backend();
    console.does("RECONNECT");
    assert_ne!(idle.backend(), before);
    assert_eq!(busy.backend(), held);
    assert_eq!(
        other.row("SHOW SERVERS", "database", "globex")["close_needed"],
        "1"
    );
    console.does("WAIT_CLOSE acme");
    console.0.put(&query("WAIT_CLOSE"));
    assert!(console.0.is_silent(MOMENT));
    busy.query("COMMIT");
    assert_eq!(console.0.ready().commands(), ["WAIT_CLOSE"]);
    assert_ne!(busy.backend(), held);
    console.does("WAIT_CLOSE");
}

#[test]
fn suspend_stops_everything_until_resume_or_until_nobody_could_say_it() {
    let world = World::new("", "");
    let mut console = world.admin();
    let mut client = world.client("acme");
    client.value("SELECT 1");
    console.does("SUSPEND");
    assert_eq!(
        console.row("SHOW STATE", "key", "suspended")["value"],
        "yes"
    );
    client.put(&query("SELECT 2"));
    assert!(client.is_silent(MOMENT));
    for sql in ["SUSPEND", "PAUSE", "KILL"] {
        assert_eq!(console.fails(sql), "55000", "{sql}");
    }
    console.does("RESUME");
    assert_eq!(client.ready().one(), "2");
    console.does("SUSPEND");
    client.put(&query("SELECT 3"));
    assert!(client.is_silent(MOMENT));
    drop(console);
    assert_eq!(client.ready().one(), "3");
}

#[test]
fn what_is_not_there_is_an_error() {
    let world = World::new("", "");
    let mut console = world.admin();
    for (sql, code) in [
        ("PAUSE nosuch", "3D000"),
        ("RESUME nosuch", "3D000"),
        ("KILL nosuch", "3D000"),
        ("RECONNECT nosuch", "3D000"),
        ("WAIT_CLOSE nosuch", "3D000"),
        ("DISABLE nosuch", "3D000"),
        ("PAUSE pgbouncer", "0A000"),
        ("DISABLE tenantry", "0A000"),
        ("PAUSE CLUSTER nosuch", "42704"),
        ("RESUME acme", "55000"),
        ("RESUME CLUSTER main", "55000"),
        ("KILL_CLIENT 99999999999", "42704"),
    ] {
        assert_eq!(console.fails(sql), code, "{sql}");
    }
    assert_eq!(world.client("acme").value("SELECT 1"), "1");
}
