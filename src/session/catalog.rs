//! What a database's catalog says of the functions that its statements may run.
//!
//! A text shows the functions that it names, not those behind a view, a trigger, a default or an
//! operator. The catalog is read once per pool over a server connection of the tenant's own
//! ([`Catalog::query`]) and tells the names by which a function can be reached that could leave state
//! behind. A statement in which none of them occurs is clean.
//!
//! Where single reads may go to replicas ([`Extent::Reads`]), it also tells by which names a read
//! would reach what belongs on the primary: see [`readable`].

mod readable;

use std::borrow::Cow;
use std::collections::HashSet;

use crate::wire::sql::{Reading, Survey, Unfit, has_word};

use readable::Readable;

/// Names kept; a database with more has every statement asked after.
const MOST: usize = 2_000;

/// Reads what [`Catalog::read`] takes: rows of a kind and a name.
const QUERY: &str = include_str!("catalog.sql");

/// In [`QUERY`], the body of a function in standard SQL, which servers before 14 do not know.
const SQL_BODY: &str = "coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)";

/// How much of a catalog is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What may leave state behind.
    State,
    /// Also what single reads must not reach on a standby.
    Reads,
}

/// What is known of a database's own functions.
#[derive(Debug, Default)]
pub struct Catalog {
    state: State,
    readable: Readable,
}

/// Of what they leave behind.
#[derive(Debug, Default)]
enum State {
    /// Nothing: whatever could run one is asked after.
    #[default]
    Unknown,
    /// None of them leaves anything behind.
    Clean,
    /// Some may.
    Suspects(Box<Suspects>),
}

/// By which names functions are reached that may leave something behind.
#[derive(Debug, Default)]
struct Suspects {
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
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        state: State::Unknown,
        readable: Readable::Unknown,
    };
    /// No function leaves anything behind; of reads, nothing is known.
    pub const CLEAN: Self = Self {
        state: State::Clean,
        readable: Readable::Unknown,
    };

    /// What a server of that version is asked (`server_version`, as it reports it).
    pub fn query(version: Option<&str>, extent: Extent) -> Cow<'static, str> {
        let major = version.and_then(|version| {
            let digits = version.split(|c: char| !c.is_ascii_digit()).next();
            digits.and_then(|digits| digits.parse::<u32>().ok())
        });
        let query = match extent {
            Extent::State => Cow::Borrowed(QUERY),
            Extent::Reads => Cow::Owned([QUERY, readable::QUERY].concat()),
        };
        match major {
            Some(major) if major < 14 => Cow::Owned(query.replace(SQL_BODY, "p.prosrc")),
            _ => query,
        }
    }

    /// Takes the rows of [`Catalog::query`].
    pub fn read<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut suspects = Suspects::default();
        let mut count = 0;
        let mut readable = readable::Reader::default();
        for (kind, name) in rows {
            if readable.take(kind, name) {
                continue;
            }
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
        let state = match count {
            0 => State::Clean,
            n if n > MOST => State::Unknown,
            _ => State::Suspects(Box::new(suspects)),
        };
        Self {
            state,
            readable: readable.end(),
        }
    }

    /// Whether a standby may serve a text, as far as the catalog can tell.
    pub fn reads_only(&self, reading: &Reading) -> Result<(), Unfit> {
        self.readable.reads_only(reading)
    }

    /// Whether nothing is to be asked after.
    #[inline]
    pub fn is_clean(&self) -> bool {
        matches!(self.state, State::Clean)
    }

    /// What a statement may do of which its text says nothing.
    pub(super) fn suspicion(&self, survey: &Survey, text: &[u8]) -> Suspicion {
        if !survey.reaches() {
            return Suspicion::None;
        }
        match &self.state {
            State::Clean => Suspicion::None,
            State::Unknown => Suspicion::Some,
            State::Suspects(suspects) => suspects.suspicion(text),
        }
    }

    /// Custom settings that the database's own functions may set.
    pub(super) fn settings(&self) -> &[String] {
        match &self.state {
            State::Suspects(suspects) => &suspects.settings,
            State::Unknown | State::Clean => &[],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_asked_for_what_they_know() {
        assert!(QUERY.contains(SQL_BODY));
        for (version, knows) in [("13.4 (Debian)", false), ("14beta1", true), ("15.18", true)] {
            for extent in [Extent::State, Extent::Reads] {
                let query = Catalog::query(Some(version), extent);
                assert_eq!(query.contains(SQL_BODY), knows, "{version}");
                assert_eq!(query.contains("pg_get_function_sqlbody"), knows);
            }
        }
    }

    #[test]
    fn names_are_found_however_they_are_written() {
        let rows = [("name", "Sets"), ("opaque", "seeds"), ("operator", "##")];
        let catalog = Catalog::read(rows.into_iter());
        let look = |text: &str| {
            let survey = crate::wire::sql::survey(text.as_bytes());
            catalog.suspicion(&survey, text.as_bytes())
        };
        for (text, suspicion) in [
            ("SELECT * FROM s.sets", Suspicion::Some),
            ("SELECT * FROM \"Sets\"", Suspicion::Some),
            ("SELECT 'sets'", Suspicion::None),
            ("SELECT SEEDS(1)", Suspicion::Opaque),
            ("SELECT a ## b", Suspicion::Some),
            ("SET sets = 1", Suspicion::None),
        ] {
            assert_eq!(look(text), suspicion, "{text}");
        }
        assert!(Catalog::read(std::iter::empty()).is_clean());
    }
}
