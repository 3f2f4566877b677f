//! As whom nodes are asked: `monitor_url`, or a login that has just worked for a tenant.
//!
//! An offered login is taken while one is wanted, which a node says when its last attempt failed
//! for the login's sake, or might have. Connections that are open are not touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::question::SETTINGS;
use crate::config::Cluster;
use crate::error::SqlState;
use crate::types::{DbName, NodeAddr, RoleName};
use crate::upstream::error::ConnectError;
use crate::upstream::{Credentials, Target};

/// How long an attempt and each question may take, where no tenant's `connect_timeout` says so.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// A login.
#[derive(Debug)]
pub(super) struct Login {
    role: RoleName,
    credentials: Credentials,
    database: DbName,
    /// For an attempt, and for each question.
    pub(super) limit: Duration,
}

/// The logins of a cluster.
#[derive(Debug)]
pub(super) struct Logins {
    monitor: Option<Arc<Login>>,
    offered: ArcSwapOption<Login>,
    wanted: AtomicBool,
}

impl Logins {
    /// Those of the configuration, and what was offered before it.
    pub(super) fn new(cluster: &Cluster, former: Option<&Self>) -> Self {
        let monitor = cluster.monitor.as_ref().map(|m| {
            Arc::new(Login {
                role: m.role.clone(),
                credentials: m
                    .password
                    .clone()
                    .map_or(Credentials::None, Credentials::Password),
                database: m.database.clone(),
                limit: LIMIT,
            })
        });
        let offered = former.and_then(|f| f.offered.load_full());
        Self {
            wanted: AtomicBool::new(monitor.is_none()),
            monitor,
            offered: ArcSwapOption::new(offered),
        }
    }

    /// Takes a login that has worked, if one is wanted.
    #[must_use]
    pub(super) fn offer(&self, target: &Target) -> Option<()> {
        // Loaded first: this is called at each dial, of all threads, and nearly always in vain.
        if !self.wanted.load(Ordering::Relaxed) || !self.wanted.swap(false, Ordering::AcqRel) {
            return None;
        }
        self.offered.store(Some(Arc::new(Login {
            role: target.role.clone(),
            credentials: target.credentials.clone(),
            database: target.database.clone(),
            limit: target.connect_timeout,
        })));
        Some(())
    }

    /// The one to try, unless it was refused before.
    pub(super) fn choose(&self, refused: Option<&Arc<Login>>) -> Option<Arc<Login>> {
        if let Some(monitor) = &self.monitor {
            return Some(Arc::clone(monitor));
        }
        let offered = self.offered.load_full()?;
        let in_vain = refused.is_some_and(|r| Arc::ptr_eq(r, &offered));
        (!in_vain).then_some(offered)
    }

    /// The next login that is offered will be taken.
    pub(super) fn want(&self) {
        if self.monitor.is_none() {
            self.wanted.store(true, Ordering::Release);
        }
    }
}

impl Login {
    /// The target at a node.
    pub(super) fn target(&self, cluster: &Arc<Cluster>, node: &NodeAddr) -> Target {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut settings: Vec<_> = SETTINGS.into_iter().map(own).collect();
        let most = self.limit.as_millis().clamp(1, 60_000);
        settings.push(("statement_timeout".to_owned(), most.to_string()));
        Target {
            node: node.clone(),
            cluster: Arc::clone(cluster),
            database: self.database.clone(),
            role: self.role.clone(),
            credentials: self.credentials.clone(),
            settings,
            connect_query: String::new(),
            connect_timeout: self.limit,
        }
    }
}

/// What a failed attempt says of the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is of no use here.
    Refused,
    /// Perhaps another one would do better.
    Doubtful,
    /// None.
    Innocent,
}

/// Tells the login's fault from the node's.
pub(super) fn fault(error: &ConnectError) -> Fault {
    match error {
        // 57P03: starting up, 57P01: shutting down.
        ConnectError::Refused(e)
            if [SqlState::UNAVAILABLE, SqlState::SHUTDOWN].contains(&e.code) =>
        {
            Fault::Innocent
        }
        // Of the role, the database or the node.
        ConnectError::Refused(e) if e.code == SqlState::TOO_MANY => Fault::Doubtful,
        ConnectError::Refused(_) | ConnectError::SignIn(_) => Fault::Refused,
        ConnectError::Timeout(_) | ConnectError::Protocol(_) | ConnectError::ConnectQuery(_) => {
            Fault::Doubtful
        }
        ConnectError::Unreachable(_)
        | ConnectError::Lost(_)
        | ConnectError::Tls(_)
        | ConnectError::TlsSettings(_) => Fault::Innocent,
    }
}
