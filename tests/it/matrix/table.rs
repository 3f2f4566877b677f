//! The table in `docs/session-state.md`: reading the one that is committed, writing the one that is true.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use super::judge::Cell;

const BEGIN: &str = "<!-- what follows is written by `make session-state` -->\n";
const END: &str = "<!-- end of what is written by `make session-state` -->\n";

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    /// The kind's name.
    pub title: &'static str,
    /// What its owner does.
    pub told: String,
    /// Tenantry in the simple and the extended protocol, then PgBouncer.
    pub cells: [Option<Cell>; 4],
}

/// A heading and its rows.
pub type Group = (&'static str, Vec<Row>);

/// The committed document.
#[derive(Debug)]
pub struct Document {
    before: String,
    /// Between the markers.
    pub table: String,
    after: String,
}

impl Document {
    /// Reads it.
    pub fn read() -> Self {
        let text = fs::read_to_string(path()).expect("docs/session-state.md");
        let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
        let (table, after) = rest.split_once(END).expect("where the table ends");
        Self {
            before: before.to_owned(),
            table: table.to_owned(),
            after: after.to_owned(),
        }
    }

    /// Writes it with another table.
    pub fn write(&self, table: &str) {
        let text = [&self.before, BEGIN, table, END, &self.after].concat();
        fs::write(path(), text).expect("docs/session-state.md can be written");
    }

    /// Cells by the title of their row.
    pub fn cells(&self) -> HashMap<&str, [Option<Cell>; 4]> {
        let row = |line: &'_ str| {
            let fields: Vec<&str> = line
                .split(" | ")
                .map(|f| f.trim_matches(['|', ' ']))
                .collect();
            let [title, _, cells @ ..] = &fields[..] else {
                return None;
            };
            let cells: [&str; 4] = cells.try_into().ok()?;
            let start = line.find(title)?;
            Some((start, title.len(), cells.map(Cell::parse)))
        };
        let rows = self.table.lines().filter_map(|line| {
            let (start, len, cells) = row(line)?;
            Some((&line[start..start + len], cells))
        });
        rows.collect()
    }

    /// The version of PgBouncer that the table tells about.
    pub fn pgbouncer(&self) -> &str {
        let line = self.table.lines().find_map(|l| l.strip_prefix(VERSION));
        line.map_or("PgBouncer", |rest| rest.split(':').next().unwrap_or(rest))
    }
}

const VERSION: &str = "The last two columns are of ";

/// The text between the markers.
pub fn render(groups: &[Group], pgbouncer: &str) -> String {
    let count = |columns: [usize; 2]| {
        let rows = groups.iter().flat_map(|(_, rows)| rows);
        let cells: Vec<Cell> = rows
            .flat_map(|row| columns.map(|at| row.cells[at]))
            .flatten()
            .collect();
        Cell::count(&cells)
    };
    let (ours, theirs) = (count([0, 1]), count([2, 3]));
    let mut text = format!("\nTenantry: {ours}.\n\n{VERSION}{pgbouncer}: {theirs}.\n");
    for (heading, rows) in groups {
        let _ = write!(
            text,
            "\n### {heading}\n\n| state | what its session does → what shows it | simple | extended \
             | PgBouncer, simple | extended |\n| --- | --- | --- | --- | --- | --- |\n"
        );
        for row in rows {
            let cell = |at: usize| row.cells[at].map_or_else(|| "?".to_owned(), |c| c.to_string());
            let (a, b, c, d) = (cell(0), cell(1), cell(2), cell(3));
            let (title, told) = (row.title, &row.told);
            let _ = writeln!(text, "| {title} | {told} | {a} | {b} | {c} | {d} |");
        }
    }
    text.push('\n');
    text
}

/// Rows that are only in one of two tables, without what their sessions do.
pub fn differences(committed: &str, found: &str) -> String {
    let only = |here: &str, there: &str, mark: char| {
        let others: Vec<&str> = there.lines().collect();
        let lines = here.lines().filter(|line| !others.contains(line));
        lines.fold(String::new(), |all, line| {
            let mut fields: Vec<&str> = line.split(" | ").collect();
            if fields.len() > 2 {
                fields.remove(1);
            }
            format!("{all}{mark} {}\n", fields.join(" | "))
        })
    };
    only(committed, found, '-') + &only(found, committed, '+')
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/session-state.md")
}
