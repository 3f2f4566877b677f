//! Logical replication in session mode, by the protocol itself.

use super::support::client::Client;
use super::support::frames::Frames;
use super::support::postgres::Database;
use super::support::proxy::Proxy;

const LOGICAL: &[(&str, &str)] = &[("replication", "database")];

fn refused(proxy: &Proxy, database: &Database, parameters: &[(&str, &str)]) -> String {
    let error = Client::connect(proxy.address(), &database.name, parameters);
    error.expect_err("it is refused").to_string()
}

#[test]
fn it_is_refused_unless_the_tenant_may() {
    let database = Database::fresh();
    for pool in ["", "mode = 'session'"] {
        let proxy = Proxy::of(&database, pool);
        let told = refused(&proxy, &database, LOGICAL);
        assert!(told.contains("0A000"), "{told}");
    }
    let proxy = Proxy::of(&database, "mode = 'session'\nreplication = 'logical'");
    let told = refused(&proxy, &database, &[("replication", "true")]);
    assert!(told.contains("0A000"), "{told}");
    // The role may not: the server's own words, and others are served.
    let told = refused(&proxy, &database, LOGICAL);
    assert!(told.contains("42501"), "{told}");
    assert_eq!(proxy.client(&database.name).value("SELECT 1"), "1");
}

#[test]
fn changes_stream_until_the_client_ends_it() {
    let database = Database::fresh();
    let name = &database.name;
    database.admin(&format!("ALTER ROLE {name} REPLICATION"));
    database.admin("CREATE TABLE t (a int)");
    database.admin("CREATE PUBLICATION p FOR TABLE t");
    let proxy = Proxy::of(
        &database,
        "size = 1\nmode = 'session'\nreplication = 'logical'",
    );
    let mut client = proxy.client_with(name, LOGICAL);
    let system = client.query("IDENTIFY_SYSTEM");
    assert_eq!(system.rows().len(), 1);
    let slot = format!("CREATE_REPLICATION_SLOT {name} TEMPORARY LOGICAL pgoutput");
    assert!(client.query(&slot).errors().is_empty());
    let start = format!(
        "START_REPLICATION SLOT {name} LOGICAL 0/0 (proto_version '1', publication_names 'p')"
    );
    client.put(&Frames::default().query(&start));
    client.until(b'W');
    database.admin("INSERT INTO t VALUES (42)");
    loop {
        let message = client.read().expect("changes");
        // XLogData with an Insert of pgoutput (manual 55.5.1, 55.9).
        if message.tag == b'd' && message.body.first() == Some(&b'w') && message.body[25] == b'I' {
            assert!(message.body.ends_with(b"42"));
            break;
        }
    }
    client.put(&Frames::default().copy_done());
    assert_eq!(client.ready().status(), 'I');
    assert!(client.query("IDENTIFY_SYSTEM").errors().is_empty());
    drop(client);
    // Its server connection is nobody else's.
    assert_eq!(proxy.client(name).value("SELECT 1"), "1");
}
