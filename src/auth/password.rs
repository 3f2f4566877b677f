//! Passwords outside SCRAM: PostgreSQL's MD5 scheme (manual 55.2.3 and 53.8), plain comparison.
//!
//! Comparisons take the same time wherever texts of one length differ.

use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// What a role's stored MD5 password looks like: `md5` and the hash of password and name, in hex.
pub fn md5_stored(password: &str, role: &str) -> Zeroizing<String> {
    md5_of(password.as_bytes(), role.as_bytes())
}

/// What a client answers to AuthenticationMD5Password: the stored form hashed again with the salt.
///
/// `None` if `stored` is not an MD5 password.
pub fn md5_answer(stored: &str, salt: [u8; 4]) -> Option<Zeroizing<String>> {
    is_md5(stored).then(|| md5_of(&stored.as_bytes()[3..], &salt))
}

/// Whether a stored password is PostgreSQL's MD5 form.
pub fn is_md5(stored: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    stored.len() == 35
        && stored
            .strip_prefix("md5")
            .is_some_and(|rest| rest.bytes().all(hex))
}

/// Whether a client's answer fits the stored MD5 password and the salt it was sent.
pub fn md5_fits(stored: &str, salt: [u8; 4], answer: &[u8]) -> bool {
    md5_answer(stored, salt).is_some_and(|expected| same(expected.as_bytes(), answer))
}

/// Whether two secrets are equal, in constant time for one length.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

fn md5_of(first: &[u8], second: &[u8]) -> Zeroizing<String> {
    let digest = Md5::new()
        .chain_update(first)
        .chain_update(second)
        .finalize();
    let mut text = String::with_capacity(35);
    text.push_str("md5");
    for byte in digest {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(half.into(), 16).expect("a half of a byte is below 16"));
        }
    }
    Zeroizing::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_as_postgresql_computes_it() {
        // Salt and answer of the test of postgres-protocol.
        let stored = md5_stored("password", "md5_user");
        let answer = md5_answer(&stored, [0x2a, 0x3d, 0x8f, 0xe0]).unwrap();
        assert_eq!(answer.as_str(), "md562af4dd09bbb41884907a838a3233294");
        assert!(md5_fits(
            &stored,
            [0x2a, 0x3d, 0x8f, 0xe0],
            answer.as_bytes()
        ));
        assert!(!md5_fits(
            &stored,
            [0x2a, 0x3d, 0x8f, 0xe1],
            answer.as_bytes()
        ));
        assert!(!md5_fits(&stored, [0x2a, 0x3d, 0x8f, 0xe0], b""));
    }

    #[test]
    fn only_the_stored_form_counts_as_md5() {
        assert!(is_md5(&md5_stored("a", "b")));
        for other in ["md5", "", "md5zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "password"] {
            assert!(!is_md5(other) && md5_answer(other, [0; 4]).is_none());
        }
    }
}
