//! SET and what becomes of its transaction.

use super::super::kind::{Kind, kind};

pub fn kinds() -> Vec<Kind> {
    let mut all = blocks();
    all.extend(savepoints());
    all.extend(more_savepoints());
    all.extend(strings());
    all
}

fn mem(title: &'static str) -> Kind {
    kind(title).look("SHOW work_mem")
}

fn blocks() -> Vec<Kind> {
    vec![
        mem("SET, committed").says_all(&[
            "BEGIN",
            "SET work_mem = '7MB'",
            "SHOW work_mem",
            "COMMIT",
        ]),
        mem("SET, rolled back").says_all(&[
            "BEGIN",
            "SET work_mem = '7MB'",
            "SHOW work_mem",
            "ROLLBACK",
        ]),
        mem("SET in a transaction that fails").says_all(&[
            "BEGIN",
            "SET work_mem = '7MB'",
            "SELECT 1/0",
            "COMMIT",
        ]),
        mem("RESET, rolled back").says_all(&[
            "SET work_mem = '7MB'",
            "BEGIN",
            "RESET work_mem",
            "ROLLBACK",
        ]),
        mem("SET and COMMIT AND CHAIN").says_all(&[
            "BEGIN",
            "SET work_mem = '7MB'",
            "COMMIT AND CHAIN",
            "SET work_mem = '9MB'",
            "ROLLBACK",
        ]),
        mem("SET LOCAL").says_all(&[
            "BEGIN",
            "SET LOCAL work_mem = '7MB'",
            "SHOW work_mem",
            "COMMIT",
        ]),
        mem("SET LOCAL outside of a block").says("SET LOCAL work_mem = '7MB'"),
        mem("SET, then SET LOCAL").says_all(&[
            "BEGIN",
            "SET work_mem = '7MB'",
            "SET LOCAL work_mem = '8MB'",
            "SHOW work_mem",
            "COMMIT",
        ]),
        mem("SET LOCAL, then SET").says_all(&[
            "BEGIN",
            "SET LOCAL work_mem = '8MB'",
            "SET work_mem = '7MB'",
            "COMMIT",
        ]),
        mem("SET, twice in a transaction").says_all(&[
            "BEGIN",
            "SET work_mem = '7MB'",
            "SET work_mem = '8MB'",
            "COMMIT",
        ]),
        mem("SET in a transaction that is prepared for two-phase commit, which fails here")
            .says_all(&["BEGIN", "SET work_mem = '7MB'", "PREPARE TRANSACTION 'x'"]),
    ]
}

fn savepoints() -> Vec<Kind> {
    vec![
        mem("SET behind a savepoint that is rolled back to").says_all(&[
            "BEGIN",
            "SAVEPOINT s",
            "SET work_mem = '7MB'",
            "ROLLBACK TO s",
            "SHOW work_mem",
            "COMMIT",
        ]),
        mem("SET behind a savepoint that is released").says_all(&[
            "BEGIN",
            "SAVEPOINT s",
            "SET work_mem = '7MB'",
            "RELEASE s",
            "COMMIT",
        ]),
        mem("SET before a savepoint that is rolled back to").says_all(&[
            "BEGIN",
            "SET work_mem = '7MB'",
            "SAVEPOINT s",
            "SET work_mem = '8MB'",
            "ROLLBACK TO SAVEPOINT s",
            "COMMIT",
        ]),
        mem("SET in nested savepoints").says_all(&[
            "BEGIN",
            "SAVEPOINT a",
            "SET work_mem = '6MB'",
            "SAVEPOINT b",
            "SET work_mem = '7MB'",
            "RELEASE SAVEPOINT b",
            "SAVEPOINT c",
            "SET work_mem = '8MB'",
            "ROLLBACK TO c",
            "COMMIT",
        ]),
        mem("SET behind two savepoints of one name").says_all(&[
            "BEGIN",
            "SAVEPOINT s",
            "SET work_mem = '6MB'",
            "SAVEPOINT s",
            "SET work_mem = '7MB'",
            "ROLLBACK TO s",
            "RELEASE s",
            "COMMIT",
        ]),
    ]
}

fn more_savepoints() -> Vec<Kind> {
    vec![
        mem("SET after an error that a savepoint catches").says_all(&[
            "BEGIN",
            "SAVEPOINT s",
            "SET work_mem = '6MB'",
            "SELECT 1/0",
            "ROLLBACK TO s",
            "SET work_mem = '7MB'",
            "COMMIT",
        ]),
        mem("SET LOCAL behind a savepoint").says_all(&[
            "BEGIN",
            "SAVEPOINT s",
            "SET LOCAL work_mem = '7MB'",
            "RELEASE s",
            "SHOW work_mem",
            "COMMIT",
        ]),
        mem("RESET behind a savepoint that is rolled back to").says_all(&[
            "SET work_mem = '7MB'",
            "BEGIN",
            "SAVEPOINT s",
            "RESET work_mem",
            "ROLLBACK TO s",
            "COMMIT",
        ]),
    ]
}

fn strings() -> Vec<Kind> {
    vec![
        mem("several SETs in one string")
            .together(&["SET work_mem = '7MB'", "SET jit = off"])
            .look("SHOW jit"),
        mem("SET in a string that fails").together(&["SET work_mem = '7MB'", "SELECT 1/0"]),
        mem("SET in a string with its transaction").together(&[
            "BEGIN",
            "SET work_mem = '7MB'",
            "COMMIT",
        ]),
        mem("SET in a string with a transaction that is rolled back").together(&[
            "SET work_mem = '7MB'",
            "BEGIN",
            "SET work_mem = '8MB'",
            "ROLLBACK",
        ]),
        mem("SET and a query in one string").together(&["SET work_mem = '7MB'", "SHOW work_mem"]),
        mem("a string that ends within a transaction")
            .together(&["BEGIN", "SET work_mem = '7MB'"])
            .says("COMMIT"),
    ]
}
