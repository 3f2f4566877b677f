//! One session: messages in, answers out, by the simple protocol and by the extended one
//! ([`extended`]) as far as commands without parameters need it (manual, 55.2).
//!
//! Guarantees: answers are sent in pieces, so that a large table needs no memory of its size; while a
//! command waits, a cancel request stops it and the client's end is noticed. There are no
//! transactions: ReadyForQuery always says idle.

mod extended;

use std::pin::pin;
use std::time::Instant;

use tracing::{debug, info};

use self::extended::Extended;
use super::command::{Command, Order, Shutdown, Target, parse};
use super::link::{End, Link, Message, Peer};
use super::sessions::{Interrupt, Registration};
use super::table::{Format, Formats, Table, Value, put_description, put_row};
use super::{Console, Login, SERVER_VERSION, help, orders, show};
use crate::config::ConsoleRole;
use crate::error::{ClientError, Notice, SqlState};
use crate::wire::frame::{HEADER, READY_IDLE, cstr, put};

/// Sent as soon as so much is there.
const PIECE: usize = 16 * 1024;

/// Serves a client until it has gone.
pub(super) async fn run(console: &Console, link: impl Link, login: Login) {
    let registration = match console.0.sessions.register(&login) {
        Ok(registration) => registration,
        Err(error) => return tracing::error!(%error, "no random bytes from the operating system"),
    };
    let mut session = Session {
        console: console.clone(),
        login,
        peer: Peer::new(link),
        out: Vec::new(),
        registration,
        extended: Extended::default(),
    };
    let end = match session.serve().await {
        Ok(()) => End::Gone,
        Err(end) => end,
    };
    if let End::Told(error) = end {
        error.encode(&mut session.out);
        let _gone = session.flush().await;
    }
    debug!(user = ?session.login.user, "console: end");
    session.peer.close().await;
}

struct Session<L> {
    console: Console,
    login: Login,
    peer: Peer<L>,
    out: Vec<u8>,
    registration: Registration,
    extended: Extended,
}

/// What a command gives.
enum Answer {
    Table(Table),
    /// The command's tag, and what is to be known.
    Done(&'static str, Vec<Notice>),
}

impl<L: Link> Session<L> {
    /// Until the client says that it ends.
    async fn serve(&mut self) -> Result<(), End> {
        self.greet();
        self.flush().await?;
        loop {
            let message = tokio::select! {
                biased;
                // Cancel-safe, both.
                () = self.registration.killed() => return Err(killed()),
                message = self.peer.next() => message?,
            };
            self.registration.moved(message.body.len() + HEADER, 0);
            if self.message(message).await?.is_end() {
                return Ok(());
            }
        }
    }

    async fn message(&mut self, message: Message) -> Result<After, End> {
        match message.tag {
            b'X' => return Ok(After::End),
            b'Q' if !self.extended.skips() => self.query(&message.body).await?,
            b'P' | b'B' | b'D' | b'E' | b'C' | b'H' | b'S' | b'F' => {
                self.extended_message(&message).await?;
            }
            // What belongs to a COPY that there never was, and a query behind an error.
            b'd' | b'c' | b'f' | b'Q' => {}
            _ => {
                let text = "unknown type of message";
                return Err(End::Told(ClientError::fatal(SqlState::PROTOCOL, text)));
            }
        }
        Ok(After::GoOn)
    }

    /// What a client is told at the beginning, as PgBouncer's console does.
    fn greet(&mut self) {
        let is_superuser = match self.login.role {
            ConsoleRole::Admin => "on",
            ConsoleRole::Stats => "off",
        };
        let parameters = [
            ("server_version", SERVER_VERSION),
            ("client_encoding", "UTF8"),
            ("server_encoding", "UTF8"),
            ("DateStyle", "ISO"),
            ("TimeZone", "GMT"),
            ("standard_conforming_strings", "on"),
            ("integer_datetimes", "on"),
            ("is_superuser", is_superuser),
            ("application_name", &self.login.application_name),
        ];
        for (name, value) in parameters {
            let body: [&[u8]; 4] = [name.as_bytes(), b"\0", value.as_bytes(), b"\0"];
            put(&mut self.out, b'S', &body);
        }
        let process_id = self.registration.process_id.to_be_bytes();
        put(&mut self.out, b'K', &[&process_id, &self.registration.key]);
        self.out.extend_from_slice(READY_IDLE);
    }

    /// A simple query: several commands perhaps, up to the first one that fails.
    async fn query(&mut self, body: &[u8]) -> Result<(), End> {
        let text = text(body)?;
        match parse(text) {
            Ok(commands) if commands.is_empty() => put(&mut self.out, b'I', &[]),
            Ok(commands) => {
                for command in &commands {
                    if let Err(error) = self.simple(command).await? {
                        error.encode(&mut self.out);
                        break;
                    }
                }
            }
            Err(error) => error.encode(&mut self.out),
        }
        self.out.extend_from_slice(READY_IDLE);
        self.flush().await
    }

    async fn simple(&mut self, command: &Command) -> Result<Result<(), ClientError>, End> {
        match self.carry_out(command).await? {
            Ok(Answer::Table(table)) => {
                let formats = Formats::All(Format::Text);
                put_description(&mut self.out, table.columns, &formats);
                for row in table.rows {
                    put_row(&mut self.out, table.columns, &row, &formats);
                    self.flush_piece().await?;
                }
                self.complete("SHOW");
            }
            Ok(Answer::Done(tag, notices)) => self.done(tag, &notices),
            Err(error) => return Ok(Err(error)),
        }
        Ok(Ok(()))
    }

    fn done(&mut self, tag: &str, notices: &[Notice]) {
        for notice in notices {
            notice.encode(&mut self.out);
        }
        self.complete(tag);
    }

    fn complete(&mut self, tag: &str) {
        put(&mut self.out, b'C', &[tag.as_bytes(), b"\0"]);
    }

    /// Runs a command, unless a cancel request or the client's end comes first.
    async fn carry_out(&mut self, command: &Command) -> Result<Result<Answer, ClientError>, End> {
        self.registration.begin();
        let began = Instant::now();
        let mut work = pin!(carried_out(&self.console, &self.login, command));
        let answer = tokio::select! {
            // In this order: what needs no waiting is done whatever else has come.
            biased;
            // Dropped when another arm is taken: what the command has switched stays switched.
            answer = &mut work => answer,
            why = self.registration.interrupted() => match why {
                Interrupt::Kill => return Err(killed()),
                Interrupt::Cancel => {
                    if let Command::Order(order) = command {
                        orders::take_back(&self.console, order);
                    }
                    Err(canceled())
                }
            },
            // Cancel-safe: what was read is kept.
            end = self.peer.gone() => return Err(end),
        };
        let statements = self.extended.statements();
        self.registration.answered(began.elapsed(), statements);
        Ok(answer)
    }

    async fn flush_piece(&mut self) -> Result<(), End> {
        if self.out.len() < PIECE {
            return Ok(());
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), End> {
        let sent = tokio::select! {
            biased;
            sent = self.peer.write_all(&self.out) => sent,
            // The rest of the piece is lost, as the connection is.
            () = self.registration.killed() => Err(End::Gone),
        };
        self.registration.moved(0, self.out.len());
        self.out.clear();
        sent
    }
}

/// Whether the session goes on after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    GoOn,
    End,
}

impl After {
    fn is_end(self) -> bool {
        self == Self::End
    }
}

async fn carried_out(
    console: &Console,
    login: &Login,
    command: &Command,
) -> Result<Answer, ClientError> {
    match command {
        Command::Show(table) => show::table(console, *table).await.map(Answer::Table),
        Command::Say(columns, value) => {
            let row: Vec<Value> = vec![value.clone()];
            Ok(Answer::Table(Table::new(&columns[..], [row])))
        }
        Command::Help => Ok(Answer::Done("SHOW", vec![help::notice()])),
        Command::Ignore(tag) => Ok(Answer::Done(tag, Vec::new())),
        Command::IgnoreSet => Ok(Answer::Done("SET", vec![Notice::new("SET ignored")])),
        Command::Order(order) => {
            if login.role != ConsoleRole::Admin {
                return Err(forbidden());
            }
            info!(user = ?login.user, command = in_words(order), "console: command");
            let (tag, notices) = orders::carry_out(console, order).await?;
            Ok(Answer::Done(tag, notices))
        }
    }
}

/// A command as the log shows it: without the value of a SET, which may be a secret.
fn in_words(order: &Order) -> String {
    let about = |verb: &str, target: &Target| match target {
        Target::All => verb.to_owned(),
        Target::Tenant(name) => format!("{verb} {name:?}"),
        Target::Cluster(name) => format!("{verb} CLUSTER {name:?}"),
    };
    match order {
        Order::Set { key, .. } => format!("SET {key:?}"),
        Order::Pause(target) => about("PAUSE", target),
        Order::Resume(target) => about("RESUME", target),
        Order::Kill(target) => about("KILL", target),
        Order::Reconnect(target) => about("RECONNECT", target),
        Order::WaitClose(target) => about("WAIT_CLOSE", target),
        Order::Disable(name) => format!("DISABLE {name:?}"),
        Order::Enable(name) => format!("ENABLE {name:?}"),
        Order::KillClient(id) => format!("KILL_CLIENT {id}"),
        Order::Reload => "RELOAD".to_owned(),
        Order::Suspend => "SUSPEND".to_owned(),
        Order::Shutdown(Shutdown::Drain) => "SHUTDOWN".to_owned(),
        Order::Shutdown(Shutdown::WaitForServers) => "SHUTDOWN WAIT_FOR_SERVERS".to_owned(),
        Order::Shutdown(Shutdown::WaitForClients) => "SHUTDOWN WAIT_FOR_CLIENTS".to_owned(),
    }
}

/// The text of a message's body, which is that text and a NUL.
fn text(body: &[u8]) -> Result<&str, End> {
    let protocol = |text: &'static str| End::Told(ClientError::fatal(SqlState::PROTOCOL, text));
    match cstr(body) {
        Some((text, [])) => std::str::from_utf8(text).map_err(|_| protocol("a query is UTF-8")),
        Some(_) | None => Err(protocol("malformed query message")),
    }
}

fn forbidden() -> ClientError {
    ClientError::error(SqlState::FORBIDDEN, "admin access needed")
        .with_hint("log in as a user of [console] users with role = \"admin\"")
}

fn canceled() -> ClientError {
    let text = "canceling statement due to user request";
    ClientError::error(SqlState::CANCELED, text)
}

fn killed() -> End {
    let text = "terminating connection due to administrator command";
    End::Told(ClientError::fatal(SqlState::SHUTDOWN, text))
}
