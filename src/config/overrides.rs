//! Single values put over the file, as `SET key = value` does: a key as in the file with the names
//! of its tables before it (`pool.size`), or PgBouncer's name for it.
//!
//! The value goes through the same reader as the file, so what is refused there is refused here.
//! Lists, and what takes a restart, cannot be set.

use std::fmt::Write as _;

use super::show::{self, Change, Key, Shown};
use crate::types::Secret;

/// One value put over the file.
#[derive(Debug, Clone)]
pub struct Override {
    key: &'static str,
    /// The value in TOML; may be a secret.
    literal: Secret,
}

/// Why a value cannot be set at all; each is the user's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// There is no such key.
    #[error("there is no setting `{0}`")]
    Unknown(String),
    /// It is read at the start only.
    #[error("`{0}` takes a restart: change it in the file")]
    Restart(&'static str),
    /// It is not a single value.
    #[error("`{0}` is a list: change it in the file and reload")]
    List(&'static str),
}

impl Override {
    /// Takes `value` as a console gives it: a word or number as it is, or a text in single quotes.
    /// For one of PgBouncer's names times are seconds.
    ///
    /// # Errors
    /// An unknown key, and one that cannot be set.
    pub fn new(key: &str, value: &str) -> Result<Self, OverrideError> {
        let name = key.to_ascii_lowercase();
        let (known, unit) = match show::key(&name) {
            Some(known) => (known, Unit::Named),
            None => {
                let unknown = || OverrideError::Unknown(key.to_owned());
                (show::alias(&name).ok_or_else(unknown)?, Unit::Seconds)
            }
        };
        if matches!(known.change, Change::AtStart(_)) {
            return Err(OverrideError::Restart(known.name));
        }
        let text = unquoted(value.trim());
        Ok(Self {
            key: known.name,
            literal: Secret::new(literal(known, &text, unit)?),
        })
    }

    /// The key as in the file.
    pub fn key(&self) -> &'static str {
        self.key
    }
}

/// What a bare number means where a time is expected.
#[derive(Clone, Copy)]
enum Unit {
    /// Nothing: times name their unit.
    Named,
    /// Seconds.
    Seconds,
}

/// The lines to put over a file.
pub(super) fn text(overrides: &[Override]) -> String {
    let mut text = String::new();
    for Override { key, literal } in overrides {
        writeln!(text, "{key} = {}", literal.expose()).expect("a String takes all");
    }
    text
}

fn unquoted(value: &str) -> String {
    let inside = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    match (inside('\''), inside('"')) {
        (Some(text), _) => text.replace("''", "'"),
        (_, Some(text)) => text.replace("\"\"", "\""),
        (None, None) => value.to_owned(),
    }
}

/// The value in TOML: of the kind that the key has, else a text, which the reader refuses.
fn literal(key: &Key, text: &str, unit: Unit) -> Result<String, OverrideError> {
    let quoted = || toml::Value::String(text.to_owned()).to_string();
    Ok(match key.kind() {
        Shown::Number(_) => text
            .parse::<u64>()
            .map_or_else(|_| quoted(), |n| n.to_string()),
        Shown::Switch(_) => match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => "true".to_owned(),
            "false" | "off" | "no" | "0" => "false".to_owned(),
            _ => quoted(),
        },
        Shown::Time(_) => match (unit, text.parse::<f64>()) {
            (Unit::Seconds, Ok(seconds)) => format!("\"{:.0}ms\"", seconds * 1000.0),
            (Unit::Seconds, Err(_)) | (Unit::Named, _) => quoted(),
        },
        Shown::Word(_) | Shown::Text(_) | Shown::Secret(_) => quoted(),
        Shown::Listeners(_) | Shown::Users(_) | Shown::Networks(_) => {
            return Err(OverrideError::List(key.name));
        }
    })
}
