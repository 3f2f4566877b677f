//! Where a session's next transaction may be served, as far as the session tells: by its settings, by
//! how the transaction is opened, by what its first statement says. When in doubt: the primary.
//!
//! The worker holds it against the nodes that there are.

use std::str::FromStr;

use super::Session;
use super::batch::runs_at_once;
use super::message::next_header;
use super::settings::Settings;
use super::statement::Statement;
use crate::config::Reads;
use crate::nodes::Position;

use crate::wire::sql::{
    Access, Block, Effect, Hint, Isolation, Modes, block, fits_standby, hint, survey,
};

/// Of whom a transaction is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Of the primary.
    Primary,
    /// Of a replica.
    Replica,
}

/// Why a transaction is served where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// At the primary: it may write.
    Writes,
    /// At the primary: it only reads, but what it begins with is not for a standby.
    Unfit,
    /// At the primary: a comment says so.
    HintPrimary,
    /// At the primary: `tenantry.route` says so.
    SetPrimary,
    /// At the primary: no replica was there.
    NoReplica,
    /// At the primary: no replica had caught up in time.
    Behind,
    /// At the primary: a replica had lost it.
    Again,
    /// At a replica: the transaction says that it is read only.
    ReadOnly,
    /// At a replica: the session's transactions are read only.
    Default,
    /// At a replica: a statement on its own that only reads.
    Statement,
    /// At a replica: a comment says so.
    HintReplica,
    /// At a replica: `tenantry.route` says so.
    SetReplica,
    /// At a replica: the client asks for a standby.
    Listener,
}

impl Why {
    /// All of them, for tables of counters.
    pub const ALL: [Self; 13] = [
        Self::Writes,
        Self::Unfit,
        Self::HintPrimary,
        Self::SetPrimary,
        Self::NoReplica,
        Self::Behind,
        Self::Again,
        Self::ReadOnly,
        Self::Default,
        Self::Statement,
        Self::HintReplica,
        Self::SetReplica,
        Self::Listener,
    ];

    /// Where that is.
    pub const fn place(self) -> Place {
        match self {
            Self::Writes
            | Self::Unfit
            | Self::HintPrimary
            | Self::SetPrimary
            | Self::NoReplica
            | Self::Behind
            | Self::Again => Place::Primary,
            Self::ReadOnly
            | Self::Default
            | Self::Statement
            | Self::HintReplica
            | Self::SetReplica
            | Self::Listener => Place::Replica,
        }
    }

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Writes => "writes",
            Self::Unfit => "unfit",
            Self::HintPrimary | Self::HintReplica => "hint",
            Self::SetPrimary | Self::SetReplica => "setting",
            Self::NoReplica => "no_replica",
            Self::Behind => "behind",
            Self::Again => "again",
            Self::ReadOnly => "read_only",
            Self::Default => "default_read_only",
            Self::Statement => "statement",
            Self::Listener => "listener",
        }
    }
}

/// What a list of settings says of routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wishes {
    /// `tenantry.route`
    route: Option<Hint>,
    /// `default_transaction_read_only`, as far as the list tells.
    read_only: Option<bool>,
    /// `default_transaction_isolation`, where a session has set it.
    serializable: bool,
    /// `tenantry.position`
    seen: Option<Seen>,
}

/// What `tenantry.position` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A replica must have replayed that.
    Position(Position),
    /// It is no position: nobody knows what is asked for.
    Unreadable,
}

impl Settings {
    /// What it says of routing: read once.
    #[inline]
    pub(super) fn wishes(&self) -> &Wishes {
        self.wishes.get_or_init(|| self.read_wishes())
    }

    #[cold]
    fn read_wishes(&self) -> Wishes {
        let route = match self.text("tenantry.route").to_ascii_lowercase().as_str() {
            "primary" => Some(Hint::Primary),
            "replica" => Some(Hint::Replica),
            _ => None,
        };
        let position = self.text("tenantry.position");
        let seen = (!position.is_empty())
            .then(|| Position::from_str(&position).map_or(Seen::Unreadable, Seen::Position));
        let own = self.text("default_transaction_read_only");
        let reported = || {
            let all = self.reported.get().map_or(&[][..], Vec::as_slice);
            let found = all
                .iter()
                .find(|(n, _)| n == "default_transaction_read_only");
            found.map(|(_, value)| value.clone())
        };
        let read_only = if own.is_empty() {
            reported()
        } else {
            Some(own)
        };
        Wishes {
            route,
            read_only: read_only.map(|value| is_on(&value)),
            serializable: self
                .text("default_transaction_isolation")
                .eq_ignore_ascii_case("serializable"),
            seen,
        }
    }
}

/// What answers `SHOW tenantry.position`: the primary's position, which covers all that was
/// acknowledged before it was asked for.
const POSITION: &str = include_str!("position.sql");

/// The statement that answers a question about routing in the place of the client's.
#[inline]
pub(super) fn answered_by(text: &[u8]) -> Option<&'static str> {
    if !matches!(text.first(), Some(b's' | b'S')) || text.len() < 22 {
        return None;
    }
    let text = text.trim_ascii_end();
    let text = text.strip_suffix(b";").unwrap_or(text).trim_ascii_end();
    text.eq_ignore_ascii_case(b"SHOW tenantry.position")
        .then_some(POSITION)
}

/// As PostgreSQL reads a boolean: any beginning of a word that tells which.
fn is_on(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    let begins = |word: &str| !value.is_empty() && word.starts_with(&value);
    begins("true") || begins("yes") || value == "on" || value == "1"
}

/// What a request is about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub(super) text: &'a [u8],
    /// The one that it names.
    pub(super) statement: Option<&'a Statement>,
}

impl<'a> Asked<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        Self {
            text,
            statement: None,
        }
    }

    /// Whether a standby may serve it as a transaction of its own, as `judge` says of its text; of a
    /// prepared statement that is kept for as long as the catalog has that generation.
    pub fn reads_only(&self, generation: u32, judge: impl FnOnce(&[u8]) -> bool) -> bool {
        match self.statement {
            Some(statement) => statement.reads_only(generation, judge),
            None => judge(self.text),
        }
    }
}

/// Says of a request whether a standby may serve it as a transaction of its own.
pub type Judge<'a> = &'a mut dyn FnMut(Asked<'_>) -> bool;

impl Session {
    /// What a replica must have replayed, by `tenantry.position`.
    pub fn seen(&self) -> Option<Seen> {
        self.settings.wishes().seen
    }

    /// Where the request that the input begins with may be served, and why.
    #[inline]
    pub fn aim(&self, input: &[u8], reads: Reads, judge: Judge<'_>) -> Why {
        if reads == Reads::Off {
            return Why::Writes;
        }
        let wishes = self.settings.wishes();
        let plain = self.opening.is_none()
            && wishes.route.is_none()
            && !self.reads_by_default()
            && reads != Reads::Statements;
        let asked = self.asked(input).unwrap_or(Asked::of(b""));
        if plain && !may_say_more(asked.text) {
            return Why::Writes;
        }
        self.aim_closely(input, asked, reads, judge)
    }

    fn aim_closely(&self, input: &[u8], asked: Asked<'_>, reads: Reads, judge: Judge<'_>) -> Why {
        let text = asked.text;
        let wishes = self.settings.wishes();
        let opened = self.opening.as_ref().and_then(|opening| opening.hint);
        match (hint(text).or(opened), wishes.route) {
            (Some(Hint::Primary), _) => return Why::HintPrimary,
            (Some(Hint::Replica), _) => return Why::HintReplica,
            (None, Some(Hint::Primary)) => return Why::SetPrimary,
            (None, Some(Hint::Replica)) => return Why::SetReplica,
            (None, None) => {}
        }
        if answered_by(text).is_some() {
            return Why::Writes;
        }
        let whole = next_header(input).is_ok_and(|h| h.is_some_and(|h| h.total <= input.len()));
        if !whole {
            return Why::Unfit;
        }
        let opened = match block(text).filter(|_| runs_at_once(input)) {
            Some(Block::Opens(modes, _)) if self.opening.is_none() => Some((modes, true)),
            Some(Block::Describes(modes)) => {
                self.opening.as_ref().map(|o| (o.modes.then(modes), true))
            }
            _ => self.opening.as_ref().map(|o| (o.modes, false)),
        };
        match opened {
            Some((modes, opens)) => self.aim_block(modes, || {
                (opens || fits_standby(text)) && self.ends_with_block(input, text)
            }),
            None if self.reads_by_default() => {
                if self.is_batch_of(input, asked, |asked| reads_alone(asked.text)) {
                    Why::Default
                } else {
                    Why::Unfit
                }
            }
            None if reads == Reads::Statements && self.is_batch_of(input, asked, judge) => {
                Why::Statement
            }
            None => Why::Writes,
        }
    }

    /// Whether its transactions are read only where they say nothing else.
    #[inline]
    fn reads_by_default(&self) -> bool {
        let own = self.settings.wishes().read_only;
        own.or_else(|| self.start.wishes().read_only) == Some(true)
    }

    /// Where a block of these modes may be served whose first request fits a standby, or does not.
    fn aim_block(&self, modes: Modes, fits: impl FnOnce() -> bool) -> Why {
        let wishes = self.settings.wishes();
        let why = match modes.access {
            Some(Access::ReadOnly) => Why::ReadOnly,
            None if self.reads_by_default() => Why::Default,
            None | Some(Access::ReadWrite) => return Why::Writes,
        };
        let serializable = match modes.isolation {
            Some(level) => level == Isolation::Serializable,
            None => wishes.serializable,
        };
        if serializable || !fits() {
            Why::Unfit
        } else {
            why
        }
    }
}

/// Whether a text may be, or begin with, what tells where it goes: a hint, or a block that is opened.
#[inline]
fn may_say_more(text: &[u8]) -> bool {
    match text.first() {
        Some(b'b' | b'B' | b'/' | b'-' | b' ' | b'\t' | b'\r' | b'\n') => true,
        Some(b's' | b'S') => matches!(text.get(1), Some(b't' | b'T')),
        _ => false,
    }
}

/// Whether a text is one statement that leaves nothing behind and that a standby can do.
fn reads_alone(text: &[u8]) -> bool {
    let found = survey(text);
    found.effect == Effect::Clean
        && found.leaves.is_empty()
        && !found.several()
        && !found.transacts()
        && !found.copy()
        && fits_standby(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_read_as_the_server_reads_them() {
        for value in ["on", "true", "t", "TRUE", "yes", "y", "1", " on "] {
            assert!(is_on(value), "{value}");
        }
        for value in ["off", "false", "o", "", "0", "no", "onn"] {
            assert!(!is_on(value), "{value}");
        }
    }

    #[test]
    fn one_statement_that_a_standby_can_do_reads_alone() {
        for text in [
            "SELECT 1",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "SHOW TimeZone",
        ] {
            assert!(reads_alone(text.as_bytes()), "{text}");
        }
        for text in [
            "SELECT 1; SELECT 2",
            "LISTEN a",
            "SET a.b = 1",
            "SELECT pg_advisory_xact_lock(1)",
            "COPY t FROM STDIN",
            "BEGIN",
            "PREPARE a AS SELECT 1",
        ] {
            assert!(!reads_alone(text.as_bytes()), "{text}");
        }
    }
}
