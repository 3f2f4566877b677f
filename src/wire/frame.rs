//! Frames: one type byte, four bytes of length (which count themselves), a body. Manual 55.1.1.

use std::ffi::CStr;

/// Bytes before a body.
pub const HEADER: usize = 5;

/// PostgreSQL takes no message larger than this (its `MaxAllocSize`).
const LARGEST: usize = 0x3fff_ffff;

/// The start of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The message type.
    pub tag: u8,
    /// Length of the whole frame, type byte included.
    pub total: usize,
}

/// A length that no message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid message length")]
pub struct BadLength;

/// Reads a header; `None`: more bytes are needed.
#[inline]
pub fn header(input: &[u8]) -> Result<Option<Header>, BadLength> {
    let Some(&[tag, a, b, c, d]) = input.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if !(4..=LARGEST).contains(&len) {
        return Err(BadLength);
    }
    Ok(Some(Header {
        tag,
        total: len + 1,
    }))
}

/// Where the whole frames end that the input begins with and that are of these types.
#[inline]
pub fn run_of(tags: [u8; 3], input: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&[tag, a, b, c, d]) = input[at..].first_chunk::<HEADER>() {
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        // Not `contains`, which counts bytes of a long text well and of three badly.
        let [one, two, three] = tags;
        let is_of_run = tag == one || tag == two || tag == three;
        if !is_of_run || len < 4 || len >= input.len() - at {
            break;
        }
        at += len + 1;
    }
    at
}

/// Appends a frame.
pub fn put(out: &mut Vec<u8>, tag: u8, body: &[&[u8]]) {
    put_header(out, tag, body.iter().map(|part| part.len()).sum());
    for part in body {
        out.extend_from_slice(part);
    }
}

/// Appends the header of a frame whose body has `body` bytes.
pub fn put_header(out: &mut Vec<u8>, tag: u8, body: usize) {
    let len = u32::try_from(body + 4).expect("frames are built from frames, whose length fits");
    out.push(tag);
    out.extend_from_slice(&len.to_be_bytes());
}

/// Splits a NUL-terminated string off: the string and what follows; `None`: no NUL.
#[inline]
pub fn cstr(body: &[u8]) -> Option<(&[u8], &[u8])> {
    // Faster than looking byte by byte: the standard library looks at whole words.
    let text = CStr::from_bytes_until_nul(body).ok()?.to_bytes();
    Some((text, &body[text.len() + 1..]))
}

/// The columns of a DataRow's body: `None` for NULL. `None` for all: it is not one.
pub fn columns(row: &[u8]) -> Option<impl Iterator<Item = Option<&[u8]>>> {
    let (count, mut rest) = row.split_first_chunk::<2>()?;
    let mut columns = Vec::with_capacity(usize::from(u16::from_be_bytes(*count)));
    for _ in 0..u16::from_be_bytes(*count) {
        let (len, behind) = rest.split_first_chunk::<4>()?;
        let Ok(len) = usize::try_from(i32::from_be_bytes(*len)) else {
            columns.push(None);
            rest = behind;
            continue;
        };
        let (value, behind) = behind.split_at_checked(len)?;
        columns.push(Some(value));
        rest = behind;
    }
    rest.is_empty().then(|| columns.into_iter())
}

/// A ParseComplete.
pub const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";

/// A ReadyForQuery that says idle.
pub const READY_IDLE: &[u8] = b"Z\0\0\0\x05I";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_before_what_is_no_whole_frame_of_its_kinds() {
        let rows = b"D\0\0\0\x04d\0\0\0\x06ab";
        let run = |behind: &[u8]| run_of(*b"Dd_", &[rows, behind].concat());
        for behind in [
            b"".as_slice(),
            b"D",
            b"D\0\0\0\x05",
            b"D\0\0\0\x03",
            b"D\xff\xff\xff\xff",
            b"C\0\0\0\x04",
        ] {
            assert_eq!(run(behind), rows.len(), "{behind:?}");
        }
        assert_eq!(run(b"D\0\0\0\x04Z"), rows.len() + 5);
        assert_eq!(run_of(*b"Dd_", b"C\0\0\0\x04D\0\0\0\x04"), 0);
    }

    #[test]
    fn lengths_are_checked() {
        assert_eq!(header(b"Q\0\0\0"), Ok(None));
        assert_eq!(
            header(b"Q\0\0\0\x04"),
            Ok(Some(Header {
                tag: b'Q',
                total: 5
            }))
        );
        for bad in [
            *b"Q\0\0\0\0",
            *b"Q\0\0\0\x03",
            *b"Q\x80\0\0\0",
            *b"Q\xff\xff\xff\xff",
        ] {
            assert_eq!(header(&bad), Err(BadLength));
        }
    }

    #[test]
    fn put_and_header_agree() {
        let mut out = Vec::new();
        put(&mut out, b'P', &[b"name\0", b"text\0"]);
        assert_eq!(
            header(&out),
            Ok(Some(Header {
                tag: b'P',
                total: out.len()
            }))
        );
    }
}
