//! The other side: how the proxy signs in at PostgreSQL, with each TLS mode, method and kind of
//! login, and what the client reads that waited for it.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, OnceLock};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tenantry::app::App;
use tenantry::demo::cluster::Cluster;

use super::client::{Address, Wire};
use super::login::{Attempt, End, Login, log_in};
use super::world::{PASSWORD, sql, start_one, tls, world};

const MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];
const METHODS: [&str; 5] = ["trust", "password", "md5", "scram", "cert"];

const WHO: &str = "SELECT current_user || ' ' || current_database() || ' ' || ssl::text \
                   FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// A `[[cluster]]`.
fn cluster(host: &str, port: u16, mode: &str, more: &str) -> String {
    format!(
        "[pool]\nsize = 1\n[[cluster]]\nname = \"main\"\nprimary = \"{host}:{port}\"\n\
         max_connections = 20\ntls = \"{mode}\"\n{more}\n"
    )
}

/// `key = "path"` of a certificate's file.
fn file(key: &str, name: &str) -> String {
    format!("{key} = \"{}\"\n", world().pki.file(name).display())
}

/// A tenant whose login at the server is stored.
fn stored(slug: &str, database: &str, user: &str, password: &str) -> String {
    format!(
        "[[tenant]]\nslug = \"{slug}\"\ncluster = \"main\"\ndatabase = \"{database}\"\n\
         user = \"{user}\"\npassword = \"{password}\"\n\
         roles = [{{ name = \"app\", password = \"{PASSWORD}\" }}]\n"
    )
}

/// The tenant `own`: clients' own names and keys.
fn own(roles: &[(&str, &str)]) -> String {
    let roles: Vec<String> = roles
        .iter()
        .map(|(name, password)| format!("{{ name = \"{name}\", password = \"{password}\" }}"))
        .collect();
    format!(
        "[[tenant]]\nslug = \"own\"\ncluster = \"main\"\ndatabase = \"db_own\"\nroles = [{}]\n",
        roles.join(", ")
    )
}

const SHORT_WAIT: &str = "size = 1\nacquire_timeout = \"500ms\"";

fn verifier_of(role: &str) -> String {
    sql(&format!(
        "SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'"
    ))
}

fn attempt(address: &Address, user: &str) -> Attempt {
    let wire = Wire::plain(address).unwrap();
    log_in(wire, &Login::new(user, PASSWORD)).unwrap()
}

/// What the client reads, at its login or for its first query: the answer, or the refusal.
fn told(address: &Address, user: &str) -> Result<String, (String, String, String)> {
    let mut attempt = attempt(address, user);
    match attempt.end {
        End::Ready => attempt.query(WHO),
        End::Refused | End::Closed => Err(attempt.refusal()),
    }
}

/// The refusal speaks of the server, says what to do, and is no failed login of the client's.
fn assert_lost(got: &Result<String, (String, String, String)>, text: &str, what: &str) {
    let Err((code, message, hint)) = got else {
        panic!("{what}: it got in: {got:?}");
    };
    assert_eq!(code, "08006", "{what}: {message}");
    assert!(message.contains(text), "{what}: {message}");
    assert!(!hint.is_empty(), "{what}: {message}");
}

fn every_method(mode: &str) -> (App, Address) {
    let identity = file("tls_certificate", "cert.crt") + &file("tls_key", "cert.key");
    let ca = file("tls_ca", "ca.crt");
    let mut text = cluster(
        "localhost",
        world().postgres.port(),
        mode,
        &(identity + &ca),
    );
    for method in METHODS {
        text += &stored(method, &format!("db_{method}"), method, PASSWORD);
    }
    text += &own(&[
        ("own_trust", PASSWORD),
        ("own_password", PASSWORD),
        ("own_md5", PASSWORD),
        ("own_scram", &verifier_of("own_scram")),
        ("cert", PASSWORD),
    ]);
    start_one(&text)
}

/// Every method with stored credentials and with the client's own key.
fn signs_in(mode: &str) {
    let (_app, address) = every_method(mode);
    let ssl = mode != "disable";
    for method in METHODS {
        let got = told(&address, &format!("app.{method}"));
        if method == "cert" && !ssl {
            assert_lost(&got, "server login failed", mode);
        } else {
            assert_eq!(
                got,
                Ok(format!("{method} db_{method} {ssl}")),
                "{mode} {method}"
            );
        }
    }
    for method in METHODS {
        let role = if method == "cert" {
            "cert".to_owned()
        } else {
            format!("own_{method}")
        };
        let got = told(&address, &format!("{role}.own"));
        let asks_for_more = ["password", "md5"].contains(&method);
        if asks_for_more || (method == "cert" && !ssl) {
            assert_lost(&got, "server login failed", &format!("{mode} {role}"));
        } else {
            assert_eq!(got, Ok(format!("{role} db_own {ssl}")), "{mode} {role}");
        }
    }
}

#[test]
fn every_method_signs_in_with_tls_disabled() {
    signs_in(MODES[0]);
}

#[test]
fn every_method_signs_in_with_tls_preferred() {
    signs_in(MODES[1]);
}

#[test]
fn every_method_signs_in_with_tls_required() {
    signs_in(MODES[2]);
}

#[test]
fn every_method_signs_in_with_the_chain_verified() {
    signs_in(MODES[3]);
}

#[test]
fn every_method_signs_in_with_chain_and_name_verified() {
    signs_in(MODES[4]);
}

/// What a client of `app.scram` is told by a proxy with this `[[cluster]]`.
fn by_cluster(
    host: &str,
    port: u16,
    mode: &str,
    more: &str,
) -> Result<String, (String, String, String)> {
    let text = cluster(host, port, mode, more) + &stored("scram", "db_scram", "scram", PASSWORD);
    let (_app, address) = start_one(&text);
    told(&address, "app.scram")
}

#[test]
fn certificates_that_do_not_hold_are_refused() {
    let port = world().postgres.port();
    let (ours, other) = (file("tls_ca", "ca.crt"), file("tls_ca", "other_ca.crt"));
    for (host, mode, ca, gets_in) in [
        ("127.0.0.1", "verify-full", &ours, false),
        ("127.0.0.1", "verify-ca", &ours, true),
        ("localhost", "verify-full", &other, false),
        ("localhost", "verify-ca", &other, false),
        ("localhost", "require", &other, false),
        ("localhost", "verify-full", &String::new(), false),
        ("localhost", "require", &String::new(), true),
        ("localhost", "disable", &other, true),
    ] {
        let got = by_cluster(host, port, mode, ca);
        let what = format!("{host} {mode} {ca}");
        if gets_in {
            assert_eq!(
                got,
                Ok(format!("scram db_scram {}", mode != "disable")),
                "{what}"
            );
        } else {
            assert_lost(&got, "TLS", &what);
        }
    }
}

/// A server without TLS.
fn bare() -> &'static Cluster {
    static BARE: OnceLock<Cluster> = OnceLock::new();
    BARE.get_or_init(|| {
        let postgres = Cluster::builder().start().expect("PostgreSQL starts");
        let mut sql = String::new();
        let _infallible = write!(
            sql,
            "CREATE ROLE scram LOGIN PASSWORD '{PASSWORD}'; CREATE DATABASE db_scram;"
        );
        postgres
            .psql("postgres", &sql.replace("; ", ";\n"))
            .expect("it is set up");
        postgres
    })
}

#[test]
fn a_server_without_tls_serves_those_who_do_not_insist() {
    let (port, ca) = (bare().port(), file("tls_ca", "ca.crt"));
    for mode in MODES {
        let got = by_cluster("localhost", port, mode, &ca);
        if ["disable", "prefer"].contains(&mode) {
            assert_eq!(got, Ok("scram db_scram false".to_owned()), "{mode}");
        } else {
            assert_lost(&got, "TLS", mode);
        }
    }
}

#[test]
fn a_failed_login_of_the_proxy_is_no_failed_login_of_the_client() {
    let mut text = cluster("127.0.0.1", world().postgres.port(), "prefer", "");
    for method in ["password", "md5", "scram"] {
        text += &stored(method, &format!("db_{method}"), method, "not the password");
    }
    text += &stored("cert", "db_cert", "cert", "no certificate is configured");
    text += &stored("gone", "db_trust", "a_role_that_is_not_there", PASSWORD);
    text += &stored("nowhere", "db_nowhere", "trust", PASSWORD);
    // A verifier of the proxy's own making is not the one that the server has.
    text += &own(&[
        ("own_scram", PASSWORD),
        ("scram", &verifier_of("own_scram")),
    ]);
    let (_app, address) = start_one(&text);
    for user in [
        "app.password",
        "app.md5",
        "app.scram",
        "app.cert",
        "app.gone",
        "own_scram.own",
        "scram.own",
    ] {
        for tried in ["first", "second"] {
            let got = told(&address, user);
            assert_lost(&got, "server login failed", &format!("{user}, {tried}"));
        }
    }
    let refusal = told(&address, "app.nowhere").unwrap_err();
    assert_eq!(
        refusal.0, "3D000",
        "the server's own reason passes: {refusal:?}"
    );
    // Nothing of this lets anybody in who has no password.
    let wrong = Login::new("app.scram", "not the password");
    assert!(
        log_in(Wire::plain(&address).unwrap(), &wrong)
            .unwrap()
            .is_login_failure()
    );
}

#[test]
fn a_server_that_is_down_is_told_as_such() {
    let port = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    // It is tried again until then.
    let text = cluster("127.0.0.1", port, "prefer", "").replace("size = 1", SHORT_WAIT);
    let (_app, address) = start_one(&(text + &stored("scram", "db_scram", "scram", PASSWORD)));
    let got = told(&address, "app.scram");
    assert_lost(&got, "refused", "nobody listens");
    assert!(got.unwrap_err().2.contains("may be down"));
}

/// Between proxy and server: ends TLS on both sides, and passes on what each says in turn.
fn man_in_the_middle(certificate: &str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let pki = &world().pki;
    let chain = CertificateDer::from_pem_file(pki.file(&format!("{certificate}.crt"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(pki.file(&format!("{certificate}.key"))).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let config = Arc::new(builder.with_single_cert(vec![chain], key).unwrap());
    let postgres = Address::Tcp(([127, 0, 0, 1], world().postgres.port()).into());
    std::thread::spawn(move || {
        let (mut victim, _) = listener.accept().unwrap();
        victim.read_exact(&mut [0; 8]).unwrap();
        victim.write_all(b"S").unwrap();
        let connection = ServerConnection::new(config).unwrap();
        let mut victim = StreamOwned::new(connection, victim);
        let mut server = Wire::secure(&postgres, &tls("localhost")).unwrap();
        let mut buffer = [0; 8192];
        // Up to the end of the login the two speak in turns.
        while let Ok(n @ 1..) = victim.read(&mut buffer) {
            server.send(&buffer[..n]).unwrap();
            let n = server.some(&mut buffer);
            if n == 0
                || victim
                    .write_all(&buffer[..n])
                    .and_then(|()| victim.flush())
                    .is_err()
            {
                return;
            }
        }
    });
    port
}

#[test]
fn channel_binding_finds_a_man_in_the_middle_whose_certificate_is_good() {
    // The same CA has signed the certificate: `verify-ca` is content with it.
    let port = man_in_the_middle("proxy");
    let got = by_cluster("127.0.0.1", port, "verify-ca", &file("tls_ca", "ca.crt"));
    assert_lost(&got, "SCRAM channel binding check failed", "in the middle");
    // With the server's own certificate, stolen, there is nothing to see: it is the man's method.
    let port = man_in_the_middle("postgres");
    let got = by_cluster("127.0.0.1", port, "verify-ca", &file("tls_ca", "ca.crt"));
    assert_eq!(got, Ok("scram db_scram true".to_owned()));
}
