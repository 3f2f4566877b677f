//! The configuration file as a whole: what is taken, and what is refused and where.

use std::path::Path;
use std::time::Duration;

use super::*;

const CLUSTER: &str = "[[cluster]]\nname = 'main'\nprimary = 'db:5432'\n";
const TENANT: &str = "[[tenant]]\nslug = 'acme'\ncluster = 'main'\ndatabase = 'a'\nuser = 'u'\n";
pub(super) const SCRAM: &str = "SCRAM-SHA-256$4096:c2FsdHNhbHQ=$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\
                     AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
pub(super) const MD5: &str = "md50123456789abcdef0123456789abcdef";

pub(super) fn parse(text: &str) -> Result<Config, String> {
    let env = |name: &str| (name == "SET").then(|| "from env".to_owned());
    super::parse(text, Path::new("proxy.toml"), &env).map_err(|e| e.to_string())
}

/// Asserts that each text is refused with exactly this message (several lines for several).
fn refused(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let message = parse(text).expect_err(text);
        assert_eq!(message, *expected, "in:\n{text}");
    }
}

#[test]
fn nothing_at_all_is_every_default() {
    let config = parse("").unwrap();
    let loopback = ListenAddr::Tcp("127.0.0.1:6432".parse().unwrap());
    assert_eq!(
        config.server.listen,
        [Listener {
            address: loopback,
            method: None,
            route: Route::Primary,
        }]
    );
    assert!(config.server.workers >= 1);
    assert_eq!(config.server.max_clients, 20_000);
    assert_eq!(config.server.login_timeout, Duration::from_secs(15));
    assert_eq!(config.server.tls.mode, ClientTlsMode::Disable);
    assert_eq!(
        config.auth,
        Auth {
            method: AuthMethod::ScramSha256,
            secret: None
        }
    );
    assert_eq!(
        config.log,
        Log {
            format: LogFormat::Text,
            level: "info".into(),
            slow: Duration::ZERO,
            statements: Statements::Hidden,
        }
    );
    assert!(config.clusters.is_empty() && config.tenants.is_empty());
}

#[test]
fn who_passes_clients_on_must_be_named() {
    let text = "[server]\nproxy_protocol = 'required'\nproxy_protocol_sources = ['10.0.0.0/8', '::1']\n\
                keepalive = '5m'";
    let server = parse(text).unwrap().server;
    assert_eq!(server.proxy_protocol.mode, ProxyMode::Required);
    assert_eq!(server.proxy_protocol.sources.len(), 2);
    assert_eq!(server.keepalive, Duration::from_secs(300));
    let defaults = parse("").unwrap().server;
    assert_eq!(defaults.proxy_protocol.mode, ProxyMode::Off);
    assert_eq!(defaults.keepalive, Duration::from_secs(60));
    assert!(
        parse("server.keepalive = '0s'")
            .unwrap()
            .server
            .keepalive
            .is_zero()
    );
    refused(&[
        (
            "[server]\nproxy_protocol = 'required'",
            "proxy.toml:2:18: server.proxy_protocol: needs `proxy_protocol_sources`: who else could \
             say where clients come from",
        ),
        (
            "[server]\nproxy_protocol_sources = ['10.0.0.1/8']",
            "proxy.toml:2:27: server.proxy_protocol_sources[0]: has host bits set; 10.0.0.0/8 is \
             meant?",
        ),
        (
            "[server]\nproxy_protocol = 'v1'",
            "proxy.toml:2:18: server.proxy_protocol: expected one of: off, required",
        ),
        (
            "[server]\nkeepalive = '500ms'",
            "proxy.toml:2:13: server.keepalive: must be 0s, or from 1s to 32767s",
        ),
        (
            "[server]\nproxy_protocol = 'required'\nproxy_protocol_sources = ['10.0.0.1']\n\
             [auth]\nmethod = 'trust'",
            "proxy.toml:5:10: auth.method: `trust` is for clients of this machine, and \
             `proxy_protocol` brings others to 127.0.0.1:6432",
        ),
    ]);
}

#[test]
fn everything_is_read() {
    let config = parse(
        "server = { listen = ['0.0.0.0:1', { address = 'unix:/t', method = 'md5' }], workers = 3, \
         max_clients = 0x10, login_timeout = '1s', drain_timeout = '0s', \
         tls.domain = 'DB.example.com.' }\n\
         auth = { secret = 'env:SET' }\nlog = { format = 'json', level = 'debug', slow = '200ms', statements = true }\n\
         pool = { mode = 'session', size = 1_000 }\n\
         [[cluster]]\nname = 'b'\nprimary = 'db'\n\
         [[cluster]]\nname = 'a'\nprimary = 'DB:5432'\nmax_connections = 5\ntls = 'disable'\n\
         [[tenant]]\nslug = 'z'\ncluster = 'b'\ndatabase = 'd'\nuser = 'u'\npassword = 'p'\n\
         status = 'paused'\npool = { size = 7, application_name = 'append' }\n\
         roles = [{ name = 'app', password = 'x' }]\nallowed_networks = ['10.0.0.0/8', '::1']\n\
         [[tenant]]\nslug = 'y'\ncluster = 'a'\ndatabase = 'e'\nuser = 'u'\n",
    )
    .unwrap();
    assert_eq!((config.server.workers, config.server.max_clients), (3, 16));
    assert_eq!(
        config.server.listen[1].address,
        ListenAddr::Unix("/t".into())
    );
    assert_eq!(config.server.listen[1].method, Some(AuthMethod::Md5));
    assert_eq!(config.server.tls.domain.as_deref(), Some("db.example.com"));
    assert_eq!(
        config.auth.secret.as_ref().map(|s| s.expose()),
        Some("from env")
    );
    assert_eq!(config.log.slow, Duration::from_millis(200));
    assert_eq!(config.log.statements, Statements::Shown);
    let names: Vec<&str> = config.clusters.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let budgets: Vec<usize> = config.clusters.iter().map(|c| c.max_connections).collect();
    assert_eq!(budgets, [5, 5], "they share a node: the smallest holds");
    let [y, z] = &config.tenants[..] else {
        panic!("two tenants, sorted")
    };
    assert_eq!(
        (y.slug.as_str(), y.pool.size, y.pool.mode),
        ("y", 1000, PoolMode::Session)
    );
    assert_eq!((z.pool.size, z.pool.mode), (7, PoolMode::Session));
    assert_eq!(z.pool.application_name, ApplicationName::Append);
    assert_eq!(
        (z.status, z.roles.len(), z.allowed_networks.len()),
        (TenantStatus::Paused, 1, 2)
    );
    let login = z.login.as_ref().unwrap();
    assert_eq!(login.password.as_ref().map(|p| p.expose()), Some("p"));
}

#[test]
fn errors_name_line_column_and_key() {
    refused(&[
        ("[server\n", "proxy.toml:1:8: unclosed table, expected `]`"),
        (
            "[server]\n\nmax_clients = 0",
            "proxy.toml:3:15: server.max_clients: must be at least 1",
        ),
        (
            "[pool]\nsize = -1",
            "proxy.toml:2:8: pool.size: must be at least 1",
        ),
        (
            "[pool]\nsize = 99999999999999999999",
            "proxy.toml:2:8: pool.size: must be at most 262143",
        ),
        (
            "[pool]\nsize = 'x'",
            "proxy.toml:2:8: pool.size: expected a whole number",
        ),
    ]);
    let text = format!(
        "{CLUSTER}{TENANT}pool = {{ size = 0 }}\nroles = [{{ name = 'a', passwort = 'x' }}]\n"
    );
    assert_eq!(
        parse(&text).unwrap_err(),
        "proxy.toml:9:17: tenant[0].pool.size: must be at least 1\n\
         proxy.toml:10:24: tenant[0].roles[0].passwort: unknown key; known here: name, password"
    );
}

#[test]
fn nul_is_refused_everywhere() {
    for text in [
        "[pool]\nconnect_query = \"a\\u0000\"",
        "[auth]\nsecret = \"a\\u0000\"",
    ] {
        assert!(
            parse(text)
                .unwrap_err()
                .ends_with("expected a text without NUL"),
            "{text}"
        );
    }
}

#[test]
fn names_must_be_unique_and_known() {
    let twice = format!("{CLUSTER}{CLUSTER}");
    let other = TENANT.replace("acme", "other");
    let cases = [
        (
            twice,
            "5:8: cluster[1].name: there are two clusters named `main`",
        ),
        (
            TENANT.to_owned(),
            "3:11: tenant[0].cluster: there is no cluster `main`",
        ),
        (
            format!("{CLUSTER}{TENANT}{}", TENANT.replace("'a'", "'b'")),
            "10:8: tenant[1].slug: there are two tenants named `acme`",
        ),
        (
            format!("{CLUSTER}{TENANT}{other}"),
            "12:12: tenant[1].database: tenant `acme` has the same database on the same node",
        ),
        (
            format!(
                "{CLUSTER}{TENANT}roles = [{{ name = 'r', password = 'x' }}, {{ name = 'r', password = 'x' }}]"
            ),
            "9:51: tenant[0].roles[1].name: there are two roles named `r`",
        ),
        (
            format!("{CLUSTER}{}", TENANT.replace("acme", "Acme")),
            "5:8: tenant[0].slug: a slug is 1 to 56 of a-z, 0-9, '_' and '-', and starts with a letter or digit",
        ),
        (
            "[[tenant]]\nslug = 'a'\ncluster = 'm'\n[[cluster]]\nname = 'm'\nprimary = 'h'".into(),
            "1:1: tenant[0].database: is missing",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(
            parse(&text).unwrap_err(),
            format!("proxy.toml:{expected}"),
            "in:\n{text}"
        );
    }
}

#[test]
fn a_mistake_in_a_cluster_does_not_make_its_name_dangle() {
    let text = format!("{}{TENANT}", CLUSTER.replace("db:5432", ":"));
    let message = parse(&text).unwrap_err();
    assert_eq!(
        message,
        "proxy.toml:3:11: cluster[0].primary: expected HOST:PORT, [IPV6]:PORT or /DIR:PORT"
    );
}

#[test]
fn contradictions_are_refused() {
    refused(&[
        (
            "[server]\nlisten = []",
            "proxy.toml:2:10: server.listen: names no address: nobody could connect",
        ),
        (
            "[server]\nlisten = ['*:1', '*:1']",
            "proxy.toml:2:18: server.listen[1]: this address is named twice",
        ),
        (
            "[pool]\nmin_size = 21",
            "proxy.toml:2:12: pool.min_size: min_size (21) must not exceed size (20)",
        ),
        (
            "[pool]\nacquire_timeout = '0s'",
            "proxy.toml:2:19: pool.acquire_timeout: must be longer than 0s",
        ),
        (
            "[server.tls]\nmode = 'allow'",
            "proxy.toml:2:8: server.tls.mode: needs `certificate` and `private_key`",
        ),
        (
            "[server]\nlisten = ['0.0.0.0:1']\n[auth]\nmethod = 'trust'",
            "proxy.toml:4:10: auth.method: `trust` is for loopback and Unix sockets only, and 0.0.0.0:1 is neither",
        ),
        (
            "[server]\nlisten = [{ address = '10.0.0.1:1', method = 'trust' }]",
            "proxy.toml:2:11: server.listen[0]: `trust` is for loopback and Unix sockets only, and 10.0.0.1:1 is neither",
        ),
        (
            "[auth]\nmethod = 'cert'",
            "proxy.toml:2:10: auth.method: `cert` needs TLS: `certificate`, `private_key` and `client_ca` in [server.tls]",
        ),
        (
            "[server]\nlisten = [{ address = 'unix:/t', method = 'cert' }]",
            "proxy.toml:2:11: server.listen[0]: `cert` needs TLS, which clients do not use over Unix sockets",
        ),
    ]);
    assert!(
        parse("[server]\nlisten = ['127.0.0.9:1', '[::1]:1', 'unix:/t']\n[auth]\nmethod = 'trust'")
            .is_ok()
    );
}

#[test]
fn files_must_be_there_and_come_in_pairs() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["crt", "key", "ca"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    let path = folder.path().join("proxy.toml");
    let parse = |text: &str| super::parse(text, &path, &|_| None);
    let message = |text: &str| {
        parse(text)
            .unwrap_err()
            .iter()
            .map(|e| format!("{}: {}", e.path, e.message))
            .collect::<Vec<_>>()
    };
    let tls =
        |rest: &str| format!("[server.tls]\ncertificate = 'crt'\nprivate_key = 'key'\n{rest}");
    let config = parse(&tls("")).unwrap().server.tls;
    assert_eq!(config.mode, ClientTlsMode::Allow);
    assert_eq!(config.certificate, Some(folder.path().join("crt")));
    assert_eq!(
        parse(&tls("mode = 'disable'")).unwrap().server.tls.mode,
        ClientTlsMode::Disable
    );
    assert!(
        parse(&tls(
            "mode = 'verify-client'\nclient_ca = 'ca'\n[auth]\nmethod = 'cert'"
        ))
        .is_ok()
    );
    assert_eq!(
        message(&tls("mode = 'verify-client'")),
        ["server.tls.mode: needs `client_ca`: it says whose client certificates are good"]
    );
    assert_eq!(
        message(&tls("crl = 'ca'")),
        ["server.tls.crl: needs `client_ca`: it revokes client certificates"]
    );
    assert_eq!(
        message("[server.tls]\ncertificate = 'crt'"),
        ["server.tls.certificate: needs `private_key` beside it"]
    );
    assert_eq!(
        message("[server.tls]\nprivate_key = 'key'"),
        ["server.tls.private_key: needs `certificate` beside it"]
    );
    let missing = message(&tls("client_ca = 'none'"));
    assert!(
        missing[0].starts_with("server.tls.client_ca: cannot read "),
        "{missing:?}"
    );
    let cluster = format!("{CLUSTER}tls_certificate = 'crt'\n");
    assert_eq!(
        message(&cluster),
        ["cluster[0].tls_certificate: needs `tls_key` beside it"]
    );
    assert_eq!(
        message(&cluster.replace("tls_certificate", "tls_key")),
        ["cluster[0].tls_key: needs `tls_certificate` beside it"]
    );
}

#[test]
fn secrets_come_from_text_environment_and_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s"), "from file \r\n").unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    let path = folder.path().join("proxy.toml");
    let parse = |secret: &str| super::parse(&format!("auth.secret = '{secret}'"), &path, &|_| None);
    let secret = parse("file:s").unwrap().auth.secret.unwrap();
    assert_eq!(secret.expose(), "from file ");
    for bad in ["file:none", "file:empty", "env:NOT_SET", ""] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
    refused(&[(
        "auth.secret = 'env:X'",
        "proxy.toml:1:15: auth.secret: the environment variable `X` is not set",
    )]);
}

#[test]
fn errors_show_no_secret() {
    let text = format!(
        "auth.secret = 'hunter2\\\n{CLUSTER}{TENANT}password = 7\nroles = [{{ name = 'r', password = 'SCRAM-SHA-256$hunter2' }}]"
    );
    for text in [
        text.as_str(),
        &text.replace("2\\\n", "2'\n"),
        &text.replace("primary = 'db:5432'", "primary = 'u:hunter2@h'"),
    ] {
        assert!(!parse(text).unwrap_err().contains("hunter2"), "{text}");
    }
}

/// One tenant with these keys, below `[auth] method`.
fn tenant_with(method: &str, login: &str, password: Option<&str>) -> String {
    let tenant = TENANT.replace("user = 'u'\n", login);
    let password = password
        .map(|p| format!(", password = '{p}'"))
        .unwrap_or_default();
    format!("auth.method = '{method}'\n{CLUSTER}{tenant}roles = [{{ name = 'app'{password} }}]")
}

#[test]
fn http_is_off_unless_it_has_an_address() {
    let http = |line: &str| parse(&format!("[server]\n{line}")).map(|c| c.server.http);
    assert_eq!((http(""), http("http = ''")), (Ok(None), Ok(None)));
    let address = "127.0.0.1:9432".parse().ok();
    assert_eq!(http("http = 'localhost:9432'"), Ok(address));
    refused(&[
        (
            "[server]\nhttp = 'unix:/t'",
            "proxy.toml:2:8: server.http: expected IP:PORT, [IPV6]:PORT or *:PORT (all IPv4 addresses)",
        ),
        (
            "[server]\nhttp = '127.0.0.1:6432'",
            "proxy.toml:2:8: server.http: is the address of a listener for clients, too",
        ),
    ]);
}

#[test]
fn each_role_can_log_in() {
    let stored = "user = 'u'\n";
    for (method, password) in [
        ("scram-sha-256", Some(SCRAM)),
        ("scram-sha-256", Some("plain")),
        ("md5", Some(MD5)),
        ("md5", Some("plain")),
        ("trust", None),
    ] {
        let text = tenant_with(method, stored, password);
        assert!(parse(&text).is_ok(), "{text}: {:?}", parse(&text));
    }
    for (method, password, has) in [
        ("scram-sha-256", Some(MD5), "an md5 verifier"),
        ("scram-sha-256", None, "no password"),
        ("md5", Some(SCRAM), "a SCRAM verifier"),
        ("md5", None, "no password"),
    ] {
        let message = parse(&tenant_with(method, stored, password)).unwrap_err();
        let expected =
            format!("tenant[0].roles[0]: role `app` has {has} and cannot log in by {method}");
        assert!(message.ends_with(&expected), "{message}");
    }
    let both = "server.listen = [{ address = '*:1', method = 'md5' }, '*:2']\n";
    let text = tenant_with("scram-sha-256", stored, Some(MD5));
    assert!(
        parse(&format!("{both}{text}")).is_ok(),
        "one of the listeners takes it"
    );
}

#[test]
fn without_stored_credentials_clients_must_use_scram() {
    assert!(parse(&tenant_with("scram-sha-256", "", Some(SCRAM))).is_ok());
    assert!(parse(&tenant_with("scram-sha-256", "", Some("plain"))).is_ok());
    for method in ["md5", "trust"] {
        let message = parse(&tenant_with(method, "", Some("plain"))).unwrap_err();
        assert!(
            message.contains("tenant[0]: needs `user` and `password`"),
            "{message}"
        );
    }
    let message = parse(&tenant_with("md5", "password = 'p'\n", Some("plain"))).unwrap_err();
    assert!(
        message.contains("tenant[0].password: needs `user` beside it"),
        "{message}"
    );
}

#[test]
fn a_replica_that_clusters_share_gives_the_smaller_number() {
    let config = parse(
        "[[cluster]]\nname = 'a'\nprimary = 'p'\nreplicas = ['r', { address = 's', weight = 3 }]\n\
         [[cluster]]\nname = 'b'\nprimary = 'q'\nreplicas = ['r']\nmax_connections = 7",
    )
    .unwrap();
    let named: Vec<(String, usize)> = config
        .budgets()
        .into_iter()
        .map(|(node, budget)| (node.to_string(), budget))
        .collect();
    let named: Vec<(&str, usize)> = named.iter().map(|(n, b)| (n.as_str(), *b)).collect();
    let expected = [("p:5432", 90), ("q:5432", 7), ("r:5432", 7), ("s:5432", 90)];
    assert_eq!(named, expected);
    let twice = "[[cluster]]\nname = 'a'\nprimary = 'p'\nreplicas = ['r', 'p']";
    let message = parse(twice).unwrap_err();
    assert!(
        message.contains("replicas[1]: this node is named twice"),
        "{message}"
    );
}

#[test]
fn a_monitor_is_a_user_with_a_database_and_no_more_is_told_of_it() {
    let cluster = |url: &str| {
        let text = format!("[[cluster]]\nname = 'a'\nprimary = 'p'\nmonitor_url = '{url}'");
        parse(&text).map(|config| config.clusters[0].monitor.clone().unwrap())
    };
    let monitor = cluster("postgres://watch:secret@/postgres").unwrap();
    assert_eq!(
        (monitor.role.as_str(), monitor.database.as_str()),
        ("watch", "postgres")
    );
    assert_eq!(monitor.password.unwrap().expose(), "secret");
    assert_eq!(cluster("user=watch").unwrap().database.as_str(), "postgres");
    for wrong in ["host=secret", "postgres://secret:secret@:x/"] {
        let message = cluster(wrong).unwrap_err();
        assert!(!message.contains("secret"), "{message}");
    }
}
