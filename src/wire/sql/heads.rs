//! The first words of a statement: which command it is and what that command leaves behind.
//!
//! Guarantees: a command that is not listed here pins. Key words that could also be names (`SET
//! local.x = 1`, `PREPARE transaction AS ..`, `DEALLOCATE prepare`) are told apart as the server's
//! grammar does.

use super::lexer::{Kind, Token};
use super::machine::{Calls, Machine, Object};
use super::words;
use super::{EXECUTES, Effect, PinReason, REACHES, RELEASES, RESETS, SAVEPOINTS, TransactionWord};

const fn ends(kind: Kind) -> bool {
    matches!(kind, Kind::Semicolon | Kind::End | Kind::Doubt)
}

impl Machine<'_> {
    /// Reads one statement; how it ended.
    pub(super) fn statement(&mut self) -> Kind {
        let mut explained = false;
        loop {
            let token = self.advance();
            match token.kind {
                Kind::Open => continue,
                Kind::Word => {}
                kind if ends(kind) => return kind,
                _ => {
                    self.count();
                    self.pin(PinReason::Unknown);
                    return self.body();
                }
            }
            self.verb = self.word(token);
            if explained && self.depth > 0 && !is_query(self.verb) {
                if let Some(end) = self.skip_group() {
                    return end;
                }
                continue;
            }
            self.mark_verb();
            match self.verb {
                words::EXPLAIN => explained = true,
                words::ANALYZE | words::ANALYSE | words::VERBOSE if explained => {}
                _ => return self.command(),
            }
        }
    }

    /// Reads to the end of the parentheses; the statement's end if that comes first.
    fn skip_group(&mut self) -> Option<Kind> {
        while self.depth > 0 {
            let token = self.advance();
            if ends(token.kind) {
                return Some(token.kind);
            }
        }
        None
    }

    /// The command whose first word has just been read.
    fn command(&mut self) -> Kind {
        use words::*;
        let ends_body = self.count();
        if self.verb == SELECT {
            self.flags |= REACHES;
            return self.body();
        }
        if !is_quiet(self.verb) {
            self.flags |= REACHES;
        }
        if matches!(self.verb, DROP | UNLISTEN | DISCARD | CLOSE | DEALLOCATE) {
            self.flags |= RELEASES;
        }
        match self.verb {
            WITH | VALUES | TABLE | INSERT | UPDATE | DELETE | MERGE => self.body(),
            BEGIN | START => {
                self.transaction(TransactionWord::Begin);
                self.ignored()
            }
            END if ends_body => self.ignored(),
            COMMIT | END => self.finish(TransactionWord::Commit, TransactionWord::CommitAndChain),
            ROLLBACK | ABORT => {
                self.finish(TransactionWord::Rollback, TransactionWord::RollbackAndChain)
            }
            COPY => {
                self.copies();
                self.body()
            }
            SET => self.set(),
            RESET => self.reset(),
            CREATE => self.create(),
            ALTER => self.alter(),
            DECLARE => self.declare(),
            DISCARD => self.discard(),
            DEALLOCATE => self.deallocate(),
            PREPARE => self.prepare(),
            SAVEPOINT => {
                self.flags |= SAVEPOINTS;
                self.ignored()
            }
            RELEASE | SHOW | DROP | TRUNCATE | COMMENT | GRANT | REVOKE | REINDEX | VACUUM
            | ANALYZE | ANALYSE | CLUSTER | REFRESH | SECURITY | IMPORT | REASSIGN | LOCK
            | FETCH | MOVE | CLOSE | NOTIFY | UNLISTEN | CHECKPOINT => self.ignored(),
            EXECUTE => {
                self.flags |= EXECUTES;
                self.body()
            }
            verb => self.pinned(match verb {
                LISTEN => PinReason::Listen,
                LOAD => PinReason::Load,
                DO => PinReason::Do,
                CALL => PinReason::Call,
                _ => PinReason::Unknown,
            }),
        }
    }

    /// The rest runs no function that it names.
    fn ignored(&mut self) -> Kind {
        self.calls = Calls::Ignored;
        self.body()
    }

    fn pinned(&mut self, reason: PinReason) -> Kind {
        self.pin(reason);
        self.ignored()
    }

    /// Reads the rest behind a token that may have been the end.
    fn rest(&mut self, token: Token) -> Kind {
        if ends(token.kind) {
            token.kind
        } else {
            self.body()
        }
    }

    fn rest_ignored(&mut self, token: Token) -> Kind {
        self.calls = Calls::Ignored;
        self.rest(token)
    }

    fn next_word(&mut self) -> (Token, u128) {
        let token = self.advance();
        (token, self.word(token))
    }

    /// `COMMIT | ROLLBACK [WORK | TRANSACTION] [AND [NO] CHAIN]`, `.. TO`, `.. PREPARED`.
    fn finish(&mut self, plain: TransactionWord, chain: TransactionWord) -> Kind {
        let (mut token, mut word) = self.next_word();
        if matches!(word, words::WORK | words::TRANSACTION) {
            (token, word) = self.next_word();
        }
        match word {
            words::TO | words::PREPARED => {}
            words::AND => {
                (token, word) = self.next_word();
                self.transaction(if word == words::CHAIN { chain } else { plain });
            }
            _ => self.transaction(plain),
        }
        self.rest_ignored(token)
    }

    fn set(&mut self) -> Kind {
        self.calls = Calls::Ignored;
        let (token, word) = self.next_word();
        let next = self.peek_token();
        let name = match next.kind {
            Kind::Word => matches!(self.word(next), words::TO | words::FROM),
            kind => kind != Kind::Quoted,
        };
        match word {
            words::LOCAL if !name => return self.set_local(),
            words::TRANSACTION if !name => self.merge(Effect::LocalSetting),
            words::CONSTRAINTS if !name => {}
            words::SESSION
                if !name && matches!(self.word(next), words::AUTHORIZATION | words::ROLE) =>
            {
                self.pin(PinReason::Role);
            }
            words::ROLE => self.pin(PinReason::Role),
            words::SEED => self.pin(PinReason::SetSeed),
            words::SESSION if !name && self.word(next) == words::SEED => {
                self.pin(PinReason::SetSeed);
            }
            _ if self.is_session_authorization(token) => self.pin(PinReason::Role),
            _ => self.pin(PinReason::Setting),
        }
        self.rest(token)
    }

    fn is_session_authorization(&self, token: Token) -> bool {
        self.slice(token)
            .eq_ignore_ascii_case(b"session_authorization")
    }

    /// Local to the transaction, but for a `search_path` that makes tables temporary.
    fn set_local(&mut self) -> Kind {
        self.merge(Effect::LocalSetting);
        loop {
            let token = self.advance();
            match token.kind {
                kind if ends(kind) => return kind,
                Kind::Word if self.word(token) == words::CHARACTERISTICS => {
                    self.pin(PinReason::Setting);
                }
                Kind::Word if self.word(token) == words::SEED => self.pin(PinReason::SetSeed),
                Kind::Escaped => self.pin(PinReason::Setting),
                Kind::Word | Kind::Quoted | Kind::Plain
                    if names_temporary_schema(self.slice(token)) =>
                {
                    self.pin(PinReason::TemporaryTable);
                }
                _ => {}
            }
        }
    }

    fn reset(&mut self) -> Kind {
        let (token, word) = self.next_word();
        if word == words::ALL {
            self.flags |= RESETS;
            return self.rest_ignored(token);
        }
        let role =
            matches!(word, words::ROLE | words::SESSION) || self.is_session_authorization(token);
        self.pin(if role {
            PinReason::Role
        } else {
            PinReason::Setting
        });
        self.rest_ignored(token)
    }

    fn create(&mut self) -> Kind {
        use words::*;
        loop {
            let (token, word) = self.next_word();
            match word {
                OR | REPLACE | UNIQUE | RECURSIVE | UNLOGGED | TRUSTED | PROCEDURAL
                | CONSTRAINT | LOCAL | GLOBAL => continue,
                TEMP | TEMPORARY => self.pin(PinReason::TemporaryTable),
                TABLE => self.object = Object::Table,
                INDEX => self.object = Object::Index,
                MATERIALIZED => self.object = Object::MaterializedView,
                DOMAIN | SCHEMA => {}
                EXTENSION | LANGUAGE => return self.pinned(PinReason::Load),
                FUNCTION | PROCEDURE => {
                    self.object = Object::Routine;
                    return self.ignored();
                }
                VIEW | FOREIGN => return self.ignored(),
                _ if is_catalog_entry(word) => return self.ignored(),
                _ => self.pin(PinReason::Unknown),
            }
            return self.rest(token);
        }
    }

    fn alter(&mut self) -> Kind {
        use words::*;
        let (token, word) = self.next_word();
        match word {
            TABLE => self.object = Object::Table,
            DOMAIN => {}
            EXTENSION => return self.pinned(PinReason::Load),
            MATERIALIZED | VIEW | INDEX | FUNCTION | PROCEDURE | ROUTINE | SCHEMA | SYSTEM
            | DEFAULT | LARGE | FOREIGN | LANGUAGE | PROCEDURAL | CONVERSION => {
                return self.ignored();
            }
            _ if is_catalog_entry(word) => return self.ignored(),
            _ => self.pin(PinReason::Unknown),
        }
        self.rest(token)
    }

    /// `DECLARE name .. CURSOR [WITH HOLD] FOR query`.
    fn declare(&mut self) -> Kind {
        loop {
            let (token, word) = self.next_word();
            match word {
                words::FOR => return self.body(),
                words::HOLD if self.word(self.back(1)) == words::WITH => {
                    self.pin(PinReason::HoldCursor);
                }
                _ if ends(token.kind) => return token.kind,
                _ => {}
            }
        }
    }

    fn discard(&mut self) -> Kind {
        let (token, word) = self.next_word();
        match word {
            words::ALL => self.merge(Effect::DiscardAll),
            words::PLANS | words::SEQUENCES | words::TEMP | words::TEMPORARY => {}
            _ => self.pin(PinReason::Unknown),
        }
        self.rest_ignored(token)
    }

    /// `DEALLOCATE [PREPARE] { name | ALL }`; `prepare` alone is a name.
    fn deallocate(&mut self) -> Kind {
        let (mut token, mut word) = self.next_word();
        if word == words::PREPARE
            && matches!(
                self.peek_token().kind,
                Kind::Word | Kind::Quoted | Kind::Doubt
            )
        {
            (token, word) = self.next_word();
        }
        let named = match token.kind {
            Kind::Word if word == words::ALL => {
                self.merge(Effect::DeallocateAll);
                return self.rest_ignored(token);
            }
            Kind::Word => !words::STRUCTURAL.contains_folded(self.slice(token)),
            kind => kind == Kind::Quoted,
        };
        let readable = std::str::from_utf8(self.slice(token)).is_ok();
        if ends(token.kind) {
            self.pin(PinReason::Prepare);
            return token.kind;
        }
        let after = self.advance();
        let whole = ends(after.kind) && named && readable;
        self.merge(if whole {
            Effect::Deallocate
        } else {
            Effect::Pin(PinReason::Prepare)
        });
        self.rest_ignored(after)
    }

    /// `PREPARE TRANSACTION '..'`, or `PREPARE name ..`, where `transaction` can be a name too.
    fn prepare(&mut self) -> Kind {
        let (token, word) = self.next_word();
        let string = matches!(self.peek_token().kind, Kind::Plain | Kind::Escaped);
        if word == words::TRANSACTION && string {
            self.transaction(TransactionWord::PrepareTransaction);
        } else {
            self.pin(PinReason::Prepare);
            return self.rest(token);
        }
        self.rest_ignored(token)
    }
}

/// Whether a command runs no function of the database's own.
fn is_quiet(verb: u128) -> bool {
    use words::*;
    matches!(
        verb,
        BEGIN
            | START
            | COMMIT
            | END
            | ROLLBACK
            | ABORT
            | SAVEPOINT
            | RELEASE
            | SET
            | RESET
            | SHOW
            | LISTEN
            | UNLISTEN
            | NOTIFY
            | DEALLOCATE
            | DISCARD
            | CHECKPOINT
    )
}

/// Whether a value names the schema of temporary objects.
pub(super) fn names_temporary_schema(value: &[u8]) -> bool {
    value
        .windows(7)
        .any(|part| part.eq_ignore_ascii_case(b"pg_temp"))
}

/// Whether a query begins with this word.
fn is_query(word: u128) -> bool {
    matches!(
        word,
        words::SELECT | words::WITH | words::VALUES | words::TABLE
    )
}

/// What `CREATE` and `ALTER` only write down.
fn is_catalog_entry(word: u128) -> bool {
    use words::*;
    matches!(
        word,
        ACCESS
            | AGGREGATE
            | CAST
            | COLLATION
            | DATABASE
            | EVENT
            | GROUP
            | OPERATOR
            | POLICY
            | PUBLICATION
            | ROLE
            | RULE
            | SEQUENCE
            | SERVER
            | STATISTICS
            | SUBSCRIPTION
            | TABLESPACE
            | TEXT
            | TRANSFORM
            | TRIGGER
            | TYPE
            | USER
    )
}
