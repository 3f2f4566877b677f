//! The short way for the plainest of queries, which are most of the traffic.
//!
//! Guarantees: what it calls plain, the machine calls clean (a property test compares them).
//! It knows one statement without parentheses, quotes, comments or the letters `mp` (as in `temp`):
//! such a text can neither call a function nor name a temporary object.

/// What a byte asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Look {
    /// Nothing.
    On,
    /// A look at the byte before it.
    Back,
    /// A look at the byte behind it.
    Ahead,
    /// The long way, or the end.
    Stop,
}

const LOOK: [Look; 256] = looks();

const fn looks() -> [Look; 256] {
    let mut table = [Look::Stop; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let as_byte = byte as u8;
        table[byte] = match as_byte {
            b'p' | b'P' => Look::Back,
            b'$' | b'-' | b'/' => Look::Ahead,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | 0x80..=0xff => Look::On,
            b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' => Look::On,
            b'=' | b',' | b'.' | b'*' | b'<' | b'>' | b'+' | b'!' => Look::On,
            _ => Look::Stop,
        };
        byte += 1;
    }
    table
}

/// Whether the text is one query that leaves nothing behind, told without lexing it.
pub(super) fn is_plain_query(text: &[u8]) -> bool {
    let Some((first, _)) = text.split_first_chunk::<7>() else {
        return false;
    };
    let folded = first.map(|byte| byte | 0x20);
    if first[6] != b' ' || !matches!(&folded[..6], b"select" | b"insert" | b"update" | b"delete") {
        return false;
    }
    if folded[0] == b'u' && is_of_catalog(&text[first.len()..]) {
        return false;
    }
    let mut at = first.len();
    let boring = |byte: &u8| LOOK[usize::from(*byte)] == Look::On;
    while let Some(more) = text[at..].iter().position(|byte| !boring(byte)) {
        at += more;
        let next = text.get(at + 1).copied().unwrap_or(b' ');
        let plain = match (LOOK[usize::from(text[at])], text[at]) {
            (Look::Back, _) => text[at - 1] | 0x20 != b'm',
            // `$1` begins no quote.
            (Look::Ahead, b'$') => next.is_ascii_digit(),
            // No comment begins here.
            (Look::Ahead, _) => next != b'-' && next != b'*',
            _ => false,
        };
        if !plain {
            return text[at..]
                .iter()
                .all(|byte| matches!(byte, b';' | b' ' | b'\n'));
        }
        at += 1;
    }
    true
}

/// Whether an UPDATE may be of a table of the catalog, of which one sets what is updated in it.
fn is_of_catalog(rest: &[u8]) -> bool {
    match rest.first_chunk::<3>() {
        Some(start) => matches!(&start.map(|byte| byte | 0x20), b"pg\x7f" | b"onl"),
        None => false,
    }
}
