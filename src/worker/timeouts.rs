//! Time limits of clients: what each state may last, and what becomes of who exceeds it.
//!
//! A query's time is counted from the client's last message, not from the last row. Limits may
//! change by a reload while a deadline runs: they are looked at again when it has passed.

use super::clients::ClientState;
use super::deadlines::{NEVER, Owner, after};
use super::run::Worker;
use crate::error::{ClientError, SqlState};
use crate::session::TxStatus;

impl Worker {
    /// A client's present state begins now: sets when it will have lasted too long.
    pub(super) fn set_client_deadline(&mut self, slot: usize) {
        if let Some(client) = self.clients.get_mut(slot) {
            client.since = self.now;
            self.renew_client_deadline(slot);
        }
    }

    /// Whether the deadline lies in the past, by the limits as they are now.
    fn renew_client_deadline(&mut self, slot: usize) -> bool {
        let client = &mut self.clients[slot];
        let limits = &self.pools[client.pool].tenant.config.pool;
        let due = match client.state {
            ClientState::Idle => after(client.since, limits.client_idle_timeout),
            ClientState::Leased(server) => {
                let link = &self.servers[server].link;
                if link.streams() {
                    return false;
                }
                let silence = if link.is_busy() {
                    limits.query_timeout
                } else if link.status() == TxStatus::Idle {
                    limits.client_idle_timeout
                } else {
                    limits.idle_transaction_timeout
                };
                let whole = if link.at_rest() {
                    NEVER
                } else {
                    after(client.begun / 1000, limits.transaction_timeout)
                };
                after(client.since, silence).min(whole)
            }
            ClientState::Login
            | ClientState::Introducing(_)
            | ClientState::Waiting
            | ClientState::CatchingUp => return true,
        };
        let owner = Owner::Client(slot, client.serial);
        self.deadlines.set(&mut client.deadline, owner, due);
        due <= self.now
    }

    /// A client's deadline has passed.
    pub(super) fn client_due(&mut self, slot: usize) {
        if !self.renew_client_deadline(slot) {
            return;
        }
        let client = &self.clients[slot];
        let limits = self.pools[client.pool].limits().clone();
        let error = match client.state {
            ClientState::CatchingUp => return self.caught_up_too_late(slot),
            ClientState::Waiting => {
                let error = self.pools[client.course.line].why_waited();
                return self.refuse(slot, &error);
            }
            ClientState::Login | ClientState::Introducing(_) => {
                let error = self.pools[client.course.line].why_waited();
                ClientError {
                    severity: crate::error::Severity::Fatal,
                    ..error
                }
            }
            ClientState::Idle => idle_too_long(&limits),
            ClientState::Leased(server) => {
                let link = &self.servers[server].link;
                let whole = limits.transaction_timeout;
                if link.at_rest() {
                    idle_too_long(&limits)
                } else if after(client.begun / 1000, whole) <= self.now {
                    let text = format!("transaction took longer than {whole:?}");
                    ClientError::fatal(SqlState::TRANSACTION_TIMEOUT, text)
                        .with_hint("the limit is pool.transaction_timeout")
                } else if link.is_busy() {
                    let text = format!("query took longer than {:?}", limits.query_timeout);
                    ClientError::fatal(SqlState::CANCELED, text)
                        .with_hint("the limit is pool.query_timeout")
                } else {
                    let wait = limits.idle_transaction_timeout;
                    let text = format!("idle in transaction for longer than {wait:?}");
                    ClientError::fatal(SqlState::IDLE_IN_TRANSACTION, text)
                        .with_hint("the limit is pool.idle_transaction_timeout")
                }
            }
        };
        self.close_client(slot, &error);
    }
}

fn idle_too_long(limits: &crate::config::PoolSettings) -> ClientError {
    let text = format!("idle for longer than {:?}", limits.client_idle_timeout);
    ClientError::fatal(SqlState::IDLE_SESSION, text)
        .with_hint("the limit is pool.client_idle_timeout")
}
