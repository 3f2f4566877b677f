//! A scripted run, after which every number of every table is known.

use super::world::{Console, Row, World, numbers};
use crate::support::client::{Client, Message};
use crate::support::frames::Frames;
use crate::support::patience::eventually;

/// A client that counts the bytes it sends and reads after its login.
struct Counted {
    client: Client,
    sent: usize,
    read: usize,
}

impl Counted {
    fn new(client: Client) -> Self {
        Self {
            client,
            sent: 0,
            read: 0,
        }
    }

    fn ask(&mut self, frames: &Frames) {
        self.sent += frames.0.len();
        let reply = self.client.ask(frames);
        let bytes = |m: &Message| m.body.len() + 5;
        self.read += reply.0.iter().map(bytes).sum::<usize>();
        assert_eq!(reply.errors(), [""; 0], "{reply:?}");
    }

    fn query(&mut self, sql: &str) {
        self.ask(&Frames::default().query(sql));
    }
}

const COUNTS: [&str; 7] = [
    "xact_count",
    "query_count",
    "server_assignment_count",
    "client_parse_count",
    "server_parse_count",
    "bind_count",
    "wait_count",
];

fn totals(console: &mut Console) -> Row {
    console.row("SHOW STATS_TOTALS", "database", "acme")
}

#[test]
fn statistics_count_what_has_happened() {
    let world = World::new("", "size = 1");
    let mut console = world.admin();
    let mut client = Counted::new(world.client("acme"));
    assert!(
        console
            .rows("SHOW STATS")
            .iter()
            .all(|r| r["database"] != "globex")
    );
    let row = totals(&mut console);
    let before = numbers(&row, &["bytes_received", "bytes_sent"]);
    // For its greeting the first client of a pool is given a server connection, which must be opened.
    assert_eq!(numbers(&row, &COUNTS), [0, 0, 1, 0, 0, 0, 1], "{row:?}");
    // Three transactions of five queries.
    client.query("SELECT 1");
    client.query("SELECT 2");
    for sql in ["BEGIN", "SELECT 3", "COMMIT"] {
        client.query(sql);
    }
    // Two batches, one of them with a statement that is prepared once and bound twice.
    let prepared = Frames::default().parse("p", "SELECT 4");
    client.ask(
        &prepared
            .bind("p", &[])
            .execute()
            .bind("p", &[])
            .execute()
            .sync(),
    );
    client.ask(&Frames::default().run("SELECT 5").sync());
    let row = totals(&mut console);
    assert_eq!(numbers(&row, &COUNTS), [5, 7, 6, 1, 1, 2, 1], "{row:?}");
    let after = numbers(&row, &["bytes_received", "bytes_sent"]);
    let moved = [after[0] - before[0], after[1] - before[1]];
    assert_eq!(moved, [client.sent as u64, client.read as u64]);

    one_waits(&world, &mut console, &mut client);

    // The four tables agree, and the console has counted itself.
    let row = totals(&mut console);
    let stats = console.row("SHOW STATS", "database", "acme");
    for name in COUNTS {
        assert_eq!(stats[&format!("total_{name}")], row[name], "{name}");
    }
    assert_eq!(stats["total_requests"], "10");
    assert_eq!(stats["total_received"], row["bytes_received"]);
    let own = console.row("SHOW STATS", "database", "pgbouncer");
    let own = numbers(&own, &["total_query_count"])[0];
    let all = console.row("SHOW TOTALS", "name", "total_query_count");
    assert_eq!(all["value"], (10 + own + 1).to_string());
    console.does("RECONNECT acme");
    eventually("the connection is closed", || {
        totals(&mut console)["server_closed_count"] == "1"
    });
    assert!(numbers(&totals(&mut console), &["server_lifetime"])[0] > 0);
}

/// One client waits for the other one's only server connection.
fn one_waits(world: &World, console: &mut Console, client: &mut Counted) {
    let mut other = world.client("acme");
    client.query("BEGIN");
    other.put(&Frames::default().query("SELECT 6"));
    eventually("it waits", || {
        console.row("SHOW POOLS", "database", "acme")["cl_waiting"] == "1"
    });
    client.query("COMMIT");
    other.ready();
    let row = totals(console);
    assert_eq!(numbers(&row, &COUNTS), [7, 10, 8, 1, 1, 2, 2], "{row:?}");
    let times = numbers(&row, &["xact_time", "query_time", "wait_time"]);
    assert!(
        times[0] >= times[1] && times.iter().all(|t| *t > 0),
        "{times:?}"
    );
}

#[test]
fn averages_are_those_since_the_start_at_first() {
    let world = World::new("", "");
    let mut console = world.admin();
    let mut client = world.client("acme");
    let started = std::time::Instant::now();
    for _ in 0..200 {
        client.value("SELECT 1");
    }
    let row = console.row("SHOW STATS_AVERAGES", "database", "acme");
    let (found, most) = (numbers(&row, &["query_count"])[0], started.elapsed());
    assert!(found > 0, "200 in {most:?} and less than a minute: {row:?}");
    let stats = console.row("SHOW STATS", "database", "acme");
    let [queries, time, average] = numbers(
        &stats,
        &["total_query_count", "total_query_time", "avg_query_time"],
    )[..] else {
        panic!("three numbers")
    };
    assert_eq!((queries, average), (200, time / 200));
}
