//! Methods of authentication over each transport, with each client certificate.

use super::client::{Address, Begin, Tls, Wire};
use super::login::{Attempt, Binding, End, Login, log_in};
use super::world::{Method, Mode, PASSWORD, Proxy, proxy, tls, world};

/// How a client connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Unix,
    Tls(Begin, Option<&'static str>),
}

/// What should become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// It gets in and reaches its database.
    In,
    /// 28P01.
    Login,
    /// 28000, TLS is required.
    TlsRequired,
    /// The answer to SSLRequest is N.
    NoTls,
    /// The connection ends without a message.
    Closed,
}

const BEGINNINGS: [Begin; 4] = [
    Begin::Asked,
    Begin::AskedAfterGss,
    Begin::Direct,
    Begin::DirectWithoutAlpn,
];

const IDENTITIES: [Option<&str>; 6] = [
    None,
    Some("app.acme"),
    Some("san"),
    Some("app.globex"),
    Some("foreign"),
    Some("revoked"),
];

fn ways() -> Vec<Way> {
    let tls = BEGINNINGS
        .into_iter()
        .flat_map(|b| IDENTITIES.map(|i| Way::Tls(b, i)));
    [Way::Plain, Way::Unix].into_iter().chain(tls).collect()
}

/// The rules of the documentation, in the order in which they apply.
fn expected(mode: Mode, method: Method, way: Way) -> Expected {
    let identity = match way {
        Way::Unix => return Expected::In,
        Way::Plain if matches!(mode, Mode::Require | Mode::VerifyClient) => {
            return Expected::TlsRequired;
        }
        Way::Plain => None,
        Way::Tls(Begin::Asked | Begin::AskedAfterGss, _) if mode == Mode::Disable => {
            return Expected::NoTls;
        }
        Way::Tls(..) if mode == Mode::Disable => return Expected::Closed,
        Way::Tls(_, Some("foreign" | "revoked")) => return Expected::Closed,
        Way::Tls(_, None) if mode == Mode::VerifyClient => return Expected::Closed,
        Way::Tls(Begin::DirectWithoutAlpn, _) => return Expected::Closed,
        Way::Tls(_, identity) => identity,
    };
    match (method, identity) {
        (Method::Scram | Method::Md5 | Method::Trust, _)
        | (Method::Cert, Some("app.acme" | "san")) => Expected::In,
        (Method::Cert, _) => Expected::Login,
    }
}

fn attempt(proxy: &Proxy, method: Method, way: Way, login: &Login<'_>) -> Option<Attempt> {
    let wire = match way {
        Way::Plain => Wire::plain(proxy.tcp(method)),
        Way::Unix => Wire::plain(proxy.unix(method)?),
        Way::Tls(begin, identity) => {
            let tls = Tls {
                begin,
                identity,
                ..tls("db.test")
            };
            Wire::secure(proxy.tcp(method), &tls)
        }
    };
    Some(log_in(wire.ok()?, login).expect("an answer or the end"))
}

fn outcome(proxy: &Proxy, method: Method, way: Way) -> Expected {
    let login = Login::new("app.acme", PASSWORD);
    let Some(mut attempt) = attempt(proxy, method, way, &login) else {
        let asked = matches!(way, Way::Tls(Begin::Asked | Begin::AskedAfterGss, _));
        let refused = asked && is_answered_no(proxy.tcp(method));
        return if refused {
            Expected::NoTls
        } else {
            Expected::Closed
        };
    };
    match attempt.end {
        End::Ready => {
            assert_eq!(attempt.current_database(), "tenant_acme");
            Expected::In
        }
        End::Closed => Expected::Closed,
        End::Refused => match attempt.refusal().0.as_str() {
            "28P01" => Expected::Login,
            "28000" => Expected::TlsRequired,
            other => panic!("refused by {other}"),
        },
    }
}

fn is_answered_no(address: &Address) -> bool {
    let asked = Wire::secure(address, &tls("db.test"));
    asked.is_err_and(|e| e.kind() == std::io::ErrorKind::Unsupported)
}

fn every_way_in(mode: Mode) {
    let proxy = Proxy::start(mode, "secret = \"salts\"", "");
    let mut wrong = Vec::new();
    for method in Method::ALL {
        let absent = method == Method::Cert && mode == Mode::Disable;
        for way in ways() {
            if absent || (method == Method::Cert && way == Way::Unix) {
                continue;
            }
            let (got, wanted) = (outcome(&proxy, method, way), expected(mode, method, way));
            if got != wanted {
                wrong.push(format!("{method:?} by {way:?}: {got:?}, not {wanted:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{mode:?}: {wrong:#?}");
}

#[test]
fn every_method_where_tls_is_disabled() {
    every_way_in(Mode::Disable);
}

#[test]
fn every_method_where_tls_is_allowed() {
    every_way_in(Mode::Allow);
}

#[test]
fn every_method_where_tls_is_required() {
    every_way_in(Mode::Require);
}

#[test]
fn every_method_where_clients_must_show_a_certificate() {
    every_way_in(Mode::VerifyClient);
}

#[test]
fn scram_binds_the_login_to_the_certificate() {
    let secure = |binding| {
        let login = Login::new("app.acme", PASSWORD).binding(binding);
        proxy()
            .secure(Method::Scram, &tls("db.test"), &login)
            .expect("it answers")
    };
    let mut bound = secure(Binding::Best);
    assert_eq!(bound.current_database(), "tenant_acme");
    let offered = |attempt: &Attempt| attempt.said[0].body[4..].to_vec();
    assert_eq!(offered(&bound), b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    assert_eq!(secure(Binding::Cannot).current_database(), "tenant_acme");
    for (binding, code) in [
        (Binding::SaysServerCannot, "28000"),
        (Binding::Wrong, "28000"),
    ] {
        assert_eq!(secure(binding).refusal().0, code, "{binding:?}");
    }
}

#[test]
fn without_tls_nothing_can_be_bound() {
    let plain = |binding| proxy().plain(&Login::new("app.acme", PASSWORD).binding(binding));
    let mut good = plain(Binding::SaysServerCannot);
    assert_eq!(good.current_database(), "tenant_acme");
    assert_eq!(good.said[0].body[4..], *b"SCRAM-SHA-256\0\0");
    assert_eq!(plain(Binding::NotOffered).refusal().0, "08P01");
}

#[test]
fn stored_verifiers_serve_their_own_method_only() {
    for (method, user, gets_in) in [
        (Method::Scram, "verified", true),
        (Method::Md5, "verified", false),
        (Method::Md5, "old", true),
        (Method::Scram, "old", false),
        (Method::Scram, "nothing", false),
        (Method::Md5, "nothing", false),
        (Method::Trust, "nothing", true),
    ] {
        let login = Login::new(user, PASSWORD).database("acme");
        for address in [Some(proxy().tcp(method)), proxy().unix(method)]
            .into_iter()
            .flatten()
        {
            let wire = Wire::plain(address).expect("it accepts");
            let mut attempt = log_in(wire, &login).expect("it answers");
            if gets_in {
                assert_eq!(
                    attempt.current_database(),
                    "tenant_acme",
                    "{method:?} {user}"
                );
            } else {
                assert!(attempt.is_login_failure(), "{method:?} {user}");
            }
        }
    }
}

/// The client hashes with the name that it sends, the verifier was made with the role's.
#[test]
fn a_stored_md5_verifier_takes_the_plain_name_only() {
    let wire = Wire::plain(proxy().tcp(Method::Md5)).unwrap();
    let suffixed = log_in(wire, &Login::new("old.acme", PASSWORD)).unwrap();
    assert!(suffixed.is_login_failure());
}

#[test]
fn a_password_that_is_not_the_roles_own_lets_nobody_in() {
    for method in [Method::Scram, Method::Md5] {
        for password in [
            "",
            "pencil",
            &format!("{PASSWORD} "),
            "a password of nobody",
        ] {
            let login = Login::new("app.acme", password);
            let wire = Wire::plain(proxy().tcp(method)).expect("it accepts");
            let attempt = log_in(wire, &login).expect("it answers");
            assert!(attempt.is_login_failure(), "{method:?} with {password:?}");
        }
    }
}

#[test]
fn a_certificate_must_fit_what_the_startup_says() {
    let shown = |identity, login: &Login<'_>| {
        let tls = Tls {
            identity: Some(identity),
            ..tls("db.test")
        };
        proxy()
            .secure(Method::Cert, &tls, login)
            .expect("it answers")
    };
    for login in [
        Login::new("app.acme", ""),
        Login::new("app", "").database("acme"),
        Login::new("app", "").options("-c tenant=acme"),
    ] {
        assert_eq!(shown("app.acme", &login).current_database(), "tenant_acme");
        assert!(shown("app.globex", &login).is_login_failure());
    }
    for user in ["verified.acme", "app.globex", "app.nobody", "app"] {
        assert!(
            shown("app.acme", &Login::new(user, "")).is_login_failure(),
            "{user}"
        );
    }
    assert!(world().pki.file("app.acme.crt").exists());
}
