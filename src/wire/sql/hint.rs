//! Hints in comments: where a statement is to be served, in the words of whoever wrote it.
//!
//! `/* tenantry: primary */` and `/* tenantry: replica */` count in the comments at the very start
//! of a text, whatever other comments stand beside them; everywhere else they are only comments.

/// Where a statement is to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// On the primary.
    Primary,
    /// On a replica: whoever wrote it answers for its not writing.
    Replica,
}

/// The hint at the start of a text. Where there are several, [`Hint::Primary`] prevails.
#[inline]
pub fn hint(text: &[u8]) -> Option<Hint> {
    match text.first() {
        Some(b'/' | b'-' | b' ' | b'\t'..=b'\r') => among_comments(text),
        _ => None,
    }
}

fn among_comments(mut text: &[u8]) -> Option<Hint> {
    let mut found = None;
    loop {
        text = text.trim_ascii_start();
        text = match text {
            [0x0b, rest @ ..] => rest,
            [b'-', b'-', rest @ ..] => {
                let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                &rest[end.unwrap_or(rest.len())..]
            }
            [b'/', b'*', rest @ ..] => {
                let Some((inside, behind)) = comment(rest) else {
                    return found;
                };
                match read(inside) {
                    Some(Hint::Primary) => return Some(Hint::Primary),
                    hint => found = found.or(hint),
                }
                behind
            }
            _ => return found,
        };
    }
}

/// A comment, whose opening was read, and what is behind it. They nest (manual, 4.1.5).
fn comment(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut at, mut depth) = (0, 1);
    while let Some(pair) = text.get(at..at + 2) {
        match pair {
            b"*/" => depth -= 1,
            b"/*" => depth += 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return Some((&text[..at - 2], &text[at..]));
        }
    }
    None
}

fn read(comment: &[u8]) -> Option<Hint> {
    let colon = comment.iter().position(|byte| *byte == b':')?;
    let (key, value) = comment.split_at(colon);
    if !key.trim_ascii().eq_ignore_ascii_case(b"tenantry") {
        return None;
    }
    let value = value[1..].trim_ascii();
    if value.eq_ignore_ascii_case(b"primary") {
        Some(Hint::Primary)
    } else if value.eq_ignore_ascii_case(b"replica") {
        Some(Hint::Replica)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_a_comment_at_the_start() {
        for (text, expected) in [
            ("/* tenantry: primary */ SELECT 1", Some(Hint::Primary)),
            ("/*tenantry:replica*/SELECT 1", Some(Hint::Replica)),
            (
                " \n\t/* TENANTRY :\n Replica\t*/ SELECT 1",
                Some(Hint::Replica),
            ),
            (
                "-- of a form\n/* a /* nested */ one */ /* tenantry: replica */ SELECT 1",
                Some(Hint::Replica),
            ),
            (
                "/* tenantry: replica */ /* tenantry: primary */ SELECT 1",
                Some(Hint::Primary),
            ),
            ("\x0b/* tenantry: replica */ SELECT 1", Some(Hint::Replica)),
            ("/* tenantry: replica */", Some(Hint::Replica)),
            ("SELECT 1", None),
            ("SELECT /* tenantry: primary */ 1", None),
            ("(/* tenantry: primary */ SELECT 1)", None),
            ("-- tenantry: primary\nSELECT 1", None),
            ("-- /* tenantry: primary */\nSELECT 1", None),
            ("/* tenantry: primary, please */ SELECT 1", None),
            ("/* /* tenantry: primary */ */ SELECT 1", None),
            ("/* tenantry: primary SELECT 1", None),
            ("/* tenantry primary */ SELECT 1", None),
            ("/* tenantry: */ SELECT 1", None),
            ("/*/ tenantry: primary */ SELECT 1", None),
            ("/", None),
            ("/*", None),
            ("-", None),
            ("--", None),
            ("", None),
        ] {
            assert_eq!(hint(text.as_bytes()), expected, "{text}");
        }
    }
}
