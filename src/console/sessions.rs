//! The console's own sessions: cancel keys, a row for each in SHOW CLIENTS, and their counts.
//!
//! A session is here for as long as its [`Registration`] lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use super::Login;
use crate::worker::Protocol;
use crate::worker::stats::Stats;

/// Ids of sessions begin here: those of the workers' clients stay below.
const FIRST_ID: u64 = 1 << 40;

/// All sessions.
#[derive(Debug, Default, Clone)]
pub(super) struct Sessions(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    all: BTreeMap<u64, Session>,
    stats: Stats,
}

#[derive(Debug)]
struct Session {
    login: Login,
    process_id: i32,
    key: Vec<u8>,
    requested: SystemTime,
    statements: usize,
    signal: watch::Sender<Signal>,
}

/// What a session is told from outside.
#[derive(Debug, Clone, Copy, Default)]
struct Signal {
    /// Cancel requests so far.
    cancels: u64,
    killed: bool,
}

/// A session as SHOW CLIENTS has it.
#[derive(Debug, Clone)]
pub(super) struct SessionRow {
    pub(super) id: u64,
    pub(super) login: Login,
    pub(super) process_id: i32,
    pub(super) requested: SystemTime,
    pub(super) statements: usize,
}

impl Sessions {
    /// Takes a session in.
    pub(super) fn register(&self, login: &Login) -> Result<Registration, getrandom::Error> {
        let mut random = [0; 4];
        getrandom::fill(&mut random)?;
        // Positive, as a process id is.
        let process_id = i32::from_be_bytes(random) & i32::MAX | 1;
        let length = match login.protocol {
            Protocol::V3_0 => 4,
            Protocol::V3_2 => 32,
        };
        let mut key = vec![0; length];
        getrandom::fill(&mut key)?;
        let (signal, signals) = watch::channel(Signal::default());
        let mut state = self.lock();
        let id = FIRST_ID + state.next;
        state.next += 1;
        let session = Session {
            login: login.clone(),
            process_id,
            key: key.clone(),
            requested: login.connected,
            statements: 0,
            signal,
        };
        state.all.insert(id, session);
        drop(state);
        Ok(Registration {
            sessions: self.clone(),
            id,
            process_id,
            key,
            signals,
            seen: 0,
        })
    }

    /// Stops what a session waits for. False: the key is no session's.
    pub(super) fn cancel(&self, process_id: i32, key: &[u8]) -> bool {
        let state = self.lock();
        let mut all = state.all.values();
        let found = all.find(|s| s.process_id == process_id && bool::from(s.key.ct_eq(key)));
        found.is_some_and(|session| {
            session.signal.send_modify(|signal| signal.cancels += 1);
            true
        })
    }

    /// Ends a session. False: there is none of that id.
    pub(super) fn kill(&self, id: u64) -> bool {
        let state = self.lock();
        state.all.get(&id).is_some_and(|session| {
            session.signal.send_modify(|signal| signal.killed = true);
            true
        })
    }

    /// Ends all sessions.
    pub(super) fn kill_all(&self) {
        for session in self.lock().all.values() {
            session.signal.send_modify(|signal| signal.killed = true);
        }
    }

    /// Every session.
    pub(super) fn rows(&self) -> Vec<SessionRow> {
        let state = self.lock();
        let row = |(id, session): (&u64, &Session)| SessionRow {
            id: *id,
            login: session.login.clone(),
            process_id: session.process_id,
            requested: session.requested,
            statements: session.statements,
        };
        state.all.iter().map(row).collect()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lock().all.len()
    }

    /// What all sessions have done so far, those that have ended included.
    pub(super) fn stats(&self) -> Stats {
        self.lock().stats
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's part; it is forgotten when this is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    sessions: Sessions,
    id: u64,
    pub(super) process_id: i32,
    pub(super) key: Vec<u8>,
    signals: watch::Receiver<Signal>,
    /// Cancel requests before the query that runs.
    seen: u64,
}

/// Why a query is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// Its client asked for it.
    Cancel,
    /// The session ends.
    Kill,
}

impl Registration {
    /// A query begins: cancel requests that came before it do not count.
    pub(super) fn begin(&mut self) {
        self.seen = self.signals.borrow().cancels;
        if let Some(session) = self.sessions.lock().all.get_mut(&self.id) {
            session.requested = SystemTime::now();
        }
    }

    /// Waits for a cancel request for the query that runs, or for the end. Cancel-safe.
    pub(super) async fn interrupted(&mut self) -> Interrupt {
        let seen = self.seen;
        let signals = &mut self.signals;
        let signal = signals.wait_for(|now| now.killed || now.cancels > seen);
        match signal.await.map(|signal| signal.killed) {
            Ok(false) => Interrupt::Cancel,
            // Nobody knows the session any more.
            Ok(true) | Err(_) => Interrupt::Kill,
        }
    }

    /// Waits until the session is told to end. Cancel-safe.
    pub(super) async fn killed(&mut self) {
        let _killed = self.signals.wait_for(|now| now.killed).await;
    }

    /// Takes note of a query that took so long.
    pub(super) fn answered(&self, took: Duration, statements: usize) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut state = self.sessions.lock();
        state.stats.queries += 1;
        state.stats.transactions += 1;
        state.stats.query_us += us;
        state.stats.transaction_us += us;
        if let Some(session) = state.all.get_mut(&self.id) {
            session.statements = statements;
        }
    }

    /// Takes note of bytes from and to the client.
    pub(super) fn moved(&self, received: usize, sent: usize) {
        let mut state = self.sessions.lock();
        state.stats.received += received as u64;
        state.stats.sent += sent as u64;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sessions.lock().all.remove(&self.id);
    }
}
