//! What a server stores of a password: `SCRAM-SHA-256$<iterations>:<salt>$<stored>:<server>`.

use std::fmt;

use base64::Engine as _;

use super::{BASE64, MAX_ITERATIONS, hash, hmac, salted_password};
use crate::types::MAX_SCRAM_SALT;

/// The verifier of a password (manual 53.8, `rolpassword`): proves a login, does not make one.
///
/// Its `Debug` shows no key.
#[derive(Clone)]
pub struct Verifier {
    /// Rounds of PBKDF2, at least 1.
    pub iterations: u32,
    /// The salt, decoded.
    pub salt: Vec<u8>,
    /// Hash of the client's key.
    pub stored_key: [u8; 32],
    /// With it the server proves that it knows the verifier.
    pub server_key: [u8; 32],
}

/// Why a text is no [`Verifier`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// Not the shape that PostgreSQL writes.
    #[error("a verifier is SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>")]
    Shape,
    /// The count of iterations is zero or absurd.
    #[error("a verifier has 1 to {MAX_ITERATIONS} iterations")]
    Iterations,
    /// A part is not base64 or has the wrong length.
    #[error("salt and keys of a verifier are base64, keys of 32 bytes")]
    Encoding,
}

impl Verifier {
    /// Reads the text that PostgreSQL stores.
    pub fn parse(text: &str) -> Result<Self, VerifierError> {
        let body = text
            .strip_prefix("SCRAM-SHA-256$")
            .ok_or(VerifierError::Shape)?;
        let (head, keys) = body.split_once('$').ok_or(VerifierError::Shape)?;
        let (iterations, salt) = head.split_once(':').ok_or(VerifierError::Shape)?;
        let (stored, server) = keys.split_once(':').ok_or(VerifierError::Shape)?;
        let iterations = match iterations.parse() {
            Ok(n) if (1..=MAX_ITERATIONS).contains(&n) => n,
            Ok(_) | Err(_) => return Err(VerifierError::Iterations),
        };
        let salt = BASE64.decode(salt).map_err(|_| VerifierError::Encoding)?;
        if salt.is_empty() || salt.len() > MAX_SCRAM_SALT {
            return Err(VerifierError::Encoding);
        }
        Ok(Self {
            iterations,
            salt,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }

    /// Derives the verifier of a password: `iterations` rounds of PBKDF2, so it takes its time.
    pub fn from_password(password: &str, salt: Vec<u8>, iterations: u32) -> Self {
        let salted = salted_password(password, &salt, iterations);
        let stored_key = hash(hmac(salted.as_slice(), &[b"Client Key"]).as_slice());
        let server_key = *hmac(salted.as_slice(), &[b"Server Key"]);
        Self {
            iterations,
            salt,
            stored_key,
            server_key,
        }
    }
}

fn key(text: &str) -> Result<[u8; 32], VerifierError> {
    let bytes = BASE64.decode(text).map_err(|_| VerifierError::Encoding)?;
    bytes.try_into().map_err(|_| VerifierError::Encoding)
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}
