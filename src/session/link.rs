//! What we know of a server connection: the replies it owes, the statements and settings it has.
//!
//! [`Link::at_rest`] is the only answer to "may it go back?". Everything here follows from what
//! was sent and received; nothing is guessed.

use std::collections::VecDeque;
use std::rc::Rc;

use hashbrown::HashMap;

use super::expected::{By, Change, Expected, Feed};
use super::flow::Flow;
use super::settings::Settings;
use super::statement::Statement;
use crate::wire::frame::Header;

/// Bytes kept of the notices of our own queries.
const MOST_NOTICES: usize = 4096;

/// Where an extended-protocol batch stands, as far as we have sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Batch {
    /// The last message was a Sync or a simple query.
    Closed,
    /// Messages without their Sync.
    Open,
    /// The server has failed one and skips up to the Sync that is still to come.
    Skipping,
}

/// COPY FROM STDIN, as far as the server has told us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CopyIn {
    None,
    /// The server reads copy data. `sync_dropped`: it would have eaten a Sync; `fed`: data followed.
    Reading {
        sync_dropped: bool,
        fed: bool,
    },
}

/// What the batch binds: the Sync behind a COPY waits for the server's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    Plain,
    Copy,
    /// The Sync waits, and the server was asked to flush its word.
    CopyFlushed,
}

/// RESET ALL, outside of a transaction block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reset {
    None,
    /// Part of the query under way; it counts if that ends without an error.
    Seen,
}

/// What the server's unnamed statement is.
#[derive(Debug)]
pub(super) enum Unnamed {
    None,
    Known(Rc<Statement>),
}

/// What of a schema has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Schema {
    /// Nothing.
    Same,
    /// Tables and what belongs to them.
    Relations,
    /// Perhaps also functions, and what runs them.
    Routines,
}

/// Transaction status of the last ReadyForQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxStatus {
    /// Not in a transaction.
    Idle,
    /// In a transaction block.
    Open,
    /// In a failed transaction block.
    Failed,
}

#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) statement: Rc<Statement>,
    pub(super) used: u64,
    pub(super) parse: Parsed,
}

/// Whether the Parse of a statement was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parsed {
    Awaited,
    Done,
    /// It is another one than the client was told: the schema or its search_path has changed.
    Stale,
}

/// Where a statement stands on a server connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    There,
    Absent,
    /// The server's word is awaited.
    Undecided,
    Stale,
}

/// The session machine's half that belongs to a server connection.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about bytes in flight, each set and cleared by its own rule"
)]
pub struct Link {
    pub(super) expected: VecDeque<Expected>,
    pub(super) journal: VecDeque<Change>,
    pub(super) status: TxStatus,
    pub(super) batch: Batch,
    pub(super) copy: CopyIn,
    pub(super) bound: Bound,
    /// Replication: both sides send as they like.
    pub(super) streams: bool,
    /// A standby that sessions have for one transaction: their next one may belong elsewhere.
    pub(super) routed: bool,
    /// Nothing of its answers has reached the client of this lease.
    pub(super) silent: bool,
    /// It has lost what the client had sent: that goes elsewhere.
    pub(super) failed: bool,
    /// A named portal of this transaction may be a COPY.
    pub(super) copy_portal: bool,
    /// Something under way may drop all prepared statements, or one by name.
    pub(super) forgets: bool,
    /// Names in `DEALLOCATE name` that were parsed as the unnamed statement, under the server's name.
    pub(super) deallocates: VecDeque<(Box<[u8]>, Rc<Statement>)>,
    /// The statement that the unnamed portal runs.
    pub(super) portal: Option<Rc<Statement>>,
    /// A Flush of our own was sent behind the last Execute.
    pub(super) flush_asked: bool,
    /// A simple query waits for the batch before it, behind which a Flush of our own was sent.
    pub(super) flushes: bool,
    pub(super) reset: Reset,
    /// What of the schema has changed, or may have when this transaction commits.
    pub(super) schema: Schema,
    pub(super) commit: bool,
    /// The server has said FATAL itself: its end needs no further word.
    pub(super) fatal: bool,
    /// It has said FATAL where it owed nothing: fields of the error, which nobody has been told.
    pub(super) last_words: Option<Box<[u8]>>,
    /// A statement made only to provoke the server's own error; closed behind the batch.
    pub(super) stray: Option<Box<[u8]>>,
    /// Bytes of the server's current frame that are still to come.
    pub(super) left: usize,
    pub(super) left_swallowed: bool,
    pub(super) prepared: HashMap<u64, Prepared>,
    pub(super) clock: u64,
    pub(super) unnamed: Unnamed,
    pub(super) settings: Rc<Settings>,
    /// What it had when it was fresh, and has again after DISCARD ALL.
    pub(super) fresh: Rc<Settings>,
    /// What is sent next waits until our own query is answered.
    pub(super) awaiting: bool,
    /// Notices of our own last query.
    pub(super) notices: Vec<u8>,
    /// What the client was told of settings before its DISCARD ALL: the server now goes back to
    /// its own start, which is not what the client is to hear.
    pub(super) hushed: Option<Vec<(String, String)>>,
    /// The session's startup settings follow a DISCARD ALL in this batch, unless an error skips them.
    pub(super) restarts: bool,
    /// Settings of which the client was told other values than the server has, until its next lease.
    pub(super) told: Vec<(String, String)>,
    /// What a query of our own has listed.
    pub(super) listed: Option<Vec<(String, String)>>,
    /// Functions may have changed settings that nobody knows of.
    pub(super) strange: bool,
    /// The session that had it last.
    pub(super) last: u64,
    /// The role of its login, as the server names it.
    pub(super) login: Box<str>,
    pub(super) fault: Option<Box<[u8]>>,
    /// What the server reported last, name by name.
    pub reported: Vec<(String, String)>,
}

impl Link {
    /// A fresh server connection with what it reported at its login.
    pub fn new(fresh: Rc<Settings>, reported: Vec<(String, String)>) -> Self {
        let login = reported
            .iter()
            .find(|(name, _)| name == "session_authorization");
        let login = login
            .map(|(_, role)| role.as_str())
            .unwrap_or_default()
            .into();
        Self {
            awaiting: false,
            notices: Vec::new(),
            hushed: None,
            told: Vec::new(),
            restarts: false,
            listed: None,
            strange: false,
            last: 0,
            login,
            expected: VecDeque::new(),
            journal: VecDeque::new(),
            status: TxStatus::Idle,
            batch: Batch::Closed,
            copy: CopyIn::None,
            bound: Bound::Plain,
            streams: false,
            routed: false,
            silent: false,
            failed: false,
            copy_portal: false,
            forgets: false,
            deallocates: VecDeque::new(),
            portal: None,
            flush_asked: false,
            flushes: false,
            reset: Reset::None,
            schema: Schema::Same,
            commit: false,
            fatal: false,
            last_words: None,
            stray: None,
            left: 0,
            left_swallowed: false,
            prepared: HashMap::new(),
            clock: 0,
            unnamed: Unnamed::None,
            settings: Rc::clone(&fresh),
            fresh,
            fault: None,
            reported,
        }
    }

    /// Whether nothing is under way: no reply due, no transaction, no batch, no COPY, and the
    /// server's last frame is complete.
    #[inline]
    pub fn at_rest(&self) -> bool {
        self.expected.is_empty()
            && self.status == TxStatus::Idle
            && self.batch == Batch::Closed
            && self.copy == CopyIn::None
            && self.left == 0
    }

    /// As [`Link::at_rest`], but for the session's settings, which may be on their way.
    pub(super) fn only_settings_due(&self) -> bool {
        self.status == TxStatus::Idle
            && self.batch == Batch::Closed
            && self.copy == CopyIn::None
            && self.expected.iter().all(Expected::is_swallowed)
    }

    /// Whether a query of our own is at work, ahead of the client's.
    #[inline]
    pub fn sets_up(&self) -> bool {
        matches!(
            self.expected.front(),
            Some(Expected::Query(By::Proxy) | Expected::Inquiry(_))
        )
    }

    /// Whether the server works on something for which a reply is due.
    pub fn is_busy(&self) -> bool {
        !self.expected.is_empty() || self.batch != Batch::Closed || self.left > 0
    }

    /// From now on sessions have it for one transaction, and the next one may belong elsewhere.
    pub fn set_routed(&mut self) {
        self.routed = true;
    }

    /// Whether it is a standby that sessions have for one transaction.
    #[inline]
    pub fn is_routed(&self) -> bool {
        self.routed
    }

    /// A lease begins: what it is sent is kept, and can be sent elsewhere.
    pub fn begin_silent(&mut self) {
        self.silent = true;
    }

    /// The client has had something of its answers, or what it was sent is kept no longer.
    #[inline]
    pub fn end_silent(&mut self) {
        self.silent = false;
    }

    /// Whether what the client had sent is lost and can be sent elsewhere. What it answered with is
    /// not for the client then.
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether a request must wait until all before it is answered: it may begin a transaction that
    /// does not belong to this standby.
    pub(super) fn must_part(&self, head: Header) -> bool {
        self.batch == Batch::Closed
            && self.copy == CopyIn::None
            && matches!(head.tag, b'Q' | b'P' | b'B' | b'D' | b'C' | b'E' | b'F')
            && !self.expected.iter().all(Expected::is_swallowed)
    }

    /// Whether it streams changes, for as long as both sides like.
    pub fn streams(&self) -> bool {
        self.streams
    }

    /// The server's version, as it has reported it.
    pub fn server_version(&self) -> Option<&str> {
        let version = self
            .reported
            .iter()
            .find(|(name, _)| name == "server_version");
        version.map(|(_, value)| value.as_str())
    }

    /// Transaction status of the last ReadyForQuery.
    pub fn status(&self) -> TxStatus {
        self.status
    }

    /// Whether the schema has changed since the last question: texts are to be parsed anew
    /// ([`super::Statements::renew`]). Said again at the end of the transaction that changed it.
    #[inline]
    pub fn schema_changed(&mut self) -> Schema {
        let changed = self.schema;
        if changed != Schema::Same && self.status == TxStatus::Idle {
            self.schema = Schema::Same;
        }
        changed
    }

    /// Whether the server has told the client itself that the connection ends.
    pub fn said_fatal(&self) -> bool {
        self.fatal
    }

    /// Whether the server has said that the connection ends, when it owed nothing: that is for a client
    /// that keeps it between its transactions, and for no other.
    #[inline]
    pub fn has_last_words(&self) -> bool {
        self.last_words.is_some()
    }

    /// The error by which the server ended the connection when it owed nothing, as its fields.
    pub fn take_last_words(&mut self) -> Option<Box<[u8]>> {
        self.last_words.take()
    }

    /// Whether a COMMIT was sent and not answered.
    pub fn commit_in_flight(&self) -> bool {
        self.commit
    }

    /// The settings of its own startup packet, to which RESET goes back.
    pub fn fresh(&self) -> &Settings {
        &self.fresh
    }

    /// The startup settings it has.
    pub fn settings(&self) -> &Rc<Settings> {
        &self.settings
    }

    /// Whether our own last query has failed.
    pub fn has_fault(&self) -> bool {
        self.fault.is_some()
    }

    /// Server names of the statements it holds, without the NUL.
    pub fn prepared_names(&self) -> impl Iterator<Item = &[u8]> {
        let name = |held: &'_ Prepared| held.statement.server_name.len() - 1;
        self.prepared
            .values()
            .map(move |held| &held.statement.server_name[..name(held)])
    }

    /// The error of our own last query, as ErrorResponse fields.
    pub fn take_fault(&mut self) -> Option<Box<[u8]>> {
        self.fault.take()
    }

    /// Whether a request is under way that is answered even if the ones before it fail.
    pub(super) fn awaits_ready(&self) -> bool {
        self.expected.iter().any(Expected::ends_segment)
    }

    /// Whether an Execute may still turn out to begin a COPY.
    pub(super) fn may_copy(&self) -> bool {
        self.expected
            .iter()
            .any(|e| matches!(e, Expected::Execute(Feed::Due)))
    }

    /// Has the server say what it has to say of an Execute, once.
    pub(super) fn ask_to_flush(&mut self, flow: &mut Flow<'_>) {
        if !std::mem::replace(&mut self.flush_asked, true) {
            crate::wire::frame::put(flow.own(), b'H', &[]);
        }
    }

    /// Changes of names that were sent before the last Sync: an error may still undo them, and
    /// what follows is executed nevertheless.
    fn changes_before_sync(&self) -> usize {
        let batch = self.expected.iter().rev();
        let of_batch = batch
            .take_while(|e| !e.ends_segment())
            .filter(|e| e.is_journalled())
            .count();
        self.journal.len() - of_batch
    }

    /// Whether nobody knows yet what a name stands for: see [`Self::changes_before_sync`].
    pub(super) fn is_uncertain(&self, name: &[u8]) -> bool {
        if self.forgets && !name.is_empty() && self.awaits_ready() {
            return true;
        }
        if self.journal.is_empty() {
            return false;
        }
        let before = self.changes_before_sync();
        if name.is_empty() {
            let last = |c: &Change| matches!(c, Change::Unnamed { .. });
            return self
                .journal
                .iter()
                .rposition(last)
                .is_some_and(|at| at < before);
        }
        self.journal.iter().take(before).any(|c| c.is_of(name))
    }

    /// Takes note of a portal: what it may do when it is executed.
    pub(super) fn note_bound(&mut self, statement: &Statement, portal: Portal) {
        if statement.survey.copy() {
            self.copy_portal |= portal == Portal::Named;
            if self.bound == Bound::Plain {
                self.bound = Bound::Copy;
            }
        }
        self.forgets |= statement.survey.forgets();
    }

    /// Takes note of a notice that our own query raised.
    pub(super) fn note_notice(&mut self, body: &[u8]) {
        if self.left == 0 && self.notices.len() + body.len() < MOST_NOTICES {
            crate::wire::frame::put(&mut self.notices, b'N', &[body]);
        }
    }

    /// The notices of our own queries since the last question.
    pub fn take_notices(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.notices)
    }

    /// Takes note of a reported setting.
    pub(super) fn note_parameter(&mut self, body: &[u8]) {
        let mut fields = body
            .split(|b| *b == 0)
            .map(|f| String::from_utf8_lossy(f).into_owned());
        let (Some(name), Some(value)) = (fields.next(), fields.next()) else {
            return;
        };
        match self.reported.iter_mut().find(|(n, _)| *n == name) {
            Some(known) => known.1 = value,
            None => self.reported.push((name, value)),
        }
    }
}

/// How long a portal may live: a named one to the end of its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Portal {
    Named,
    Unnamed,
}

/// Whether a statement had to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    There,
    Sent,
}
