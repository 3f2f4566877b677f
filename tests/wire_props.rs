//! The layers that read bytes of strangers never panic, and agree with themselves whatever comes.

use base64::Engine as _;
use proptest::prelude::*;
use tenantry::auth::scram::{Genuine, ServerBinding, ServerExchange, Verifier};
use tenantry::wire::proxy_header::{self, HEAD, MAX_BODY, Origin};
use tenantry::wire::sql::{Effect, deallocated_name, survey};
use tenantry::wire::startup::{self, FirstPacket};
use tenantry::wire::{frame, sql};

/// Pieces that lexers stumble over, with anything between them.
fn sql_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "select ", "'", "''", "\"", "$$", "$a$", "E'", "\\", "--", "\n", "/*", "*/", ";", "(", ")",
            "set ", "reset all", "begin", "commit", "and chain", "deallocate ", "prepare ", "all",
            "set_config(", "pg_advisory_lock(", "copy t from stdin", "create temp table t()",
            "U&\"", ".", ",", "1", "1e", "0x", "a", "é", "with x as (", "execute ", "listen x", "::",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

/// A startup packet that is nearly right.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "user",
        "database",
        "options",
        "-c a=b",
        "--x=y",
        "tenant=acme",
        "\\ ",
        "",
        "replication",
        "true",
        "_pq_.x",
        "client_encoding",
        "é",
    ]);
    let version = prop_oneof![
        Just(196_608_u32),
        Just(196_610),
        Just(80_877_102),
        Just(80_877_103),
        any::<u32>()
    ];
    let tail = prop::collection::vec(any::<u8>(), 0..5);
    (version, prop::collection::vec(word, 0..9), tail).prop_map(|(version, words, tail)| {
        let mut out = version.to_be_bytes().to_vec();
        for word in words {
            out.extend_from_slice(word.as_bytes());
            out.push(0);
        }
        out.extend(tail);
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_header_is_what_was_put(tag: u8, body in prop::collection::vec(any::<u8>(), 0..200), cut in 0..5usize) {
        let mut out = Vec::new();
        frame::put(&mut out, tag, &[&body]);
        let head = frame::header(&out).expect("a frame's length is valid").expect("it is there");
        prop_assert_eq!((head.tag, head.total), (tag, out.len()));
        prop_assert_eq!(frame::header(&out[..cut]), Ok(None));
    }

    #[test]
    fn headers_of_strangers_are_bounded(bytes: [u8; 5]) {
        if let Ok(Some(head)) = frame::header(&bytes) {
            prop_assert!((5..=0x4000_0000).contains(&head.total));
        }
    }

    #[test]
    fn startup_packets_never_panic(body in packet(), noise in prop::collection::vec(any::<u8>(), 0..60)) {
        let _refused = startup::decode(&noise);
        if let Ok(FirstPacket::Startup(packet)) = startup::decode(&body) {
            prop_assert!(!packet.user.is_empty());
        }
    }

    #[test]
    fn lengths_of_startup_packets_are_bounded(field: [u8; 4]) {
        if let Ok(body) = startup::body_length(field) {
            prop_assert!((4..=10_000).contains(&body));
        }
    }

    #[test]
    fn proxy_headers_of_strangers_never_panic_and_are_bounded(
        noise: [u8; HEAD],
        valid in any::<bool>(),
        fields: [u8; 4],
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = noise;
        if valid {
            bytes = proxy_header::local();
            bytes[12..].copy_from_slice(&fields);
        }
        if let Ok(head) = proxy_header::head(&bytes) {
            prop_assert!(head.body_length() <= MAX_BODY);
            let fits = head.body_length() == body.len();
            prop_assert_eq!(head.origin(&body).is_ok(), fits);
        }
    }

    #[test]
    fn addresses_of_proxy_headers_are_what_was_put(
        source: std::net::SocketAddr,
        port: u16,
        fields in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let destination = std::net::SocketAddr::new(source.ip(), port);
        let mut body = Vec::new();
        let family = match source.ip() {
            std::net::IpAddr::V4(ip) => {
                body.extend(ip.octets().repeat(2));
                0x11
            }
            std::net::IpAddr::V6(ip) => {
                body.extend(ip.octets().repeat(2));
                0x21
            }
        };
        body.extend(source.port().to_be_bytes());
        body.extend(port.to_be_bytes());
        body.extend(&fields);
        let mut bytes = proxy_header::local();
        bytes[12..14].copy_from_slice(&[0x21, family]);
        bytes[14..].copy_from_slice(&u16::try_from(body.len()).expect("short").to_be_bytes());
        let origin = proxy_header::head(&bytes).and_then(|head| head.origin(&body));
        // The scope and flow of an IPv6 address stay at home.
        let source = std::net::SocketAddr::new(source.ip(), source.port());
        prop_assert_eq!(origin, Ok(Origin::Proxied { source, destination }));
    }

    #[test]
    fn a_survey_never_panics_and_blanks_change_nothing(text in sql_text()) {
        let plain = survey(&text);
        let _name = deallocated_name(&text);
        let padded = [b" \n".as_slice(), &text].concat();
        prop_assert_eq!(plain, survey(&padded));
    }

    #[test]
    fn what_pins_still_pins_behind_other_statements(text in "[a-z0-9 .,;*=]{0,40}") {
        let both = format!("{text}\n;listen x");
        prop_assert!(matches!(survey(both.as_bytes()).effect, Effect::Pin(_)));
    }

    #[test]
    fn encodings_of_strangers_never_panic(name in ".{0,12}") {
        let _safe = sql::encoding_is_safe(&name);
    }

    #[test]
    fn verifiers_never_panic(text in prop_oneof![".{0,40}", "SCRAM-SHA-256\\$[0-9]{0,6}:[A-Za-z0-9+/=]{0,30}\\$[A-Za-z0-9+/=]{0,50}:[A-Za-z0-9+/=]{0,50}"]) {
        let _refused = Verifier::parse(&text);
    }

    #[test]
    fn scram_of_strangers_never_panics_and_never_signs_in(
        first in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "[nyp]=?,?,n=[a-z]{0,3},r=[!-~]{0,20}".prop_map(String::into_bytes),
            Just(b"n,,n=,r=abcdefgh".to_vec()),
        ],
        last in prop::collection::vec(any::<u8>(), 0..40),
        proof: [u8; 32],
    ) {
        let verifier = Verifier::from_password("secret", vec![1; 16], 1);
        let exchange = ServerExchange::start(
            verifier, Genuine::Known, ServerBinding::Unavailable, "SCRAM-SHA-256", &first,
        );
        let Ok((exchange, reply)) = exchange else { return Ok(()) };
        let text = String::from_utf8(reply).expect("a server's first message is text");
        let nonce = text.split(',').next().expect("split gives one part").to_owned();
        // Half of the time noise, else a message that is right but for its proof.
        let answer = if proof[0] & 1 == 0 {
            last
        } else {
            let proof = base64::engine::general_purpose::STANDARD.encode(proof);
            format!("c=biws,{nonce},p={proof}").into_bytes()
        };
        prop_assert!(exchange.finish(&answer).is_err());
    }
}
