//! One node of a cluster: how it was when it was last asked, and what it said before.

use std::sync::Arc;

use tokio::time::Instant;

use super::question::{Found, Standing};
use super::ramp::Ramp;
use super::verdict::{CLAIM, Claim};
use crate::config::Cluster;
use crate::nodes::{Gauges, Lsn, ReplicaState, ReplicaView};
use crate::types::NodeAddr;

/// What was found out about a node.
#[derive(Debug, Clone)]
pub(super) enum Report {
    /// It has answered.
    Found(Found),
    /// The connection was lost; what that means the next attempt will tell.
    Interrupted,
    /// It has no room for another connection: that is no sign of its health.
    Full,
    /// It was asked in vain.
    Failed(Failure, String),
}

/// How a node fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It does not answer, or not in time.
    Unreachable,
    /// It answers with an error.
    Refusing,
}

/// A node in the eyes of its cluster.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) node: NodeAddr,
    pub(super) weight: u32,
    pub(super) condition: Condition,
    /// What it last said, and when.
    pub(super) known: Option<(Found, Instant)>,
    pub(super) ramp: Ramp,
    pub(super) gauges: Arc<Gauges>,
}

/// How it was when it was last asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Unheard,
    Answers,
    Fails(Failure, String),
}

impl Member {
    pub(super) fn unheard(node: NodeAddr, weight: u32) -> Self {
        Self {
            node,
            weight,
            condition: Condition::Unheard,
            known: None,
            ramp: Ramp::Fresh,
            gauges: Arc::default(),
        }
    }

    pub(super) fn hear(&mut self, report: &Report, now: Instant) {
        match report {
            Report::Found(found) => {
                self.known = Some((*found, now));
                self.condition = Condition::Answers;
            }
            Report::Failed(failure, why) => {
                self.condition = Condition::Fails(*failure, why.clone());
            }
            Report::Full if self.condition == Condition::Unheard => {
                let why = "it takes no more connections".to_owned();
                self.condition = Condition::Fails(Failure::Refusing, why);
            }
            Report::Full | Report::Interrupted => {}
        }
    }

    /// That it is a primary, if it says so.
    pub(super) fn claim(&self, now: Instant) -> Option<Claim> {
        let (found, at) = self.known.as_ref()?;
        let Standing::Primary(position) = found.standing else {
            return None;
        };
        let holds = self.condition == Condition::Answers || now < *at + CLAIM;
        holds.then(|| Claim {
            node: self.node.clone(),
            timeline: position.timeline,
        })
    }

    pub(super) fn replayed(&self) -> Option<Lsn> {
        match self.known.as_ref()?.0.standing {
            Standing::Standby { replayed, .. } => Some(replayed),
            Standing::Primary(_) => None,
        }
    }

    /// It is the primary: nobody reads here as from a replica.
    pub(super) fn lead(&mut self) {
        self.gauges.set_replayed(Lsn(0));
        self.ramp = Ramp::Full;
    }

    /// Takes a state and tells it, with the share that goes with it.
    pub(super) fn serve(
        &mut self,
        state: ReplicaState,
        before: Option<ReplicaState>,
        now: Instant,
    ) -> ReplicaView {
        self.ramp = self.ramp.step(state, now);
        if state != ReplicaState::Ready {
            self.gauges.set_replayed(Lsn(0));
        } else if before != Some(state) {
            self.gauges
                .set_replayed(self.replayed().unwrap_or_default());
        }
        ReplicaView {
            node: self.node.clone(),
            weight: self.weight,
            share: self.weight * self.ramp.thousandths(now),
            state,
            gauges: Arc::clone(&self.gauges),
        }
    }

    /// A failure is told once, and its end.
    pub(super) fn log(&self, cluster: &Cluster, before: &Condition) {
        let (cluster, node) = (&cluster.name, &self.node);
        match (before, &self.condition) {
            (Condition::Fails(former, _), Condition::Fails(failure, _)) if former == failure => {}
            (_, Condition::Fails(Failure::Unreachable, why)) => {
                tracing::warn!(%cluster, %node, %why, "a node does not answer");
            }
            (_, Condition::Fails(Failure::Refusing, why)) => {
                tracing::warn!(%cluster, %node, %why, "a node refuses to tell how it is");
            }
            (Condition::Fails(..), Condition::Answers) => {
                tracing::info!(%cluster, %node, "a node answers again");
            }
            (_, Condition::Answers | Condition::Unheard) => {}
        }
    }
}
