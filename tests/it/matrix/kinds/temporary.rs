//! Temporary tables, views, sequences, functions.

use super::super::kind::{Kind, kind};

pub fn kinds() -> Vec<Kind> {
    let mut all = made();
    all.extend(gone());
    all
}

fn rows(title: &'static str) -> Kind {
    kind(title).look("SELECT count(*) FROM tt")
}

fn made() -> Vec<Kind> {
    vec![
        rows("CREATE TEMP TABLE")
            .says("CREATE TEMP TABLE tt (v int)")
            .says("INSERT INTO tt VALUES (1), (2)"),
        rows("CREATE TEMPORARY TABLE AS").says("CREATE TEMPORARY TABLE tt AS SELECT 1 AS v"),
        rows("SELECT INTO TEMP").says("SELECT 1 AS v INTO TEMP tt"),
        rows("a temporary table in a block").says_all(&[
            "BEGIN",
            "CREATE TEMP TABLE tt (v int)",
            "COMMIT",
        ]),
        rows("a temporary table that keeps no rows")
            .says("CREATE TEMP TABLE tt (v int) ON COMMIT DELETE ROWS")
            .says("INSERT INTO tt VALUES (1)"),
        rows("a table in pg_temp").says("CREATE TABLE pg_temp.tt (v int)"),
        rows("a table made while search_path begins with pg_temp")
            .says("SET search_path = pg_temp, public")
            .says("CREATE TABLE tt (v int)")
            .says("SET search_path = public"),
        rows("a temporary table before a permanent one of its name")
            .setup("CREATE TABLE tt AS SELECT generate_series(1, 5)")
            .setup("GRANT SELECT ON tt TO {me}")
            .says("CREATE TEMP TABLE tt (v int)"),
        rows("a temporary table made by DO")
            .says("DO $$ BEGIN CREATE TEMP TABLE tt (v int); END $$"),
        rows("CREATE TEMP VIEW").says("CREATE TEMP VIEW tt AS SELECT 1 AS v"),
        kind("CREATE TEMP SEQUENCE")
            .says("CREATE TEMP SEQUENCE ts")
            .look("SELECT last_value FROM ts"),
        kind("a function in pg_temp")
            .says("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 7'")
            .look("SELECT pg_temp.f()"),
        kind("a type in pg_temp")
            .says("CREATE TYPE pg_temp.pair AS (a int, b int)")
            .look("SELECT to_regtype('pg_temp.pair') IS NOT NULL"),
    ]
}

fn gone() -> Vec<Kind> {
    vec![
        rows("a temporary table, ON COMMIT DROP").says_all(&[
            "BEGIN",
            "CREATE TEMP TABLE tt (v int) ON COMMIT DROP",
            "INSERT INTO tt VALUES (1)",
            "SELECT count(*) FROM tt",
            "COMMIT",
        ]),
        rows("a temporary table, rolled back").says_all(&[
            "BEGIN",
            "CREATE TEMP TABLE tt (v int)",
            "ROLLBACK",
        ]),
        rows("a temporary table behind a savepoint that is rolled back to").says_all(&[
            "BEGIN",
            "SAVEPOINT s",
            "CREATE TEMP TABLE tt (v int)",
            "ROLLBACK TO s",
            "COMMIT",
        ]),
        rows("a temporary table, dropped")
            .says("CREATE TEMP TABLE tt (v int)")
            .says("DROP TABLE tt"),
        rows("DISCARD TEMP")
            .says("CREATE TEMP TABLE tt (v int)")
            .says("DISCARD TEMP"),
        rows("a temporary table and DISCARD ALL")
            .says("CREATE TEMP TABLE tt (v int)")
            .says("DISCARD ALL"),
    ]
}
