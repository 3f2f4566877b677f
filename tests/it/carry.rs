//! Settings follow their session to whichever server connection it gets, as if there were only one.

use super::support::client::{Client, Reply};
use super::support::frames::Frames;
use super::support::patience::eventually;
use super::support::postgres::Database;
use super::support::proxy::Proxy;

fn frames() -> Frames {
    Frames::default()
}

/// Two sessions that take turns on one server connection: a pin would leave the second waiting.
fn pair() -> (Database, Proxy, Client, Client) {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let (a, b) = (proxy.client(&database.name), proxy.client(&database.name));
    (database, proxy, a, b)
}

/// How a statement is sent.
type Send = fn(&str) -> Frames;

const PROTOCOLS: [Send; 3] = [
    |sql| frames().query(sql),
    |sql| frames().run(sql).sync(),
    |sql| {
        frames()
            .parse("", sql)
            .describe("")
            .bind("", &[])
            .describe_portal("")
            .execute()
            .sync()
    },
];

#[test]
fn a_setting_follows_its_session_and_nobody_else() {
    for send in PROTOCOLS {
        let (_database, _proxy, mut a, mut b) = pair();
        assert_eq!(a.ask(&send("SET work_mem = '7MB'")).commands(), ["SET"]);
        assert_eq!(b.value("SHOW work_mem"), "4MB");
        assert_eq!(b.ask(&send("SET work_mem TO 9000")).commands(), ["SET"]);
        for _ in 0..2 {
            assert_eq!(a.value("SHOW work_mem"), "7MB");
            assert_eq!(b.value("SHOW work_mem"), "9000kB");
        }
        assert_eq!(a.ask(&send("RESET work_mem")).commands(), ["RESET"]);
        assert_eq!(b.ask(&send("SET work_mem TO DEFAULT")).commands(), ["SET"]);
        assert_eq!(a.value("SHOW work_mem"), "4MB");
        assert_eq!(b.value("SHOW work_mem"), "4MB");
    }
}

#[test]
fn values_are_shown_as_they_were_written() {
    let (_database, _proxy, mut a, mut b) = pair();
    let cases = [
        (
            "SET search_path = \"$user\", Public, 'odd Name'",
            "search_path",
            "\"$user\", public, \"odd Name\"",
        ),
        ("SET TIME ZONE 'Asia/Tokyo'", "TimeZone", "Asia/Tokyo"),
        ("SET my.mark = 'it''s'", "my.mark", "it's"),
        ("SET seq_page_cost = 2.5", "seq_page_cost", "2.5"),
        ("SET statement_timeout = '30s'", "statement_timeout", "30s"),
    ];
    for (set, ..) in cases {
        assert!(a.query(set).errors().is_empty(), "{set}");
    }
    assert_eq!(b.value("SHOW search_path"), "\"$user\", public");
    for (_, name, shown) in cases {
        assert_eq!(a.value(&format!("SHOW {name}")), shown);
    }
    assert_eq!(b.value("SHOW seq_page_cost"), "1");
}

#[test]
fn a_setting_has_the_fate_of_its_transaction() {
    for send in PROTOCOLS {
        let (_database, _proxy, mut a, mut b) = pair();
        let mut end = |end: &[&str], expected: &str| {
            a.query("BEGIN");
            assert!(a.ask(&send("SET work_mem = '7MB'")).errors().is_empty());
            assert_eq!(a.value("SHOW work_mem"), "7MB");
            end.iter().for_each(|sql| drop(a.query(sql)));
            assert_eq!(b.value("SHOW work_mem"), "4MB");
            assert_eq!(a.value("SHOW work_mem"), expected, "{end:?}");
            a.query("RESET work_mem");
        };
        end(&["COMMIT"], "7MB");
        end(&["ROLLBACK"], "4MB");
        end(&["SELECT 1/0", "COMMIT"], "4MB");
        end(&["SET work_mem = 'no such size'", "ROLLBACK"], "4MB");
        end(
            &["COMMIT AND CHAIN", "SET work_mem = '9MB'", "ROLLBACK"],
            "7MB",
        );
        end(&["ROLLBACK AND CHAIN", "SELECT 1", "COMMIT"], "4MB");
    }
}

#[test]
fn an_error_behind_it_in_the_batch_takes_a_setting_back() {
    let (_database, _proxy, mut a, mut b) = pair();
    let fails = frames()
        .run("SET work_mem = '7MB'")
        .run("SELECT 1/0")
        .sync();
    assert_eq!(a.ask(&fails).errors(), ["22012"]);
    for _ in 0..2 {
        assert_eq!(a.value("SHOW work_mem"), "4MB");
        assert_eq!(b.value("SHOW work_mem"), "4MB");
    }
    let works = frames()
        .run("SET work_mem = '7MB'")
        .run("SELECT 1")
        .sync()
        .run("SELECT 1/0")
        .sync();
    a.put(&works);
    assert!(a.ready().errors().is_empty());
    assert_eq!(a.ready().errors(), ["22012"]);
    assert_eq!(b.value("SHOW work_mem"), "4MB");
    assert_eq!(a.value("SHOW work_mem"), "7MB");
}

#[test]
fn several_settings_in_one_packet_all_count() {
    let (_database, _proxy, mut a, mut b) = pair();
    let sets = frames()
        .query("SET work_mem = '7MB'")
        .query("SET jit = off")
        .query("SET work_mem = '8MB'");
    a.put(&sets.query("SHOW jit"));
    for _ in 0..3 {
        assert_eq!(a.ready().commands(), ["SET"]);
    }
    assert_eq!(a.ready().one(), "off");
    assert_eq!(b.value("SHOW jit"), "on");
    assert_eq!(a.value("SHOW work_mem"), "8MB");
    assert_eq!(a.value("SHOW jit"), "off");
}

#[test]
fn a_prepared_set_counts_each_time_it_is_executed() {
    let (_database, _proxy, mut a, mut b) = pair();
    a.ask(&frames().parse("seven", "SET work_mem = '7MB'").sync());
    a.ask(&frames().parse("eight", "SET work_mem = '8MB'").sync());
    for (name, shown) in [("seven", "7MB"), ("eight", "8MB"), ("seven", "7MB")] {
        let reply = a.ask(&frames().bind(name, &[]).execute().sync());
        assert_eq!(reply.commands(), ["SET"]);
        assert_eq!(b.value("SHOW work_mem"), "4MB");
        assert_eq!(a.value("SHOW work_mem"), shown);
    }
}

#[test]
fn reset_all_and_discard_all_go_back_to_the_start() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 1");
    let mut a = proxy.client_with(&database.name, &[("TimeZone", "Asia/Tokyo")]);
    let mut b = proxy.client(&database.name);
    for reset in ["RESET ALL", "DISCARD ALL"] {
        a.query("SET work_mem = '7MB'");
        a.query("SET TimeZone = 'Europe/Rome'");
        assert_eq!(b.value("SHOW work_mem"), "4MB");
        assert_eq!(a.value("SHOW TimeZone"), "Europe/Rome");
        assert!(a.query(reset).errors().is_empty());
        assert_eq!(b.value("SHOW work_mem"), "4MB");
        assert_eq!(a.value("SHOW work_mem"), "4MB", "{reset}");
        assert_eq!(a.value("SHOW TimeZone"), "Asia/Tokyo", "{reset}");
    }
}

/// Its meaning depends on the time zone in which it is parsed.
const FROZEN: &str = "SELECT extract(epoch FROM '2024-01-01 00:00'::timestamptz)::bigint";
const IN_UTC: &str = "1704067200";
const IN_TOKYO: &str = "1704034800";

/// Two sessions in UTC, and two server connections.
fn in_utc() -> (Proxy, Client, Client) {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 2");
    let client = || proxy.client_with(&database.name, &[("TimeZone", "UTC")]);
    let (a, b) = (client(), client());
    (proxy, a, b)
}

fn prepared() -> Frames {
    frames().bind("s", &[]).execute().sync()
}

/// A name keeps its meaning, and its text the meaning that it has for others.
#[test]
fn statements_prepared_before_a_setting_mean_what_they_meant() {
    let (_proxy, mut a, mut b) = in_utc();
    a.ask(&frames().parse("s", FROZEN).sync());
    a.query("SET TimeZone = 'Asia/Tokyo'");
    b.ask(&frames().parse("s", FROZEN).sync());
    // Whichever server connection was used last is taken.
    b.query("BEGIN");
    assert_eq!(a.ask(&prepared()).one(), IN_UTC);
    assert_eq!(b.ask(&prepared()).one(), IN_UTC);
    a.ask(&frames().close("s").parse("s", FROZEN).sync());
    assert_eq!(a.ask(&prepared()).one(), IN_TOKYO);
    assert_eq!(b.ask(&prepared()).one(), IN_UTC);
}

#[test]
fn statements_prepared_under_a_setting_that_is_taken_back_are_shared_with_nobody() {
    let (_proxy, mut a, mut b) = in_utc();
    a.query("BEGIN");
    a.query("SET TimeZone = 'Asia/Tokyo'");
    a.ask(&frames().parse("s", FROZEN).sync());
    assert_eq!(a.ask(&prepared()).one(), IN_TOKYO);
    a.query("ROLLBACK");
    b.ask(&frames().parse("s", FROZEN).sync());
    assert_eq!(b.ask(&prepared()).one(), IN_UTC);
}

/// The server knows nothing of the startup value, so what it has afterwards is not what others want.
#[test]
fn a_reset_to_a_startup_value_is_nobody_elses_concern() {
    let database = Database::fresh();
    database.admin(&format!(
        "ALTER ROLE {} SET TimeZone = 'Asia/Tokyo'",
        database.name
    ));
    let proxy = Proxy::of(&database, "size = 2");
    let client = || proxy.client_with(&database.name, &[("TimeZone", "UTC")]);
    let (mut a, mut b) = (client(), client());
    a.query("RESET TimeZone");
    for _ in 0..2 {
        assert_eq!(b.value("SHOW TimeZone"), "UTC");
    }
    drop(a);
    assert_eq!(client().value("SHOW TimeZone"), "UTC");
}

#[test]
fn a_client_that_vanishes_leaves_no_setting_behind() {
    let (database, proxy, mut a, mut b) = pair();
    for leave in ["SET work_mem = '7MB'", "BEGIN"] {
        a.query(leave);
        a.put(&frames().query("SET work_mem = '8MB'"));
        drop(std::mem::replace(&mut a, proxy.client(&database.name)));
        eventually("it has left", || proxy.app.clients() == 2);
        assert_eq!(b.value("SHOW work_mem"), "4MB");
    }
}

/// Random choices that follow from one number.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// What is carried, and what shows it.
const CARRIED: &[&str] = &[
    "SET work_mem = '7MB'",
    "SET work_mem = '8MB'",
    "SET work_mem = 'no such size'",
    "SET TimeZone = 'Asia/Tokyo'",
    "SET TIME ZONE 'UTC'",
    "SET application_name = 'mine'",
    "SET application_name TO 'other'",
    "SET search_path = public, pg_catalog",
    "SET LOCAL work_mem = '9MB'",
    "RESET work_mem",
    "RESET TimeZone",
    "SET application_name = DEFAULT",
    "SHOW work_mem",
    "SHOW TimeZone",
    "SHOW search_path",
    "SHOW application_name",
    "SELECT '2024-01-01 00:00'::timestamptz::text",
    "SELECT 1/0",
    "BEGIN",
    "BEGIN",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
];

/// What may pin.
const MORE: &[&str] = &[
    "RESET ALL",
    "DISCARD ALL",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "RELEASE s",
    "SELECT set_config('work_mem', '6MB', false)",
    "SELECT set_config('work_mem', '6MB', true)",
    "SET DateStyle = 'German'",
];

/// Whether a reply is one of the server's, its texts and all, and ParameterStatus too.
fn all_of(reply: &Reply) -> Vec<(u8, Vec<u8>)> {
    let essence = |m: &super::support::client::Message| match m.tag {
        b'E' | b'N' => (m.tag, m.field(b'C').unwrap_or_default().into_bytes()),
        tag => (tag, m.body.clone()),
    };
    reply.0.iter().map(essence).collect()
}

/// As many sessions as server connections, so that none has to wait; and direct ones beside them.
struct Twins {
    proxied: Vec<Client>,
    direct: Vec<Client>,
    dice: Dice,
    said: Vec<(usize, Vec<&'static str>)>,
}

impl Twins {
    const SESSIONS: usize = 3;

    fn new(database: &Database, proxy: &Proxy, seed: u64) -> Self {
        let proxied = |_| proxy.client(&database.name);
        let direct = |_| Client::direct(database).unwrap();
        Self {
            proxied: (0..Self::SESSIONS).map(proxied).collect(),
            direct: (0..Self::SESSIONS).map(direct).collect(),
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            said: Vec::new(),
        }
    }

    /// One session says one or two things at once, and so does its twin; they read the same.
    fn step(&mut self, statements: &[&[&'static str]]) {
        let who = self.dice.below(Self::SESSIONS);
        let send = self.dice.of(&PROTOCOLS);
        let count = 1 + self.dice.below(2);
        let mut any = || {
            let list = self.dice.of(statements);
            self.dice.of(list)
        };
        let texts: Vec<&str> = (0..count).map(|_| any()).collect();
        self.said.push((who, texts.clone()));
        let batch = texts
            .iter()
            .fold(frames(), |batch, sql| batch.raw(&send(sql).0));
        self.direct[who].put(&batch);
        self.proxied[who].put(&batch);
        for _ in &texts {
            let expected = self.direct[who].ready();
            let got = self.proxied[who].ready();
            assert_eq!(all_of(&got), all_of(&expected), "{:?}", self.said);
        }
    }
}

/// A database whose role has a default of its own.
fn with_defaults() -> (Database, Proxy) {
    let database = Database::fresh();
    let name = &database.name;
    database.admin(&format!("ALTER ROLE {name} SET work_mem = '5MB'"));
    let proxy = Proxy::of(&database, "size = 3");
    (database, proxy)
}

#[test]
fn random_settings_are_as_on_a_direct_connection_and_pin_nobody() {
    let (database, proxy) = with_defaults();
    for seed in 1..=25 {
        let mut twins = Twins::new(&database, &proxy, seed);
        for _ in 0..60 {
            twins.step(&[CARRIED]);
        }
        for session in &mut twins.proxied {
            session.query("ROLLBACK");
        }
        // All server connections at once, beside sessions that are still there.
        let mut all: Vec<Client> = (0..3).map(|_| proxy.client(&database.name)).collect();
        for other in &mut all {
            assert_eq!(other.query("BEGIN").status(), 'T');
            assert_eq!(other.value("SHOW work_mem"), "5MB");
        }
    }
}

#[test]
fn random_settings_with_pins_are_as_on_a_direct_connection() {
    let (database, proxy) = with_defaults();
    for seed in 1..=25 {
        let mut twins = Twins::new(&database, &proxy, seed);
        for _ in 0..60 {
            twins.step(&[CARRIED, CARRIED, CARRIED, MORE]);
        }
    }
}
