//! Garbage in every state behind the first packet: during the login, behind it, idle, in a
//! transaction, in COPY, in a batch; each with and without TLS, and garbage in the place of TLS.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rustls::ClientConfig;

use crate::packets::mutate;
use crate::support::frames::Frames;
use crate::wire::{Login, Wire, is_timeout, tls_config};
use crate::world::{EVIL, World};

/// Connections at the same time.
const LANES: u64 = 8;

/// What has happened before the garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Asked,
    Challenged,
    Proven,
    Idle,
    Transaction,
    FailedTransaction,
    CopyIn,
    CopyInExtended,
    CopyOut,
    Batch,
    Portal,
    Listening,
}

const STATES: [State; 12] = [
    State::Asked,
    State::Challenged,
    State::Proven,
    State::Idle,
    State::Transaction,
    State::FailedTransaction,
    State::CopyIn,
    State::CopyInExtended,
    State::CopyOut,
    State::Batch,
    State::Portal,
    State::Listening,
];

/// How the garbage is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Tls,
    /// In the place of TLS records.
    PastTls,
}

/// Sends garbage `count` times.
pub(crate) fn attack(world: &World, count: u64) -> u64 {
    let config = tls_config(world.pki.path());
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::AcqRel);
                    if number >= count {
                        return;
                    }
                    once(world, &config, number);
                }
            });
        }
    });
    count
}

fn once(world: &World, config: &Arc<ClientConfig>, number: u64) {
    let mut dice = StdRng::seed_from_u64(world.seed ^ number.rotate_left(32));
    let state = STATES[usize::try_from(number).unwrap_or_default() % STATES.len()];
    let way = *[Way::Plain, Way::Plain, Way::Tls, Way::PastTls]
        .choose(&mut dice)
        .expect("there are some");
    let reached = || {
        let mut wire = match way {
            Way::Plain => Wire::plain(world.address())?,
            Way::Tls | Way::PastTls => Wire::secure(world.address(), config)?,
        };
        reach(&mut wire, state)?;
        Ok(wire)
    };
    let mut wire = patiently(reached).unwrap_or_else(|e| panic!("number {number}, {state:?}: {e}"));
    let bytes = garbage(&mut dice);
    // The proxy may have closed in the middle of it.
    let _gone = match way {
        Way::Plain | Way::Tls => wire.send(&bytes),
        Way::PastTls => wire.send_raw(&bytes),
    };
    if dice.random_ratio(1, 4) {
        return wire.reset();
    }
    if let Err(error) = wire.finish() {
        assert!(
            !is_timeout(&error),
            "number {number}, {state:?}, {way:?}: no end: {bytes:02x?}"
        );
    }
}

/// PostgreSQL 15 can be made to crash by an Execute in a failed transaction. Whoever is there then
/// is told so, and tries again.
fn patiently(mut reached: impl FnMut() -> io::Result<Wire>) -> io::Result<Wire> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let outcome = reached();
        let crashed = |error: &io::Error| {
            let told = error.to_string();
            ["C57P02", "C57P03", "C08006"]
                .iter()
                .any(|code| told.contains(code))
        };
        if !outcome.as_ref().is_err_and(crashed) || Instant::now() > deadline {
            return outcome;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn reach(wire: &mut Wire, state: State) -> io::Result<()> {
    let frames = Frames::default();
    let (sent, awaited) = match state {
        State::Asked => return wire.log_in(EVIL, Login::Asked),
        State::Challenged => return wire.log_in(EVIL, Login::Challenged),
        State::Proven => return wire.log_in(EVIL, Login::Proven),
        State::Idle => return wire.log_in(EVIL, Login::Done),
        State::Transaction => (frames.query("BEGIN"), b'Z'),
        State::FailedTransaction => (frames.query("BEGIN").query("ROLLBACK TO nothing"), b'C'),
        State::CopyIn => (frames.query("COPY garbage FROM STDIN"), b'G'),
        State::CopyInExtended => (frames.run("COPY garbage FROM STDIN").flush(), b'G'),
        State::CopyOut => {
            let sql = "COPY (SELECT generate_series(1, 100000)) TO STDOUT";
            (frames.query(sql), b'H')
        }
        State::Batch => (frames.run("SELECT 1").flush(), b'C'),
        State::Portal => {
            let sql = "SELECT generate_series(1, 10)";
            let batch = frames.parse("s", sql).bind_portal("p", "s", &[]);
            (batch.execute_portal("p", 1).flush(), b's')
        }
        State::Listening => (frames.query("LISTEN garbage"), b'Z'),
    };
    wire.log_in(EVIL, Login::Done)?;
    wire.send(&sent.0)?;
    wire.until(awaited).map(drop)
}

/// Bytes that are no protocol, or almost are.
fn garbage(dice: &mut StdRng) -> Vec<u8> {
    if dice.random_ratio(1, 5) {
        let mut bytes = vec![0; dice.random_range(1..20_000)];
        dice.fill(bytes.as_mut_slice());
        return bytes;
    }
    let mut bytes = Vec::new();
    for _ in 0..dice.random_range(1..6) {
        let mut one = message(dice).0;
        for _ in 0..dice.random_range(0..3) {
            mutate(dice, &mut one);
        }
        bytes.extend(one);
    }
    bytes
}

fn message(dice: &mut StdRng) -> Frames {
    let frames = Frames::default();
    match dice.random_range(0..16) {
        0 => frames.query("SELECT 1"),
        1 => frames.query("BEGIN; SELECT 1/0; COMMIT"),
        2 => frames.query("COPY garbage FROM STDIN"),
        3 => frames.parse("s", "SELECT $1::text"),
        4 => frames.bind("s", &["x"]),
        5 => frames.describe("s"),
        6 => frames.execute(),
        7 => frames.close("s"),
        8 => frames.sync(),
        9 => frames.flush(),
        10 => frames.copy_data("1\n"),
        11 => frames.copy_done(),
        12 => frames.copy_fail("why"),
        13 => frames.message(b'p', b"n,,n=,r=x"),
        14 => frames.message(b'F', b"\0\0\0\x01\0\0\0\0\0\0"),
        _ => frames.message(dice.random(), b"anything"),
    }
}
