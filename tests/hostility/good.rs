//! Clients that keep to the rules all the time, and check every reply: not one error is allowed.
//!
//! Each has an account of its own, so it knows what every reply must be. They can be held between
//! two transactions, so that what the proxy holds can be counted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::frames::Frames;
use crate::support::postgres::Database;

/// Transactions of one session, after which the client logs in anew.
const SESSION: usize = 300;

/// Between two transactions: the good ones are to be served, not to fill the machine.
const PAUSE: Duration = Duration::from_millis(2);

/// A balance that is not known yet.
const UNKNOWN: i64 = i64::MIN;

/// What the clients have found.
#[derive(Debug, Default)]
pub(crate) struct Good {
    ended: AtomicBool,
    gate: RwLock<()>,
    transactions: AtomicU64,
    /// Of a transaction or a login, in microseconds, since it was last asked for.
    slowest: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// Their tables, with `accounts` rows.
pub(crate) fn prepare(database: &Database, accounts: usize) {
    let (name, last) = (&database.name, accounts - 1);
    database.admin(&format!(
        "SET ROLE {name}; CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL); \
         INSERT INTO accounts SELECT i, 0 FROM generate_series(0, {last}) i; \
         CREATE TABLE history (id int, delta int);"
    ));
}

impl Good {
    /// Works as one client until [`Self::end`].
    pub(crate) fn run(&self, address: SocketAddr, tenant: &str, account: usize, relogin: Relogin) {
        let mut balance = UNKNOWN;
        let mut session = None;
        let mut done = 0;
        while !self.ended.load(Ordering::Acquire) {
            std::thread::sleep(PAUSE);
            let _passing = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            let begin = Instant::now();
            if relogin == Relogin::Often && done % SESSION == 0 {
                session = None;
            }
            let outcome = match &mut session {
                Some(client) => transaction(client, account, &mut balance, done),
                None => log_in(address, tenant).map(|client| session = Some(client)),
            };
            done += 1;
            let took = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.slowest.fetch_max(took, Ordering::AcqRel);
            match outcome {
                Ok(()) => drop(self.transactions.fetch_add(1, Ordering::AcqRel)),
                Err(error) => {
                    self.fail(format!("client {account} of {tenant}: {error}"));
                    session = None;
                    // Whether the lost transaction took effect is not known.
                    balance = UNKNOWN;
                }
            }
        }
    }

    fn fail(&self, what: String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push(what);
    }

    /// Lets them finish.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Holds them between two transactions while the guard lives.
    pub(crate) fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Transactions and logins that went well.
    pub(crate) fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Acquire)
    }

    /// The longest transaction or login since the last call.
    pub(crate) fn take_slowest(&self) -> Duration {
        Duration::from_micros(self.slowest.swap(0, Ordering::AcqRel))
    }

    /// What went wrong.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.clone()
    }
}

/// Whether a client logs in anew now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relogin {
    Often,
    Never,
}

fn log_in(address: SocketAddr, tenant: &str) -> Result<Client, String> {
    let mut client = Client::connect(address, tenant, &[]).map_err(|e| format!("login: {e}"))?;
    let prepare = Frames::default()
        .parse("half", "SELECT $1::int / 2, current_database()::text")
        .sync();
    client.try_rows(&prepare)?;
    Ok(client)
}

/// As pgbench does it, or a prepared statement, in turns.
fn transaction(
    client: &mut Client,
    account: usize,
    balance: &mut i64,
    number: usize,
) -> Result<(), String> {
    if number.is_multiple_of(4) {
        let bind = Frames::default().bind("half", &[&number.to_string()]);
        let got = client.try_rows(&bind.execute().sync())?;
        let half = (number / 2).to_string();
        return match got.as_slice() {
            [row] if row.split_once('|').is_some_and(|(n, _)| n == half) => Ok(()),
            other => Err(format!("half of {number} is not {other:?}")),
        };
    }
    let delta = i64::try_from(number % 7).unwrap_or_default() - 3;
    client.try_rows(&Frames::default().query("BEGIN"))?;
    let update = format!(
        "UPDATE accounts SET balance = balance + {delta} WHERE id = {account} RETURNING balance"
    );
    let got = client.try_rows(&Frames::default().query(&update))?;
    let insert = format!("INSERT INTO history VALUES ({account}, {delta})");
    client.try_rows(&Frames::default().query(&insert))?;
    client.try_rows(&Frames::default().query("COMMIT"))?;
    let now: i64 = match got.as_slice() {
        [one] => one.parse().map_err(|_| format!("no number: {one:?}"))?,
        other => return Err(format!("not one row: {other:?}")),
    };
    let before = std::mem::replace(balance, now);
    if before == UNKNOWN || before + delta == now {
        return Ok(());
    }
    Err(format!("balance {now} where {before} and {delta} were due"))
}
