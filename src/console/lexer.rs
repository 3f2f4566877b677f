//! Splits what an operator types into statements and words.
//!
//! Comments and quotes are PostgreSQL's. Unlike there, a bare word keeps its case (tenants' names are
//! compared as they are) and may hold `-` and `.`, so that names need no quotes.

/// One word of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    /// Where it begins in the text.
    start: usize,
    end: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// As it was typed.
    Bare(&'a str),
    /// From double or single quotes, which are taken off.
    Quoted(String),
    /// Anything else, a character at a time.
    Sign(char),
}

/// One statement: its words, and the text that they came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement<'a> {
    text: &'a str,
    pub(super) tokens: Vec<Token<'a>>,
}

impl<'a> Statement<'a> {
    /// The text from the first to the last word.
    pub(super) fn text(&self) -> &'a str {
        self.text_from(0)
    }

    /// The text from a word to the last one; nothing where there is no such word.
    pub(super) fn text_from(&self, token: usize) -> &'a str {
        match (self.tokens.get(token), self.tokens.last()) {
            (Some(first), Some(last)) => &self.text[first.start..last.end],
            _ => "",
        }
    }
}

/// A quote or comment that does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unterminated quote or comment")]
pub(super) struct Unterminated;

/// All statements of a text that hold a word.
pub(super) fn statements(text: &str) -> Result<Vec<Statement<'_>>, Unterminated> {
    let mut all = Vec::new();
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at = skip_blank(text, at)?;
        let Some(c) = text[at..].chars().next() else {
            break;
        };
        if c == ';' {
            at += 1;
            push(&mut all, text, std::mem::take(&mut tokens));
            continue;
        }
        let token = token(text, at, c)?;
        at = token.end;
        tokens.push(token);
    }
    push(&mut all, text, tokens);
    Ok(all)
}

fn push<'a>(all: &mut Vec<Statement<'a>>, text: &'a str, tokens: Vec<Token<'a>>) {
    if !tokens.is_empty() {
        all.push(Statement { text, tokens });
    }
}

/// Past white space and comments.
fn skip_blank(text: &str, mut at: usize) -> Result<usize, Unterminated> {
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        if trimmed.starts_with("--") {
            at += trimmed.find('\n').unwrap_or(trimmed.len());
        } else if trimmed.starts_with("/*") {
            at += comment(trimmed).ok_or(Unterminated)?;
        } else {
            return Ok(at);
        }
    }
}

/// Length of a comment, with those that are nested in it.
fn comment(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn token(text: &str, start: usize, first: char) -> Result<Token<'_>, Unterminated> {
    let rest = &text[start..];
    let (kind, len) = match first {
        '\'' | '"' => quoted(rest, first).ok_or(Unterminated)?,
        c if is_word(c) => {
            let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            (Kind::Bare(&rest[..len]), len)
        }
        c => (Kind::Sign(c), c.len_utf8()),
    };
    Ok(Token {
        kind,
        start,
        end: start + len,
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | '$')
}

/// What stands between quotes, a doubled quote being one; and its length with the quotes.
fn quoted(text: &str, quote: char) -> Option<(Kind<'_>, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            value.push(c);
        } else if chars.next_if(|(_, c)| *c == quote).is_some() {
            value.push(quote);
        } else {
            return Some((Kind::Quoted(value), at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Vec<Kind<'_>>> {
        let all = statements(text).unwrap().into_iter();
        all.map(|s| s.tokens.into_iter().map(|t| t.kind).collect())
            .collect()
    }

    #[test]
    fn words_quotes_signs_and_comments() {
        let quoted = |text: &str| Kind::Quoted(text.to_owned());
        assert_eq!(
            kinds(
                " show /* all /* of */ them */ POOLS; -- the end\n;PAUSE \"a\"\"b\"; set x='it''s';"
            ),
            [
                vec![Kind::Bare("show"), Kind::Bare("POOLS")],
                vec![Kind::Bare("PAUSE"), quoted("a\"b")],
                vec![
                    Kind::Bare("set"),
                    Kind::Bare("x"),
                    Kind::Sign('='),
                    quoted("it's")
                ],
            ]
        );
        assert_eq!(
            kinds("PAUSE acme-2; WAIT_CLOSE a--b"),
            [
                [Kind::Bare("PAUSE"), Kind::Bare("acme-2")],
                [Kind::Bare("WAIT_CLOSE"), Kind::Bare("a--b")]
            ]
        );
        assert_eq!(kinds(" ; ;"), Vec::<Vec<Kind<'_>>>::new());
        assert_eq!(kinds("ä/"), [[Kind::Bare("ä"), Kind::Sign('/')]]);
    }

    #[test]
    fn the_text_of_a_statement_is_without_what_stands_around() {
        let all = statements(" set log.level = 'a;b' /* c */ ; x").unwrap();
        assert_eq!(all[0].text(), "set log.level = 'a;b'");
        assert_eq!(all[0].text_from(3), "'a;b'");
        assert_eq!(all[1].text_from(1), "");
    }

    #[test]
    fn what_does_not_end_is_an_error() {
        for text in ["'", "\"a", "pause 'x''", "/* /* */", "show /*"] {
            assert_eq!(statements(text), Err(Unterminated), "{text}");
        }
    }
}
