//! The messages of the authentication exchange, server side (manual, 55.7), without I/O.

/// AuthenticationOk.
pub const OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";

/// AuthenticationSASL with the mechanisms on offer, best first.
pub fn sasl(mechanisms: &[&str]) -> Vec<u8> {
    let mut data = Vec::new();
    for mechanism in mechanisms {
        data.extend_from_slice(mechanism.as_bytes());
        data.push(0);
    }
    data.push(0);
    request(10, &data)
}

/// AuthenticationSASLContinue.
pub fn sasl_continue(data: &[u8]) -> Vec<u8> {
    request(11, data)
}

/// AuthenticationSASLFinal.
pub fn sasl_final(data: &[u8]) -> Vec<u8> {
    request(12, data)
}

/// AuthenticationMD5Password.
pub fn md5_password(salt: [u8; 4]) -> Vec<u8> {
    request(5, &salt)
}

fn request(kind: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 8).expect("our own messages are short");
    let mut message = vec![b'R'];
    message.extend(length.to_be_bytes());
    message.extend(kind.to_be_bytes());
    message.extend_from_slice(data);
    message
}

/// Takes SASLInitialResponse apart: mechanism and first data. `None`: malformed, or no data.
pub fn sasl_initial(body: &[u8]) -> Option<(&str, &[u8])> {
    let end = body.iter().position(|b| *b == 0)?;
    let mechanism = std::str::from_utf8(&body[..end]).ok()?;
    let (length, data) = body[end + 1..].split_first_chunk::<4>()?;
    let fits = usize::try_from(i32::from_be_bytes(*length)) == Ok(data.len());
    fits.then_some((mechanism, data))
}

/// The text of PasswordMessage. `None`: malformed.
pub fn password(body: &[u8]) -> Option<&[u8]> {
    let (last, text) = body.split_last()?;
    (*last == 0 && !text.contains(&0)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_as_the_manual_lays_them_out() {
        assert_eq!(sasl(&["A", "B"]), b"R\0\0\0\x0d\0\0\0\x0aA\0B\0\0");
        assert_eq!(sasl_continue(b"xy"), b"R\0\0\0\x0a\0\0\0\x0bxy");
        assert_eq!(sasl_final(b""), b"R\0\0\0\x08\0\0\0\x0c");
        assert_eq!(
            md5_password([1, 2, 3, 4]),
            b"R\0\0\0\x0c\0\0\0\x05\x01\x02\x03\x04"
        );
    }

    #[test]
    fn responses_are_taken_apart_or_refused() {
        assert_eq!(sasl_initial(b"M\0\0\0\0\x02ab"), Some(("M", &b"ab"[..])));
        for bad in [
            &b""[..],
            b"M",
            b"M\0",
            b"M\0\0\0\0",
            b"M\0\0\0\0\x03ab",
            b"M\0\0\0\0\x01ab",
            b"M\0\xff\xff\xff\xff",
            b"\xff\0\0\0\0\0",
        ] {
            assert_eq!(sasl_initial(bad), None, "{bad:?}");
        }
        assert_eq!(password(b"md5x\0"), Some(&b"md5x"[..]));
        assert_eq!(password(b"\0"), Some(&b""[..]));
        for bad in [&b""[..], b"x", b"x\0y\0", b"x\0\0"] {
            assert_eq!(password(bad), None, "{bad:?}");
        }
    }
}
