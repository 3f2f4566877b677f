//! Byte-level tests of the first packets: a table of good and bad ones, then properties.

use proptest::prelude::*;

use super::*;

fn body(version: [u8; 4], pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_vec();
    for (name, value) in pairs {
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        body.extend_from_slice(value.as_bytes());
        body.push(0);
    }
    body.push(0);
    body
}

const V3_0: [u8; 4] = [0, 3, 0, 0];

fn started(pairs: &[(&str, &str)]) -> Result<Startup, StartupError> {
    match decode(&body(V3_0, pairs))? {
        FirstPacket::Startup(startup) => Ok(startup),
        other => panic!("no startup: {other:?}"),
    }
}

#[test]
fn length_field_is_bounded_before_anything_is_read() {
    for (total, body) in [(8, 4), (9, 5), (10_004, 10_000)] {
        assert_eq!(body_length(u32::to_be_bytes(total)), Ok(body));
    }
    for total in [0, 1, 4, 7, 10_005, 1 << 31, u32::MAX] {
        assert_eq!(
            body_length(u32::to_be_bytes(total)),
            Err(StartupError::Length),
            "{total}"
        );
    }
}

#[test]
fn requests_for_encryption() {
    assert_eq!(decode(&[4, 210, 22, 47]), Ok(FirstPacket::SslRequest));
    assert_eq!(decode(&[4, 210, 22, 48]), Ok(FirstPacket::GssRequest));
    assert_eq!(decode(&[4, 210, 22, 47, 0]), Err(StartupError::Length));
}

#[test]
fn cancel_keys_have_4_to_256_bytes() {
    let packet = |key: usize| [&[4, 210, 22, 46, 0, 0, 0, 7][..], &vec![9; key]].concat();
    for key in [4, 32, 256] {
        let expected = CancelRequest {
            process_id: 7,
            key: vec![9; key],
        };
        assert_eq!(decode(&packet(key)), Ok(FirstPacket::Cancel(expected)));
    }
    for key in [0, 3, 257, 9_000] {
        assert_eq!(decode(&packet(key)), Err(StartupError::CancelKey));
    }
    assert_eq!(
        decode(&[4, 210, 22, 46, 0, 0]),
        Err(StartupError::CancelKey)
    );
}

#[test]
fn parameters_override_options_and_the_tenant_is_taken_out() {
    let found = started(&[
        ("user", "app"),
        ("TimeZone", "UTC"),
        (
            "options",
            r"-c tenant=acme -c search_path=a,\ b --TimeZone=CET",
        ),
        ("database", "db"),
        ("replication", "OFF"),
        ("tenant", "acme"),
    ])
    .expect("good packet");
    assert_eq!(
        (found.user.as_str(), found.database.as_deref()),
        ("app", Some("db"))
    );
    assert_eq!(found.tenants, ["acme"]);
    let pairs: Vec<_> = found
        .settings
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("search_path", "a, b"),
            ("TimeZone", "CET"),
            ("TimeZone", "UTC")
        ]
    );
}

#[test]
fn two_tenants_are_both_reported() {
    let found = started(&[("user", "a"), ("options", "tenant=x"), ("tenant", "y")]);
    assert_eq!(found.expect("good packet").tenants, ["x", "y"]);
}

#[test]
fn the_last_name_wins_and_an_empty_database_is_none() {
    let found = started(&[("user", "a"), ("user", "b"), ("database", "")]).expect("good packet");
    assert_eq!((found.user.as_str(), found.database), ("b", None));
}

#[test]
fn refusals() {
    use StartupError as E;
    assert_eq!(started(&[("database", "a")]), Err(E::NoUser));
    assert_eq!(started(&[("user", "")]), Err(E::NoUser));
    for value in ["true", "on", "1", "o", "", "maybe"] {
        assert_eq!(
            started(&[("user", "a"), ("replication", value)]),
            Err(E::Replication)
        );
    }
    for value in [
        "database", "false", "f", "no", "n", "off", "of", "0", "False",
    ] {
        assert!(
            started(&[("user", "a"), ("replication", value)]).is_ok(),
            "{value}"
        );
    }
    assert!(matches!(
        started(&[("user", "a"), ("options", "-x")]),
        Err(E::Option(_))
    ));
    assert_eq!(decode(&[0, 2, 0, 0]), Err(E::Version(2, 0)));
    assert_eq!(decode(&[4, 210, 0, 0]), Err(E::Version(1234, 0)));
    for bad in [
        &b"\0\x03\0\0"[..],
        b"\0\x03\0\0user\0a\0",
        b"\0\x03\0\0user\0a",
        b"\0\x03\0\0user\0\0\0",
        b"\0\x03\0\0user\0a\0\0\0",
        b"\0\x03\0\0user\0ap\0p\0database\0x\0\0",
    ] {
        let refused = decode(bad);
        assert!(
            matches!(refused, Err(E::Layout | E::NoUser)),
            "{bad:?}: {refused:?}"
        );
    }
    assert_eq!(decode(b"\0\x03\0\0user\0\xff\0\0"), Err(E::Encoding));
}

#[test]
fn every_refusal_is_fatal_with_its_code() {
    for (error, code) in [
        (StartupError::Layout, "08P01"),
        (StartupError::Version(2, 0), "0A000"),
        (StartupError::NoUser, "28000"),
        (StartupError::Replication, "0A000"),
        (StartupError::Option("-x".into()), "22023"),
    ] {
        let refusal = ClientError::from(error);
        assert_eq!(
            (refusal.severity, refusal.code.as_str()),
            (crate::error::Severity::Fatal, code)
        );
    }
}

#[test]
fn negotiation_answers_what_is_spoken() {
    let ask = |minor, options: &[&str]| {
        let unknown_options = options.iter().map(|o| (*o).to_owned()).collect();
        Startup {
            minor,
            unknown_options,
            ..Startup::default()
        }
        .negotiation()
    };
    assert_eq!(ask(0, &[]), None);
    assert_eq!(ask(2, &[]), None);
    assert_eq!(ask(1, &[]), Some(b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0".to_vec()));
    assert_eq!(
        ask(9999, &[]),
        Some(b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0".to_vec())
    );
    let with_option = b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0".to_vec();
    assert_eq!(ask(0, &["_pq_.x"]), Some(with_option));
    let packet = body([0, 3, 0, 0], &[("user", "a"), ("_pq_.x", "1")]);
    let Ok(FirstPacket::Startup(found)) = decode(&packet) else {
        panic!("refused")
    };
    assert_eq!(found.unknown_options, ["_pq_.x"]);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _any = decode(&bytes);
        let _any = decode(&[&V3_0[..], &bytes].concat());
    }

    #[test]
    fn well_formed_pairs_survive(
        pairs in proptest::collection::vec(("g[a-z_]{1,8}", "[^\0]{0,12}"), 0..12),
    ) {
        let mut all: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        all.push(("user", "app"));
        prop_assert_eq!(started(&all).expect("well formed").settings, pairs);
    }

    #[test]
    fn a_cut_packet_is_refused(cut in 4usize..30) {
        let whole = body(V3_0, &[("user", "app"), ("database", "acme")]);
        prop_assert!(cut >= whole.len() || decode(&whole[..cut]).is_err());
    }

    #[test]
    fn escaped_values_arrive_as_they_were(value in "[^\0]{0,20}") {
        let mut options = String::from("-c x=");
        for c in value.chars() {
            options.push('\\');
            options.push(c);
        }
        let found = started(&[("user", "a"), ("options", &options)]).expect("well formed");
        prop_assert_eq!(found.settings, vec![("x".to_owned(), value)]);
    }
}
