//! A model PostgreSQL server: requests in, replies out, after manual 55.2 and what was tried.
//!
//! It knows what the session machine must get right: skipping to the Sync, the Sync that COPY eats,
//! transaction status, statements and portals, settings and the literals that are read by them. Its
//! SQL is a handful of fixed texts; any other one returns a row and changes nothing.

use std::collections::BTreeMap;

use super::settings::{self, Settings, Statement};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tx {
    Idle,
    Open,
    Failed,
}

/// COPY FROM STDIN under way, begun by a simple query or by an Execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    Simple,
    Extended,
}

#[derive(Debug, Clone)]
pub(crate) struct Server {
    input: Vec<u8>,
    /// What the server has flushed.
    pub(crate) out: Vec<u8>,
    buffered: Vec<u8>,
    skipping: bool,
    /// Messages came since the last Sync or Query.
    in_batch: bool,
    pub(crate) tx: Tx,
    pub(crate) statements: BTreeMap<Vec<u8>, Prepared>,
    portals: BTreeMap<Vec<u8>, Prepared>,
    settings: Settings,
    copy: Option<Copy>,
    /// The client broke the protocol (a real server would end the connection).
    pub(crate) broken: bool,
}

type Failure = (&'static str, String);

/// A text, and the time zone by which its literals were read.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    sql: String,
    zone: String,
}

impl Server {
    /// With what its client's startup packet sets.
    pub(crate) fn new(start: &[(String, String)]) -> Self {
        Self {
            settings: Settings::new(start),
            input: Vec::new(),
            out: Vec::new(),
            buffered: Vec::new(),
            skipping: false,
            in_batch: false,
            tx: Tx::Idle,
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            copy: None,
            broken: false,
        }
    }

    /// Nothing is under way, sent or owed, in either direction.
    pub(crate) fn is_idle(&self) -> bool {
        self.input.is_empty()
            && self.out.is_empty()
            && self.buffered.is_empty()
            && !self.skipping
            && !self.in_batch
            && self.tx == Tx::Idle
            && self.copy.is_none()
    }

    /// Whether a prepared statement is a RESET.
    pub(crate) fn resets(&self, name: &[u8]) -> bool {
        let found = self.statements.get(name);
        found.is_some_and(|prepared| prepared.sql.starts_with("RESET"))
    }

    pub(crate) fn copies(&self) -> bool {
        self.copy.is_some()
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Some(head) = self.input.first_chunk::<5>() {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize + 1;
            if self.input.len() < length {
                return;
            }
            let message: Vec<u8> = self.input.drain(..length).collect();
            self.message(message[0], &message[5..]);
        }
    }

    fn message(&mut self, tag: u8, body: &[u8]) {
        if self.copy.is_some() {
            return self.copy_message(tag, body);
        }
        if self.skipping && !matches!(tag, b'S' | b'X') {
            return;
        }
        match tag {
            b'Q' => self.query(body),
            b'F' => self.call(),
            b'S' => {
                self.skipping = false;
                self.ready();
            }
            b'H' => self.flush(),
            b'd' | b'c' | b'f' => {}
            b'P' | b'B' | b'D' | b'E' | b'C' => {
                self.in_batch = true;
                if let Err(failure) = self.extended(tag, body) {
                    self.fail(&failure);
                    self.skipping = true;
                }
            }
            _ => self.broken = true,
        }
    }

    fn extended(&mut self, tag: u8, body: &[u8]) -> Result<(), Failure> {
        let (first, rest) = cstr(body)?;
        match tag {
            b'P' => {
                let (sql, types) = cstr(rest)?;
                let count = types.first_chunk::<2>().map(|n| u16::from_be_bytes(*n));
                if count.map(|n| 2 + 4 * usize::from(n)) != Some(types.len()) {
                    return Err(malformed());
                }
                self.parse(first, &String::from_utf8_lossy(sql))
            }
            b'B' => self.bind(first, cstr(rest)?.0),
            b'E' => self.execute(first),
            _ if !rest.is_empty() => Err(malformed()),
            _ => match (tag, first.split_first()) {
                (b'D', Some((kind @ (b'S' | b'P'), name))) => self.describe(*kind, name),
                (b'C', Some((b'S', name))) => {
                    self.statements.remove(name);
                    self.put(b'3', b"");
                    Ok(())
                }
                (b'C', Some((b'P', name))) => {
                    self.portals.remove(name);
                    self.put(b'3', b"");
                    Ok(())
                }
                _ => Err(malformed()),
            },
        }
    }

    fn parse(&mut self, name: &[u8], sql: &str) -> Result<(), Failure> {
        if name.is_empty() {
            self.statements.remove(name);
        }
        if sql.contains("syntax") {
            return Err(("42601", format!("syntax error in {sql}")));
        }
        self.refuse_if_failed(sql)?;
        if sql.contains("missing") {
            return Err(("42P01", "relation \"missing\" does not exist".to_owned()));
        }
        if self.statements.contains_key(name) {
            let name = String::from_utf8_lossy(name);
            return Err((
                "42P05",
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        let prepared = self.prepared(sql);
        self.statements.insert(name.to_vec(), prepared);
        self.put(b'1', b"");
        Ok(())
    }

    fn bind(&mut self, portal: &[u8], name: &[u8]) -> Result<(), Failure> {
        let found = self.find(name)?;
        self.refuse_if_failed(&found.sql)?;
        if !portal.is_empty() && self.portals.contains_key(portal) {
            return Err(("42P03", "cursor already exists".to_owned()));
        }
        self.portals.insert(portal.to_vec(), found);
        self.put(b'2', b"");
        Ok(())
    }

    fn describe(&mut self, kind: u8, name: &[u8]) -> Result<(), Failure> {
        let Prepared { sql, .. } = if kind == b'S' {
            self.find(name)?
        } else {
            self.portal(name)?
        };
        let rows = sql.starts_with("SELECT") || sql.starts_with("SHOW");
        if rows {
            self.refuse_if_failed(&sql)?;
        }
        if kind == b'S' {
            self.put(b't', b"\0\0");
        }
        if rows {
            self.put(b'T', b"\0\x01columns\0..................");
        } else {
            self.put(b'n', b"");
        }
        Ok(())
    }

    fn execute(&mut self, name: &[u8]) -> Result<(), Failure> {
        let portal = self.portal(name)?;
        self.run(&portal, Copy::Extended)
    }

    /// A text as it is read now.
    fn prepared(&self, sql: &str) -> Prepared {
        Prepared {
            sql: sql.to_owned(),
            zone: self.settings.shown("timezone").to_owned(),
        }
    }

    fn find(&self, name: &[u8]) -> Result<Prepared, Failure> {
        let text = if name.is_empty() {
            "unnamed prepared statement does not exist".to_owned()
        } else {
            let name = String::from_utf8_lossy(name);
            format!("prepared statement \"{name}\" does not exist")
        };
        self.statements.get(name).cloned().ok_or(("26000", text))
    }

    fn portal(&self, name: &[u8]) -> Result<Prepared, Failure> {
        let failure = ("34000", "portal does not exist".to_owned());
        self.portals.get(name).cloned().ok_or(failure)
    }

    fn refuse_if_failed(&self, sql: &str) -> Result<(), Failure> {
        let exits = matches!(sql, "COMMIT" | "ROLLBACK" | "");
        if self.tx == Tx::Failed && !exits {
            return Err(("25P02", "current transaction is aborted".to_owned()));
        }
        Ok(())
    }

    fn query(&mut self, body: &[u8]) {
        let text = match cstr(body) {
            Ok((text, [])) => String::from_utf8_lossy(text).into_owned(),
            _ => {
                self.fail(&malformed());
                return self.ready();
            }
        };
        self.statements.remove(&b""[..]);
        self.portals.remove(&b""[..]);
        // Nothing among other statements is none.
        let mut statements: Vec<&str> = text.split(';').map(str::trim).collect();
        statements.retain(|sql| !sql.is_empty());
        if statements.is_empty() {
            statements.push("");
        }
        for sql in statements {
            let parsed = if sql.contains("missing") {
                Err(("42P01", "relation \"missing\" does not exist".to_owned()))
            } else if sql.contains("syntax") {
                Err(("42601", format!("syntax error in {sql}")))
            } else {
                Ok(())
            };
            if let Err(failure) = parsed.and_then(|()| self.run(&self.prepared(sql), Copy::Simple))
            {
                self.fail(&failure);
                break;
            }
            if self.copy.is_some() {
                return;
            }
        }
        self.ready();
    }

    /// Runs one command and answers it.
    fn run(&mut self, prepared: &Prepared, by: Copy) -> Result<(), Failure> {
        let Prepared { sql, zone } = prepared;
        let sql = sql.as_str();
        self.refuse_if_failed(sql)?;
        if sql.contains("noisy") {
            self.put(b'N', b"SNOTICE\0C00000\0Mnoise\0\0");
        }
        if sql.contains("1/0") {
            return Err(("22012", "division by zero".to_owned()));
        }
        match sql {
            "" => self.put(b'I', b""),
            "BEGIN" => {
                self.tx = Tx::Open;
                self.complete("BEGIN");
            }
            "COMMIT" | "ROLLBACK" => {
                let done = if self.tx == Tx::Failed {
                    "ROLLBACK"
                } else {
                    sql
                };
                match done {
                    "COMMIT" => self.settings.keep(),
                    _ => self.settings.take_back(),
                }
                self.tx = Tx::Idle;
                self.portals.clear();
                self.complete(done);
            }
            "COPY t FROM STDIN" => {
                self.copy = Some(by);
                self.put(b'G', b"\0\0\0");
                self.flush();
            }
            "COPY t TO STDOUT" => {
                self.put(b'H', b"\0\0\0");
                self.put(b'd', b"line\n");
                self.put(b'c', b"");
                self.complete("COPY 1");
            }
            "DISCARD ALL" if self.tx != Tx::Idle => {
                return Err(("25001", "DISCARD ALL cannot run in a block".to_owned()));
            }
            "DISCARD ALL" | "DEALLOCATE ALL" => {
                if sql == "DISCARD ALL" {
                    self.settings.reset_all();
                }
                self.statements.retain(|name, _| name.is_empty());
                self.complete(sql);
            }
            _ if sql.starts_with("DEALLOCATE ") => {
                let name = sql["DEALLOCATE ".len()..].trim_matches('"').as_bytes();
                self.find(name)?;
                self.statements.remove(name);
                self.complete("DEALLOCATE");
            }
            _ => self.other(sql, zone, by),
        }
        Ok(())
    }

    /// A command about settings, a question of the proxy's, or a text that returns a row.
    fn other(&mut self, sql: &str, zone: &str, by: Copy) {
        let statement = settings::read(sql);
        let row = match &statement {
            Statement::Set(name, value) => {
                self.settings.set(name, value);
                return self.complete("SET");
            }
            Statement::Nothing(tag) => return self.complete(tag),
            Statement::Reset(name) => {
                self.settings.reset(name);
                return self.complete("RESET");
            }
            Statement::ResetAll => {
                self.settings.reset_all();
                return self.complete("RESET");
            }
            Statement::Show(name) => self.settings.shown(name).as_bytes().to_vec(),
            Statement::Config(values) => {
                for (name, value) in values {
                    self.settings.set(name, value);
                }
                Vec::new()
            }
            Statement::Inquiry(asked) => self.settings.answer(asked),
            Statement::Other if sql.contains("'zone'") => format!("{sql} {zone}").into_bytes(),
            Statement::Other => sql.as_bytes().to_vec(),
        };
        if by == Copy::Simple {
            self.put(b'T', b"\0\x01columns\0..................");
        }
        self.put(b'D', &row);
        self.complete(if matches!(statement, Statement::Show(_)) {
            "SHOW"
        } else {
            "SELECT 1"
        });
    }

    fn copy_message(&mut self, tag: u8, body: &[u8]) {
        match tag {
            b'H' | b'S' => {}
            b'd' if body != b"bad" => {}
            b'c' => {
                let by = self.copy.take();
                self.complete("COPY 1");
                if by == Some(Copy::Simple) {
                    self.ready();
                }
            }
            b'd' | b'f' => {
                let by = self.copy.take();
                self.fail(&("22P04", "COPY failed".to_owned()));
                if by == Some(Copy::Simple) {
                    self.ready();
                } else {
                    self.skipping = true;
                }
            }
            _ => {
                // No client that keeps to the protocol does so.
                self.broken = true;
                let by = self.copy.take();
                self.fail(&malformed());
                if by == Some(Copy::Simple) {
                    self.ready();
                } else {
                    self.skipping = true;
                }
            }
        }
    }

    fn call(&mut self) {
        match self.refuse_if_failed("call") {
            Ok(()) => self.put(b'V', b"\0\0\0\x01x"),
            Err(failure) => self.fail(&failure),
        }
        self.ready();
    }

    fn fail(&mut self, (code, text): &Failure) {
        if self.tx == Tx::Open {
            self.tx = Tx::Failed;
        }
        self.settings.take_back();
        self.portals.clear();
        self.put(b'E', format!("SERROR\0C{code}\0M{text}\0\0").as_bytes());
        self.flush();
    }

    fn ready(&mut self) {
        let status = match self.tx {
            Tx::Idle => {
                self.portals.clear();
                self.settings.keep();
                b"I"
            }
            Tx::Open => b"T",
            Tx::Failed => b"E",
        };
        self.in_batch = false;
        self.put(b'Z', status);
        self.flush();
    }

    fn complete(&mut self, tag: &str) {
        self.put(b'C', format!("{tag}\0").as_bytes());
    }

    fn put(&mut self, tag: u8, body: &[u8]) {
        tenantry::wire::frame::put(&mut self.buffered, tag, &[body]);
    }

    fn flush(&mut self) {
        self.out.append(&mut self.buffered);
    }
}

fn cstr(body: &[u8]) -> Result<(&[u8], &[u8]), Failure> {
    tenantry::wire::frame::cstr(body).ok_or_else(malformed)
}

fn malformed() -> Failure {
    ("08P01", "invalid message format".to_owned())
}
