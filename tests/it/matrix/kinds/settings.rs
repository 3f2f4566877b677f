//! SET and RESET by what they set.

use super::super::kind::{Kind, kind};

pub fn kinds() -> Vec<Kind> {
    let mut all = plain();
    all.extend(formats());
    all.extend(resets());
    all.extend(characteristics());
    all
}

fn plain() -> Vec<Kind> {
    let paths = |title| {
        kind(title)
            .setup("CREATE SCHEMA app")
            .setup("CREATE TABLE app.thing AS SELECT 'of app' AS v")
            .setup("CREATE TABLE public.thing AS SELECT 'of public' AS v")
            .setup("GRANT USAGE ON SCHEMA app TO {me}")
            .setup("GRANT SELECT ON app.thing, public.thing TO {me}")
    };
    let which = "SELECT v, current_schemas(true)::text FROM thing";
    vec![
        kind("SET")
            .says("SET work_mem = '7MB'")
            .look("SHOW work_mem"),
        kind("SET SESSION .. TO, a number")
            .says("SET SESSION work_mem TO 7168")
            .look("SHOW work_mem"),
        kind("SET that fails")
            .says("SET work_mem = 'no such size'")
            .look("SHOW work_mem"),
        kind("SET of a custom setting")
            .says("SET my.x = 'mine'")
            .look("SELECT coalesce(current_setting('my.x', true), '')"),
        kind("a custom setting that only others have set")
            .other_says("SET my.theirs = 'theirs'")
            .look("SELECT current_setting('my.theirs', true)")
            .may_differ(),
        paths("search_path")
            .says("SET search_path = app, \"$user\", Public")
            .look(which)
            .look("SHOW search_path"),
        paths("SET SCHEMA").says("SET SCHEMA 'app'").look(which),
        kind("statement_timeout")
            .says("SET statement_timeout = '30s'")
            .look("SHOW statement_timeout"),
        kind("limits below a second")
            .says("SET lock_timeout = '90ms'")
            .look("SHOW lock_timeout"),
        kind("what ends idle connections")
            .says("SET idle_session_timeout = '10min'")
            .look("SHOW idle_session_timeout"),
        kind("application_name")
            .says("SET application_name = 'mine'")
            .look("SHOW application_name")
            .look("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"),
        kind("settings of the planner")
            .says("SET enable_seqscan TO off")
            .says("SET plan_cache_mode = force_generic_plan")
            .look("SHOW enable_seqscan")
            .look("SHOW plan_cache_mode"),
        kind("row_security")
            .says("SET row_security = off")
            .look("SHOW row_security"),
        kind("session_replication_role")
            .superuser()
            .says("SET session_replication_role = replica")
            .look("SHOW session_replication_role"),
    ]
}

/// What changes how values are read and written.
fn formats() -> Vec<Kind> {
    vec![
        kind("DateStyle")
            .says("SET DateStyle = 'German, DMY'")
            .look("SELECT '2024-02-01'::date, '03/04/2024'::date"),
        kind("DateStyle in two parts")
            .says("SET DateStyle = 'SQL'")
            .says("SET DateStyle = 'DMY'")
            .look("SHOW DateStyle"),
        kind("IntervalStyle")
            .says("SET IntervalStyle = 'iso_8601'")
            .look("SELECT '1 day 2 hours'::interval"),
        kind("TimeZone")
            .says("SET TIME ZONE 'Asia/Tokyo'")
            .look("SELECT '2024-01-01 00:00Z'::timestamptz")
            .look("SHOW TimeZone"),
        kind("TIME ZONE INTERVAL")
            .says("SET TIME ZONE INTERVAL '+05:30' HOUR TO MINUTE")
            .look("SELECT '2024-01-01 00:00Z'::timestamptz")
            .look("SHOW TimeZone"),
        kind("TIME ZONE LOCAL")
            .says("SET TIME ZONE 'Asia/Tokyo'")
            .says("SET TIME ZONE LOCAL")
            .look("SHOW TimeZone"),
        kind("bytea_output")
            .says("SET bytea_output = 'escape'")
            .look("SELECT '\\x6100ff'::bytea"),
        kind("extra_float_digits")
            .says("SET extra_float_digits = 0")
            .look("SELECT 0.1::float8 + 0.2::float8"),
        kind("client_encoding")
            .says("SET client_encoding = 'LATIN1'")
            .look("SELECT chr(233), chr(252)")
            .look("SHOW client_encoding"),
        kind("SET NAMES")
            .says("SET NAMES 'LATIN1'")
            .look("SELECT chr(233)"),
        kind("client_encoding with ASCII bytes in characters")
            .says("SET client_encoding = 'SJIS'")
            .look("SELECT chr(12477)"),
        kind("standard_conforming_strings")
            .says("SET standard_conforming_strings = off")
            .look("SELECT 'a\\\\b'")
            .look("SHOW standard_conforming_strings"),
        kind("backslash_quote")
            .says("SET backslash_quote = off")
            .look("SHOW backslash_quote"),
        kind("a value outside of ASCII")
            .says("SET my.x = 'é'")
            .look("SELECT coalesce(current_setting('my.x', true), '')"),
        kind("lc_numeric")
            .says("SET lc_numeric = 'C'")
            .says("SET lc_monetary = 'C'")
            .look("SELECT 12.5::numeric::money"),
        kind("xmloption")
            .says("SET XML OPTION DOCUMENT")
            .look("SHOW xmloption"),
    ]
}

fn resets() -> Vec<Kind> {
    let both = |title| {
        kind(title)
            .says("SET work_mem = '7MB'")
            .says("SET TimeZone = 'Asia/Tokyo'")
            .look("SHOW work_mem")
            .look("SHOW TimeZone")
    };
    vec![
        both("RESET").says("RESET work_mem"),
        both("SET TO DEFAULT").says("SET work_mem TO DEFAULT"),
        both("RESET of one of two")
            .says("SET work_mem = '8MB'")
            .says("RESET TimeZone"),
        both("RESET ALL").says("RESET ALL"),
        both("RESET ALL in a block").says_all(&["BEGIN", "RESET ALL", "COMMIT"]),
        both("RESET ALL in a block that is rolled back").says_all(&[
            "BEGIN",
            "RESET ALL",
            "ROLLBACK",
        ]),
        both("RESET ALL behind a savepoint that is rolled back to").says_all(&[
            "BEGIN",
            "SAVEPOINT s",
            "RESET ALL",
            "ROLLBACK TO s",
            "COMMIT",
        ]),
        both("DISCARD ALL").says("DISCARD ALL"),
        both("DISCARD ALL in a block, which fails").says_all(&["BEGIN", "DISCARD ALL", "COMMIT"]),
        both("DISCARD PLANS").says("DISCARD PLANS"),
    ]
}

fn characteristics() -> Vec<Kind> {
    let table = |title| {
        kind(title)
            .setup("CREATE TABLE t (v int)")
            .setup("GRANT ALL ON t TO {me}")
    };
    vec![
        kind("SET SESSION CHARACTERISTICS, isolation")
            .says("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            .look("SHOW transaction_isolation")
            .look("SHOW default_transaction_isolation"),
        table("SET SESSION CHARACTERISTICS, READ ONLY")
            .says("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            .look("UPDATE t SET v = 1"),
        kind("SET SESSION CHARACTERISTICS, DEFERRABLE")
            .says("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE")
            .look("SHOW transaction_deferrable"),
        kind("SET SESSION CHARACTERISTICS, rolled back")
            .says_all(&["BEGIN", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "ROLLBACK"])
            .look("SHOW transaction_read_only"),
        kind("default_transaction_isolation")
            .says("SET default_transaction_isolation = 'repeatable read'")
            .look("SHOW transaction_isolation"),
        table("default_transaction_read_only")
            .says("SET default_transaction_read_only = on")
            .look("UPDATE t SET v = 1"),
        kind("default_transaction_deferrable")
            .says("SET default_transaction_deferrable TO on")
            .look("SHOW transaction_deferrable"),
        kind("SET TRANSACTION, which ends with it")
            .says_all(&["BEGIN", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY", "SHOW transaction_isolation", "COMMIT"])
            .look("SHOW transaction_isolation"),
        kind("BEGIN ISOLATION LEVEL")
            .says_all(&["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SHOW transaction_isolation", "COMMIT"])
            .look("SHOW transaction_isolation"),
        kind("the transaction's own read only, which a block may not change")
            .says("SET transaction_read_only = on")
            .look("SHOW transaction_read_only"),
    ]
}
