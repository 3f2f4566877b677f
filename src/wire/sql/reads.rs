//! Which texts a standby may serve: single statements that only read, by PostgreSQL's own grammar.
//!
//! [`reads_only`] parses a text with the parser of PostgreSQL (feature `pg_query`) and walks the
//! whole of its tree. What the text alone cannot tell, the names it uses are held against: a
//! [`Reading`] lists them for the database's catalog.
//!
//! Guarantees: when in doubt, the primary. Every kind of node is known with all of its parts, or
//! the text is unfit; so are functions that write, are volatile or speak of one server. Any bytes
//! may come in; length and depth are bounded.
//!
//! Lacks: functions that a server newer than PostgreSQL 18 brings, are volatile and do not begin
//! with `pg_`. Expressions nested deeper than some 45 levels are unfit: the tree's decoder ends there.

#[cfg(feature = "pg_query")]
mod builtin;
#[cfg(feature = "pg_query")]
mod json;
#[cfg(feature = "pg_query")]
mod tree;

#[cfg(all(test, feature = "pg_query"))]
mod tests;

use super::lexer::{Kind, Lexer};
use super::words;

/// Longest text that is parsed, in bytes.
pub const LONGEST: usize = 16 * 1024;
/// Most words, numbers, strings and signs in it: each costs up to a microsecond, which all that the
/// worker serves wait for.
const MOST_TOKENS: usize = 2_000;
/// Longest text in which they cannot be counted to the end, as an escape may mean one thing or another.
const LONGEST_DOUBTFUL: usize = 4 * 1024;

/// Why a text goes to the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unfit {
    /// Longer than [`LONGEST`], or of too many parts.
    TooLarge,
    /// PostgreSQL's parser refuses it, or it is nested too deep.
    Unparsable,
    /// More than one statement.
    Several,
    /// Not a `SELECT`, `VALUES` or `TABLE`.
    NotSelect,
    /// `FOR UPDATE` and the like.
    Locks,
    /// `INTO`, or a `WITH` that changes data.
    Writes,
    /// A volatile function of PostgreSQL's own, or `TABLESAMPLE`.
    Volatile,
    /// A function that works on a sequence.
    Sequence,
    /// A function that changes what the session keeps: settings, locks.
    SessionState,
    /// A function or view that speaks of one server.
    Server,
    /// The schema of temporary objects.
    Temporary,
    /// A part of the tree that is not known here.
    Unknown,
    /// Nothing is known of the database's own functions.
    Catalog,
    /// A function of the user's own that is volatile.
    Function,
    /// A relation that runs one when it is read, or that a standby does not hold.
    Relation,
    /// A type, or a cast to it, that runs one.
    Type,
    /// An operator that runs one.
    Operator,
    /// The build has no parser.
    Unsupported,
}

impl Unfit {
    /// All reasons, for tables of counters.
    pub const ALL: [Self; 18] = [
        Self::TooLarge,
        Self::Unparsable,
        Self::Several,
        Self::NotSelect,
        Self::Locks,
        Self::Writes,
        Self::Volatile,
        Self::Sequence,
        Self::SessionState,
        Self::Server,
        Self::Temporary,
        Self::Unknown,
        Self::Catalog,
        Self::Function,
        Self::Relation,
        Self::Type,
        Self::Operator,
        Self::Unsupported,
    ];

    /// Its name in metrics, tables and notices.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Unparsable => "unparsable",
            Self::Several => "several",
            Self::NotSelect => "not_select",
            Self::Locks => "locks",
            Self::Writes => "writes",
            Self::Volatile => "volatile",
            Self::Sequence => "sequence",
            Self::SessionState => "session_state",
            Self::Server => "server",
            Self::Temporary => "temporary",
            Self::Unknown => "unknown",
            Self::Catalog => "catalog",
            Self::Function => "user_function",
            Self::Relation => "relation",
            Self::Type => "type",
            Self::Operator => "operator",
            Self::Unsupported => "unsupported",
        }
    }
}

/// A text that only reads, as far as the text tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    names: Box<[Name]>,
}

/// A name that the catalog must not suspect: the last part of it, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// Of a function that is called. May be a cast written as a call.
    Function(Box<str>),
    /// Of a column of something: `t.name` calls a function `name(t)` if there is no such column.
    Field(Box<str>),
    /// Of a table, view, sequence or common table expression.
    Relation(Box<str>),
    /// Of a type that something is cast to.
    Type(Box<str>),
    /// Of an operator. Those that SQL does not write out (`IN`, `JOIN .. USING`) are not listed.
    Operator(Box<str>),
}

impl Reading {
    /// What it names, each once.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        let text = |name: &Name| match name {
            Name::Function(name)
            | Name::Field(name)
            | Name::Relation(name)
            | Name::Type(name)
            | Name::Operator(name) => name.len(),
        };
        size_of_val(&*self.names) + self.names.iter().map(text).sum::<usize>()
    }
}

/// Whether a standby may serve a text (without its final NUL) as a transaction of its own: what
/// must still be held against the catalog, or why not.
pub fn reads_only(text: &[u8]) -> Result<Reading, Unfit> {
    if !may_read(text) {
        return Err(Unfit::NotSelect);
    }
    if text.len() > LONGEST {
        return Err(Unfit::TooLarge);
    }
    skim(text)?;
    parse(std::str::from_utf8(text).map_err(|_| Unfit::Unparsable)?)
}

/// Whether a text begins as one that reads: most others are told by their first word.
pub fn may_read(text: &[u8]) -> bool {
    if text
        .first_chunk::<7>()
        .is_some_and(|first| first.eq_ignore_ascii_case(b"select "))
    {
        return true;
    }
    let mut lexer = Lexer::new(text);
    let mut token = lexer.next();
    while token.kind == Kind::Semicolon {
        token = lexer.next();
    }
    match token.kind {
        Kind::Open => true,
        Kind::Word => matches!(
            words::pack(lexer.slice(token)),
            words::SELECT | words::WITH | words::VALUES | words::TABLE
        ),
        _ => false,
    }
}

/// Finds what stands behind the end of the first statement, so that the parser is not shown all of
/// SQL, and what has too much in it. Where the lexer has doubts, the tree tells.
fn skim(text: &[u8]) -> Result<(), Unfit> {
    let mut lexer = Lexer::new(text);
    let (mut seen, mut ended) = (false, false);
    for _ in 0..MOST_TOKENS {
        match lexer.next().kind {
            Kind::End => return Ok(()),
            Kind::Doubt if text.len() > LONGEST_DOUBTFUL => break,
            Kind::Doubt => return Ok(()),
            Kind::Semicolon => ended = seen,
            _ if ended => return Err(Unfit::Several),
            _ => seen = true,
        }
    }
    Err(Unfit::TooLarge)
}

#[cfg(feature = "pg_query")]
fn parse(text: &str) -> Result<Reading, Unfit> {
    tree::reading(text)
}

#[cfg(not(feature = "pg_query"))]
fn parse(_text: &str) -> Result<Reading, Unfit> {
    Err(Unfit::Unsupported)
}
