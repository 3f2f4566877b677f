//! The machine of one client, without I/O: bytes in, decisions out.
//!
//! [`Session::read`] takes what a client sent, [`reply::Replies`] what its server connection
//! answered. States, the queue of expected replies and the rules of the lease are in
//! `docs/design/session.md`. The machine holds no bytes: what it does not use, the worker keeps
//! and gives again, together with what came later.

mod batch;
mod bound;
mod carry;
mod catalog;
mod completed;
mod expected;
mod extended;
mod failure;
mod flow;
mod held;
mod inquiry;
mod link;
mod message;
mod names;
mod opening;
mod own;
mod pins;
mod reading;
mod reads;
mod reply;
mod request;
mod route;
mod saying;
mod settings;
mod simple;
mod statement;
mod tally;
mod undo;
mod upkeep;

use std::rc::Rc;

pub use catalog::{Catalog, Extent};
pub use flow::Flow;
pub use link::{Link, Schema, TxStatus};
pub use opening::Openings;
pub use pins::{not_on_a_replica, too_many_pins};
pub use reads::ReadCache;
pub use reply::{Desync, Replies};
pub use route::{Asked, Judge, Place, Seen, Why};
pub use settings::{Setting, Settings, SettingsTable};
pub use statement::{NAME_PREFIX, Scope, Statement, Statements};
pub use tally::Tally;

use crate::config::{PoolMode, StateMode};
use crate::error::ClientError;
use crate::wire::frame::{self, PARSE_COMPLETE};
use crate::wire::sql::{PinReason, Reasons};
use carry::Changes;
use expected::Change;
use link::{Batch, Unnamed};
use message::{Message, Renamed, next_header};
use names::Names;
use opening::Opening;

/// Longest message of a client that is looked at as a whole; longer ones pass in pieces.
pub const WHOLE: usize = 128 * 1024;

/// The session machine's half that belongs to a client.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about bytes in flight, each set and cleared by its own rule"
)]
pub struct Session {
    names: Names,
    unnamed: Option<Rc<Statement>>,
    settings: Rc<Settings>,
    /// What it has of its startup packet alone.
    start: Rc<Settings>,
    serial: u64,
    /// Bytes of the client's current message that are still to come.
    left: usize,
    left_dropped: bool,
    /// A message was refused: all up to the Sync is dropped.
    refused: bool,
    /// A setting changes in this lease: what is parsed now is shared with nobody.
    local: bool,
    /// Counts what may have changed the settings of such texts.
    epoch: u32,
    /// A setting by which literals are read changes in this lease.
    frozen: bool,
    /// A function may have changed one; it is asked for.
    unsure: bool,
    /// One of them until the end of the transaction only.
    frozen_locally: bool,
    /// There is a savepoint in this transaction.
    savepoint: bool,
    /// Settings changed in this lease.
    changes: Option<Box<Changes>>,
    /// The server waits for a Sync that was kept from it.
    owes_sync: bool,
    /// A transaction block that was opened here.
    opening: Option<Opening>,
    /// Why it keeps its lease.
    pins: Reasons,
    /// It keeps it to the end.
    fixed: bool,
    undiscardable: bool,
    /// Something is to be asked when the transaction is over.
    doubt: bool,
    /// Functions may have changed any setting.
    anything: bool,
    /// What was to be set may have failed.
    verify: bool,
    /// Names were given under other settings.
    reread: bool,
    /// What SQL PREPARE has prepared may leave anything.
    prepares_anything: bool,
    tally: Tally,
}

/// What a client's bytes meet: the server connection it leases and what its tenant shares.
#[derive(Debug)]
pub struct Leased<'a> {
    /// The server connection.
    pub link: &'a mut Link,
    /// The tenant's statements.
    pub statements: &'a mut Statements,
    /// Statements kept per server connection.
    pub max_prepared: usize,
    /// When the lease ends.
    pub mode: PoolMode,
    /// What becomes of session state.
    pub state: StateMode,
    /// What the database's own functions may leave.
    pub catalog: &'a Catalog,
    /// How many more sessions of the pool may keep a server connection for themselves.
    pub pins_left: usize,
}

/// What is to be done after reading.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Wait for more bytes; the rest is the start of a message.
    More,
    /// The next message needs a server connection.
    Lease,
    /// The next message waits for a reply of the server.
    Hold,
    /// The client said goodbye.
    Terminate,
    /// Tell the client and close it.
    Fail(ClientError),
}

/// How many bytes were used, and why no more.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// Bytes used.
    pub used: usize,
    /// Why no more.
    pub verdict: Verdict,
}

impl Session {
    /// A session with its startup settings; `serial` is its own on this worker for ever.
    pub fn new(settings: Rc<Settings>, serial: u64) -> Self {
        let pins = if settings.shareable {
            Reasons::NONE
        } else {
            Reasons::of(&[PinReason::Unknown])
        };
        Self {
            names: Names::default(),
            unnamed: None,
            start: Rc::clone(&settings),
            settings,
            serial,
            left: 0,
            left_dropped: false,
            refused: false,
            local: false,
            epoch: 0,
            frozen: false,
            frozen_locally: false,
            unsure: false,
            savepoint: false,
            changes: None,
            owes_sync: false,
            opening: None,
            undiscardable: !pins.is_empty(),
            fixed: !pins.is_empty(),
            pins,
            doubt: false,
            anything: false,
            verify: false,
            reread: false,
            prepares_anything: false,
            tally: Tally::default(),
        }
    }

    /// What it has done since the last question.
    #[inline]
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Whether a query of its own was answered since the last question.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.tally.queries > 0
    }

    /// Its `application_name`, as it was set last.
    pub fn application_name(&self) -> String {
        self.settings.text("application_name")
    }

    /// The SQL text that its first message stands for, if that is told by the message.
    pub fn text_of<'a>(&'a self, input: &'a [u8]) -> Option<&'a [u8]> {
        Some(self.asked(input)?.text)
    }

    /// The same, and the prepared statement if it names one.
    fn asked<'a>(&'a self, input: &'a [u8]) -> Option<Asked<'a>> {
        let head = next_header(input).ok().flatten()?;
        let body = input.get(frame::HEADER..head.total.min(input.len()))?;
        match head.tag {
            b'Q' => Some(Asked::of(body.split_last().map_or(body, |(_, sql)| sql))),
            b'P' => {
                let (_name, rest) = frame::cstr(body)?;
                Some(Asked::of(frame::cstr(rest).map_or(rest, |(sql, _)| sql)))
            }
            b'B' => {
                let (_portal, rest) = frame::cstr(body)?;
                let (name, _) = frame::cstr(rest)?;
                let statement = match name {
                    b"" => self.unnamed.as_ref(),
                    name => self.names.find(name),
                };
                statement.map(|statement| Asked {
                    text: statement.text(),
                    statement: Some(statement),
                })
            }
            _ => None,
        }
    }

    /// How many names it has for prepared statements.
    pub fn prepared(&self) -> usize {
        self.names.iter().count()
    }

    /// Its startup settings.
    pub fn settings(&self) -> &Rc<Settings> {
        &self.settings
    }

    /// What it is called on its worker.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether DISCARD ALL undoes whatever this session left on its server connection.
    pub fn is_discardable(&self) -> bool {
        !self.undiscardable
    }

    /// Whether the client's last message is complete, so that nothing is half-sent.
    #[inline]
    pub fn at_boundary(&self) -> bool {
        self.left == 0
    }

    /// The transaction is over: what was local to it is gone.
    #[inline]
    pub fn end_of_lease(&mut self) {
        self.local = false;
        self.frozen = false;
        self.frozen_locally = false;
        self.unsure = false;
        self.savepoint = false;
        self.changes = None;
        self.opening = None;
    }

    /// Reads messages of a client without a lease. Replies of our own go to `to_client`.
    pub fn read_unleased(
        &mut self,
        input: &[u8],
        (statements, openings): (&mut Statements, Openings),
        to_client: &mut Vec<u8>,
    ) -> Step {
        let mut used = 0;
        loop {
            used += self.drop_left(input.len() - used);
            let head = match next_header(&input[used..]) {
                Ok(Some(head)) => head,
                Ok(None) => {
                    return Step {
                        used,
                        verdict: Verdict::More,
                    };
                }
                Err(e) => {
                    return Step {
                        used,
                        verdict: Verdict::Fail(e),
                    };
                }
            };
            if (openings == Openings::Held || self.opening.is_some())
                && !self.refused
                && let Some(answered) =
                    self.answer_opening(head, &input[used..], statements, to_client)
            {
                self.left = answered;
                self.left_dropped = true;
                continue;
            }
            match head.tag {
                b'X' => {
                    return Step {
                        used,
                        verdict: Verdict::Terminate,
                    };
                }
                b'S' => {
                    self.refused = false;
                    to_client.extend_from_slice(self.ready_unleased());
                }
                b'H' | b'd' | b'c' | b'f' => {}
                _ if self.refused => {}
                b'P' if self.prepares_known(head, &input[used..], statements) => {
                    to_client.extend_from_slice(PARSE_COMPLETE);
                }
                _ => {
                    let whole = input.len() - used >= head.total.min(WHOLE);
                    let verdict = if whole { Verdict::Lease } else { Verdict::More };
                    return Step { used, verdict };
                }
            }
            self.left = head.total;
            self.left_dropped = true;
        }
    }

    /// Answers the message a waiting client's input starts with by an error, as the server would:
    /// a simple query at once, an extended batch up to its Sync. The caller goes on with
    /// [`Session::read_unleased`].
    pub fn refuse(&mut self, input: &[u8], error: &ClientError, to_client: &mut Vec<u8>) {
        error.encode(to_client);
        self.fail_opening();
        match next_header(input) {
            Ok(Some(head)) if matches!(head.tag, b'Q' | b'F') => {
                self.left = head.total;
                self.left_dropped = true;
                to_client.extend_from_slice(self.ready_unleased());
            }
            _ => self.refused = true,
        }
    }

    /// Whether a Sync of the client is still to be sent although no byte of it is left.
    pub fn owes_sync(&self) -> bool {
        self.owes_sync
    }

    fn drop_left(&mut self, available: usize) -> usize {
        let take = self.left.min(available);
        self.left -= take;
        take
    }

    /// The unnamed statement changes, unless an error skips what changes it.
    fn replace_unnamed(&mut self, link: &mut Link, own: Option<Rc<Statement>>, there: Unnamed) {
        let own = std::mem::replace(&mut self.unnamed, own);
        let there = std::mem::replace(&mut link.unnamed, there);
        link.journal.push_back(Change::Unnamed { own, there });
    }

    /// Which settings a statement parsed now is read under.
    fn scope(&self) -> Scope {
        if self.fixed || self.local {
            Scope::Private(self.serial, self.epoch)
        } else {
            Scope::Startup(self.settings.scope)
        }
    }
}
