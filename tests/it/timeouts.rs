//! Time limits of clients, and statement mode.

use std::io::Read as _;
use std::time::Duration;

use super::support::client::Client;
use super::support::frames::Frames;
use super::support::patience::eventually;
use super::support::postgres::Database;
use super::support::proxy::{Proxy, Toml};

/// The client's last message must be this FATAL error, which names the limit.
fn is_closed_with(client: &mut Client, code: &str, hint: &str) {
    let end = client.end();
    let last = end.last().expect("an error comes first");
    assert_eq!(
        (last.tag, last.field(b'S')),
        (b'E', Some("FATAL".into())),
        "{end:?}"
    );
    assert_eq!(last.field(b'C').as_deref(), Some(code), "{end:?}");
    assert!(
        last.field(b'H').unwrap_or_default().contains(hint),
        "{end:?}"
    );
}

#[test]
fn query_timeout_ends_query_and_client() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1\nquery_timeout = '500ms'");
    let mut client = proxy.client(&database.name);
    assert_eq!(client.value("SELECT 1"), "1");
    client.put(&Frames::default().query("SELECT pg_sleep(600)"));
    is_closed_with(&mut client, "57014", "query_timeout");
    // The query itself was cancelled: else the next client could not have the permit.
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(600)%' \
                AND pid <> pg_backend_pid() AND datname = current_database()";
    eventually("the server has ended it", || database.admin(busy) == "0");
    assert_eq!(proxy.client(&database.name).value("SELECT 2"), "2");
}

/// The time is the query's, not that between two rows.
#[test]
fn query_timeout_ends_a_query_that_sends_rows_all_the_time() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "query_timeout = '300ms'");
    let mut client = proxy.client(&database.name);
    // 9,000 bytes a row, so that each is sent at once.
    let sql = "SELECT pg_sleep(0.02), repeat('x', 9000) FROM generate_series(1, 500)";
    client.put(&Frames::default().query(sql));
    let end = client.end();
    let rows = end.iter().filter(|m| m.tag == b'D').count();
    assert!((2..400).contains(&rows), "{rows} rows");
    // The last one may be cut off, the error with it.
    assert!(end.iter().all(|m| m.tag != b'Z'));
}

#[test]
fn query_timeout_leaves_idle_clients_and_open_transactions_alone() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "query_timeout = '500ms'");
    let mut client = proxy.client(&database.name);
    client.query("BEGIN");
    assert!(client.is_silent(Duration::from_millis(700)));
    assert_eq!(client.query("COMMIT").status(), 'I');
    assert!(client.is_silent(Duration::from_millis(700)));
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn transaction_timeout_ends_a_long_transaction_of_short_queries() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "transaction_timeout = '500ms'");
    let mut client = proxy.client(&database.name);
    client.query("BEGIN");
    let mut rounds = 0;
    loop {
        client.put(&Frames::default().query("SELECT pg_sleep(0.02)"));
        let mut last = client.read();
        while last.as_ref().is_ok_and(|m| !matches!(m.tag, b'Z' | b'E')) {
            last = client.read();
        }
        let last = last.expect("an error comes before the end");
        if last.tag == b'E' {
            assert_eq!(last.field(b'C').as_deref(), Some("25P04"));
            break;
        }
        rounds += 1;
        assert!(rounds < 500, "it goes on for ever");
    }
    assert!(rounds > 0);
}

/// A session that keeps its server connection begins each transaction anew.
#[test]
fn transaction_timeout_counts_from_the_transaction_not_from_the_lease() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "mode = 'session'\ntransaction_timeout = '500ms'");
    let mut client = proxy.client(&database.name);
    assert_eq!(client.value("SELECT 1"), "1");
    assert!(client.is_silent(Duration::from_millis(700)));
    assert_eq!(client.query("BEGIN").status(), 'T');
    assert_eq!(client.query("COMMIT").status(), 'I');
    client.query("BEGIN");
    is_closed_with(&mut client, "25P04", "transaction_timeout");
}

#[test]
fn idle_transaction_timeout_ends_a_forgotten_transaction() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1\nidle_transaction_timeout = '500ms'");
    let mut client = proxy.client(&database.name);
    assert!(client.is_silent(Duration::from_millis(700)));
    client.query("BEGIN");
    assert_eq!(client.query("SELECT pg_sleep(0.7)").status(), 'T');
    is_closed_with(&mut client, "25P03", "idle_transaction_timeout");
    assert_eq!(proxy.client(&database.name).value("SELECT 1"), "1");
}

#[test]
fn client_idle_timeout_ends_idle_clients_only() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "client_idle_timeout = '500ms'");
    let mut client = proxy.client(&database.name);
    assert_eq!(client.query("SELECT pg_sleep(0.7)").errors(), [""; 0]);
    client.query("BEGIN");
    assert!(client.is_silent(Duration::from_millis(700)));
    assert_eq!(client.query("COMMIT").status(), 'I');
    is_closed_with(&mut client, "57P05", "client_idle_timeout");
    eventually("its slot is free", || proxy.app.clients() == 0);
}

#[test]
fn a_limit_that_a_reload_lifts_closes_nobody() {
    let database = Database::fresh();
    let toml = |pool: &str| {
        Toml::default()
            .pool(pool)
            .cluster("main", database.port, "")
            .tenant(&database.name, "main", &database, "")
            .text()
    };
    let proxy = Proxy::start(&toml("client_idle_timeout = '1s'"));
    let mut client = proxy.client(&database.name);
    assert_eq!(client.value("SELECT 1"), "1");
    proxy.reload(&toml(""));
    assert!(client.is_silent(Duration::from_millis(1300)));
    assert_eq!(client.value("SELECT 2"), "2");
}

#[test]
fn login_timeout_ends_a_client_that_does_not_log_in() {
    let database = Database::fresh();
    let proxy = Toml::default()
        .server("login_timeout = '150ms'")
        .cluster("main", database.port, "")
        .tenant(&database.name, "main", &database, "")
        .start();
    let mut silent = std::net::TcpStream::connect(proxy.address()).unwrap();
    silent
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert_eq!(silent.read(&mut [0; 64]).unwrap(), 0);
    eventually("its slot is free", || proxy.app.clients() == 0);
}

#[test]
fn statement_mode_refuses_transaction_blocks() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "mode = 'statement'\nsize = 1");
    let mut client = proxy.client(&database.name);
    assert_eq!(client.value("SELECT 1"), "1");
    client.put(&Frames::default().query("BEGIN"));
    is_closed_with(&mut client, "0A000", "transaction");
    let mut client = proxy.client(&database.name);
    client.put(&Frames::default().run("START TRANSACTION").sync());
    is_closed_with(&mut client, "0A000", "transaction");
    assert_eq!(proxy.client(&database.name).value("SELECT 2"), "2");
}
