//! One message of a client: its header, as much of its body as is there, and how it is passed on
//! under another name.

use super::flow::Flow;
use crate::error::{ClientError, SqlState};
use crate::wire::frame::{self, HEADER, Header};
use crate::wire::sql::{PinReason, Survey, survey};

/// One message of a client, as much of it as is there.
pub(super) struct Message<'a> {
    pub(super) head: Header,
    pub(super) at: usize,
    pub(super) bytes: &'a [u8],
}

impl<'a> Message<'a> {
    pub(super) fn body(&self) -> &'a [u8] {
        &self.bytes[HEADER..]
    }

    pub(super) fn is_whole(&self) -> bool {
        self.bytes.len() == self.head.total
    }

    /// What its text may do, if that is here as a whole.
    pub(super) fn survey(&self, text: &[u8]) -> Survey {
        if self.is_whole() {
            survey(text)
        } else {
            Survey::of(PinReason::LargeStatement)
        }
    }

    pub(super) fn range(&self) -> std::ops::Range<usize> {
        self.at..self.at + self.bytes.len()
    }

    /// Passes the message with one of its strings replaced, `old` by `new`, behind `before`.
    pub(super) fn pass_renamed(&self, renamed: Renamed<'_>, flow: &mut Flow<'_>) {
        let Renamed { before, old, new } = renamed;
        let body = self.head.total - HEADER - old + new.len();
        let start = self.at + HEADER + before;
        let out = flow.own();
        frame::put_header(out, self.head.tag, body);
        out.extend_from_slice(&self.bytes[HEADER..HEADER + before]);
        out.extend_from_slice(new);
        flow.pass(start + old..self.at + self.bytes.len());
    }
}

/// A string inside a message: where it starts in the body, its length with NUL, what it becomes.
pub(super) struct Renamed<'a> {
    pub(super) before: usize,
    pub(super) old: usize,
    pub(super) new: &'a [u8],
}

/// Longest message of those kinds that hold next to nothing (`PQ_SMALL_MESSAGE_LIMIT`).
const SHORT: usize = 10_000;

/// Reads the header of a client's message and checks what PostgreSQL checks first.
pub(super) fn next_header(input: &[u8]) -> Result<Option<Header>, ClientError> {
    let head =
        frame::header(input).map_err(|e| ClientError::fatal(SqlState::PROTOCOL, e.to_string()))?;
    match head {
        None => Ok(None),
        Some(head) => match head.tag {
            b'Q' | b'P' | b'B' | b'F' | b'd' => Ok(Some(head)),
            b'D' | b'C' | b'E' | b'S' | b'H' | b'c' | b'f' | b'X' if head.total <= SHORT => {
                Ok(Some(head))
            }
            b'D' | b'C' | b'E' | b'S' | b'H' | b'c' | b'f' | b'X' => Err(ClientError::fatal(
                SqlState::PROTOCOL,
                "invalid message length",
            )),
            tag => Err(unknown_message(tag)),
        },
    }
}

pub(super) fn unknown_message(tag: u8) -> ClientError {
    ClientError::fatal(
        SqlState::PROTOCOL,
        format!("invalid frontend message type {tag}"),
    )
}
