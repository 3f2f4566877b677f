//! Runs a sequence through the proxy and on direct connections, side by side.
//!
//! A step that would have to wait for a server connection, since others keep both, is left out on
//! both sides: that follows from the replies of the direct connections and from what may pin, so a
//! sequence is always run in the same way, and nothing can hang.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::time::Duration;

use crate::compare::{Essence, agree, essence, signature};
use crate::kinds::Pin;
use crate::sequence::{SESSIONS, Sequence, Step};
use crate::support::client::{Client, Message};
use crate::support::frames::Frames;
use crate::world::Database;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(10);

const SILENCE: &str = "(no more in 10 seconds)";
const TERMINATE: &[u8] = b"X\0\0\0\x04";

/// Whether a session has something that others must not see. Only direct connections are asked.
const STATE: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class \
     WHERE relnamespace = pg_catalog.pg_my_temp_schema()) \
     OR EXISTS (SELECT FROM pg_catalog.pg_locks \
       WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()) \
     OR EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) \
     OR EXISTS (SELECT FROM pg_catalog.pg_listening_channels()) \
     OR EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql)";

/// Two identical databases.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) direct: Database,
    pub(crate) pooled: Database,
    /// Server connections of the pool.
    pub(crate) size: usize,
    /// How long a session waits for one, in milliseconds.
    pub(crate) acquire_timeout: u64,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) sequences: usize,
    pub(crate) statements: usize,
    pub(crate) skipped: usize,
    /// Transactions whose server connection is known, and that of the one before.
    pub(crate) transactions: usize,
    /// Those of them that had another one.
    pub(crate) moved: usize,
    /// Sessions that did something that pins.
    pub(crate) pins: usize,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.sequences += other.sequences;
        self.statements += other.statements;
        self.skipped += other.skipped;
        self.transactions += other.transactions;
        self.moved += other.moved;
        self.pins += other.pins;
    }
}

/// Where both sides said something else.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    /// Number of the step; none: at the first login.
    pub(crate) at: Option<usize>,
    pub(crate) signature: String,
    pub(crate) direct: Vec<String>,
    pub(crate) pooled: Vec<String>,
}

impl Difference {
    /// Whether the session waited in vain for a server connection.
    pub(crate) fn is_wait(&self) -> bool {
        self.pooled
            .iter()
            .any(|line| line.contains("pool.acquire_timeout"))
    }

    /// The first lines that are not the same.
    pub(crate) fn first(&self) -> String {
        let mut both = self.direct.iter().zip(&self.pooled);
        both.find(|(direct, pooled)| direct != pooled).map_or_else(
            || "one reply is longer".to_owned(),
            |(direct, pooled)| format!("{pooled:?} instead of {direct:?}"),
        )
    }
}

/// A session on both sides.
struct Twins {
    direct: Client,
    pooled: Client,
    open: bool,
    pinned: Pin,
    process: Option<String>,
    /// In this transaction settings have changed by which literals are read once.
    frozen: bool,
}

struct Run<'a> {
    pair: &'a Pair,
    proxy: &'a tenantry::app::App,
    sequence: &'a Sequence,
    sessions: Vec<Twins>,
    counts: Counts,
}

/// Whether a sequence goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    On,
    Nowhere,
}

/// Runs it on fresh server connections.
pub(crate) fn run(pair: &mut Pair, sequence: &Sequence) -> Result<Counts, Box<Difference>> {
    pair.direct.reset(sequence);
    pair.pooled.reset(sequence);
    let proxy = pair
        .pooled
        .proxy(sequence.login, pair.size, pair.acquire_timeout);
    let mut run = Run {
        pair,
        proxy: &proxy,
        sequence,
        sessions: Vec::new(),
        counts: Counts {
            sequences: 1,
            ..Counts::default()
        },
    };
    for session in 0..SESSIONS {
        let twins = run.log_in(session, None)?;
        run.sessions.push(twins);
    }
    for (at, step) in sequence.steps.iter().enumerate() {
        if run.step(at, step)? == Went::Nowhere {
            break;
        }
    }
    Ok(run.counts)
}

impl Run<'_> {
    fn log_in(&self, session: usize, at: Option<usize>) -> Result<Twins, Box<Difference>> {
        let startup = &self.sequence.startup[session];
        let direct = self.pair.direct.direct(self.sequence.login, startup);
        let pooled = self.pair.pooled.pooled(self.proxy, startup);
        let told = |client: &io::Result<Client>| match client {
            Ok(client) => {
                let mut all: Vec<String> = client
                    .parameters
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                all.sort();
                all
            }
            Err(e) => vec![format!("refused: {e}")],
        };
        let (expected, got) = (told(&direct), told(&pooled));
        match (direct, pooled) {
            (Ok(direct), Ok(pooled)) if expected == got => {
                for client in [&direct, &pooled] {
                    client
                        .socket
                        .set_read_timeout(Some(PATIENCE))
                        .expect("a timeout is set");
                }
                Ok(Twins {
                    direct,
                    pooled,
                    open: false,
                    pinned: Pin::No,
                    process: None,
                    frozen: false,
                })
            }
            _ => Err(Box::new(Difference {
                at,
                signature: "login".to_owned(),
                direct: expected,
                pooled: got,
            })),
        }
    }

    fn would_wait(&self, session: usize) -> bool {
        let holds = |twins: &Twins| twins.open || twins.pinned != Pin::No;
        !holds(&self.sessions[session])
            && self.sessions.iter().filter(|t| holds(t)).count() >= self.pair.size
    }

    fn step(&mut self, at: usize, step: &Step) -> Result<Went, Box<Difference>> {
        let starts = !self.sequence.startup[step.session].is_empty();
        if self.would_wait(step.session) || (starts && step.resets_among_others()) {
            self.counts.skipped += step.statements();
            return Ok(Went::On);
        }
        if step.reconnects() {
            let twins = &mut self.sessions[step.session];
            leave(&mut twins.direct);
            // With a word or without one.
            if at.is_multiple_of(2) {
                let _closed = twins.pooled.send(TERMINATE);
            }
            let _closed = twins.pooled.socket.shutdown(Shutdown::Both);
            let twins = self.log_in(step.session, Some(at))?;
            self.sessions[step.session] = twins;
            return Ok(Went::On);
        }
        self.counts.statements += step.statements();
        let twins = &mut self.sessions[step.session];
        let frames = step.frames();
        // What cannot be written shows when the reply is read.
        let _closed = (twins.direct.send(&frames.0), twins.pooled.send(&frames.0));
        let expected = reply(&mut twins.direct, step, &self.pair.direct.name);
        let got = reply(&mut twins.pooled, step, &self.pair.pooled.name);
        twins.open = expected.status != Some('I');
        if twins.pinned == Pin::No && step.pins != Pin::No {
            self.counts.pins += 1;
        }
        twins.pinned = twins.pinned.max(step.pins);
        twins.frozen |= step.freezes();
        if twins.frozen && step.names_literal() {
            // If the transaction is taken back nobody can tell how it was read: it may be kept.
            twins.pinned = twins.pinned.max(Pin::UntilItLeaves);
        }
        twins.frozen &= twins.open;
        if expected.lines.iter().any(|line| line == SILENCE) && expected.lines == got.lines {
            // Both wait for more of a COPY: the sequence goes nowhere.
            return Ok(Went::Nowhere);
        }
        if expected.lines.iter().any(|line| line == SILENCE) || !agree(step, &expected, &got) {
            return Err(Box::new(Difference {
                at: Some(at),
                signature: signature(&expected, &got),
                direct: expected.lines,
                pooled: got.lines,
            }));
        }
        let asks = self.sequence.unpin && !twins.open && twins.pinned == Pin::WhileItHasState;
        if asks && !has_state(&mut twins.direct) {
            twins.pinned = Pin::No;
        }
        if let Some(process) = got.process
            && let Some(before) = twins.process.replace(process.clone())
        {
            self.counts.transactions += 1;
            self.counts.moved += usize::from(before != process);
        }
        Ok(Went::On)
    }
}

/// All that answers a step.
fn reply(client: &mut Client, step: &Step, database: &str) -> Essence {
    let mut messages: Vec<Message> = Vec::new();
    let mut wanted = step.replies();
    let mut failed = None;
    while wanted > 0 {
        match client.read() {
            Ok(message) => {
                wanted -= usize::from(message.tag == b'Z');
                messages.push(message);
            }
            Err(e) => {
                failed = Some(e);
                break;
            }
        }
    }
    let mut essence = essence(&messages, database);
    if let Some(e) = failed {
        essence.lines.push(match e.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => SILENCE.to_owned(),
            _ => "(the connection is closed)".to_owned(),
        });
    }
    essence
}

/// Asks without touching the unnamed statement.
fn has_state(direct: &mut Client) -> bool {
    let name = "differential_state";
    let frames = Frames::default()
        .parse(name, STATE)
        .bind_portal(name, name, &[])
        .execute_portal(name, 0)
        .close(name)
        .sync();
    direct.ask(&frames).one() == "t"
}

/// Leaves and waits until the server has let go of what the session had.
fn leave(client: &mut Client) {
    let _closed = client.send(TERMINATE);
    while client.read().is_ok() {}
}
