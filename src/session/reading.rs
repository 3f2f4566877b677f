//! Statements that are parsed again on another server connection: under the settings by which their
//! literals were read the first time, and with the types that the client was told.
//!
//! A direct connection keeps both for as long as the name lives, whatever is SET or altered since.

use std::cell::OnceCell;
use std::rc::Rc;

use super::carry::as_sql;
use super::expected::{By, Expected};
use super::flow::Flow;
use super::link::{Link, Parsed, Prepared, Standing};
use super::settings::{Settings, is_frozen};
use super::statement::Statement;
use super::{Leased, Session, Verdict};
use crate::wire::frame;

/// What clients were told of a statement.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Body of ParameterDescription: as in Parse, a number and that many OIDs.
    pub(super) parameters: OnceCell<Box<[u8]>>,
    /// Names and types of the columns; empty: it returns no rows.
    pub(super) columns: OnceCell<Box<[u8]>>,
    /// Settings by which its literals were read.
    pub(super) read_under: OnceCell<Rc<Settings>>,
}

impl Told {
    /// Whether a client relies on what it was told.
    pub(super) fn is_relied_on(&self) -> bool {
        self.parameters.get().is_some() || self.columns.get().is_some()
    }

    /// Whether the next Describe tells something new.
    pub(super) fn is_complete(&self) -> bool {
        self.columns.get().is_some()
    }

    /// Takes note of a reply to Describe: ParameterDescription, RowDescription or NoData.
    pub(super) fn note(&self, tag: u8, body: &[u8]) {
        // What was told first counts.
        let _told = match tag {
            b't' => self.parameters.set(body.into()),
            b'T' => self.columns.set(columns(body)),
            b'n' => self.columns.set(Box::default()),
            _ => Ok(()),
        };
    }

    /// Whether another server connection describes the statement as the client knows it.
    pub(super) fn agrees(&self, tag: u8, body: &[u8]) -> bool {
        let Some(told) = self.columns.get() else {
            return true;
        };
        match tag {
            b'T' => **told == *columns(body),
            _ => told.is_empty(),
        }
    }
}

/// Names and types of a RowDescription (manual 55.7), without what depends on where it was made.
fn columns(body: &[u8]) -> Box<[u8]> {
    const FIELDS: usize = 18;
    let mut known = Vec::new();
    let mut rest = body.get(2..).unwrap_or_default();
    while let Some((name, fields)) = frame::cstr(rest) {
        let Some((fields, behind)) = fields.split_at_checked(FIELDS) else {
            break;
        };
        known.extend_from_slice(name);
        known.push(0);
        known.extend_from_slice(&fields[6..10]);
        rest = behind;
    }
    // Never empty: that means that there are no rows.
    known.push(0);
    known.into()
}

/// When this has changed the server parses prepared statements anew (manual, PREPARE).
const PATH: &str = "search_path";

/// Name of what switches settings within a batch; lives no longer than that.
const SWITCH: &[u8] = b"tenantry_switch\0";

impl Session {
    /// Where a statement stands that a Bind or Describe names. A client that relies on what it was
    /// told waits until another server connection has said the same.
    pub(super) fn must_be_ready(
        &self,
        statement: &Rc<Statement>,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) -> Result<Standing, Verdict> {
        if leased.link.touch(statement) || !statement.is_kept() {
            return Ok(Standing::There);
        }
        match leased.link.standing(statement, leased.max_prepared) {
            Standing::Undecided => Err(Verdict::Hold),
            Standing::Absent => {
                self.must_be_settled(statement, leased.link)?;
                self.parse_again(statement, leased, flow.own());
                if !statement.told.is_relied_on() {
                    return Ok(Standing::There);
                }
                let out = flow.own();
                frame::put(out, b'D', &[b"S", &statement.server_name]);
                frame::put(out, b'H', &[]);
                let verify = Expected::Verify(Rc::clone(statement));
                leased.link.expected.push_back(verify);
                Err(Verdict::Hold)
            }
            standing => Ok(standing),
        }
    }

    /// Holds what is to be read under settings that an earlier batch may still change.
    pub(super) fn must_be_settled(
        &self,
        statement: &Statement,
        link: &Link,
    ) -> Result<(), Verdict> {
        let changes = self.frozen || self.unsure;
        if changes && statement.reads_literals() && link.awaits_ready() {
            return Err(Verdict::Hold);
        }
        Ok(())
    }

    /// Parses a statement of this session on a server connection that does not have it.
    fn parse_again(&self, statement: &Rc<Statement>, leased: &mut Leased<'_>, out: &mut Vec<u8>) {
        let link = &mut *leased.link;
        link.batch = super::Batch::Open;
        link.make_room(leased.max_prepared, out);
        let switches = self.switches(statement);
        for (then, _) in &switches {
            put_switch(then, link, out);
        }
        statement.put_parse_as_told(out);
        link.prepared
            .insert(statement.id, Prepared::awaited(statement, link.clock));
        link.expected
            .push_back(Expected::Parse(By::Proxy, Rc::clone(statement)));
        for (_, now) in &switches {
            put_switch(now, link, out);
        }
    }
}

impl Session {
    /// Appends what gives a server connection the session's startup settings, within its batch.
    pub(super) fn put_start(&self, link: &mut Link, out: &mut Vec<u8>) {
        for (name, value) in self.start.list() {
            // By SET where it can be said so: a SELECT would be the transaction's first query.
            let set = as_sql(name, value).map(|value| format!("SET {name} = {value}"));
            put_switch(&set.unwrap_or_else(|| self.start.said(name)), link, out);
        }
    }

    /// What takes the settings by which a statement's literals were read back, and forth again.
    fn switches(&self, statement: &Statement) -> Vec<(String, String)> {
        let Some(then) = statement.told.read_under.get() else {
            return Vec::new();
        };
        if !statement.survey.reaches() {
            // It reads none; and a failed transaction, which takes a ROLLBACK, takes no SET.
            return Vec::new();
        }
        if statement.told.is_relied_on() && then.said(PATH) != self.said_now(PATH) {
            // The server itself parses it anew, under what is there now, and what it says then is
            // compared. Of what nobody was told only the server can say whether it is the same.
            return Vec::new();
        }
        let names = then.names().chain(self.settings.names());
        let names = names.chain(self.sent_names());
        let mut names: Vec<&str> = names
            .filter(|name| is_frozen(name) || *name == PATH)
            .collect();
        names.sort_unstable();
        names.dedup();
        let both = |name: &str| (then.said(name), self.said_now(name));
        let all = names.into_iter().map(both);
        all.filter(|(then, now)| then != now).collect()
    }
}

/// Appends a statement of our own that changes a setting, as a part of the client's batch.
fn put_switch(sql: &str, link: &mut Link, out: &mut Vec<u8>) {
    frame::put(out, b'P', &[SWITCH, sql.as_bytes(), b"\0\0\0"]);
    frame::put(out, b'B', &[SWITCH, SWITCH, b"\0\0\0\0\0\0"]);
    frame::put(out, b'E', &[SWITCH, b"\0\0\0\0"]);
    frame::put(out, b'C', &[b"P", SWITCH]);
    frame::put(out, b'C', &[b"S", SWITCH]);
    for tag in *b"12C33" {
        link.expected.push_back(Expected::Own(tag));
    }
}

impl Prepared {
    fn awaited(statement: &Rc<Statement>, used: u64) -> Self {
        Self {
            statement: Rc::clone(statement),
            used,
            parse: Parsed::Awaited,
        }
    }
}
