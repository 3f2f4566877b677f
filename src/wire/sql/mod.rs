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
mod lexer;
mod machine;
mod plain;
mod words;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use assignment::{Assignment, assignment, is_short_limit};

use lexer::{Kind, Lexer};

/// What a text does, as far as a pooler cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    /// What it leaves behind: the worst of its statements.
    pub effect: Effect,
    /// Set if its sole statement begins or ends a transaction block.
    pub transaction: Option<TransactionWord>,
    flags: u8,
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
    /// `SET`, `RESET name` that cannot be carried, `set_config`; `RESET ALL` in a transaction block.
    Setting,
    /// `SET ROLE`, `SET SESSION AUTHORIZATION`.
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
    /// A call of a function that is not known to be clean.
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

const SEVERAL: u8 = 1;
const COPY: u8 = 2;
const BEGINS: u8 = 4;
const COMMITS: u8 = 8;
const LOCAL: u8 = 16;
const RESETS: u8 = 32;
const TRANSACTS: u8 = 64;
const SAVEPOINTS: u8 = 128;

impl Survey {
    /// Of a text that was not read: it pins for that reason.
    pub const fn of(reason: PinReason) -> Self {
        Self {
            effect: Effect::Pin(reason),
            transaction: None,
            flags: 0,
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
            transaction: None,
            flags: 0,
        };
    }
    let mut survey = machine::Machine::new(text).run();
    if survey.effect == Effect::Pin(PinReason::Setting) && assignment(text).is_some() {
        survey.effect = Effect::Setting;
    }
    survey
}

/// The name that a sole `DEALLOCATE [PREPARE] name` names, as the server stores it: folded or
/// unquoted, cut to 63 bytes. `None` for any other text.
pub fn deallocated_name(text: &[u8]) -> Option<Cow<'_, str>> {
    let mut lexer = Lexer::new(text);
    let mut token = lexer.next();
    while token.kind == Kind::Semicolon {
        token = lexer.next();
    }
    if token.kind != Kind::Word || words::pack(lexer.slice(token)) != words::DEALLOCATE {
        return None;
    }
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
    let raw = std::str::from_utf8(lexer.slice(name)).ok()?;
    match (name.kind, after.kind) {
        (Kind::Word, Kind::End) if words::STRUCTURAL.contains_folded(raw.as_bytes()) => None,
        (Kind::Word, Kind::End) if raw.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            Some(Cow::Owned(clipped(raw).to_ascii_lowercase()))
        }
        (Kind::Word, Kind::End) => Some(Cow::Borrowed(clipped(raw))),
        (Kind::Quoted, Kind::End) => {
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
