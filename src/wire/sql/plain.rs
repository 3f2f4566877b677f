//! The short way for the plainest of queries, which are most of the traffic.
//!
//! Guarantees: what it calls plain, the machine calls clean (a property test compares them).
//! It knows one statement without parentheses, quotes, comments or the letters `mp` (as in `temp`):
//! such a text can neither call a function nor name a temporary object.

/// Bytes that are looked at together: without a branch for each, in the registers of the processor
/// that hold so many.
const WORD: usize = 16;

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
    let ends = |byte: &u8| matches!(byte, b';' | b' ' | b'\n');
    let end = text.iter().rposition(|byte| !ends(byte));
    let text = &text[..=end.unwrap_or_default()];
    let mut at = first.len().min(text.len());
    let (words, rest) = text[at..].as_chunks();
    let (before, _) = text[at - 1..].as_chunks();
    for (before, word) in before.iter().zip(words) {
        if !is_dull(before, word) && !is_plain(text, at..at + WORD) {
            return false;
        }
        at += WORD;
    }
    // The last word overlaps the one before it.
    let before = text[..text.len() - 1].last_chunk();
    let last = before.zip(text.last_chunk());
    rest.is_empty()
        || last.is_some_and(|(before, word)| is_dull(before, word))
        || is_plain(text, at..text.len())
}

/// Whether none of these bytes, each with the one before it, can be part of anything but names,
/// numbers and plain operators. No `&&` and no early end: so it takes some fifty instructions.
#[inline(never)]
fn is_dull(before: &[u8; WORD], word: &[u8; WORD]) -> bool {
    let mut odd = [0; WORD];
    for at in 0..WORD {
        let (before, byte) = (before[at] | 0x20, word[at]);
        let folded = byte | 0x20;
        let letter = folded.is_ascii_lowercase() | (byte == b'_') | (byte >= 0x80);
        // Digits and `*+,.`
        let mark = (b'*'..=b'9').contains(&byte) & (byte != b'-') & (byte != b'/');
        let compares = (b'<'..=b'>').contains(&byte);
        let space = (byte == b' ') | (byte == b'\n') | (byte == b'\t');
        let temp = (before == b'm') & (folded == b'p');
        odd[at] = u8::from(temp | !(letter | mark | compares | space));
    }
    u128::from_ne_bytes(odd) == 0
}

/// The same byte by byte, with a look at the neighbours of each.
fn is_plain(text: &[u8], mut part: std::ops::Range<usize>) -> bool {
    part.all(|at| {
        let next = || text.get(at + 1).copied().unwrap_or(b' ');
        match text[at] {
            b'p' | b'P' => text[at - 1] | 0x20 != b'm',
            // `$1` begins no quote.
            b'$' => next().is_ascii_digit(),
            // No comment begins here.
            b'-' | b'/' => next() != b'-' && next() != b'*',
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | 0x80..=0xff => true,
            b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' => true,
            b'=' | b',' | b'.' | b'*' | b'<' | b'>' | b'+' | b'!' => true,
            _ => false,
        }
    })
}

/// Whether an UPDATE may be of a table of the catalog, of which one sets what is updated in it.
fn is_of_catalog(rest: &[u8]) -> bool {
    match rest.first_chunk::<3>() {
        Some(start) => matches!(&start.map(|byte| byte | 0x20), b"pg\x7f" | b"onl"),
        None => false,
    }
}
