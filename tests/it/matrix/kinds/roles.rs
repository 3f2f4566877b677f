//! Who a session acts as.

use super::super::kind::{Kind, kind};

pub fn kinds() -> Vec<Kind> {
    let mut all = role();
    all.extend(authorization());
    all
}

fn who(title: &'static str) -> Kind {
    kind(title)
        .setup("CREATE ROLE {me}_reader")
        .setup("GRANT {me}_reader TO {me}")
        .setup("CREATE TABLE secret AS SELECT 1 AS v")
        .setup("GRANT SELECT ON secret TO {me}")
        .look("SELECT current_user, session_user, current_setting('role')")
        .look("SELECT v FROM secret")
}

fn role() -> Vec<Kind> {
    vec![
        who("SET ROLE").says("SET ROLE {me}_reader"),
        who("SET ROLE, committed").says_all(&["BEGIN", "SET ROLE {me}_reader", "COMMIT"]),
        who("SET ROLE, rolled back").says_all(&["BEGIN", "SET ROLE {me}_reader", "ROLLBACK"]),
        who("SET ROLE behind a savepoint that is rolled back to").says_all(&[
            "BEGIN",
            "SAVEPOINT s",
            "SET ROLE {me}_reader",
            "ROLLBACK TO s",
            "COMMIT",
        ]),
        who("SET LOCAL ROLE").says_all(&[
            "BEGIN",
            "SET LOCAL ROLE {me}_reader",
            "SELECT current_user",
            "COMMIT",
        ]),
        who("RESET ROLE")
            .says("SET ROLE {me}_reader")
            .says("RESET ROLE"),
        who("SET ROLE NONE")
            .says("SET ROLE {me}_reader")
            .says("SET ROLE NONE"),
        who("SET role = ..").says("SET role = '{me}_reader'"),
        who("SET ROLE and RESET ALL, which keeps it")
            .says("SET ROLE {me}_reader")
            .says("RESET ALL"),
        who("SET ROLE and DISCARD ALL")
            .says("SET ROLE {me}_reader")
            .says("DISCARD ALL"),
        who("SET ROLE that is not allowed").says("SET ROLE postgres"),
        who("set_config of role").says("SELECT set_config('role', '{me}_reader', false)"),
        who("SET ROLE in DO").says("DO $$ BEGIN EXECUTE 'SET ROLE {me}_reader'; END $$"),
        who("SET ROLE in a string").together(&["SET ROLE {me}_reader", "SELECT current_user"]),
        who("SET ROLE and a setting")
            .says("SET work_mem = '7MB'")
            .says("SET ROLE {me}_reader")
            .look("SHOW work_mem"),
    ]
}

fn authorization() -> Vec<Kind> {
    vec![
        who("SET SESSION AUTHORIZATION")
            .superuser()
            .says("SET SESSION AUTHORIZATION {me}_reader"),
        who("SET SESSION AUTHORIZATION, rolled back")
            .superuser()
            .says_all(&["BEGIN", "SET SESSION AUTHORIZATION {me}_reader", "ROLLBACK"]),
        who("SET LOCAL SESSION AUTHORIZATION")
            .superuser()
            .says_all(&[
                "BEGIN",
                "SET LOCAL SESSION AUTHORIZATION {me}_reader",
                "SELECT current_user",
                "COMMIT",
            ]),
        who("RESET SESSION AUTHORIZATION")
            .superuser()
            .says("SET SESSION AUTHORIZATION {me}_reader")
            .says("RESET SESSION AUTHORIZATION"),
        who("SET SESSION AUTHORIZATION and SET ROLE")
            .setup("CREATE ROLE {me}_writer; GRANT {me}_writer TO {me}_reader")
            .superuser()
            .says("SET SESSION AUTHORIZATION {me}_reader")
            .says("SET ROLE {me}_writer"),
        who("SET SESSION AUTHORIZATION and DISCARD ALL")
            .superuser()
            .says("SET SESSION AUTHORIZATION {me}_reader")
            .says("DISCARD ALL"),
    ]
}
