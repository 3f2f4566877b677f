//! HOT: one socket of a worker: what it could not write yet, what waits to be read, what the kernel says.

use std::io;

use mio::event::Event;

use crate::stream::{ReadOutcome, Stream};

/// A socket with what could not be written yet and what the kernel has said.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) stream: Stream,
    /// Output that the kernel did not take.
    pub(super) out: Vec<u8>,
    /// Input that waits.
    pub(super) held: Vec<u8>,
    /// There may be something to read.
    pub(super) readable: bool,
    /// The peer has closed; a read will say so in the end.
    pub(super) closing: bool,
}

impl Connected {
    pub(super) fn new(stream: Stream, held: Vec<u8>) -> Self {
        Self {
            stream,
            out: Vec::new(),
            held,
            readable: true,
            closing: false,
        }
    }

    #[inline]
    pub(super) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable();
        self.closing |= event.is_read_closed() || event.is_error();
    }

    /// Reads into `buffer`; how much, and whether the peer is gone.
    #[inline]
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<(usize, End)> {
        match self.stream.read(buffer)? {
            ReadOutcome::More(n) => Ok((n, End::Open)),
            ReadOutcome::Drained(n) => {
                // A short read has drained the socket, but says nothing of the end behind it.
                self.readable = self.closing && n > 0;
                Ok((n, End::Open))
            }
            ReadOutcome::Closed => Ok((0, End::Closed)),
        }
    }

    /// Writes, and keeps what the kernel does not take.
    #[inline]
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        if self.out.is_empty() {
            let taken = self.stream.write(rest)?;
            rest = &rest[taken..];
        }
        if !rest.is_empty() {
            self.out.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Whether everything was sent.
    #[inline]
    pub(super) fn is_clear(&self) -> bool {
        self.out.is_empty() && !self.stream.has_unsent()
    }

    /// Writes what was kept; true: nothing is left.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while !self.out.is_empty() {
            let taken = self.stream.write(&self.out)?;
            if taken == 0 {
                return Ok(false);
            }
            self.out.drain(..taken);
        }
        self.out = Vec::new();
        self.stream.flush()
    }
}

/// Whether a peer has closed its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Open,
    Closed,
}
