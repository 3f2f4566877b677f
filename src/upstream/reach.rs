//! Which nodes could be reached when somebody last tried: by a connect that a client needed, or by
//! a look that does no more than open a TCP connection and close it.
//!
//! It tells nothing of a node's role, lag or health behind its port.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connect::Connectors;
use super::dial;
use super::error::ConnectError;
use crate::types::NodeAddr;

/// What the last attempt found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Whether anything answered, if only with a refusal.
    pub reached: bool,
    /// When that was.
    pub at: Instant,
}

/// By node. Bounded by the nodes of the configuration: forgotten at each reload.
#[derive(Debug, Default)]
pub(super) struct Reached(Mutex<HashMap<NodeAddr, Reach>>);

impl Reached {
    pub(super) fn note<T>(&self, node: &NodeAddr, outcome: &Result<T, ConnectError>) {
        let reached = match outcome {
            Err(
                ConnectError::Unreachable(_) | ConnectError::Timeout(_) | ConnectError::Lost(_),
            ) => false,
            Ok(_)
            | Err(
                ConnectError::Refused(_)
                | ConnectError::ConnectQuery(_)
                | ConnectError::SignIn(_)
                | ConnectError::Tls(_)
                | ConnectError::Protocol(_),
            ) => true,
            // Found before anything was sent.
            Err(ConnectError::TlsSettings(_)) => return,
        };
        let at = Instant::now();
        self.lock().insert(node.clone(), Reach { reached, at });
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<NodeAddr, Reach>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connectors {
    /// What the last attempt at a node found; `None`: nobody has tried since the last reload.
    pub fn reach(&self, node: &NodeAddr) -> Option<Reach> {
        self.reached.lock().get(node).copied()
    }

    /// Looks whether a node takes connections, and remembers it.
    pub async fn look(&self, node: &NodeAddr, limit: Duration) {
        let deadline = tokio::time::Instant::now() + limit;
        let opened = tokio::time::timeout_at(deadline, async {
            if let Some(path) = node.unix_path() {
                return dial::open_unix(&path).await.map(drop);
            }
            let addresses = self.names.lookup(node).await?;
            dial::open_tcp(&addresses, deadline).await.map(drop)
        });
        let outcome = opened.await.unwrap_or(Err(ConnectError::Timeout(limit)));
        if outcome.is_err() {
            self.names.forget(node);
        }
        self.reached.note(node, &outcome);
    }
}
