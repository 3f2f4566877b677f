//! How a sole statement opens, describes or ends a transaction block, in so far as that tells where
//! the transaction may run (manual, SQL commands BEGIN, SET TRANSACTION, COMMIT, ROLLBACK).

use super::lexer::{Kind, Lexer};
use super::plain;

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `READ ONLY`
    ReadOnly,
    /// `READ WRITE`
    ReadWrite,
}

/// The modes of a transaction; those that a later statement names hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modes {
    /// `READ ONLY` or `READ WRITE`, if one is named.
    pub access: Option<Access>,
    /// The level, if one is named.
    pub isolation: Option<Isolation>,
    /// `DEFERRABLE` or `NOT DEFERRABLE`, if one is named.
    pub deferrable: Option<bool>,
}

/// Isolation levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Which a standby has not.
    Serializable,
    /// `REPEATABLE READ`
    RepeatableRead,
    /// `READ COMMITTED`
    ReadCommitted,
    /// `READ UNCOMMITTED`
    ReadUncommitted,
}

impl Modes {
    /// None is named.
    pub const PLAIN: Self = Self {
        access: None,
        isolation: None,
        deferrable: None,
    };
    /// `READ ONLY`, and no other.
    pub const READ_ONLY: Self = Self {
        access: Some(Access::ReadOnly),
        ..Self::PLAIN
    };

    /// The statement that opens such a transaction, in parts.
    pub fn begin(self) -> [&'static str; 4] {
        let isolation = self.isolation.map(|level| match level {
            Isolation::Serializable => " ISOLATION LEVEL SERIALIZABLE",
            Isolation::RepeatableRead => " ISOLATION LEVEL REPEATABLE READ",
            Isolation::ReadCommitted => " ISOLATION LEVEL READ COMMITTED",
            Isolation::ReadUncommitted => " ISOLATION LEVEL READ UNCOMMITTED",
        });
        let access = self.access.map(|access| match access {
            Access::ReadOnly => " READ ONLY",
            Access::ReadWrite => " READ WRITE",
        });
        let deferrable = self.deferrable.map(|yes| match yes {
            true => " DEFERRABLE",
            false => " NOT DEFERRABLE",
        });
        let said = |part: Option<&'static str>| part.unwrap_or_default();
        ["BEGIN", said(isolation), said(access), said(deferrable)]
    }

    /// With those of a later statement.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            access: later.access.or(self.access),
            isolation: later.isolation.or(self.isolation),
            deferrable: later.deferrable.or(self.deferrable),
        }
    }
}

/// A sole statement about a transaction block as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// `BEGIN`, `START TRANSACTION`; the command tag is the second.
    Opens(Modes, &'static str),
    /// `SET TRANSACTION`, but for `SNAPSHOT`.
    Describes(Modes),
    /// `COMMIT`, `END`, without `AND CHAIN`.
    Commits,
    /// `ROLLBACK`, `ABORT`, without `AND CHAIN`.
    RollsBack,
}

/// Reads a text that is one such statement; `None` for any other, also for several.
pub fn block(text: &[u8]) -> Option<Block> {
    if !may_be_block(text) {
        return None;
    }
    let mut words = Words::new(text);
    let verb = words.word()?;
    let is = |word: &str| verb.eq_ignore_ascii_case(word.as_bytes());
    if is("BEGIN") {
        words.skip(&["WORK", "TRANSACTION"]);
        Some(Block::Opens(words.modes()?, "BEGIN"))
    } else if is("START") {
        words.expect("TRANSACTION")?;
        Some(Block::Opens(words.modes()?, "START TRANSACTION"))
    } else if is("SET") {
        words.expect("TRANSACTION")?;
        let modes = words.modes()?;
        (modes != Modes::default()).then_some(Block::Describes(modes))
    } else if is("COMMIT") || is("END") {
        words.skip(&["WORK", "TRANSACTION"]);
        words.ends().then_some(Block::Commits)
    } else if is("ROLLBACK") || is("ABORT") {
        words.skip(&["WORK", "TRANSACTION"]);
        words.ends().then_some(Block::RollsBack)
    } else {
        None
    }
}

/// Whether a text may be one of those statements, told by its first three letters.
#[inline]
pub fn may_be_block(text: &[u8]) -> bool {
    let Some(first) = text.first_chunk::<3>() else {
        return false;
    };
    let folded = first.map(|byte| byte | 0x20);
    let begins = |word: &[u8; 3]| folded == *word;
    first[0].is_ascii_whitespace()
        || matches!(first[0], b'/' | b'-' | b';')
        || begins(b"beg")
        || begins(b"sta")
        || begins(b"set")
        || begins(b"com")
        || begins(b"end")
        || begins(b"rol")
        || begins(b"abo")
}

/// Whether a standby may begin a read-only transaction with this text, as far as its words tell: what
/// only a primary can do, or would do with another meaning, is named by one of these words. A text
/// that cannot be read is not for a standby.
pub fn fits_standby(text: &[u8]) -> bool {
    // Which calls nothing.
    if plain::is_plain_query(text) {
        return true;
    }
    let mut lexer = Lexer::new(text);
    loop {
        let token = lexer.next();
        let name = match token.kind {
            Kind::End => return true,
            Kind::Doubt => return false,
            Kind::Word => lexer.slice(token),
            Kind::Quoted => {
                let quoted = lexer.slice(token);
                &quoted[1..quoted.len() - 1]
            }
            _ => continue,
        };
        if is_unfit(name) {
            return false;
        }
    }
}

/// Words of what a standby refuses although it only reads (LISTEN, transaction ids, WAL being
/// written), of what excludes nobody there (locks), and of snapshots, which are of one node.
fn is_unfit(name: &[u8]) -> bool {
    const WORDS: [&str; 8] = [
        "listen",
        "notify",
        "pg_notify",
        "lock",
        "txid_current",
        "pg_current_xact_id",
        "pg_export_snapshot",
        "snapshot",
    ];
    const PREFIXES: [&str; 3] = ["pg_advisory_", "pg_try_advisory_", "pg_current_wal_"];
    let starts = |prefix: &&str| {
        let start = name.get(..prefix.len());
        start.is_some_and(|s| s.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    match name.first() {
        Some(b'l' | b'L' | b'n' | b'N' | b't' | b'T' | b's' | b'S' | b'p' | b'P') => {
            let is = |word: &&str| name.eq_ignore_ascii_case(word.as_bytes());
            WORDS.iter().any(is) || PREFIXES.iter().any(starts)
        }
        _ => false,
    }
}

/// The words of one statement.
struct Words<'a> {
    lexer: Lexer<'a>,
    next: Option<&'a [u8]>,
    /// What is next is no word: a comma or the end, or something else.
    other: Kind,
    /// Where the last token ended.
    behind: usize,
}

impl<'a> Words<'a> {
    fn new(text: &'a [u8]) -> Self {
        let mut words = Self {
            lexer: Lexer::new(text),
            next: None,
            other: Kind::End,
            behind: 0,
        };
        words.advance();
        words
    }

    fn advance(&mut self) {
        let token = self.lexer.next();
        self.other = token.kind;
        if token.kind != Kind::End {
            self.behind = token.end();
        }
        self.next = (token.kind == Kind::Word).then(|| self.lexer.slice(token));
    }

    fn word(&mut self) -> Option<&'a [u8]> {
        let word = self.next?;
        self.advance();
        Some(word)
    }

    fn is(&self, word: &str) -> bool {
        self.next
            .is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()))
    }

    fn expect(&mut self, word: &str) -> Option<()> {
        self.is(word).then(|| self.advance())
    }

    fn skip(&mut self, words: &[&str]) {
        if words.iter().any(|word| self.is(word)) {
            self.advance();
        }
    }

    /// Whether nothing follows but semicolons.
    fn ends(&mut self) -> bool {
        while self.next.is_none() && self.other == Kind::Semicolon {
            self.advance();
        }
        // Where the lexer sees the end there may be a comment or a string that does not end.
        let rest = &self.lexer.text()[self.behind..];
        self.next.is_none() && self.other == Kind::End && rest.trim_ascii().is_empty()
    }

    /// The modes up to the end; `None`: something else is there, too.
    fn modes(&mut self) -> Option<Modes> {
        let mut modes = Modes::default();
        while !self.ends() {
            if self.expect("ISOLATION").is_some() {
                self.expect("LEVEL")?;
                modes.isolation = Some(self.isolation()?);
            } else if self.expect("READ").is_some() {
                modes.access = Some(if self.expect("ONLY").is_some() {
                    Access::ReadOnly
                } else {
                    self.expect("WRITE")?;
                    Access::ReadWrite
                });
            } else {
                let yes = self.expect("NOT").is_none();
                self.expect("DEFERRABLE")?;
                modes.deferrable = Some(yes);
            }
            if self.next.is_none() && self.other == Kind::Comma {
                self.advance();
                // A comma has another mode behind it.
                self.next?;
            }
        }
        Some(modes)
    }

    fn isolation(&mut self) -> Option<Isolation> {
        if self.expect("SERIALIZABLE").is_some() {
            return Some(Isolation::Serializable);
        }
        if self.expect("REPEATABLE").is_some() {
            self.expect("READ")?;
            return Some(Isolation::RepeatableRead);
        }
        self.expect("READ")?;
        if self.expect("COMMITTED").is_some() {
            return Some(Isolation::ReadCommitted);
        }
        self.expect("UNCOMMITTED")?;
        Some(Isolation::ReadUncommitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Modes = Modes::PLAIN;
    const READ_ONLY: Modes = Modes::READ_ONLY;

    #[test]
    fn blocks_are_read_as_the_grammar_has_them() {
        let level = |isolation| Modes {
            isolation: Some(isolation),
            ..READ_ONLY
        };
        let repeatable = level(Isolation::RepeatableRead);
        let serializable = Modes {
            access: Some(Access::ReadWrite),
            ..level(Isolation::Serializable)
        };
        let not_deferrable = Modes {
            deferrable: Some(false),
            ..READ_ONLY
        };
        for (text, expected) in [
            ("BEGIN", Block::Opens(PLAIN, "BEGIN")),
            (" begin work ; ", Block::Opens(PLAIN, "BEGIN")),
            ("/* a */ BEGIN\n;", Block::Opens(PLAIN, "BEGIN")),
            (
                "START TRANSACTION",
                Block::Opens(PLAIN, "START TRANSACTION"),
            ),
            ("BEGIN READ ONLY", Block::Opens(READ_ONLY, "BEGIN")),
            (
                "begin transaction not deferrable, read only;",
                Block::Opens(not_deferrable, "BEGIN"),
            ),
            (
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                Block::Opens(repeatable, "BEGIN"),
            ),
            (
                "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE",
                Block::Opens(serializable, "START TRANSACTION"),
            ),
            ("SET TRANSACTION READ ONLY", Block::Describes(READ_ONLY)),
            (
                "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED, READ ONLY",
                Block::Describes(level(Isolation::ReadUncommitted)),
            ),
            ("COMMIT", Block::Commits),
            ("end transaction;;", Block::Commits),
            ("ROLLBACK WORK", Block::RollsBack),
            ("abort", Block::RollsBack),
        ] {
            assert_eq!(block(text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            ";",
            "BEGIN; SELECT 1",
            "BEGIN READ",
            "BEGIN READ ONLY,",
            "BEGIN , READ ONLY",
            "BEGIN \"READ\" ONLY",
            "BEGIN ISOLATION LEVEL",
            "BEGIN ISOLATION READ COMMITTED",
            "BEGIN ISOLATION LEVEL REPEATABLE READ ONLY",
            "START",
            "SET TRANSACTION",
            "SET TRANSACTION SNAPSHOT '1'",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SET transaction_read_only = on",
            "COMMIT AND CHAIN",
            "COMMIT PREPARED 'a'",
            "ROLLBACK TO a",
            "SELECT 1",
            "BEGIN $$",
            "BEGIN -- a",
            "BEGIN /* a",
        ] {
            assert_eq!(block(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn later_modes_hold_and_are_said_in_one_statement() {
        let write = block(b"SET TRANSACTION READ WRITE, ISOLATION LEVEL REPEATABLE READ");
        let Some(Block::Describes(write)) = write else {
            panic!("{write:?}");
        };
        let all = READ_ONLY.then(write);
        assert_eq!(
            all.begin().concat(),
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE"
        );
        assert_eq!(
            block(all.begin().concat().as_bytes()),
            Some(Block::Opens(all, "BEGIN"))
        );
        assert_eq!(READ_ONLY.then(PLAIN), READ_ONLY);
    }

    #[test]
    fn what_only_a_primary_can_do_is_told_by_its_words() {
        for text in [
            "SELECT 1",
            "SELECT listening, locked FROM t WHERE a = 'LISTEN'",
            "SELECT pg_last_wal_replay_lsn()",
        ] {
            assert!(fits_standby(text.as_bytes()), "{text}");
        }
        for text in [
            "LISTEN a",
            "SELECT txid_current()",
            "SELECT \"txid_current\"()",
            "SELECT PG_TRY_ADVISORY_XACT_LOCK(1)",
            "SELECT pg_current_wal_lsn()",
            "SET TRANSACTION SNAPSHOT '1'",
            "LOCK TABLE t",
        ] {
            assert!(!fits_standby(text.as_bytes()), "{text}");
        }
    }
}
