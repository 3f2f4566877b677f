//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677, manual 55.3.1), both halves, no I/O.
//!
//! Guarantees: secrets are compared in constant time and wiped; messages are read by attributes,
//! so a nonce may hold any printable character but a comma; every size is bounded; channel
//! binding cannot be stripped unseen. [`ServerExchange`] is for clients of ours, it hands out the
//! client's key; [`ClientExchange`] signs us in at a server, by a password or by such a key.
//!
//! It lacks what PostgreSQL lacks: authorization identities, mandatory extensions, and channel
//! binding other than `tls-server-end-point`.

mod client;
mod message;
mod verifier;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

use crate::types::ScramClientKey;

pub use client::{ClientBinding, ClientExchange, ClientFinished, ClientSecret, MAX_ITERATIONS};
pub use verifier::{Verifier, VerifierError};

use message::{Binding, ClientFinal, ClientFirst};

/// The mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// The mechanism with channel binding.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Longest message of a peer, in bytes; PostgreSQL has the same limit.
pub const MAX_MESSAGE: usize = 1024;

/// The only type of channel binding that PostgreSQL knows.
const BINDING_TYPE: &str = "tls-server-end-point";

/// Random bytes in a nonce of ours, before base64.
const NONCE_BYTES: usize = 18;

/// Why an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// A message does not fit the grammar.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// An unknown mechanism, or -PLUS where it was not offered.
    #[error("the SASL mechanism was not offered")]
    Mechanism,
    /// The client asks for an identity of another (`a=`).
    #[error("SCRAM authorization identities are not supported")]
    AuthorizationIdentity,
    /// The client requires an extension (`m=`).
    #[error("SCRAM extensions that must be understood are not supported")]
    Extension,
    /// The client thinks that the server has no channel binding, but it has: somebody in between
    /// changed the list of mechanisms.
    #[error("SCRAM channel binding negotiation error")]
    Downgrade,
    /// The channel binding of the message does not fit the mechanism or the connection.
    #[error("SCRAM channel binding check failed")]
    Binding,
    /// The nonce is not the one agreed upon.
    #[error("SCRAM nonce does not match")]
    Nonce,
    /// The proof is not one of the password (or the name is unknown).
    #[error("wrong password")]
    WrongPassword,
    /// The server demands an absurd number of iterations.
    #[error("the server demands too many SCRAM iterations ({0})")]
    Iterations(u64),
    /// The server said no.
    #[error("the server reported a SCRAM error")]
    Refused,
    /// The server does not know the password's verifier: it is not the one it claims to be.
    #[error("the server's SCRAM signature is wrong")]
    ServerSignature,
    /// The operating system gives no random bytes.
    #[error("no random bytes from the operating system")]
    Random,
}

/// What the connection offers for channel binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerBinding {
    /// No TLS, or a certificate without a usable hash: -PLUS was not offered.
    Unavailable,
    /// The `tls-server-end-point` data of our certificate: -PLUS was offered.
    EndPoint(Vec<u8>),
}

/// Whether the verifier is somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Genuine {
    /// The role exists and the verifier is its own.
    Known,
    /// Made up so that unknown names look like known ones; no proof fits it.
    Mock,
}

/// The server's half, after it has answered the client's first message.
pub struct ServerExchange {
    verifier: Verifier,
    genuine: Genuine,
    /// What `c=` must decode to.
    binding_input: Vec<u8>,
    nonce: String,
    /// `client-first-bare "," server-first`.
    transcript: String,
}

impl fmt::Debug for ServerExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerExchange(..)")
    }
}

impl ServerExchange {
    /// Takes the chosen mechanism and the client-first-message; returns the server-first-message.
    pub fn start(
        verifier: Verifier,
        genuine: Genuine,
        binding: ServerBinding,
        mechanism: &str,
        client_first: &[u8],
    ) -> Result<(Self, Vec<u8>), ScramError> {
        let first = ClientFirst::parse(client_first)?;
        let binding_input = expected_binding(&first, binding, mechanism)?;
        let nonce = format!("{}{}", first.nonce, random_nonce()?);
        let salt = BASE64.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let transcript = format!("{},{server_first}", first.bare);
        let reply = server_first.into_bytes();
        Ok((
            Self {
                verifier,
                genuine,
                binding_input,
                nonce,
                transcript,
            },
            reply,
        ))
    }

    /// Takes the client-final-message; returns the server-final-message and the client's key.
    ///
    /// For [`Genuine::Mock`] it fails with [`ScramError::WrongPassword`] after the same work.
    pub fn finish(self, client_final: &[u8]) -> Result<(Vec<u8>, ScramClientKey), ScramError> {
        let last = ClientFinal::parse(client_final)?;
        if last.binding_input.ct_eq(&self.binding_input).unwrap_u8() == 0 {
            return Err(ScramError::Binding);
        }
        if last.nonce != self.nonce {
            return Err(ScramError::Nonce);
        }
        let auth = [
            self.transcript.as_bytes(),
            b",",
            last.without_proof.as_bytes(),
        ];
        let mut key = hmac(&self.verifier.stored_key, &auth);
        xor(&mut key, &last.proof);
        let server_signature = hmac(&self.verifier.server_key, &auth);
        let known = Choice::from(u8::from(self.genuine == Genuine::Known));
        let fits = hash(key.as_slice()).ct_eq(&self.verifier.stored_key) & known;
        if !bool::from(fits) {
            return Err(ScramError::WrongPassword);
        }
        let reply = format!("v={}", BASE64.encode(server_signature.as_slice()));
        Ok((reply.into_bytes(), ScramClientKey(Arc::new(key))))
    }
}

/// Checks that flag, mechanism and connection agree (RFC 5802, section 6); returns what `c=` must be.
fn expected_binding(
    first: &ClientFirst<'_>,
    offered: ServerBinding,
    mechanism: &str,
) -> Result<Vec<u8>, ScramError> {
    let plus = match mechanism {
        SCRAM_SHA_256 => false,
        SCRAM_SHA_256_PLUS => true,
        _ => return Err(ScramError::Mechanism),
    };
    let mut input = first.gs2_header.as_bytes().to_vec();
    match (first.binding, offered, plus) {
        (_, ServerBinding::Unavailable, true) => Err(ScramError::Mechanism),
        (Binding::Used(kind), ServerBinding::EndPoint(data), true) if kind == BINDING_TYPE => {
            input.extend(data);
            Ok(input)
        }
        (Binding::Used(_), _, _) | (_, _, true) => Err(ScramError::Binding),
        (Binding::Supported, ServerBinding::EndPoint(_), false) => Err(ScramError::Downgrade),
        (Binding::Supported | Binding::None, _, false) => Ok(input),
    }
}

fn random_nonce() -> Result<String, ScramError> {
    let mut raw = [0; NONCE_BYTES];
    getrandom::fill(&mut raw).map_err(|_| ScramError::Random)?;
    Ok(BASE64.encode(raw))
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn xor(into: &mut [u8; 32], with: &[u8; 32]) {
    for (a, b) in into.iter_mut().zip(with) {
        *a ^= b;
    }
}

/// `Hi` of RFC 5802: PBKDF2 with HMAC-SHA-256 and one block.
fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Zeroizing<[u8; 32]> {
    let prepared = prepare(password);
    let keyed = keyed(prepared.as_bytes());
    let mut mac = keyed.clone();
    mac.update(salt);
    mac.update(&1_u32.to_be_bytes());
    let mut block: [u8; 32] = mac.finalize().into_bytes().into();
    let mut sum = Zeroizing::new(block);
    for _ in 1..iterations {
        let mut mac = keyed.clone();
        mac.update(&block);
        block = mac.finalize().into_bytes().into();
        xor(&mut sum, &block);
    }
    sum
}

/// SASLprep; like PostgreSQL, the password as it is where that is impossible.
fn prepare(password: &str) -> Zeroizing<String> {
    let prepared = match stringprep::saslprep(password) {
        Ok(text) if !text.is_empty() => text.into_owned(),
        Ok(_) | Err(_) => password.to_owned(),
    };
    Zeroizing::new(prepared)
}

#[cfg(test)]
mod tests;
