//! Random pipelines of messages, cut into random pieces: each is answered as on a direct connection.
//!
//! What the model of `session_props` assumes of a server, a real one decides here: in transaction mode
//! (three sessions at a time share two server connections), in session mode, before replicas. Each dialogue ends with what leaves any state that
//! it may have led to; what differs is made as short as it can be and printed.
//!
//! | variable | is |
//! | --- | --- |
//! | `TENANTRY_PIPELINES` | how many for each session (100) |
//! | `TENANTRY_SEED` | number of the first one (1) |
//!
//! Not compared: notices and ParameterStatus, which may come at any place; the words of errors; what
//! the end of a connection cuts off, where both end; and what follows a 25P02 for a statement that the
//! server connection of a failed transaction does not have, so that it can be neither described nor
//! found not to fit its Bind.

use std::io::{self, ErrorKind};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::support::client::{Client, Message};
use super::support::frames::Frames;
use super::support::postgres::Database;
use super::support::proxy::Proxy;
use super::support::replicas::shared;

const SESSIONS: u64 = 3;

/// `{t}` is the table of the session.
const TEXTS: &[&str] = &[
    "",
    "SELECT 1",
    "SELECT $1::text",
    "SELECT generate_series(1, 5)",
    "SELECT v FROM {t} ORDER BY v",
    "INSERT INTO {t} VALUES ('a')",
    "DELETE FROM {t}",
    "COPY {t} FROM STDIN",
    "COPY {t} TO STDOUT",
    "SELECT 1/0",
    "SELEC",
    "SELECT nothing",
    "BEGIN",
    "BEGIN READ ONLY",
    "SET TRANSACTION READ ONLY",
    "SET TRANSACTION READ WRITE",
    "COMMIT",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "DECLARE c CURSOR FOR SELECT generate_series(1, 9)",
    "FETCH 3 FROM c",
    "SHOW work_mem",
    "SET work_mem = '6MB'",
    "SET LOCAL work_mem = '5MB'",
    "RESET work_mem",
    "RESET ALL",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "PREPARE x AS SELECT 5",
    "EXECUTE x",
];

/// Only as simple queries.
const SEVERAL: &[&str] = &[
    "DEALLOCATE a",
    "SELECT 1; SELECT 2",
    "SELECT 1; SELECT 1/0; SELECT 2",
    "SELECT 1; COMMIT",
    "BEGIN; SELECT 1; COMMIT",
    "BEGIN; SELECT 1/0",
    "BEGIN READ ONLY; SELECT 1",
    "COMMIT; BEGIN READ ONLY",
    "COPY {t} FROM STDIN; SELECT 3",
    "COPY {t} FROM STDIN; COPY {t} FROM STDIN",
    "COPY {t} TO STDOUT; COPY {t} FROM STDIN",
    "INSERT INTO {t} VALUES ('z'); COPY {t} TO STDOUT",
];

const STATEMENTS: &[&str] = &["", "a", "b"];
const PORTALS: &[&str] = &["", "p"];

fn f() -> Frames {
    Frames::default()
}

/// Writes dialogues.
struct Author<'a> {
    dice: StdRng,
    texts: &'a [&'static str],
    table: String,
}

impl Author<'_> {
    fn of(&mut self, texts: &[&'static str]) -> &'static str {
        texts.choose(&mut self.dice).expect("there are some")
    }

    fn text(&mut self, texts: &[&'static str]) -> String {
        self.of(texts).replace("{t}", &self.table)
    }

    fn once_in(&mut self, times: u32) -> bool {
        self.dice.random_ratio(1, times)
    }

    fn dialogue(&mut self) -> Vec<Frames> {
        let mut said = Vec::new();
        for _ in 0..self.dice.random_range(1..=12) {
            self.say(&mut said);
        }
        said
    }

    fn say(&mut self, said: &mut Vec<Frames>) {
        let frames = match self.dice.random_range(0..20) {
            0..3 => f().query(&self.text(self.texts)),
            3 => f().query(&self.text(SEVERAL)),
            4..6 => f().parse(self.of(STATEMENTS), &self.text(self.texts)),
            6..8 => {
                let parameters: &[&str] = if self.once_in(6) { &["x"] } else { &[] };
                f().bind_portal(self.of(PORTALS), self.of(STATEMENTS), parameters)
            }
            8 => f().describe(self.of(STATEMENTS)),
            9 => f().describe_portal(self.of(PORTALS)),
            10 => f().close(self.of(STATEMENTS)),
            11 => f().close_portal(self.of(PORTALS)),
            12 => f().execute_portal(self.of(PORTALS), 2 * u32::from(self.once_in(4))),
            13 => f().flush(),
            14 => self.copy_data(),
            15 => {
                let name = self.of(STATEMENTS);
                said.push(f().parse(name, &self.text(self.texts)));
                said.extend([f().bind(name, &[]), f().describe_portal(""), f().execute()]);
                f().sync()
            }
            16 => {
                said.push(f().query(&format!("COPY {} FROM STDIN", self.table)));
                self.copy(said)
            }
            17 => {
                let sql = format!("COPY {} FROM STDIN", self.table);
                said.extend([f().parse("", &sql), f().bind("", &[]), f().execute()]);
                let end = self.copy(said);
                said.push(end);
                f().sync()
            }
            _ => f().sync(),
        };
        said.push(frames);
    }

    /// What may follow the beginning of a COPY; the last is returned.
    fn copy(&mut self, said: &mut Vec<Frames>) -> Frames {
        for _ in 0..self.dice.random_range(0..4) {
            said.push(match self.dice.random_range(0..4) {
                0 => f().sync(),
                1 if self.once_in(2) => f().flush(),
                _ => f().copy_data("row\n"),
            });
        }
        if self.once_in(3) {
            f().copy_fail("no")
        } else {
            f().copy_done()
        }
    }

    fn copy_data(&mut self) -> Frames {
        match self.dice.random_range(0..3) {
            0 => f().copy_done(),
            1 => f().copy_fail("no"),
            _ => f().copy_data("row\n"),
        }
    }
}

/// What a client is told of its dialogue.
#[derive(Debug, PartialEq)]
enum Told {
    Message(char, Vec<u8>),
    /// SQLSTATE.
    Error(String),
    /// The connection is closed, with or without a word.
    End,
    /// Nothing more comes, though it should.
    Silence,
}

/// Says all of it in pieces and hears the answers.
fn hear(mut client: Client, said: &[Frames], pieces: &mut StdRng) -> Vec<Told> {
    let last = f()
        .copy_fail("it is over")
        .sync()
        .query("ROLLBACK")
        .query("SELECT 'it is over'");
    let all: Vec<u8> = said
        .iter()
        .chain([&last])
        .flat_map(|f| f.0.clone())
        .collect();
    let most = *[3, 40, all.len()].choose(pieces).expect("there are some");
    let mut rest = &all[..];
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(pieces.random_range(1..=most).min(rest.len()));
        if client.send(piece).is_err() {
            break;
        }
        rest = behind;
    }
    let mut told = Vec::new();
    while !is_over(&told) {
        let next = client.read();
        if next.as_ref().is_ok_and(|m| matches!(m.tag, b'N' | b'S')) {
            continue;
        }
        told.push(told_by(next));
    }
    told
}

fn told_by(read: io::Result<Message>) -> Told {
    match read {
        Ok(message) if message.tag == b'E' => {
            let field = |name| message.field(name).expect("each error has it");
            match (field(b'S').as_str(), field(b'C')) {
                ("FATAL", _) => Told::End,
                (_, code) => Told::Error(code),
            }
        }
        Ok(message) => Told::Message(char::from(message.tag), message.body),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Told::Silence,
        Err(_) => Told::End,
    }
}

fn is_over(told: &[Told]) -> bool {
    let over = |body: &[u8]| body.ends_with(b"it is over");
    match told {
        [.., Told::End | Told::Silence] => true,
        [
            ..,
            Told::Message('D', row),
            Told::Message('C', _),
            Told::Message('Z', _),
        ] => over(row),
        _ => false,
    }
}

/// The first thing that differs is a 25P02 in a failed transaction.
fn lacks_a_statement(direct: &[Told], pooled: &[Told]) -> bool {
    let differ = |(direct, pooled): (&Told, &Told)| direct != pooled;
    let Some(at) = direct.iter().zip(pooled).position(differ) else {
        return false;
    };
    let ready = pooled[..at]
        .iter()
        .rfind(|told| matches!(told, Told::Message('Z', _)));
    ready == Some(&Told::Message('Z', b"E".to_vec())) && pooled[at] == Told::Error("25P02".into())
}

/// One session's direct connections and those through the proxy.
struct Pair<'a> {
    database: &'a Database,
    proxy: &'a Proxy,
    table: String,
}

impl Pair<'_> {
    /// How the answers differ, if they do.
    fn differs(&self, said: &[Frames], seed: u64) -> Option<String> {
        let mut pieces = StdRng::seed_from_u64(seed);
        let mut each = |client: Client| {
            let told = hear(client, said, &mut pieces);
            // Through the proxy, so that no replica serves what was there before.
            let mut clean = self.proxy.client(&self.database.name);
            assert_eq!(
                clean.query(&format!("TRUNCATE {}", self.table)).tags(),
                "CZ"
            );
            told
        };
        let direct = each(Client::direct(self.database).unwrap());
        let pooled = each(self.proxy.client(&self.database.name));
        let both_end = direct.last() == Some(&Told::End) && pooled.last() == Some(&Told::End);
        let same = both_end || direct == pooled || lacks_a_statement(&direct, &pooled);
        (!same).then(|| format!("directly {direct:?}\nthrough the proxy {pooled:?}"))
    }

    /// Fails with as short a dialogue as still differs.
    fn shorten(&self, mut said: Vec<Frames>, mut how: String, seed: u64) -> ! {
        let mut at = 0;
        while at < said.len() {
            let mut shorter = said.clone();
            shorter.remove(at);
            // It may take a certain cut.
            match (0..20).find_map(|n| self.differs(&shorter, seed + n)) {
                Some(still) => (said, how) = (shorter, still),
                None => at += 1,
            }
        }
        let said: Vec<_> = said
            .iter()
            .map(|f| f.0.escape_ascii().to_string())
            .collect();
        panic!("seed {seed}: {said:#?}\n{how}");
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |n| n.parse().expect("a number"))
}

/// Each session compares its share.
fn compare(database: &Database, proxy: &Proxy, texts: &[&'static str]) {
    let first = number("TENANTRY_SEED", 1);
    let seeds = first..first + number("TENANTRY_PIPELINES", 100);
    std::thread::scope(|scope| {
        for session in 0..SESSIONS {
            let seeds = seeds.clone();
            scope.spawn(move || {
                let table = format!("t{session}");
                let create = format!("CREATE TABLE {table} (v text)");
                proxy.client(&database.name).query(&create);
                let pair = Pair {
                    database,
                    proxy,
                    table,
                };
                for seed in seeds.map(|n| n * SESSIONS + session) {
                    let dice = StdRng::seed_from_u64(seed);
                    let table = pair.table.clone();
                    let said = Author { dice, texts, table }.dialogue();
                    if let Some(how) = pair.differs(&said, seed) {
                        pair.shorten(said, how, seed);
                    }
                }
            });
        }
    });
}

#[test]
fn pipelines_are_answered_as_on_direct_connections() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "size = 2\nmax_pins = 100");
    compare(&database, &proxy, TEXTS);
}

#[test]
fn pipelines_are_answered_in_session_mode_as_on_direct_connections() {
    let database = Database::fresh();
    let proxy = Proxy::of(&database, "mode = 'session'\nsize = 3");
    compare(&database, &proxy, TEXTS);
}

#[test]
fn pipelines_are_answered_before_replicas_as_on_direct_connections() {
    let database = shared().database();
    let toml = shared().toml(
        &database,
        "reads = 'statements'\nconsistency_wait = '20s'",
        "",
    );
    let proxy = toml.pool("size = 2\nmax_pins = 100").start();
    // A replica refuses what would keep the session there.
    let stays = |text: &&&str| !text.starts_with("PREPARE");
    let texts: Vec<_> = TEXTS.iter().filter(stays).copied().collect();
    compare(&database, &proxy, &texts);
}
