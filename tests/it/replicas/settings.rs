//! `default_transaction_read_only`, wherever it comes from, and `tenantry.route`.

use crate::support::replicas::{Routed, Tenant, shared};

fn at_replica(client: &mut Routed, why: &str) {
    client.rests();
    for sql in ["SELECT 1", "SELECT count(*) FROM pg_class"] {
        let served = client.query(sql);
        assert!(shared().ports().contains(&served.port), "{served:?}");
        assert_eq!((served.why.as_str(), served.reply.errors()), (why, vec![]));
    }
    client.silent("BEGIN");
    let served = client.query("SELECT 1");
    assert!(shared().ports().contains(&served.port), "{served:?}");
    client.silent("COMMIT");
}

fn at_primary(client: &mut Routed) {
    client.rests();
    let served = client.query("SELECT 1");
    assert_eq!(served.port, shared().primary.port(), "{served:?}");
    client.silent("BEGIN");
    assert_eq!(client.query("SELECT 1").port, shared().primary.port());
    client.silent("COMMIT");
}

#[test]
fn a_session_that_only_reads_by_default_is_served_by_replicas() {
    let tenant = Tenant::serving("");
    for set in [
        "SET default_transaction_read_only = on",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    ] {
        let mut client = tenant.client();
        at_primary(&mut client);
        client.0.query(set);
        at_replica(&mut client, "default_read_only");
        assert_eq!(
            client.query("BEGIN READ WRITE").port,
            shared().primary.port()
        );
        assert_eq!(client.silent("CREATE TABLE x (a int)").errors(), [""; 0]);
        client.silent("DROP TABLE x");
        client.silent("COMMIT");
        client.0.query("RESET default_transaction_read_only");
        at_primary(&mut client);
    }
}

#[test]
fn startup_options_say_it_as_well() {
    let tenant = Tenant::serving("");
    for parameters in [
        [("options", "-c default_transaction_read_only=on")],
        [("default_transaction_read_only", "true")],
    ] {
        let mut client = tenant.client_with(&parameters);
        at_replica(&mut client, "default_read_only");
        client.0.query("SET default_transaction_read_only = off");
        at_primary(&mut client);
        client.0.query("RESET default_transaction_read_only");
        at_replica(&mut client, "default_read_only");
    }
}

#[test]
fn a_role_that_only_reads_is_served_by_replicas() {
    let tenant = Tenant::serving("");
    let name = &tenant.database.name;
    let sql = format!("ALTER ROLE {name} SET default_transaction_read_only = on");
    shared().primary.psql("postgres", &sql).unwrap();
    // Another proxy: what a role has is learnt at its first login.
    shared().catch_up();
    let proxy = shared()
        .toml(&tenant.database, "consistency_wait = '10s'", "")
        .start();
    let tenant = Tenant {
        database: tenant.database,
        proxy,
    };
    tenant.awaits(&shared().ports());
    let mut client = tenant.client();
    at_replica(&mut client, "default_read_only");
    client.0.query("SET default_transaction_read_only = off");
    at_primary(&mut client);
    client.0.query("RESET default_transaction_read_only");
    at_replica(&mut client, "default_read_only");
}

#[test]
fn a_session_may_say_where_it_is_served() {
    let tenant = Tenant::serving("");
    let mut client = tenant.client();
    client.0.query("SET tenantry.route = 'replica'");
    at_replica(&mut client, "setting");
    client.0.query("SET tenantry.route = 'primary'");
    at_primary(&mut client);
    assert_eq!(client.read_only("SELECT 1").port, shared().primary.port());
    client.0.query("RESET tenantry.route");
    assert!(
        shared()
            .ports()
            .contains(&client.read_only("SELECT 1").port)
    );
    at_primary(&mut client);
    // For one transaction.
    client.silent("BEGIN");
    let first = client.query("SET LOCAL tenantry.route = 'replica'");
    assert_eq!(first.port, shared().primary.port());
    client.silent("COMMIT");
    at_primary(&mut client);
    let mut other = tenant.client_with(&[("options", "-c tenantry.route=replica")]);
    at_replica(&mut other, "setting");
    assert_eq!(
        other.query("CREATE TABLE t (a int)").reply.errors(),
        ["25006"]
    );
}
