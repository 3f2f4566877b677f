//! A socket to a server while it is set up on tokio, and messages over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use rustls::Connection;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::error::ConnectError;
use crate::stream::Stream;
use crate::tls::binding::server_end_point;

/// Longest message taken from a server while signing in and from `connect_query`, in bytes.
const MAX_MESSAGE: usize = 256 * 1024;
/// How much is asked of the socket at once.
const CHUNK: usize = 4096;

/// The socket below.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// The socket without a runtime. Whatever tokio-rustls has decrypted stays in rustls' state.
    pub(super) fn into_stream(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => Stream::from_tcp(socket.into_std()?, None),
            Self::Unix(socket) => Stream::from_unix(socket.into_std()?, None),
            Self::Tls(stream) => {
                let (socket, tls) = stream.into_inner();
                let tls = Box::new(Connection::Client(tls));
                Stream::from_tcp(socket.into_std()?, Some(tls))
            }
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Channel binding data of the server's certificate, where it has any.
    pub(super) fn end_point(&self) -> Option<Vec<u8>> {
        let Self::Tls(stream) = self else { return None };
        server_end_point(stream.get_ref().1.peer_certificates()?.first()?)
    }
}

macro_rules! on_socket {
    ($self:ident, $socket:ident => $then:expr) => {
        match $self.get_mut() {
            Self::Tcp($socket) => $then,
            Self::Unix($socket) => $then,
            Self::Tls($socket) => $then,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_socket!(self, s => Pin::new(s).poll_read(context, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_socket!(self, s => Pin::new(s).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, s => Pin::new(s).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, s => Pin::new(s).poll_shutdown(context))
    }
}

/// A message of a server: its type and what follows the length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
}

/// Messages over a transport.
#[derive(Debug)]
pub(super) struct Wire<T> {
    transport: T,
    /// What was read and not yet taken, from `start` on.
    buffer: Vec<u8>,
    start: usize,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    pub(super) fn new(transport: T) -> Self {
        Self {
            transport,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// The transport, if nothing that was read is left.
    pub(super) fn into_transport(self) -> Result<T, ConnectError> {
        if self.has_unread() {
            return Err(ConnectError::Protocol("data after ReadyForQuery"));
        }
        Ok(self.transport)
    }

    /// Whether there is something read that was not taken, a part of a message perhaps.
    pub(super) fn has_unread(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// The next message, whole.
    pub(super) async fn next(&mut self) -> Result<Message<'_>, ConnectError> {
        let end = loop {
            if let Some(end) = self.frame_end()? {
                break end;
            }
            self.fill().await?;
        };
        let start = std::mem::replace(&mut self.start, end);
        Ok(Message {
            tag: self.buffer[start],
            body: &self.buffer[start + 5..end],
        })
    }

    /// Sends what `write` puts together.
    pub(super) async fn send(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), ConnectError> {
        let mut message = BytesMut::new();
        write(&mut message).map_err(|_| ConnectError::Protocol("a NUL in a name or query"))?;
        let sent = self.transport.write_all(&message).await;
        sent.map_err(|e| ConnectError::lost(&e))?;
        self.transport
            .flush()
            .await
            .map_err(|e| ConnectError::lost(&e))
    }

    /// Reads and drops everything until the server has closed its side.
    pub(super) async fn until_closed(&mut self) {
        let mut scratch = [0; CHUNK];
        while matches!(self.transport.read(&mut scratch).await, Ok(n) if n > 0) {}
    }

    /// Where the message at `start` ends, if it is there as a whole.
    fn frame_end(&self) -> Result<Option<usize>, ConnectError> {
        let unread = &self.buffer[self.start..];
        let Some(length) = unread.get(1..5) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(length.try_into().expect("four bytes were asked for"));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(4..=MAX_MESSAGE).contains(&length) {
            return Err(ConnectError::Protocol("a message of absurd length"));
        }
        Ok((unread.len() > length).then_some(self.start + length + 1))
    }

    async fn fill(&mut self) -> Result<(), ConnectError> {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.reserve(CHUNK);
        match self.transport.read_buf(&mut self.buffer).await {
            Ok(0) => Err(ConnectError::Lost("end of file".to_owned())),
            Ok(_) => Ok(()),
            Err(e) => Err(ConnectError::lost(&e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_found_in_any_chunking() {
        let bytes = b"R\0\0\0\x08\0\0\0\0N\0\0\0\x04Z\0\0\0\x05I";
        for size in 1..=bytes.len() {
            let mut mock = scripted(bytes, size);
            let first = mock.next().await.unwrap();
            assert_eq!(
                first,
                Message {
                    tag: b'R',
                    body: &[0; 4]
                }
            );
            assert_eq!(
                mock.next().await.unwrap(),
                Message {
                    tag: b'N',
                    body: b""
                }
            );
            assert_eq!(
                mock.next().await.unwrap(),
                Message {
                    tag: b'Z',
                    body: b"I"
                }
            );
            assert!(!mock.has_unread());
            assert!(matches!(mock.next().await, Err(ConnectError::Lost(_))));
        }
    }

    #[tokio::test]
    async fn absurd_lengths_are_refused() {
        for length in [0_u32, 3, 1 << 31, u32::MAX, 256 * 1024 + 1] {
            let bytes = [b"R".as_slice(), &length.to_be_bytes()].concat();
            let mut wire = scripted(&bytes, 5);
            assert!(
                matches!(wire.next().await, Err(ConnectError::Protocol(_))),
                "{length}"
            );
        }
    }

    /// A wire that reads these bytes, `size` at a time.
    fn scripted(bytes: &[u8], size: usize) -> Wire<impl AsyncRead + AsyncWrite + Unpin + use<>> {
        let (ours, mut theirs) = tokio::io::duplex(size);
        let bytes = bytes.to_vec();
        tokio::spawn(async move {
            theirs.write_all(&bytes).await.expect("the test reads it");
        });
        Wire::new(ours)
    }
}
