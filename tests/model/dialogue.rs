//! What a client says: requests, and the points where it waits for their replies.
//!
//! A script is legal by construction: each part is tried on a model server of its own, whose replies
//! are also what the client must see through the machine.

use tenantry::wire::frame;
use tenantry::wire::sql::{Effect, survey};

use super::server::{Server, Tx};

/// Texts by number.
pub(crate) const TEXTS: &[&str] = &[
    "SELECT 1",
    "SELECT 2",
    "SELECT 3 AS noisy",
    "SELECT 1/0",
    "SELECT 1 syntax",
    "SELECT x FROM missing",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "COPY t TO STDOUT",
    "",
    "DEALLOCATE ALL",
    "SHOW work_mem",
    "SET work_mem = 1",
    "SET work_mem TO '2'",
    "RESET work_mem",
    "SET timezone = A",
    "RESET timezone",
    "SELECT 'zone'",
    "RESET ALL",
    "SHOW a.b",
    "SET a.b = 3",
];
pub(crate) const NAMES: &[&str] = &["", "a", "b", "c"];

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Query(usize),
    Several(usize, usize),
    Deallocate(usize),
    Discard,
    Parse(usize, usize),
    Bind(usize, usize),
    DescribeStatement(usize),
    DescribePortal(usize),
    Execute(usize),
    CloseStatement(usize),
    ClosePortal(usize),
    /// Parse, Bind, Describe, Execute, Sync.
    Whole(usize, usize),
    Flush,
    Sync,
    Call,
    Copy(CopyStyle, CopyEnd),
    StrayCopyData,
    /// Wait for all replies that are due.
    Wait,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum CopyStyle {
    Simple,
    /// A simple query, and data at once.
    SimpleThenData,
    /// A simple query, a Sync, and data at once.
    SimpleSyncThenData,
    /// Sync behind Execute, wait for the server's word, then data.
    SyncThenWait,
    /// Sync behind Execute, and data at once.
    SyncThenData,
    /// Data behind Execute, then a Sync.
    Pipelined,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum CopyEnd {
    Done,
    Fail,
    BadData,
}

/// One stretch of a script: what must have been received before it is sent, and what is sent.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) after: usize,
    pub(crate) bytes: Vec<u8>,
}

/// A client's whole part and what it must see.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// Its startup settings.
    pub(crate) start: Vec<(String, String)>,
    pub(crate) parts: Vec<Part>,
    pub(crate) replies: Vec<u8>,
    pub(crate) keeps: Keeps,
}

/// What a client keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    Protocol,
    /// It says anything and goes at any time. What it sees is its own affair.
    Nothing,
}

/// A client that says whatever it likes.
pub(crate) fn wild(said: Vec<Vec<u8>>) -> Script {
    let part = |bytes| Part { after: 0, bytes };
    Script {
        start: Vec::new(),
        parts: said.into_iter().map(part).collect(),
        replies: Vec::new(),
        keeps: Keeps::Nothing,
    }
}

/// Builds a script; ops that would break the protocol where they stand are left out.
pub(crate) fn script(ops: &[Op]) -> Script {
    script_from(&[], ops)
}

/// As [`script`], of a client with startup settings.
pub(crate) fn script_from(start: &[(String, String)], ops: &[Op]) -> Script {
    let mut build = Build {
        server: Server::new(start),
        has_start: !start.is_empty(),
        parts: Vec::new(),
        after: 0,
    };
    for op in ops {
        let mut tried = build.clone();
        tried.op(op);
        if !tried.server.broken && !tried.server.copies() {
            build = tried;
        }
    }
    build.send(&message(b'S', &[]));
    if build.server.tx != Tx::Idle {
        build.send(&message(b'Q', &[b"ROLLBACK\0"]));
    }
    Script {
        start: start.to_vec(),
        replies: build.server.out,
        parts: build.parts,
        keeps: Keeps::Protocol,
    }
}

#[derive(Clone)]
struct Build {
    server: Server,
    has_start: bool,
    parts: Vec<Part>,
    after: usize,
}

impl Build {
    fn send(&mut self, bytes: &[u8]) {
        self.server.feed(bytes);
        self.parts.push(Part {
            after: self.after,
            bytes: bytes.to_vec(),
        });
    }

    fn wait(&mut self) {
        self.after = self.server.out.len();
    }

    fn op(&mut self, op: &Op) {
        let name = |n: &usize| NAMES[*n].as_bytes();
        match op {
            Op::Query(t) => self.send(&query(TEXTS[*t])),
            Op::Several(a, b) => {
                let text = format!("{}; {}", TEXTS[*a], TEXTS[*b]);
                // The other known difference: among other statements RESET ALL goes back to the start of
                // the server connection, not the client's, until the end of the transaction.
                let words = ["SHOW", "'zone'", "BEGIN"];
                let seen = self.server.tx != Tx::Idle || words.iter().any(|w| text.contains(w));
                let restarts = self.has_start && text.contains("RESET ALL") && seen;
                if !restarts && !matches!(survey(text.as_bytes()).effect, Effect::Pin(_)) {
                    self.send(&query(&text));
                }
            }
            Op::Deallocate(0) => {}
            Op::Deallocate(n) => self.send(&query(&format!("DEALLOCATE {}", NAMES[*n]))),
            Op::Discard => self.send(&query("DISCARD ALL")),
            Op::Parse(n, t) => self.send(&parse(NAMES[*n], TEXTS[*t])),
            // A known difference: a RESET to a startup value is sent as a SET, and by a named portal
            // it is answered so.
            Op::Bind(1.., n) if self.has_start && self.server.resets(name(n)) => {}
            Op::Bind(p, n) => self.send(&bind(NAMES[*p], NAMES[*n])),
            // A known difference: a statement that gave way to others cannot be parsed again
            // in a failed transaction, so its Describe is refused there.
            Op::DescribeStatement(_) if self.server.tx == Tx::Failed => {}
            Op::DescribeStatement(n) => self.send(&message(b'D', &[b"S", name(n), b"\0"])),
            Op::DescribePortal(n) => self.send(&message(b'D', &[b"P", name(n), b"\0"])),
            Op::Execute(n) => self.send(&execute(NAMES[*n])),
            Op::CloseStatement(n) => self.send(&message(b'C', &[b"S", name(n), b"\0"])),
            Op::ClosePortal(n) => self.send(&message(b'C', &[b"P", name(n), b"\0"])),
            Op::Whole(n, t) => {
                self.send(&parse(NAMES[*n], TEXTS[*t]));
                self.send(&bind("", NAMES[*n]));
                self.send(&message(b'D', &[b"P\0"]));
                self.send(&execute(""));
                self.send(&message(b'S', &[]));
            }
            Op::Flush => self.send(&message(b'H', &[])),
            Op::Sync => self.send(&message(b'S', &[])),
            // lo_close, known to be clean.
            Op::Call => self.send(&message(b'F', &[b"\0\0\x03\xb9\0\0\0\0\0\0"])),
            Op::Copy(style, end) => self.copy(*style, *end),
            Op::StrayCopyData => self.send(&message(b'd', &[b"stray"])),
            Op::Wait => self.wait(),
        }
    }

    fn copy(&mut self, style: CopyStyle, end: CopyEnd) {
        let sync = message(b'S', &[]);
        let simple = matches!(
            style,
            CopyStyle::Simple | CopyStyle::SimpleThenData | CopyStyle::SimpleSyncThenData
        );
        if simple {
            self.send(&query("COPY t FROM STDIN"));
        } else {
            self.send(&parse("", "COPY t FROM STDIN"));
            self.send(&bind("", ""));
            self.send(&execute(""));
        }
        match style {
            CopyStyle::Simple => self.wait(),
            CopyStyle::SyncThenWait => {
                self.send(&sync);
                self.wait();
            }
            CopyStyle::SyncThenData | CopyStyle::SimpleSyncThenData => self.send(&sync),
            CopyStyle::SimpleThenData | CopyStyle::Pipelined => {}
        }
        self.send(&message(b'd', &[b"line\n"]));
        match end {
            CopyEnd::Done => self.send(&message(b'c', &[])),
            CopyEnd::Fail => self.send(&message(b'f', &[b"no\0"])),
            CopyEnd::BadData => {
                self.send(&message(b'd', &[b"bad"]));
                self.send(&message(b'c', &[]));
            }
        }
        if !simple {
            self.send(&sync);
        }
    }
}

pub(crate) fn message(tag: u8, body: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put(&mut out, tag, body);
    out
}

pub(crate) fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"])
}

pub(crate) fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', &[name.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"])
}

pub(crate) fn bind(portal: &str, name: &str) -> Vec<u8> {
    let (portal, name) = (portal.as_bytes(), name.as_bytes());
    message(b'B', &[portal, b"\0", name, b"\0\0\0\0\0\0\0"])
}

pub(crate) fn execute(portal: &str) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), b"\0\0\0\0\0"])
}
