//! What a client has sent to a replica is kept until that has answered something of it, so that it
//! can be sent elsewhere; see [`super::super::failover`].

use crate::error::Notice;
use crate::worker::run::{SPARE, Worker};

/// Of what is kept of a request at a replica.
const KEPT: usize = 32 * 1024;

impl Worker {
    /// A transaction begins at the server connection that its client was given.
    pub(in crate::worker) fn routed(&mut self, slot: usize, server: usize) {
        let client = &mut self.clients[slot];
        let held = &mut self.servers[server];
        self.tallies.routed[client.course.why as usize] += 1;
        if held.link.is_routed() {
            held.link.begin_silent();
            held.sent = Some(self.spare.pop().unwrap_or_default());
        }
        if self.pools[client.pool].tenant.config.routing.notice {
            let reason = client.course.why.as_str();
            let notice = Notice::new(format!("served by {} ({reason})", held.cancel.node));
            let mut told = Vec::new();
            notice.encode(&mut told);
            // A failed write shows again as a failed read.
            let _gone = client.socket.send(&told);
        }
    }

    /// Keeps what a client has sent to a replica, for as long as that has answered nothing.
    pub(in crate::worker) fn keep_sent(&mut self, server: usize, bytes: &[u8]) {
        let held = &mut self.servers[server];
        let Some(sent) = &mut held.sent else {
            return;
        };
        if sent.len() + bytes.len() <= KEPT {
            sent.extend_from_slice(bytes);
        } else {
            held.link.end_silent();
            held.sent = None;
        }
    }

    /// The client has had something of the answer: nothing is sent again from here on.
    pub(in crate::worker) fn forget_sent(&mut self, server: usize) {
        let held = &mut self.servers[server];
        held.link.end_silent();
        if let Some(mut sent) = held.sent.take() {
            sent.clear();
            if self.spare.len() < SPARE {
                self.spare.push(sent);
            }
        }
    }
}
