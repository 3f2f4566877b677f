//! What a database's catalog says of the functions that its statements may run.
//!
//! A text shows the functions that it names, not those behind a view, a trigger, a default or an
//! operator. The catalog is read once per pool over a server connection of the tenant's own
//! ([`QUERY`]) and tells the names by which a function can be reached that could leave state
//! behind. A statement in which none of them occurs is clean.

use std::collections::HashSet;

use crate::wire::sql::{Survey, has_word};

/// Names kept; a database with more has every statement asked after.
const MOST: usize = 2_000;

/// Reads what [`Catalog::read`] takes: rows of a kind and a name.
pub const QUERY: &str = include_str!("catalog.sql");

/// What is known of a database's own functions.
#[derive(Debug, Default)]
pub enum Catalog {
    /// Nothing: whatever could run one is asked after.
    #[default]
    Unknown,
    /// None of them leaves anything behind.
    Clean,
    /// Some may.
    Suspects(Suspects),
}

/// By which names functions are reached that may leave something behind.
#[derive(Debug, Default)]
pub struct Suspects {
    /// Of relations, functions, types: in lower case.
    names: HashSet<Box<[u8]>>,
    /// Of operators.
    operators: Vec<Box<[u8]>>,
    /// Of those that may leave what nobody can ask for.
    opaque: HashSet<Box<[u8]>>,
    /// Custom settings that their sources name.
    settings: Vec<String>,
    everywhere: Everywhere,
}

/// Whether such a function may run without any name in the text (a cast, an event trigger).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Everywhere {
    #[default]
    No,
    Yes,
}

/// What a statement may do according to the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// Nothing.
    None,
    /// Leave something that can be asked for.
    Some,
    /// Leave what nobody can ask for.
    Opaque,
}

impl Catalog {
    /// Takes the rows of [`QUERY`].
    pub fn read<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut suspects = Suspects::default();
        let mut count = 0;
        for (kind, name) in rows {
            count += 1;
            let folded = || name.to_lowercase().into_bytes().into_boxed_slice();
            match kind {
                "name" => drop(suspects.names.insert(folded())),
                "opaque" => drop(suspects.opaque.insert(folded())),
                "operator" => suspects.operators.push(name.as_bytes().into()),
                "setting" => suspects.settings.push(name.to_lowercase()),
                _ => suspects.everywhere = Everywhere::Yes,
            }
        }
        match count {
            0 => Self::Clean,
            n if n > MOST => Self::Unknown,
            _ => Self::Suspects(suspects),
        }
    }

    /// Whether nothing is to be asked after.
    #[inline]
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::Clean)
    }

    /// What a statement may do of which its text says nothing.
    pub(super) fn suspicion(&self, survey: &Survey, text: &[u8]) -> Suspicion {
        if !survey.reaches() {
            return Suspicion::None;
        }
        match self {
            Self::Clean => Suspicion::None,
            Self::Unknown => Suspicion::Some,
            Self::Suspects(suspects) => suspects.suspicion(text),
        }
    }

    /// Custom settings that the database's own functions may set.
    pub(super) fn settings(&self) -> &[String] {
        match self {
            Self::Suspects(suspects) => &suspects.settings,
            Self::Unknown | Self::Clean => &[],
        }
    }
}

impl Suspects {
    fn suspicion(&self, text: &[u8]) -> Suspicion {
        if !self.opaque.is_empty() && has_word(text, |word| self.opaque.contains(word)) {
            return Suspicion::Opaque;
        }
        let named = || has_word(text, |word| self.names.contains(word));
        let operates = |operator: &[u8]| text.windows(operator.len()).any(|part| part == operator);
        let some = self.everywhere == Everywhere::Yes
            || self.operators.iter().any(|operator| operates(operator))
            || named();
        if some {
            Suspicion::Some
        } else {
            Suspicion::None
        }
    }
}
