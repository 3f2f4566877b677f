//! Addresses of host names, remembered for a short while and forgotten when a connect fails.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::ConnectError;
use crate::types::NodeAddr;

/// How long an answer counts.
const AGE: Duration = Duration::from_secs(30);

/// Answers of the resolver. Bounded by the configuration: it has only nodes that are connected to.
#[derive(Default)]
pub(super) struct Names(Mutex<HashMap<NodeAddr, Answer>>);

struct Answer {
    at: Instant,
    addresses: Arc<[SocketAddr]>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names(..)")
    }
}

impl Names {
    /// All addresses of a node, in the resolver's order; at least one.
    pub(super) async fn lookup(&self, node: &NodeAddr) -> Result<Arc<[SocketAddr]>, ConnectError> {
        if let Ok(ip) = node.host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(ip, node.port)].into());
        }
        if let Some(fresh) = self.fresh(node) {
            return Ok(fresh);
        }
        let found = tokio::net::lookup_host((&*node.host, node.port)).await;
        let addresses: Arc<[SocketAddr]> = found
            .map_err(|e| ConnectError::Unreachable(e.to_string()))?
            .collect();
        if addresses.is_empty() {
            return Err(ConnectError::Unreachable(
                "the host has no address".to_owned(),
            ));
        }
        let answer = Answer {
            at: Instant::now(),
            addresses: Arc::clone(&addresses),
        };
        self.lock().insert(node.clone(), answer);
        Ok(addresses)
    }

    /// Asks again next time: the node may have moved.
    pub(super) fn forget(&self, node: &NodeAddr) {
        self.lock().remove(node);
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn fresh(&self, node: &NodeAddr) -> Option<Arc<[SocketAddr]>> {
        let known = self.lock();
        let answer = known.get(node).filter(|a| a.at.elapsed() < AGE)?;
        Some(Arc::clone(&answer.addresses))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeAddr, Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_remembered_until_forgotten_or_old() {
        let names = Names::default();
        let node = NodeAddr {
            host: "localhost".into(),
            port: 5432,
        };
        let first = names.lookup(&node).await.unwrap();
        assert!(
            first
                .iter()
                .all(|a| a.ip().is_loopback() && a.port() == 5432)
        );
        assert!(Arc::ptr_eq(&first, &names.lookup(&node).await.unwrap()));
        names.forget(&node);
        let second = names.lookup(&node).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        let old = Instant::now().checked_sub(AGE).unwrap();
        names.lock().get_mut(&node).unwrap().at = old;
        assert!(!Arc::ptr_eq(&second, &names.lookup(&node).await.unwrap()));
    }

    #[tokio::test]
    async fn an_unknown_name_is_unreachable() {
        let node = NodeAddr {
            host: "no-such-host.invalid".into(),
            port: 5432,
        };
        let failed = Names::default().lookup(&node).await;
        assert!(matches!(failed, Err(ConnectError::Unreachable(_))));
    }
}
