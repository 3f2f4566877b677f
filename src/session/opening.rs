//! A transaction block that is opened here, and at a server only with its first statement: that shows
//! where it belongs. Statements that only say what kind of transaction it is (SET TRANSACTION) are
//! answered here, too, and one that ends without having begun never reaches a server.
//!
//! What is held is said to the server in our own words ([`Modes::begin`]): nothing is held that a
//! server could refuse. `now()` of such a transaction is the time of its first statement.

use std::rc::Rc;

use super::batch::Batch;
use super::expected::{By, Expected};
use super::link::{Link, TxStatus, Unnamed};
use super::statement::{Statement, Statements};
use super::{Scope, Session};
use crate::error::{ClientError, SqlState};
use crate::wire::frame::{self, HEADER, Header, PARSE_COMPLETE, READY_IDLE, cstr};
use crate::wire::sql::{Access, Block, Hint, Isolation, Modes, block, hint, may_be_block};

/// What becomes of the statement that opens a transaction block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Openings {
    /// It needs a server as any other.
    Passed,
    /// It is answered here, and sent with the next one.
    Held,
}

/// A block that a client has opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    pub(super) modes: Modes,
    /// In a comment ahead of it.
    pub(super) hint: Option<Hint>,
    stage: Stage,
    /// By which protocol it was opened last: after the extended one there is a portal.
    by: Protocol,
}

/// The two protocols of queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Simple,
    Extended,
}

/// How far an opened block has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No server knows of it.
    Held,
    /// It was sent ahead of the first statement.
    Sent,
    /// Its first statement got no server.
    Failed,
}

const READY_OPEN: &[u8] = b"Z\0\0\0\x05T";
const READY_FAILED: &[u8] = b"Z\0\0\0\x05E";

/// One request of a client that is here as a whole: its text, its length, how it is answered.
struct Request<'a> {
    text: &'a [u8],
    total: usize,
    form: Form,
}

/// By which protocol a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Simple,
    /// Parse, Bind, (Describe,) Execute, Sync, all of them unnamed and without parameters.
    Extended(Describes),
}

/// What an extended batch asks to be described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Describes {
    Nothing,
    Portal,
}

impl Session {
    /// Whether a block is open of which no server knows.
    #[inline]
    pub fn holds_opening(&self) -> bool {
        self.opening
            .as_ref()
            .is_some_and(|o| o.stage != Stage::Sent)
    }

    /// What ReadyForQuery says while it has no lease.
    pub(super) fn ready_unleased(&self) -> &'static [u8] {
        match self.opening.as_ref().map(|o| o.stage) {
            Some(Stage::Held | Stage::Sent) => READY_OPEN,
            Some(Stage::Failed) => READY_FAILED,
            None => READY_IDLE,
        }
    }

    /// Answers what needs no server: how many bytes of the input that took, if any.
    pub(super) fn answer_opening(
        &mut self,
        head: Header,
        input: &[u8],
        statements: &mut Statements,
        to_client: &mut Vec<u8>,
    ) -> Option<usize> {
        let failed = self
            .opening
            .as_ref()
            .is_some_and(|o| o.stage == Stage::Failed);
        let request = match head.tag {
            b'Q' => simple(head, input),
            b'P' => extended(head, input),
            b'B' if failed && self.closes(input) => {
                // By a name: the server says that there is nothing to end.
                self.opening = None;
                return None;
            }
            _ => None,
        };
        let Some(request) = request else {
            return failed.then(|| self.refuse_failed(head, to_client));
        };
        let Some(tag) = self.follow(request.text) else {
            return failed.then(|| self.refuse_failed(head, to_client));
        };
        if let Form::Extended(describes) = request.form {
            to_client.extend_from_slice(PARSE_COMPLETE);
            frame::put(to_client, b'2', &[]);
            if describes == Describes::Portal {
                frame::put(to_client, b'n', &[]);
            }
            let definition = [request.text, b"\0\0\0"].concat();
            let scope: Scope = self.scope();
            self.unnamed = Some(statements.intern(scope, &definition));
            self.opened_by(Protocol::Extended);
        } else {
            self.unnamed = None;
            self.opened_by(Protocol::Simple);
        }
        frame::put(to_client, b'C', &[tag.as_bytes(), b"\0"]);
        to_client.extend_from_slice(self.ready_unleased());
        Some(request.total)
    }

    fn opened_by(&mut self, protocol: Protocol) {
        if let Some(opening) = &mut self.opening {
            opening.by = protocol;
        }
    }

    /// Takes note of a statement about the block as a whole: its command tag, if it is one that
    /// needs no server.
    fn follow(&mut self, text: &[u8]) -> Option<&'static str> {
        let what = block(text)?;
        match (what, &mut self.opening) {
            (Block::Opens(modes, tag), None) if may_be_held(modes) => {
                self.opening = Some(Opening {
                    modes,
                    hint: hint(text),
                    stage: Stage::Held,
                    by: Protocol::Simple,
                });
                Some(tag)
            }
            (Block::Describes(modes), Some(opening)) if opening.stage == Stage::Held => {
                let modes = opening.modes.then(modes);
                if !may_be_held(modes) {
                    return None;
                }
                opening.modes = modes;
                Some("SET")
            }
            (Block::Commits | Block::RollsBack, Some(opening)) => {
                let committed = what == Block::Commits && opening.stage == Stage::Held;
                self.opening = None;
                Some(if committed { "COMMIT" } else { "ROLLBACK" })
            }
            _ => None,
        }
    }

    /// Whether the first message runs a statement that ends the block.
    fn closes(&self, input: &[u8]) -> bool {
        let what = self.text_of(input).and_then(block);
        matches!(what, Some(Block::Commits | Block::RollsBack))
    }

    /// In a failed block nothing is done up to its end, as the server has it.
    fn refuse_failed(&mut self, head: Header, to_client: &mut Vec<u8>) -> usize {
        let text =
            "current transaction is aborted, commands ignored until end of transaction block";
        ClientError::error(SqlState::FAILED_TRANSACTION, text).encode(to_client);
        if matches!(head.tag, b'Q' | b'F') {
            to_client.extend_from_slice(READY_FAILED);
        } else {
            self.refused = true;
        }
        head.total
    }

    /// Its request got no server, and was answered by an error.
    pub(super) fn fail_opening(&mut self) {
        if let Some(opening) = &mut self.opening {
            opening.stage = Stage::Failed;
        }
    }

    /// Appends what opens the block at a server, ahead of its first statement.
    #[inline]
    pub fn put_opening(&mut self, link: &mut Link, out: &mut Vec<u8>) {
        if let Some(opening) = &mut self.opening
            && opening.stage == Stage::Held
        {
            opening.stage = Stage::Sent;
            match (opening.by, &self.unnamed) {
                (Protocol::Extended, Some(statement)) => {
                    link.open_extended(opening.modes, statement, out);
                }
                _ => link.open(opening.modes, out),
            }
        }
    }

    /// The block was opened at a server that has not answered anything and never will.
    pub(super) fn hold_again(&mut self) {
        if let Some(opening) = &mut self.opening {
            opening.stage = Stage::Held;
        }
    }
}

impl Link {
    /// Appends a statement that opens a transaction block, whose reply is swallowed.
    fn open(&mut self, modes: Modes, out: &mut Vec<u8>) {
        self.unnamed = Unnamed::None;
        self.expected.push_back(Expected::Query(By::Proxy));
        // What follows is in the block, whenever it is that the server says so.
        self.status = TxStatus::Open;
        put_begin(modes, out);
    }
}

/// Appends the query that opens such a block. Nearly all are one of two, which need not be put together.
fn put_begin(modes: Modes, out: &mut Vec<u8>) {
    match modes {
        Modes::PLAIN => out.extend_from_slice(b"Q\0\0\0\x0aBEGIN\0"),
        Modes::READ_ONLY => out.extend_from_slice(b"Q\0\0\0\x14BEGIN READ ONLY\0"),
        _ => {
            let [begin, isolation, access, deferrable] = modes.begin().map(str::as_bytes);
            frame::put(out, b'Q', &[begin, isolation, access, deferrable, b"\0"]);
        }
    }
}

impl Link {
    /// The same in the extended protocol: it leaves an unnamed statement and portal behind, which a
    /// client may mention.
    fn open_extended(&mut self, modes: Modes, statement: &Rc<Statement>, out: &mut Vec<u8>) {
        self.status = TxStatus::Open;
        self.unnamed = Unnamed::Known(Rc::clone(statement));
        self.portal = Some(Rc::clone(statement));
        let [begin, isolation, access, deferrable] = modes.begin().map(str::as_bytes);
        let text = [b"\0", begin, isolation, access, deferrable, b"\0\0\0"];
        frame::put(out, b'P', &text);
        frame::put(out, b'B', &[&[0; 8]]);
        frame::put(out, b'E', &[&[0; 5]]);
        frame::put(out, b'S', &[]);
        for tag in *b"12C" {
            self.expected.push_back(Expected::Own(tag));
        }
        self.expected.push_back(Expected::Sync(By::Proxy));
    }
}

/// A standby has no SERIALIZABLE, and what writes goes to the primary anyway.
fn may_be_held(modes: Modes) -> bool {
    modes.access != Some(Access::ReadWrite) && modes.isolation != Some(Isolation::Serializable)
}

fn simple(head: Header, input: &[u8]) -> Option<Request<'_>> {
    let (_, text) = input.get(HEADER..head.total)?.split_last()?;
    may_be_block(text).then_some(Request {
        text,
        total: head.total,
        form: Form::Simple,
    })
}

/// An extended batch that does no more than to run one text.
fn extended(head: Header, input: &[u8]) -> Option<Request<'_>> {
    let body = input.get(HEADER..head.total)?;
    let text = body.strip_prefix(b"\0").and_then(cstr)?;
    let (text, b"\0\0") = text else {
        return None;
    };
    if !may_be_block(text) {
        return None;
    }
    let mut batch = Batch {
        input,
        at: head.total,
    };
    // No name, no formats and no values; result formats do not matter, there are no rows.
    let bind = batch.message(b'B')?;
    bind.strip_prefix(b"\0\0\0\0\0\0")?;
    let describes = match batch.message(b'D') {
        Some(b"P\0") => Describes::Portal,
        Some(_) => return None,
        None => Describes::Nothing,
    };
    batch.message(b'E')?.strip_prefix(b"\0")?;
    batch.message(b'S')?;
    Some(Request {
        text,
        total: batch.at,
        form: Form::Extended(describes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_opened_by_the_query_that_its_modes_say() {
        for access in [None, Some(Access::ReadOnly), Some(Access::ReadWrite)] {
            for deferrable in [None, Some(true)] {
                let modes = Modes {
                    access,
                    isolation: None,
                    deferrable,
                };
                let (mut put, mut expected) = (Vec::new(), Vec::new());
                put_begin(modes, &mut put);
                let text = modes.begin().concat();
                frame::put(&mut expected, b'Q', &[text.as_bytes(), b"\0"]);
                assert_eq!(put, expected);
            }
        }
    }
}
