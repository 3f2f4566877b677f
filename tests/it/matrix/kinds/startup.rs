//! What a session, a role or a database starts with, and RESET back to it.

use super::super::kind::{Kind, kind};

pub fn kinds() -> Vec<Kind> {
    let mut all = parameters();
    all.extend(defaults());
    all
}

fn parameters() -> Vec<Kind> {
    let tokyo = |title| {
        kind(title)
            .startup("TimeZone", "Asia/Tokyo")
            .look("SHOW TimeZone")
    };
    let options = |title| {
        kind(title)
            .startup("options", "-c work_mem=5MB -c my.x=mine")
            .look("SHOW work_mem")
            .look("SELECT coalesce(current_setting('my.x', true), '')")
    };
    vec![
        tokyo("a startup parameter"),
        tokyo("a startup parameter, set and RESET")
            .says("SET TimeZone = 'Europe/Rome'")
            .says("RESET TimeZone"),
        tokyo("a startup parameter, SET TO DEFAULT")
            .says("SET TimeZone = 'Europe/Rome'")
            .says("SET TimeZone TO DEFAULT"),
        tokyo("a startup parameter and RESET ALL")
            .says("SET TimeZone = 'Europe/Rome'")
            .says("RESET ALL"),
        tokyo("a startup parameter and DISCARD ALL")
            .says("SET TimeZone = 'Europe/Rome'")
            .says("DISCARD ALL"),
        tokyo("a startup parameter, RESET in a block").says_all(&[
            "BEGIN",
            "SET TimeZone = 'Europe/Rome'",
            "RESET TimeZone",
            "COMMIT",
        ]),
        tokyo("a startup parameter and TIME ZONE LOCAL").says("SET TIME ZONE LOCAL"),
        options("options"),
        options("options, set and RESET")
            .says("SET work_mem = '7MB'")
            .says("RESET work_mem"),
        options("options and RESET ALL")
            .says("SET work_mem = '7MB'")
            .says("SET my.x = 'other'")
            .says("RESET ALL"),
        options("options, SET in a transaction that is rolled back").says_all(&[
            "BEGIN",
            "SET work_mem = '7MB'",
            "ROLLBACK",
        ]),
        kind("search_path as a startup parameter")
            .startup("search_path", "app, public")
            .says("SET search_path = other")
            .says("RESET search_path")
            .look("SHOW search_path"),
        kind("DateStyle as a startup parameter")
            .startup("DateStyle", "German")
            .look("SELECT '2024-02-01'::date"),
        kind("client_encoding as a startup parameter")
            .startup("client_encoding", "LATIN1")
            .look("SELECT chr(233)"),
        kind("application_name as a startup parameter")
            .startup("application_name", "mine")
            .says("SET application_name = 'other'")
            .says("RESET application_name")
            .look("SHOW application_name"),
        kind("options with a role")
            .setup("CREATE ROLE {me}_reader; GRANT {me}_reader TO {me}")
            .startup("options", "-c role={me}_reader")
            .look("SELECT current_user"),
        kind("options with a read-only default")
            .startup("options", "-c default_transaction_read_only=on")
            .says("CREATE TABLE t (v int)")
            .look("SHOW transaction_read_only"),
    ]
}

fn defaults() -> Vec<Kind> {
    let defaults = |title| {
        kind(title)
            .setup("ALTER ROLE {me} SET work_mem = '5MB'")
            .setup("ALTER DATABASE {me} SET TimeZone = 'Asia/Tokyo'")
            .setup("ALTER ROLE {me} IN DATABASE {me} SET my.x = 'of both'")
            .look("SHOW work_mem")
            .look("SHOW TimeZone")
            .look("SELECT coalesce(current_setting('my.x', true), '')")
    };
    vec![
        defaults("ALTER ROLE, ALTER DATABASE, both"),
        defaults("defaults of role and database, set and RESET").says_all(&[
            "SET work_mem = '7MB'",
            "SET TimeZone = 'UTC'",
            "SET my.x = 'mine'",
            "RESET work_mem",
            "RESET TimeZone",
            "RESET my.x",
        ]),
        defaults("defaults of role and database and RESET ALL").says_all(&[
            "SET work_mem = '7MB'",
            "SET my.x = 'mine'",
            "RESET ALL",
        ]),
        defaults("defaults of role and database behind a startup parameter")
            .startup("TimeZone", "Europe/Rome")
            .says("SET TimeZone = 'UTC'")
            .says("RESET TimeZone"),
    ]
}
