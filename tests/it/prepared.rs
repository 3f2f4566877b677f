//! Prepared statements over changing server connections, compared with what PostgreSQL itself does.

use super::support::client::{Client, Reply};
use super::support::frames::Frames;
use super::support::postgres::Database;
use super::support::proxy::{Proxy, Toml};

const PID: &str = "SELECT pg_backend_pid()";
/// Fails when it is executed, not before.
const FAILS: &str = "SELECT 1/(pg_backend_pid() * 0)";

fn frames() -> Frames {
    Frames::default()
}

fn run(statement: &str) -> Frames {
    frames().bind(statement, &[]).execute().sync()
}

/// A proxy with two server connections, of which one is open and idle; and a client.
fn world(pool: &str) -> (Database, Proxy, Client) {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, &format!("size = 2\n{pool}"));
    let client = proxy.client(&database.name);
    (database, proxy, client)
}

/// Takes the server connection that was used last away: whoever comes next gets another one.
fn occupy(proxy: &Proxy, database: &Database) -> Client {
    let mut other = proxy.client(&database.name);
    assert_eq!(other.query("BEGIN").status(), 'T');
    other
}

/// The same dialogue on a fresh proxied connection and on a direct one gives the same messages.
fn same_as_direct(database: &Database, proxy: &Proxy, dialogue: &[Frames]) -> Vec<Reply> {
    let mut direct = Client::direct(database).unwrap();
    let mut proxied = proxy.client(&database.name);
    let all = |client: &mut Client| -> Vec<Reply> {
        let asked = dialogue.iter().map(|frames| client.ask(frames));
        asked.map(essential).collect()
    };
    let expected = all(&mut direct);
    assert_eq!(all(&mut proxied), expected);
    expected
}

/// What is to be equal: everything, but of errors the code only (positions, names of our own).
fn essential(mut reply: Reply) -> Reply {
    reply.0.retain(|m| !matches!(m.tag, b'S' | b'N'));
    for message in reply.0.iter_mut().filter(|m| m.tag == b'E') {
        message.body = format!("C{}\0\0", message.field(b'C').unwrap()).into_bytes();
    }
    reply
}

#[test]
fn statement_follows_its_session_to_another_server_connection() {
    let (database, proxy, mut a) = world("");
    let first = a.ask(&frames().parse("s", PID).bind("s", &[]).execute().sync());
    let _other = occupy(&proxy, &database);
    let second = a.ask(&run("s"));
    assert_eq!(second.tags(), "2DCZ");
    assert_ne!(first.one(), second.one());
}

#[test]
fn standalone_describe_works_on_another_server_connection() {
    let (database, proxy, mut a) = world("");
    assert_eq!(
        a.ask(&frames().parse("s", "SELECT $1::int").sync()).tags(),
        "1Z"
    );
    let _other = occupy(&proxy, &database);
    assert_eq!(a.ask(&frames().describe("s").sync()).tags(), "tTZ");
}

#[test]
fn failed_parse_leaves_no_name() {
    let (database, proxy, mut a) = world("");
    assert_eq!(
        a.ask(&frames().parse("s", "SELEKT").sync()).errors(),
        ["42601"]
    );
    assert_eq!(a.ask(&run("s")).errors(), ["26000"]);
    // The name is free, here and on another server connection.
    let good = frames().parse("s", "SELECT 'good'").sync();
    assert_eq!(a.ask(&good).tags(), "1Z");
    let _other = occupy(&proxy, &database);
    assert_eq!(a.ask(&run("s")).one(), "good");
}

#[test]
fn skipped_parse_leaves_no_name() {
    let (_database, _proxy, mut a) = world("");
    let batch = frames().run(FAILS).parse("s", "SELECT 1").sync();
    assert_eq!(a.ask(&batch).tags(), "12EZ");
    assert_eq!(a.ask(&run("s")).errors(), ["26000"]);
    assert_eq!(a.ask(&frames().parse("s", "SELECT 2").sync()).tags(), "1Z");
    assert_eq!(a.ask(&run("s")).one(), "2");
}

#[test]
fn skipped_close_keeps_the_name() {
    let (_database, _proxy, mut a) = world("");
    a.ask(&frames().parse("s", "SELECT 1").sync());
    let batch = frames().run(FAILS).close("s").parse("s", "SELECT 2").sync();
    assert_eq!(a.ask(&batch).tags(), "12EZ");
    assert_eq!(a.ask(&run("s")).one(), "1");
}

#[test]
fn two_clients_use_one_name_for_two_texts() {
    let (database, proxy, mut a) = world("");
    let mut b = proxy.client(&database.name);
    a.ask(&frames().parse("s", "SELECT 'a'").sync());
    b.ask(&frames().parse("s", "SELECT 'b'").sync());
    for _ in 0..3 {
        assert_eq!(a.ask(&run("s")).one(), "a");
        assert_eq!(b.ask(&run("s")).one(), "b");
    }
    let _other = occupy(&proxy, &database);
    assert_eq!(
        (a.ask(&run("s")).one(), b.ask(&run("s")).one()),
        ("a".into(), "b".into())
    );
}

#[test]
fn two_clients_share_one_text_under_two_names() {
    let (database, proxy, mut a) = world("");
    let mut b = proxy.client(&database.name);
    a.ask(&frames().parse("x", "SELECT 'same'").sync());
    b.ask(&frames().parse("y", "SELECT 'same'").sync());
    a.ask(&frames().close("x").sync());
    assert_eq!(a.ask(&run("x")).errors(), ["26000"]);
    assert_eq!(b.ask(&run("y")).one(), "same");
}

#[test]
fn deallocate_all_and_discard_all_forget_everything() {
    for sql in ["DEALLOCATE ALL", "DISCARD ALL"] {
        let (database, proxy, mut a) = world("");
        let mut b = proxy.client(&database.name);
        for name in ["s", "t"] {
            a.ask(&frames().parse(name, &format!("SELECT '{name}'")).sync());
        }
        b.ask(&frames().parse("s", "SELECT 's'").sync());
        assert_eq!(a.query(sql).commands(), [sql]);
        for name in ["s", "t"] {
            assert_eq!(a.ask(&run(name)).errors(), ["26000"], "{sql}");
        }
        // Another session keeps its own, on the very same server connection.
        assert_eq!(b.ask(&run("s")).one(), "s", "{sql}");
        assert_eq!(
            a.ask(&frames().parse("s", "SELECT 'new'").sync()).tags(),
            "1Z"
        );
        assert_eq!(a.ask(&run("s")).one(), "new");
        let _other = occupy(&proxy, &database);
        assert_eq!(
            (a.ask(&run("s")).one(), b.ask(&run("s")).one()),
            ("new".into(), "s".into())
        );
    }
}

#[test]
fn names_given_behind_a_pipelined_deallocate_all_stay() {
    let (_database, _proxy, mut a) = world("");
    a.ask(&frames().parse("s", "SELECT 1").sync());
    for sql in ["DEALLOCATE ALL", "DISCARD ALL"] {
        a.put(
            &frames()
                .query(sql)
                .parse("s", "SELECT 1")
                .bind("s", &[])
                .execute()
                .sync(),
        );
        assert_eq!(a.ready().tags(), "CZ");
        assert_eq!(a.ready().one(), "1", "{sql}");
        assert_eq!(a.ask(&run("s")).one(), "1", "{sql}");
        let batch = frames()
            .run(sql)
            .parse("s", "SELECT 1")
            .bind("s", &[])
            .execute()
            .sync();
        assert_eq!(a.ask(&batch).tags(), "12C12DCZ", "{sql}");
        assert_eq!(a.ask(&run("s")).one(), "1", "{sql}");
    }
}

#[test]
fn deallocate_all_in_the_extended_protocol_forgets_everything() {
    let (_database, _proxy, mut a) = world("");
    a.ask(&frames().parse("s", "SELECT 1").sync());
    assert_eq!(a.ask(&frames().run("DEALLOCATE ALL").sync()).tags(), "12CZ");
    assert_eq!(a.ask(&run("s")).errors(), ["26000"]);
    assert_eq!(a.ask(&frames().parse("s", "SELECT 1").sync()).tags(), "1Z");
    assert_eq!(a.ask(&run("s")).one(), "1");
}

#[test]
fn failed_deallocate_all_forgets_nothing() {
    let (_database, _proxy, mut a) = world("");
    a.ask(&frames().parse("s", "SELECT 's'").sync());
    a.query("BEGIN");
    assert_eq!(a.query("DISCARD ALL").errors(), ["25001"]);
    a.query("ROLLBACK");
    assert_eq!(a.ask(&run("s")).one(), "s");
}

#[test]
fn deallocate_by_name_works_for_protocol_names() {
    let (database, proxy, mut a) = world("");
    let mut b = proxy.client(&database.name);
    for client in [&mut a, &mut b] {
        client.ask(&frames().parse("s", "SELECT 1").sync());
    }
    let _other = occupy(&proxy, &database);
    assert_eq!(a.query("DEALLOCATE s").commands(), ["DEALLOCATE"]);
    assert_eq!(a.ask(&run("s")).errors(), ["26000"]);
    assert_eq!(a.query("DEALLOCATE s").errors(), ["26000"]);
    assert_eq!(b.ask(&run("s")).one(), "1");
}

#[test]
fn name_is_free_behind_a_pipelined_deallocate() {
    let (_database, _proxy, mut a) = world("");
    a.ask(&frames().parse("s", "SELECT 1").sync());
    a.put(
        &frames()
            .query("DEALLOCATE s")
            .parse("s", "SELECT 2")
            .bind("s", &[])
            .execute()
            .sync(),
    );
    assert_eq!(a.ready().tags(), "CZ");
    assert_eq!(a.ready().one(), "2");
}

#[test]
fn redefinition_after_close_in_one_batch() {
    let (database, proxy, _) = world("");
    let batch = frames()
        .parse("s", "SELECT 1")
        .bind("s", &[])
        .execute()
        .close("s")
        .parse("s", "SELECT 2")
        .bind("s", &[])
        .describe_portal("")
        .execute()
        .sync();
    let replies = same_as_direct(&database, &proxy, &[batch, run("s")]);
    assert_eq!(
        (replies[0].rows().join(","), replies[1].one()),
        ("1,2".into(), "2".into())
    );
}

#[test]
fn duplicate_name_is_the_servers_own_error() {
    let (database, proxy, _) = world("");
    let replies = same_as_direct(
        &database,
        &proxy,
        &[
            frames().parse("s", "SELECT 1").sync(),
            frames()
                .run("SELECT 0")
                .parse("s", "SELECT 2")
                .run("SELECT 3")
                .sync(),
            run("s"),
        ],
    );
    assert_eq!(replies[1].errors(), ["42P05"]);
    assert_eq!(replies[2].one(), "1");
    // The name is left on no server connection.
    let mut a = proxy.client(&database.name);
    assert_eq!(a.ask(&run("s")).errors(), ["26000"]);
}

#[test]
fn errors_of_names_read_as_the_servers_own() {
    let (database, proxy, mut a) = world("");
    let mut direct = Client::direct(&database).unwrap();
    for batch in [run("nobody"), frames().describe("nobody").sync()] {
        let text = |r: Reply| {
            r.0.iter()
                .find_map(|m| (m.tag == b'E').then(|| m.body.clone()))
        };
        assert_eq!(text(a.ask(&batch)), text(direct.ask(&batch)));
    }
    let replies = same_as_direct(&database, &proxy, &[frames().close("nobody").sync()]);
    assert_eq!(replies[0].tags(), "3Z");
}

#[test]
fn least_recently_used_statements_are_evicted_and_come_back() {
    let (database, _proxy, mut a) = world("max_prepared_statements = 2");
    for n in 0..4 {
        let sql = format!("SELECT {n}");
        assert_eq!(
            a.ask(&frames().parse(&n.to_string(), &sql).sync()).tags(),
            "1Z"
        );
    }
    for _ in 0..2 {
        for n in 0..4 {
            assert_eq!(a.ask(&run(&n.to_string())).one(), n.to_string());
        }
    }
    let all = (0..4).fold(frames(), |f, n| f.bind(&n.to_string(), &[]).execute());
    assert_eq!(a.ask(&all.sync()).rows(), ["0", "1", "2", "3"]);
    let held = "SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql";
    assert_eq!(a.value(held), "2", "{}", database.name);
}

#[test]
fn eviction_survives_an_error_at_any_place_of_the_batch() {
    let (_database, _proxy, mut a) = world("max_prepared_statements = 2");
    for n in 0..4 {
        let sql = format!("SELECT {n}");
        a.ask(&frames().parse(&n.to_string(), &sql).sync());
    }
    for place in 0..=4 {
        // 3 and 2 are there; each of the others evicts one, and comes back while it is skipped.
        let order = [0, 3, 1, 2];
        let mut batch = frames();
        for (i, n) in order.iter().enumerate() {
            if i == place {
                batch = batch.run(FAILS);
            }
            batch = batch.bind(&n.to_string(), &[]).execute();
        }
        if place == order.len() {
            batch = batch.run(FAILS);
        }
        let reply = a.ask(&batch.sync());
        assert_eq!(
            (reply.errors().len(), reply.rows().len()),
            (1, place),
            "{reply:?}"
        );
        for n in [0, 1, 2, 3, 3, 2] {
            assert_eq!(
                a.ask(&run(&n.to_string())).tags(),
                "2DCZ",
                "error at {place}, then {n}"
            );
        }
    }
}

#[test]
fn unnamed_statement_is_used_in_a_later_batch_after_the_lease_moved() {
    let (database, proxy, mut a) = world("");
    assert_eq!(a.ask(&frames().parse("", PID).sync()).tags(), "1Z");
    let mut other = occupy(&proxy, &database);
    // Another session's unnamed statement is now the server connection's.
    other.ask(&frames().run("SELECT 'foreign'").sync());
    other.query("COMMIT");
    let _first = occupy(&proxy, &database);
    let reply = a.ask(&run(""));
    assert_eq!(reply.tags(), "2DCZ");
    assert_ne!(reply.one(), "foreign");
}

#[test]
fn unnamed_statement_of_another_session_is_not_seen() {
    let (database, proxy, mut a) = world("");
    let mut b = proxy.client(&database.name);
    a.ask(&frames().run("SELECT 'foreign'").sync());
    assert_eq!(b.ask(&run("")).errors(), ["26000"]);
    assert_eq!(b.ask(&frames().describe("").sync()).errors(), ["26000"]);
    assert_eq!(a.ask(&run("")).one(), "foreign");
}

#[test]
fn simple_query_drops_the_unnamed_statement() {
    let (database, proxy, _) = world("");
    let dialogue = [
        frames().parse("", "SELECT 1").sync(),
        frames().query("SELECT 2"),
        run(""),
    ];
    assert_eq!(
        same_as_direct(&database, &proxy, &dialogue)[2].errors(),
        ["26000"]
    );
}

#[test]
fn portals_live_within_their_transaction() {
    let (database, proxy, _) = world("");
    let series = "SELECT generate_series(1, 5)";
    let dialogue = [
        frames()
            .parse("s", series)
            .bind_portal("p", "s", &[])
            .execute_portal("p", 2)
            .execute_portal("p", 2)
            .describe_portal("p")
            .close_portal("p")
            .sync(),
        frames().bind_portal("p", "s", &[]).sync(),
        frames().execute_portal("p", 0).sync(),
        frames().query("BEGIN"),
        frames()
            .bind_portal("p", "s", &[])
            .execute_portal("p", 1)
            .sync(),
        frames().execute_portal("p", 0).sync(),
        frames().query("COMMIT"),
    ];
    let replies = same_as_direct(&database, &proxy, &dialogue);
    assert_eq!(replies[0].rows(), ["1", "2", "3", "4"]);
    assert_eq!(replies[2].errors(), ["34000"]);
    assert_eq!(replies[5].rows().len(), 4);
}

#[test]
fn statements_are_not_shared_between_search_paths() {
    let (database, proxy, mut setup) = world("");
    for schema in ["one", "two"] {
        let sql =
            format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.t AS SELECT '{schema}' AS v");
        setup.query(&sql);
    }
    let client = |path: &str| {
        let options = format!("-c search_path={path}");
        let mut client = proxy.client_with(&database.name, &[("options", &options)]);
        client.ask(&frames().parse("s", "SELECT v FROM t").sync());
        client
    };
    let (mut one, mut two) = (client("one"), client("two"));
    for _ in 0..3 {
        assert_eq!(one.ask(&run("s")).one(), "one");
        assert_eq!(two.ask(&run("s")).one(), "two");
    }
}

#[test]
fn statements_are_not_shared_between_time_zones() {
    let (database, proxy, _setup) = world("");
    let sql = "SELECT extract(epoch FROM '2024-01-01 00:00'::timestamptz)::bigint";
    let client = |zone: &str| {
        let mut client = proxy.client_with(&database.name, &[("TimeZone", zone)]);
        client.ask(&frames().parse("s", sql).sync());
        client
    };
    let (mut utc, mut tokyo) = (client("UTC"), client("Asia/Tokyo"));
    for _ in 0..3 {
        assert_eq!(utc.ask(&run("s")).one(), "1704067200");
        assert_eq!(tokyo.ask(&run("s")).one(), "1704034800");
    }
}

#[test]
fn statement_parsed_under_set_local_is_shared_with_nobody() {
    let (database, proxy, mut a) = world("");
    let mut b = proxy.client(&database.name);
    let sql = "SELECT extract(epoch FROM '2024-01-01 00:00'::timestamptz)::bigint";
    a.query("BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'");
    a.ask(&frames().parse("s", sql).bind("s", &[]).execute().sync());
    a.query("COMMIT");
    b.query("BEGIN; SET LOCAL TimeZone = 'UTC'");
    let reply = b.ask(&frames().parse("s", sql).bind("s", &[]).execute().sync());
    assert_eq!(reply.one(), "1704067200");
    b.query("COMMIT");
}

#[test]
fn statement_parsed_under_set_is_shared_with_nobody() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let mut a = proxy.client(&database.name);
    let sql = "SELECT extract(epoch FROM '2024-01-01 00:00'::timestamptz)::bigint";
    let prepare = frames().parse("s", sql).bind("s", &[]).execute().sync();
    let here = a.ask(&prepare).one();
    let mut b = proxy.client(&database.name);
    b.query("SET TimeZone = 'Asia/Tokyo'");
    assert_eq!(b.ask(&prepare).one(), "1704034800");
    drop(b);
    assert_eq!(a.ask(&run("s")).one(), here);
}

#[test]
fn a_text_parsed_by_a_pinned_session_is_not_known_to_others() {
    let (database, proxy, mut a) = world("");
    let name = &database.name;
    database.admin(&format!(
        "CREATE SCHEMA own; GRANT USAGE ON SCHEMA own TO {name}; CREATE TABLE own.t (v int); \
         GRANT ALL ON own.t TO {name}"
    ));
    a.query("SELECT set_config('search_path', 'own', false)");
    let parse = frames().parse("s", "SELECT v FROM t").sync();
    assert_eq!(a.ask(&parse).tags(), "1Z");
    assert_eq!(proxy.client(name).ask(&parse).errors(), ["42P01"]);
}

/// Names of server connections begin with `tenantry_`; nobody else may use one.
#[test]
fn names_that_only_the_proxy_gives_reach_no_statement_of_another_session() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let (mut a, mut b) = (proxy.client(&database.name), proxy.client(&database.name));
    a.ask(&frames().parse("s", "SELECT 'secret'").sync());
    assert_eq!(a.ask(&run("s")).one(), "secret");
    let names = "SELECT string_agg(name, ' ') FROM pg_prepared_statements WHERE NOT from_sql";
    for name in b.value(names).split(' ') {
        assert!(name.starts_with("tenantry_"), "{name}");
        assert_eq!(b.ask(&run(name)).errors(), ["26000"]);
        assert_eq!(b.ask(&frames().describe(name).sync()).errors(), ["26000"]);
        assert_eq!(b.ask(&frames().close(name).sync()).tags(), "3Z");
        let deallocate = format!("DEALLOCATE {name}");
        assert_eq!(b.query(&deallocate).errors(), ["26000"]);
        assert_eq!(a.ask(&run("s")).one(), "secret");
    }
    for guess in 0..4 {
        let execute = format!("EXECUTE tenantry_{guess}");
        assert_eq!(b.query(&execute).errors(), ["26000"]);
    }
}

#[test]
fn parse_in_a_failed_transaction_leaves_no_name() {
    let (database, proxy, _) = world("");
    let dialogue = [
        frames().query("BEGIN"),
        frames().query(FAILS),
        frames().parse("s", "SELECT 1").sync(),
        frames().query("ROLLBACK"),
        run("s"),
        frames().parse("s", "SELECT 2").sync(),
        run("s"),
    ];
    let replies = same_as_direct(&database, &proxy, &dialogue);
    assert_eq!(
        (replies[4].errors(), replies[6].one()),
        (vec!["26000".into()], "2".into())
    );
}

#[test]
fn statement_of_a_server_connection_that_died_works_on_the_next() {
    let (database, _proxy, mut a) = world("");
    a.ask(&frames().parse("s", "SELECT 1").sync());
    let kill = format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{}' AND pid <> pg_backend_pid()",
        database.name
    );
    database.admin(&kill);
    let mut again = || a.ask(&run("s"));
    assert_eq!(again().one(), "1");
}

#[test]
fn flush_asks_for_the_replies_that_the_proxy_owes() {
    let (_database, _proxy, mut a) = world("");
    a.ask(&frames().parse("s", "SELECT 1").sync());
    // The text is known and `s` is known: neither message reaches the server.
    a.put(
        &frames()
            .bind("s", &[])
            .execute()
            .parse("t", "SELECT 1")
            .close("s")
            .flush(),
    );
    assert_eq!(a.until(b'3').tags(), "2DC13");
    assert_eq!(a.ask(&frames().sync()).tags(), "Z");
    assert_eq!(
        (a.ask(&run("t")).one(), a.ask(&run("s")).errors()),
        ("1".into(), vec!["26000".into()])
    );
}

/// Two schemas with a table of one name and columns of other types, for everybody.
fn two_schemas(database: &Database) {
    database.admin(
        "CREATE SCHEMA x; CREATE TABLE x.same (v bigint); INSERT INTO x.same VALUES (7);\
         CREATE SCHEMA y; CREATE TABLE y.same (v text); INSERT INTO y.same VALUES ('seven');\
         GRANT USAGE ON SCHEMA x, y TO PUBLIC; GRANT SELECT ON x.same, y.same TO PUBLIC",
    );
}

#[test]
fn statement_refused_under_another_search_path_is_good_under_its_own_again() {
    let (database, proxy, mut a) = world("");
    two_schemas(&database);
    a.query("SET search_path TO x");
    let read = frames().parse("s", "SELECT v FROM same").describe("s");
    a.ask(&read.sync());
    assert_eq!(a.ask(&run("s")).one(), "7");
    // From here on it has another server connection, which has never seen the statement.
    let _other = occupy(&proxy, &database);
    for _ in 0..2 {
        a.query("SET search_path TO y");
        assert_eq!(a.ask(&run("s")).errors(), ["0A000"]);
        a.query("SET search_path TO x");
        assert_eq!(a.ask(&run("s")).one(), "7");
    }
}

#[test]
fn statement_that_was_never_described_belongs_to_the_search_path_of_its_parse() {
    let (database, proxy, mut a) = world("");
    two_schemas(&database);
    a.query("SET search_path TO x");
    a.ask(&frames().parse("s", "SELECT v FROM same").sync());
    a.query("SET search_path TO y");
    // From here on it has another server connection, which has never seen the statement.
    let _other = occupy(&proxy, &database);
    let told = frames().bind("s", &[]).describe_portal("").execute();
    let told = told.sync();
    assert_eq!(a.ask(&told).errors(), ["0A000"]);
    a.query("SET search_path TO x");
    assert_eq!(a.ask(&told).one(), "7");
}

#[test]
fn a_schema_change_by_another_role_is_known_to_whoever_prepares_next() {
    let database = Database::fresh();
    let (name, password) = (&database.name, Database::PASSWORD);
    database.admin(&format!(
        "CREATE ROLE {name}_owner LOGIN PASSWORD '{password}';\
         GRANT CREATE ON DATABASE {name} TO {name}_owner"
    ));
    let role = |role: String| {
        let sql = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'");
        let verifier = database.admin(&sql);
        format!("{{ name = '{role}', password = '{}' }}", verifier.trim())
    };
    // Without a `user` each role has a pool of its own.
    let tenant = format!(
        "[[tenant]]\nslug = '{name}'\ncluster = 'main'\ndatabase = '{name}'\nroles = [{}, {}]",
        role(name.clone()),
        role(format!("{name}_owner")),
    );
    let toml = Toml::default().cluster("main", database.port, "");
    let proxy = toml.pool("size = 1").tables(&tenant).start();
    let client = |role: &str| {
        let user = format!("{name}{role}.{name}");
        Client::log_in(proxy.address(), &user, name, &[]).unwrap()
    };
    let mut owner = client("_owner");
    for of_type in ["bigint", "text"] {
        let made = owner.query(&format!(
            "DROP SCHEMA IF EXISTS s CASCADE; CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO PUBLIC;\
             CREATE TABLE s.t AS SELECT '7'::{of_type} AS v; GRANT SELECT ON s.t TO PUBLIC"
        ));
        assert_eq!(made.errors(), [""; 0]);
        let mut a = client("");
        let read = frames().parse("s", "SELECT v FROM s.t");
        assert_eq!(a.ask(&read.sync()).tags(), "1Z");
        assert_eq!(a.ask(&run("s")).one(), "7", "{of_type}");
    }
}
