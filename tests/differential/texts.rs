//! What is said.
//!
//! In a text `{s}` is the number of the session, so that none waits for another one's locks, and
//! `{k}` a number that no other session has, nor the same one after it has connected anew.

pub(crate) const SET: &[&str] = &[
    "SET work_mem = '7MB'",
    "SET work_mem TO 9000",
    "SET SESSION work_mem = '8MB'",
    "SET work_mem = 'no such size'",
    "SET TimeZone = 'Asia/Tokyo'",
    "SET TIME ZONE 'Europe/Rome'",
    "SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE",
    "SET TIME ZONE 3",
    "SET search_path = alt, public",
    "SET search_path = 'alt'",
    "SET search_path TO \"$user\", Public, 'odd Name'",
    "SET SCHEMA 'alt'",
    "SET application_name = 'mine'",
    "SET application_name TO 'it''s'",
    "SET IntervalStyle = 'iso_8601'",
    "SET extra_float_digits = -5",
    "SET bytea_output = escape",
    "SET statement_timeout = '30s'",
    "SET client_min_messages = error",
    "SET client_min_messages = notice",
    "SET enable_seqscan = off",
    "SET seq_page_cost = 2.5",
    "SET default_transaction_isolation = 'repeatable read'",
    "SET default_transaction_read_only = on",
    "SET default_transaction_read_only = off",
    "SET no_such_setting = 1",
    "SET server_version = '1'",
    "SET /* why */ \"work_mem\" = '10MB' -- so",
];

pub(crate) const LOCAL: &[&str] = &[
    "SET LOCAL work_mem = '11MB'",
    "SET LOCAL TimeZone = 'America/Lima'",
    "SET LOCAL search_path = alt",
    "SET LOCAL application_name = 'local'",
    "SET LOCAL my.x = 'local'",
    "SELECT set_config('work_mem', '12MB', true)",
    "SELECT set_config('my.x', 'locally', true)",
];

pub(crate) const RESET: &[&str] = &[
    "RESET work_mem",
    "RESET TimeZone",
    "RESET TIME ZONE",
    "RESET search_path",
    "RESET application_name",
    "RESET default_transaction_read_only",
    "SET client_min_messages TO DEFAULT",
    "SET work_mem TO DEFAULT",
    "SET TIME ZONE LOCAL",
    "RESET my.x",
    "SET my.y TO DEFAULT",
    "RESET DateStyle",
    "RESET ROLE",
    "RESET SESSION AUTHORIZATION",
    "SET SESSION AUTHORIZATION DEFAULT",
    "RESET ALL",
    "RESET ALL",
];

pub(crate) const DISCARD: &[&str] = &[
    "DISCARD ALL",
    "DISCARD ALL",
    "DISCARD PLANS",
    "DISCARD SEQUENCES",
    "DISCARD TEMP",
];

pub(crate) const SET_CONFIG: &[&str] = &[
    "SELECT set_config('work_mem', '6MB', false)",
    "SELECT set_config('TimeZone', 'Asia/Kolkata', false)",
    "SELECT set_config('search_path', 'alt, public', false)",
    "SELECT pg_catalog.set_config('application_name', 'configured', false)",
    "SELECT set_config('work_mem', '13MB', false), set_config('IntervalStyle', 'sql_standard', false)",
    "SELECT set_config('my.x', 'configured', false)",
    "SELECT set_config('my.y', 'comp' || 'uted', false)",
    "SELECT set_config('work_mem', 'wrong', false)",
    "SELECT set_config('work_mem', (id + 13) || 'MB', false) FROM public.items WHERE id <= 2 ORDER BY id",
];

/// The view has a rule that calls `set_config`.
pub(crate) const PG_SETTINGS: &[&str] = &[
    "UPDATE pg_settings SET setting = '14MB' WHERE name = 'work_mem'",
    "UPDATE pg_catalog.pg_settings SET setting = 'Asia/Dubai' WHERE name = 'TimeZone'",
];

pub(crate) const CUSTOM: &[&str] = &[
    "SET my.x = 'of {s}'",
    "SET my.x = 'other of {s}'",
    "SET \"my.y\" = 'y of {s}'",
    "SET my.Y TO 5",
];

/// What shows custom settings.
pub(crate) const CUSTOM_SHOWN: &[&str] = &[
    "SELECT current_setting('my.x', true)",
    "SELECT current_setting('my.y', true)",
];

/// The same, failing where there is none.
pub(crate) const CUSTOM_SHOWN_OUTSIDE: &[&str] = &["SHOW my.x", "SELECT current_setting('my.y')"];

pub(crate) const DATESTYLE: &[&str] = &[
    "SET DateStyle = 'German'",
    "SET DateStyle = 'ISO'",
    "SET DateStyle TO SQL, DMY",
    "SET DateStyle = 'MDY'",
    "SELECT set_config('DateStyle', 'Postgres', false)",
];

pub(crate) const CHARACTERISTICS: &[&str] = &[
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET TRANSACTION READ ONLY",
];

pub(crate) const ROLE: &[&str] = &[
    "SET ROLE role_a",
    "SET ROLE role_b",
    "SET SESSION ROLE role_a",
    "SET LOCAL ROLE role_b",
    "SET ROLE no_such_role",
    "SET ROLE NONE",
    "SELECT set_config('role', 'role_a', false)",
];

pub(crate) const AUTHORIZATION: &[&str] = &[
    "SET SESSION AUTHORIZATION role_a",
    "SET SESSION AUTHORIZATION plain",
    "SET SESSION AUTHORIZATION 'role_b'",
    "SET LOCAL SESSION AUTHORIZATION role_b",
];

pub(crate) const SAVEPOINT: &[&str] = &[
    "SAVEPOINT a",
    "SAVEPOINT b",
    "SAVEPOINT \"a\"",
    "ROLLBACK TO a",
    "ROLLBACK TO SAVEPOINT b",
    "ROLLBACK TRANSACTION TO a",
    "RELEASE a",
    "RELEASE SAVEPOINT b",
];

pub(crate) const ERROR: &[&str] = &[
    "SELEKT 1",
    "SELECT 1/0",
    "SELECT * FROM no_such_table",
    "SELECT 'open",
    "SELECT 1/(id - 2) FROM public.items ORDER BY id",
    "INSERT INTO t{s} VALUES (1, 'twice'), (1, 'twice')",
];

/// Many settings at once.
pub(crate) const SETTINGS: &str = "SELECT name, setting FROM pg_settings WHERE name IN ('work_mem', 'TimeZone', 'DateStyle', \
     'IntervalStyle', 'search_path', 'application_name', 'statement_timeout', 'lock_timeout', \
     'bytea_output', 'extra_float_digits', 'enable_seqscan', 'seq_page_cost', 'client_min_messages', \
     'default_transaction_isolation', 'default_transaction_read_only', 'client_encoding', \
     'standard_conforming_strings') ORDER BY name COLLATE \"C\"";

pub(crate) const OBSERVE: &[&str] = &[
    "SHOW work_mem",
    "SHOW TimeZone",
    "SHOW DateStyle",
    "SHOW search_path",
    "SHOW application_name",
    "SHOW default_transaction_read_only",
    "SHOW transaction_isolation",
    "SELECT current_setting('work_mem'), current_setting('IntervalStyle')",
    SETTINGS,
    "SELECT '2024-01-02 00:00'::timestamptz::text, '2024-03-04'::date, interval '1 day 2 hours'",
    "SELECT timestamptz '2024-01-02 03:04+00', 1.0::float8 / 3, '\\x0102'::bytea",
    "SELECT * FROM items ORDER BY id",
    "SELECT id, name FROM items WHERE id = 2",
    "SELECT current_user, session_user, current_role",
    "SELECT current_user, current_setting('role'), current_setting('is_superuser')",
    "SELECT current_schemas(false)",
    "SELECT current_schema",
    "SELECT to_regclass('pg_temp.x0'), to_regclass('pg_temp.x1'), to_regclass('pg_temp.items')",
    "SELECT * FROM x0 ORDER BY 1",
    "SELECT name, is_holdable FROM pg_cursors WHERE name <> '' ORDER BY name",
    "SELECT pg_listening_channels() AS c ORDER BY c",
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    "SELECT * FROM t{s} ORDER BY 1, 2",
    "SELECT pg_is_in_recovery(), version() <> ''",
    "VALUES (1, 'a'), (2, NULL)",
    "SELECT",
    "",
];

pub(crate) const WRITE: &[&str] = &[
    "INSERT INTO t{s} VALUES (10, 'ten')",
    "INSERT INTO public.t{s} VALUES (11, 'eleven') RETURNING *",
    "UPDATE t{s} SET name = name || '!' WHERE id = 1",
    "DELETE FROM t{s} WHERE id >= 10",
    "TRUNCATE t{s}",
    "CREATE TABLE IF NOT EXISTS t{s} (id int)",
];

pub(crate) const DDL: &[&str] = &[
    "ALTER TABLE t{s} ADD COLUMN extra int DEFAULT 7",
    "ALTER TABLE public.t{s} ADD COLUMN IF NOT EXISTS extra int DEFAULT 8",
    "ALTER TABLE t{s} DROP COLUMN extra",
    "ALTER TABLE t{s} ALTER COLUMN name TYPE varchar(50)",
    "ALTER TABLE t{s} RENAME COLUMN name TO title",
    "ALTER TABLE t{s} RENAME COLUMN title TO name",
    "CREATE TABLE e{s} (id int PRIMARY KEY)",
    "CREATE TABLE e{s} AS SELECT * FROM public.items",
    "SELECT * INTO e{s} FROM public.items",
    "DROP TABLE e{s}",
    "DROP TABLE IF EXISTS e{s}",
    "CREATE INDEX ON t{s} (name)",
    "ANALYZE t{s}",
];

pub(crate) const CURSOR: &[&str] = &[
    "DECLARE c0 CURSOR FOR SELECT * FROM public.items ORDER BY id",
    "DECLARE c1 SCROLL CURSOR FOR VALUES (1), (2), (3)",
    "FETCH 1 FROM c0",
    "FETCH ALL IN c1",
    "MOVE BACKWARD 1 FROM c1",
    "CLOSE c0",
    "CLOSE c1",
];

pub(crate) const DEALLOCATE: &[&str] = &["DEALLOCATE ALL", "DEALLOCATE PREPARE ALL"];

pub(crate) const TEMP: &[&str] = &[
    "CREATE TEMP TABLE x0 (i int)",
    "CREATE TEMPORARY TABLE x1 (i int) ON COMMIT DELETE ROWS",
    "CREATE TEMP TABLE items (id int, name text)",
    "CREATE TEMP TABLE IF NOT EXISTS x0 (i int)",
    "CREATE TEMP VIEW x1 AS SELECT 1 AS i",
    "CREATE TABLE pg_temp.x1 (i int)",
    "SELECT 5 AS i INTO TEMP x0",
    "INSERT INTO x0 VALUES (1), (2)",
    "INSERT INTO x1 VALUES (3)",
    "SELECT * FROM x1 ORDER BY 1",
    "DROP TABLE x0",
    "DROP TABLE IF EXISTS x0, x1",
    "DISCARD TEMP",
    "SELECT current_schemas(false)",
];

pub(crate) const DROP_TEMP: &[&str] = &[
    "CREATE TEMP TABLE x0 (i int) ON COMMIT DROP",
    "CREATE TEMP TABLE x1 ON COMMIT DROP AS SELECT 4 AS i",
];

pub(crate) const PREPARE: &[&str] = &[
    "PREPARE q0 AS SELECT * FROM items ORDER BY id",
    "PREPARE q0 AS SELECT * FROM t{s} ORDER BY 1",
    "PREPARE q1 (int) AS SELECT $1 + 1",
    "PREPARE q1 AS SELECT '2024-01-02 00:00'::timestamptz::text, $1::text",
    "EXECUTE q0",
    "EXECUTE q1 (5)",
    "EXECUTE q1 ('6')",
    "DEALLOCATE q0",
    "DEALLOCATE PREPARE q1",
    "DEALLOCATE n0",
    "EXECUTE n0",
];

pub(crate) const LISTEN: &[&str] = &[
    "LISTEN c{s}",
    "LISTEN \"Other\"",
    "UNLISTEN c{s}",
    "UNLISTEN *",
];

pub(crate) const HOLD: &[&str] = &[
    "DECLARE h0 CURSOR WITH HOLD FOR SELECT * FROM public.items ORDER BY id",
    "DECLARE h1 SCROLL CURSOR WITH HOLD FOR VALUES (1), (2), (3)",
    "FETCH 1 FROM h0",
    "FETCH BACKWARD 1 FROM h1",
    "FETCH ALL FROM h1",
    "CLOSE h0",
    "CLOSE h1",
    "CLOSE ALL",
];

pub(crate) const ADVISORY: &[&str] = &[
    "SELECT pg_try_advisory_lock({k}1)",
    "SELECT pg_try_advisory_lock({k}2)",
    "SELECT pg_try_advisory_lock_shared({k}, 3)",
    "SELECT pg_advisory_unlock({k}1)",
    "SELECT pg_advisory_unlock({k}2)",
    "SELECT pg_advisory_unlock_all()",
    "SELECT pg_try_advisory_xact_lock({k}4)",
];

pub(crate) const SEED: &[&str] = &["SELECT setseed(0.5), random(), random()"];

pub(crate) const DO: &[&str] = &[
    "DO $$ BEGIN PERFORM set_config('work_mem', '15MB', false); END $$",
    "DO $$ BEGIN SET TimeZone = 'Asia/Seoul'; END $$",
    "DO $$ BEGIN RAISE NOTICE 'work_mem is %', current_setting('work_mem'); END $$",
    "DO $$ BEGIN EXECUTE 'SET my.x = ' || quote_literal('done'); END $$",
];

pub(crate) const ENCODING: &[&str] = &[
    "SET client_encoding = 'LATIN1'",
    "SET NAMES 'UTF8'",
    "RESET client_encoding",
    "SET standard_conforming_strings = off",
    "SET standard_conforming_strings = on",
    "SELECT 'a\\\\b', U&'\\00e9'",
];

pub(crate) const FUNCTION: &[&str] = &[
    "SELECT public.f_set('16MB')",
    "SELECT public.f_lock({k}5)",
    "SELECT public.f_temp()",
    "SELECT public.f_pure(3)",
];

/// Begins of transactions.
pub(crate) const BEGIN: &[&str] = &[
    "BEGIN",
    "BEGIN",
    "BEGIN",
    "START TRANSACTION",
    "begin work",
    "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "BEGIN READ ONLY",
    "START TRANSACTION READ WRITE, ISOLATION LEVEL SERIALIZABLE",
];

/// Ends of transactions.
pub(crate) const END: &[&str] = &[
    "COMMIT",
    "COMMIT",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ROLLBACK",
    "ABORT",
    "COMMIT WORK",
];

/// Ends that begin the next one.
pub(crate) const CHAIN: &[&str] = &["COMMIT AND CHAIN", "ROLLBACK AND CHAIN"];

/// Texts of named statements, and values of their parameters.
pub(crate) const NAMED: &[(&str, &[&str])] = &[
    ("SELECT * FROM t{s} ORDER BY 1", &[]),
    ("SELECT name FROM items WHERE id = $1", &["2"]),
    ("SELECT $1::int + 1, current_setting('work_mem')", &["41"]),
    ("SELECT '2024-01-02 00:00'::timestamptz::text", &[]),
    (
        "SELECT extract(epoch FROM '2024-01-02 00:00'::timestamptz)::bigint",
        &[],
    ),
    ("INSERT INTO t{s} VALUES ($1, $2)", &["12", "twelve"]),
    ("SET work_mem = '17MB'", &[]),
    ("SELECT set_config($1, $2, false)", &["work_mem", "18MB"]),
    ("SELECT current_user", &[]),
    ("SELECT 1/$1::int", &["0"]),
    ("SELECT * FROM items WHERE name = $1", &["alt two"]),
];

/// Texts with parameters, said with the unnamed statement.
pub(crate) const BOUND: &[(&str, &[&str])] = &[
    ("SELECT set_config($1, $2, false)", &["work_mem", "19MB"]),
    (
        "SELECT set_config($1, $2, false)",
        &["TimeZone", "Africa/Cairo"],
    ),
    ("SELECT set_config($1, $2, false)", &["search_path", "alt"]),
    (
        "SELECT set_config($1, $2, false)",
        &["my.x", "bound of {s}"],
    ),
    ("SELECT set_config($1, $2, false)", &["role", "role_b"]),
    (
        "SELECT set_config($1, $2, $3)",
        &["work_mem", "20MB", "true"],
    ),
    (
        "SELECT set_config($1, $2, $3)",
        &["work_mem", "21MB", "false"],
    ),
    (
        "SELECT set_config('application_name', $1, false)",
        &["bound"],
    ),
    ("SELECT set_config($1, $2, false)", &["work_mem", "wrong"]),
    (
        "SELECT pg_catalog.set_config('my.y', $1::text, false)",
        &["bound y"],
    ),
    ("SELECT name FROM items WHERE id = $1", &["1"]),
];

/// Startup parameters of sessions, some of which it has.
pub(crate) const STARTUP: &[(&str, &str)] = &[
    ("application_name", "starter"),
    ("TimeZone", "Asia/Tokyo"),
    ("DateStyle", "SQL, DMY"),
    ("extra_float_digits", "2"),
    ("client_encoding", "UTF8"),
    ("search_path", "alt, public"),
    ("work_mem", "22MB"),
    ("my.x", "from the start"),
    ("options", "-c work_mem=23MB -c statement_timeout=40s"),
    ("options", "-c my.y=from\\ options --search_path=alt"),
    (
        "options",
        "-c default_transaction_isolation=repeatable\\ read",
    ),
];
