//! The startup parameter `options`: a server's command line, taken apart as PostgreSQL does it
//! (`pg_split_opts`, then `getopt`): white space separates, a backslash escapes.
//!
//! Understood are `-c name=value`, `-cname=value`, `--name=value`, and the bare word
//! `tenant=slug`. Other switches are refused: PostgreSQL would, or they belong to a server's start.

use super::StartupError;

/// Settings in order of appearance; `tenant` is among them.
pub(super) fn parse(options: &str) -> Result<Vec<(String, String)>, StartupError> {
    let mut settings = Vec::new();
    let mut words = split(options).into_iter();
    while let Some(word) = words.next() {
        let setting = if word == "-c" {
            let argument = words.next().ok_or_else(|| refused(&word))?;
            assignment(&argument)
        } else if let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            assignment(rest)
        } else {
            assignment(&word).filter(|(name, _)| name.eq_ignore_ascii_case("tenant"))
        };
        settings.push(setting.ok_or_else(|| refused(&word))?);
    }
    Ok(settings)
}

fn refused(word: &str) -> StartupError {
    StartupError::Option(word.to_owned())
}

/// `name=value`, with `-` in the name read as `_` (`ParseLongOption`).
fn assignment(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    (!name.is_empty()).then(|| (name.replace('-', "_"), value.to_owned()))
}

/// Words between white space; a backslash takes the next character as it is.
fn split(options: &str) -> Vec<String> {
    let space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c');
    let mut words = Vec::new();
    let mut chars = options.chars().peekable();
    loop {
        while chars.next_if(|c| space(*c)).is_some() {}
        if chars.peek().is_none() {
            return words;
        }
        let mut word = String::new();
        while let Some(c) = chars.next_if(|c| !space(*c)) {
            match c {
                '\\' => word.extend(chars.next()),
                c => word.push(c),
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_postgresql_does() {
        for (text, words) in [
            ("", vec![]),
            ("  \t\n", vec![]),
            (" a  b ", vec!["a", "b"]),
            (r"a\ b c", vec!["a b", "c"]),
            (r"a\\b", vec![r"a\b"]),
            (r"a\", vec!["a"]),
            (r"\ ", vec![" "]),
            ("ä\u{a0}b", vec!["ä\u{a0}b"]),
        ] {
            assert_eq!(split(text), words, "{text:?}");
        }
    }

    #[test]
    fn understands_three_spellings_and_the_tenant() {
        for (text, name, value) in [
            ("-c search_path=x", "search_path", "x"),
            ("-csearch_path=x", "search_path", "x"),
            ("--search-path=x", "search_path", "x"),
            ("-c a-b=c-d", "a_b", "c-d"),
            ("-c x=", "x", ""),
            ("-c x=a=b", "x", "a=b"),
            (r"-c search_path=a,\ b", "search_path", "a, b"),
            ("-c tenant=acme", "tenant", "acme"),
            ("--tenant=acme", "tenant", "acme"),
            ("tenant=acme", "tenant", "acme"),
        ] {
            let expected = vec![(name.to_owned(), value.to_owned())];
            assert_eq!(parse(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "-c", "-c x", "--x", "--", "-F", "x=y", "acme", "-c =x", "-S 100", "-",
        ] {
            assert!(
                matches!(parse(text), Err(StartupError::Option(_))),
                "{text:?}"
            );
        }
    }
}
