//! The client's half: how we sign in at a server.

use std::fmt;

use base64::Engine as _;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::message::{self, ServerFirst};
use super::{BASE64, BINDING_TYPE, SCRAM_SHA_256, SCRAM_SHA_256_PLUS};
use super::{ScramError, hash, hmac, random_nonce, salted_password, xor};
use crate::types::{MAX_SCRAM_ITERATIONS, ScramClientKey};

/// Most rounds of PBKDF2 that a server may demand of us: more would only burn our time.
pub const MAX_ITERATIONS: u32 = MAX_SCRAM_ITERATIONS;

/// Channel binding of our connection to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientBinding {
    /// No TLS, or a server certificate without a usable hash.
    Unavailable,
    /// We could, but the server does not offer -PLUS.
    NotOffered,
    /// The `tls-server-end-point` data of the server's certificate.
    EndPoint(Vec<u8>),
}

/// What we prove to know.
#[derive(Debug, Clone, Copy)]
pub enum ClientSecret<'a> {
    /// The password. The server has to prove in turn that it knows the verifier.
    Password(&'a str),
    /// The key of a client that logged in at our side with the very verifier the server has.
    /// What the server proves cannot be checked: that needs the verifier's server key. So a false
    /// server is found out only by TLS; it learns nothing that it could use elsewhere.
    Key(&'a ScramClientKey),
}

/// The client's half, after its first message.
pub struct ClientExchange {
    binding: ClientBinding,
    nonce: String,
    first_bare: String,
}

/// The client's half, after its final message.
pub struct ClientFinished {
    /// `None`: signed in by a key, see [`ClientSecret::Key`].
    expected: Option<Zeroizing<[u8; 32]>>,
}

impl fmt::Debug for ClientExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientExchange(..)")
    }
}

impl fmt::Debug for ClientFinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientFinished(..)")
    }
}

impl ClientBinding {
    /// The mechanism to ask for.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Unavailable | Self::NotOffered => SCRAM_SHA_256,
            Self::EndPoint(_) => SCRAM_SHA_256_PLUS,
        }
    }

    fn gs2_header(&self) -> String {
        match self {
            Self::Unavailable => "n,,".to_owned(),
            Self::NotOffered => "y,,".to_owned(),
            Self::EndPoint(_) => format!("p={BINDING_TYPE},,"),
        }
    }

    fn data(&self) -> &[u8] {
        match self {
            Self::Unavailable | Self::NotOffered => &[],
            Self::EndPoint(data) => data,
        }
    }
}

impl ClientExchange {
    /// Returns the client-first-message. The name in it is empty: PostgreSQL goes by the startup
    /// message.
    pub fn start(binding: ClientBinding) -> Result<(Self, Vec<u8>), ScramError> {
        Ok(Self::with_nonce(binding, "", random_nonce()?))
    }

    pub(super) fn with_nonce(binding: ClientBinding, name: &str, nonce: String) -> (Self, Vec<u8>) {
        let first_bare = format!("n={name},r={nonce}");
        let message = format!("{}{first_bare}", binding.gs2_header());
        (
            Self {
                binding,
                nonce,
                first_bare,
            },
            message.into_bytes(),
        )
    }

    /// Takes the server-first-message; returns the client-final-message.
    ///
    /// With a password this runs the server's number of PBKDF2 rounds: milliseconds and more.
    pub fn respond(
        self,
        server_first: &[u8],
        secret: ClientSecret<'_>,
    ) -> Result<(ClientFinished, Vec<u8>), ScramError> {
        let first = ServerFirst::parse(server_first)?;
        let own_part = first.nonce.strip_prefix(&self.nonce);
        if own_part.is_none_or(str::is_empty) {
            return Err(ScramError::Nonce);
        }
        let (client_key, server_key) = keys(&first, secret)?;
        let input = [self.binding.gs2_header().as_bytes(), self.binding.data()].concat();
        let without_proof = format!("c={},r={}", BASE64.encode(input), first.nonce);
        let auth = format!("{},{},{without_proof}", self.first_bare, first.text);
        let mut proof = hmac(&hash(client_key.as_slice()), &[auth.as_bytes()]);
        xor(&mut proof, &client_key);
        let message = format!("{without_proof},p={}", BASE64.encode(proof.as_slice()));
        let expected = server_key.map(|key| hmac(key.as_slice(), &[auth.as_bytes()]));
        Ok((ClientFinished { expected }, message.into_bytes()))
    }
}

type Key = Zeroizing<[u8; 32]>;

/// The client's key, and the server's where the password tells it.
fn keys(
    first: &ServerFirst<'_>,
    secret: ClientSecret<'_>,
) -> Result<(Key, Option<Key>), ScramError> {
    let iterations = u32::try_from(first.iterations).unwrap_or(u32::MAX);
    if iterations > MAX_ITERATIONS {
        return Err(ScramError::Iterations(first.iterations));
    }
    match secret {
        ClientSecret::Key(key) => Ok((Zeroizing::new(**key.0), None)),
        ClientSecret::Password(password) => {
            let salted = salted_password(password, &first.salt, iterations);
            let client = hmac(salted.as_slice(), &[b"Client Key"]);
            Ok((client, Some(hmac(salted.as_slice(), &[b"Server Key"]))))
        }
    }
}

impl ClientFinished {
    /// Takes the server-final-message; checks in constant time that the server knows the verifier.
    pub fn verify(self, server_final: &[u8]) -> Result<(), ScramError> {
        let signature = message::server_final(server_final)?;
        match self.expected {
            None => Ok(()),
            Some(expected) if bool::from(expected.as_slice().ct_eq(&signature)) => Ok(()),
            Some(_) => Err(ScramError::ServerSignature),
        }
    }
}
