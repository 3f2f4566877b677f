//! The names of the settings that a text changes, so that their values can be asked for when its
//! transaction is over: for all that [`super::assignment`] cannot say again in the client's words.
//!
//! Guarantees: `None` if a name cannot be told. What is local to the transaction is left out.

use super::lexer::{Kind, Lexer, Token};
use super::words::{self, pack};

/// A setting's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// Folded to lower case.
    Text(String),
    /// The value of that parameter of the statement, counted from 1.
    Parameter(usize),
}

/// What the body of a `DO` tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The settings that it changes; `None`: its text does not tell.
    pub names: Option<Vec<Named>>,
    /// It may leave what nobody can ask for: a seed, a library.
    pub opaque: bool,
}

/// Most settings that one text is asked for.
const MOST: usize = 64;

/// The settings that the statements of a text change beyond their transaction.
pub fn named_settings(text: &[u8]) -> Option<Vec<Named>> {
    Reader {
        lexer: Lexer::new(text),
        whole: true,
        names: Vec::new(),
    }
    .statements()
}

/// The settings that statements of a text take back to their start, by name.
pub fn resets(text: &[u8]) -> Vec<String> {
    let mut lexer = Lexer::new(text);
    let (mut start, mut found) = (0, Vec::new());
    loop {
        let token = lexer.next();
        if matches!(token.kind, Kind::Semicolon | Kind::End | Kind::Doubt) {
            let end = token.end().min(text.len());
            found.extend(super::reset_name(&text[start..end]));
            start = end;
        }
        if matches!(token.kind, Kind::End | Kind::Doubt) {
            return found;
        }
    }
}

/// What the body of a text's `DO` tells; of the first one, if there are several: `None`.
pub fn body(text: &[u8]) -> Option<Body> {
    let mut lexer = Lexer::new(text);
    let mut found: Option<&[u8]> = None;
    loop {
        let token = lexer.next();
        match token.kind {
            Kind::End => break,
            Kind::Doubt => return None,
            Kind::Plain if lexer.slice(token).starts_with(b"$") => {
                if found.is_some() {
                    return None;
                }
                let quoted = lexer.slice(token);
                let tag = quoted[1..].iter().position(|byte| *byte == b'$')? + 2;
                found = Some(quoted.get(tag..quoted.len() - tag)?);
            }
            _ => {}
        }
    }
    let inner = found?;
    let has = |word: &[u8]| {
        inner
            .windows(word.len())
            .any(|part| part.eq_ignore_ascii_case(word))
    };
    let reader = Reader {
        lexer: Lexer::new(inner),
        whole: false,
        names: Vec::new(),
    };
    let untold = has(b"execute") && has(b"set");
    Some(Body {
        names: if untold { None } else { reader.anywhere() },
        opaque: has(b"setseed") || has(b"load") || has(b"seed"),
    })
}

struct Reader<'a> {
    lexer: Lexer<'a>,
    /// It reads a text of statements, not the body of one.
    whole: bool,
    names: Vec<Named>,
}

impl Reader<'_> {
    fn word(&self, token: Token) -> u128 {
        match token.kind {
            Kind::Word => pack(self.lexer.slice(token)),
            _ => 0,
        }
    }

    fn statements(mut self) -> Option<Vec<Named>> {
        let mut first = true;
        loop {
            let token = self.lexer.next();
            let word = self.word(token);
            match token.kind {
                Kind::End => return (self.names.len() <= MOST).then_some(self.names),
                Kind::Doubt => return None,
                Kind::Semicolon => first = true,
                _ if first && matches!(word, words::SET | words::RESET) => {
                    self.assigned(word)?;
                    first = false;
                }
                Kind::Word | Kind::Quoted => {
                    first = false;
                    self.called(token)?;
                }
                _ => first = false,
            }
        }
    }

    /// In a body of another language statements are not told apart: any `SET name` counts.
    fn anywhere(mut self) -> Option<Vec<Named>> {
        loop {
            let token = self.lexer.next();
            let word = self.word(token);
            match token.kind {
                Kind::End => return (self.names.len() <= MOST).then_some(self.names),
                Kind::Doubt => return None,
                _ if matches!(word, words::SET | words::RESET) => {
                    let before = self.lexer;
                    if self.assigned(word).is_none() {
                        // UPDATE .. SET (a, b) = .. and the like.
                        self.lexer = before;
                    }
                }
                Kind::Word | Kind::Quoted => self.called(token)?,
                _ => {}
            }
        }
    }

    fn add(&mut self, names: &[&str]) {
        for name in names {
            self.names.push(Named::Text((*name).to_owned()));
        }
    }

    /// Behind `SET` or `RESET`.
    fn assigned(&mut self, verb: u128) -> Option<()> {
        use words::{
            ALL, AUTHORIZATION, CHARACTERISTICS, CONSTRAINTS, LOCAL, NAMES, OPTION, ROLE, SCHEMA,
            SESSION, TIME, TRANSACTION, XML, ZONE,
        };
        let mut token = self.lexer.next();
        let is_name = |reader: &Self| {
            let next = reader.lexer.clone_next();
            matches!(
                next.kind,
                Kind::Operator | Kind::Dot | Kind::End | Kind::Semicolon
            ) || reader.word(next) == words::TO
        };
        if self.word(token) == LOCAL && !is_name(self) {
            return self.skip_statement();
        }
        if self.word(token) == SESSION && !is_name(self) {
            token = self.lexer.next();
        }
        if is_name(self) || verb == words::RESET {
            let next = self.word(self.lexer.clone_next());
            match (self.word(token), next) {
                // Told apart by the survey.
                (ALL, _) if verb == words::RESET && self.whole => {}
                (ALL, _) if verb == words::RESET => return None,
                (TIME, ZONE) => self.add(&["timezone"]),
                (SESSION, AUTHORIZATION) | (AUTHORIZATION, _) => {
                    self.add(&["session_authorization", "role"]);
                }
                _ => return self.name(token),
            }
            return Some(());
        }
        match self.word(token) {
            TIME => self.add(&["timezone"]),
            ROLE => self.add(&["role"]),
            SESSION | AUTHORIZATION => self.add(&["session_authorization", "role"]),
            SCHEMA => self.add(&["search_path"]),
            NAMES => self.add(&["client_encoding"]),
            XML => self.add(&["xmloption"]),
            CHARACTERISTICS => self.add(&[
                "default_transaction_deferrable",
                "default_transaction_isolation",
                "default_transaction_read_only",
            ]),
            TRANSACTION | CONSTRAINTS | OPTION => return self.skip_statement(),
            _ => return self.name(token),
        }
        Some(())
    }

    /// A name, perhaps with dots.
    fn name(&mut self, first: Token) -> Option<()> {
        let mut name = String::new();
        let mut part = first;
        loop {
            let raw = std::str::from_utf8(self.lexer.slice(part)).ok()?;
            match part.kind {
                Kind::Word => name += raw,
                Kind::Quoted => name += &raw[1..raw.len() - 1].replace("\"\"", "\""),
                _ => return None,
            }
            if self.lexer.clone_next().kind != Kind::Dot {
                break;
            }
            self.lexer.next();
            name.push('.');
            part = self.lexer.next();
        }
        self.noted(&name)
    }

    fn noted(&mut self, name: &str) -> Option<()> {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "seed" => return None,
            // They last as long as their transaction.
            "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => {}
            "session_authorization" => self.add(&["session_authorization", "role"]),
            _ => self.names.push(Named::Text(name)),
        }
        Some(())
    }

    fn skip_statement(&mut self) -> Option<()> {
        while !matches!(
            self.lexer.clone_next().kind,
            Kind::End | Kind::Semicolon | Kind::Doubt
        ) {
            self.lexer.next();
        }
        Some(())
    }

    /// `set_config(name, ..`, wherever it stands.
    fn called(&mut self, token: Token) -> Option<()> {
        let slice = self.lexer.slice(token);
        let name = match token.kind {
            Kind::Quoted => &slice[1..slice.len() - 1],
            _ => slice,
        };
        if pack(name) != words::SET_CONFIG || self.lexer.clone_next().kind != Kind::Open {
            return Some(());
        }
        self.lexer.next();
        let parameter = self.lexer.next();
        let raw = std::str::from_utf8(self.lexer.slice(parameter)).ok()?;
        let is_last = |lexer: &Lexer<'_>| lexer.clone_next().kind == Kind::Comma;
        match parameter.kind {
            Kind::Plain if raw.starts_with('\'') && is_last(&self.lexer) => {
                self.noted(&raw[1..raw.len() - 1].replace("''", "'"))
            }
            Kind::Param => {
                let number = raw[1..].parse().ok()?;
                // `$1::text` is what drivers write.
                while self.lexer.clone_next().kind == Kind::Operator {
                    self.lexer.next();
                    if self.lexer.clone_next().kind == Kind::Word {
                        self.lexer.next();
                    }
                }
                if !is_last(&self.lexer) {
                    return None;
                }
                self.names.push(Named::Parameter(number));
                Some(())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Option<String> {
        let one = |named: Named| match named {
            Named::Text(name) => name,
            Named::Parameter(number) => format!("${number}"),
        };
        let list: Vec<String> = named_settings(text.as_bytes())?
            .into_iter()
            .map(one)
            .collect();
        Some(list.join(" "))
    }

    #[test]
    fn each_form_names_its_settings() {
        for (text, expected) in [
            ("SET DateStyle = 'German'", "datestyle"),
            (
                "SET SESSION my.x TO 1; SELECT 1; RESET \"My\".y",
                "my.x my.y",
            ),
            ("SET TIME ZONE INTERVAL '1' HOUR TO MINUTE", "timezone"),
            ("RESET TIME ZONE", "timezone"),
            ("SET ROLE app", "role"),
            ("SET SESSION ROLE app", "role"),
            ("RESET ROLE", "role"),
            (
                "SET SESSION AUTHORIZATION app",
                "session_authorization role",
            ),
            ("RESET SESSION AUTHORIZATION", "session_authorization role"),
            (
                "SET session_authorization = 'app'",
                "session_authorization role",
            ),
            ("SET NAMES 'LATIN1'", "client_encoding"),
            ("SET SCHEMA 'x'", "search_path"),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                "default_transaction_deferrable default_transaction_isolation default_transaction_read_only",
            ),
            ("SET LOCAL a = 1; SET b = 2", "b"),
            ("SET local.a = 1", "local.a"),
            (
                "SET TRANSACTION READ ONLY; SET transaction_isolation = 'serializable'",
                "",
            ),
            (
                "SELECT set_config('a.B', 'x', false), set_config($2::text, $1, false)",
                "a.b $2",
            ),
            ("UPDATE t SET a = set_config('m.n', b, true)", "m.n"),
            ("SELECT 1", ""),
            ("RESET ALL; SET a = 1", "a"),
        ] {
            assert_eq!(names(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "SET seed = 0.5",
            "SELECT set_config(name, setting, false) FROM t",
            "SELECT set_config('a' || 'b', '', false)",
            "SELECT set_config($1 || 'b', '', false)",
            "SET \"open",
        ] {
            assert_eq!(names(text), None, "{text}");
        }
    }

    #[test]
    fn a_body_tells_what_it_sets() {
        let read = |text: &str| body(text.as_bytes());
        let told = read("DO $x$ BEGIN UPDATE t SET (a, b) = (1, 2); SET my.x = 1; PERFORM set_config('my.y', 'z', false); END $x$").expect("read");
        let expected = ["my.x", "my.y"].map(|n| Named::Text(n.to_owned()));
        assert_eq!(
            (told.names.as_deref(), told.opaque),
            (Some(&expected[..]), false)
        );
        assert_eq!(
            read("DO $$ BEGIN EXECUTE 'SET a = 1'; END $$")
                .expect("read")
                .names,
            None
        );
        assert!(
            read("DO $$ BEGIN PERFORM setseed(1); END $$")
                .expect("read")
                .opaque
        );
        assert_eq!(read("DO 'BEGIN END'"), None);
        let quiet = read("DO LANGUAGE plpgsql $$ BEGIN EXECUTE 'CREATE TABLE t ()'; END $$");
        assert_eq!(quiet.expect("read").names, Some(Vec::new()));
    }
}
