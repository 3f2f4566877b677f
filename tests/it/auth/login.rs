//! A client's login, message by message, with SCRAM and MD5 of its own.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac as _};
use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::client::{Message, Wire};

/// What a client says and knows.
#[derive(Debug, Clone)]
pub(crate) struct Login<'a> {
    pub(crate) user: &'a str,
    pub(crate) database: Option<&'a str>,
    pub(crate) options: Option<&'a str>,
    pub(crate) more: Vec<(&'a str, &'a str)>,
    pub(crate) minor: u16,
    pub(crate) proof: Proof<'a>,
    pub(crate) binding: Binding,
    pub(crate) nonce: String,
}

/// What a client answers when asked for its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof<'a> {
    Password(&'a str),
    /// A well-formed answer that costs nothing to make and fits nothing.
    Made,
}

/// A client's channel binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    /// -PLUS where offered and possible.
    Best,
    /// The client cannot (`n`).
    Cannot,
    /// The client says that the server cannot (`y`).
    SaysServerCannot,
    /// -PLUS with the data of another certificate.
    Wrong,
    /// -PLUS though it was not offered.
    NotOffered,
}

impl<'a> Login<'a> {
    pub(crate) fn new(user: &'a str, password: &'a str) -> Self {
        Self {
            user,
            database: None,
            options: None,
            more: Vec::new(),
            minor: 0,
            proof: Proof::Password(password),
            binding: Binding::Best,
            nonce: "rOprNGfwEbeRWgbNEkqO".to_owned(),
        }
    }

    pub(crate) fn database(mut self, database: &'a str) -> Self {
        self.database = Some(database);
        self
    }

    pub(crate) fn options(mut self, options: &'a str) -> Self {
        self.options = Some(options);
        self
    }

    pub(crate) fn parameter(mut self, name: &'a str, value: &'a str) -> Self {
        self.more.push((name, value));
        self
    }

    pub(crate) fn minor(mut self, minor: u16) -> Self {
        self.minor = minor;
        self
    }

    pub(crate) fn binding(mut self, binding: Binding) -> Self {
        self.binding = binding;
        self
    }

    pub(crate) fn nonce(mut self, nonce: String) -> Self {
        self.nonce = nonce;
        self
    }

    pub(crate) fn made_proof(mut self) -> Self {
        self.proof = Proof::Made;
        self
    }

    /// The startup message.
    pub(crate) fn startup(&self) -> Vec<u8> {
        let named = [
            ("user", Some(self.user)),
            ("database", self.database),
            ("options", self.options),
        ];
        let named = named
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let mut body = vec![0, 3];
        body.extend(self.minor.to_be_bytes());
        for (name, value) in named.chain(self.more.iter().copied()) {
            for text in [name, value] {
                body.extend(text.as_bytes());
                body.push(0);
            }
        }
        body.push(0);
        packet(&body)
    }
}

/// A packet without a type.
pub(crate) fn packet(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("short packets");
    [length.to_be_bytes().as_slice(), body].concat()
}

/// How a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// ReadyForQuery.
    Ready,
    /// An error, then the end of the connection.
    Refused,
    /// The end without a word.
    Closed,
}

/// A login and what the proxy said in it.
pub(crate) struct Attempt {
    pub(crate) wire: Wire,
    pub(crate) said: Vec<Message>,
    /// When each of it was read.
    #[allow(dead_code, reason = "read where times are measured")]
    pub(crate) heard: Vec<Instant>,
    pub(crate) end: End,
}

/// Logs in, as far as it goes.
pub(crate) fn log_in(mut wire: Wire, login: &Login<'_>) -> io::Result<Attempt> {
    let (mut said, mut heard) = (Vec::new(), Vec::new());
    let note = |message: &Message| {
        heard.push(Instant::now());
        said.push(message.clone());
    };
    let end = match exchange(&mut wire, login, note) {
        // What was written to a connection that the proxy had closed.
        Err(e) if super::client::is_end(&e) => End::Closed,
        end => end?,
    };
    if end == End::Refused {
        let rest = wire.rest();
        assert!(rest.is_empty(), "behind the refusal: {rest:?}");
    }
    Ok(Attempt {
        wire,
        said,
        heard,
        end,
    })
}

fn exchange(wire: &mut Wire, login: &Login<'_>, mut note: impl FnMut(&Message)) -> io::Result<End> {
    wire.send(&login.startup())?;
    let mut scram = None;
    while let Some(message) = wire.next()? {
        note(&message);
        match message.tag {
            b'E' => return Ok(End::Refused),
            b'Z' => return Ok(End::Ready),
            b'R' => {
                if let Some(answer) = answer(&message.body, wire, login, &mut scram) {
                    wire.message(b'p', &answer)?;
                }
            }
            _ => {}
        }
    }
    Ok(End::Closed)
}

/// What a request for authentication is answered with.
fn answer(
    body: &[u8],
    wire: &Wire,
    login: &Login<'_>,
    scram: &mut Option<Scram>,
) -> Option<Vec<u8>> {
    let (code, data) = body.split_at(4);
    match code {
        [0, 0, 0, 0] => None,
        [0, 0, 0, 5] => Some(md5_answer(login, data)),
        [0, 0, 0, 10] => {
            let (state, first) = Scram::start(login, wire.end_point.as_deref(), data);
            *scram = Some(state);
            Some(first)
        }
        [0, 0, 0, 11] => {
            let state = scram
                .as_mut()
                .expect("SASL begins with the list of mechanisms");
            Some(state.respond(data, login.proof))
        }
        [0, 0, 0, 12] => {
            let state = scram
                .as_ref()
                .expect("SASL begins with the list of mechanisms");
            assert_eq!(data, state.expected.as_bytes(), "the proxy's own proof");
            None
        }
        other => panic!("an odd request for authentication: {other:?}"),
    }
}

fn md5_answer(login: &Login<'_>, salt: &[u8]) -> Vec<u8> {
    let hex = |parts: [&[u8]; 2]| -> String {
        let digest = Md5::new()
            .chain_update(parts[0])
            .chain_update(parts[1])
            .finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let Proof::Password(password) = login.proof else {
        return b"md500000000000000000000000000000000\0".to_vec();
    };
    let stored = hex([password.as_bytes(), login.user.as_bytes()]);
    format!("md5{}\0", hex([stored.as_bytes(), salt])).into_bytes()
}

/// The client's half of SCRAM-SHA-256.
struct Scram {
    bare: String,
    header: &'static str,
    data: Vec<u8>,
    /// The server's final message, where the password is known.
    expected: String,
}

impl Scram {
    fn start(login: &Login<'_>, end_point: Option<&[u8]>, offered: &[u8]) -> (Self, Vec<u8>) {
        let is_offered = offered
            .split(|b| *b == 0)
            .any(|name| name == b"SCRAM-SHA-256-PLUS");
        let bound = |data: &[u8]| {
            (
                "SCRAM-SHA-256-PLUS",
                "p=tls-server-end-point,,",
                data.to_vec(),
            )
        };
        let (mechanism, header, data) = match (login.binding, end_point) {
            (Binding::Best, Some(data)) if is_offered => bound(data),
            (Binding::Best | Binding::Cannot, _) => ("SCRAM-SHA-256", "n,,", Vec::new()),
            (Binding::SaysServerCannot, _) => ("SCRAM-SHA-256", "y,,", Vec::new()),
            (Binding::Wrong | Binding::NotOffered, _) => bound(&[7; 32]),
        };
        let bare = format!("n=,r={}", login.nonce);
        let first = format!("{header}{bare}");
        let length = u32::try_from(first.len())
            .expect("short messages")
            .to_be_bytes();
        let answer = [mechanism.as_bytes(), &[0], &length, first.as_bytes()].concat();
        let expected = String::new();
        (
            Self {
                bare,
                header,
                data,
                expected,
            },
            answer,
        )
    }

    fn respond(&mut self, server_first: &[u8], proof: Proof<'_>) -> Vec<u8> {
        let first = std::str::from_utf8(server_first).expect("SCRAM is text");
        let Challenge {
            nonce,
            salt,
            iterations,
        } = Challenge::parse(first);
        let binding = BASE64.encode([self.header.as_bytes(), &self.data].concat());
        let without_proof = format!("c={binding},r={nonce}");
        let Proof::Password(password) = proof else {
            return format!("{without_proof},p={}", BASE64.encode([7; 32])).into_bytes();
        };
        let auth = format!("{},{first},{without_proof}", self.bare);
        let salted = salted(password, &salt, iterations);
        let mut proof = hmac(&salted, b"Client Key");
        let signature = hmac(&Sha256::digest(proof), auth.as_bytes());
        proof.iter_mut().zip(signature).for_each(|(p, s)| *p ^= s);
        let own = hmac(&hmac(&salted, b"Server Key"), auth.as_bytes());
        self.expected = format!("v={}", BASE64.encode(own));
        format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes()
    }
}

/// A server-first-message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Challenge<'a> {
    pub(crate) nonce: &'a str,
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
}

impl<'a> Challenge<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut parts = text.split(',');
        let mut part = |name: &str| parts.next().and_then(|p| p.strip_prefix(name));
        let nonce = part("r=").expect("the nonce comes first");
        let salt = part("s=").map(|s| BASE64.decode(s).expect("base64"));
        let iterations = part("i=").map(|i| i.parse().expect("a number"));
        Self {
            nonce,
            salt: salt.expect("then the salt"),
            iterations: iterations.expect("then the iterations"),
        }
    }
}

/// PBKDF2 of a password and a salt.
type Salted = HashMap<(String, Vec<u8>), [u8; 32]>;

/// PBKDF2, remembered: thousands of logins of a few roles.
fn salted(password: &str, salt: &[u8], iterations: u32) -> [u8; 32] {
    static KNOWN: Mutex<Option<Salted>> = Mutex::new(None);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (password.to_owned(), salt.to_vec());
    let found = known().get_or_insert_default().get(&key).copied();
    found.unwrap_or_else(|| {
        let mut round = hmac(password.as_bytes(), &[salt, &1_u32.to_be_bytes()].concat());
        let mut sum = round;
        for _ in 1..iterations {
            round = hmac(password.as_bytes(), &round);
            sum.iter_mut().zip(round).for_each(|(s, r)| *s ^= r);
        }
        known().get_or_insert_default().insert(key, sum);
        sum
    })
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

impl Attempt {
    /// The fields of the refusal: SQLSTATE, message, hint.
    pub(crate) fn refusal(&self) -> (String, String, String) {
        match self.said.last() {
            Some(message) if message.tag == b'E' => fields(&message.body),
            other => panic!("no refusal but {:?}, the last: {other:?}", self.end),
        }
    }

    /// Whether it failed as logins fail, whatever the reason.
    pub(crate) fn is_login_failure(&self) -> bool {
        self.end == End::Refused && self.refusal().0 == "28P01"
    }

    /// Asks for one value; on an error its SQLSTATE, message and hint.
    pub(crate) fn query(&mut self, sql: &str) -> Result<String, (String, String, String)> {
        assert_eq!(self.end, End::Ready, "refused: {}", self.last_words());
        self.wire
            .message(b'Q', format!("{sql}\0").as_bytes())
            .expect("it takes queries");
        let mut outcome = Ok(String::new());
        loop {
            let message = self.wire.next().expect("an answer").expect("still open");
            match message.tag {
                b'D' => outcome = Ok(value(&message.body)),
                b'E' => outcome = Err(fields(&message.body)),
                b'Z' => return outcome,
                _ => {}
            }
            if matches!(&outcome, Err((code, ..)) if code.starts_with("08")) {
                return outcome;
            }
        }
    }

    /// The name of the database that it reaches.
    pub(crate) fn current_database(&mut self) -> String {
        self.query("SELECT current_database()").expect("it runs")
    }

    pub(crate) fn last_words(&self) -> String {
        let last = self
            .said
            .last()
            .map(|m| String::from_utf8_lossy(&m.body).into_owned());
        format!("{:?} {last:?}", self.end)
    }

    /// The messages of one type.
    pub(crate) fn of_type(&self, tag: u8) -> Vec<&Message> {
        self.said.iter().filter(|m| m.tag == tag).collect()
    }
}

fn value(row: &[u8]) -> String {
    // One column: its count, its length, its bytes.
    String::from_utf8_lossy(&row[6..]).into_owned()
}

fn fields(body: &[u8]) -> (String, String, String) {
    let field = |tag: u8| {
        let mut fields = body.split(|b| *b == 0);
        let found = fields.find_map(|f| f.split_first().filter(|(t, _)| **t == tag));
        found
            .map(|(_, text)| String::from_utf8_lossy(text).into_owned())
            .unwrap_or_default()
    };
    (field(b'C'), field(b'M'), field(b'H'))
}
