//! Settings that are set by other means than SET.

use super::super::kind::{Kind, kind};

pub fn kinds() -> Vec<Kind> {
    let mut all = calls();
    all.extend(bound());
    all.extend(within());
    all
}

fn mem(title: &'static str) -> Kind {
    kind(title).look("SHOW work_mem")
}

fn my(title: &'static str) -> Kind {
    kind(title).look("SELECT coalesce(current_setting('my.x', true), '')")
}

fn calls() -> Vec<Kind> {
    vec![
        mem("set_config").says("SELECT set_config('work_mem', '7MB', false)"),
        my("set_config of a custom setting").says("SELECT set_config('my.x', 'mine', false)"),
        my("set_config, local, in a block").says_all(&[
            "BEGIN",
            "SELECT set_config('my.x', 'mine', true)",
            "SELECT current_setting('my.x')",
            "COMMIT",
        ]),
        mem("set_config, local, outside of a block")
            .says("SELECT set_config('work_mem', '7MB', true)"),
        mem("set_config, rolled back").says_all(&[
            "BEGIN",
            "SELECT set_config('work_mem', '7MB', false)",
            "ROLLBACK",
        ]),
        mem("set_config, committed").says_all(&[
            "BEGIN",
            "SELECT pg_catalog.set_config('work_mem', '7MB', false)",
            "COMMIT",
        ]),
        mem("set_config behind a savepoint that is rolled back to").says_all(&[
            "BEGIN",
            "SELECT set_config('work_mem', '6MB', false)",
            "SAVEPOINT s",
            "SELECT set_config('work_mem', '7MB', false)",
            "ROLLBACK TO s",
            "COMMIT",
        ]),
        mem("two set_config in one SELECT")
            .says("SELECT set_config('work_mem', '7MB', false), set_config('jit', 'off', false)")
            .look("SHOW jit"),
        kind("set_config of search_path")
            .says("SELECT pg_catalog.set_config('search_path', '', false)")
            .look("SHOW search_path"),
        kind("set_config of a list in search_path")
            .says("SELECT set_config('search_path', 'app, public', false)")
            .look("SHOW search_path")
            .look("SELECT current_schemas(false)::text"),
    ]
}

fn bound() -> Vec<Kind> {
    vec![
        my("set_config, value bound").bound("SELECT set_config('my.x', $1, false)", &["mine"]),
        my("set_config, name and value bound")
            .bound("SELECT set_config($1, $2, false)", &["my.x", "mine"]),
        my("set_config, all bound")
            .bound("SELECT set_config($1, $2, $3)", &["my.x", "mine", "false"]),
        my("set_config, all bound, local")
            .bound("SELECT set_config($1, $2, $3)", &["my.x", "mine", "true"]),
        my("set_config, prepared and executed with other values")
            .prepares("set", "SELECT set_config('my.x', $1, false)")
            .executes("set", &["first"])
            .executes("set", &["mine"]),
    ]
}

fn within() -> Vec<Kind> {
    let function = |title| {
        kind(title).setup(
            "CREATE FUNCTION configure(name text, value text) RETURNS void LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM set_config(name, value, false); END $$",
        )
    };
    vec![
        mem("set_config in a string").together(&["SELECT 1", "SELECT set_config('work_mem', '7MB', false)"]),
        mem("set_config in a CTE").says(
            "WITH s AS MATERIALIZED (SELECT set_config('work_mem', '7MB', false) AS v) SELECT v FROM s",
        ),
        mem("set_config of what a query finds").says(
            "SELECT set_config(name, value, false) FROM (VALUES ('work_mem', '7MB')) AS v(name, value)",
        ),
        mem("set_config in VALUES").says("VALUES (set_config('work_mem', '7MB', false))"),
        mem("UPDATE pg_settings").says("UPDATE pg_settings SET setting = '7168' WHERE name = 'work_mem'"),
        mem("set_config in DO").says("DO $$ BEGIN PERFORM set_config('work_mem', '7MB', false); END $$"),
        my("set_config of a custom setting in DO")
            .says("DO $$ BEGIN PERFORM set_config('my.x', 'mine', false); END $$"),
        mem("SET in DO").says("DO $$ BEGIN SET work_mem = '7MB'; END $$"),
        my("SET of a custom setting in DO, by EXECUTE")
            .says("DO $$ BEGIN EXECUTE format('SET my.x = %L', 'mine'); END $$"),
        mem("SET in DO, undone by an exception").says(
            "DO $$ BEGIN SET work_mem = '7MB'; RAISE 'no'; EXCEPTION WHEN others THEN NULL; END $$",
        ),
        function("set_config in a function")
            .says("SELECT configure('work_mem', '7MB')")
            .look("SHOW work_mem"),
        function("set_config of a custom setting in a function")
            .says("SELECT configure('my.x', 'mine')")
            .look("SELECT coalesce(current_setting('my.x', true), '')")
            .may_be_lost(),
        mem("SET in a procedure that commits")
            .setup(
                "CREATE PROCEDURE configure() LANGUAGE plpgsql AS \
                 $$ BEGIN SET work_mem = '7MB'; COMMIT; SET work_mem = '8MB'; ROLLBACK; END $$",
            )
            .says("CALL configure()"),
        mem("a function with a setting of its own, which ends with it")
            .setup(
                "CREATE FUNCTION inside() RETURNS text LANGUAGE sql SET work_mem = '9MB' \
                 AS $$ SELECT current_setting('work_mem') $$",
            )
            .says("SELECT inside()"),
    ]
}
