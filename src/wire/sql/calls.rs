//! Names before `(`: a call of a known function, a place where no call can be, or a pin.
//!
//! Guarantees: a name is let through only if it is a function known to be clean, a key word of the
//! grammar, or stands where the grammar has no expression. The rest pins.

use super::heads::names_temporary_schema;
use super::lexer::{Kind, Token};
use super::machine::{Calls, Machine, Object, Place};
use super::words::{self, FUNCTIONS, SOFT, STRUCTURAL};
use super::{Effect, FOREIGN, PinReason, RELEASES, SEQUENCES};

impl Machine<'_> {
    /// A name is followed by `(`, which has just been read.
    pub(super) fn check_call(&mut self, name: Token) {
        if self.calls == Calls::Ignored {
            return;
        }
        let place = &self.place();
        let bare = place.parts == 1 && name.kind == Kind::Word;
        if bare && STRUCTURAL.contains_folded(self.slice(name)) {
            // TREAT(x AS f) calls the function f.
            if self.word(name) == words::TREAT {
                self.pin(PinReason::Function);
            }
            return;
        }
        if self.declares(name, bare, place) {
            return;
        }
        if self.is_clean_function(name, place) {
            return self.note_built_in(name);
        }
        if bare && (self.is_syntax(name, place) || self.begins_query()) {
            return;
        }
        self.pin_call(name, place);
    }

    /// Whether the name is written as a function of `pg_catalog` would be: bare or qualified by it.
    fn may_be_built_in(&self, place: &Place) -> bool {
        match (place.parts, place.qualifier.kind) {
            (1, _) => true,
            (2, Kind::Word) => self.word(place.qualifier) == words::PG_CATALOG,
            (2, _) => self.slice(place.qualifier) == b"\"pg_catalog\"",
            _ => false,
        }
    }

    fn is_clean_function(&self, name: Token, place: &Place) -> bool {
        self.may_be_built_in(place)
            && match name.kind {
                Kind::Word => FUNCTIONS.contains_folded(self.slice(name)),
                _ => FUNCTIONS.contains(unquoted(self.slice(name))),
            }
    }

    /// Clean ones that others must hear of all the same.
    fn note_built_in(&mut self, name: Token) {
        match name.len() {
            7 if matches!(self.word(name), words::CURRVAL | words::LASTVAL) => {
                self.flags |= SEQUENCES;
            }
            22 if has_prefix(self.slice(name), b"pg_advisory_unlock") => self.flags |= RELEASES,
            _ => {}
        }
    }

    fn pin_call(&mut self, name: Token, place: &Place) {
        let text = unquoted(self.slice(name));
        let exact = name.kind == Kind::Word || text == b"set_config";
        let effect = match words::pack(text) {
            words::SET_CONFIG if exact && self.may_be_built_in(place) => self.set_config(),
            words::SET_CONFIG => Effect::Pin(PinReason::Setting),
            words::SETSEED => Effect::Pin(PinReason::SetSeed),
            _ if has_prefix(text, b"pg_advisory_") || has_prefix(text, b"pg_try_advisory_") => {
                Effect::Pin(PinReason::AdvisoryLock)
            }
            _ if is_built_in(text) => Effect::Pin(PinReason::Function),
            _ => {
                self.flags |= FOREIGN;
                return;
            }
        };
        self.merge(effect);
    }

    /// `set_config('name', value, true)`, all of it in sight, is local to the transaction.
    fn set_config(&self) -> Effect {
        let unsure = Effect::Pin(PinReason::Setting);
        let mut ahead = self.ahead();
        let parameter = self.look(&mut ahead);
        if parameter.kind != Kind::Plain || self.look(&mut ahead).kind != Kind::Comma {
            return unsure;
        }
        let parameter = self.slice(parameter);
        let value = self.look(&mut ahead);
        let path =
            parameter.eq_ignore_ascii_case(b"'search_path'") || parameter.first() == Some(&b'$');
        if path && (value.kind != Kind::Plain || names_temporary_schema(self.slice(value))) {
            return unsure;
        }
        let mut token = value;
        let mut depth = 0_u32;
        while token.kind != Kind::Comma || depth > 0 {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close if depth == 0 => return unsure,
                Kind::Close => depth -= 1,
                Kind::End | Kind::Doubt | Kind::Semicolon => return unsure,
                // Behind the literal, the path could go on: 'pg_' || 'temp'.
                _ if path && token.end() != value.end() => return unsure,
                _ => {}
            }
            token = self.look(&mut ahead);
        }
        let local = self.look(&mut ahead);
        let sure = self.word(local) == words::TRUE && self.look(&mut ahead).kind == Kind::Close;
        if sure { Effect::LocalSetting } else { unsure }
    }

    /// Whether the name stands where it is declared or is a relation with a list of columns.
    fn declares(&self, name: Token, bare: bool, place: &Place) -> bool {
        use words::*;
        let [before, earlier] = place.before;
        match before.kind {
            // `) alias (`, `) OVER (`: no expression begins right behind an expression.
            Kind::Close => true,
            Kind::Verb => matches!(self.verb, COPY | WITH),
            Kind::Comma => bare && self.is_common_table(),
            Kind::Word => match self.word(before) {
                INTO | AS | REFERENCES | TABLE | EXISTS | WITH => true,
                RECURSIVE => self.word(earlier) == WITH,
                ON => self.object == Object::Index && self.depth == 0,
                VIEW => self.object == Object::MaterializedView && self.depth == 0,
                USING => {
                    let index = self.object == Object::Index && self.depth == 0;
                    bare && (index || self.word(earlier) == EXCLUDE)
                        && matches!(self.word(name), BTREE | HASH | GIN | GIST | SPGIST | BRIN)
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// `, name (a, b) AS (SELECT ..`: a further table of a WITH list.
    fn is_common_table(&self) -> bool {
        let mut ahead = self.ahead();
        loop {
            let column = self.look(&mut ahead);
            if !matches!(column.kind, Kind::Word | Kind::Quoted) {
                return false;
            }
            match self.look(&mut ahead).kind {
                Kind::Comma => {}
                Kind::Close => break,
                _ => return false,
            }
        }
        let as_word = self.look(&mut ahead);
        let open = self.look(&mut ahead);
        let query = self.look(&mut ahead);
        self.word(as_word) == words::AS
            && open.kind == Kind::Open
            && matches!(self.word(query), words::SELECT | words::WITH)
    }

    /// `name (SELECT`: no call looks like this.
    fn begins_query(&self) -> bool {
        matches!(self.peek(), words::SELECT | words::WITH)
    }

    /// Key words that could be the names of functions, where the words in front of them tell.
    fn is_syntax(&self, name: Token, place: &Place) -> bool {
        use words::*;
        let [before, earlier] = place.before.map(|token| self.word(token));
        match self.word(name) {
            BY => matches!(before, ORDER | GROUP | PARTITION),
            ROLLUP | CUBE => before == BY && earlier == GROUP,
            SETS => before == GROUPING,
            KEY => matches!(before, PRIMARY | FOREIGN),
            VARYING => matches!(before, CHARACTER | CHAR | NCHAR | BIT),
            ZONE => before == TIME,
            JOIN => matches!(
                before,
                INNER | LEFT | RIGHT | FULL | OUTER | CROSS | NATURAL
            ),
            MATERIALIZED => before == NOT && earlier == AS,
            ILIKE => self.follows_operand(place),
            SET => before == UPDATE && matches!(earlier, DO | THEN) || self.sets_columns(place),
            INSERT => self.verb == MERGE && self.group_is_followed_by(&[VALUES, OVERRIDING]),
            CONFLICT => before == ON && self.group_is_followed_by(&[DO]),
            OPERATOR => self.names_operator(),
            RANGE | LIST | HASH => {
                let partition = before == BY && earlier == PARTITION;
                partition && self.object == Object::Table && self.depth == 0
            }
            _ => false,
        }
    }

    /// `UPDATE t SET (a, b) = ..`, where names alone come before it, or `ALTER TABLE t SET (..)`.
    fn sets_columns(&self, place: &Place) -> bool {
        match self.verb {
            words::UPDATE => self.depth == 0 && self.sets == 1,
            words::ALTER => {
                matches!(self.word(place.before[1]), words::TABLE | words::EXISTS)
            }
            _ => false,
        }
    }

    /// Whether the token before the name ends an operand, so that the name is an infix operator.
    fn follows_operand(&self, place: &Place) -> bool {
        let [before, earlier] = place.before;
        match before.kind {
            Kind::Plain
            | Kind::Escaped
            | Kind::Number
            | Kind::Param
            | Kind::Bracket
            | Kind::Quoted => true,
            Kind::Word => {
                let word = self.slice(before);
                // Key words that are common names of columns, and begin no expression.
                if matches!(
                    self.word(before),
                    words::NAME | words::TEXT | words::COMMENT
                ) {
                    return true;
                }
                let key = STRUCTURAL.contains_folded(word) || SOFT.contains_folded(word);
                earlier.kind == Kind::Dot || !key
            }
            _ => false,
        }
    }

    /// Whether the parentheses just opened are closed in sight, and by which word they are followed.
    fn group_is_followed_by(&self, words: &[u128]) -> bool {
        let mut ahead = self.ahead();
        let mut depth = 1_u32;
        while depth > 0 {
            match self.look(&mut ahead).kind {
                Kind::Open => depth += 1,
                Kind::Close => depth -= 1,
                Kind::End | Kind::Doubt | Kind::Semicolon => return false,
                _ => {}
            }
        }
        words.contains(&self.word(self.look(&mut ahead)))
    }

    /// `OPERATOR(schema.+)`.
    fn names_operator(&self) -> bool {
        let mut ahead = self.ahead();
        let mut token = self.look(&mut ahead);
        while matches!(token.kind, Kind::Word | Kind::Quoted) {
            if self.look(&mut ahead).kind != Kind::Dot {
                return false;
            }
            token = self.look(&mut ahead);
        }
        while token.kind == Kind::Operator {
            token = self.look(&mut ahead);
            if token.kind == Kind::Close {
                return true;
            }
        }
        false
    }
}

/// Whether a name that is not known to be clean is, or may be, that of a function of `pg_catalog`:
/// what runs a text or another's function, and what newer servers may bring.
fn is_built_in(text: &[u8]) -> bool {
    let has_suffix = |suffix: &[u8]| {
        let at = text.len().saturating_sub(suffix.len());
        text[at..].eq_ignore_ascii_case(suffix)
    };
    let exact = |name: &[u8]| text.eq_ignore_ascii_case(name);
    has_prefix(text, b"pg_")
        || has_prefix(text, b"binary_upgrade_")
        || exact(b"ts_stat")
        || exact(b"ts_rewrite")
        || exact(b"treat")
        || [&b"_to_xml"[..], b"_to_xmlschema", b"_to_xml_and_xmlschema"]
            .iter()
            .any(|suffix| has_suffix(suffix))
}

fn has_prefix(text: &[u8], prefix: &[u8]) -> bool {
    text.len() >= prefix.len() && text[..prefix.len()].eq_ignore_ascii_case(prefix)
}

/// A name without its quotes.
fn unquoted(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"\"")
        .and_then(|name| name.strip_suffix(b"\""))
        .unwrap_or(name)
}
