//! A connection that asks a node questions: one at a time, on tokio.
//!
//! Whoever gives up waiting for an answer must drop the link, for the answer may still come.

use postgres_protocol::message::frontend;

use crate::upstream::Target;
use crate::upstream::connect::{Connectors, attach};
use crate::upstream::error::{ConnectError, ServerError};
use crate::upstream::sign_in::{Session, ready};
use crate::upstream::transport::{Message, Transport, Wire};

/// Signed in, nothing asked.
#[derive(Debug)]
pub(super) struct Link {
    wire: Wire<Transport>,
    session: Session,
}

/// The columns of a row as texts.
pub(super) type Row = Vec<Option<String>>;

/// What comes of a question while the connection holds.
#[derive(Debug)]
pub(super) enum Answer {
    /// The first row; without columns if there was none.
    Row(Row),
    /// The query failed. The next one may do better.
    Error(ServerError),
}

impl Link {
    pub(super) async fn open(
        target: &Target,
        connectors: &Connectors,
    ) -> Result<Self, ConnectError> {
        let (wire, session) = attach(target, connectors).await?;
        Ok(Self { wire, session })
    }

    /// Runs a simple query.
    ///
    /// # Errors
    /// The link is of no use any more.
    pub(super) async fn ask(&mut self, query: &str) -> Result<Answer, ConnectError> {
        self.wire.send(|out| frontend::query(query, out)).await?;
        let mut answer = Answer::Row(Row::new());
        loop {
            let message = match (self.wire.next().await, answer) {
                (Ok(message), so_far) => {
                    answer = so_far;
                    message
                }
                // A FATAL error says more than the end of file behind it.
                (Err(_), Answer::Error(error)) => return Err(ConnectError::Refused(error)),
                (Err(e), Answer::Row(_)) => return Err(e),
            };
            match message.tag {
                b'Z' => return ready(message).map(|()| answer),
                b'E' => answer = Answer::Error(ServerError::parse(message.body)),
                b'D' => {
                    if matches!(&answer, Answer::Row(row) if row.is_empty()) {
                        answer = Answer::Row(columns(message)?);
                    }
                }
                b'C' | b'I' | b'T' => {}
                _ => self.session.asynchronous(message)?,
            }
        }
    }

    /// Watches a link that is not in use until it breaks, and says how. May be given up at any
    /// time: messages are taken whole.
    pub(super) async fn broken(&mut self) -> ConnectError {
        loop {
            let heard = match self.wire.next().await {
                Ok(message) => self.session.asynchronous(message),
                Err(e) => Err(e),
            };
            if let Err(e) = heard {
                return e;
            }
        }
    }
}

/// The columns of a DataRow (manual, 55.7).
fn columns(message: Message<'_>) -> Result<Row, ConnectError> {
    let malformed = || ConnectError::Protocol("a malformed DataRow");
    let (count, mut rest) = message.body.split_first_chunk().ok_or_else(malformed)?;
    let mut row = Row::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, tail) = rest.split_first_chunk().ok_or_else(malformed)?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            row.push(None);
            rest = tail;
            continue;
        };
        let (text, tail) = tail.split_at_checked(length).ok_or_else(malformed)?;
        row.push(Some(String::from_utf8_lossy(text).into_owned()));
        rest = tail;
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_malformed_ones_refused() {
        let read = |body| columns(Message { tag: b'D', body });
        let row = read(b"\0\x03\0\0\0\x01t\xff\xff\xff\xff\0\0\0\0").expect("a row");
        assert_eq!(row, [Some("t".to_owned()), None, Some(String::new())]);
        for body in [
            &b""[..],
            b"\0",
            b"\0\x01",
            b"\0\x01\0\0",
            b"\0\x01\0\0\0\x02t",
        ] {
            assert!(read(body).is_err(), "{body:?}");
        }
    }
}
