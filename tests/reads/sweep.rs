//! All that the server's own catalog has, whichever version it is.

use tenantry::wire::sql::reads_only;

use crate::world::{Rows, World};

/// No volatile function of `pg_catalog` may be called on a standby.
pub(crate) fn functions(world: &World) {
    let names = world.primary.ask_all(
        "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace \
         AND provolatile = 'v' AND prokind <> 'p' \
         AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)",
    );
    let passed: Vec<String> = first_column(names.expect("names"))
        .filter(|name| reads_only(format!("SELECT \"{name}\"()").as_bytes()).is_ok())
        .collect();
    assert_eq!(passed, [""; 0]);
}

/// Each relation of `pg_catalog` and `information_schema` that may be read on a standby says there what
/// it says on the primary.
pub(crate) fn relations(world: &World) {
    let names = world.primary.ask_all(
        "SELECT oid::regclass FROM pg_class WHERE relkind IN ('r', 'v') \
         AND relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)",
    );
    let mut compared = 0;
    for name in first_column(names.expect("names")) {
        let text = format!("TABLE {name}");
        if reads_only(text.as_bytes()).is_err() {
            continue;
        }
        let (primary, standby) = (world.primary.ask_all(&text), world.standby.ask_all(&text));
        assert_eq!(sorted(primary), sorted(standby), "{name}");
        compared += 1;
    }
    assert!(compared > 100, "{compared}");
}

fn first_column(rows: Rows) -> impl Iterator<Item = String> {
    rows.into_iter().filter_map(|mut row| row.swap_remove(0))
}

fn sorted(rows: Result<Rows, String>) -> Result<Rows, String> {
    rows.map(|mut rows| {
        rows.sort();
        rows
    })
}
