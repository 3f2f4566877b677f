//! `[server]` and `[server.tls]`: listeners, limits, certificates.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Place, Section, Value};
use super::{
    AuthMethod, ClientTlsMode, ListenAddr, Listener, ProxyMode, ProxyProtocol, Route, Server,
    ServerTls, keys, value,
};

/// The words for what clients of a listener ask for.
pub(super) const ROUTES: [(&str, Route); 2] =
    [("primary", Route::Primary), ("replica", Route::Replica)];

/// The words for methods of authentication, wherever one is named.
pub(super) const METHODS: [(&str, AuthMethod); 4] = [
    ("scram-sha-256", AuthMethod::ScramSha256),
    ("md5", AuthMethod::Md5),
    ("cert", AuthMethod::Cert),
    ("trust", AuthMethod::Trust),
];

/// The words for TLS towards clients.
pub(super) const TLS_MODES: [(&str, ClientTlsMode); 4] = [
    ("disable", ClientTlsMode::Disable),
    ("allow", ClientTlsMode::Allow),
    ("require", ClientTlsMode::Require),
    ("verify-client", ClientTlsMode::VerifyClient),
];

/// The words for the PROXY protocol.
pub(super) const PROXY_MODES: [(&str, ProxyMode); 2] =
    [("off", ProxyMode::Off), ("required", ProxyMode::Required)];

/// What the kernel takes as a time of keep-alive, in whole seconds.
const KEEPALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(32_767);

impl AuthMethod {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 4] = [Self::ScramSha256, Self::Md5, Self::Cert, Self::Trust];

    /// Its name in the configuration.
    pub fn word(self) -> &'static str {
        value::word_for(&METHODS, &self)
    }
}

/// `[server]`, with the place of each listener for later checks.
pub(super) struct Draft {
    pub(super) server: Server,
    pub(super) places: Vec<Place>,
}

/// Reads `[server]`.
pub(super) fn read(mut s: Section<'_>) -> Draft {
    let (listen, places) = listeners(&mut s);
    let http = http(&mut s, &listen);
    let workers = match s.number("workers", 0..=1024, 0) {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        n => n,
    };
    let server = Server {
        listen,
        http,
        workers,
        max_clients: s.number("max_clients", 1..=10_000_000, 20_000),
        login_timeout: s.positive_duration("login_timeout", Duration::from_secs(15)),
        drain_timeout: s.duration("drain_timeout", Duration::from_secs(30)),
        proxy_protocol: proxy_protocol(&mut s),
        keepalive: keepalive(&mut s),
        takeover: takeover(&mut s),
        tls: tls(s.section("tls", &keys::SERVER_TLS)),
    };
    s.finish();
    Draft { server, places }
}

fn takeover(s: &mut Section<'_>) -> Option<PathBuf> {
    let folder = s.doc.folder();
    s.text("takeover", |text| value::socket_file(text, folder))
}

fn listeners(s: &mut Section<'_>) -> (Vec<Listener>, Vec<Place>) {
    let Some(list) = s.value("listen") else {
        let address = ListenAddr::Tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 6432));
        return (
            vec![Listener {
                address,
                method: None,
                route: Route::Primary,
            }],
            vec![s.place_of("listen")],
        );
    };
    let items = list.items();
    if items.is_empty() {
        s.error("listen", "names no address: nobody could connect");
    }
    let mut seen = HashSet::new();
    let (mut listen, mut places) = (Vec::new(), Vec::new());
    for item in items {
        let place = item.place.clone();
        let Some(listener) = listener(item) else {
            continue;
        };
        let any_port = matches!(listener.address, ListenAddr::Tcp(a) if a.port() == 0);
        if !seen.insert(listener.address.clone()) && !any_port {
            s.doc.error(&place, "this address is named twice");
        }
        listen.push(listener);
        places.push(place);
    }
    (listen, places)
}

fn http(s: &mut Section<'_>, listen: &[Listener]) -> Option<SocketAddr> {
    let address = s.text("http", value::tcp)?;
    let taken = |l: &Listener| l.address == ListenAddr::Tcp(address);
    if address.port() != 0 && listen.iter().any(taken) {
        s.error("http", "is the address of a listener for clients, too");
    }
    Some(address)
}

fn proxy_protocol(s: &mut Section<'_>) -> ProxyProtocol {
    let mode = s.word("proxy_protocol", &PROXY_MODES);
    let items = s.items("proxy_protocol_sources");
    let sources = items.iter().filter_map(|v| v.parsed(value::network));
    let proxy = ProxyProtocol {
        mode: mode.unwrap_or(ProxyMode::Off),
        sources: sources.collect(),
    };
    if proxy.mode == ProxyMode::Required && items.is_empty() {
        s.error(
            "proxy_protocol",
            "needs `proxy_protocol_sources`: who else could say where clients come from",
        );
    }
    proxy
}

fn keepalive(s: &mut Section<'_>) -> Duration {
    let keepalive = s.duration("keepalive", Duration::from_secs(60));
    if !keepalive.is_zero() && !KEEPALIVE.contains(&keepalive) {
        s.error("keepalive", "must be 0s, or from 1s to 32767s");
    }
    keepalive
}

fn listener(item: Value<'_>) -> Option<Listener> {
    let folder = item.doc.folder();
    let parse = |text: &str| value::listen(text, folder);
    if !item.is_table() {
        return Some(Listener {
            address: item.parsed(parse)?,
            method: None,
            route: Route::Primary,
        });
    }
    let mut s = item.section(&keys::LISTENER);
    let address = s.required("address").and_then(|v| v.parsed(parse));
    let method = s.word("method", &METHODS);
    let route = s.word("route", &ROUTES).unwrap_or_default();
    s.finish();
    Some(Listener {
        address: address?,
        method,
        route,
    })
}

fn tls(mut s: Section<'_>) -> ServerTls {
    let asked = s.word("mode", &TLS_MODES);
    let certificate = s.file("certificate");
    let default = match certificate {
        Some(_) => ClientTlsMode::Allow,
        None => ClientTlsMode::Disable,
    };
    let tls = ServerTls {
        mode: asked.unwrap_or(default),
        certificate,
        private_key: s.file("private_key"),
        client_ca: s.file("client_ca"),
        crl: s.file("crl"),
        domain: s.text("domain", value::domain),
    };
    tls_agrees(&s, &tls);
    s.finish();
    tls
}

fn tls_agrees(s: &Section<'_>, tls: &ServerTls) {
    if tls.mode != ClientTlsMode::Disable && tls.certificate.is_none() {
        s.error("mode", "needs `certificate` and `private_key`");
    }
    if tls.certificate.is_some() && tls.private_key.is_none() {
        s.error("certificate", "needs `private_key` beside it");
    }
    if tls.private_key.is_some() && tls.certificate.is_none() {
        s.error("private_key", "needs `certificate` beside it");
    }
    if tls.mode == ClientTlsMode::VerifyClient && tls.client_ca.is_none() {
        s.error(
            "mode",
            "needs `client_ca`: it says whose client certificates are good",
        );
    }
    if tls.crl.is_some() && tls.client_ca.is_none() {
        s.error("crl", "needs `client_ca`: it revokes client certificates");
    }
}
