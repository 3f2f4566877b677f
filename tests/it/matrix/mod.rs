//! The state matrix: each kind of session state through Tenantry, as on direct connections or not.
//!
//! A kind is performed by its owner and two other sessions, who take turns: directly, then through
//! Tenantry with one free server connection, another one after each step; if that is not enough for
//! all of them, with one for each. What they are told is compared. The table of all kinds must be the one in `docs/session-state.md`.
//!
//! - `TENANTRY_BLESS=1` writes the table instead.
//! - `TENANTRY_PGBOUNCER=pgbouncer` fills in PgBouncer's columns, too; else they are left as they are.
//! - `TENANTRY_MATRIX=word` takes only kinds with that word in their name, and tells all about them.

mod judge;
mod kind;
mod kinds;
mod places;
mod play;
mod session;
mod table;

use std::collections::HashMap;
use std::env::var;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::judge::{Cell, Finding, Judge};
use self::kind::{Kind, Protocol};
use self::places::{Bouncer, Stage};
use self::table::{Document, Group, Row, differences, render};

/// Plays at the same time. Most of their time they wait.
const AT_ONCE: usize = 6;

/// What is to be found out, and what has been.
struct Matrix<'a> {
    kinds: Vec<&'a Kind>,
    known: HashMap<&'a str, [Option<Cell>; 4]>,
    pgbouncer: Option<String>,
    next: AtomicUsize,
    rows: Mutex<Vec<(usize, Row, String)>>,
}

impl Matrix<'_> {
    /// Takes kinds until there are none. Those that leave nothing in a database share one.
    fn work(&self) {
        let mut plain = None;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(kind) = self.kinds.get(number) else {
                return;
            };
            let plain = plain.get_or_insert_with(|| Stage::new(&[]));
            let (row, report) = self.row(kind, plain);
            let mut rows = self.rows.lock().expect("nobody panics with it");
            rows.push((number, row, report));
        }
    }

    fn row(&self, kind: &Kind, plain: &Stage) -> (Row, String) {
        let known = self.known.get(kind.title).copied().unwrap_or_default();
        let mut cells = [Some(Cell::None), Some(Cell::None), known[2], known[3]];
        let mut report = String::new();
        for (at, protocol) in [Protocol::Simple, Protocol::Extended]
            .into_iter()
            .enumerate()
        {
            let own = (!kind.setup.is_empty() || kind.creates()).then(|| Stage::new(&kind.setup));
            let stage = own.as_ref().unwrap_or(plain);
            let Some(judge) = Judge::new(kind, protocol, stage) else {
                cells[at + 2] = Some(Cell::None);
                continue;
            };
            if var("TENANTRY_MATRIX").is_ok() {
                report += &format!("directly, {protocol:?}:\n{}", judge.truth());
            }
            let mut note = |at: usize, who: &str, found: Finding| {
                cells[at] = Some(found.cell);
                if !found.why.is_empty() {
                    let (title, why, cell) = (kind.title, found.why, found.cell);
                    report += &format!("{title}, {who}, {protocol:?}: {cell}\n  {why}");
                }
            };
            note(at, "Tenantry", judge.tenantry(known[at]));
            if let Some(program) = &self.pgbouncer {
                note(at + 2, "PgBouncer", judge.pgbouncer(program));
            }
        }
        let (title, told) = (kind.title, kind.told());
        (Row { title, told, cells }, report)
    }
}

#[test]
fn the_state_matrix_is_as_documented() {
    let document = Document::read();
    let word = var("TENANTRY_MATRIX").unwrap_or_default();
    let groups = kinds::groups();
    let all = groups.iter().flat_map(|(_, kinds)| kinds);
    let matrix = Matrix {
        kinds: all.filter(|kind| kind.title.contains(&word)).collect(),
        known: document.cells(),
        pgbouncer: var("TENANTRY_PGBOUNCER").ok(),
        next: AtomicUsize::new(0),
        rows: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| matrix.work());
        }
    });
    let version = matrix.pgbouncer.as_deref().map(Bouncer::version);
    let mut rows = std::mem::take(&mut *matrix.rows.lock().expect("nobody panics with it"));
    rows.sort_by_key(|(number, ..)| *number);
    let asked = ["TENANTRY_MATRIX", "TENANTRY_BLESS"]
        .iter()
        .any(|name| var(name).is_ok());
    let news = |row: &Row| matrix.known.get(row.title) != Some(&row.cells);
    let told = rows.iter().filter(|(_, row, _)| asked || news(row));
    let report: String = told.map(|(.., report)| report.as_str()).collect();
    let mut rows = rows.into_iter().map(|(_, row, _)| row).peekable();
    let mut found: Vec<Group> = Vec::new();
    for (heading, kinds) in &groups {
        let mut own = Vec::new();
        while let Some(row) = rows.next_if(|row| kinds.iter().any(|k| k.title == row.title)) {
            own.push(row);
        }
        found.push((heading, own));
    }
    let version = version.unwrap_or_else(|| document.pgbouncer().to_owned());
    let table = render(&found, &version);
    assert!(
        word.is_empty(),
        "only a part, asked for:\n{table}\n{report}"
    );
    if var("TENANTRY_BLESS").is_ok() {
        println!("{report}");
        document.write(&table);
    } else {
        let changed = differences(&document.table, &table);
        assert!(
            table == document.table,
            "docs/session-state.md says (-), but found was (+):\n{changed}\n\
             TENANTRY_BLESS=1 writes it. What is not as on direct connections of that:\n{report}"
        );
    }
}
