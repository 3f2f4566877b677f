//! What a SQL text leaves behind on the server connection that runs it.
//!
//! A pooler gives a server connection to another session after each transaction, so it must know
//! which statements leave state: [`survey`] reads the text of a Query or Parse and says so. It does
//! no I/O, allocates nothing, and reads each byte about once.
//!
//! Guarantees: **what is not known to be clean pins.** The lexer follows PostgreSQL's; commands and
//! functions are on lists of clean ones, or they pin. Names are matched as the server matches them:
//! folded, quoted, qualified, with comments in between.
//!
//! Lacks: what the text does not show. Views, triggers, rules, defaults, casts, operators, event
//! triggers, column-like calls (`t.f`), a function of the user's own that shadows one of `pg_catalog`,
//! extensions behind foreign tables and functions in C can do anything; only the database's catalog
//! could tell. `currval` and `lastval` are taken for clean: a later transaction may run elsewhere.
//! The text must be in an encoding whose multi-byte characters have no ASCII bytes
//! ([`encoding_is_safe`]); under another `client_encoding` the caller pins.

mod assignment;
mod calls;
mod heads;
mod hint;
mod lexer;
mod machine;
mod named;
mod plain;
mod reads;
mod transaction;
mod words;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use assignment::{Assignment, assignment, is_portable, is_short_limit, reset_name};
pub use hint::{Hint, hint};
pub use named::{Body, Named, body, named_settings, resets};
pub use reads::{LONGEST, Name, Reading, Unfit, may_read, reads_only};
pub use transaction::{Access, Block, Isolation, Modes, block, fits_standby, may_be_block};

use lexer::{Kind, Lexer};

/// What a text does, as far as a pooler cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    /// What it leaves behind: the worst of its statements.
    pub effect: Effect,
    /// Why its session may have to stay where it is: of all of its statements. A [`Effect::Setting`]
    /// is not among them.
    pub leaves: Reasons,
    /// Set if its sole statement begins or ends a transaction block.
    pub transaction: Option<TransactionWord>,
    flags: u16,
}

/// What a text leaves behind, from harmless to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing, once its transaction is over.
    Clean,
    /// Nothing after its transaction; within it, a later Parse may see other settings.
    LocalSetting,
    /// `SET name = value` or `RESET name` as sole statement, which [`assignment`] reads: it can be
    /// said again elsewhere.
    Setting,
    /// `DEALLOCATE ALL`: drops what protocol and SQL prepared.
    DeallocateAll,
    /// `DISCARD ALL`: as `DEALLOCATE ALL`, and every setting goes back to its start.
    DiscardAll,
    /// `DEALLOCATE name` as sole statement; the name is [`deallocated_name`].
    Deallocate,
    /// The session must stay on this server connection.
    Pin(PinReason),
}

/// Why a session must stay on its server connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PinReason {
    /// `SET`, `RESET name`, `set_config`: asked for by name ([`named_settings`]), or it stays.
    Setting,
    /// `SET ROLE`, `SET SESSION AUTHORIZATION`: asked for, or it stays.
    Role,
    /// `LISTEN`.
    Listen,
    /// A temporary table, view, sequence or function.
    TemporaryTable,
    /// `DECLARE .. WITH HOLD`.
    HoldCursor,
    /// A session-level advisory lock.
    AdvisoryLock,
    /// SQL `PREPARE` and `EXECUTE`.
    Prepare,
    /// `LOAD`, or DDL that loads a library.
    Load,
    /// `setseed`.
    SetSeed,
    /// A call of a function that may do anything.
    Function,
    /// `DO`.
    Do,
    /// `CALL`.
    Call,
    /// A command that is not known to be clean, or a text that cannot be read with certainty.
    Unknown,
    /// A statement too large to be read whole. Given by the session, never by [`survey`].
    LargeStatement,
    /// The pool's mode is `session`. Given by the session, never by [`survey`].
    SessionMode,
}

impl PinReason {
    /// All reasons, for tables of counters.
    pub const ALL: [Self; 15] = [
        Self::Setting,
        Self::Role,
        Self::Listen,
        Self::TemporaryTable,
        Self::HoldCursor,
        Self::AdvisoryLock,
        Self::Prepare,
        Self::Load,
        Self::SetSeed,
        Self::Function,
        Self::Do,
        Self::Call,
        Self::Unknown,
        Self::LargeStatement,
        Self::SessionMode,
    ];

    /// Its name in logs, tables and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::Role => "role",
            Self::Listen => "listen",
            Self::TemporaryTable => "temporary_table",
            Self::HoldCursor => "hold_cursor",
            Self::AdvisoryLock => "advisory_lock",
            Self::Prepare => "prepare",
            Self::Load => "load",
            Self::SetSeed => "setseed",
            Self::Function => "function",
            Self::Do => "do",
            Self::Call => "call",
            Self::Unknown => "unknown",
            Self::LargeStatement => "large_statement",
            Self::SessionMode => "session_mode",
        }
    }

    /// Whether `DISCARD ALL` surely undoes it.
    pub const fn discardable(self) -> bool {
        match self {
            Self::Setting
            | Self::Role
            | Self::Listen
            | Self::TemporaryTable
            | Self::HoldCursor
            | Self::AdvisoryLock
            | Self::Prepare => true,
            Self::Load
            | Self::SetSeed
            | Self::Function
            | Self::Do
            | Self::Call
            | Self::Unknown
            | Self::LargeStatement
            | Self::SessionMode => false,
        }
    }
}

/// A set of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reasons(u16);

impl Reasons {
    /// None.
    pub const NONE: Self = Self(0);

    /// Those of a list.
    pub const fn of(list: &[PinReason]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < list.len() {
            bits |= 1 << list[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it is one of them.
    pub const fn contains(self, reason: PinReason) -> bool {
        self.0 & 1 << reason as u16 != 0
    }

    /// With another one.
    #[must_use]
    pub const fn with(self, reason: PinReason) -> Self {
        Self(self.0 | 1 << reason as u16)
    }

    /// Those of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that the other set lacks.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The first one, in the order of [`PinReason::ALL`].
    #[inline]
    pub fn first(self) -> Option<PinReason> {
        PinReason::ALL
            .get(self.0.trailing_zeros() as usize)
            .copied()
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = PinReason> {
        PinReason::ALL
            .into_iter()
            .filter(move |r| self.contains(*r))
    }
}

/// How a sole statement begins or ends a transaction block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionWord {
    /// `BEGIN`, `START TRANSACTION`.
    Begin,
    /// `COMMIT`, `END`.
    Commit,
    /// `COMMIT AND CHAIN`: the next block begins at once.
    CommitAndChain,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// `ROLLBACK AND CHAIN`.
    RollbackAndChain,
    /// `PREPARE TRANSACTION '..'`.
    PrepareTransaction,
}

impl TransactionWord {
    /// Whether it asks for a commit: if its answer is lost, the outcome is unknown.
    pub const fn commits(self) -> bool {
        matches!(
            self,
            Self::Commit | Self::CommitAndChain | Self::PrepareTransaction
        )
    }
}

const SEVERAL: u16 = 1;
const COPY: u16 = 2;
const BEGINS: u16 = 4;
const COMMITS: u16 = 8;
const LOCAL: u16 = 16;
const RESETS: u16 = 32;
const TRANSACTS: u16 = 64;
const SAVEPOINTS: u16 = 128;
const FOREIGN: u16 = 256;
const RELEASES: u16 = 512;
const SEQUENCES: u16 = 1024;
const EXECUTES: u16 = 2048;
const REACHES: u16 = 4096;
const DOUBTFUL: u16 = 8192;

impl Survey {
    /// Of a text that was not read: it pins for that reason.
    pub const fn of(reason: PinReason) -> Self {
        Self {
            effect: Effect::Pin(reason),
            leaves: Reasons::NONE.with(reason),
            transaction: None,
            flags: REACHES,
        }
    }

    /// Whether there is more than one statement.
    pub const fn several(self) -> bool {
        self.flags & SEVERAL != 0
    }

    /// Whether one of the statements is `COPY`.
    pub const fn copy(self) -> bool {
        self.flags & COPY != 0
    }

    /// Whether one of the statements begins a transaction block, or goes on with one (`AND CHAIN`).
    pub const fn begins_block(self) -> bool {
        self.flags & BEGINS != 0
    }

    /// Whether one of the statements commits a transaction block.
    pub const fn commits(self) -> bool {
        self.flags & COMMITS != 0
    }

    /// Whether one of the statements begins or ends a transaction block.
    pub const fn transacts(self) -> bool {
        self.flags & TRANSACTS != 0
    }

    /// Whether one of the statements is `SAVEPOINT`.
    pub const fn makes_savepoint(self) -> bool {
        self.flags & SAVEPOINTS != 0
    }

    /// Whether one of the statements is `RESET ALL`: the server connection's settings go back to
    /// their start, which is not the session's. Clean for a caller who takes note of it.
    pub const fn resets(self) -> bool {
        self.flags & RESETS != 0
    }

    /// Whether it calls functions that are not built in: the catalog tells what they are.
    pub const fn calls_foreign(self) -> bool {
        self.flags & FOREIGN != 0
    }

    /// Whether it may run functions that it does not name: triggers, views, defaults, operators.
    pub const fn reaches(self) -> bool {
        self.flags & REACHES != 0
    }

    /// Whether it may take away what kept the session where it is.
    pub const fn releases(self) -> bool {
        self.flags & (RELEASES | FOREIGN) != 0
    }

    /// Whether it asks for the last value of a sequence in this session.
    pub const fn reads_sequences(self) -> bool {
        self.flags & SEQUENCES != 0
    }

    /// Whether it changes settings or the role for longer than its transaction, in words that
    /// [`assignment`] does not read.
    pub const fn sets(self) -> bool {
        self.leaves.contains(PinReason::Setting) || self.leaves.contains(PinReason::Role)
    }

    /// Whether a part of the text cannot be read with certainty.
    pub const fn is_doubtful(self) -> bool {
        self.flags & DOUBTFUL != 0
    }

    /// Whether one of the statements is SQL `EXECUTE`.
    pub const fn executes(self) -> bool {
        self.flags & EXECUTES != 0
    }

    /// Whether it may drop statements that the protocol has prepared.
    pub const fn forgets(self) -> bool {
        matches!(
            self.effect,
            Effect::Deallocate | Effect::DeallocateAll | Effect::DiscardAll
        )
    }

    /// Whether one of the statements changes a setting until the end of the transaction, whatever
    /// else there is.
    pub const fn sets_locally(self) -> bool {
        self.flags & LOCAL != 0
    }
}

/// Reads a SQL text (without its final NUL) and says what it leaves behind.
pub fn survey(text: &[u8]) -> Survey {
    if plain::is_plain_query(text) {
        return Survey {
            effect: Effect::Clean,
            leaves: Reasons::NONE,
            transaction: None,
            flags: REACHES,
        };
    }
    survey_closely(text)
}

/// The same, word by word.
fn survey_closely(text: &[u8]) -> Survey {
    let mut survey = machine::Machine::new(text).run();
    if survey.effect == Effect::Pin(PinReason::Setting) && assignment(text).is_some() {
        survey.effect = Effect::Setting;
        survey.leaves = Reasons::NONE;
    }
    if survey.effect == Effect::Deallocate && deallocated_name(text).is_none() {
        // As behind a parenthesis: no server takes it, so nobody knows what it would do.
        survey.effect = Effect::Pin(PinReason::Unknown);
        survey.leaves = survey.leaves.with(PinReason::Unknown);
    }
    survey
}

/// The name that a sole `DEALLOCATE [PREPARE] name` names, as the server stores it: folded or
/// unquoted, cut to 63 bytes. `None` for any other text.
pub fn deallocated_name(text: &[u8]) -> Option<Cow<'_, str>> {
    let mut lexer = behind_verb(text, words::DEALLOCATE)?;
    let mut name = lexer.next();
    let mut after = lexer.next();
    let prepare = name.kind == Kind::Word && words::pack(lexer.slice(name)) == words::PREPARE;
    if prepare && matches!(after.kind, Kind::Word | Kind::Quoted) {
        name = after;
        after = lexer.next();
    }
    while after.kind == Kind::Semicolon {
        after = lexer.next();
    }
    let raw = lexer.slice(name);
    let key_word = name.kind == Kind::Word && words::STRUCTURAL.contains_folded(raw);
    if key_word || after.kind != Kind::End {
        return None;
    }
    stored_name(name.kind, raw)
}

/// The name that a text's first statement, `EXECUTE name ..`, names, as the server stores it, and
/// where it stands. `None` for any other text.
pub fn executed_name(text: &[u8]) -> Option<(Cow<'_, str>, std::ops::Range<usize>)> {
    let mut lexer = behind_verb(text, words::EXECUTE)?;
    let name = lexer.next();
    let stored = stored_name(name.kind, lexer.slice(name))?;
    Some((stored, name.end() - name.len()..name.end()))
}

/// Reads on behind the first word of a text, if it is that one.
fn behind_verb(text: &[u8], verb: u128) -> Option<Lexer<'_>> {
    let mut lexer = Lexer::new(text);
    let mut token = lexer.next();
    while token.kind == Kind::Semicolon {
        token = lexer.next();
    }
    let found = token.kind == Kind::Word && words::pack(lexer.slice(token)) == verb;
    found.then_some(lexer)
}

/// A name as the server stores it: folded or unquoted, cut to 63 bytes.
fn stored_name(kind: Kind, raw: &[u8]) -> Option<Cow<'_, str>> {
    let raw = std::str::from_utf8(raw).ok()?;
    match kind {
        Kind::Word if raw.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            Some(Cow::Owned(clipped(raw).to_ascii_lowercase()))
        }
        Kind::Word => Some(Cow::Borrowed(clipped(raw))),
        Kind::Quoted => {
            let inner = &raw[1..raw.len() - 1];
            if inner.contains('"') {
                Some(Cow::Owned(clipped(&inner.replace("\"\"", "\"")).to_owned()))
            } else {
                Some(Cow::Borrowed(clipped(inner)))
            }
        }
        _ => None,
    }
}

/// Whether a word or quoted name of a text, in lower case, is one of those wanted. A text that
/// cannot be read to its end has it.
pub fn has_word(text: &[u8], wanted: impl Fn(&[u8]) -> bool) -> bool {
    let mut lexer = Lexer::new(text);
    let mut folded = Vec::new();
    loop {
        let token = lexer.next();
        let name = match token.kind {
            Kind::End => return false,
            Kind::Doubt => return true,
            Kind::Word => lexer.slice(token),
            Kind::Quoted => {
                let quoted = lexer.slice(token);
                &quoted[1..quoted.len() - 1]
            }
            _ => continue,
        };
        folded.clear();
        folded.extend(name.iter().map(u8::to_ascii_lowercase));
        if wanted(&folded) {
            return true;
        }
    }
}

/// A name cut as the server cuts it: at most 63 bytes, whole characters.
fn clipped(name: &str) -> &str {
    let mut end = name.len().min(63);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// Whether this value of `client_encoding` has no ASCII bytes inside of multi-byte characters, so
/// that [`survey`] can be trusted. Read as the server does (`clean_encoding_name`): letters and
/// digits count, in any case.
pub fn encoding_is_safe(encoding: &str) -> bool {
    let plain: String = encoding
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let families = ["latin", "euc", "iso8859", "koi8", "win125", "windows125"];
    let exact = [
        "utf8",
        "unicode",
        "sqlascii",
        "muleinternal",
        "win866",
        "win874",
        "windows866",
        "windows874",
        "koi8r",
        "koi8u",
        "win",
        "alt",
        "abc",
        "tcvn",
        "vscii",
    ];
    exact.contains(&plain.as_str()) || families.iter().any(|family| plain.starts_with(family))
}
