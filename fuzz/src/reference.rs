//! SCRAM once more, as RFC 5802 writes it: what must be so for anybody to be let in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

pub(crate) fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key will do");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// `Hi`: the password, salted. ASCII alone, so that there is nothing to prepare.
pub(crate) fn salted(password: &str, salt: &[u8], iterations: u32) -> [u8; 32] {
    let mut block = hmac(password.as_bytes(), &[salt, &1_u32.to_be_bytes()].concat());
    let mut sum = block;
    for _ in 1..iterations {
        block = hmac(password.as_bytes(), &block);
        sum.iter_mut().zip(block).for_each(|(a, b)| *a ^= b);
    }
    sum
}

/// What the client proves by, base64.
pub(crate) fn proof(salted: &[u8; 32], auth: &str) -> String {
    let key = hmac(salted, b"Client Key");
    let stored: [u8; 32] = Sha256::digest(key).into();
    let mut proof = hmac(&stored, auth.as_bytes());
    proof.iter_mut().zip(key).for_each(|(a, b)| *a ^= b);
    encode(&proof)
}

/// What the server proves by, base64.
pub(crate) fn signature(salted: &[u8; 32], auth: &str) -> String {
    encode(&hmac(&hmac(salted, b"Server Key"), auth.as_bytes()))
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}
