//! What a read must not reach if a standby is to serve it, by the database's catalog.
//!
//! That is: functions declared volatile, and what runs one when it is read or used (views, policies
//! of row-level security, operators, casts, domains); stable functions whose text names one, or
//! a volatile function of PostgreSQL's own; views that lock, or that speak of one server; foreign
//! and unlogged tables, which a standby does not hold.
//!
//! Guarantees: by names alone, whatever their schema and arguments, so it errs to the primary.
//!
//! Lacks: what a function declared stable or immutable does against its declaration, unless its
//! text shows it; what `EXECUTE` makes of strings.

use std::collections::HashSet;

use super::MOST;
use crate::wire::sql::{Name, Reading, Unfit};

/// Stands behind the catalog's query and adds rows that only [`Reader::take`] knows.
pub(super) const QUERY: &str = include_str!("readable.sql");

/// Operators that SQL uses without writing them: `IN`, `USING`, `CASE x WHEN`, `BETWEEN`, `ORDER BY`.
const IMPLIED: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];

/// By which names a read may be served.
#[derive(Debug, Default)]
pub(super) enum Readable {
    /// None: the catalog was not asked, or had too much to say.
    #[default]
    Unknown,
    /// By any but these.
    All(Box<Primary>),
}

/// The names by which what belongs on the primary is reached, in lower case.
#[derive(Debug, Default)]
pub(super) struct Primary {
    functions: HashSet<Box<str>>,
    /// Of functions that can be called as `x.name`.
    fields: HashSet<Box<str>>,
    relations: HashSet<Box<str>>,
    types: HashSet<Box<str>>,
    operators: HashSet<Box<str>>,
    /// A reason that holds for any read: no name leads to it.
    always: Option<Unfit>,
}

/// Takes the rows of [`QUERY`], one after the other.
#[derive(Debug, Default)]
pub(super) struct Reader {
    primary: Option<Box<Primary>>,
    count: usize,
}

impl Reader {
    /// Whether a row is one of [`QUERY`]'s.
    pub(super) fn take(&mut self, kind: &str, name: &str) -> bool {
        let Some(kind) = kind.strip_prefix("read") else {
            return false;
        };
        self.count += 1;
        let primary = self.primary.get_or_insert_default();
        let name = name.to_lowercase().into_boxed_str();
        let names = match kind {
            "_function" => &mut primary.functions,
            "_field" => &mut primary.fields,
            "_relation" => &mut primary.relations,
            "_type" => &mut primary.types,
            "_operator" if IMPLIED.contains(&&*name) => {
                primary.always = Some(Unfit::Operator);
                return true;
            }
            "_operator" => &mut primary.operators,
            "_everywhere" => {
                primary.always = Some(Unfit::Type);
                return true;
            }
            // Says that the catalog was asked.
            _ => return true,
        };
        names.insert(name);
        true
    }

    /// All rows were taken.
    pub(super) fn end(self) -> Readable {
        match self.primary {
            Some(primary) if self.count <= MOST + 1 => Readable::All(primary),
            _ => Readable::Unknown,
        }
    }
}

impl Readable {
    pub(super) fn reads_only(&self, reading: &Reading) -> Result<(), Unfit> {
        let Self::All(primary) = self else {
            return Err(Unfit::Catalog);
        };
        if let Some(reason) = primary.always {
            return Err(reason);
        }
        reading
            .names()
            .iter()
            .try_for_each(|name| primary.check(name))
    }
}

impl Primary {
    fn check(&self, name: &Name) -> Result<(), Unfit> {
        let (found, reason) = match name {
            Name::Function(name) if self.types.contains(name) => (true, Unfit::Type),
            Name::Function(name) => (self.functions.contains(name), Unfit::Function),
            Name::Field(name) => (self.fields.contains(name), Unfit::Function),
            Name::Relation(name) => (self.relations.contains(name), Unfit::Relation),
            Name::Type(name) => (self.types.contains(name), Unfit::Type),
            Name::Operator(name) => (self.operators.contains(name), Unfit::Operator),
        };
        if found { Err(reason) } else { Ok(()) }
    }
}

#[cfg(all(test, feature = "pg_query"))]
mod tests {
    use super::*;
    use crate::session::Catalog;
    use crate::wire::sql::reads_only;

    fn verdict(rows: &[(&str, &str)], text: &str) -> Result<(), Unfit> {
        let reading = reads_only(text.as_bytes()).expect("a text that reads");
        Catalog::read(rows.iter().copied()).reads_only(&reading)
    }

    #[test]
    fn names_are_held_against_the_catalog_by_what_they_name() {
        let rows = [
            ("reads", ""),
            ("read_function", "Fun"),
            ("read_field", "fun"),
            ("read_function", "other"),
            ("read_relation", "view"),
            ("read_type", "dom"),
            ("read_operator", "##"),
        ];
        for (text, expected) in [
            ("SELECT 1", Ok(())),
            ("SELECT s.fun(1)", Err(Unfit::Function)),
            ("SELECT \"FUN\"(1)", Err(Unfit::Function)),
            ("SELECT (t).fun FROM t", Err(Unfit::Function)),
            ("SELECT t.fun FROM t", Err(Unfit::Function)),
            ("SELECT fun, t.other, 'fun' AS fun FROM t", Ok(())),
            ("SELECT fun.a FROM fun", Ok(())),
            ("TABLE s.view", Err(Unfit::Relation)),
            ("SELECT view(1)", Ok(())),
            ("SELECT '1'::s.dom[]", Err(Unfit::Type)),
            ("SELECT dom '1'", Err(Unfit::Type)),
            ("SELECT dom(1)", Err(Unfit::Type)),
            ("SELECT a ## b", Err(Unfit::Operator)),
            ("SELECT a = ANY (b), '##'", Ok(())),
        ] {
            assert_eq!(verdict(&rows, text), expected, "{text}");
        }
    }

    #[test]
    fn what_no_name_leads_to_holds_for_all() {
        for (row, reason) in [
            (("read_everywhere", ""), Unfit::Type),
            (("read_operator", "="), Unfit::Operator),
        ] {
            let rows = [("reads", ""), row];
            assert_eq!(verdict(&rows, "SELECT 1"), Err(reason));
        }
    }

    #[test]
    fn a_catalog_that_was_not_asked_lets_nothing_pass() {
        let no_answer = [("name", "f")];
        assert_eq!(verdict(&no_answer, "SELECT 1"), Err(Unfit::Catalog));
        let names: Vec<String> = (0..MOST + 1).map(|n| format!("f{n}")).collect();
        let mut rows = vec![("reads", "")];
        rows.extend(names.iter().map(|name| ("read_function", &**name)));
        assert_eq!(verdict(&rows[..=MOST], "SELECT 1"), Ok(()));
        assert_eq!(verdict(&rows, "SELECT 1"), Err(Unfit::Catalog));
    }

    #[test]
    fn rows_of_reads_do_not_make_a_catalog_suspicious() {
        let rows = [("reads", ""), ("read_function", "f")];
        assert!(Catalog::read(rows.into_iter()).is_clean());
    }
}
