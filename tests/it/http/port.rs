//! Pages, methods, and whoever wants to be in the way.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::{http, of};
use crate::support::http::{Scrape, exchange, get, request};
use crate::support::postgres::Database;
use crate::support::proxy::Proxy;

#[test]
fn each_page_is_what_it_says() {
    let proxy = of(&Database::fresh(), "");
    let address = http(&proxy);
    for (path, kind, part) in [
        ("/", "text/html; charset=utf-8", env!("CARGO_PKG_VERSION")),
        (
            "/metrics",
            "text/plain; version=0.0.4; charset=utf-8",
            "tenantry_build_info{version=",
        ),
        ("/health/live", "application/json", "\"ok\""),
        ("/health/ready?verbose", "application/json", "\"ok\""),
    ] {
        let page = get(address, path);
        assert_eq!((page.status, &*page.headers["content-type"]), (200, kind));
        assert!(page.body.contains(part), "{path}: {}", page.body);
        let head = request(address, "HEAD", path);
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
        assert_eq!(head.headers["content-type"], kind);
        assert!(head.headers["content-length"] != "0");
    }
    for path in ["/health/live", "/health/ready", "/metrics"] {
        assert!(get(address, "/").body.contains(&format!("href=\"{path}\"")));
    }
}

#[test]
fn other_paths_and_methods_are_refused() {
    let proxy = of(&Database::fresh(), "");
    let address = http(&proxy);
    for path in ["/metric", "/metrics/", "/health", "//", "/health/live/x"] {
        assert_eq!(get(address, path).status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let refused = request(address, method, "/metrics");
        assert_eq!(refused.status, 405);
        assert_eq!(refused.headers["allow"], "GET, HEAD");
    }
    let garbage = exchange(address, b"\x00\x00\x00\x08\x04\xd2\x16\x2f\r\n\r\n").unwrap();
    assert!(garbage.starts_with("HTTP/1.1 400 "), "{garbage}");
    let large = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    // Refused before all of it is read, so it may be reset as well.
    if let Ok(answer) = exchange(address, large.as_bytes()) {
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
            "{answer}"
        );
    }
    assert_eq!(get(address, "/health/live").status, 200);
}

/// Whoever connects and says nothing, a byte now and then, or does not read.
#[test]
fn a_crowd_does_not_keep_others_out_and_is_gone_in_time() {
    let proxy = of(&Database::fresh(), "");
    let address = http(&proxy);
    let mut silent: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut socket = TcpStream::connect(address).unwrap();
            if n % 2 == 0 {
                // Cut off by the proxy, perhaps.
                let _cut_off = socket.write_all(b"GET /metrics HT");
            }
            socket
        })
        .collect();
    for _ in 0..5 {
        Scrape::of(address);
    }
    // The scrapes took the places of the oldest; those who are left are ended by the clock.
    for socket in &mut silent {
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        // Reset where bytes of it were not read: all the same.
        if let Err(error) = socket.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it is closed");
        }
    }
    assert_eq!(get(address, "/health/live").status, 200);
}

#[test]
fn there_is_no_port_unless_it_is_configured() {
    let proxy = Proxy::of(&Database::fresh(), "");
    assert_eq!(proxy.app.http_address(), None);
}
