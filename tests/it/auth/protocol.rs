//! Versions of the protocol and its options.

use super::client::{GSS_REQUEST, Wire};
use super::login::{End, Login, log_in, packet};
use super::world::{Method, PASSWORD, proxy};

/// The body of NegotiateProtocolVersion.
fn negotiation(minor: u16, options: &[&str]) -> Vec<u8> {
    let mut body = vec![0, 3];
    body.extend(minor.to_be_bytes());
    body.extend(u32::try_from(options.len()).unwrap().to_be_bytes());
    for option in options {
        body.extend(option.as_bytes());
        body.push(0);
    }
    body
}

#[test]
fn minor_versions_and_unknown_options_are_negotiated() {
    let unknown = ["_pq_.one", "_pq_.two"];
    for (minor, options, wanted) in [
        (0, &[][..], None),
        (2, &[], None),
        (1, &[], Some(negotiation(0, &[]))),
        (9, &[], Some(negotiation(2, &[]))),
        (0, &unknown[..], Some(negotiation(0, &unknown))),
        (2, &unknown, Some(negotiation(2, &unknown))),
        (9999, &unknown, Some(negotiation(2, &unknown))),
    ] {
        let mut login = Login::new("app.acme", PASSWORD).minor(minor);
        for option in options {
            login = login.parameter(option, "value");
        }
        let mut attempt = proxy().plain(&login);
        assert_eq!(
            attempt.current_database(),
            "tenant_acme",
            "3.{minor} {options:?}"
        );
        let said: Vec<_> = attempt
            .of_type(b'v')
            .iter()
            .map(|m| m.body.clone())
            .collect();
        assert_eq!(said, Vec::from_iter(wanted), "3.{minor} {options:?}");
        let key = attempt.of_type(b'K')[0].body.len() - 4;
        let long = minor >= 2;
        assert!(
            if long {
                (5..=256).contains(&key)
            } else {
                key == 4
            },
            "3.{minor}: {key}"
        );
    }
}

#[test]
fn other_protocols_are_refused() {
    for version in [[0, 2, 0, 0], [0, 4, 0, 0], [0xff, 0xff, 0, 0]] {
        let mut wire = Wire::plain(proxy().tcp(Method::Scram)).unwrap();
        wire.send(&packet(&[&version[..], b"user\0app.acme\0\0"].concat()))
            .unwrap();
        let rest = wire.rest();
        let text = String::from_utf8_lossy(&rest);
        assert!(
            text.contains("C0A000\0") && text.contains("3.0 to 3.2"),
            "{text}"
        );
    }
    let login = Login::new("app.acme", PASSWORD).parameter("replication", "true");
    let refused = proxy().plain(&login);
    assert_eq!(
        (refused.end, refused.refusal().0.as_str()),
        (End::Refused, "0A000")
    );
}

#[test]
fn gssapi_is_refused_politely_and_the_login_goes_on() {
    let mut wire = Wire::plain(proxy().tcp(Method::Scram)).unwrap();
    wire.send(&GSS_REQUEST).unwrap();
    assert_eq!(wire.byte(), b'N');
    let mut attempt = log_in(wire, &Login::new("app.acme", PASSWORD)).unwrap();
    assert_eq!(attempt.current_database(), "tenant_acme");
}
