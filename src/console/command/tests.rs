//! Every spelling of commands, and what mistakes look like.

use super::*;

fn one(text: &str) -> Command {
    let mut all = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0)
}

fn tenant(name: &str) -> Target {
    Target::Tenant(name.to_owned())
}

#[test]
fn commands_in_every_spelling() {
    let cluster = Target::Cluster("main".into());
    for (text, expected) in [
        ("SHOW POOLS", Command::Show(Show::Pools)),
        (" show /* now */ \"pools\" ;;", Command::Show(Show::Pools)),
        ("Show Help", Command::Help),
        ("PAUSE", Command::Order(Order::Pause(Target::All))),
        (
            "pause acme-2",
            Command::Order(Order::Pause(tenant("acme-2"))),
        ),
        (
            "PAUSE \"acme\"",
            Command::Order(Order::Pause(tenant("acme"))),
        ),
        ("PAUSE 'acme'", Command::Order(Order::Pause(tenant("acme")))),
        (
            "PAUSE cluster main",
            Command::Order(Order::Pause(cluster.clone())),
        ),
        (
            "RESUME CLUSTER 'main'",
            Command::Order(Order::Resume(cluster)),
        ),
        (
            "PAUSE cluster",
            Command::Order(Order::Pause(tenant("cluster"))),
        ),
        ("disable a", Command::Order(Order::Disable("a".into()))),
        ("KILL_CLIENT 12", Command::Order(Order::KillClient(12))),
        (
            "SHUTDOWN wait_for_clients",
            Command::Order(Order::Shutdown(Shutdown::WaitForClients)),
        ),
        ("SET application_name TO 'x'", Command::IgnoreSet),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            Command::IgnoreSet,
        ),
        ("SET datestyle = ISO, MDY", Command::IgnoreSet),
        (
            "select pg_catalog.version()",
            Command::Say(&[("version", Type::Text)], super::super::VERSION.into()),
        ),
        (
            "show transaction isolation level",
            Command::Say(
                &[("transaction_isolation", Type::Text)],
                "read committed".into(),
            ),
        ),
        ("begin read only", Command::Ignore("BEGIN")),
    ] {
        assert_eq!(one(text), expected, "{text}");
    }
}

#[test]
fn set_keeps_the_value_as_it_was_typed() {
    for (text, key, value) in [
        ("SET pool.size = 30;", "pool.size", "30"),
        (
            "set log.level to 'info, x=debug' -- end",
            "log.level",
            "'info, x=debug'",
        ),
        ("SET a = [1, 2]", "a", "[1, 2]"),
        ("SET SESSION a = 5m", "a", "5m"),
    ] {
        let expected = Command::Order(Order::Set {
            key: key.into(),
            value: value.into(),
        });
        assert_eq!(one(text), expected, "{text}");
    }
}

#[test]
fn several_commands_count_together_or_not_at_all() {
    assert_eq!(parse("show lists; pause a").map(|all| all.len()), Ok(2));
    assert_eq!(parse("").map(|all| all.len()), Ok(0));
    assert!(parse("pause a; selec 1").is_err());
}

#[test]
fn mistakes_have_a_code_and_a_hint() {
    for (text, code, message) in [
        (
            "SELECT c.relname FROM pg_class",
            SqlState::SYNTAX,
            "invalid command 'SELECT c.relname FROM pg_class'",
        ),
        ("SHOW POOL", SqlState::SYNTAX, "invalid command 'SHOW POOL'"),
        ("SHOW", SqlState::SYNTAX, "invalid command 'SHOW'"),
        ("PAUSE a b", SqlState::SYNTAX, "invalid command 'PAUSE a b'"),
        (
            "KILL CLUSTER main",
            SqlState::SYNTAX,
            "invalid command 'KILL CLUSTER main'",
        ),
        (
            "RELOAD now",
            SqlState::SYNTAX,
            "invalid command 'RELOAD now'",
        ),
        ("ENABLE", SqlState::SYNTAX, "a database is required"),
        (
            "KILL_CLIENT x",
            SqlState::SYNTAX,
            "invalid client id supplied",
        ),
        ("SET x", SqlState::SYNTAX, "invalid command 'SET x'"),
        (
            "'",
            SqlState::SYNTAX,
            "unterminated quote or comment in command '''",
        ),
        (
            "SHOW FDS",
            SqlState::UNSUPPORTED,
            "SHOW FDS is not supported: it would show keys of clients' sessions",
        ),
        (
            "SHOW CACHE",
            SqlState::UNSUPPORTED,
            "SHOW CACHE is not supported yet",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!((error.code, &*error.message), (code, message), "{text}");
    }
    assert_eq!(parse("x").unwrap_err().hint.as_deref(), Some(USE_HELP));
    assert_eq!(
        shortened(&"ä\n".repeat(50)),
        format!("{}..", "ä ".repeat(30))
    );
}

#[test]
fn every_table_is_in_the_help_and_in_the_documents_with_its_columns() {
    let page = include_str!("../../../docs/console.md");
    let help = super::super::help::notice().detail.unwrap_or_default();
    for (name, table) in TABLES {
        let name = name.to_ascii_uppercase();
        assert!(help.contains(&format!("SHOW {name}")), "{name}");
        assert!(page.contains(&name), "{name}");
        let told_otherwise = name.starts_with("STATS") || name == "TOTALS";
        // There are no rows of these, or no columns of note.
        let empty = ["DNS_HOSTS", "DNS_ZONES", "MEM", "PEERS", "PEER_POOLS"];
        let terse = [
            "LISTS",
            "STATE",
            "USERS",
            "VERSION",
            "SOCKETS",
            "ACTIVE_SOCKETS",
        ];
        if told_otherwise || empty.contains(&&*name) || terse.contains(&&*name) {
            continue;
        }
        for (column, _) in crate::console::show::columns(table) {
            assert!(page.contains(&format!("`{column}`")), "{column} of {name}");
        }
    }
}
