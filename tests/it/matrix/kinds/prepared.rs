//! Statements that SQL or the protocol prepared.

use super::super::kind::{Kind, kind};

pub fn kinds() -> Vec<Kind> {
    let mut all = sql();
    all.extend(protocol());
    all
}

fn plan(title: &'static str) -> Kind {
    kind(title).look("EXECUTE p(2)")
}

fn sql() -> Vec<Kind> {
    let prepare = "PREPARE p(int) AS SELECT $1 + 40";
    vec![
        plan("PREPARE and EXECUTE")
            .says(prepare)
            .says("EXECUTE p(1)"),
        plan("PREPARE, committed").says_all(&["BEGIN", prepare, "COMMIT"]),
        plan("PREPARE, rolled back, which keeps it").says_all(&["BEGIN", prepare, "ROLLBACK"]),
        plan("PREPARE in DO")
            .says("DO $$ BEGIN EXECUTE 'PREPARE p(int) AS SELECT $1 + 40'; END $$"),
        plan("PREPARE in a string").together(&["SELECT 1", "PREPARE p(int) AS SELECT $1 + 40"]),
        plan("DEALLOCATE").says(prepare).says("DEALLOCATE p"),
        plan("DEALLOCATE ALL").says(prepare).says("DEALLOCATE ALL"),
        plan("PREPARE and DISCARD ALL")
            .says(prepare)
            .says("DISCARD ALL"),
        plan("PREPARE of what another session has prepared otherwise")
            .other_says("PREPARE p(int) AS SELECT $1 + 90")
            .says(prepare),
        plan("EXECUTE of what nobody has prepared").says("EXECUTE p(1)"),
        kind("PREPARE of a SET-like SELECT")
            .says("PREPARE s(text) AS SELECT set_config('work_mem', $1, false)")
            .says("EXECUTE s('7MB')")
            .look("SHOW work_mem"),
    ]
}

fn protocol() -> Vec<Kind> {
    let look = |title| kind(title).look("SELECT 1");
    vec![
        look("a statement prepared by the protocol")
            .prepares("p", "SELECT $1::int + 40")
            .executes("p", &["1"])
            .executes("p", &["2"]),
        look("two sessions that prepare different things under one name")
            .prepares("p", "SELECT $1::int + 40")
            .other_prepares("p", "SELECT $1::int + 90")
            .executes("p", &["1"])
            .other_executes("p", &["1"])
            .executes("p", &["2"]),
        look("one that is closed")
            .prepares("p", "SELECT $1::int + 40")
            .closes("p")
            .other_prepares("p", "SELECT $1::int + 90")
            .executes("p", &["1"]),
        look("one that was prepared twice, an error")
            .prepares("p", "SELECT $1::int + 40")
            .prepares("p", "SELECT $1::int + 90")
            .executes("p", &["1"]),
        look("one prepared in a transaction that is rolled back, which keeps it")
            .says("BEGIN")
            .prepares("p", "SELECT $1::int + 40")
            .says("ROLLBACK")
            .executes("p", &["1"]),
        look("one that another session's DEALLOCATE ALL does not reach")
            .prepares("p", "SELECT $1::int + 40")
            .other_says("DEALLOCATE ALL")
            .executes("p", &["1"]),
        look("DEALLOCATE ALL of what the protocol prepared")
            .prepares("p", "SELECT $1::int + 40")
            .says("DEALLOCATE ALL")
            .executes("p", &["1"]),
        look("DEALLOCATE of what the protocol prepared")
            .prepares("p", "SELECT $1::int + 40")
            .says("DEALLOCATE p")
            .executes("p", &["1"]),
        look("DISCARD ALL of what the protocol prepared")
            .prepares("p", "SELECT $1::int + 40")
            .says("DISCARD ALL")
            .executes("p", &["1"]),
        plan("SQL EXECUTE of what the protocol prepared").prepares("p", "SELECT $1::int + 40"),
        look("Bind of what SQL prepared")
            .says("PREPARE p(int) AS SELECT $1 + 40")
            .executes("p", &["1"]),
        look("one prepared before a SET that it depends on")
            .prepares("p", "SELECT '2024-01-01 00:00'::timestamptz::text")
            .executes("p", &[])
            .says("SET TimeZone = 'Asia/Tokyo'")
            .executes("p", &[]),
        kind("pg_prepared_statements")
            .prepares("p", "SELECT $1::int + 40")
            .look("SELECT name FROM pg_prepared_statements WHERE name <> '' ORDER BY 1")
            .may_differ(),
    ]
}
