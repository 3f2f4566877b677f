//! The walk over a text's statements: remembers a few tokens, counts parentheses, merges effects.
//!
//! Guarantees: constant memory, one pass; looking ahead is bounded ([`Machine::ahead`]). A semicolon
//! always ends a statement here, also within a rule's or a function's body: the statements of such a
//! body are judged as if they were run, which can only err towards a pin.

use super::lexer::{Kind, Lexer, Token};
use super::words::{self, pack};
use super::{
    BEGINS, COMMITS, COPY, DOUBTFUL, Effect, LOCAL, PinReason, REACHES, Reasons, SEVERAL, Survey,
    TRANSACTS, TransactionWord,
};

/// Whether the calls in a statement are run by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calls {
    /// They are: each must be known.
    Checked,
    /// They are not: signatures, or stored for later.
    Ignored,
}

/// What a `CREATE` or `ALTER` makes, where names before `(` depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    None,
    Table,
    Index,
    MaterializedView,
    Routine,
}

/// Where the last name stands.
pub(super) struct Place {
    /// How many parts it has (`a.b.c`); 4 for more than 3.
    pub(super) parts: u8,
    /// The part in front of its last dot.
    pub(super) qualifier: Token,
    /// The two tokens in front of all of it, the nearer one first.
    pub(super) before: [Token; 2],
}

/// One survey under way.
pub(super) struct Machine<'a> {
    lexer: Lexer<'a>,
    /// The last tokens; `read` counts them all.
    history: [Token; 8],
    read: usize,
    /// Open parentheses.
    pub(super) depth: u32,
    /// One bit each: whether no expression can start behind its end.
    closers: u64,
    pub(super) verb: u128,
    pub(super) calls: Calls,
    pub(super) object: Object,
    /// How many words `SET` stood outside of parentheses.
    pub(super) sets: u8,
    /// Inside `BEGIN ATOMIC .. END` of a function.
    atomic: bool,
    statements: u32,
    effect: Effect,
    transaction: Option<TransactionWord>,
    pub(super) leaves: Reasons,
    pub(super) flags: u16,
}

const fn rank(effect: Effect) -> u8 {
    match effect {
        Effect::Clean => 0,
        Effect::LocalSetting | Effect::Setting => 1,
        Effect::DeallocateAll => 2,
        Effect::DiscardAll => 3,
        Effect::Deallocate => 4,
        Effect::Pin(reason) if reason.discardable() => 5,
        Effect::Pin(_) => 6,
    }
}

impl<'a> Machine<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            lexer: Lexer::new(text),
            history: [Token::NONE; 8],
            read: 0,
            depth: 0,
            closers: 0,
            verb: 0,
            calls: Calls::Checked,
            object: Object::None,
            sets: 0,
            atomic: false,
            statements: 0,
            effect: Effect::Clean,
            transaction: None,
            leaves: Reasons::NONE,
            flags: 0,
        }
    }

    pub(super) fn run(mut self) -> Survey {
        if self.lexer.text().len() > Lexer::LIMIT {
            self.pin(PinReason::LargeStatement);
            self.flags = SEVERAL | COMMITS | REACHES;
            return Survey {
                effect: self.effect,
                leaves: self.leaves,
                transaction: None,
                flags: self.flags,
            };
        }
        loop {
            let end = self.statement();
            match end {
                Kind::End => break,
                Kind::Doubt => {
                    // What comes behind is not known: there may be more, and it may commit.
                    self.pin(PinReason::Unknown);
                    self.flags |= COMMITS | DOUBTFUL;
                    self.statements = self.statements.max(2);
                    break;
                }
                _ => self.begin_statement(),
            }
        }
        if self.statements > 1 {
            self.flags |= SEVERAL;
            self.transaction = None;
            if self.effect == Effect::Deallocate {
                self.pin(PinReason::Prepare);
            }
        }
        Survey {
            effect: self.effect,
            leaves: self.leaves,
            transaction: self.transaction,
            flags: self.flags,
        }
    }

    fn begin_statement(&mut self) {
        self.depth = 0;
        self.verb = 0;
        self.calls = Calls::Checked;
        self.object = Object::None;
        self.sets = 0;
    }

    /// Counts a statement, unless it is part of a function's body: nothing but queries, up to `END`.
    /// Whether the body goes on or has just ended with this word.
    pub(super) fn count(&mut self) -> bool {
        use words::{DELETE, END, INSERT, MERGE, SELECT, TABLE, UPDATE, VALUES, WITH};
        let mut part = false;
        if self.atomic {
            self.atomic = matches!(
                self.verb,
                SELECT | INSERT | UPDATE | DELETE | MERGE | VALUES | TABLE | WITH
            );
            part = self.atomic || self.verb == END;
        }
        if !part {
            self.statements = self.statements.saturating_add(1);
        }
        part
    }

    /// Reads the next token, which takes part in the history and in the checks.
    #[inline(never)]
    pub(super) fn advance(&mut self) -> Token {
        let token = self.lexer.next_inline();
        self.take(token)
    }

    #[inline(always)]
    fn take(&mut self, mut token: Token) -> Token {
        match token.kind {
            Kind::Open => self.open(),
            Kind::Close => token.kind = self.close(),
            Kind::Dot => self.dot(),
            _ => {}
        }
        self.history[self.read & 7] = token;
        self.read = self.read.wrapping_add(1);
        token
    }

    /// Reads the rest of the statement.
    pub(super) fn body(&mut self) -> Kind {
        loop {
            let token = self.lexer.next_inline();
            let token = self.take(token);
            match token.kind {
                Kind::Word => self.body_word(token),
                Kind::Quoted => self.maybe_catalog(token),
                Kind::Semicolon | Kind::End | Kind::Doubt => return token.kind,
                _ => {}
            }
        }
    }

    /// The last token but `ago`.
    pub(super) fn back(&self, ago: usize) -> Token {
        self.history[self.read.wrapping_sub(1 + ago) & 7]
    }

    /// Where the name stands that is the last token.
    pub(super) fn place(&self) -> Place {
        let mut parts = 1;
        let mut at = 0;
        while self.back(at + 1).kind == Kind::Dot && self.back(at + 2).is_name() {
            parts += 1;
            at += 2;
            if parts > 3 {
                return Place {
                    parts,
                    qualifier: self.back(2),
                    before: [Token::NONE; 2],
                };
            }
        }
        let before = [self.back(at + 1), self.back(at + 2)];
        Place {
            parts,
            qualifier: self.back(2),
            before,
        }
    }

    /// Key words that matter wherever they stand; told by their length before all else.
    #[inline(always)]
    fn body_word(&mut self, token: Token) {
        match token.len() {
            3 if self.begins_with(token, b's') => self.maybe_set(token),
            4 | 9 if self.begins_with(token, b't') => self.maybe_temporary(token),
            11 if self.begins_with(token, b'p') => self.maybe_catalog(token),
            _ => {}
        }
        if self.object == Object::Routine && self.depth == 0 {
            self.routine_word(token);
        }
    }

    #[inline(always)]
    fn begins_with(&self, token: Token, letter: u8) -> bool {
        self.slice(token)
            .first()
            .is_some_and(|first| first | 0x20 == letter)
    }

    /// The view `pg_settings` sets what is updated in it.
    #[inline(never)]
    fn maybe_catalog(&mut self, token: Token) {
        let name = self.slice(token);
        let name = name.strip_prefix(b"\"").unwrap_or(name);
        let name = name.strip_suffix(b"\"").unwrap_or(name);
        if pack(name) == words::PG_SETTINGS && !matches!(self.verb, words::SELECT | words::TABLE) {
            self.pin(PinReason::Function);
        }
    }

    #[inline(never)]
    fn maybe_set(&mut self, token: Token) {
        if self.depth == 0 && self.word(token) == words::SET {
            self.sets = self.sets.saturating_add(1);
        }
    }

    /// In `CREATE FUNCTION`: does its body begin here, or does its language load a library?
    #[inline(never)]
    fn routine_word(&mut self, token: Token) {
        let previous = self.word(self.back(1));
        match self.word(token) {
            words::ATOMIC if previous == words::BEGIN => self.atomic = true,
            words::END if previous == words::ATOMIC => self.atomic = false,
            words::LANGUAGE => {
                let language = self.slice(self.peek_token());
                let name = language.strip_prefix(b"'").unwrap_or(language);
                let name = name.strip_suffix(b"'").unwrap_or(name);
                if !matches!(pack(name), words::SQL | words::PLPGSQL | words::INTERNAL) {
                    self.pin(PinReason::Load);
                }
            }
            _ => {}
        }
    }

    /// `SELECT .. INTO [LOCAL | GLOBAL] TEMP ..`; a table of that name, unless it is inserted into.
    #[inline(never)]
    fn maybe_temporary(&mut self, token: Token) {
        if !matches!(self.word(token), words::TEMP | words::TEMPORARY) {
            return;
        }
        let [into, verb] = [self.back(1), self.back(2)];
        let inserts = matches!(self.word(verb), words::INSERT | words::MERGE);
        match self.word(into) {
            words::INTO if !inserts => self.pin(PinReason::TemporaryTable),
            words::LOCAL | words::GLOBAL => self.pin(PinReason::TemporaryTable),
            _ => {}
        }
    }

    /// A qualified name: in the schema of temporary objects?
    #[inline(never)]
    fn dot(&mut self) {
        let last = self.back(0);
        let name = match last.kind {
            Kind::Word => self.slice(last),
            Kind::Quoted => &self.slice(last)[1..],
            _ => return,
        };
        if name.len() >= 7 && name[..7].eq_ignore_ascii_case(b"pg_temp") {
            self.pin(PinReason::TemporaryTable);
        }
    }

    #[inline(never)]
    fn open(&mut self) {
        let last = self.back(0);
        let mut expression_follows = false;
        if last.is_name() {
            self.check_call(last);
            expression_follows = matches!(last.len(), 2 | 4 | 8)
                && matches!(self.word(last), words::ON | words::OPERATOR | words::WITH);
        }
        self.closers = self.closers << 1 | u64::from(!expression_follows);
        self.depth = self.depth.saturating_add(1);
    }

    fn close(&mut self) -> Kind {
        let closed = self.closers & 1 == 1;
        self.closers >>= 1;
        self.depth = self.depth.saturating_sub(1);
        if closed {
            Kind::Close
        } else {
            Kind::CloseOpener
        }
    }

    /// The bytes of a token.
    pub(super) fn slice(&self, token: Token) -> &'a [u8] {
        self.lexer.slice(token)
    }

    /// The key word that a token may be; 0 if it is none.
    pub(super) fn word(&self, token: Token) -> u128 {
        match token.kind {
            Kind::Word | Kind::Verb => pack(self.slice(token)),
            _ => 0,
        }
    }

    /// A lexer to look ahead with, for [`Self::look`]. It sees a bounded part of the text, so that a
    /// hostile text cannot make the survey quadratic.
    pub(super) fn ahead(&self) -> Lexer<'a> {
        self.lexer.within(512)
    }

    /// The next token ahead; [`Kind::Doubt`] if it may go on beyond what is seen.
    pub(super) fn look(&self, ahead: &mut Lexer<'a>) -> Token {
        let token = ahead.next();
        let seen = ahead.text().len();
        if token.end() >= seen && seen < self.lexer.text().len() {
            return Token::NONE.doubted();
        }
        token
    }

    /// The next token, not consumed.
    pub(super) fn peek_token(&self) -> Token {
        self.look(&mut self.ahead())
    }

    /// The key word that the next token may be, not consumed.
    pub(super) fn peek(&self) -> u128 {
        self.word(self.peek_token())
    }

    /// Makes the last token the first word of a statement: no name, whatever follows.
    pub(super) fn mark_verb(&mut self) {
        self.history[self.read.wrapping_sub(1) & 7].kind = Kind::Verb;
    }

    pub(super) fn merge(&mut self, effect: Effect) {
        if effect == Effect::LocalSetting {
            self.flags |= LOCAL;
        }
        if let Effect::Pin(reason) = effect {
            self.leaves = self.leaves.with(reason);
        }
        if rank(effect) > rank(self.effect) {
            self.effect = effect;
        }
    }

    pub(super) fn pin(&mut self, reason: PinReason) {
        self.merge(Effect::Pin(reason));
    }

    pub(super) fn transaction(&mut self, word: TransactionWord) {
        use TransactionWord as T;
        self.flags |= TRANSACTS;
        if matches!(word, T::Begin | T::CommitAndChain | T::RollbackAndChain) {
            self.flags |= BEGINS;
        }
        if word.commits() {
            self.flags |= COMMITS;
        }
        self.transaction = Some(word);
    }

    pub(super) fn copies(&mut self) {
        self.flags |= COPY;
    }
}
