//! What a batch of requests does, as far as it is here, before anything of it is sent: on this hangs
//! where it may be served.

use super::Session;
use super::message::next_header;
use super::route::Asked;
use crate::wire::frame::{self, HEADER};
use crate::wire::sql::{Block, block, survey};

/// Messages of a client, read one by one.
pub(super) struct Batch<'a> {
    pub(super) input: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Batch<'a> {
    /// The body of the next message, if it is of that kind and complete.
    pub(super) fn message(&mut self, tag: u8) -> Option<&'a [u8]> {
        let rest = &self.input[self.at..];
        let head = next_header(rest).ok().flatten().filter(|h| h.tag == tag)?;
        let body = rest.get(HEADER..head.total)?;
        self.at += head.total;
        Some(body)
    }

    /// Goes past what does nothing but tell.
    fn skip_looks(&mut self) {
        while self.message(b'D').or_else(|| self.message(b'H')).is_some() {}
    }
}

/// Whether the first thing that the input does is to run what it begins with: a query, or a batch that
/// binds and executes it before anything else.
pub(super) fn runs_at_once(input: &[u8]) -> bool {
    if input.first() == Some(&b'Q') {
        return true;
    }
    let mut batch = Batch { input, at: 0 };
    let parsed = batch.message(b'P').map(frame::cstr);
    batch.skip_looks();
    let Some((portal, rest)) = batch.message(b'B').and_then(frame::cstr) else {
        return false;
    };
    let bound = frame::cstr(rest).map(|(name, _)| name);
    let is_other = |parsed: Option<(&[u8], _)>| parsed.map(|(name, _)| name) != bound;
    if parsed.is_some_and(is_other) {
        return false;
    }
    batch.skip_looks();
    let executed = batch.message(b'E').and_then(frame::cstr);
    executed.is_some_and(|(name, _)| name == portal)
}

/// Whether a text is of several statements, some of which may end the block.
fn ends_within(text: &[u8]) -> bool {
    // One at its very end is usual.
    let text = text.strip_suffix(b";").unwrap_or(text);
    text.contains(&b';') && {
        let found = survey(text);
        found.several() && found.transacts()
    }
}

impl Session {
    /// Whether nothing follows the end of the block in the batch that the input begins with, and `text`
    /// with it: what follows could write, but is served where the batch is. A batch that is not here as
    /// a whole may have more.
    pub(super) fn ends_with_block(&self, input: &[u8], text: &[u8]) -> bool {
        if input.first() == Some(&b'Q') {
            return !ends_within(text);
        }
        let (mut at, mut ended) = (0, false);
        while let Some(head) = next_header(&input[at..]).ok().flatten() {
            let rest = &input[at..];
            if rest.len() < head.total {
                return false;
            }
            match head.tag {
                b'Q' => return false,
                b'F' => return at == 0,
                b'S' => return true,
                b'P' | b'B' => {
                    let asked = self.asked_in_batch(&input[..at], rest);
                    let what = asked.and_then(|asked| block(asked.text));
                    let ends = matches!(what, Some(Block::Commits | Block::RollsBack));
                    if ended && !ends {
                        return false;
                    }
                    ended |= ends;
                }
                _ => {}
            }
            at += head.total;
        }
        // A Flush or nothing at all is its end so far.
        !ended
    }

    /// Whether the input, which begins with `first`, is one request, complete to its end, and all that it
    /// asks for is such.
    pub(super) fn is_batch_of(
        &self,
        input: &[u8],
        first: Asked<'_>,
        mut such: impl FnMut(Asked<'_>) -> bool,
    ) -> bool {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let Some(head) = next_header(rest).ok().flatten() else {
                return false;
            };
            if rest.len() < head.total {
                return false;
            }
            match head.tag {
                b'Q' => return at == 0 && such(first),
                b'P' | b'B' if at == 0 => {
                    if first.text.is_empty() || !such(first) {
                        return false;
                    }
                }
                b'P' | b'B' => match self.asked_in_batch(&input[..at], rest) {
                    Some(asked) if such(asked) => {}
                    _ => return false,
                },
                b'D' | b'E' | b'H' => {}
                b'S' => return at > 0,
                _ => return false,
            }
            at += head.total;
        }
    }

    /// What a Parse or Bind is about: one that the batch has parsed before it, or the session's.
    fn asked_in_batch<'a>(&'a self, before: &'a [u8], input: &'a [u8]) -> Option<Asked<'a>> {
        let head = next_header(input).ok().flatten()?;
        if head.tag != b'B' {
            return self.asked(input);
        }
        let (_portal, rest) = frame::cstr(input.get(HEADER..head.total)?)?;
        let (name, _) = frame::cstr(rest)?;
        let (mut at, mut parsed) = (0, None);
        while let Some(head) = next_header(&before[at..]).ok().flatten() {
            let body = before.get(at + HEADER..at + head.total)?;
            if head.tag == b'P' && frame::cstr(body)?.0 == name {
                // It was looked at where it was parsed. The last one counts.
                parsed = Some(at);
            }
            at += head.total;
        }
        self.asked(parsed.map_or(input, |at| &before[at..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(of: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (tag, body) in of {
            frame::put(&mut out, *tag, &[body]);
        }
        out
    }

    #[test]
    fn what_is_bound_and_executed_before_anything_else_runs_at_once() {
        let parse: (u8, &[u8]) = (b'P', b"s\0BEGIN\0\0\0");
        let bind: (u8, &[u8]) = (b'B', b"p\0s\0\0\0\0\0\0\0");
        let execute: (u8, &[u8]) = (b'E', b"p\0\0\0\0\0");
        for batch in [
            &[(b'Q', &b"BEGIN\0"[..])][..],
            &[parse, bind, execute],
            &[bind, execute, parse],
            &[
                parse,
                (b'D', b"Ss\0"),
                (b'H', b""),
                bind,
                (b'D', b"Pp\0"),
                execute,
            ],
        ] {
            assert!(runs_at_once(&messages(batch)), "{batch:?}");
        }
        for batch in [
            &[parse][..],
            &[parse, (b'S', b"")],
            &[parse, bind],
            &[parse, bind, (b'E', b"\0\0\0\0\0")],
            &[parse, (b'P', b"\0DELETE FROM t\0\0\0"), bind, execute],
            &[parse, (b'B', b"p\0\0\0\0\0\0\0\0"), execute],
            &[parse, bind, bind, execute],
            &[execute],
            &[],
        ] {
            assert!(!runs_at_once(&messages(batch)), "{batch:?}");
        }
    }
}
