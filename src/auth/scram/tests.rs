//! Known answers, round trips of both halves, and what must be refused.

use proptest::prelude::*;

use super::*;

const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn verifier(password: &str) -> Verifier {
    Verifier::from_password(password, b"salt of sixteen.".to_vec(), 2)
}

fn plain(first: &[u8]) -> Result<(ServerExchange, Vec<u8>), ScramError> {
    let binding = ServerBinding::Unavailable;
    ServerExchange::start(
        verifier("secret"),
        Genuine::Known,
        binding,
        SCRAM_SHA_256,
        first,
    )
}

fn offered(mechanism: &str, first: &str) -> Result<(ServerExchange, Vec<u8>), ScramError> {
    let binding = ServerBinding::EndPoint(vec![7; 32]);
    ServerExchange::start(
        verifier("secret"),
        Genuine::Known,
        binding,
        mechanism,
        first.as_bytes(),
    )
}

/// A whole exchange; what the server's half says, and whether the client's half believes it.
fn exchange(
    stored: Verifier,
    genuine: Genuine,
    bindings: (ClientBinding, ServerBinding),
    secret: ClientSecret<'_>,
) -> Result<ScramClientKey, ScramError> {
    let mechanism = bindings.0.mechanism();
    let (client, first) = ClientExchange::start(bindings.0)?;
    let (server, reply) = ServerExchange::start(stored, genuine, bindings.1, mechanism, &first)?;
    let (client, last) = client.respond(&reply, secret)?;
    let (reply, key) = server.finish(&last)?;
    client.verify(&reply)?;
    Ok(key)
}

fn unbound() -> (ClientBinding, ServerBinding) {
    (ClientBinding::Unavailable, ServerBinding::Unavailable)
}

#[test]
fn known_answer_of_rfc_7677() {
    let (client, first) =
        ClientExchange::with_nonce(ClientBinding::Unavailable, "user", NONCE.into());
    assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let secret = ClientSecret::Password("pencil");
    let (client, last) = client.respond(SERVER_FIRST.as_bytes(), secret).unwrap();
    assert_eq!(String::from_utf8(last).unwrap(), CLIENT_FINAL);
    assert_eq!(client.verify(SERVER_FINAL.as_bytes()), Ok(()));

    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let server = ServerExchange {
        verifier: Verifier::from_password("pencil", salt, 4096),
        genuine: Genuine::Known,
        binding_input: b"n,,".to_vec(),
        nonce: SERVER_FIRST[2..].split(',').next().unwrap().to_owned(),
        transcript: format!("n=user,r={NONCE},{SERVER_FIRST}"),
    };
    let (reply, _key) = server.finish(CLIENT_FINAL.as_bytes()).unwrap();
    assert_eq!(reply, SERVER_FINAL.as_bytes());
}

#[test]
fn verifier_of_postgresql_is_read_and_derived() {
    // What PostgreSQL stores for the password and salt of RFC 7677.
    let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    let parsed = Verifier::parse(text).unwrap();
    let derived = Verifier::from_password("pencil", parsed.salt.clone(), 4096);
    assert_eq!(
        (parsed.stored_key, parsed.server_key),
        (derived.stored_key, derived.server_key)
    );
    assert_eq!(format!("{parsed:?}"), "Verifier { iterations: 4096, .. }");
    for bad in [
        "",
        "md5abc",
        &text[..text.len() - 4],
        &text.replace("4096", "0"),
    ] {
        assert!(Verifier::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(
        Verifier::parse(&text.replace("4096", "10000001")).unwrap_err(),
        VerifierError::Iterations
    );
}

#[test]
fn passwords_are_prepared_like_postgresql() {
    // RFC 4013: a soft hyphen maps to nothing, compatibility characters are normalised.
    assert_eq!(prepare("I\u{ad}X").as_str(), "IX");
    assert_eq!(prepare("\u{2168}").as_str(), "IX");
    // Prohibited, or nothing left: the bytes as they are.
    assert_eq!(prepare("a\u{7}b").as_str(), "a\u{7}b");
    assert_eq!(prepare("\u{ad}").as_str(), "\u{ad}");
}

#[test]
fn right_and_wrong_passwords() {
    let login = |secret| exchange(verifier("secret"), Genuine::Known, unbound(), secret);
    let key = login(ClientSecret::Password("secret")).unwrap();
    assert!(login(ClientSecret::Key(&key)).is_ok());
    let wrong = login(ClientSecret::Password("Secret")).unwrap_err();
    assert_eq!(wrong, ScramError::WrongPassword);
}

#[test]
fn a_mock_lets_nobody_in() {
    let secret = ClientSecret::Password("secret");
    let failed = exchange(verifier("secret"), Genuine::Mock, unbound(), secret);
    assert_eq!(failed.unwrap_err(), ScramError::WrongPassword);
}

#[test]
fn channel_binding_is_checked() {
    let login = |ours: u8, theirs: u8| {
        let bindings = (
            ClientBinding::EndPoint(vec![ours; 32]),
            ServerBinding::EndPoint(vec![theirs; 32]),
        );
        let secret = ClientSecret::Password("secret");
        exchange(verifier("secret"), Genuine::Known, bindings, secret).map(|_| ())
    };
    assert_eq!(login(1, 1), Ok(()));
    assert_eq!(login(1, 2), Err(ScramError::Binding));
}

#[test]
fn downgrades_are_refused() {
    let tail = "n=,r=abc";
    for (mechanism, flag, expected) in [
        (SCRAM_SHA_256, "y", Some(ScramError::Downgrade)),
        (SCRAM_SHA_256, "n", None),
        (
            SCRAM_SHA_256,
            "p=tls-server-end-point",
            Some(ScramError::Binding),
        ),
        (SCRAM_SHA_256_PLUS, "n", Some(ScramError::Binding)),
        (SCRAM_SHA_256_PLUS, "y", Some(ScramError::Binding)),
        (
            SCRAM_SHA_256_PLUS,
            "p=tls-unique",
            Some(ScramError::Binding),
        ),
        (SCRAM_SHA_256_PLUS, "p=tls-server-end-point", None),
        ("SCRAM-SHA-1", "n", Some(ScramError::Mechanism)),
    ] {
        let got = offered(mechanism, &format!("{flag},,{tail}")).err();
        assert_eq!(got, expected, "{mechanism} {flag}");
    }
    let binding = ServerBinding::Unavailable;
    let plus = ServerExchange::start(
        verifier("secret"),
        Genuine::Known,
        binding,
        SCRAM_SHA_256_PLUS,
        b"p=tls-server-end-point,,n=,r=abc",
    );
    assert_eq!(plus.unwrap_err(), ScramError::Mechanism);
    assert!(plain(b"y,,n=,r=abc").is_ok());
}

#[test]
fn odd_first_messages_are_refused() {
    let long = format!("n,,n=,r={}", "x".repeat(MAX_MESSAGE));
    for (message, expected) in [
        ("n,a=admin,n=,r=abc", ScramError::AuthorizationIdentity),
        ("n,,m=x,n=,r=abc", ScramError::Extension),
        ("n,,n=,r=abc,m=x", ScramError::Extension),
        ("", ScramError::Malformed("unexpected attribute")),
        ("n", ScramError::Malformed("GS2 header")),
        ("n,", ScramError::Malformed("GS2 header")),
        ("n,,n=", ScramError::Malformed("an attribute is missing")),
        ("n,,r=abc,n=", ScramError::Malformed("unexpected attribute")),
        ("n,,n=,r=", ScramError::Malformed("nonce")),
        ("n,,n=,r=a b", ScramError::Malformed("nonce")),
        (&long, ScramError::Malformed("too long")),
    ] {
        assert_eq!(
            plain(message.as_bytes()).unwrap_err(),
            expected,
            "{message}"
        );
    }
    assert!(plain(b"n,,n=*,r=abc,x=ignored").is_ok());
}

#[test]
fn a_tampered_final_message_is_refused() {
    let finish = |change: &dyn Fn(String) -> String| {
        let (client, first) = ClientExchange::start(ClientBinding::Unavailable).unwrap();
        let (server, reply) = plain(&first).unwrap();
        let secret = ClientSecret::Password("secret");
        let (_, last) = client.respond(&reply, secret).unwrap();
        let changed = change(String::from_utf8(last).unwrap());
        server.finish(changed.as_bytes()).map(|_| ())
    };
    assert_eq!(finish(&|m| m), Ok(()));
    assert_eq!(
        finish(&|m| m.replace("c=biws", "c=eSws")),
        Err(ScramError::Binding)
    );
    assert_eq!(
        finish(&|m| m.replacen(",r=", ",r=x", 1)),
        Err(ScramError::Nonce)
    );
    assert_eq!(
        finish(&|m| m.replacen(",p=", ",m=x,p=", 1)),
        Err(ScramError::Extension)
    );
    assert_eq!(
        finish(&|m| m.replacen(",p=", ",x=y,p=", 1)),
        Err(ScramError::WrongPassword)
    );
    assert!(finish(&|m| format!("{m},x=y")).is_err());
}

#[test]
fn a_false_server_is_found_out() {
    let respond = |server_first: &str| {
        let nonce = "clientnonce".to_owned();
        let (client, _) = ClientExchange::with_nonce(ClientBinding::Unavailable, "", nonce);
        client.respond(server_first.as_bytes(), ClientSecret::Password("x"))
    };
    let error = |text: &str| respond(text).err();
    assert_eq!(error("r=other,s=QUJD,i=1"), Some(ScramError::Nonce));
    assert_eq!(error("r=clientnonce,s=QUJD,i=1"), Some(ScramError::Nonce));
    let absurd = "r=clientnonce1,s=QUJD,i=10000001";
    assert_eq!(error(absurd), Some(ScramError::Iterations(10_000_001)));
    for count in ["0", "-1", "+1", "", "99999999999999999999"] {
        let text = format!("r=clientnonce1,s=QUJD,i={count}");
        assert_eq!(error(&text), Some(ScramError::Malformed("iteration count")));
    }
    let (client, _) = respond("r=clientnonce1,s=QUJD,i=1").unwrap();
    let signature = format!("v={}", BASE64.encode([0; 32]));
    assert_eq!(
        client.verify(signature.as_bytes()),
        Err(ScramError::ServerSignature)
    );
    let (client, _) = respond("r=clientnonce1,s=QUJD,i=1").unwrap();
    assert_eq!(client.verify(b"e=other-error"), Err(ScramError::Refused));
}

#[test]
fn a_nonce_may_look_like_attributes() {
    for nonce in [
        "r=",
        "=r=p=c=",
        "n=x",
        "a=b/r=+",
        "p=tls,".trim_end_matches(','),
        "m=m",
    ] {
        let binding = ClientBinding::Unavailable;
        let (client, first) = ClientExchange::with_nonce(binding, "", nonce.to_owned());
        let (server, reply) = plain(&first).unwrap();
        let secret = ClientSecret::Password("secret");
        let (client, last) = client.respond(&reply, secret).unwrap();
        let (reply, _) = server.finish(&last).unwrap();
        assert_eq!(client.verify(&reply), Ok(()), "{nonce}");
    }
}

proptest! {
    #[test]
    fn any_nonce_and_password_work(nonce in "[!-+\\--~]{1,64}", password in "\\PC{1,24}") {
        let binding = ClientBinding::NotOffered;
        let (client, first) = ClientExchange::with_nonce(binding, "", nonce);
        let (server, reply) = ServerExchange::start(
            verifier(&password), Genuine::Known, ServerBinding::Unavailable, SCRAM_SHA_256, &first,
        ).unwrap();
        let (client, last) = client.respond(&reply, ClientSecret::Password(&password)).unwrap();
        let (reply, _) = server.finish(&last).unwrap();
        prop_assert_eq!(client.verify(&reply), Ok(()));
    }

    #[test]
    fn no_message_panics(first in proptest::collection::vec(any::<u8>(), 0..80), last in "[a-z=,+/0-9]{0,80}") {
        let _refused = plain(&first);
        let (server, _) = plain(b"n,,n=,r=abc").unwrap();
        prop_assert!(server.finish(last.as_bytes()).is_err());
        let (client, _) = ClientExchange::start(ClientBinding::Unavailable).unwrap();
        prop_assert!(client.respond(&first, ClientSecret::Password("x")).is_err());
    }
}
