//! SCRAM with a peer who may say anything, at our side of it: server or client.
//!
//! Nobody is let in without the proof of the password, and no server is believed without its
//! signature. A nonce is new each time, so the fuzzer writes `%N` for it, and `%P` for the proof
//! or signature that would be right.

use std::sync::LazyLock;

use tenantry::auth::messages;
use tenantry::auth::scram::{
    ClientBinding, ClientExchange, ClientSecret, Genuine, SCRAM_SHA_256, SCRAM_SHA_256_PLUS,
    ServerBinding, ServerExchange, Verifier,
};

use super::input::Input;
use super::reference;

const PASSWORD: &str = "secret";
const SALT: &[u8] = b"a salt of 16 by.";

/// Few, for speed: the number is checked elsewhere.
const ITERATIONS: u32 = 2;

static SALTED: LazyLock<[u8; 32]> = LazyLock::new(|| reference::salted(PASSWORD, SALT, ITERATIONS));
static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::from_password(PASSWORD, SALT.to_vec(), ITERATIONS));

pub fn scram_server(data: &[u8]) {
    let mut input = Input::new(data);
    let genuine = input.one_of(&[Genuine::Known, Genuine::Mock]);
    let offered = [
        ServerBinding::Unavailable,
        ServerBinding::EndPoint(b"certificate".to_vec()),
    ];
    let binding = offered[input.below(2)].clone();
    let mechanism = input.one_of(&[SCRAM_SHA_256, SCRAM_SHA_256_PLUS, "", "SCRAM-SHA-1"]);
    let client_first = input.part();
    let last = input.rest();
    let _body = (messages::sasl_initial(last), messages::password(last));
    let started = ServerExchange::start(
        VERIFIER.clone(),
        genuine,
        binding.clone(),
        mechanism,
        client_first,
    );
    let Ok((exchange, reply)) = started else {
        return;
    };
    let first = std::str::from_utf8(client_first).expect("it was understood");
    let dialogue = Dialogue::new(first, &reply);
    assert_eq!(mechanism == SCRAM_SHA_256_PLUS, first.starts_with("p="));
    assert!(binding != offered[0] || mechanism == SCRAM_SHA_256);
    let expected = dialogue.expected(&binding, mechanism);
    let message = dialogue.filled(last);
    let outcome = exchange.finish(&message);
    let right = dialogue.proves(&message, &expected) && genuine == Genuine::Known;
    match outcome {
        Ok((reply, key)) => {
            assert!(right, "{}", message.escape_ascii());
            assert_eq!(**key.0, reference::hmac(&*SALTED, b"Client Key"));
            let signature = reference::signature(&SALTED, &dialogue.auth(&message));
            assert_eq!(reply, format!("v={signature}").into_bytes());
        }
        Err(_) => assert!(!right || !dialogue.is_plain(&message, &expected)),
    }
}

/// What was said until the client has to prove something.
struct Dialogue {
    header: String,
    bare: String,
    server_first: String,
    nonce: String,
}

impl Dialogue {
    fn new(client_first: &str, server_first: &[u8]) -> Self {
        let server_first = String::from_utf8(server_first.to_vec()).expect("ours is text");
        let commas = client_first.match_indices(',').map(|(at, _)| at);
        let header = commas.take(2).last().expect("it was understood") + 1;
        let nonce = server_first.split(',').next().expect("it has a first part");
        Self {
            header: client_first[..header].to_owned(),
            bare: client_first[header..].to_owned(),
            nonce: nonce["r=".len()..].to_owned(),
            server_first,
        }
    }

    /// What `c=` must be.
    fn expected(&self, binding: &ServerBinding, mechanism: &str) -> String {
        let mut data = self.header.clone().into_bytes();
        if let (ServerBinding::EndPoint(bound), SCRAM_SHA_256_PLUS) = (binding, mechanism) {
            data.extend_from_slice(bound);
        }
        reference::encode(&data)
    }

    /// The fuzzer's message with nonce and right proof where it wants them.
    fn filled(&self, message: &[u8]) -> Vec<u8> {
        let message = replaced(message, b"%N", self.nonce.as_bytes());
        let proof = reference::proof(&SALTED, &self.auth(&message));
        replaced(&message, b"%P", proof.as_bytes())
    }

    fn auth(&self, message: &[u8]) -> String {
        let message = String::from_utf8_lossy(message);
        let without_proof = message.rsplit_once(',').map_or("", |(before, _)| before);
        format!("{},{},{without_proof}", self.bare, self.server_first)
    }

    /// Whether a message proves the password, over this connection, in this exchange.
    fn proves(&self, message: &[u8], binding: &str) -> bool {
        let Ok(text) = std::str::from_utf8(message) else {
            return false;
        };
        let Some((without_proof, proof)) = text.rsplit_once(",p=") else {
            return false;
        };
        let mut parts = without_proof.split(',');
        parts.next() == Some(&format!("c={binding}"))
            && parts.next() == Some(&format!("r={}", self.nonce))
            && reference::proof(&SALTED, &self.auth(message)) == proof
    }

    /// Whether it has nothing but what must be there, so that there is nothing to refuse.
    fn is_plain(&self, message: &[u8], binding: &str) -> bool {
        let text = String::from_utf8_lossy(message);
        let plain = format!("c={binding},r={}", self.nonce);
        let is_plain = |(before, _): (&str, &str)| before == plain;
        text.rsplit_once(",p=").is_some_and(is_plain) && message.len() <= 1024
    }
}

pub fn scram_client(data: &[u8]) {
    let mut input = Input::new(data);
    let binding = match input.below(3) {
        0 => ClientBinding::Unavailable,
        1 => ClientBinding::NotOffered,
        _ => ClientBinding::EndPoint(b"certificate".to_vec()),
    };
    let by_key = input.below(4) == 3;
    let server_first = input.part();
    let server_final = input.rest();
    let Ok((exchange, first)) = ClientExchange::start(binding) else {
        panic!("there are random bytes");
    };
    let first = String::from_utf8(first).expect("ours is text");
    let (_, bare) = first.split_at(first.find("n=").expect("it names nobody"));
    let nonce = &bare["n=,r=".len()..];
    let server_first = replaced(server_first, b"%N", nonce.as_bytes());
    let Some((salt, iterations)) = Demand::read(&server_first).affordable() else {
        return;
    };
    let salted = reference::salted(PASSWORD, &salt, iterations);
    let key = reference::hmac(&salted, b"Client Key");
    let key = tenantry::types::ScramClientKey(std::sync::Arc::new(key.into()));
    let secret = if by_key {
        ClientSecret::Key(&key)
    } else {
        ClientSecret::Password(PASSWORD)
    };
    let Ok((finished, last)) = exchange.respond(&server_first, secret) else {
        return;
    };
    let server_first = String::from_utf8(server_first).expect("it was understood");
    let last = String::from_utf8(last).expect("ours is text");
    let (without_proof, proof) = last.rsplit_once(",p=").expect("it ends with a proof");
    let auth = format!("{bare},{server_first},{without_proof}");
    assert_eq!(proof, reference::proof(&salted, &auth));
    let theirs = without_proof.rsplit_once(",r=").expect("it has a nonce").1;
    assert!(theirs.starts_with(nonce) && theirs.len() > nonce.len());
    let right = format!("v={}", reference::signature(&salted, &auth));
    let server_final = replaced(server_final, b"%P", &right.as_bytes()["v=".len()..]);
    let outcome = finished.verify(&server_final);
    if outcome.is_ok() && !by_key {
        let signature = server_final.split(|b| *b == b',').next();
        assert_eq!(signature, Some(right.as_bytes()));
    }
    assert!(outcome.is_ok() || server_final != right.as_bytes());
}

/// What a server-first-message demands: salt and rounds.
struct Demand {
    salt: Option<Vec<u8>>,
    iterations: Option<u64>,
}

impl Demand {
    fn read(message: &[u8]) -> Self {
        let text = String::from_utf8_lossy(message);
        let mut parts = text.split(',').skip(1);
        let value = |part: Option<&str>, name| part?.strip_prefix(name).map(str::to_owned);
        let salt = value(parts.next(), "s=").and_then(|salt| reference::decode(&salt));
        let iterations = value(parts.next(), "i=").and_then(|n| n.parse().ok());
        Self { salt, iterations }
    }

    /// As far as it costs no more than a moment: that it is bounded has a test of its own.
    fn affordable(self) -> Option<(Vec<u8>, u32)> {
        let iterations = self.iterations.unwrap_or(1);
        let too_many = iterations > tenantry::auth::scram::MAX_ITERATIONS.into();
        if !too_many && iterations > 100 {
            return None;
        }
        let few = u32::try_from(iterations.min(100)).ok()?;
        Some((self.salt.unwrap_or_default(), few))
    }
}

fn replaced(text: &[u8], mark: &[u8], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(mark.len()).position(|part| part == mark) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(by);
        rest = &rest[at + mark.len()..];
    }
    out.extend_from_slice(rest);
    out
}
