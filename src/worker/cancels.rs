//! Cancel requests: from a client's key to the query it runs, and to nothing else.
//!
//! While one is under way its server connection is lent to nobody else: the server may act on it
//! until the cancel connection ends (manual 55.2.8).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Surroundings;
use super::clients::ClientState;
use super::inbox::{CancelOutcome, Done, Message};
use super::run::{Turn, Worker};
use super::servers::Server;
use super::stats::Ended;
use crate::error::{ClientError, SqlState};
use crate::upstream::{ServerCancel, cancel};

/// Which clients a process id may mean. Ours encode worker and slot; in session mode clients show
/// the real process id of their server, and several servers may have given the same.
#[derive(Debug, Default)]
pub(super) struct ProcessIds(Mutex<HashMap<i32, Vec<(usize, usize)>>>);

impl ProcessIds {
    /// The process id of a client of our own making.
    pub(super) fn encode(&self, worker: usize, workers: usize, slot: usize) -> i32 {
        i32::try_from(slot * workers + worker + 1).unwrap_or(i32::MAX)
    }

    pub(super) fn add(&self, process_id: i32, client: (usize, usize)) {
        self.lock().entry(process_id).or_default().push(client);
    }

    pub(super) fn remove(&self, process_id: i32, client: (usize, usize)) {
        let mut known = self.lock();
        if let Some(clients) = known.get_mut(&process_id) {
            clients.retain(|c| *c != client);
            if clients.is_empty() {
                known.remove(&process_id);
            }
        }
    }

    /// All (worker, slot) that a process id may mean; the key decides.
    pub(super) fn candidates(&self, process_id: i32, workers: usize) -> Vec<(usize, usize)> {
        let mut found = self.lock().get(&process_id).cloned().unwrap_or_default();
        if let Ok(number @ 1..) = usize::try_from(process_id) {
            found.push(((number - 1) % workers, (number - 1) / workers));
        }
        found
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i32, Vec<(usize, usize)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn deliver(request: &ServerCancel, around: &Surroundings) -> CancelOutcome {
    match cancel(request, &around.connectors).await {
        Ok(()) => CancelOutcome::Certain,
        Err(error) => {
            tracing::debug!(%error, "a cancel request did not get through");
            CancelOutcome::Unknown
        }
    }
}

/// Cancels what a closing server connection works on; nobody waits for the outcome.
pub(super) fn fire(around: &Surroundings, request: Arc<ServerCancel>) {
    let surroundings = around.clone();
    around.dialler.spawn(async move {
        deliver(&request, &surroundings).await;
    });
}

impl Server {
    /// What a cancel request was meant for has ended before the request: a new query must not be
    /// sent into its way, not even one of the same client.
    #[inline]
    pub(super) fn is_frozen(&self) -> bool {
        self.cancels > 0 && !self.link.is_busy()
    }
}

impl Worker {
    /// A cancel request that may mean this client.
    pub(super) fn cancel(&mut self, slot: usize, key: &[u8], done: Done) {
        let Some(client) = self.clients.get(slot).filter(|c| c.has_key(key)) else {
            return;
        };
        match client.state {
            ClientState::Waiting | ClientState::CatchingUp => {
                let text = "canceling statement due to user request";
                self.refuse(slot, &ClientError::error(SqlState::CANCELED, text));
            }
            ClientState::Leased(server) => self.cancel_server(server, done),
            ClientState::Login | ClientState::Introducing(_) | ClientState::Idle => {}
        }
    }

    fn cancel_server(&mut self, slot: usize, done: Done) {
        let server = &mut self.servers[slot];
        if server.cancels == 0 && !server.link.is_busy() {
            return;
        }
        server.cancelling.push(done);
        self.send_cancel(slot);
    }

    /// Sends the cancel request that somebody waits for, unless one is under way. While the
    /// session's settings are on their way it waits: it would hit them, and the query behind them
    /// would run without.
    #[cold]
    pub(super) fn send_cancel(&mut self, slot: usize) {
        let server = &mut self.servers[slot];
        if server.cancels > 0 || server.link.sets_up() {
            return;
        }
        if !server.link.is_busy() {
            server.cancelling = Vec::new();
            return;
        }
        server.cancels += 1;
        self.tallies.cancels += 1;
        let (request, serial) = (Arc::clone(&server.cancel), server.serial);
        let around = self.around.clone();
        let inbox = Arc::clone(&self.workers.inboxes[self.number]);
        self.around.dialler.spawn(async move {
            let outcome = deliver(&request, &around).await;
            inbox.put(Message::CancelDone {
                server: slot,
                serial,
                outcome,
            });
        });
    }

    /// The cancel connection has ended: the lease may go back.
    pub(super) fn cancel_done(&mut self, slot: usize, outcome: CancelOutcome) {
        let server = &mut self.servers[slot];
        server.cancels -= 1;
        server.cancelling = Vec::new();
        // The request may still be on its way: it must not meet another client's query.
        if outcome == CancelOutcome::Unknown {
            server.doubtful = Some(Ended::Unclean);
        }
        if let super::servers::ServerState::Leased(client) = server.state {
            let serial = self.clients[client].serial;
            self.ready.push_back(Turn::Client(client, serial));
            self.settle(client);
        }
    }
}
