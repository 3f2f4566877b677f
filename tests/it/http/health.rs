//! Live and ready: what each of them takes into account.

use std::net::TcpListener;
use std::time::Duration;

use super::{http, of, toml};
use crate::support::client::Client;
use crate::support::http::{Scrape, get};
use crate::support::patience::eventually;
use crate::support::postgres::Database;

#[test]
fn a_proxy_that_serves_is_live_and_ready() {
    let database = Database::fresh();
    let proxy = of(&database, "");
    let live = get(http(&proxy), "/health/live");
    assert_eq!(live.status, 200);
    assert_eq!(live.check("workers"), (true, "1 answer".to_owned()));
    // No node was tried yet.
    let ready = get(http(&proxy), "/health/ready");
    assert_eq!(ready.json()["status"], "ok");
    for check in ["phase", "listeners", "configuration", "workers", "nodes"] {
        assert!(ready.check(check).0, "{}", ready.body);
    }
    proxy.client(&database.name);
    assert_eq!(get(http(&proxy), "/health/ready").status, 200);
}

#[test]
fn a_proxy_that_drains_is_live_but_not_ready_and_still_scraped() {
    let database = Database::fresh();
    let proxy = of(&database, "");
    let mut busy = proxy.client(&database.name);
    busy.query("SELECT 1");
    busy.query("BEGIN");
    std::thread::scope(|scope| {
        let drained = scope.spawn(|| proxy.app.drain(Duration::from_secs(30)));
        eventually("it is not ready", || {
            get(http(&proxy), "/health/ready").status == 503
        });
        let ready = get(http(&proxy), "/health/ready");
        assert_eq!(ready.json()["status"], "unavailable");
        assert_eq!(ready.check("phase"), (false, "shutting down".to_owned()));
        assert_eq!(get(http(&proxy), "/health/live").status, 200);
        let scrape = Scrape::of(http(&proxy));
        assert_eq!(scrape.count("tenantry_phase{state=\"draining\"}"), 1);
        assert_eq!(scrape.count("tenantry_clients{state=\"active\"}"), 1);
        busy.query("COMMIT");
        drained.join().unwrap();
    });
    // What was told is not taken back with the worker.
    let after = Scrape::of(http(&proxy));
    assert_eq!(
        after.count("tenantry_transaction_duration_seconds_count"),
        1
    );
    let own = format!(
        "tenantry_transactions_total{{tenant=\"{}\"}}",
        database.name
    );
    assert_eq!(after.count(&own), 1);
    assert_eq!(get(http(&proxy), "/health/live").status, 200);
}

#[test]
fn a_suspended_proxy_is_live_but_not_ready() {
    let proxy = of(&Database::fresh(), "");
    drop(proxy.app.workers().suspend());
    let ready = get(http(&proxy), "/health/ready");
    assert_eq!(ready.status, 503);
    assert!(!ready.check("phase").0 && ready.check("workers").0);
    assert_eq!(get(http(&proxy), "/health/live").status, 200);
    drop(proxy.app.workers().resume());
    assert_eq!(get(http(&proxy), "/health/ready").status, 200);
}

/// Nobody is sent to a proxy that is not ready, so it has to find out by itself.
#[test]
fn without_any_node_a_proxy_is_not_ready_until_one_is_back() {
    let port = {
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        free.local_addr().unwrap().port()
    };
    let nowhere = Database {
        name: "nowhere".to_owned(),
        port,
    };
    let proxy = toml(&nowhere)
        .pool("acquire_timeout = '1s'")
        .tenant("lost", "main", &nowhere, "")
        .start();
    assert_eq!(get(http(&proxy), "/health/ready").status, 200);
    Client::connect(proxy.address(), "lost", &[]).unwrap_err();
    let ready = get(http(&proxy), "/health/ready");
    assert_eq!(ready.status, 503);
    let node = format!("127.0.0.1:{port}");
    let (ok, detail) = ready.check("nodes");
    assert!(!ok && detail.contains(&node), "{detail}");
    let gauge = format!("tenantry_node_reachable{{node=\"{node}\"}}");
    assert_eq!(Scrape::of(http(&proxy)).count(&gauge), 0);
    assert_eq!(get(http(&proxy), "/health/live").status, 200);
    let _back = TcpListener::bind(("127.0.0.1", port)).unwrap();
    eventually("it is ready again", || {
        get(http(&proxy), "/health/ready").status == 200
    });
    assert_eq!(Scrape::of(http(&proxy)).count(&gauge), 1);
}

#[test]
fn one_node_out_of_reach_leaves_a_proxy_ready() {
    let database = Database::fresh();
    let port = {
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        free.local_addr().unwrap().port()
    };
    let nowhere = Database {
        name: "nowhere".to_owned(),
        port,
    };
    let proxy = toml(&database)
        .cluster("other", port, "")
        .pool("acquire_timeout = '1s'")
        .tenant("lost", "other", &nowhere, "")
        .start();
    Client::connect(proxy.address(), "lost", &[]).unwrap_err();
    let ready = get(http(&proxy), "/health/ready");
    assert_eq!(ready.status, 200);
    let (ok, detail) = ready.check("nodes");
    assert!(ok && detail.starts_with("1 of 2 out of reach"), "{detail}");
}

#[test]
fn a_refused_reload_is_told_but_does_not_matter() {
    let database = Database::fresh();
    let toml = toml(&database).tenant(&database.name, "main", &database, "");
    let proxy = toml.start();
    proxy.reload(&toml.text());
    // Read well; that it is no certificate is found when it is applied.
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display();
    let missing = toml.text().replace(
        "[auth]",
        &format!("[server.tls]\ncertificate = '{path}'\nprivate_key = '{path}'\n[auth]"),
    );
    let config = tenantry::config::parse(&missing, std::path::Path::new("t.toml"), &|_| None);
    proxy.app.reload(config.unwrap()).unwrap_err();
    let ready = get(http(&proxy), "/health/ready");
    assert_eq!(ready.status, 200);
    assert!(ready.check("configuration").1.contains("refused"));
    let scrape = Scrape::of(http(&proxy));
    let reloads = |result: &str| {
        scrape.count(&format!(
            "tenantry_config_reloads_total{{result=\"{result}\"}}"
        ))
    };
    assert_eq!((reloads("success"), reloads("failure")), (1, 1));
    assert_eq!(scrape.count("tenantry_config_last_reload_successful"), 0);
    proxy.reload(&toml.text());
    let scrape = Scrape::of(http(&proxy));
    assert_eq!(scrape.count("tenantry_config_last_reload_successful"), 1);
    let ready = get(http(&proxy), "/health/ready");
    assert!(!ready.check("configuration").1.contains("refused"));
}
