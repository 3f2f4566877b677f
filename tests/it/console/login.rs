//! Who gets into the console.

use std::process::Command;

use super::world::{World, users};
use crate::support::client::Client;
use crate::support::postgres::Database;
use crate::support::proxy::Proxy;

fn refused(proxy: &Proxy, user: &str, database: &str, more: &[(&str, &str)]) -> String {
    let login = Client::log_in(proxy.address(), user, database, more);
    login.err().map(|e| e.to_string()).unwrap_or_default()
}

fn wrong_password(user: &str) -> String {
    format!("28P01: password authentication failed for user \"{user}\"")
}

#[test]
fn its_users_get_in_by_both_names() {
    let world = World::new("", "");
    for user in ["admin", "watch"] {
        for database in ["tenantry", "pgbouncer"] {
            let mut console = world.console(user, database);
            let version = console.0.value("SHOW VERSION");
            let expected = format!("Tenantry {}", env!("CARGO_PKG_VERSION"));
            assert!(version.contains(&expected), "{version}");
        }
    }
}

#[test]
fn it_greets_as_pgbouncer_does() {
    let world = World::new("", "");
    for (user, superuser) in [("admin", "on"), ("watch", "off")] {
        let name = [("application_name", "board")];
        let address = world.proxy.address();
        let client = Client::log_in(address, user, "pgbouncer", &name).unwrap();
        let value = |name: &str| {
            let mut all = client.parameters.iter();
            all.find(|(n, _)| n == name).map(|(_, v)| v.as_str())
        };
        assert_eq!(value("server_version"), Some("1.25.0/bouncer"));
        assert_eq!(value("client_encoding"), Some("UTF8"));
        assert_eq!(value("DateStyle"), Some("ISO"));
        assert_eq!(value("standard_conforming_strings"), Some("on"));
        assert_eq!(value("is_superuser"), Some(superuser));
        assert_eq!(value("application_name"), Some("board"));
        assert_eq!(client.cancel_key.len(), 8);
    }
}

#[test]
fn nobody_else_gets_in_and_all_see_the_same() {
    let world = World::new("", "");
    let proxy = &world.proxy;
    for (user, database, more) in [
        ("nobody", "pgbouncer", &[][..]),
        ("app.acme", "pgbouncer", &[]),
        ("pgbouncer", "pgbouncer", &[]),
        // Everything must agree: here something names a tenant.
        ("admin", "pgbouncer", &[("tenant", "acme")]),
        ("admin", "tenantry", &[("options", "-c tenant=nosuch")]),
        // Its users are nobody elsewhere.
        ("admin", "acme", &[]),
        ("admin.tenantry", "admin.tenantry", &[]),
    ] {
        let error = refused(proxy, user, database, more);
        assert_eq!(error, wrong_password(user), "{database} {more:?}");
    }
    let elsewhere = Proxy::of(&world.acme, "");
    let error = refused(&elsewhere, "admin", "pgbouncer", &[]);
    assert_eq!(error, wrong_password("admin"), "no users are configured");
}

#[test]
fn an_operator_gets_in_when_clients_have_taken_every_place() {
    let world = World::new("max_clients = 2", "");
    let _clients = [world.client("acme"), world.client("globex")];
    let error = refused(&world.proxy, "app.acme", "acme", &[]);
    assert!(error.starts_with("53300"), "{error}");
    let mut console = world.admin();
    let lists = console.row("SHOW LISTS", "list", "used_clients");
    assert_eq!(lists["items"], "3", "with the console itself");
}

#[test]
fn sessions_have_a_limit_of_their_own() {
    let world = World::new("", "");
    let mut sessions: Vec<_> = (0..64).map(|_| world.admin()).collect();
    let error = refused(&world.proxy, "admin", "pgbouncer", &[]);
    assert!(error.starts_with("53300"), "{error}");
    // The place is free when the session has ended, which its client sees.
    let mut last = sessions.pop().unwrap().0;
    last.send(b"X\0\0\0\x04").unwrap();
    assert_eq!(last.end(), []);
    crate::support::patience::eventually("there is room again", || {
        refused(&world.proxy, "admin", "pgbouncer", &[]).is_empty()
    });
}

#[test]
fn who_runs_the_proxy_needs_no_password_on_a_unix_socket() {
    let (acme, globex) = (Database::fresh(), Database::fresh());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let toml = World::toml(&acme, &globex, "", "").text();
    let listen = format!("listen = ['127.0.0.1:0', 'unix:{path}/.s.PGSQL.6432']");
    let toml = toml.replacen("listen = ['127.0.0.1:0']", &listen, 1);
    let proxy = Proxy::start(&toml);
    assert!(toml.contains(&users()));
    let psql = |user: &str, database: &str| {
        let output = Command::new("psql")
            .args([
                "-X",
                "-w",
                "-A",
                "-t",
                "-h",
                &path.to_string(),
                "-p",
                "6432",
            ])
            .args(["-U", user, "-d", database, "-c", "SHOW STATE"])
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    };
    let state = "active|yes\npaused|no\nsuspended|no\n";
    assert_eq!(psql("pgbouncer", "pgbouncer"), state);
    assert_eq!(psql("tenantry", "tenantry"), state);
    assert_eq!(psql("pgbouncer", "tenantry"), state);
    // Any other name goes the usual way.
    assert!(psql("admin", "pgbouncer").contains("no password supplied"));
    assert!(psql("pgbouncer", "acme").contains("no password supplied"));
    drop(proxy);
}
