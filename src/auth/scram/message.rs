//! The messages of SCRAM as borrowed, checked parts (RFC 5802, section 7).
//!
//! Attributes are split at commas and told by their first two characters, never by searching.

use base64::Engine as _;

use super::{BASE64, MAX_MESSAGE, ScramError};

/// The client's word on channel binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding<'a> {
    /// `n`: it cannot.
    None,
    /// `y`: it could, but thinks that the server cannot.
    Supported,
    /// `p=`: it does, with this type.
    Used(&'a str),
}

/// client-first-message.
#[derive(Debug)]
pub(super) struct ClientFirst<'a> {
    pub(super) binding: Binding<'a>,
    /// With its closing comma.
    pub(super) gs2_header: &'a str,
    pub(super) bare: &'a str,
    pub(super) nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let text = bounded(message)?;
        let mut parts = text.splitn(3, ',');
        let binding = match parts.next() {
            Some("n") => Binding::None,
            Some("y") => Binding::Supported,
            Some(flag) => Binding::Used(value(flag, "p=")?),
            None => return Err(ScramError::Malformed("channel binding flag")),
        };
        match parts.next() {
            Some("") => {}
            Some(id) if id.starts_with("a=") => return Err(ScramError::AuthorizationIdentity),
            Some(_) | None => return Err(ScramError::Malformed("GS2 header")),
        }
        let bare = parts.next().ok_or(ScramError::Malformed("GS2 header"))?;
        let gs2_header = &text[..text.len() - bare.len()];
        let mut attributes = bare.split(',');
        // The name is empty or arbitrary: PostgreSQL goes by the startup message.
        value(next(&mut attributes)?, "n=")?;
        let nonce = printable(value(next(&mut attributes)?, "r=")?)?;
        attributes.try_for_each(optional)?;
        Ok(Self {
            binding,
            gs2_header,
            bare,
            nonce,
        })
    }
}

/// client-final-message.
#[derive(Debug)]
pub(super) struct ClientFinal<'a> {
    /// `c=`, decoded.
    pub(super) binding_input: Vec<u8>,
    pub(super) nonce: &'a str,
    /// Everything before the comma of `p=`.
    pub(super) without_proof: &'a str,
    pub(super) proof: [u8; 32],
}

impl<'a> ClientFinal<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let text = bounded(message)?;
        let (without_proof, proof) = text
            .rsplit_once(',')
            .ok_or(ScramError::Malformed("proof"))?;
        let proof = decode(value(proof, "p=")?)?;
        let proof = proof
            .try_into()
            .map_err(|_| ScramError::Malformed("proof"))?;
        let mut attributes = without_proof.split(',');
        let binding_input = decode(value(next(&mut attributes)?, "c=")?)?;
        let nonce = value(next(&mut attributes)?, "r=")?;
        attributes.try_for_each(optional)?;
        Ok(Self {
            binding_input,
            nonce,
            without_proof,
            proof,
        })
    }
}

/// server-first-message.
#[derive(Debug)]
pub(super) struct ServerFirst<'a> {
    pub(super) text: &'a str,
    pub(super) nonce: &'a str,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u64,
}

impl<'a> ServerFirst<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let text = bounded(message)?;
        let mut attributes = text.split(',');
        let nonce = printable(value(next(&mut attributes)?, "r=")?)?;
        let salt = decode(value(next(&mut attributes)?, "s=")?)?;
        let iterations = value(next(&mut attributes)?, "i=")?;
        let digits = iterations.bytes().all(|b| b.is_ascii_digit());
        let iterations = iterations.parse().ok().filter(|n| digits && *n > 0);
        let iterations = iterations.ok_or(ScramError::Malformed("iteration count"))?;
        attributes.try_for_each(optional)?;
        Ok(Self {
            text,
            nonce,
            salt,
            iterations,
        })
    }
}

/// The signature of a server-final-message.
pub(super) fn server_final(message: &[u8]) -> Result<[u8; 32], ScramError> {
    let text = bounded(message)?;
    let mut attributes = text.split(',');
    let first = next(&mut attributes)?;
    if first.starts_with("e=") {
        return Err(ScramError::Refused);
    }
    let signature = decode(value(first, "v=")?)?;
    attributes.try_for_each(optional)?;
    signature
        .try_into()
        .map_err(|_| ScramError::Malformed("server signature"))
}

fn bounded(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MAX_MESSAGE {
        return Err(ScramError::Malformed("too long"));
    }
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed("not UTF-8"))
}

fn next<'a>(attributes: &mut impl Iterator<Item = &'a str>) -> Result<&'a str, ScramError> {
    attributes
        .next()
        .ok_or(ScramError::Malformed("an attribute is missing"))
}

/// The value of the attribute that must stand here.
fn value<'a>(attribute: &'a str, name: &str) -> Result<&'a str, ScramError> {
    if attribute.starts_with("m=") {
        return Err(ScramError::Extension);
    }
    attribute
        .strip_prefix(name)
        .ok_or(ScramError::Malformed("unexpected attribute"))
}

/// An extension that may be ignored: a letter, `=`, a value.
fn optional(attribute: &str) -> Result<(), ScramError> {
    match attribute.as_bytes() {
        [b'm', b'=', ..] => Err(ScramError::Extension),
        [letter, b'=', _, ..] if letter.is_ascii_alphabetic() => Ok(()),
        _ => Err(ScramError::Malformed("unexpected attribute")),
    }
}

fn printable(nonce: &str) -> Result<&str, ScramError> {
    let fits = !nonce.is_empty() && nonce.bytes().all(|b| b.is_ascii_graphic());
    fits.then_some(nonce).ok_or(ScramError::Malformed("nonce"))
}

fn decode(text: &str) -> Result<Vec<u8>, ScramError> {
    BASE64
        .decode(text)
        .map_err(|_| ScramError::Malformed("base64"))
}
