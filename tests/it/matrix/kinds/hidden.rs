//! State that the text of a statement does not show: only the catalog, or the server, can tell.

use super::super::kind::{Kind, kind};

pub fn kinds() -> Vec<Kind> {
    let mut all = tables();
    all.extend(functions());
    all.extend(others());
    all.extend(dynamic());
    all
}

/// A function of the user's that sets something.
const SET: &str = "CREATE FUNCTION hidden() RETURNS text LANGUAGE plpgsql AS \
                   $$ BEGIN RETURN set_config('work_mem', '7MB', false); END $$";
/// The same as a trigger.
const TRIGGER: &str = "CREATE FUNCTION hidden() RETURNS trigger LANGUAGE plpgsql AS \
                       $$ BEGIN PERFORM set_config('work_mem', '7MB', false); RETURN NEW; END $$";

fn mem(title: &'static str) -> Kind {
    kind(title).look("SHOW work_mem")
}

/// What hangs on tables and views.
fn tables() -> Vec<Kind> {
    vec![
        mem("a view that calls set_config")
            .setup("CREATE VIEW v AS SELECT set_config('work_mem', '7MB', false) AS v")
            .setup("GRANT SELECT ON v TO {me}")
            .says("SELECT v FROM v"),
        kind("a view that sets a custom setting")
            .setup("CREATE VIEW v AS SELECT set_config('my.x', 'mine', false) AS v")
            .setup("GRANT SELECT ON v TO {me}")
            .says("TABLE v")
            .look("SELECT coalesce(current_setting('my.x', true), '')")
            .may_be_lost(),
        mem("a trigger that sets")
            .setup(TRIGGER)
            .setup("CREATE TABLE t (v int)")
            .setup("GRANT ALL ON t TO {me}")
            .setup("CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION hidden()")
            .says("INSERT INTO t VALUES (1)"),
        mem("a column default that sets")
            .setup(SET)
            .setup("CREATE TABLE t (v int, d text DEFAULT hidden())")
            .setup("GRANT ALL ON t TO {me}")
            .says("INSERT INTO t VALUES (1)"),
        mem("a column default that calls set_config")
            .setup("CREATE TABLE t (v int, d text DEFAULT set_config('work_mem', '7MB', false))")
            .setup("GRANT ALL ON t TO {me}")
            .says("INSERT INTO t VALUES (1)"),
        mem("a check that sets")
            .setup(SET)
            .setup("CREATE TABLE t (v int CHECK (hidden() <> ''))")
            .setup("GRANT ALL ON t TO {me}")
            .says("INSERT INTO t VALUES (1)"),
        mem("a rule that sets")
            .setup("CREATE TABLE t (v int)")
            .setup("CREATE RULE r AS ON INSERT TO t DO ALSO SELECT set_config('work_mem', '7MB', false)")
            .setup("GRANT ALL ON t TO {me}")
            .says("INSERT INTO t VALUES (1)"),
        mem("a policy that sets")
            .setup(SET)
            .setup("CREATE TABLE t AS SELECT 1 AS v")
            .setup("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
            .setup("CREATE POLICY p ON t USING (hidden() <> '')")
            .setup("GRANT ALL ON t TO {me}")
            .says("SELECT v FROM t"),
    ]
}

/// What a name or an operator leads to.
fn functions() -> Vec<Kind> {
    vec![
        mem("an operator that sets")
            .setup("CREATE FUNCTION hidden(text, text) RETURNS text LANGUAGE sql AS $$ SELECT set_config($1, $2, false) $$")
            .setup("CREATE OPERATOR public.## (FUNCTION = hidden, LEFTARG = text, RIGHTARG = text)")
            .says("SELECT 'work_mem'::text ## '7MB'::text"),
        mem("a cast that sets")
            .setup("CREATE TYPE wish AS (v text)")
            .setup("CREATE FUNCTION hidden(wish) RETURNS int LANGUAGE sql AS $$ SELECT length(set_config('work_mem', $1.v, false)) $$")
            .setup("CREATE CAST (wish AS int) WITH FUNCTION hidden(wish)")
            .says("SELECT ROW('7MB')::wish::int"),
        mem("a function that is nearer than a built-in: lower(varchar)")
            .setup("CREATE FUNCTION public.lower(varchar) RETURNS text LANGUAGE sql AS $$ SELECT set_config('work_mem', '7MB', false) $$")
            .says("SELECT lower('A'::varchar)"),
        mem("a function of the user's that is called like a column")
            .setup("CREATE TABLE t AS SELECT 1 AS v")
            .setup("GRANT ALL ON t TO {me}")
            .setup("CREATE FUNCTION hidden(t) RETURNS text LANGUAGE sql AS $$ SELECT set_config('work_mem', '7MB', false) $$")
            .says("SELECT t.hidden FROM t"),
        mem("an event trigger that sets")
            .setup("CREATE FUNCTION hidden() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN SET work_mem = '7MB'; END $$")
            .setup("CREATE EVENT TRIGGER {me}_e ON ddl_command_end EXECUTE FUNCTION hidden()")
            .setup("CREATE SCHEMA own AUTHORIZATION {me}")
            .says("COMMENT ON SCHEMA own IS 'x'"),
        mem("an aggregate that sets")
            .setup("CREATE FUNCTION hidden(text, text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('work_mem', $2, false) $$")
            .setup("CREATE AGGREGATE wish(text) (SFUNC = hidden, STYPE = text)")
            .says("SELECT wish('7MB')"),
        kind("a setting of an extension in C")
            .setup("CREATE EXTENSION pg_trgm")
            .says("SELECT set_limit(0.7)")
            .look("SELECT show_limit()"),
    ]
}

fn others() -> Vec<Kind> {
    let held = |title| {
        kind(title)
            .look("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
            .look("SELECT pg_try_advisory_xact_lock(7)")
    };
    vec![
        held("a view that takes an advisory lock")
            .setup("CREATE VIEW v AS SELECT pg_try_advisory_lock(7) AS v")
            .setup("GRANT SELECT ON v TO {me}")
            .says("SELECT v FROM v"),
        held("a trigger that takes an advisory lock, rolled back")
            .setup("CREATE FUNCTION hidden() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(7); RETURN NEW; END $$")
            .setup("CREATE TABLE t (v int)")
            .setup("GRANT ALL ON t TO {me}")
            .setup("CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION hidden()")
            .says_all(&["BEGIN", "INSERT INTO t VALUES (1)", "ROLLBACK"]),
        kind("a trigger that makes a temporary table")
            .setup("CREATE FUNCTION hidden() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE IF NOT EXISTS tt (v int); RETURN NEW; END $$")
            .setup("CREATE TABLE t (v int)")
            .setup("GRANT ALL ON t TO {me}")
            .setup("CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION hidden()")
            .says("INSERT INTO t VALUES (1)")
            .look("SELECT count(*) FROM tt"),
        kind("a view that calls setseed")
            .setup("SELECT setseed(0.5)")
            .setup("CREATE TABLE seeded AS SELECT random() AS v FROM generate_series(1, 50)")
            .setup("CREATE VIEW v AS SELECT setseed(0.5) IS NULL AS v")
            .setup("GRANT SELECT ON seeded, v TO {me}")
            .says("SELECT v FROM v")
            .look("WITH r AS MATERIALIZED (SELECT random() AS v) SELECT count(*) FROM r JOIN seeded USING (v)"),
        kind("a connection of dblink")
            .setup("CREATE EXTENSION dblink")
            .superuser()
            .says("SELECT dblink_connect('link', 'host=127.0.0.1 password=server-secret port=' || current_setting('port') || ' user={me} dbname={me}')")
            .look("SELECT dblink_get_connections()::text"),
    ]
}

fn dynamic() -> Vec<Kind> {
    let runs = |title| {
        kind(title).setup("CREATE FUNCTION run(sql text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE sql; END $$")
    };
    vec![
        runs("dynamic SQL that makes a temporary table")
            .says("SELECT run('CREATE TEMP TABLE tt (v int)')")
            .look("SELECT count(*) FROM tt"),
        runs("dynamic SQL that sets")
            .says("SELECT run('SET work_mem = ''7MB''')")
            .look("SHOW work_mem"),
        runs("dynamic SQL that sets a custom setting")
            .says("SELECT run('SET my.x = ''mine''')")
            .look("SELECT coalesce(current_setting('my.x', true), '')")
            .may_be_lost(),
        runs("dynamic SQL that sets the role")
            .setup("CREATE ROLE {me}_reader; GRANT {me}_reader TO {me}")
            .says("SELECT run('SET ROLE {me}_reader')")
            .look("SELECT current_user"),
        runs("dynamic SQL that listens")
            .says("SELECT run('LISTEN news')")
            .other_says("NOTIFY news, 'hello'")
            .hears()
            .look("SELECT count(*) FROM pg_listening_channels()"),
        runs("dynamic SQL that prepares")
            .says("SELECT run('PREPARE p(int) AS SELECT $1 + 40')")
            .look("EXECUTE p(2)"),
        runs("dynamic SQL that declares a cursor")
            .says("SELECT run('DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 9)')")
            .look("FETCH 2 FROM c"),
        runs("dynamic SQL that takes an advisory lock")
            .says("SELECT run('SELECT pg_advisory_lock(7)')")
            .look("SELECT pg_try_advisory_xact_lock(7)"),
        runs("dynamic SQL behind a view")
            .setup("CREATE VIEW v AS SELECT run('SET work_mem = ''7MB''')::text AS v")
            .setup("GRANT SELECT ON v TO {me}")
            .says("SELECT v FROM v")
            .look("SHOW work_mem"),
    ]
}
