//! What drivers and psql send to the console.

use super::world::{World, names, rows};
use crate::support::frames::Frames;

#[test]
fn several_commands_in_one_text() {
    let world = World::new("", "");
    let mut client = world.admin().0;
    let reply = client.query("show version; -- and\n SHOW \"state\" ;");
    assert_eq!(reply.tags(), "TDCTDDDCZ");
    assert_eq!(reply.commands(), ["SHOW", "SHOW"]);
    // A mistake in one of them: none is run. An error while they run ends the text.
    assert_eq!(client.query("PAUSE acme; PAUS globex").tags(), "EZ");
    assert_eq!(client.query("RESUME acme").errors(), ["55000"]);
    let reply = client.query("SHOW VERSION; PAUSE nosuch; SHOW VERSION");
    assert_eq!((reply.tags().as_str(), reply.status()), ("TDCEZ", 'I'));
    assert_eq!(client.query("").tags(), "IZ");
    assert_eq!(client.query(" ; -- nothing").tags(), "IZ");
}

#[test]
fn what_it_does_not_know_is_a_syntax_error_with_a_hint() {
    let world = World::new("", "");
    let mut client = world.admin().0;
    // psql's completion.
    let sql = "SELECT pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_class c LIMIT 1000";
    let reply = client.query(sql);
    let error = reply.0.iter().find(|m| m.tag == b'E').unwrap();
    assert_eq!(error.field(b'C').as_deref(), Some("42601"));
    assert_eq!(error.field(b'H').as_deref(), Some("use SHOW HELP;"));
    assert_eq!(error.field(b'S').as_deref(), Some("ERROR"));
    assert_eq!(client.query("SHOW FDS").errors(), ["0A000"]);
    assert_eq!(client.query("SHOW BUDGET").errors(), ["0A000"]);
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn help_explains_in_a_notice() {
    let world = World::new("", "");
    let mut client = world.admin().0;
    let reply = client.query("SHOW HELP");
    assert_eq!(reply.commands(), ["SHOW"]);
    let notice = reply.0.iter().find(|m| m.tag == b'N').unwrap();
    assert_eq!(notice.field(b'M').as_deref(), Some("Console usage"));
    let detail = notice.field(b'D').unwrap();
    for command in ["SHOW POOLS", "PAUSE [tenant]", "KILL_CLIENT id", "SET key"] {
        assert!(detail.contains(command), "{detail}");
    }
}

#[test]
fn what_drivers_send_by_themselves_does_nothing() {
    let world = World::new("", "");
    let mut client = world.console("watch", "tenantry").0;
    for (sql, tag) in [
        ("SET client_encoding TO 'UTF8'", "SET"),
        ("SET extra_float_digits = 3", "SET"),
        ("SET application_name = 'x'", "SET"),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SET",
        ),
        ("SET datestyle = ISO, MDY", "SET"),
        ("BEGIN", "BEGIN"),
        ("COMMIT", "COMMIT"),
        ("ROLLBACK", "ROLLBACK"),
        ("RESET ALL", "RESET"),
        ("DISCARD ALL", "DISCARD ALL"),
        ("UNLISTEN *", "UNLISTEN"),
        ("CLOSE ALL", "CLOSE CURSOR ALL"),
    ] {
        let reply = client.query(sql);
        assert_eq!(
            (reply.commands(), reply.status()),
            (vec![tag.to_owned()], 'I'),
            "{sql}"
        );
    }
    assert_eq!(client.value("SHOW standard_conforming_strings"), "on");
    assert_eq!(
        client.value("SHOW transaction isolation level"),
        "read committed"
    );
    assert!(
        client
            .value("SELECT version()")
            .starts_with("PgBouncer 1.25.0")
    );
}

/// Parse, Bind with these formats of results, Describe of the portal, Execute.
fn run(sql: &str, formats: &[u8], rows: u32) -> Frames {
    let mut bind = b"\0\0\0\0\0\0".to_vec();
    bind.extend(u16::try_from(formats.len()).unwrap().to_be_bytes());
    bind.extend(formats.iter().flat_map(|f| [0, *f]));
    Frames::default()
        .parse("", sql)
        .message(b'B', &bind)
        .describe_portal("")
        .execute_portal("", rows)
}

#[test]
fn the_extended_protocol_gives_the_same_rows() {
    let world = World::new("", "");
    let mut client = world.admin().0;
    let simple = rows(&client.query("SHOW DATABASES"));
    let reply = client.ask(&run("SHOW DATABASES", &[], 0).sync());
    assert_eq!(reply.tags(), "12TDDDCZ");
    assert_eq!(rows(&reply), simple);
    // Of a prepared statement: no parameters, the columns before it has run.
    let frames = Frames::default()
        .parse("p", "SHOW POOLS;")
        .describe("p")
        .sync();
    let reply = client.ask(&frames);
    assert_eq!(reply.tags(), "1tTZ");
    assert_eq!(
        names(&reply.0[2].body)[..3],
        ["database", "user", "cl_active"]
    );
    let run = Frames::default().bind("p", &[]).execute().sync();
    assert_eq!(client.ask(&run).tags(), "2DCZ");
    assert_eq!(
        client.ask(&Frames::default().close("p").sync()).tags(),
        "3Z"
    );
    assert_eq!(client.ask(&run).errors(), ["26000"]);
}

#[test]
fn numbers_are_binary_where_that_is_asked_for() {
    let world = World::new("", "");
    let mut client = world.admin().0;
    let reply = client.ask(&run("SHOW LISTS", &[1], 1).sync());
    assert_eq!(reply.tags(), "12TDsZ");
    let row = reply.0.iter().find(|m| m.tag == b'D').unwrap();
    assert_eq!(row.body, b"\0\x02\0\0\0\x09databases\0\0\0\x04\0\0\0\x03");
    let reply = client.ask(&run("SHOW TOTALS", &[0, 1], 1).sync());
    let row = reply.0.iter().find(|m| m.tag == b'D').unwrap();
    let numeric = b"\0\0\0\x08\0\0\0\0\0\0\0\0";
    assert!(row.body.ends_with(numeric), "no lease so far: {row:?}");
    let reply = client.ask(&run("SHOW LISTS", &[0, 1, 1], 0).sync());
    assert_eq!(reply.errors(), ["08P01"], "three formats for two columns");
}

#[test]
fn rows_come_in_portions_if_they_are_asked_for_so() {
    let world = World::new("", "");
    let mut client = world.admin().0;
    let frames = run("SHOW STATE", &[], 2)
        .execute_portal("", 2)
        .execute_portal("", 2);
    let reply = client.ask(&frames.sync());
    assert_eq!(reply.tags(), "12TDDsDCCZ");
}

#[test]
fn after_an_error_everything_up_to_sync_is_skipped() {
    let world = World::new("", "");
    let mut client = world.admin().0;
    let frames = run("SHOW NONSENSE", &[], 0).run("SHOW VERSION").sync();
    assert_eq!(client.ask(&frames).tags(), "EZ");
    let two = Frames::default()
        .parse("", "SHOW VERSION; SHOW STATE")
        .sync();
    assert_eq!(client.ask(&two).errors(), ["42601"]);
    let parameter = Frames::default()
        .parse("", "SHOW STATE")
        .bind("", &["x"])
        .sync();
    let reply = client.ask(&parameter);
    assert_eq!(
        (reply.tags().as_str(), reply.errors()),
        ("1EZ", vec!["08P01".to_owned()])
    );
    let twice = Frames::default()
        .parse("a", "SHOW STATE")
        .parse("a", "SHOW STATE")
        .sync();
    assert_eq!(client.ask(&twice).errors(), ["42P05"]);
    assert_eq!(client.ask(&Frames::default().run("").sync()).tags(), "12IZ");
    assert_eq!(
        client.ask(&Frames::default().run("RESUME").sync()).errors(),
        ["55000"]
    );
    assert_eq!(
        client
            .ask(&Frames::default().run("SET timezone = 'UTC'").sync())
            .tags(),
        "12CZ"
    );
}

#[test]
fn nonsense_ends_the_session_with_a_word() {
    let world = World::new("", "");
    for (bytes, text) in [
        (&b"Q\0\0\0\x03"[..], "invalid message length"),
        (b"Q\x01\0\0\0", "message is too long for the console"),
        (b"?\0\0\0\x04", "unknown type of message"),
        (b"Q\0\0\0\x05x", "malformed query message"),
    ] {
        let mut client = world.admin().0;
        client.send(bytes).unwrap();
        let messages = client.end();
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert_eq!(messages[0].field(b'M').as_deref(), Some(text));
        assert_eq!(messages[0].field(b'S').as_deref(), Some("FATAL"));
    }
}

#[test]
fn messages_may_come_byte_by_byte_and_many_at_once() {
    let world = World::new("", "");
    let mut client = world.admin().0;
    client.put_bytewise(&Frames::default().query("SHOW STATE"));
    assert_eq!(client.ready().tags(), "TDDDCZ");
    client.put(&(0..100).fold(Frames::default(), |f, _| f.query("SHOW VERSION")));
    for _ in 0..100 {
        assert_eq!(client.ready().tags(), "TDCZ");
    }
}
