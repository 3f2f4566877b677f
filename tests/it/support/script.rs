//! A server that plays PostgreSQL: it takes every login and then does what a script says.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::Message;
use super::postgres::Database;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;

/// One connection to the scripted server, after its login.
#[derive(Debug)]
pub struct Peer {
    /// The socket.
    pub socket: TcpStream,
    /// Which connection it is, counted from 0.
    pub number: usize,
}

impl Peer {
    /// The next message; `None`: the other side has closed. What the proxy asks of the catalog is
    /// answered: there is nothing in it.
    pub fn read(&mut self) -> Option<Message> {
        loop {
            let message = self.read_any()?;
            if !String::from_utf8_lossy(&message.body).contains("WITH RECURSIVE") {
                return Some(message);
            }
            self.send(b'C', b"SELECT 0\0").ok()?;
            self.send(b'Z', b"I").ok()?;
        }
    }

    fn read_any(&mut self) -> Option<Message> {
        let mut head = [0; 5];
        self.socket.read_exact(&mut head).ok()?;
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; len.checked_sub(4)?];
        self.socket.read_exact(&mut body).ok()?;
        Some(Message { tag: head[0], body })
    }

    /// Sends a message.
    pub fn send(&mut self, tag: u8, body: &[u8]) -> io::Result<()> {
        let len = u32::try_from(body.len() + 4).expect("tests send what fits");
        self.raw(&[&[tag][..], &len.to_be_bytes(), body].concat())
    }

    /// Sends bytes.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Answers a query by one row of one column.
    pub fn answer(&mut self, value: &str) -> io::Result<()> {
        let len = u32::try_from(value.len()).expect("tests send what fits");
        self.send(
            b'T',
            b"\0\x01v\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0",
        )?;
        self.send(
            b'D',
            &[b"\0\x01", &len.to_be_bytes()[..], value.as_bytes()].concat(),
        )?;
        self.send(b'C', b"SELECT 1\0")?;
        self.send(b'Z', b"I")
    }

    /// Answers every query by the number of this connection, until the other side closes.
    pub fn serve(mut self) {
        while let Some(message) = self.read() {
            let number = self.number.to_string();
            if message.tag == b'X' || (message.tag == b'Q' && self.answer(&number).is_err()) {
                return;
            }
        }
    }
}

/// A listener whose connections each run the script. Ends, with its connections, when dropped.
#[derive(Debug)]
pub struct ScriptedServer {
    port: u16,
    stop: Arc<AtomicBool>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
    cancels: Arc<AtomicUsize>,
    acceptor: Option<JoinHandle<()>>,
}

impl ScriptedServer {
    /// Starts one; `script` runs on a thread of its own for each connection.
    pub fn start(script: impl Fn(Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let stop = Arc::new(AtomicBool::new(false));
        let sockets = Arc::new(Mutex::new(Vec::new()));
        let (stopped, kept) = (Arc::clone(&stop), Arc::clone(&sockets));
        let script = Arc::new(script);
        let numbers = Arc::new(AtomicUsize::new(0));
        let cancels = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&cancels);
        let acceptor = std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                kept.lock()
                    .expect("no holder panics")
                    .extend(socket.try_clone());
                let (script, numbers) = (Arc::clone(&script), Arc::clone(&numbers));
                let cancels = Arc::clone(&counted);
                std::thread::spawn(move || {
                    if let Some(peer) = log_in(socket, &numbers, &cancels) {
                        script(peer);
                    }
                });
            }
        });
        Self {
            port,
            stop,
            sockets,
            cancels,
            acceptor: Some(acceptor),
        }
    }

    /// How many cancel requests have come.
    pub fn cancels(&self) -> usize {
        self.cancels.load(Ordering::Acquire)
    }

    /// As a database of the tests.
    pub fn database(&self) -> Database {
        Database {
            name: "scripted".into(),
            port: self.port,
        }
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the acceptor; if that fails it has ended already.
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
        for socket in self.sockets.lock().expect("no holder panics").drain(..) {
            let _gone = socket.shutdown(Shutdown::Both);
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _panicked = acceptor.join();
        }
    }
}

/// Trusts whoever comes. A cancel request is counted and dropped.
fn log_in(mut socket: TcpStream, numbers: &AtomicUsize, cancels: &AtomicUsize) -> Option<Peer> {
    socket.set_nodelay(true).ok()?;
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .ok()?;
    loop {
        let mut head = [0; 8];
        socket.read_exact(&mut head).ok()?;
        let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let code = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let mut rest = vec![0; len.checked_sub(8)?];
        socket.read_exact(&mut rest).ok()?;
        match code {
            SSL => socket.write_all(b"N").ok()?,
            CANCEL => {
                cancels.fetch_add(1, Ordering::AcqRel);
                return None;
            }
            _ => break,
        }
    }
    let number = numbers.fetch_add(1, Ordering::AcqRel);
    let mut peer = Peer { socket, number };
    peer.send(b'R', &[0; 4]).ok()?;
    for (name, value) in [
        ("server_version", "15.0"),
        ("client_encoding", "UTF8"),
        ("server_encoding", "UTF8"),
        ("standard_conforming_strings", "on"),
        ("integer_datetimes", "on"),
    ] {
        let body = [name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat();
        peer.send(b'S', &body).ok()?;
    }
    peer.send(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]).ok()?;
    peer.send(b'Z', b"I").ok()?;
    Some(peer)
}
