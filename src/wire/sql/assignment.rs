//! `SET name = value` and `RESET name`: what they assign, in the client's own words, so that it can
//! be said again to another server connection.
//!
//! `None` for whatever cannot be said again with the same outcome: values that depend on others
//! (`DateStyle` keeps what it is not told), settings by which texts are read, roles (awaited, not
//! sent ahead), strings that need decoding, texts outside of ASCII, what may end the server
//! connection while it is idle or lent to another, and time limits so short that they could hit the
//! statement that takes them back.

use super::heads::names_temporary_schema;
use super::lexer::{Kind, Lexer, Token};
use super::words::{self, pack};

/// Longest text that is carried.
const LONGEST: usize = 1024;

/// Shortest time limit that is carried, in milliseconds.
const SHORTEST: u32 = 1_000;

/// Not carried, in lower case.
const EXCLUDED: &[&str] = &[
    "backslash_quote",
    "client_encoding",
    "datestyle",
    "idle_session_timeout",
    "role",
    "seed",
    "session_authorization",
    "standard_conforming_strings",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
];

/// Time limits of the server that end statements.
const LIMITS: &[&str] = &["statement_timeout", "transaction_timeout"];

/// A setting's name, in lower case, and the SQL text of its new value; `None`: back to its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Folded to lower case, as the server compares names of settings.
    pub name: String,
    /// As the client wrote it behind `=` or `TO`.
    pub value: Option<String>,
}

/// The name in a sole `RESET name` or `SET name TO DEFAULT`, in lower case.
pub fn reset_name(text: &[u8]) -> Option<String> {
    let found = read(text)?;
    found.value.is_none().then_some(found.name)
}

/// What a sole `SET` or `RESET` assigns.
pub fn assignment(text: &[u8]) -> Option<Assignment> {
    let short = |a: &Assignment| {
        let value = a.value.as_deref();
        value.is_some_and(|v| is_short_limit(&a.name, v))
    };
    read(text).filter(|a| !EXCLUDED.contains(&a.name.as_str()) && !short(a))
}

fn read(text: &[u8]) -> Option<Assignment> {
    if text.len() > LONGEST || !text.is_ascii() {
        return None;
    }
    let mut words = Words(Lexer::new(text));
    let mut verb = words.next();
    while verb.kind == Kind::Semicolon {
        verb = words.next();
    }
    match words.word(verb) {
        words::SET => words.set(),
        words::RESET => words.reset(),
        _ => None,
    }
}

struct Words<'a>(Lexer<'a>);

impl Words<'_> {
    fn next(&mut self) -> Token {
        self.0.next()
    }

    fn word(&self, token: Token) -> u128 {
        match token.kind {
            Kind::Word => pack(self.0.slice(token)),
            _ => 0,
        }
    }

    fn set(&mut self) -> Option<Assignment> {
        let mut first = self.next();
        if self.word(first) == words::SESSION {
            first = self.next();
        }
        if self.word(first) == words::TIME {
            let zone = self.next();
            let (value, parts) = (self.word(zone) == words::ZONE).then(|| self.value())??;
            return (parts == 1).then(|| assign("timezone", &value));
        }
        let (name, separator) = self.name(first)?;
        let assigns = self.word(separator) == words::TO
            || (separator.kind == Kind::Operator && self.0.slice(separator) == b"=");
        let (value, _) = assigns.then(|| self.value())??;
        Some(assign(&name, &value))
    }

    fn reset(&mut self) -> Option<Assignment> {
        let first = self.next();
        if self.word(first) == words::TIME {
            let zone = self.next();
            let alone = self.word(zone) == words::ZONE && self.is_over();
            return alone.then(|| assign("timezone", "default"));
        }
        let (name, mut end) = self.name(first)?;
        while end.kind == Kind::Semicolon {
            end = self.next();
        }
        let all = name == "all" || name == "session";
        (end.kind == Kind::End && !all).then(|| assign(&name, "default"))
    }

    /// A name that is not quoted, and the token behind it.
    fn name(&mut self, first: Token) -> Option<(String, Token)> {
        let mut name = String::new();
        let mut part = first;
        loop {
            if part.kind != Kind::Word {
                return None;
            }
            name += std::str::from_utf8(self.0.slice(part)).ok()?;
            let after = self.next();
            if after.kind != Kind::Dot {
                name.make_ascii_lowercase();
                return Some((name, after));
            }
            name.push('.');
            part = self.next();
        }
    }

    /// The value, to the end of the text: its own words, and how many parts they have.
    fn value(&mut self) -> Option<(String, usize)> {
        let mut parts = Vec::new();
        loop {
            let token = self.next();
            match token.kind {
                Kind::End => break,
                Kind::Semicolon if self.is_over() => break,
                Kind::Word | Kind::Quoted | Kind::Plain | Kind::Number | Kind::Comma => {}
                Kind::Escaped if is_readable(self.0.slice(token)) => {}
                Kind::Operator if matches!(self.0.slice(token), b"-" | b"+") => {}
                _ => return None,
            }
            parts.push(std::str::from_utf8(self.0.slice(token)).ok()?);
        }
        let value = parts.join(" ");
        let readable = !value.is_empty() && !names_temporary_schema(value.as_bytes());
        readable.then_some((value, parts.len()))
    }

    fn is_over(&mut self) -> bool {
        loop {
            match self.next().kind {
                Kind::End => return true,
                Kind::Semicolon => {}
                _ => return false,
            }
        }
    }
}

fn assign(name: &str, value: &str) -> Assignment {
    let local = name == "timezone" && value.eq_ignore_ascii_case("local");
    let start = local || value.eq_ignore_ascii_case("default");
    Assignment {
        name: name.to_owned(),
        value: (!start).then(|| value.to_owned()),
    }
}

/// Whether a string reads the same under any `standard_conforming_strings`: only its quotes are doubled.
fn is_readable(string: &[u8]) -> bool {
    string.starts_with(b"'") && !string.contains(&b'\\')
}

/// Whether a setting is a time limit that is so short that it could hit the statement that takes it
/// back, or that is not read here.
pub fn is_short_limit(name: &str, value: &str) -> bool {
    if !LIMITS.contains(&name) {
        return false;
    }
    let text = value.trim_matches('\'').trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let long = number.parse::<u32>().is_ok_and(|number| match unit.trim() {
        _ if number == 0 => true,
        "" | "ms" => number >= SHORTEST,
        "s" | "min" | "h" | "d" => true,
        _ => false,
    });
    !long
}

/// Whether a value that was asked for may follow its session: it neither changes how texts are
/// read nor ends or hits what a server connection does for others.
pub fn is_portable(name: &str, value: &str) -> bool {
    match name {
        "standard_conforming_strings" => value == "on",
        "idle_session_timeout"
        | "tcp_keepalives_count"
        | "tcp_keepalives_idle"
        | "tcp_keepalives_interval"
        | "tcp_user_timeout" => value == "0",
        "client_encoding" => super::encoding_is_safe(value),
        "search_path" => !names_temporary_schema(value.as_bytes()),
        name => name.is_ascii() && value.is_ascii() && !is_short_limit(name, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, Option<String>)> {
        assignment(text.as_bytes()).map(|a| (a.name, a.value))
    }

    #[test]
    fn values_are_kept_as_they_were_written() {
        for (text, name, value) in [
            ("SET work_mem = '7MB'", "work_mem", "'7MB'"),
            ("set session Work_Mem to 7000;", "work_mem", "7000"),
            ("; SET jit=off ;;", "jit", "off"),
            (
                "SET search_path TO \"$user\", A, 'b'",
                "search_path",
                "\"$user\" , A , 'b'",
            ),
            ("SET my.own.mark = 'it''s'", "my.own.mark", "'it''s'"),
            ("SET TIME ZONE 'Europe/Rome'", "timezone", "'Europe/Rome'"),
            ("/* why */ SET TimeZone = UTC -- so", "timezone", "UTC"),
            ("SET seq_page_cost = - 1.5", "seq_page_cost", "- 1.5"),
            (
                "SET statement_timeout = '30 s'",
                "statement_timeout",
                "'30 s'",
            ),
            ("SET statement_timeout = 0", "statement_timeout", "0"),
        ] {
            let expected = Some((name.to_owned(), Some(value.to_owned())));
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn resets_have_no_value() {
        for (text, name) in [
            ("RESET work_mem", "work_mem"),
            ("SET work_mem TO DEFAULT", "work_mem"),
            ("SET TIME ZONE LOCAL", "timezone"),
            ("RESET TIME ZONE;", "timezone"),
        ] {
            assert_eq!(read(text), Some((name.to_owned(), None)), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_said_again_is_not_carried() {
        for text in [
            "SET LOCAL work_mem = '7MB'",
            "SET work_mem = '7MB'; SELECT 1",
            "SET work_mem FROM CURRENT",
            "SET DateStyle = 'DMY'",
            "SET role = 'other'",
            "SET ROLE other",
            "SET SESSION AUTHORIZATION 'other'",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SET NAMES 'LATIN1'",
            "SET client_encoding = 'LATIN1'",
            "SET standard_conforming_strings = off",
            "SET transaction_isolation = 'serializable'",
            "SET TIME ZONE INTERVAL '1' HOUR TO MINUTE",
            "SET search_path = pg_temp, public",
            "SET my.mark = E'a\\n'",
            "SET my.mark = 'a\\n'",
            "SET my.mark = '\u{e4}'",
            "SET idle_session_timeout = '1min'",
            "SET tcp_user_timeout = 100",
            "SET statement_timeout = '5ms'",
            "SET statement_timeout = 999",
            "SET statement_timeout = '1.5s'",
            "SET \"work_mem\" = '7MB'",
            "SET work_mem =",
            "SET SCHEMA 'x'",
            "RESET ALL",
            "RESET ROLE",
            "RESET SESSION AUTHORIZATION",
            "SELECT 1",
            "",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
