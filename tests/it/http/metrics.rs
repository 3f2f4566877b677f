//! What is counted is what happened: exact numbers of a scripted run, seen from outside.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::{http, of, toml};
use crate::support::client::Client;
use crate::support::frames::Frames;
use crate::support::http::{Scrape, get};
use crate::support::patience::eventually;
use crate::support::postgres::Database;
use crate::support::proxy::{Proxy, Toml};

/// A series of a tenant.
fn own(family: &str, database: &Database) -> String {
    format!("{family}{{tenant=\"{}\"}}", database.name)
}

/// Scrapes until a series has a value: what follows a client's answer may come a moment later.
fn once(proxy: &Proxy, series: &str, value: u64) -> Scrape {
    eventually(series, || Scrape::of(http(proxy)).count(series) == value);
    Scrape::of(http(proxy))
}

#[test]
fn transactions_queries_and_statements_are_counted() {
    let database = Database::fresh();
    let proxy = of(&database, "");
    let mut client = proxy.client(&database.name);
    for _ in 0..5 {
        client.query("SELECT 1");
    }
    client.query("BEGIN");
    client.query("SELECT 2");
    client.query("SELECT 3; SELECT 4");
    client.query("COMMIT");
    client.query("no SQL");
    client.ask(&Frames::default().parse("s", "SELECT 5").sync());
    for _ in 0..3 {
        client.ask(&Frames::default().bind("s", &[]).execute().sync());
    }
    let scrape = Scrape::of(http(&proxy));
    let count = |family: &str| scrape.count(&own(family, &database));
    // Alone: five, one that failed, one that only parses, three that execute.
    assert_eq!(count("tenantry_transactions_total"), 5 + 1 + 1 + 1 + 3);
    assert_eq!(count("tenantry_queries_total"), 5 + 4 + 1 + 1 + 3);
    assert_eq!(count("tenantry_client_parses_total"), 1);
    assert_eq!(count("tenantry_server_parses_total"), 1);
    assert_eq!(count("tenantry_binds_total"), 3);
    assert_eq!(
        scrape.count("tenantry_transaction_duration_seconds_count"),
        count("tenantry_transactions_total")
    );
    assert_eq!(
        scrape.count("tenantry_query_duration_seconds_count"),
        count("tenantry_queries_total")
    );
    let sum = scrape.value("tenantry_query_duration_seconds_sum");
    let by_tenant = scrape.value(&own("tenantry_query_seconds_total", &database));
    assert!(sum > 0.0 && (sum - by_tenant).abs() < 1e-9);
    assert_eq!(scrape.present("tenantry_queries_total").len(), 1);
}

#[test]
fn times_are_those_that_passed() {
    let database = Database::fresh();
    let proxy = of(&database, "size = 1");
    let (mut first, mut second) = (proxy.client(&database.name), proxy.client(&database.name));
    let waits = own("tenantry_waits_total", &database);
    let before = Scrape::of(http(&proxy)).count(&waits);
    first.query("BEGIN");
    second.put(&Frames::default().query("SELECT 1"));
    let waiting = once(&proxy, "tenantry_clients{state=\"waiting\"}", 1);
    assert_eq!(waiting.count("tenantry_clients{state=\"active\"}"), 1);
    assert_eq!(waiting.count("tenantry_clients{state=\"idle\"}"), 0);
    let of_tenant = |family: &str| waiting.value(&own(family, &database));
    assert!((of_tenant("tenantry_tenant_waiting_clients") - 1.0).abs() < 0.1);
    assert!(of_tenant("tenantry_tenant_longest_wait_seconds") > 0.0);
    first.query("SELECT pg_sleep(0.3)");
    first.query("COMMIT");
    second.ready();
    let after = Scrape::of(http(&proxy));
    assert_eq!(after.count(&waits), before + 1);
    let waited = after.value(&own("tenantry_wait_seconds_total", &database));
    assert!((0.3..20.0).contains(&waited), "{waited}");
    let slow = |le: &str| {
        after.count(&format!(
            "tenantry_query_duration_seconds_bucket{{le=\"{le}\"}}"
        ))
    };
    // 2^18 microseconds: only the one that slept. Waiting is not part of a query's time.
    let all = after.count("tenantry_query_duration_seconds_count");
    assert_eq!(all - slow("0.262144"), 1, "{}", after.text);
    assert_eq!(slow("+Inf"), all);
    assert_eq!(after.count("tenantry_clients{state=\"idle\"}"), 2);
    assert_eq!(
        after.count(&own("tenantry_tenant_longest_wait_seconds", &database)),
        0
    );
}

#[test]
fn bytes_are_those_of_the_clients() {
    let database = Database::fresh();
    let proxy = of(&database, "");
    let mut client = proxy.client(&database.name);
    let [received, sent] =
        ["tenantry_received_bytes_total", "tenantry_sent_bytes_total"].map(|f| own(f, &database));
    let before = Scrape::of(http(&proxy));
    let query = Frames::default().query("SELECT repeat('x', 100000)");
    let reply = client.ask(&query);
    let size: usize = reply.0.iter().map(|message| 5 + message.body.len()).sum();
    let after = Scrape::of(http(&proxy));
    let grown = |series: &str| after.count(series) - before.count(series);
    assert_eq!(grown(&received), query.0.len() as u64);
    assert_eq!(grown(&sent), size as u64);
}

#[test]
fn pins_are_counted_by_reason() {
    let database = Database::fresh();
    let proxy = of(&database, "size = 5");
    let mut clients: Vec<Client> = (0..3).map(|_| proxy.client(&database.name)).collect();
    clients[0].query("LISTEN a");
    clients[1].query("CREATE TEMP TABLE t (i int)");
    clients[2].query("LISTEN b");
    // Told when what was asked of the server behind the client's back is answered.
    once(&proxy, "tenantry_pins_total{reason=\"temporary_table\"}", 1);
    let scrape = once(&proxy, "tenantry_pins_total{reason=\"listen\"}", 2);
    let expected = [
        ("reason=\"listen\"", 2.0),
        ("reason=\"temporary_table\"", 1.0),
    ];
    let expected = expected.map(|(reason, count)| (reason.to_owned(), count));
    assert_eq!(scrape.present("tenantry_pins_total"), expected);
    assert_eq!(
        scrape.count(&own("tenantry_tenant_pinned_clients", &database)),
        3
    );
    clients[0].query("UNLISTEN *");
    clients[2].query("UNLISTEN *");
    once(&proxy, &own("tenantry_tenant_pinned_clients", &database), 1);
}

#[test]
fn server_connections_are_counted_as_they_come_and_go() {
    let database = Database::fresh();
    let proxy = of(&database, "size = 3");
    let mut clients: Vec<Client> = (0..3).map(|_| proxy.client(&database.name)).collect();
    for client in &mut clients {
        client.query("BEGIN");
    }
    let scrape = Scrape::of(http(&proxy));
    assert_eq!(scrape.count("tenantry_server_connects_total"), 3);
    assert_eq!(scrape.count("tenantry_servers{state=\"active\"}"), 3);
    assert_eq!(scrape.count(&own("tenantry_tenant_servers", &database)), 3);
    let node = format!("{{node=\"127.0.0.1:{}\"}}", database.port);
    assert_eq!(scrape.count(&format!("tenantry_node_connections{node}")), 3);
    assert_eq!(
        scrape.count(&format!("tenantry_node_connections_limit{node}")),
        20
    );
    assert_eq!(scrape.count(&format!("tenantry_node_reachable{node}")), 1);
    // One is closed by the server, one by its client in the middle of a transaction.
    let backend = clients[0].backend();
    database.admin(&format!("SELECT pg_terminate_backend({backend})"));
    clients[0].end();
    drop(clients.remove(1));
    once(&proxy, "tenantry_servers{state=\"active\"}", 1);
    let closed = "tenantry_server_connections_closed_total";
    once(&proxy, &format!("{closed}{{reason=\"lost\"}}"), 1);
    let scrape = once(&proxy, &format!("{closed}{{reason=\"abandoned\"}}"), 1);
    let expected = ["abandoned", "lost"].map(|why| (format!("reason=\"{why}\""), 1.0));
    assert_eq!(scrape.present(closed), expected);
    assert_eq!(scrape.count("tenantry_server_connects_total"), 3);
    assert!(scrape.value("tenantry_server_lifetime_seconds_total") > 0.0);
}

#[test]
fn connects_that_fail_are_counted() {
    let database = Database::fresh();
    let lines = "pool = { acquire_timeout = '1s' }";
    let proxy = toml(&database)
        .tenant("one", "main", &database, lines)
        .text();
    let proxy = Proxy::start(&proxy.replace(Database::PASSWORD, "not this one"));
    Client::connect(proxy.address(), "one", &[]).unwrap_err();
    let scrape = Scrape::of(http(&proxy));
    assert_eq!(scrape.count("tenantry_server_connect_failures_total"), 1);
    assert_eq!(scrape.count("tenantry_server_connects_total"), 0);
}

#[test]
fn clients_and_tenants_are_counted() {
    let (one, two) = (Database::fresh(), Database::fresh());
    let proxy = toml(&one)
        .server("max_clients = 77")
        .tenant(&one.name, "main", &one, "")
        .tenant(&two.name, "main", &two, "")
        .start();
    let _idle: Vec<Client> = (0..3).map(|_| proxy.client(&one.name)).collect();
    let _half = std::net::TcpStream::connect(proxy.address()).unwrap();
    let scrape = once(&proxy, "tenantry_clients{state=\"login\"}", 1);
    assert_eq!(scrape.count("tenantry_clients{state=\"idle\"}"), 3);
    assert_eq!(scrape.count("tenantry_clients_admitted_total"), 3);
    assert_eq!(scrape.count("tenantry_clients_limit"), 77);
    assert_eq!(scrape.count("tenantry_tenants"), 2);
    assert_eq!(scrape.count("tenantry_pools"), 1);
    assert_eq!(scrape.count(&own("tenantry_tenant_clients", &one)), 3);
    assert_eq!(scrape.count("tenantry_tenant_clients{tenant=\"other\"}"), 0);
}

#[test]
fn logins_are_counted_by_how_they_ended() {
    let database = Database::fresh();
    let toml = toml(&database)
        .tenant(&database.name, "main", &database, "")
        .tenant("shut", "main", &Database::fresh(), "status = 'suspended'");
    let proxy = toml.start();
    let (address, name) = (proxy.address(), &database.name);
    for _ in 0..2 {
        Client::connect(address, name, &[]).unwrap();
    }
    let refused = |user: &str, database: &str| {
        Client::log_in(address, user, database, &[]).unwrap_err();
    };
    refused("app.nobody", "nobody");
    refused(&format!("web.{name}"), name);
    refused(&format!("app.{name}"), "shut");
    refused("app.shut", "shut");
    drop(std::net::TcpStream::connect(address).unwrap());
    let mut noise = std::net::TcpStream::connect(address).unwrap();
    noise.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    once(
        &proxy,
        "tenantry_login_failures_total{reason=\"protocol\"}",
        1,
    );
    let scrape = once(&proxy, "tenantry_login_failures_total{reason=\"gone\"}", 1);
    let logins = scrape.present("tenantry_logins_total");
    assert_eq!(logins, [("method=\"scram-sha-256\"".to_owned(), 2.0)]);
    let expected = [
        "evidence_disagrees",
        "gone",
        "protocol",
        "suspended",
        "unknown_role",
        "unknown_tenant",
    ];
    let expected = expected.map(|reason| (format!("reason=\"{reason}\""), 1.0));
    assert_eq!(scrape.present("tenantry_login_failures_total"), expected);
    assert_eq!(scrape.count("tenantry_cancel_requests_total"), 0);
}

#[test]
fn two_proxies_in_one_process_count_for_themselves() {
    let database = Database::fresh();
    let (busy, quiet) = (of(&database, ""), of(&database, ""));
    busy.client(&database.name).query("SELECT 1");
    assert_eq!(
        Scrape::of(http(&busy)).count("tenantry_query_duration_seconds_count"),
        1
    );
    assert_eq!(
        Scrape::of(http(&quiet)).count("tenantry_query_duration_seconds_count"),
        0
    );
}

/// Under load, with pools that are forgotten all the time, no series goes down.
#[test]
fn nothing_goes_down_while_there_is_load() {
    let databases: Vec<Database> = (0..3).map(|_| Database::fresh()).collect();
    let toml = toml(&databases[0]).pool("size = 2\npool_ttl = '20ms'\nidle_timeout = '10ms'");
    let toml = databases
        .iter()
        .fold(toml, |toml, d| toml.tenant(&d.name, "main", d, ""));
    let proxy = Proxy::start(&toml.text().replace("workers = 1", "workers = 2"));
    let mut last = Scrape::of(http(&proxy));
    let mut total = 0;
    std::thread::scope(|scope| {
        let loads: Vec<_> = databases
            .iter()
            .map(|database| {
                let proxy = &proxy;
                scope.spawn(move || {
                    (0..40).fold(0, |done, round| {
                        let mut client = proxy.client(&database.name);
                        (0..round % 5).for_each(|_| drop(client.query("SELECT 1")));
                        done + round % 5
                    })
                })
            })
            .collect();
        while !loads.iter().all(|load| load.is_finished()) {
            let now = Scrape::of(http(&proxy));
            for (series, value) in last.samples() {
                let family = series.split('{').next().unwrap();
                let counts = ["_total", "_count", "_bucket", "_sum"];
                if counts.iter().any(|end| family.ends_with(end)) {
                    assert!(
                        now.value(series) >= value,
                        "{series} went down from {value}"
                    );
                }
            }
            last = now;
        }
        total = loads.into_iter().map(|load| load.join().unwrap()).sum();
    });
    let count = "tenantry_query_duration_seconds_count";
    let end = once(&proxy, count, total);
    let by_tenant = end.present("tenantry_queries_total");
    let sum: f64 = by_tenant.iter().map(|(_, count)| count).sum();
    assert!((sum - end.value(count)).abs() < 0.1, "{by_tenant:?}");
}

/// `docs/metrics.md` and the page name the same families, with the same types and labels.
#[test]
fn every_metric_is_documented_as_it_is() {
    let database = Database::fresh();
    let lines = "replicas = ['127.0.0.1:1']\nprobe_interval = '50ms'";
    let proxy = Toml::default()
        .server("http = '127.0.0.1:0'")
        .cluster("main", database.port, lines)
        .tenant(&database.name, "main", &database, "")
        .start();
    // The nodes have been tried then, so that it is there how they are.
    proxy.client(&database.name);
    eventually("the replica was tried", || {
        let scrape = Scrape::of(http(&proxy));
        scrape.text.contains("tenantry_replica_lag_seconds{")
    });
    let scrape = Scrape::of(http(&proxy));
    let label = |family: &str| {
        let with = |series: &str| series.starts_with(&format!("{family}{{"));
        let series = scrape.samples().find(|(series, _)| with(series));
        let label = series.and_then(|(s, _)| s[family.len() + 1..].split('=').next());
        label.unwrap_or_default().to_owned()
    };
    let mut there: Vec<_> = scrape
        .families()
        .into_iter()
        .map(|(name, kind)| (label(&name), kind, name))
        .collect();
    let text = include_str!("../../../docs/metrics.md");
    let mut told: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.strip_suffix('`')?;
            let (kind, labels) = (cells.next()?, cells.next()?);
            // Without labels the next cell is at hand, behind its bar.
            let labels = Some(labels).filter(|cell| !cell.starts_with('|'));
            let label = labels.and_then(|l| l.split('`').nth(1)).unwrap_or_default();
            let metric = name.starts_with("tenantry_") || name.starts_with("process_");
            metric.then(|| (label.to_owned(), kind.to_owned(), name.to_owned()))
        })
        .collect();
    there.sort();
    told.sort();
    assert_eq!(there, told);
}

#[test]
fn promtool_finds_nothing_to_say() {
    let database = Database::fresh();
    let proxy = of(&database, "");
    proxy.client(&database.name).query("SELECT 1");
    let text = get(http(&proxy), "/metrics").body;
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = promtool.expect("promtool is installed");
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let said = promtool.wait_with_output().unwrap();
    let words = [&said.stdout[..], &said.stderr[..]].concat();
    assert!(
        said.status.success() && words.is_empty(),
        "{}",
        String::from_utf8_lossy(&words)
    );
}

/// What alerts and the board ask for is there.
#[test]
fn contributions_name_only_what_there_is() {
    let told = include_str!("../../../docs/metrics.md");
    let word = |c: char| c.is_ascii_lowercase() || c == '_';
    for text in [
        include_str!("../../../contrib/prometheus/alerts.yml"),
        include_str!("../../../contrib/grafana/tenantry.json"),
    ] {
        let words = text.split(|c| !word(c));
        let names: Vec<&str> = words
            .filter(|w| w.starts_with("tenantry_") || w.starts_with("process_"))
            .map(|w| w.trim_end_matches("_bucket"))
            .collect();
        assert!(names.len() > 10);
        for name in names {
            assert!(told.contains(&format!("\n| `{name}` ")), "{name}");
        }
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/prometheus");
    for (command, file) in [("check", "alerts.yml"), ("test", "alerts_test.yml")] {
        let said = Command::new("promtool")
            .args([command, "rules", file])
            .current_dir(folder)
            .output()
            .expect("promtool is installed");
        let words = [&said.stdout[..], &said.stderr[..]].concat();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&words));
    }
}
