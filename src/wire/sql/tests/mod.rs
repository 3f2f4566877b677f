//! Texts and their effects.

mod props;

use super::*;
use Effect::{Clean, Deallocate, DeallocateAll, DiscardAll, LocalSetting};

fn check(effect: Effect, texts: &[&str]) {
    for text in texts {
        assert_eq!(survey(text.as_bytes()).effect, effect, "{text}");
    }
}

fn pins(reason: PinReason, texts: &[&str]) {
    check(Effect::Pin(reason), texts);
}

/// What drivers and applications say all day.
const CLEAN: &[&str] = &[
    "",
    " ; ;-- nothing\n/* at /* all */ */",
    "SELECT 1",
    "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
    "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2",
    "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 2, 3, 4, CURRENT_TIMESTAMP)",
    "INSERT INTO s.t(a, b) VALUES ($1, lower($2)) ON CONFLICT (a) DO UPDATE SET (b) = ROW(1) RETURNING a",
    "INSERT INTO t AS x (a) OVERRIDING SYSTEM VALUE VALUES (1)",
    "INSERT INTO temp (a) VALUES (1)",
    "INSERT INTO set_config(a) VALUES (1)",
    "DELETE FROM t USING u WHERE t.a IN (SELECT a FROM u)",
    "UPDATE t SET (a, b) = (1, 2)",
    "MERGE INTO t USING s ON (t.a = s.a) WHEN NOT MATCHED THEN INSERT (a) VALUES (s.a)",
    "SELECT count(*) FILTER (WHERE x), sum(a) OVER (PARTITION BY (b) ORDER BY c) FROM t",
    "SELECT x FROM (VALUES (1), (2)) AS v(x), (SELECT 3) w(y)",
    "SELECT * FROM t AS f(a, b) JOIN (SELECT 1) u ON (true) LEFT JOIN (a CROSS JOIN b) USING (id)",
    "WITH a(x) AS (SELECT 1), b(y, z) AS (SELECT 2, 3) SELECT * FROM a, b",
    "WITH RECURSIVE r(n) AS NOT MATERIALIZED (SELECT 1 UNION ALL SELECT n+1 FROM r) TABLE r",
    "SELECT a FROM t WHERE name ILIKE ('%' || $1) AND t.b NOT LIKE ('x') AND c IN (1,2)",
    "SELECT a::numeric(10,2), b::character varying(20), CAST(c AS varchar(3)), timestamp with time zone 'now'",
    "SELECT pg_catalog.lower('A'), \"lower\"('A'), \"pg_catalog\".\"upper\"('a'), PG_CATALOG . Upper ('a')",
    "SELECT c.relname FROM c WHERE c.relname OPERATOR(pg_catalog.~) '^(t)$' COLLATE pg_catalog.default",
    "SELECT EXTRACT(epoch FROM now()), COALESCE(a, b), NULLIF(a, 1), substring(a from 1 for 2)",
    "SELECT ARRAY(SELECT 1), ARRAY[1,2], EXISTS (SELECT 1), a = ANY ($1), ROW(1,2), GREATEST(1,2)",
    "SELECT a, count(*) FROM t GROUP BY ROLLUP (a), b ORDER BY (a)",
    "SELECT a FROM t GROUP BY GROUPING SETS ((a), ())",
    "SELECT now() AT TIME ZONE ('utc')",
    "SELECT nextval('s'), currval('s'), setval('s', 1), lastval()",
    "SELECT pg_notify('a', 'b'), pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(1, 2)",
    "SELECT pg_backend_pid(), pg_export_snapshot(), pg_reload_conf(), current_setting('a.b', true)",
    "SELECT lo_open(1, 2), lowrite(0, 'x'), lo_close(0)",
    "SELECT jsonb_build_object('a', 1), json_agg(x), to_tsvector('a'), gen_random_uuid(), random()",
    "SELECT 'set_config(''a'', ''b'', false)', $$ SET x = 1; $$, $a$ $$ LISTEN x $b$ $a$",
    "SELECT \"set_config\" FROM t; SELECT set_config FROM t",
    "SELECT E'it\\'s; SET x = 1; ' ; SELECT 'a\\b', U&'\\0041', B'01', x'ff', N'x'",
    "SELECT 1 /* ; SET x = 1; /* nested */ LISTEN a; */ -- SET y = 2\n + 1",
    "SELECT 1e5, .5, 1., 1.5e-3, $1, a[1:2], x->>'b', a <@ b, a || b, - 1, 2*/**/3",
    "SELECT a$$b FROM t; SELECT \u{e4}\u{f6} FROM \u{fc}$1",
    "SELECT 'unterminated",
    "SELECT (1",
    "VALUES (1, 2)",
    "TABLE t",
    "(SELECT 1) UNION (SELECT 2)",
    "((SELECT lower('A')))",
    "COPY t (a, b) FROM STDIN",
    "COPY (SELECT 1) TO STDOUT",
    "BEGIN; SELECT 1; COMMIT",
    "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY",
    "SAVEPOINT a; ROLLBACK TO a; RELEASE a",
    "SHOW search_path",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE VERBOSE UPDATE t SET a = 1",
    "EXPLAIN (ANALYZE, FORMAT json, COSTS off) INSERT INTO t (a) VALUES (1)",
    "EXPLAIN (SELECT 1)",
    "CREATE TABLE t (a int PRIMARY KEY, b varchar(20) DEFAULT now(), CHECK (a > 1), FOREIGN KEY (a) REFERENCES u (x))",
    "CREATE UNLOGGED TABLE IF NOT EXISTS s.t (a numeric(3), UNIQUE (a), PRIMARY KEY (a, b)) PARTITION BY RANGE (a)",
    "CREATE TABLE temp (temp int, temporary int)",
    "CREATE TABLE p PARTITION OF t FOR VALUES FROM (1) TO (2)",
    "CREATE UNIQUE INDEX CONCURRENTLY i ON s.t USING gin (a, lower(b)) INCLUDE (c) WITH (fillfactor=70)",
    "CREATE INDEX ON t (a)",
    "CREATE MATERIALIZED VIEW v (a) AS SELECT 1",
    "CREATE OR REPLACE VIEW v (a, b) AS SELECT f(1), set_config('a', 'b', false)",
    "CREATE FUNCTION f(a int) RETURNS TABLE (x int) LANGUAGE plpgsql AS $$ BEGIN SET x = 1; END $$",
    "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE 'sql' SET search_path = public RETURN g(1)",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT lower('a'); END",
    "CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f(1)",
    "CREATE SCHEMA s CREATE TABLE t (a int)",
    "CREATE TYPE mood AS ENUM ('a')",
    "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f()",
    "CREATE DATABASE d; CREATE ROLE r",
    "ALTER TABLE t ADD COLUMN a varchar(3) DEFAULT lower('A'), ADD CONSTRAINT u UNIQUE (a)",
    "ALTER TABLE IF EXISTS t SET (fillfactor = 70)",
    "ALTER SYSTEM SET work_mem = '1MB'",
    "ALTER ROLE r SET search_path = pg_temper",
    "ALTER DATABASE d SET x.y = 'z'",
    "DROP FUNCTION f(int), s.g(text)",
    "COMMENT ON FUNCTION f(int) IS 'x'",
    "GRANT EXECUTE ON FUNCTION f(int) TO r; REVOKE SELECT (a) ON t FROM PUBLIC",
    "TRUNCATE t; VACUUM (FULL) t (a); ANALYZE t(a); REINDEX (VERBOSE) TABLE t; CLUSTER; CHECKPOINT",
    "REFRESH MATERIALIZED VIEW v; SECURITY LABEL ON TABLE t IS 'x'; REASSIGN OWNED BY a TO b",
    "LOCK TABLE t IN SHARE MODE",
    "DECLARE c CURSOR FOR SELECT 1",
    "DECLARE c SCROLL CURSOR WITHOUT HOLD FOR SELECT hold FROM t",
    "FETCH ALL FROM c; MOVE 1 IN c; CLOSE c",
    "NOTIFY a, 'b'; UNLISTEN *",
    "PREPARE TRANSACTION 'x'",
    "COMMIT PREPARED 'x'; ROLLBACK PREPARED 'x'",
    "DISCARD PLANS",
    "DISCARD TEMP",
    "SET CONSTRAINTS ALL DEFERRED",
];

#[test]
fn everyday_statements_are_clean() {
    check(Clean, CLEAN);
}

#[test]
fn local_settings_end_with_the_transaction() {
    check(
        LocalSetting,
        &[
            "SET LOCAL x.y = 'z'",
            "SET LOCAL search_path TO a, \"$user\", public",
            "set local role r",
            "SET LOCAL \"X\" = 1",
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "BEGIN; SET TRANSACTION READ ONLY",
            "SELECT set_config('app.tenant', $1, true)",
            "SELECT pg_catalog.set_config('app.tenant', lower($1::text), TRUE), 1",
            "SELECT set_config('search_path', 'public', true)",
        ],
    );
    assert!(survey(b"SET LOCAL a = 1; DEALLOCATE ALL").sets_locally());
    assert!(!survey(b"SET a = 1").sets_locally());
}

#[test]
fn sole_settings_can_be_said_again() {
    check(
        Effect::Setting,
        &[
            "SET x = 1",
            "set search_path to a",
            "SET SESSION x = 1",
            "SET TIME ZONE 'UTC'",
            "RESET x",
            "SET/**/x=1",
            "/* a */ SET --\n x = 1",
            // Key words that are names.
            "SET local = 1",
            "SET local.x = 1",
            "SET transaction.x = 1",
            "SET constraints.x TO 1",
            "SET constraints TO x",
        ],
    );
}

#[test]
fn settings_pin() {
    pins(
        PinReason::Setting,
        &[
            "SET NAMES 'utf8'",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SET LOCAL SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SELECT 1; SET x = 1",
            "SET \"local\".x = 1",
            "SET session.x = 1",
            "SET LOCAL x = E'a'",
            "SELECT set_config('a', 'b', false)",
            "SELECT set_config('a', 'b', $1)",
            "SELECT set_config($1, 'b', true)",
            "SELECT s.set_config('a', 'b', true)",
            "SELECT \"SET_CONFIG\"('a', 'b', true)",
            "SELECT set_config('a', 'b', true AND false)",
            "SELECT set_config('a', 'b', true or false)",
            "SELECT set_config('search_path', 'pg_temp', true)",
            "SELECT set_config('search_path', 'pg' || '_temp', true)",
            "SELECT set_config('search_path', $1, true)",
            "SELECT set_config(setting_name => 'a', new_value => 'b', is_local => true)",
            "SELECT SET_CONFIG /* x */ ('a','b',false)",
            "SELECT \"set_config\"('a','b',false)",
            "SELECT pg_catalog.set_config('a','b',false)",
            "SELECT pg_catalog . \"set_config\" --\n ('a','b',false)",
            "SELECT * FROM set_config('a','b',false)",
            "SELECT * FROM t, LATERAL set_config('a','b',false) f(x)",
            "SELECT 1 WHERE (true) AND set_config('a','b',false) = 'b'",
            "SELECT DISTINCT ON (a) set_config('a','b',false) FROM t",
            "SELECT OPERATOR(pg_catalog.-) set_config('a','b',false)::int",
            "DELETE FROM t RETURNING WITH (OLD AS o) set_config('a','b',false)",
            "WITH x AS (SELECT set_config('a','b',false)) SELECT * FROM x",
            "INSERT INTO t SELECT set_config('a','b',false)",
            "EXPLAIN ANALYZE SELECT set_config('a','b',false)",
            "EXPLAIN (ANALYZE) (SELECT set_config('a','b',false))",
            "CREATE TABLE t AS SELECT set_config('a','b',false)",
            "CREATE INDEX ON t (set_config('a','b',false))",
            "DECLARE c CURSOR FOR SELECT set_config('a','b',false)",
            "COPY (SELECT set_config('a','b',false)) TO STDOUT",
            "SELECT 'a'\n'b', set_config('a','b',false)",
            "SELECT E'a\\\\', set_config('a','b',false) --'",
            "SELECT E'a'\n'\\'', set_config('a','b',false) --'",
            "SELECT $$'$$, set_config('a','b',false) --'",
            "SELECT 1e5$$,$$, set_config('a','b',false)",
            "SELECT /* /* */ ' */ set_config('a','b',false) --'",
            "SELECT \"a\"\"\", set_config('a','b',false) --\"",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 case; END; SET x = 1",
            "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2); SET x = 1",
            "SELECT a$$, set_config('a','b',false) /*$$*/",
        ],
    );
}

#[test]
fn the_other_reasons_pin() {
    pins(
        PinReason::Role,
        &[
            "SET ROLE r",
            "SET SESSION ROLE r",
            "set session authorization r",
            "RESET ROLE",
            "RESET SESSION AUTHORIZATION",
            "SET session_authorization = r",
            "SET role TO r",
        ],
    );
    pins(PinReason::Listen, &["LISTEN a", "/**/listen\"a\""]);
    pins(
        PinReason::TemporaryTable,
        &[
            "CREATE TEMP TABLE t (a int)",
            "CREATE TEMPORARY VIEW v AS SELECT 1",
            "create local temp table t()",
            "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
            "CREATE TEMP SEQUENCE s",
            "CREATE TABLE pg_temp.t (a int)",
            "CREATE TABLE \"pg_temp\" . t (a int)",
            "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "SELECT 1 INTO TEMP t",
            "SELECT 1 AS a INTO TEMPORARY TABLE t",
            "SELECT 1 INTO LOCAL TEMP t",
            "CREATE GLOBAL TEMPORARY TABLE t (a int)",
            "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1",
            "SET LOCAL search_path = pg_temp; CREATE TABLE t (a int)",
            "SET LOCAL search_path = 'PG_TEMP'",
            "SELECT 1; CREATE TEMP TABLE t (a int)",
        ],
    );
    pins(
        PinReason::HoldCursor,
        &[
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "declare c binary insensitive cursor with/**/hold for table t",
        ],
    );
    pins(
        PinReason::AdvisoryLock,
        &[
            "SELECT pg_advisory_lock(1)",
            "SELECT PG_TRY_ADVISORY_LOCK(1)",
            "SELECT pg_advisory_unlock(1)",
            "SELECT pg_catalog.pg_advisory_lock_shared(1)",
            "SELECT \"pg_try_advisory_lock_shared\"(1)",
        ],
    );
}

#[test]
fn what_cannot_be_carried_pins() {
    pins(
        PinReason::Prepare,
        &[
            "PREPARE a AS SELECT 1",
            "PREPARE transaction AS SELECT 1",
            "PREPARE transaction (int) AS SELECT 1",
            "DEALLOCATE a; DEALLOCATE b",
            "DEALLOCATE a b",
            "DEALLOCATE",
        ],
    );
    pins(
        PinReason::Load,
        &[
            "LOAD 'x'",
            "CREATE EXTENSION x",
            "ALTER EXTENSION x UPDATE",
            "CREATE LANGUAGE plperl",
            "CREATE FUNCTION f() RETURNS int AS 'lib' LANGUAGE C",
        ],
    );
    pins(PinReason::SetSeed, &["SELECT setseed(0.5)"]);
    pins(PinReason::Do, &["DO $$ BEGIN END $$"]);
    pins(PinReason::Call, &["CALL p(1)"]);
}

#[test]
fn what_is_not_known_is_told() {
    for text in [
        "SELECT my_function(1)",
        "SELECT s.lower('A')",
        "SELECT d.pg_catalog.lower('A')",
        "SELECT \"LOWER\"('a')",
        "SELECT treat(0.5 AS setseed)",
        "SELECT query_to_xml('SELECT 1', true, true, '')",
        "SELECT ts_stat('SELECT 1')",
        "SELECT pg_create_logical_replication_slot('a', 'b', true)",
        "SELECT x.in(1)",
        "SELECT pg_catalog.in(1)",
        "SELECT \"in\"(1)",
        "SELECT join(1)",
        "SELECT over(1)",
        "SELECT 1 AT TIME ZONE zone(1)",
        "DELETE FROM a USING hash(1)",
        "SELECT by(1)",
        "SELECT rollup(1)",
        "SELECT * FROM a JOIN b ON f(a)",
        "SELECT * FROM x, f(a, b) AS (c int)",
        "SELECT operator(1)",
        "SELECT set(1)",
        "UPDATE t SET a = set(1)",
        "ALTER TABLE t ALTER c TYPE int USING set(1)",
        "ALTER TABLE t ADD c int DEFAULT f(1)",
        "CREATE TABLE t (a int DEFAULT f())",
        "INSERT INTO t VALUES (f(1))",
        "SELECT 1 LIMIT f(1)",
        "SELECT f/**/\n(1)",
        "SELECT f --(\n(1)",
        "SELECT f(SELECTED)",
        "INSERT INTO t SELECT * FROM a JOIN b ON conflict(1)",
        "SELECT a LIKE b ESCAPE ilike(1)",
    ] {
        let survey = survey(text.as_bytes());
        let told = survey.calls_foreign() || survey.effect == Effect::Pin(PinReason::Function);
        assert!(told, "{text}: {survey:?}");
    }
    pins(
        PinReason::Unknown,
        &[
            "FROBNICATE",
            "1",
            "\\d",
            "SELECT 'a\\'",
            "SELECT 'a\\' ; SET x = 1 --'",
            "SELECT U&\"f\"(1)",
            "SELECT \0",
            "START_REPLICATION SLOT a",
            "CREATE CONVERSION a FOR 'x' TO 'y' FROM f",
            "$1$2",
            "SELECT $a",
        ],
    );
}

#[test]
fn deallocate_and_discard_have_effects_of_their_own() {
    check(
        DeallocateAll,
        &[
            "DEALLOCATE ALL",
            "deallocate prepare all;",
            "SELECT 1; DEALLOCATE ALL",
        ],
    );
    check(DiscardAll, &["DISCARD ALL", ";discard /**/ all;"]);
    check(
        Deallocate,
        &[
            "DEALLOCATE a",
            "DEALLOCATE PREPARE a",
            "DEALLOCATE prepare",
            "deallocate \"ALL\";",
        ],
    );
    let name = |text: &'static str| deallocated_name(text.as_bytes());
    assert_eq!(name("DEALLOCATE Ab_C ;").as_deref(), Some("ab_c"));
    assert_eq!(
        name("; deallocate /* x */ prepare \"A\"\"b\"").as_deref(),
        Some("A\"b")
    );
    assert_eq!(name("DEALLOCATE prepare").as_deref(), Some("prepare"));
    assert_eq!(name("DEALLOCATE \u{c4}B").as_deref(), Some("\u{c4}b"));
    for other in [
        "DEALLOCATE ALL",
        "DEALLOCATE PREPARE ALL",
        "DEALLOCATE a; SELECT 1",
        "SELECT a",
        "DEALLOCATE",
        "DEALLOCATE \"a",
    ] {
        assert_eq!(name(other), None, "{other}");
    }
    let long = format!("DEALLOCATE {}\u{e4}b", "a".repeat(62));
    assert_eq!(
        deallocated_name(long.as_bytes()),
        Some("a".repeat(62).into())
    );
}

#[test]
fn transaction_words_of_a_sole_statement() {
    use TransactionWord as T;
    for (text, word) in [
        ("BEGIN", Some(T::Begin)),
        ("start transaction read only;", Some(T::Begin)),
        (";COMMIT WORK", Some(T::Commit)),
        ("END", Some(T::Commit)),
        ("COMMIT AND NO CHAIN", Some(T::Commit)),
        ("end transaction and chain", Some(T::CommitAndChain)),
        ("ABORT", Some(T::Rollback)),
        ("ROLLBACK WORK", Some(T::Rollback)),
        ("ROLLBACK AND CHAIN", Some(T::RollbackAndChain)),
        ("ROLLBACK WORK TO SAVEPOINT a", None),
        ("ROLLBACK TO a", None),
        ("COMMIT PREPARED 'a'", None),
        ("PREPARE TRANSACTION 'a'", Some(T::PrepareTransaction)),
        ("BEGIN; COMMIT", None),
        ("SELECT 'BEGIN'", None),
    ] {
        assert_eq!(survey(text.as_bytes()).transaction, word, "{text}");
    }
    let both = survey(b"BEGIN; SELECT 1; COMMIT");
    assert!(both.several() && both.begins_block() && both.commits());
    let body = survey(b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;");
    assert!(!body.several() && !body.commits() && body.transaction.is_none());
    let behind = survey(b"CREATE FUNCTION f() BEGIN ATOMIC END; COMMIT");
    assert!(behind.several() && behind.commits() && behind.transaction.is_none());
    assert!(survey(b"COPY t FROM STDIN").copy() && !survey(b"SELECT copy FROM t").copy());
    assert!(!survey(b"SELECT 1;;").several() && survey(b"SELECT 1;SELECT 2").several());
}

#[test]
fn encodings_with_ascii_bytes_inside_characters_are_not_safe() {
    for safe in [
        "UTF8",
        "LATIN1",
        "EUC_JP",
        "SQL_ASCII",
        "WIN1252",
        "KOI8R",
        "'utf-8'",
        "Unicode",
    ] {
        assert!(encoding_is_safe(safe), "{safe}");
    }
    for unsafe_one in [
        "SJIS",
        "BIG5",
        "GBK",
        "UHC",
        "GB18030",
        "JOHAB",
        "SHIFT_JIS_2004",
        "windows-949",
        "",
    ] {
        assert!(!encoding_is_safe(unsafe_one), "{unsafe_one}");
    }
}

#[test]
fn plain_queries_take_the_short_way() {
    for text in [
        "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
        "update t set a = $1 ; ",
    ] {
        assert!(plain::is_plain_query(text.as_bytes()), "{text}");
    }
    for text in [
        "SELECT f(1)",
        "SELECT 1; SET x = 1",
        "SELECT 1 INTO TEMP t",
        "SELECT $$a$$",
        "SET x = 1",
        "",
    ] {
        assert!(!plain::is_plain_query(text.as_bytes()), "{text}");
    }
}

#[test]
fn looking_ahead_is_bounded() {
    let far = format!("SELECT f({}SELECT 1)", " ".repeat(600));
    assert!(survey(far.as_bytes()).calls_foreign());
    for cut in 490..530 {
        let text = format!("SELECT f({}SELECTED)", " ".repeat(cut));
        assert!(survey(text.as_bytes()).calls_foreign(), "{cut}");
    }
}

#[test]
fn what_runs_elsewhere_is_told() {
    let execute = survey(b"EXECUTE a(1)");
    assert_eq!((execute.effect, execute.executes()), (Clean, true));
    for text in [
        "UPDATE pg_settings SET setting = '1'",
        "update only pg_settings set a = b",
    ] {
        assert!(!survey(text.as_bytes()).leaves.is_empty(), "{text}");
    }
    for text in [
        "SET seed = 0.5",
        "SET LOCAL seed TO 1",
        "SET SESSION seed = 1",
    ] {
        let leaves = survey(text.as_bytes()).leaves;
        assert!(leaves.contains(PinReason::SetSeed), "{text}");
    }
    assert!(survey(b"SELECT currval('s')").reads_sequences());
    assert!(survey(b"UNLISTEN *").releases() && !survey(b"SELECT 1").releases());
    assert!(survey(b"SELECT f(1)").calls_foreign() && !survey(b"SELECT abs(1)").calls_foreign());
    assert!(survey(b"INSERT INTO t VALUES (1)").reaches() && !survey(b"SHOW x").reaches());
}

#[test]
fn reset_all_is_told_apart() {
    let release = survey(b"SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;");
    assert_eq!((release.effect, release.resets()), (Clean, true));
    assert!(!survey(b"RESET x").resets() && !survey(b"DISCARD ALL").resets());
}
