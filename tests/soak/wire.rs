//! A small blocking client that speaks the protocol byte by byte, so that it can also misbehave.
//!
//! Every wait has a deadline: a peer that falls silent is [`Broken::Hung`], never a test that hangs.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than every wait that the proxy or the server may impose.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a session cannot go on.
#[derive(Debug)]
#[expect(dead_code, reason = "what is in them is told by Debug")]
pub(crate) enum Broken {
    /// End of file or a reset.
    Gone(String),
    /// A FATAL error: SQLSTATE and text.
    Fatal(String, String),
    /// Nothing came within [`PATIENCE`].
    Hung(&'static str),
    /// What must not happen.
    Wrong(String),
    /// The client itself has left.
    Left,
}

/// The replies up to ReadyForQuery, or to CopyInResponse.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) rows: Vec<Vec<Option<String>>>,
    pub(crate) tags: Vec<String>,
    /// SQLSTATE and text.
    pub(crate) error: Option<(String, String)>,
    pub(crate) copied: Vec<u8>,
    /// ReadyForQuery's status, or `G`.
    pub(crate) status: u8,
}

impl Reply {
    pub(crate) fn code(&self) -> &str {
        self.error.as_ref().map_or("", |(code, _)| code)
    }

    /// One column of one row.
    pub(crate) fn value(&self, row: usize, column: usize) -> Option<&str> {
        self.rows.get(row)?.get(column)?.as_deref()
    }
}

/// A connection after its login.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    address: SocketAddr,
    input: Vec<u8>,
    at: usize,
    key: Vec<u8>,
    /// Only a Flush was sent: an error is not followed by ReadyForQuery until a Sync is.
    pub(crate) owes_sync: bool,
}

impl Wire {
    /// Connects and logs in by trust.
    pub(crate) fn connect(address: SocketAddr, user: &str, database: &str) -> Result<Self, Broken> {
        let stream =
            TcpStream::connect_timeout(&address, PATIENCE).map_err(|e| broken(&e, "connect"))?;
        let set = |_| "a socket option";
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(set)
            .expect("a duration above zero");
        stream
            .set_write_timeout(Some(PATIENCE))
            .map_err(set)
            .expect("a duration above zero");
        stream
            .set_nodelay(true)
            .map_err(|e| broken(&e, "connect"))?;
        let mut wire = Self {
            stream,
            address,
            input: Vec::new(),
            at: 0,
            key: Vec::new(),
            owes_sync: false,
        };
        let body = [
            &3u32.to_be_bytes()[..],
            b"user\0",
            user.as_bytes(),
            b"\0database\0",
            database.as_bytes(),
            b"\0\0",
        ]
        .concat();
        let mut startup = length(body.len() + 4).to_vec();
        startup.extend(body);
        // Protocol 3.0 is 3 in the upper half of the word.
        startup[4..8].copy_from_slice(&[0, 3, 0, 0]);
        wire.send(&startup)?;
        wire.reply()?;
        Ok(wire)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.stream
            .write_all(bytes)
            .map_err(|e| broken(&e, "write"))
    }

    /// A simple query and its reply.
    pub(crate) fn query(&mut self, sql: &str) -> Result<Reply, Broken> {
        self.send(&query(sql))?;
        self.reply()
    }

    /// Asks to cancel what this session runs, and waits until the request was taken.
    pub(crate) fn cancel(&self) -> Result<(), Broken> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)
            .map_err(|e| broken(&e, "cancel"))?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(|e| broken(&e, "cancel"))?;
        let mut request = length(self.key.len() + 8).to_vec();
        request.extend([0x04, 0xd2, 0x16, 0x2e]);
        request.extend(&self.key);
        stream
            .write_all(&request)
            .map_err(|e| broken(&e, "cancel"))?;
        match stream.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Broken::Wrong("a cancel request was answered".into())),
            Err(error) => Err(broken(&error, "cancel")),
        }
    }

    /// Reads the replies up to ReadyForQuery or CopyInResponse.
    pub(crate) fn reply(&mut self) -> Result<Reply, Broken> {
        let mut reply = Reply::default();
        loop {
            let (tag, body) = self.message()?;
            match tag {
                b'Z' | b'G' => {
                    self.owes_sync = false;
                    reply.status = if tag == b'G' { b'G' } else { body[0] };
                    return Ok(reply);
                }
                b'D' => reply.rows.push(columns(&body)),
                b'C' => reply.tags.push(text(&body)),
                b'd' => reply.copied.extend(body),
                b'K' => self.key = body,
                b'E' => {
                    let (code, message) = (field(&body, b'C'), field(&body, b'M'));
                    if field(&body, b'V') == "FATAL" {
                        return Err(Broken::Fatal(code, message));
                    }
                    if let Some(first) = &reply.error {
                        return Err(Broken::Wrong(format!("two errors: {first:?}, {message}")));
                    }
                    reply.error = Some((code, message));
                    if std::mem::take(&mut self.owes_sync) {
                        self.send(&sync())?;
                    }
                }
                _ => {}
            }
        }
    }

    fn message(&mut self) -> Result<(u8, Vec<u8>), Broken> {
        let head = self.take(5)?;
        let size = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if !(4..1 << 28).contains(&size) || !head[0].is_ascii_alphanumeric() {
            return Err(Broken::Wrong(format!("a header that cannot be: {head:?}")));
        }
        let body = self.take(size - 4)?;
        Ok((head[0], body))
    }

    fn take(&mut self, size: usize) -> Result<Vec<u8>, Broken> {
        while self.input.len() - self.at < size {
            self.input.drain(..self.at);
            self.at = 0;
            let mut buffer = [0; 16 * 1024];
            let read = self
                .stream
                .read(&mut buffer)
                .map_err(|e| broken(&e, "a reply"))?;
            if read == 0 {
                return Err(Broken::Gone("end of file".into()));
            }
            self.input.extend(&buffer[..read]);
        }
        let taken = self.input[self.at..self.at + size].to_vec();
        self.at += size;
        Ok(taken)
    }
}

fn broken(error: &std::io::Error, what: &'static str) -> Broken {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Broken::Hung(what),
        _ => Broken::Gone(format!("{what}: {error}")),
    }
}

fn length(size: usize) -> [u8; 4] {
    u32::try_from(size)
        .expect("messages of the test are small")
        .to_be_bytes()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .trim_end_matches('\0')
        .to_owned()
}

fn field(body: &[u8], tag: u8) -> String {
    let found = body.split(|b| *b == 0).find(|f| f.first() == Some(&tag));
    found.map_or_else(String::new, |f| text(&f[1..]))
}

fn columns(body: &[u8]) -> Vec<Option<String>> {
    let mut rest = &body[2..];
    let mut row = Vec::new();
    while let Some((size, after)) = rest.split_first_chunk::<4>() {
        let size = usize::try_from(i32::from_be_bytes(*size)).ok();
        let (value, next) = after.split_at(size.unwrap_or(0));
        row.push(size.map(|_| text(value)));
        rest = next;
    }
    row
}

fn message(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![tag];
    out.extend(length(body.len() + 4));
    out.extend(body);
    out
}

pub(crate) fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"])
}

pub(crate) fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', &[name.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"])
}

/// Bind to the unnamed portal, all in text format, and Execute.
pub(crate) fn run(statement: &str, values: &[&str]) -> Vec<u8> {
    let mut body = [b"\0", statement.as_bytes(), b"\0\0\0"].concat();
    body.extend(u16::try_from(values.len()).expect("few").to_be_bytes());
    for value in values {
        body.extend(length(value.len()));
        body.extend(value.as_bytes());
    }
    body.extend([0, 0]);
    [message(b'B', &[&body]), message(b'E', &[b"\0\0\0\0\0"])].concat()
}

pub(crate) fn describe(statement: &str) -> Vec<u8> {
    message(b'D', &[b"S", statement.as_bytes(), b"\0"])
}

pub(crate) fn close(statement: &str) -> Vec<u8> {
    message(b'C', &[b"S", statement.as_bytes(), b"\0"])
}

pub(crate) fn sync() -> Vec<u8> {
    message(b'S', &[])
}

pub(crate) fn copy_data(text: &str) -> Vec<u8> {
    message(b'd', &[text.as_bytes()])
}

pub(crate) fn copy_done() -> Vec<u8> {
    message(b'c', &[])
}

pub(crate) fn copy_fail() -> Vec<u8> {
    message(b'f', &[b"the client gives up\0"])
}
