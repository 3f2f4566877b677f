//! Change without an outage: an unmodified pgbench loses no client and no transaction while the
//! configuration is reloaded, the certificate replaced, every server connection replaced by
//! RECONNECT, the tenant paused and resumed, and while a new process takes over; a second pgbench,
//! which connects for each transaction, is never refused.
//!
//! `TENANTRY_OUTAGE_SECONDS` (20) and `TENANTRY_OUTAGE_CLIENTS` (100) make it longer and larger.

mod proxy;

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tenantry::demo::cluster::Cluster;

use proxy::{Pki, Place, Proxy, until};

const ROLE: &str = "bench";

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(usual, |text| text.parse().expect("a number"))
}

/// A server with pgbench's tables.
fn server() -> Cluster {
    let cluster = Cluster::builder()
        .max_connections(60)
        .hba("host all all 127.0.0.1/32 trust")
        .start()
        .expect("PostgreSQL is installed and starts");
    let sql = format!("create role {ROLE} login; create database {ROLE} owner {ROLE}");
    cluster.psql("postgres", &sql).expect("a tenant's database");
    let port = cluster.port().to_string();
    let made = Command::new("pgbench")
        .args(["-i", "-q", "-s", "10", "-h", "127.0.0.1", "-p", &port])
        .args(["-U", ROLE, ROLE])
        .output()
        .expect("pgbench is installed");
    assert!(made.status.success(), "{}", text(&made));
    cluster
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// pgbench through the proxy.
fn pgbench(place: &Place, arguments: &[&str]) -> Child {
    Command::new("pgbench")
        .args([
            "-n",
            "-h",
            "127.0.0.1",
            "-p",
            &place.port.to_string(),
            "-U",
            ROLE,
        ])
        .args(arguments)
        .arg(ROLE)
        .env("PGPASSWORD", "secret")
        .env("PGSSLMODE", "require")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("pgbench is installed")
}

/// How many transactions it did; fails unless it lost neither a client nor a transaction.
fn harvest(child: Child, what: &str) -> u64 {
    let output = child.wait_with_output().expect("pgbench ends");
    let said = text(&output);
    assert!(output.status.success(), "{what}: {said}");
    for bad in ["aborted", "error", "FATAL", "could not"] {
        assert!(!said.contains(bad), "{what}: {said}");
    }
    assert!(
        said.contains("number of failed transactions: 0 "),
        "{what}: {said}"
    );
    let line = said
        .lines()
        .find_map(|l| l.strip_prefix("number of transactions actually processed: "));
    let count = line.and_then(|l| l.split('/').next()).map(str::trim);
    count.and_then(|c| c.parse().ok()).expect("a count")
}

/// Server processes of the tenant.
fn backends(cluster: &Cluster) -> Vec<String> {
    let sql = format!("select pid from pg_stat_activity where datname = '{ROLE}' order by 1");
    let pids = cluster.psql("postgres", &sql).expect("a list");
    pids.lines().map(str::to_owned).collect()
}

#[test]
fn nothing_is_lost_while_everything_changes() {
    let seconds = number("TENANTRY_OUTAGE_SECONDS", 20);
    let clients = number("TENANTRY_OUTAGE_CLIENTS", 100).to_string();
    let cluster = server();
    let pki = Pki::new();
    let place = Place::new(&cluster, &pki);
    place.configure(20);
    let first = Proxy::start(&place);
    let length = seconds.to_string();
    let end = Instant::now() + Duration::from_secs(seconds);
    let steady = pgbench(&place, &["-c", &clients, "-j", "2", "-T", &length]);
    let coming = pgbench(&place, &["-C", "-S", "-c", "4", "-T", &length]);
    until("pgbench is at work", || !backends(&cluster).is_empty());

    place.configure(10);
    first.hang_up();
    first.wait_for_line("configuration reloaded");
    place.console("SET pool.size = 15");

    let before = place.certificate();
    pki.renew();
    place.console("RELOAD");
    let after = place.certificate();
    assert_ne!(before, after, "new clients are shown the new certificate");

    let old = backends(&cluster);
    place.console("RECONNECT");
    place.console("WAIT_CLOSE");
    let now = backends(&cluster);
    assert!(!old.iter().any(|pid| now.contains(pid)), "{old:?} {now:?}");

    place.console(&format!("PAUSE {ROLE}"));
    assert_eq!(
        backends(&cluster),
        [""; 0],
        "a pause leaves no server connection"
    );
    place.console(&format!("RESUME {ROLE}"));
    until("the tenant is served again", || {
        !backends(&cluster).is_empty()
    });

    let second = Proxy::start(&place);
    first.wait_for_line("taken over");
    assert!(Instant::now() < end, "all of it while pgbench was at work");

    let transactions = harvest(steady, "the steady clients");
    let connections = harvest(coming, "the coming clients");
    assert_eq!(first.ended(), Some(0), "the old process ends by itself");
    println!(
        "{clients} clients, {seconds} s: {transactions} transactions, {connections} new connections, none lost"
    );
    drop(second);
}
