//! A socket without a runtime: plain TCP, a Unix socket, or TLS over one of them.
//!
//! Non-blocking and edge-triggered: a read that returns less than asked, or `WouldBlock`, has
//! drained the socket. TLS keeps nothing but rustls' own state between calls.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::Connection;
use socket2::{SockRef, TcpKeepalive};

/// Probes of a silent peer before it is given up.
const PROBES: u32 = 3;

/// Has the kernel end a TCP connection whose peer has vanished: asked after `after` of silence and
/// `PROBES` times in as long again, or `after` twice without taking what was sent. A peer that is
/// there but takes nothing for so long, while something waits for it, is ended just the same.
pub fn keep_alive(socket: &impl AsFd, after: Duration) -> io::Result<()> {
    if after.is_zero() {
        return Ok(());
    }
    let second = Duration::from_secs(1);
    let every = TcpKeepalive::new()
        .with_time(after.max(second))
        .with_interval((after / PROBES).max(second))
        .with_retries(PROBES);
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&every)?;
    // Where it is set the kernel counts no probes: it must not be over before the last of them.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(after * 2))?;
    Ok(())
}

/// A non-blocking byte stream to a client or a server.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    tls: Option<Box<Connection>>,
}

/// The socket below a [`Stream`].
#[derive(Debug)]
pub enum Socket {
    /// TCP, with `TCP_NODELAY` set.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

/// What became of an attempt to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOutcome {
    /// So many bytes, and more may be there.
    More(usize),
    /// So many bytes (perhaps none), and nothing more until the next readiness event.
    Drained(usize),
    /// The peer has closed its side.
    Closed,
}

impl Stream {
    /// Takes over a connected socket, and the TLS connection (handshake done) that runs over it.
    pub fn new(socket: Socket, tls: Option<Box<Connection>>) -> Self {
        Self { socket, tls }
    }

    /// Takes over a connected TCP socket in whatever mode it is.
    pub fn from_tcp(socket: std::net::TcpStream, tls: Option<Box<Connection>>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self::new(Socket::Tcp(TcpStream::from_std(socket)), tls))
    }

    /// Takes over a connected Unix socket in whatever mode it is.
    pub fn from_unix(
        socket: std::os::unix::net::UnixStream,
        tls: Option<Box<Connection>>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self::new(Socket::Unix(UnixStream::from_std(socket)), tls))
    }

    /// Whether the bytes on the wire are encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The other end's address; `None` for Unix sockets.
    pub fn peer(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(s) => s.peer_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// Whether the peer has broken the connection off. Says so once.
    pub fn is_reset(&self) -> bool {
        let error = match &self.socket {
            Socket::Tcp(s) => s.take_error(),
            Socket::Unix(s) => s.take_error(),
        };
        !matches!(error, Ok(None))
    }

    /// Our end's address; `None` for Unix sockets.
    pub fn local(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(s) => s.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// What encrypts it: protocol version and cipher suite.
    pub fn tls_in_words(&self) -> Option<String> {
        in_words(self.tls.as_ref()?)
    }

    /// Reads what is there.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<ReadOutcome> {
        match &mut self.tls {
            None => read_plain(&mut self.socket, buffer),
            Some(tls) => read_tls(tls, &mut self.socket, buffer),
        }
    }

    /// Writes what the kernel takes; returns how many of `bytes` were taken over. For TLS, taken
    /// over means encrypted into rustls' buffer, whose rest [`Stream::flush`] sends.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => write_plain(&mut self.socket, bytes),
            Some(tls) => {
                // rustls takes a bounded amount at once; only a full socket is a reason to stop.
                let mut taken = 0;
                while send_tls(tls, &mut self.socket)? && taken < bytes.len() {
                    taken += tls.writer().write(&bytes[taken..])?;
                }
                Ok(taken)
            }
        }
    }

    /// Whether TLS holds something back that [`Stream::flush`] is to send.
    #[inline]
    pub fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Sends what TLS holds back; true: nothing is left.
    pub fn flush(&mut self) -> io::Result<bool> {
        match &mut self.tls {
            None => Ok(true),
            Some(tls) => send_tls(tls, &mut self.socket),
        }
    }

    /// Tells the peer that nothing more comes: close_notify, then FIN. Errors do not matter any more.
    pub fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _gone = send_tls(tls, &mut self.socket);
        }
        let how = std::net::Shutdown::Write;
        let _gone = match &self.socket {
            Socket::Tcp(s) => s.shutdown(how),
            Socket::Unix(s) => s.shutdown(how),
        };
    }
}

fn read_plain(socket: &mut Socket, buffer: &mut [u8]) -> io::Result<ReadOutcome> {
    loop {
        match socket.read(buffer) {
            Ok(0) => return Ok(ReadOutcome::Closed),
            Ok(n) if n < buffer.len() => return Ok(ReadOutcome::Drained(n)),
            Ok(n) => return Ok(ReadOutcome::More(n)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(ReadOutcome::Drained(0)),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn write_plain(socket: &mut Socket, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match socket.write(bytes) {
            Ok(n) => return Ok(n),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Fills `buffer` with plaintext; takes from the socket only when rustls has none left.
fn read_tls(
    tls: &mut Connection,
    socket: &mut Socket,
    buffer: &mut [u8],
) -> io::Result<ReadOutcome> {
    let mut filled = 0;
    loop {
        match tls.reader().read(&mut buffer[filled..]) {
            Ok(0) if filled < buffer.len() => {
                return Ok(if filled == 0 {
                    ReadOutcome::Closed
                } else {
                    ReadOutcome::More(filled)
                });
            }
            Ok(n) => filled += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        if filled == buffer.len() {
            return Ok(ReadOutcome::More(filled));
        }
        match tls.read_tls(socket) {
            Ok(0) if filled > 0 => return Ok(ReadOutcome::More(filled)),
            Ok(0) => return Ok(ReadOutcome::Closed),
            Ok(_) => {
                let fed = tls.process_new_packets();
                if tls.wants_write() {
                    send_tls(tls, socket)?;
                }
                fed.map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(ReadOutcome::Drained(filled)),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// What encrypts a connection: protocol version and cipher suite.
pub fn in_words(tls: &rustls::CommonState) -> Option<String> {
    let version = tls.protocol_version().and_then(|v| v.as_str());
    let version = version.unwrap_or_default().replace('_', ".");
    let suite = tls.negotiated_cipher_suite()?.suite();
    let suite = suite.as_str().unwrap_or_default().replace("TLS13_", "TLS_");
    Some(format!("{version}/{suite}"))
}

/// Sends ciphertext; true: none is left.
fn send_tls(tls: &mut Connection, socket: &mut Socket) -> io::Result<bool> {
    while tls.wants_write() {
        match tls.write_tls(socket) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

/// Not through the C library, where each call is a place at which a thread may be cancelled: that
/// costs 60 instructions a call.
impl Read for Socket {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (read, _whole) = recv(self, buffer, RecvFlags::empty())?;
        Ok(read)
    }
}

impl Write for Socket {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SIGPIPE is ignored in a Rust program.
        Ok(send(self, bytes, SendFlags::empty())?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Socket {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(s) => s.as_fd(),
            Self::Unix(s) => s.as_fd(),
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match &self.socket {
            Socket::Tcp(s) => s.as_raw_fd(),
            Socket::Unix(s) => s.as_raw_fd(),
        }
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, on: Interest) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(s) => s.register(registry, token, on),
            Socket::Unix(s) => s.register(registry, token, on),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, on: Interest) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(s) => s.reregister(registry, token, on),
            Socket::Unix(s) => s.reregister(registry, token, on),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(s) => s.deregister(registry),
            Socket::Unix(s) => s.deregister(registry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alive_reaches_the_socket() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for (after, idle, interval) in [(60, 60, 20), (2, 2, 1), (32_767, 32_767, 10_922)] {
            let socket = std::net::TcpStream::connect(address).unwrap();
            keep_alive(&socket, Duration::from_secs(after)).unwrap();
            let set = SockRef::from(&socket);
            assert!(set.keepalive().unwrap());
            assert_eq!(set.tcp_keepalive_time().unwrap(), Duration::from_secs(idle));
            let every = set.tcp_keepalive_interval().unwrap();
            assert_eq!(every, Duration::from_secs(interval));
            assert_eq!(set.tcp_keepalive_retries().unwrap(), PROBES);
            #[cfg(target_os = "linux")]
            assert_eq!(
                set.tcp_user_timeout().unwrap(),
                Some(Duration::from_secs(2 * after))
            );
        }
        let socket = std::net::TcpStream::connect(address).unwrap();
        keep_alive(&socket, Duration::ZERO).unwrap();
        assert!(!SockRef::from(&socket).keepalive().unwrap());
    }
}
