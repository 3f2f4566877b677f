//! SUSPEND: everything that is to be written is written, and nothing read any more, of clients or
//! servers, until RESUME. What comes meanwhile stays in the kernel, or in the inbox.

use std::collections::HashSet;

use mio::Events;

use super::inbox::{Done, Message};
use super::run::{Turn, Worker};

/// A worker that reads nothing.
pub(super) struct Suspension {
    /// Sockets with output, as (kind, slot).
    unsent: HashSet<(Side, usize)>,
    /// Who waits for the end of the output.
    done: Vec<Done>,
    /// What is done afterwards.
    later: Vec<Message>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    Client,
    Server,
}

impl Worker {
    /// Stops reading; `done` is dropped when all output is written.
    pub(super) fn suspend(&mut self, done: &Done) {
        let clients = self.clients.iter().map(|(slot, _)| (Side::Client, slot));
        let servers = self.servers.iter().map(|(slot, _)| (Side::Server, slot));
        let all: Vec<_> = clients.chain(servers).collect();
        let unsent = all.into_iter().filter(|of| !self.is_written(*of)).collect();
        let suspension = self.suspended.get_or_insert_with(|| Suspension {
            unsent,
            done: Vec::new(),
            later: Vec::new(),
        });
        if !suspension.unsent.is_empty() {
            suspension.done.push(done.clone());
        }
    }

    /// Goes on with everything.
    pub(super) fn resume(&mut self) {
        let Some(suspension) = self.suspended.take() else {
            return;
        };
        let clients = self.clients.iter();
        let clients = clients.map(|(slot, client)| Turn::Client(slot, client.serial));
        let servers = self.servers.iter();
        let servers = servers.map(|(slot, server)| Turn::Server(slot, server.serial));
        self.ready.extend(clients.chain(servers));
        for message in suspension.later {
            self.message(message);
        }
    }

    /// A turn of the loop while nothing is read.
    pub(super) fn suspended_turn(&mut self, events: &Events) {
        for event in events {
            self.note(event);
        }
        let inbox = std::sync::Arc::clone(&self.workers.inboxes[self.number]);
        for message in inbox.take() {
            match (&mut self.suspended, &message) {
                (Some(_), Message::Question(_) | Message::Order(..)) => self.message(message),
                (Some(_), Message::Drain | Message::Stop) => {
                    self.resume();
                    self.message(message);
                }
                (Some(suspension), _) => suspension.later.push(message),
                (None, _) => self.message(message),
            }
        }
        self.report();
        let Some(mut suspension) = self.suspended.take() else {
            return;
        };
        suspension.unsent.retain(|of| !self.is_written(*of));
        if suspension.unsent.is_empty() {
            suspension.done = Vec::new();
        }
        self.suspended = Some(suspension);
    }

    /// Writes what it can; whether nothing is left.
    fn is_written(&mut self, (side, slot): (Side, usize)) -> bool {
        let socket = match side {
            Side::Client => self.clients.get_mut(slot).map(|c| &mut c.socket),
            Side::Server => self.servers.get_mut(slot).map(|s| &mut s.socket),
        };
        // One that fails shows it when it is read again.
        socket.is_none_or(|socket| socket.is_clear() || socket.flush().unwrap_or(true))
    }
}
