//! Which statements may go to a standby, held against a real one.
//!
//! The tables name statements and where they go. Each one that goes to a replica runs on a streaming
//! standby and on its primary, as a role that is no superuser, and the answers must be alike. Each one
//! that stays on the primary says why: the standby refuses it (and does, here), answers otherwise
//! (and does), or may do so in a way that cannot be told from the text and the catalog.

mod builtin;
mod own;
mod refused;
mod sweep;
mod world;

use tenantry::session::{Catalog, ReadCache};
use tenantry::wire::sql::Unfit;

use world::World;

/// A line of a table.
pub(crate) struct Line {
    text: &'static str,
    goes: To,
}

/// Where a statement goes.
#[derive(Clone, Copy)]
enum To {
    Replica,
    /// Why it stays, and why that is right.
    Primary(Unfit, Why),
}

/// Why a statement must stay on the primary.
#[derive(Clone, Copy)]
enum Why {
    /// The standby refuses it, with this code.
    Fails(&'static str),
    /// The standby answers otherwise.
    Differs,
    /// It is not sure, or not worth the while; a note says what would be.
    Doubt(&'static str),
}

pub(crate) const fn replica(text: &'static str) -> Line {
    Line {
        text,
        goes: To::Replica,
    }
}

pub(crate) const fn fails(text: &'static str, reason: Unfit, code: &'static str) -> Line {
    Line {
        text,
        goes: To::Primary(reason, Why::Fails(code)),
    }
}

pub(crate) const fn differs(text: &'static str, reason: Unfit) -> Line {
    Line {
        text,
        goes: To::Primary(reason, Why::Differs),
    }
}

pub(crate) const fn doubt(text: &'static str, reason: Unfit, note: &'static str) -> Line {
    Line {
        text,
        goes: To::Primary(reason, Why::Doubt(note)),
    }
}

/// What is wrong with a line, if anything.
fn fault(line: &Line, world: &World, catalog: &Catalog, cache: &mut ReadCache) -> Option<String> {
    let verdict = cache.verdict(line.text.as_bytes(), catalog, 1);
    let expected = match line.goes {
        To::Replica => Ok(()),
        To::Primary(reason, _) => Err(reason),
    };
    if verdict != expected {
        return Some(format!("is {verdict:?}, not {expected:?}"));
    }
    match line.goes {
        To::Replica | To::Primary(_, Why::Differs) => {
            let (primary, standby) = (world.primary.ask(line.text), world.standby.ask(line.text));
            match (primary, standby) {
                (Ok(one), Ok(other)) if (one == other) == matches!(line.goes, To::Replica) => None,
                (one, other) => Some(format!("answers: {one:?} and {other:?}")),
            }
        }
        To::Primary(_, Why::Fails(code)) => match world.standby.ask(line.text) {
            Err(error) if error == code => None,
            other => Some(format!("on the standby: {other:?}, not {code}")),
        },
        To::Primary(_, Why::Doubt(note)) => note.is_empty().then(|| "lacks a note".to_owned()),
    }
}

#[test]
fn statements_go_where_they_are_answered_alike() {
    let world = World::start();
    let catalog = world.primary.catalog();
    let mut cache = ReadCache::default();
    let tables = [builtin::LINES, own::LINES, refused::LINES];
    let lines: Vec<&Line> = tables.into_iter().flatten().collect();
    let faults: Vec<String> = lines
        .iter()
        .filter_map(|line| {
            fault(line, &world, &catalog, &mut cache).map(|f| format!("{}\n    {f}", line.text))
        })
        .collect();
    assert!(
        faults.is_empty(),
        "{} of {} statements:\n{}",
        faults.len(),
        lines.len(),
        faults.join("\n")
    );
    sweep::functions(&world);
    sweep::relations(&world);
    println!("{} statements", lines.len());
}
