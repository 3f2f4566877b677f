//! A client's socket during login: exact reads, so that nothing is taken from the socket that
//! belongs to the next layer, then the hand-over to a worker.
//!
//! Plain sockets are never read beyond what was asked for. Below TLS more may be read; what is
//! decrypted and unused at the end of the login goes along as `read_ahead`.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Accepted as Hello, AcceptedAlert, Acceptor};
use rustls::{Connection, ServerConfig, ServerConnection};
use tokio::net::{TcpStream, UnixStream};

use super::fair::{Fair, Who};
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

/// Where handshakes wait for the processor.
#[derive(Debug)]
pub(super) struct Turns<'a> {
    pub(super) fair: &'a Fair,
    /// The client's.
    pub(super) address: Option<IpAddr>,
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

    /// Runs the TLS handshake; `first` are bytes of it that were already read. The processor works
    /// on it in turn with other clients: the first message only tells the server name, so that it
    /// counts for the order; no turn is held while the network is awaited.
    pub(super) async fn start_tls(
        &mut self,
        config: Arc<ServerConfig>,
        first: &[u8],
        turns: &Turns<'_>,
    ) -> io::Result<()> {
        let hello = self.client_hello(first).await?;
        let who = Who::new(turns.address, hello.client_hello().server_name());
        let (mut tls, mut processed) = {
            let _turn = turns.fair.turn(&who).await;
            match hello.into_connection(config) {
                // Bytes behind the first message may have come with it.
                Ok(mut tls) => {
                    let processed = tls.process_new_packets();
                    (Box::new(tls), processed)
                }
                Err((error, alert)) => return Err(self.alert(error, alert)),
            }
        };
        loop {
            // An alert says what was wrong; the answer matters more than whether it arrives.
            let sent = send_tls(&self.socket, &mut tls).await;
            processed.map_err(invalid)?;
            sent?;
            if !tls.is_handshaking() {
                self.tls = Some(tls);
                return Ok(());
            }
            fill(&self.socket, |socket| tls.read_tls(socket)).await?;
            let _turn = turns.fair.turn(&who).await;
            processed = tls.process_new_packets();
        }
    }

    /// Reads the first message of a handshake, which costs next to nothing.
    async fn client_hello(&mut self, mut first: &[u8]) -> io::Result<Box<Hello>> {
        let mut acceptor = Acceptor::default();
        while !first.is_empty() {
            acceptor.read_tls(&mut first)?;
        }
        loop {
            match acceptor.accept() {
                Ok(Some(hello)) => return Ok(Box::new(hello)),
                Ok(None) => fill(&self.socket, |socket| acceptor.read_tls(socket)).await?,
                Err((error, alert)) => return Err(self.alert(error, alert)),
            }
        }
    }

    /// Sends what the socket takes of an alert: a few bytes.
    fn alert(&self, error: rustls::Error, mut alert: AcceptedAlert) -> io::Error {
        let _gone = alert.write_all(&mut Ready(&self.socket));
        invalid(error)
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
        fill(&self.socket, |socket| tls.read_tls(socket)).await?;
        let processed = tls.process_new_packets();
        let sent = send_tls(&self.socket, tls).await;
        processed.map_err(invalid)?;
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

    /// What has come, at least one byte; 0: the peer has closed. Cancel-safe.
    pub(super) async fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.try_read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.more().await?,
                read => return read,
            }
        }
    }

    /// What encrypts it.
    pub(super) fn tls_in_words(&self) -> Option<String> {
        crate::stream::in_words(self.tls.as_deref()?)
    }

    /// The user that the process at the other end of a Unix socket runs as.
    pub(super) fn peer_uid(&self) -> Option<u32> {
        match &self.socket {
            Accepted::Tcp(_) => None,
            Accepted::Unix(s) => Some(s.peer_cred().ok()?.uid()),
        }
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
async fn fill(
    socket: &Accepted,
    mut take: impl FnMut(&mut Ready<'_>) -> io::Result<usize>,
) -> io::Result<()> {
    loop {
        socket.readable().await?;
        match take(&mut Ready(socket)) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
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
