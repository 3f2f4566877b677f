//! A client's socket during login: exact reads, so that nothing is taken from the socket that
//! belongs to the next layer, then the hand-over to a worker.
//!
//! Plain sockets are never read beyond what was asked for. Below TLS more may be read; what is
//! decrypted and unused at the end of the login goes along as `read_ahead`.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{Connection, ServerConfig, ServerConnection};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;

use crate::stream::{Stream, keep_alive};

/// Memory for what a peer sends grows by at most so many bytes before they arrive.
const CHUNK: usize = 1024;

/// Read and thrown away from a refused client: unread bytes would make the kernel reset the
/// connection, and the refusal would be lost.
const LAST_GULP: usize = 16 * 1024;

/// A socket as accepted.
#[derive(Debug)]
pub enum Accepted {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

/// Both ends of a TCP connection, IPv4 never written as IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Where the client is.
    pub peer: SocketAddr,
    /// The address that it reached.
    pub local: SocketAddr,
}

impl Ends {
    /// Of a client at `peer` that reached `local`.
    pub fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        let canonical = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
        Self {
            peer: canonical(peer),
            local: canonical(local),
        }
    }
}

impl Accepted {
    /// Whether it is a Unix socket: exempt from TLS.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.readable().await,
            Self::Unix(s) => s.readable().await,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.writable().await,
            Self::Unix(s) => s.writable().await,
        }
    }

    fn shutdown_write(self) -> io::Result<()> {
        let how = std::net::Shutdown::Write;
        match self {
            Self::Tcp(s) => s.into_std()?.shutdown(how),
            Self::Unix(s) => s.into_std()?.shutdown(how),
        }
    }

    fn into_stream(self, tls: Option<Box<Connection>>) -> io::Result<Stream> {
        match self {
            Self::Tcp(s) => Stream::from_tcp(s.into_std()?, tls),
            Self::Unix(s) => Stream::from_unix(s.into_std()?, tls),
        }
    }
}

/// The socket as rustls wants it: `WouldBlock` instead of waiting.
struct Ready<'a>(&'a Accepted);

impl io::Read for Ready<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0 {
            Accepted::Tcp(s) => s.try_read(buffer),
            Accepted::Unix(s) => s.try_read(buffer),
        }
    }
}

impl io::Write for Ready<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0 {
            Accepted::Tcp(s) => s.try_write(bytes),
            Accepted::Unix(s) => s.try_write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client's connection until it is handed to a worker.
#[derive(Debug)]
pub(super) struct Channel {
    socket: Accepted,
    tls: Option<Box<ServerConnection>>,
}

impl Channel {
    pub(super) fn new(socket: Accepted) -> Self {
        Self { socket, tls: None }
    }

    pub(super) fn is_unix(&self) -> bool {
        self.socket.is_unix()
    }

    pub(super) fn tls(&self) -> Option<&ServerConnection> {
        self.tls.as_deref()
    }

    /// Has the kernel end the connection when the client vanishes.
    pub(super) fn keep_alive(&self, after: Duration) -> io::Result<()> {
        match &self.socket {
            Accepted::Tcp(socket) => keep_alive(socket, after),
            Accepted::Unix(_) => Ok(()),
        }
    }

    /// Runs the TLS handshake; `first` are bytes of it that were already read. A place in `cpu`
    /// is held while the processor works, never while the network is awaited.
    pub(super) async fn start_tls(
        &mut self,
        config: Arc<ServerConfig>,
        mut first: &[u8],
        cpu: &Semaphore,
    ) -> io::Result<()> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        while !first.is_empty() {
            tls.read_tls(&mut first)?;
        }
        while tls.is_handshaking() {
            fill(&self.socket, &mut tls).await?;
            let processed = {
                let _place = cpu.acquire().await.map_err(io::Error::other)?;
                tls.process_new_packets()
            };
            // An alert says what was wrong; the answer matters more than whether it arrives.
            let sent = send_tls(&self.socket, &mut tls).await;
            processed.map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
            sent?;
        }
        self.tls = Some(Box::new(tls));
        Ok(())
    }

    /// Fills `buffer`, and takes nothing more from a plain socket.
    pub(super) async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.try_read(&mut buffer[filled..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => filled += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.more().await?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads `length` bytes; memory grows with what arrives, not with what was announced.
    pub(super) async fn read_body(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while body.len() < length {
            let filled = body.len();
            body.resize(length.min(filled + CHUNK), 0);
            self.read_exact(&mut body[filled..]).await?;
        }
        Ok(body)
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => Ready(&self.socket).read(buffer),
            Some(tls) => tls.reader().read(buffer),
        }
    }

    /// Waits until a read may succeed.
    async fn more(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return self.socket.readable().await;
        };
        fill(&self.socket, tls).await?;
        let processed = tls.process_new_packets();
        let sent = send_tls(&self.socket, tls).await;
        processed.map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
        sent
    }

    /// Sends all of it.
    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = match &mut self.tls {
                None => Ready(&self.socket).write(bytes),
                Some(tls) => tls.writer().write(bytes),
            };
            match taken {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.socket.writable().await?,
                Err(e) => return Err(e),
            }
            if let Some(tls) = &mut self.tls {
                send_tls(&self.socket, tls).await?;
            }
        }
        Ok(())
    }

    /// Sends what the socket takes at once, in plain text, and closes.
    pub(super) fn write_now(self, bytes: &[u8]) {
        // Whoever has sent enough already to fill the socket does without.
        let _gone = Ready(&self.socket).write(bytes);
        self.shut();
    }

    /// Closes after a last message, so that it arrives; errors do not matter any more.
    pub(super) async fn close(mut self) {
        if let Some(mut tls) = self.tls.take() {
            tls.send_close_notify();
            let _gone = send_tls(&self.socket, &mut tls).await;
        }
        self.shut();
    }

    fn shut(self) {
        let mut gulp = vec![0; LAST_GULP];
        let _gone = Ready(&self.socket).read(&mut gulp);
        let _gone = self.socket.shutdown_write();
    }

    /// What a worker takes over: the socket, and what was decrypted but not used.
    pub(super) fn into_stream(mut self) -> io::Result<(Stream, Vec<u8>)> {
        let mut read_ahead = Vec::new();
        let tls = self.tls.take().map(|mut tls| {
            let mut chunk = [0; CHUNK];
            while let Ok(n @ 1..) = tls.reader().read(&mut chunk) {
                read_ahead.extend_from_slice(&chunk[..n]);
            }
            Box::new(Connection::Server(*tls))
        });
        Ok((self.socket.into_stream(tls)?, read_ahead))
    }
}

/// Waits for ciphertext and takes some.
async fn fill(socket: &Accepted, tls: &mut ServerConnection) -> io::Result<()> {
    loop {
        socket.readable().await?;
        match tls.read_tls(&mut Ready(socket)) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

/// Sends what rustls holds.
async fn send_tls(socket: &Accepted, tls: &mut ServerConnection) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(&mut Ready(socket)) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => socket.writable().await?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
