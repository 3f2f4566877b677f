//! The extended protocol: prepared statements and portals of commands without parameters.
//!
//! After an error everything up to Sync is skipped, as the protocol wants it. Portals end at Sync, as
//! there are no transactions.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Answer, Session};
use crate::console::command::{Command, parse};
use crate::console::link::{End, Link, Message};
use crate::console::show;
use crate::console::table::{Column, Format, Formats, Table, put_description, put_row};
use crate::error::{ClientError, SqlState};
use crate::wire::frame::{PARSE_COMPLETE, READY_IDLE, cstr, put};

/// Statements, and portals, that a session may have.
const MOST: usize = 256;

/// What a session has prepared.
#[derive(Debug, Default)]
pub(super) struct Extended {
    /// `None`: an empty statement.
    statements: HashMap<String, Option<Arc<Command>>>,
    portals: HashMap<String, Portal>,
    reading: Reading,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Reading {
    #[default]
    All,
    /// Nothing but Sync, since there was an error.
    Sync,
}

#[derive(Debug)]
struct Portal {
    command: Option<Arc<Command>>,
    formats: Formats,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    New,
    /// Rows have been sent, and there may be more.
    Rows(Table),
    Done,
}

impl Extended {
    /// Whether messages are skipped until a Sync.
    pub(super) fn skips(&self) -> bool {
        self.reading == Reading::Sync
    }

    /// Prepared statements that have a name.
    pub(super) fn statements(&self) -> usize {
        let names = self.statements.keys();
        names.filter(|name| !name.is_empty()).count()
    }
}

/// What a command gives when it is run, if it gives rows.
fn columns(command: Option<&Command>) -> Option<&'static [Column]> {
    match command? {
        Command::Show(table) => Some(show::columns(*table)),
        Command::Say(columns, _) => Some(&columns[..]),
        Command::Help | Command::Ignore(_) | Command::IgnoreSet | Command::Order(_) => None,
    }
}

impl<L: Link> Session<L> {
    /// A message of the extended protocol.
    pub(super) async fn extended_message(&mut self, message: &Message) -> Result<(), End> {
        if message.tag == b'S' {
            self.extended.reading = Reading::All;
            self.extended.portals.clear();
            self.out.extend_from_slice(READY_IDLE);
            return self.flush().await;
        }
        if self.extended.skips() {
            return Ok(());
        }
        let done = match message.tag {
            b'P' => self.prepare(&message.body),
            b'B' => self.bind(&message.body),
            b'D' => self.describe(&message.body),
            b'E' => self.execute(&message.body).await?,
            b'C' => self.close(&message.body),
            b'F' => {
                let text = "function calls are not supported by the console";
                Err(ClientError::error(SqlState::UNSUPPORTED, text))
            }
            _ => return self.flush().await,
        };
        if let Err(error) = done {
            error.encode(&mut self.out);
            self.extended.reading = Reading::Sync;
        }
        self.flush_piece().await
    }

    fn prepare(&mut self, body: &[u8]) -> Result<(), ClientError> {
        let (statement, rest) = name(body)?;
        let (text, _types) = name(rest)?;
        let mut commands = parse(text)?;
        if commands.len() > 1 {
            let text = "cannot insert multiple commands into a prepared statement";
            return Err(ClientError::error(SqlState::SYNTAX, text));
        }
        let statements = &mut self.extended.statements;
        if !statement.is_empty() && statements.contains_key(statement) {
            let text = format!("prepared statement \"{statement}\" already exists");
            return Err(ClientError::error(SqlState::DUPLICATE_STATEMENT, text));
        }
        if statements.len() >= MOST {
            return Err(too_many("prepared statements"));
        }
        statements.insert(statement.to_owned(), commands.pop().map(Arc::new));
        self.out.extend_from_slice(PARSE_COMPLETE);
        Ok(())
    }

    fn bind(&mut self, body: &[u8]) -> Result<(), ClientError> {
        let (portal, rest) = name(body)?;
        let (statement, rest) = name(rest)?;
        let formats = bound(rest)?;
        let command = self.statement(statement)?.clone();
        let columns = columns(command.as_deref()).map_or(0, <[_]>::len);
        if !formats.fit(columns) {
            let text = "bind message has another number of result formats than there are columns";
            return Err(ClientError::error(SqlState::PROTOCOL, text));
        }
        if self.extended.portals.len() >= MOST {
            return Err(too_many("portals"));
        }
        let new = Portal {
            command,
            formats,
            progress: Progress::New,
        };
        self.extended.portals.insert(portal.to_owned(), new);
        put(&mut self.out, b'2', &[]);
        Ok(())
    }

    fn describe(&mut self, body: &[u8]) -> Result<(), ClientError> {
        let (columns, formats) = match subject(body)? {
            Subject::Statement(name) => {
                let columns = columns(self.statement(name)?.as_deref());
                // ParameterDescription: there are none.
                put(&mut self.out, b't', &[&[0, 0]]);
                (columns, &Formats::All(Format::Text))
            }
            Subject::Portal(name) => {
                let portal = self.extended.portals.get(name);
                let portal = portal.ok_or_else(|| no_portal(name))?;
                (columns(portal.command.as_deref()), &portal.formats)
            }
        };
        match columns {
            Some(columns) => put_description(&mut self.out, columns, formats),
            None => put(&mut self.out, b'n', &[]),
        }
        Ok(())
    }

    fn close(&mut self, body: &[u8]) -> Result<(), ClientError> {
        match subject(body)? {
            Subject::Statement(name) => drop(self.extended.statements.remove(name)),
            Subject::Portal(name) => drop(self.extended.portals.remove(name)),
        }
        put(&mut self.out, b'3', &[]);
        Ok(())
    }

    async fn execute(&mut self, body: &[u8]) -> Result<Result<(), ClientError>, End> {
        let (name, most) = match executed(body) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let Some(mut portal) = self.extended.portals.remove(name) else {
            return Ok(Err(no_portal(name)));
        };
        let Some(command) = &portal.command else {
            put(&mut self.out, b'I', &[]);
            self.extended.portals.insert(name.to_owned(), portal);
            return Ok(Ok(()));
        };
        let table = match portal.progress {
            Progress::New => match self.carry_out(command).await? {
                Ok(Answer::Table(table)) => Some(table),
                Ok(Answer::Done(tag, notices)) => {
                    self.done(tag, &notices);
                    return Ok(Ok(()));
                }
                Err(error) => return Ok(Err(error)),
            },
            Progress::Rows(table) => Some(table),
            Progress::Done => None,
        };
        portal.progress = self.rows(table, &portal.formats, most).await?;
        self.extended.portals.insert(name.to_owned(), portal);
        Ok(Ok(()))
    }

    /// Sends rows, as many as are wanted (0: all).
    async fn rows(
        &mut self,
        table: Option<Table>,
        formats: &Formats,
        most: u32,
    ) -> Result<Progress, End> {
        if let Some(mut table) = table {
            let mut sent = 0;
            while let Some(row) = table.rows.next() {
                put_row(&mut self.out, table.columns, &row, formats);
                self.flush_piece().await?;
                sent += 1;
                if sent == most {
                    // PortalSuspended.
                    put(&mut self.out, b's', &[]);
                    return Ok(Progress::Rows(table));
                }
            }
        }
        self.complete("SHOW");
        Ok(Progress::Done)
    }

    fn statement(&self, name: &str) -> Result<&Option<Arc<Command>>, ClientError> {
        self.extended.statements.get(name).ok_or_else(|| {
            let text = format!("prepared statement \"{name}\" does not exist");
            ClientError::error(SqlState::NO_STATEMENT, text)
        })
    }
}

/// What Describe and Close are about.
enum Subject<'a> {
    Statement(&'a str),
    Portal(&'a str),
}

fn subject(body: &[u8]) -> Result<Subject<'_>, ClientError> {
    let (kind, rest) = body.split_first().ok_or_else(malformed)?;
    let (name, _) = name(rest)?;
    match kind {
        b'S' => Ok(Subject::Statement(name)),
        b'P' => Ok(Subject::Portal(name)),
        _ => Err(malformed()),
    }
}

/// An Execute: the portal, and how many rows.
fn executed(body: &[u8]) -> Result<(&str, u32), ClientError> {
    let (name, rest) = name(body)?;
    let most: [u8; 4] = rest.try_into().map_err(|_| malformed())?;
    Ok((name, u32::from_be_bytes(most)))
}

/// What follows the names of a Bind: formats and values of parameters, formats of results.
fn bound(body: &[u8]) -> Result<Formats, ClientError> {
    let (_, rest) = formats(body)?;
    let (many, rest) = count(rest)?;
    if many != 0 {
        let text =
            format!("bind message supplies {many} parameters, but console commands take none");
        return Err(ClientError::error(SqlState::PROTOCOL, text));
    }
    let (found, rest) = formats(rest)?;
    match (found.as_slice(), rest) {
        ([], []) => Ok(Formats::All(Format::Text)),
        ([all], []) => Ok(Formats::All(*all)),
        (_, []) => Ok(Formats::Each(found)),
        _ => Err(malformed()),
    }
}

fn formats(body: &[u8]) -> Result<(Vec<Format>, &[u8]), ClientError> {
    let (many, mut rest) = count(body)?;
    let mut formats = Vec::new();
    for _ in 0..many {
        let (format, behind) = count(rest)?;
        formats.push(match format {
            0 => Format::Text,
            1 => Format::Binary,
            _ => return Err(malformed()),
        });
        rest = behind;
    }
    Ok((formats, rest))
}

fn count(body: &[u8]) -> Result<(u16, &[u8]), ClientError> {
    let (count, rest) = body.split_first_chunk().ok_or_else(malformed)?;
    Ok((u16::from_be_bytes(*count), rest))
}

fn name(body: &[u8]) -> Result<(&str, &[u8]), ClientError> {
    let (name, rest) = cstr(body).ok_or_else(malformed)?;
    let name = std::str::from_utf8(name).map_err(|_| malformed())?;
    Ok((name, rest))
}

fn malformed() -> ClientError {
    ClientError::error(SqlState::PROTOCOL, "malformed message")
}

fn no_portal(name: &str) -> ClientError {
    let text = format!("portal \"{name}\" does not exist");
    ClientError::error(SqlState::NO_PORTAL, text)
}

fn too_many(what: &str) -> ClientError {
    let text = format!("too many {what}: a session of the console may have {MOST}");
    ClientError::error(SqlState::TOO_LARGE, text)
}
