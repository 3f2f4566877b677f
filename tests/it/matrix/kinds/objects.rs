//! Channels, locks, cursors, libraries, random numbers, sequences.

use super::super::kind::{Kind, kind};

pub fn notifications() -> Vec<Kind> {
    let channels = |title| {
        kind(title).look("SELECT count(*) FROM pg_listening_channels() AS c WHERE c LIKE 'news%'")
    };
    let notify = "NOTIFY news, 'hello'";
    vec![
        channels("LISTEN")
            .says("LISTEN news")
            .other_says(notify)
            .hears(),
        channels("LISTEN, committed")
            .says_all(&["BEGIN", "LISTEN news", "COMMIT"])
            .other_says(notify)
            .hears(),
        channels("LISTEN, rolled back")
            .says_all(&["BEGIN", "LISTEN news", "ROLLBACK"])
            .other_says(notify),
        channels("LISTEN behind a savepoint that is rolled back to")
            .says_all(&[
                "BEGIN",
                "SAVEPOINT s",
                "LISTEN news",
                "ROLLBACK TO s",
                "COMMIT",
            ])
            .other_says(notify),
        channels("LISTEN in DO")
            .says("DO $$ BEGIN EXECUTE 'LISTEN news'; END $$")
            .other_says(notify)
            .hears(),
        channels("LISTEN and NOTIFY to oneself")
            .says("LISTEN news")
            .says(notify),
        channels("UNLISTEN")
            .says("LISTEN news")
            .says("UNLISTEN news")
            .other_says(notify),
        channels("UNLISTEN of one of two")
            .says("LISTEN news")
            .says("LISTEN news2")
            .says("UNLISTEN news")
            .other_says("NOTIFY news2")
            .hears(),
        channels("UNLISTEN *")
            .says("LISTEN news")
            .says("UNLISTEN *")
            .other_says(notify),
        channels("UNLISTEN, rolled back")
            .says_all(&["LISTEN news", "BEGIN", "UNLISTEN news", "ROLLBACK"])
            .other_says(notify)
            .hears(),
        channels("LISTEN and DISCARD ALL")
            .says("LISTEN news")
            .says("DISCARD ALL")
            .other_says(notify),
    ]
}

pub fn locks() -> Vec<Kind> {
    let held = |title| {
        kind(title)
            .look("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
            .look("SELECT pg_try_advisory_xact_lock(7)")
    };
    let take = "SELECT pg_advisory_lock(7)";
    vec![
        held("pg_advisory_lock").says(take),
        held("pg_try_advisory_lock").says("SELECT pg_try_advisory_lock(7)"),
        held("pg_advisory_lock_shared of two numbers").says("SELECT pg_advisory_lock_shared(7, 8)"),
        held("an advisory lock with a bound key").bound("SELECT pg_advisory_lock($1)", &["7"]),
        held("an advisory lock in a WHERE").says("SELECT 1 WHERE pg_try_advisory_lock(7)"),
        held("an advisory lock taken in a transaction that is rolled back").says_all(&["BEGIN", take, "ROLLBACK"]),
        held("an advisory lock taken before an error").says_all(&["BEGIN", take, "SELECT 1/0", "COMMIT"]),
        held("an advisory lock behind a savepoint that is rolled back to").says_all(&["BEGIN", "SAVEPOINT s", take, "ROLLBACK TO s", "COMMIT"]),
        held("an advisory lock in a READ ONLY transaction").says_all(&["BEGIN READ ONLY", take, "COMMIT"]),
        held("an advisory lock in DO").says("DO $$ BEGIN PERFORM pg_advisory_lock(7); END $$"),
        held("an advisory lock in a function")
            .setup("CREATE FUNCTION take() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(7); END $$")
            .says("SELECT take()"),
        held("pg_advisory_unlock").says(take).says("SELECT pg_advisory_unlock(7)"),
        held("taken twice, unlocked once").says(take).says(take).says("SELECT pg_advisory_unlock(7)"),
        held("pg_advisory_unlock_all").says(take).says(take).says("SELECT pg_advisory_unlock_all()"),
        held("an advisory lock and DISCARD ALL").says(take).says("DISCARD ALL"),
        held("pg_advisory_xact_lock, which ends with the transaction").says_all(&["BEGIN", "SELECT pg_advisory_xact_lock(7)", "COMMIT"]),
    ]
}

pub fn cursors() -> Vec<Kind> {
    let hold = "DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 9)";
    let fetch = |title| kind(title).look("FETCH 2 FROM c");
    vec![
        fetch("DECLARE WITH HOLD").says_all(&["BEGIN", hold, "FETCH 1 FROM c", "COMMIT"]),
        fetch("DECLARE WITH HOLD outside of a block").says(hold),
        fetch("DECLARE WITH HOLD, rolled back").says_all(&["BEGIN", hold, "ROLLBACK"]),
        fetch("DECLARE WITH HOLD in DO")
            .says("DO $$ BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 9)'; END $$"),
        fetch("CLOSE").says(hold).says("CLOSE c"),
        fetch("CLOSE ALL").says(hold).says("CLOSE ALL"),
        fetch("WITH HOLD and DISCARD ALL").says(hold).says("DISCARD ALL"),
        fetch("a cursor that ends with its transaction").says_all(&[
            "BEGIN",
            "DECLARE c CURSOR FOR SELECT generate_series(1, 9)",
            "FETCH 1 FROM c",
            "COMMIT",
        ]),
    ]
}

pub fn others() -> Vec<Kind> {
    let seeded = |title| {
        kind(title)
            .setup("SELECT setseed(0.5)")
            .setup("CREATE TABLE seeded AS SELECT random() AS v FROM generate_series(1, 50)")
            .setup("GRANT SELECT ON seeded TO {me}")
            .setup("CREATE FUNCTION seed() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM setseed(0.5); END $$")
            .look("WITH r AS MATERIALIZED (SELECT random() AS v) SELECT count(*) FROM r JOIN seeded USING (v)")
    };
    let sequence = |title| {
        kind(title)
            .setup("CREATE SEQUENCE s OWNED BY NONE")
            .setup("GRANT ALL ON s TO {me}")
    };
    vec![
        kind("LOAD, with a setting of the library")
            .superuser()
            .says("LOAD 'auto_explain'")
            .says("SET auto_explain.log_min_duration = '1h'")
            .look("SELECT count(*) > 2 FROM pg_settings WHERE name LIKE 'auto_explain.%'")
            .look("SELECT coalesce(current_setting('auto_explain.log_min_duration', true), '')"),
        kind("LOAD that is not allowed")
            .says("LOAD 'auto_explain'")
            .look("SELECT 1"),
        seeded("setseed").says("SELECT setseed(0.5)"),
        seeded("setseed in a function").says("SELECT seed()"),
        seeded("SET seed").says("SET seed = 0.5"),
        sequence("currval")
            .says("SELECT nextval('s') > 0")
            .look("SELECT currval('s') = last_value FROM s")
            .may_be_lost(),
        sequence("lastval")
            .says("SELECT nextval('s') > 0")
            .look("SELECT lastval() = last_value FROM s")
            .may_be_lost(),
        sequence("currval in the transaction of its nextval")
            .says_all(&[
                "BEGIN",
                "SELECT nextval('s') > 0",
                "SELECT currval('s') = last_value FROM s",
                "COMMIT",
            ])
            .look("SELECT 1"),
        sequence("DISCARD SEQUENCES")
            .says("SELECT nextval('s') > 0")
            .says("DISCARD SEQUENCES")
            .look("SELECT currval('s') > 0"),
        sequence("setval")
            .says("SELECT setval('s', 5)")
            .look("SELECT currval('s')")
            .may_be_lost(),
    ]
}
