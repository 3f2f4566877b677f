//! A blocking client that speaks raw protocol: it sends any bytes and shows every reply.
//!
//! Each wait has a deadline, so a proxy that hangs is a test that fails.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tenantry::auth::scram::{ClientBinding, ClientExchange, ClientSecret, SCRAM_SHA_256};

use super::frames::Frames;

/// How long a reply may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub tag: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

impl Message {
    /// A field of an ErrorResponse or NoticeResponse.
    pub fn field(&self, field: u8) -> Option<String> {
        self.body
            .split(|b| *b == 0)
            .find(|f| f.first() == Some(&field))
            .map(|f| String::from_utf8_lossy(&f[1..]).into_owned())
    }

    /// The columns of a DataRow, as text; `~` for NULL.
    pub fn columns(&self) -> Vec<String> {
        assert_eq!(self.tag, b'D', "{self:?}");
        let mut rest = &self.body[2..];
        let mut columns = Vec::new();
        while let Some((len, after)) = rest.split_first_chunk::<4>() {
            let len = i32::from_be_bytes(*len);
            let Ok(len) = usize::try_from(len) else {
                columns.push("~".to_owned());
                rest = after;
                continue;
            };
            columns.push(String::from_utf8_lossy(&after[..len]).into_owned());
            rest = &after[len..];
        }
        columns
    }
}

/// All messages up to and with a ReadyForQuery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply(pub Vec<Message>);

impl Reply {
    /// The types of the messages, one letter each; ParameterStatus and notices are left out.
    pub fn tags(&self) -> String {
        self.0
            .iter()
            .filter(|m| !matches!(m.tag, b'S' | b'N'))
            .map(|m| char::from(m.tag))
            .collect()
    }

    /// Rows, columns divided by `|`.
    pub fn rows(&self) -> Vec<String> {
        self.0
            .iter()
            .filter(|m| m.tag == b'D')
            .map(|m| m.columns().join("|"))
            .collect()
    }

    /// The only row; fails with what came instead.
    pub fn one(&self) -> String {
        let rows = self.rows();
        assert_eq!(rows.len(), 1, "{self:?}");
        rows[0].clone()
    }

    /// SQLSTATEs of the errors.
    pub fn errors(&self) -> Vec<String> {
        self.0
            .iter()
            .filter(|m| m.tag == b'E')
            .filter_map(|m| m.field(b'C'))
            .collect()
    }

    /// Transaction status of the ReadyForQuery: `I`, `T` or `E`.
    pub fn status(&self) -> char {
        let last = self.0.last().expect("there is a ReadyForQuery");
        assert_eq!(last.tag, b'Z');
        char::from(last.body[0])
    }

    /// Texts of the CommandCompletes.
    pub fn commands(&self) -> Vec<String> {
        self.0
            .iter()
            .filter(|m| m.tag == b'C')
            .map(|m| String::from_utf8_lossy(&m.body[..m.body.len() - 1]).into_owned())
            .collect()
    }
}

/// A connection that has logged in.
#[derive(Debug)]
pub struct Client {
    /// The socket, for what this type does not offer.
    pub socket: TcpStream,
    received: Vec<u8>,
    taken: usize,
    /// ParameterStatus as reported at login.
    pub parameters: Vec<(String, String)>,
    /// Notices at login.
    pub notices: Vec<Message>,
    /// From BackendKeyData: process id and key, as a cancel request wants them.
    pub cancel_key: Vec<u8>,
}

impl Client {
    /// Password of every role that clients log in as.
    pub const PASSWORD: &str = "client-secret";

    /// Logs in as `app` of the tenant (as `database`) by SCRAM, or whatever the peer asks for.
    pub fn connect(
        address: SocketAddr,
        tenant: &str,
        parameters: &[(&str, &str)],
    ) -> io::Result<Self> {
        Self::log_in(address, &format!("app.{tenant}"), tenant, parameters)
    }

    /// Logs in straight at a PostgreSQL, to compare.
    pub fn direct(database: &super::postgres::Database) -> io::Result<Self> {
        Self::direct_with(database, &[])
    }

    /// The same with startup parameters.
    pub fn direct_with(
        database: &super::postgres::Database,
        parameters: &[(&str, &str)],
    ) -> io::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], database.port));
        Self::log_in(address, &database.name, &database.name, parameters)
    }

    /// Logs in as any user of any peer, with the password that the tests give to such users.
    pub fn log_in(
        address: SocketAddr,
        user: &str,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> io::Result<Self> {
        let password = if user.starts_with("app.") {
            Self::PASSWORD
        } else {
            super::postgres::Database::PASSWORD
        };
        Self::log_in_with(address, (user, password), database, parameters)
    }

    /// Logs in as any user of any peer, with its password.
    pub fn log_in_with(
        address: SocketAddr,
        (user, password): (&str, &str),
        database: &str,
        parameters: &[(&str, &str)],
    ) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut client = Self {
            socket,
            received: Vec::new(),
            taken: 0,
            parameters: Vec::new(),
            notices: Vec::new(),
            cancel_key: Vec::new(),
        };
        let mut body = vec![0, 3, 0, 0];
        let own = [("user", user), ("database", database)];
        for (name, value) in own.iter().chain(parameters) {
            body.extend_from_slice(&[name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        let len = u32::try_from(body.len() + 4).expect("a startup packet is small");
        client.send(&[&len.to_be_bytes(), &body[..]].concat())?;
        client.authenticate(password)?;
        client.settle_in()?;
        Ok(client)
    }

    fn authenticate(&mut self, password: &str) -> io::Result<()> {
        let mut exchange = None;
        let mut finished = None;
        loop {
            let message = self.read()?;
            if message.tag != b'R' {
                return Err(refused(&message));
            }
            let (kind, data) = message.body.split_first_chunk::<4>().expect("a kind");
            match u32::from_be_bytes(*kind) {
                0 => return Ok(()),
                10 => {
                    let (started, first) = ClientExchange::start(ClientBinding::Unavailable)
                        .map_err(io::Error::other)?;
                    exchange = Some(started);
                    let len = u32::try_from(first.len()).expect("short");
                    let body = [SCRAM_SHA_256.as_bytes(), b"\0", &len.to_be_bytes(), &first];
                    self.send(&Frames::default().message(b'p', &body.concat()).0)?;
                }
                11 => {
                    let (done, last) = exchange
                        .take()
                        .expect("SCRAM has begun")
                        .respond(data, ClientSecret::Password(password))
                        .map_err(io::Error::other)?;
                    finished = Some(done);
                    self.send(&Frames::default().message(b'p', &last).0)?;
                }
                12 => {
                    let done = finished.take().expect("SCRAM has ended");
                    done.verify(data).map_err(io::Error::other)?;
                }
                other => panic!("authentication request {other} is not for these tests"),
            }
        }
    }

    fn settle_in(&mut self) -> io::Result<()> {
        loop {
            let message = self.read()?;
            match message.tag {
                b'S' => {
                    let mut fields = message.body.split(|b| *b == 0);
                    let mut next =
                        || String::from_utf8_lossy(fields.next().unwrap_or_default()).into_owned();
                    let pair = (next(), next());
                    self.parameters.push(pair);
                }
                b'N' => self.notices.push(message),
                b'K' => self.cancel_key = message.body,
                b'Z' => return Ok(()),
                b'E' => return Err(refused(&message)),
                _ => {}
            }
        }
    }

    /// Sends bytes in one piece.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Sends messages in one piece.
    pub fn put(&mut self, frames: &Frames) {
        self.send(&frames.0).expect("the proxy reads");
    }

    /// Sends messages byte by byte, each in its own packet.
    pub fn put_bytewise(&mut self, frames: &Frames) {
        for byte in &frames.0 {
            self.send(&[*byte]).expect("the proxy reads");
        }
    }

    /// The next message.
    pub fn read(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = self.take() {
                return Ok(message);
            }
            self.received.drain(..self.taken);
            self.taken = 0;
            let mut buffer = [0; 64 * 1024];
            let read = self.socket.read(&mut buffer)?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.received.extend_from_slice(&buffer[..read]);
        }
    }

    fn take(&mut self) -> Option<Message> {
        let unread = &self.received[self.taken..];
        let (head, _) = unread.split_first_chunk::<5>()?;
        let total = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize + 1;
        let body = unread.get(5..total)?.to_vec();
        let tag = head[0];
        self.taken += total;
        Some(Message { tag, body })
    }

    /// Messages up to the next ReadyForQuery.
    pub fn ready(&mut self) -> Reply {
        let mut messages = Vec::new();
        loop {
            match self.read() {
                Ok(message) => messages.push(message),
                Err(e) => panic!("{e} after {messages:?}"),
            }
            if messages.last().is_some_and(|m| m.tag == b'Z') {
                return Reply(messages);
            }
        }
    }

    /// Messages up to one of that type.
    pub fn until(&mut self, tag: u8) -> Reply {
        let mut messages = Vec::new();
        loop {
            match self.read() {
                Ok(message) => messages.push(message),
                Err(e) => panic!("{e} after {messages:?}"),
            }
            if messages.last().is_some_and(|m| m.tag == tag) {
                return Reply(messages);
            }
        }
    }

    /// Sends messages that end with a Sync or are a Query, and reads the reply.
    pub fn ask(&mut self, frames: &Frames) -> Reply {
        self.put(frames);
        self.ready()
    }

    /// A simple query.
    pub fn query(&mut self, sql: &str) -> Reply {
        self.ask(&Frames::default().query(sql))
    }

    /// Rows of the reply to messages that end with a Sync or are a Query; what went wrong, as text.
    pub fn try_rows(&mut self, frames: &Frames) -> Result<Vec<String>, String> {
        let sent = self.send(&frames.0);
        sent.map_err(|e| format!("sending: {e}"))?;
        let (mut rows, mut failed) = (Vec::new(), None);
        loop {
            let message = match (self.read(), failed.take()) {
                (Ok(message), before) => {
                    failed = before;
                    message
                }
                (Err(e), Some(before)) => return Err(format!("{before}, then {e}")),
                (Err(e), None) => return Err(format!("reading: {e}")),
            };
            match message.tag {
                b'D' => rows.push(message.columns().join("|")),
                b'E' => failed = Some(refused(&message).to_string()),
                b'Z' => return failed.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }

    /// A simple query whose only row is wanted.
    pub fn value(&mut self, sql: &str) -> String {
        self.query(sql).one()
    }

    /// Process id of the server connection that a query meets.
    pub fn backend(&mut self) -> String {
        self.value("SELECT pg_backend_pid()")
    }

    /// What came until the proxy closed the connection: messages, and that it did close it.
    pub fn end(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            match self.read() {
                Ok(message) => messages.push(message),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the connection stays open after {messages:?}")
                }
                Err(_) => return messages,
            }
        }
    }

    /// Whether nothing has come for a moment. Only for what must be silent: silence cannot be awaited.
    pub fn is_silent(&mut self, moment: Duration) -> bool {
        self.socket
            .set_read_timeout(Some(moment))
            .expect("a timeout is set");
        let silent = self
            .read()
            .is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout is set");
        silent
    }
}

fn refused(message: &Message) -> io::Error {
    let code = message.field(b'C').unwrap_or_default();
    let text = message.field(b'M').unwrap_or_default();
    io::Error::other(format!("{code}: {text}"))
}
