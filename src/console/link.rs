//! A client's connection as the console sees it, and the messages that come over it.
//!
//! Guarantee: what a client sends ahead is kept up to a limit, then its socket is not read.

use std::future::Future;
use std::io::{self, ErrorKind};

use crate::error::{ClientError, SqlState};
use crate::wire::frame;

/// A socket, encrypted or not.
pub trait Link: Send {
    /// Reads what has come, at least one byte; 0: the client has gone. Cancel-safe: when the future
    /// is dropped nothing is lost.
    fn read(&mut self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;

    /// Sends all of it.
    fn write_all(&mut self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> + Send;

    /// Closes it so that what was sent arrives.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Longest message: commands are short.
const LONGEST: usize = 64 * 1024;

/// What is kept of messages that came ahead.
const AHEAD: usize = 2 * LONGEST;

/// Read at a time.
const GULP: usize = 8 * 1024;

/// Why a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client went away, with or without a word.
    Gone,
    /// It is told why.
    Told(ClientError),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// A message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) tag: u8,
    pub(super) body: Vec<u8>,
}

/// A connection with what was read from it.
#[derive(Debug)]
pub(super) struct Peer<L> {
    link: L,
    input: Vec<u8>,
}

impl<L: Link> Peer<L> {
    pub(super) fn new(link: L) -> Self {
        Self {
            link,
            input: Vec::new(),
        }
    }

    /// The next message, and how many bytes it had. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Message, End> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            self.more().await?;
        }
    }

    /// Waits until the client has gone; what it sends ahead is kept, as far as there is room.
    pub(super) async fn gone(&mut self) -> End {
        loop {
            if self.input.len() >= AHEAD {
                // Whether it has gone shows when the answer is written.
                std::future::pending::<()>().await;
            }
            if let Err(end) = self.more().await {
                return end;
            }
        }
    }

    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), End> {
        Ok(self.link.write_all(bytes).await?)
    }

    pub(super) async fn close(self) {
        self.link.close().await;
    }

    async fn more(&mut self) -> Result<(), End> {
        let mut gulp = [0; GULP];
        let read = self.link.read(&mut gulp).await?;
        if read == 0 {
            return Err(End::from(io::Error::from(ErrorKind::UnexpectedEof)));
        }
        self.input.extend_from_slice(&gulp[..read]);
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Message>, End> {
        let refused = |text: &'static str| {
            let error = ClientError::fatal(SqlState::PROTOCOL, text);
            End::Told(error)
        };
        let header = frame::header(&self.input).map_err(|_| refused("invalid message length"))?;
        let Some(header) = header else {
            return Ok(None);
        };
        if header.total > LONGEST {
            return Err(refused("message is too long for the console"));
        }
        if self.input.len() < header.total {
            return Ok(None);
        }
        let mut body: Vec<u8> = self.input.drain(..header.total).collect();
        body.drain(..frame::HEADER);
        Ok(Some(Message {
            tag: header.tag,
            body,
        }))
    }
}
