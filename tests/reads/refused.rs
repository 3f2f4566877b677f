//! What never goes to a standby, whatever the schema is.

use tenantry::wire::sql::Unfit;

use crate::{Line, differs, doubt, fails};

/// SQLSTATE read_only_sql_transaction.
const READ_ONLY: &str = "25006";
/// SQLSTATE object_not_in_prerequisite_state: what only recovery, or only its end, allows.
const RECOVERY: &str = "55000";
/// SQLSTATE syntax_error.
const SYNTAX: &str = "42601";

/// Speaks of the server or of what it keeps to itself.
const ONE_SERVER: &str = "speaks of one server";
/// Not what the feature is for; a transaction that says READ ONLY may do it on a replica.
const NO_SELECT: &str = "no SELECT: its node is part of its meaning, or it is rare";
const NEVER_TWICE: &str = "volatile: never the same twice";

pub(crate) const LINES: &[Line] = &[
    // Writes and commands.
    fails(
        "INSERT INTO people (id, name) VALUES (99, 'x')",
        Unfit::NotSelect,
        READ_ONLY,
    ),
    fails("UPDATE people SET name = 'x'", Unfit::NotSelect, READ_ONLY),
    fails("DELETE FROM people", Unfit::NotSelect, READ_ONLY),
    fails(
        "MERGE INTO people p USING orders o ON p.id = o.id WHEN MATCHED THEN UPDATE SET name = 'x'",
        Unfit::NotSelect,
        READ_ONLY,
    ),
    fails("CREATE TABLE x (a int)", Unfit::NotSelect, READ_ONLY),
    fails("CREATE TABLE x AS SELECT 1", Unfit::NotSelect, READ_ONLY),
    fails("CREATE TEMP TABLE x (a int)", Unfit::NotSelect, READ_ONLY),
    fails("TRUNCATE people", Unfit::NotSelect, READ_ONLY),
    fails(
        "REFRESH MATERIALIZED VIEW kept",
        Unfit::NotSelect,
        READ_ONLY,
    ),
    fails(
        "LOCK TABLE people IN EXCLUSIVE MODE",
        Unfit::NotSelect,
        READ_ONLY,
    ),
    fails("LISTEN a", Unfit::NotSelect, READ_ONLY),
    fails("NOTIFY a", Unfit::NotSelect, READ_ONLY),
    fails("VACUUM people", Unfit::NotSelect, READ_ONLY),
    fails("ANALYZE people", Unfit::NotSelect, READ_ONLY),
    fails(
        "DO $$ BEGIN INSERT INTO s.people (id) VALUES (99); END $$",
        Unfit::NotSelect,
        READ_ONLY,
    ),
    fails("CALL nothing()", Unfit::NotSelect, "42883"),
    doubt("EXPLAIN SELECT 1", Unfit::NotSelect, NO_SELECT),
    doubt("EXPLAIN ANALYZE SELECT 1", Unfit::NotSelect, NO_SELECT),
    doubt("SHOW server_version", Unfit::NotSelect, NO_SELECT),
    doubt("COPY people TO STDOUT", Unfit::NotSelect, NO_SELECT),
    doubt("COPY (SELECT 1) TO STDOUT", Unfit::NotSelect, NO_SELECT),
    doubt(
        "SET search_path = s",
        Unfit::NotSelect,
        "state of the session",
    ),
    doubt(
        "BEGIN",
        Unfit::NotSelect,
        "a transaction block has a rule of its own",
    ),
    doubt(
        "BEGIN READ ONLY",
        Unfit::NotSelect,
        "a transaction block has a rule of its own",
    ),
    fails("FETCH 1 FROM c", Unfit::NotSelect, "34000"),
    fails("EXECUTE nothing", Unfit::NotSelect, "26000"),
    fails("DECLARE c CURSOR FOR SELECT 1", Unfit::NotSelect, "25P01"),
    doubt("", Unfit::NotSelect, "nothing to route"),
    // Writes that begin as reads.
    fails("SELECT * INTO x FROM people", Unfit::Writes, READ_ONLY),
    fails("SELECT 1 INTO TEMP x", Unfit::Writes, READ_ONLY),
    fails(
        "WITH a AS (INSERT INTO log (id) VALUES (9) RETURNING 1) SELECT * FROM a",
        Unfit::Writes,
        READ_ONLY,
    ),
    fails(
        "WITH a AS (UPDATE people SET name = 'x' RETURNING id) SELECT * FROM a",
        Unfit::Writes,
        READ_ONLY,
    ),
    fails(
        "WITH a AS (SELECT 1), b AS (UPDATE log SET id = 1) SELECT * FROM a",
        Unfit::Writes,
        READ_ONLY,
    ),
    fails(
        "WITH a AS (SELECT 1 AS id) UPDATE people SET name = 'x' FROM a",
        Unfit::Writes,
        READ_ONLY,
    ),
    fails(
        "WITH a AS (SELECT 1) DELETE FROM people",
        Unfit::Writes,
        READ_ONLY,
    ),
    fails(
        "SELECT 1; UPDATE people SET name = 'x'",
        Unfit::Several,
        READ_ONLY,
    ),
    doubt(
        "SELECT 1; SELECT 2",
        Unfit::Several,
        "one statement at a time is looked at",
    ),
    // Locks.
    fails("SELECT * FROM people FOR UPDATE", Unfit::Locks, READ_ONLY),
    fails(
        "SELECT * FROM people FOR NO KEY UPDATE NOWAIT",
        Unfit::Locks,
        READ_ONLY,
    ),
    fails(
        "SELECT * FROM people FOR SHARE OF people SKIP LOCKED",
        Unfit::Locks,
        READ_ONLY,
    ),
    fails(
        "SELECT * FROM people FOR KEY SHARE LIMIT 1",
        Unfit::Locks,
        READ_ONLY,
    ),
    fails(
        "SELECT * FROM (SELECT id FROM people FOR UPDATE) x",
        Unfit::Locks,
        READ_ONLY,
    ),
    fails(
        "SELECT 1 WHERE EXISTS (SELECT FROM people FOR UPDATE)",
        Unfit::Locks,
        READ_ONLY,
    ),
    fails(
        "WITH a AS (SELECT id FROM people FOR UPDATE) SELECT * FROM a",
        Unfit::Locks,
        READ_ONLY,
    ),
    // Sequences.
    fails("SELECT nextval('numbers')", Unfit::Sequence, READ_ONLY),
    fails(
        "SELECT pg_catalog.nextval('s.numbers'::regclass)",
        Unfit::Sequence,
        READ_ONLY,
    ),
    fails(
        "SELECT 1 ORDER BY nextval('numbers')",
        Unfit::Sequence,
        READ_ONLY,
    ),
    fails(
        "SELECT CASE WHEN nextval('numbers') > 0 THEN 1 END",
        Unfit::Sequence,
        READ_ONLY,
    ),
    fails("SELECT setval('numbers', 1)", Unfit::Sequence, READ_ONLY),
    fails("SELECT currval('numbers')", Unfit::Sequence, RECOVERY),
    fails("SELECT lastval()", Unfit::Sequence, RECOVERY),
    // State of the session.
    doubt(
        "SELECT set_config('app.x', 'y', false)",
        Unfit::SessionState,
        "a setting follows its session, whoever serves it",
    ),
    doubt(
        "SELECT setseed(0.5)",
        Unfit::SessionState,
        "state of the session",
    ),
    doubt(
        "SELECT pg_advisory_lock(1)",
        Unfit::SessionState,
        "locks of two servers do not exclude each other",
    ),
    doubt(
        "SELECT pg_try_advisory_xact_lock(1)",
        Unfit::SessionState,
        "locks of two servers do not exclude each other",
    ),
    doubt(
        "SELECT pg_advisory_unlock_all()",
        Unfit::SessionState,
        "state of the session",
    ),
    fails("SELECT pg_notify('a', 'b')", Unfit::Volatile, READ_ONLY),
    // Transactions and the log.
    fails("SELECT txid_current()", Unfit::Server, READ_ONLY),
    fails("SELECT pg_current_xact_id()", Unfit::Server, READ_ONLY),
    doubt(
        "SELECT txid_current_if_assigned()",
        Unfit::Server,
        ONE_SERVER,
    ),
    doubt("SELECT pg_current_snapshot()", Unfit::Server, ONE_SERVER),
    fails("SELECT pg_current_wal_lsn()", Unfit::Volatile, RECOVERY),
    fails(
        "SELECT pg_current_wal_insert_lsn()",
        Unfit::Volatile,
        RECOVERY,
    ),
    fails("SELECT pg_walfile_name('0/1')", Unfit::Server, RECOVERY),
    differs("SELECT pg_is_in_recovery()", Unfit::Volatile),
    differs("SELECT pg_last_wal_replay_lsn() IS NULL", Unfit::Volatile),
    differs("SELECT pg_last_wal_receive_lsn() IS NULL", Unfit::Volatile),
    doubt(
        "SELECT pg_export_snapshot() IS NULL",
        Unfit::Volatile,
        ONE_SERVER,
    ),
    doubt(
        "SELECT lo_create(0)",
        Unfit::Volatile,
        "writes: refused, with a code that differs between versions",
    ),
    doubt(
        "SELECT lo_from_bytea(0, 'a')",
        Unfit::Volatile,
        "writes: refused, with a code that differs between versions",
    ),
    fails(
        "SELECT query_to_xml('SELECT nextval(''s.numbers'')', true, true, '')",
        Unfit::Volatile,
        READ_ONLY,
    ),
    fails(
        "SELECT table_to_xml('s.drawing', true, true, '')",
        Unfit::Server,
        READ_ONLY,
    ),
    fails(
        "SELECT * FROM ts_stat('SELECT to_tsvector(nextval(''s.numbers'')::text)')",
        Unfit::Volatile,
        READ_ONLY,
    ),
    // One server.
    differs("SELECT pg_backend_pid()", Unfit::Server),
    differs("SELECT inet_server_port()", Unfit::Server),
    differs("SELECT pg_postmaster_start_time()", Unfit::Server),
    differs(
        "SELECT current_setting('transaction_read_only')",
        Unfit::Server,
    ),
    differs(
        "SELECT current_setting('port'), CURRENT_SETTING('in_hot_standby')",
        Unfit::Server,
    ),
    differs("SELECT current_setting('po' || 'rt')", Unfit::Server),
    doubt(
        "SELECT current_setting('TimeZone')",
        Unfit::Server,
        "some of PostgreSQL's own settings tell the server",
    ),
    doubt(
        "SELECT version()",
        Unfit::Server,
        "a standby may run another minor release",
    ),
    doubt(
        "SELECT inet_client_addr() IS NULL",
        Unfit::Server,
        ONE_SERVER,
    ),
    differs(
        "SELECT setting FROM pg_settings WHERE name = 'port'",
        Unfit::Server,
    ),
    differs(
        "SELECT pid FROM pg_stat_activity WHERE pid = pg_backend_pid()",
        Unfit::Server,
    ),
    doubt(
        "SELECT count(*) FROM pg_catalog.pg_locks",
        Unfit::Server,
        ONE_SERVER,
    ),
    doubt(
        "SELECT count(*) FROM pg_stat_replication",
        Unfit::Server,
        ONE_SERVER,
    ),
    doubt(
        "SELECT n_live_tup FROM pg_stat_user_tables",
        Unfit::Server,
        ONE_SERVER,
    ),
    doubt(
        "SELECT * FROM pg_replication_slots",
        Unfit::Server,
        ONE_SERVER,
    ),
    doubt(
        "SELECT * FROM pg_prepared_statements",
        Unfit::Server,
        ONE_SERVER,
    ),
    doubt("SELECT * FROM pg_cursors", Unfit::Server, ONE_SERVER),
    doubt("SELECT * FROM pg_prepared_xacts", Unfit::Server, ONE_SERVER),
    doubt(
        "SELECT * FROM pg_timezone_names LIMIT 1",
        Unfit::Server,
        "files of one server",
    ),
    doubt(
        "SELECT last_value FROM pg_sequences",
        Unfit::Server,
        "asks each sequence, by a volatile function",
    ),
    doubt("SELECT pg_listening_channels()", Unfit::Server, ONE_SERVER),
    doubt(
        "SELECT pg_my_temp_schema()",
        Unfit::Server,
        "state of the session",
    ),
    doubt(
        "SELECT pg_relation_size('s.people')",
        Unfit::Volatile,
        "files of one server",
    ),
    doubt(
        "SELECT pg_database_size('reads')",
        Unfit::Volatile,
        "files of one server",
    ),
    doubt("SELECT pg_cancel_backend(0)", Unfit::Volatile, ONE_SERVER),
    doubt(
        "SELECT pg_sleep(0)",
        Unfit::Volatile,
        "volatile, as PostgreSQL declares it",
    ),
    doubt(
        "SELECT pg_some_function_of_tomorrow()",
        Unfit::Server,
        "not known, so not trusted",
    ),
    // Never the same twice.
    doubt("SELECT random() >= 0", Unfit::Volatile, NEVER_TWICE),
    doubt(
        "SELECT clock_timestamp() IS NULL",
        Unfit::Volatile,
        NEVER_TWICE,
    ),
    doubt("SELECT timeofday() IS NULL", Unfit::Volatile, NEVER_TWICE),
    doubt(
        "SELECT pg_catalog.gen_random_uuid() IS NULL",
        Unfit::Volatile,
        NEVER_TWICE,
    ),
    doubt(
        "SELECT id FROM people TABLESAMPLE BERNOULLI (50) REPEATABLE (1)",
        Unfit::Volatile,
        "a sample is of the pages of one server",
    ),
    doubt(
        "SELECT s.random()",
        Unfit::Volatile,
        "a name is all that tells it from PostgreSQL's own",
    ),
    // What the text does not tell.
    fails("SELECT * FROM pg_temp.x", Unfit::Temporary, "42P01"),
    fails("SELECT FROM WHERE", Unfit::Unparsable, SYNTAX),
    fails(
        "SELECT 'x\\' , nextval(''s.numbers'')",
        Unfit::Unparsable,
        SYNTAX,
    ),
];
