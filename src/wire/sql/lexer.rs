//! SQL text to tokens: the lexical grammar of PostgreSQL (manual, 4.1; `scan.l`), without allocation.
//!
//! Guarantees: a token never ends inside a string, a quoted name, a dollar-quoted body or a (nested)
//! comment as the server sees them. Where the server's reading depends on a setting that is not known
//! here (`standard_conforming_strings`), or where the text cannot be lexed at all, the token is
//! [`Kind::Doubt`] and nothing after it can be trusted. An unterminated string or comment ends the
//! text: the server refuses the whole of it.
//!
//! Lacks: values. Numbers, strings and operators are only delimited.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The text is over.
    End,
    /// `;`
    Semicolon,
    /// An unquoted word: key word or name.
    Word,
    /// A quoted name.
    Quoted,
    /// A string without any escape: `'..'` or `$$..$$`.
    Plain,
    /// A string whose value needs decoding, or may need it.
    Escaped,
    /// A number.
    Number,
    /// `$1`
    Param,
    /// `(`
    Open,
    /// `)`
    Close,
    /// A `)` behind which an expression may start: it closed `DISTINCT ON (` or the like.
    CloseOpener,
    /// `.`
    Dot,
    /// `,`
    Comma,
    /// `]`
    Bracket,
    /// A character of an operator, `[` or `:`.
    Operator,
    /// The first word of a statement (given by the survey, not by the lexer).
    Verb,
    /// The server may read on in another way than we would.
    Doubt,
}

/// A token: its kind and where its text is, quotes included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) kind: Kind,
    start: u32,
    end: u32,
}

impl Token {
    /// No token.
    pub(super) const NONE: Self = Self {
        kind: Kind::End,
        start: 0,
        end: 0,
    };

    /// A token that must not be trusted.
    pub(super) fn doubted(self) -> Self {
        Self {
            kind: Kind::Doubt,
            ..self
        }
    }

    /// Small, so that it travels in registers; a text beyond [`Lexer::LIMIT`] is not read.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "positions are at most Lexer::LIMIT + 2"
    )]
    fn new(kind: Kind, start: usize, end: usize) -> Self {
        Self {
            kind,
            start: start as u32,
            end: end as u32,
        }
    }

    /// Its length in bytes.
    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Where its text ends.
    pub(super) fn end(self) -> usize {
        self.end as usize
    }

    /// Whether it is a name or an unquoted key word.
    pub(super) fn is_name(self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Quoted)
    }
}

/// What a byte can start.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    Bad,
    Space,
    Letter,
    Digit,
    Quote,
    DoubleQuote,
    Dollar,
    Dot,
    Slash,
    Dash,
    Single(Kind),
}

const CLASS: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::Bad; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let class = class_of(byte as u8);
        table[byte] = class;
        byte += 1;
    }
    table
}

const fn class_of(byte: u8) -> Class {
    match byte {
        b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Space,
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => Class::Letter,
        b'0'..=b'9' => Class::Digit,
        b'\'' => Class::Quote,
        b'"' => Class::DoubleQuote,
        b'$' => Class::Dollar,
        b'.' => Class::Dot,
        b'/' => Class::Slash,
        b'-' => Class::Dash,
        b'(' => Class::Single(Kind::Open),
        b')' => Class::Single(Kind::Close),
        b',' => Class::Single(Kind::Comma),
        b';' => Class::Single(Kind::Semicolon),
        b']' => Class::Single(Kind::Bracket),
        b'[' | b':' | b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+'
        | b'*' | b'%' | b'<' | b'>' | b'=' => Class::Single(Kind::Operator),
        _ => Class::Bad,
    }
}

/// Whether a byte continues a name (`ident_cont`).
const CONTINUES: [bool; 256] = continues();

const fn continues() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(CLASS[byte], Class::Letter | Class::Digit | Class::Dollar);
        byte += 1;
    }
    table
}

/// Where the name ends that goes on at a position: most of the survey's time, so four bytes a turn.
#[inline(always)]
fn name_end(text: &[u8], mut at: usize) -> usize {
    let goes_on = |byte: u8| CONTINUES[usize::from(byte)];
    let (chunks, rest) = text[at..].as_chunks();
    for &[a, b, c, d] in chunks {
        if !goes_on(a) {
            return at;
        }
        if !goes_on(b) {
            return at + 1;
        }
        if !goes_on(c) {
            return at + 2;
        }
        if !goes_on(d) {
            return at + 3;
        }
        at += 4;
    }
    at + rest
        .iter()
        .position(|byte| !goes_on(*byte))
        .unwrap_or(rest.len())
}

/// Reads tokens off a text. Copy it to look ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    /// The longest text that is read: a message of the protocol is no longer than 1 GiB.
    pub(super) const LIMIT: usize = 1 << 30;

    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The whole text.
    pub(super) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The bytes of a token.
    pub(super) fn slice(&self, token: Token) -> &'a [u8] {
        self.text
            .get(token.start as usize..token.end())
            .unwrap_or_default()
    }

    /// The same lexer, blind beyond `bytes` more: bounds the cost of looking ahead.
    pub(super) fn within(&self, bytes: usize) -> Self {
        let end = self.text.len().min(self.at.saturating_add(bytes));
        Self {
            text: &self.text[..end],
            at: self.at,
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The next token, not consumed.
    pub(super) fn clone_next(&self) -> Token {
        self.clone().next()
    }

    /// The next token, for callers that are not in a hurry.
    #[inline(never)]
    pub(super) fn next(&mut self) -> Token {
        self.next_inline()
    }

    /// The next token.
    #[inline(always)]
    pub(super) fn next_inline(&mut self) -> Token {
        loop {
            let start = self.at;
            let Some(&byte) = self.text.get(start) else {
                return Token::new(Kind::End, start, start);
            };
            let kind = match CLASS[usize::from(byte)] {
                Class::Space => {
                    self.at += 1;
                    continue;
                }
                Class::Letter => self.word(byte),
                Class::Single(kind) => {
                    self.at += 1;
                    kind
                }
                other => match self.rare(other) {
                    Some(kind) => kind,
                    None => continue,
                },
            };
            return Token::new(kind, start, self.at);
        }
    }

    /// What starts neither a word nor a token of one byte; `None` after a comment.
    fn rare(&mut self, class: Class) -> Option<Kind> {
        let next = self.peek(1);
        let kind = match class {
            Class::Quote => self.plain_string(),
            Class::Digit => self.number(),
            Class::DoubleQuote => self.quoted_name(),
            Class::Dot if next.is_ascii_digit() => self.number(),
            Class::Dollar => self.dollar(),
            Class::Dash if next == b'-' => {
                self.line_comment();
                return None;
            }
            Class::Slash if next == b'*' => {
                self.block_comment();
                return None;
            }
            Class::Dot => {
                self.at += 1;
                Kind::Dot
            }
            Class::Dash | Class::Slash => {
                self.at += 1;
                Kind::Operator
            }
            Class::Bad | Class::Space | Class::Letter | Class::Single(_) => Kind::Doubt,
        };
        Some(kind)
    }

    #[inline(always)]
    fn word(&mut self, first: u8) -> Kind {
        let start = self.at;
        self.at = name_end(self.text, start + 1);
        if self.at - start == 1 {
            self.prefix(first)
        } else {
            Kind::Word
        }
    }

    /// A word of one letter, which may be the prefix of a string or of a quoted name.
    fn prefix(&mut self, letter: u8) -> Kind {
        match (letter | 0x20, self.peek(0)) {
            (b'e', b'\'') => self.escape_string(),
            (b'b' | b'x', b'\'') => self.raw_string(),
            (b'u', b'&') if self.peek(1) == b'\'' => {
                self.at += 1;
                self.raw_string()
            }
            // A name spelled in code points can be any name.
            (b'u', b'&') if self.peek(1) == b'"' => Kind::Doubt,
            _ => Kind::Word,
        }
    }

    fn end_of_text(&mut self) -> Kind {
        self.at = self.text.len();
        Kind::End
    }

    /// `'..'`. With `standard_conforming_strings` off a backslash escapes the next byte; as long as
    /// that byte is no quote, both readings end at the same place.
    fn plain_string(&mut self) -> Kind {
        let mut kind = Kind::Plain;
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'\'' if self.peek(1) == b'\'' => {
                    kind = Kind::Escaped;
                    self.at += 2;
                }
                b'\'' => {
                    self.at += 1;
                    return kind;
                }
                b'\\' if self.peek(1) == b'\'' => return Kind::Doubt,
                b'\\' => {
                    kind = Kind::Escaped;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        self.end_of_text()
    }

    /// `b'..'`, `x'..'`, `U&'..'`: a backslash is an ordinary byte in all settings that allow them.
    fn raw_string(&mut self) -> Kind {
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            self.at += 1;
            if byte == b'\'' {
                if self.peek(0) != b'\'' {
                    return Kind::Escaped;
                }
                self.at += 1;
            }
        }
        self.end_of_text()
    }

    /// `E'..'`, with the parts that continue it on later lines: they are read in the same way.
    fn escape_string(&mut self) -> Kind {
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'\'' if self.peek(0) == b'\'' => self.at += 1,
                b'\'' if !self.continued() => return Kind::Escaped,
                _ => {}
            }
        }
        self.end_of_text()
    }

    /// Behind a string's end: does white space with a line break lead to another part of it?
    /// If so, goes into that part.
    fn continued(&mut self) -> bool {
        let mut ahead = *self;
        let mut line_break = false;
        while let Some(&byte) = ahead.text.get(ahead.at) {
            match byte {
                b'\n' | b'\r' => line_break = true,
                b'-' if ahead.peek(1) == b'-' => {
                    ahead.line_comment();
                    continue;
                }
                b'\'' if line_break => {
                    self.at = ahead.at + 1;
                    return true;
                }
                _ if CLASS[usize::from(byte)] == Class::Space => {}
                _ => return false,
            }
            ahead.at += 1;
        }
        false
    }

    fn quoted_name(&mut self) -> Kind {
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            self.at += 1;
            if byte == b'"' {
                if self.peek(0) != b'"' {
                    return Kind::Quoted;
                }
                self.at += 1;
            }
        }
        self.end_of_text()
    }

    fn digits(&mut self) {
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
    }

    fn number(&mut self) -> Kind {
        self.digits();
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            self.at += 1;
            self.digits();
        }
        if self.peek(0) | 0x20 == b'e' {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                self.at += 1 + sign;
                self.digits();
            }
        }
        Kind::Number
    }

    /// Up to the end of the line, which is left where it is.
    fn line_comment(&mut self) {
        while !matches!(self.text.get(self.at), None | Some(b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 1_usize;
        self.at += 2;
        while self.at < self.text.len() {
            match (self.text[self.at], self.peek(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// `$1` or `$tag$..$tag$`.
    fn dollar(&mut self) -> Kind {
        let start = self.at;
        self.at += 1;
        if self.peek(0).is_ascii_digit() {
            self.digits();
            return Kind::Param;
        }
        while self.peek(0) != b'$' && CONTINUES[usize::from(self.peek(0))] {
            self.at += 1;
        }
        if self.peek(0) != b'$' {
            return Kind::Doubt;
        }
        self.at += 1;
        let tag = &self.text[start..self.at];
        while self.at < self.text.len() {
            if self.text[self.at] == b'$' && self.text[self.at..].starts_with(tag) {
                self.at += tag.len();
                return Kind::Plain;
            }
            self.at += 1;
        }
        Kind::End
    }
}
