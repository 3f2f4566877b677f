//! One cluster: from what its nodes were found to be, to what routing is told. No I/O.
//!
//! Guarantees: a replica counts as having replayed something only while it is ready, that is while
//! it follows the primary's timeline; one that comes back from a bad state gets its share of the
//! reads step by step. What a node said last holds until it is found to be otherwise.

use std::sync::Arc;

use tokio::time::Instant;

use super::lag::History;
use super::member::{Condition, Failure, Member, Report};
use super::question::Standing;
use super::verdict::{Claim, Heard, Verdict};
use crate::config::Cluster;
use crate::nodes::{ClusterView, Gauges, Lsn, Primary, ReplicaState, ReplicaView};
use crate::types::NodeAddr;

/// The weight of the configured primary while it is a replica.
const FORMER_PRIMARY: u32 = 1;

/// What follows from a report.
#[derive(Debug)]
pub(super) struct Judged {
    /// Set if it is another one, gauges apart.
    pub(super) view: Option<Arc<ClusterView>>,
    /// When something changes by the mere passing of time.
    pub(super) again: Option<Instant>,
}

/// The judge of one cluster.
#[derive(Debug)]
pub(super) struct Judge {
    cluster: Arc<Cluster>,
    /// In the order of the configuration.
    members: Vec<Member>,
    verdict: Verdict,
    history: History,
    view: Arc<ClusterView>,
}

impl Judge {
    /// Of a cluster as it is configured, with what is known of its nodes already.
    pub(super) fn new(cluster: Arc<Cluster>, former: Option<Self>, now: Instant) -> Self {
        let presumed = Verdict::Presumed(cluster.primary.clone());
        let mut former = former.unwrap_or_else(|| Self {
            cluster: Arc::clone(&cluster),
            members: Vec::new(),
            view: Arc::new(ClusterView {
                cluster: cluster.name.clone(),
                primary: presumed.primary(),
                replicas: Vec::new(),
            }),
            verdict: presumed.clone(),
            history: History::default(),
        });
        let weights = cluster.replicas.iter().map(|r| r.weight);
        let weights = std::iter::once(FORMER_PRIMARY).chain(weights);
        let members = cluster.nodes().zip(weights).map(|(node, weight)| {
            match former.members.iter().position(|m| m.node == *node) {
                Some(known) => Member {
                    weight,
                    ..former.members.swap_remove(known)
                },
                None => Member::unheard(node.clone(), weight),
            }
        });
        let members: Vec<Member> = members.collect();
        let mut judge = if members.iter().any(|m| m.node == *former.verdict.node()) {
            Self {
                cluster,
                members,
                ..former
            }
        } else {
            Self {
                cluster,
                members,
                verdict: presumed,
                history: History::default(),
                ..former
            }
        };
        judge.judge(now);
        judge
    }

    /// The cluster as it is now.
    pub(super) fn view(&self) -> &Arc<ClusterView> {
        &self.view
    }

    /// The gauges of a node, the same for as long as it belongs to the cluster.
    pub(super) fn gauges(&self, node: &NodeAddr) -> Option<&Arc<Gauges>> {
        self.member(node).map(|m| &m.gauges)
    }

    /// Takes note of a report.
    pub(super) fn hear(&mut self, node: &NodeAddr, report: &Report, now: Instant) -> Judged {
        let Some(member) = self.members.iter_mut().find(|m| m.node == *node) else {
            return self.judge(now);
        };
        let before = member.condition.clone();
        member.hear(report, now);
        if before != member.condition {
            member.log(&self.cluster, &before);
        }
        let judged = self.judge(now);
        self.measure(node, report, now);
        judged
    }

    /// A replica was asked how far it is, and nothing else.
    pub(super) fn replayed(&mut self, node: &NodeAddr, lsn: Lsn) {
        if self.state_of(node) == Some(ReplicaState::Ready)
            && let Some(member) = self.member(node)
        {
            member.gauges.set_replayed(lsn);
        }
    }

    /// Judges again, for time has passed.
    pub(super) fn judge(&mut self, now: Instant) -> Judged {
        self.choose(now);
        let mut replicas = Vec::new();
        for at in 0..self.members.len() {
            let is_primary =
                matches!(self.verdict.primary(), Primary::Node(n) if n == self.members[at].node);
            if is_primary {
                self.members[at].lead();
                continue;
            }
            let state = self.judged(&self.members[at]);
            let before = self.state_of(&self.members[at].node);
            let member = &mut self.members[at];
            replicas.push(member.serve(state, before, now));
        }
        self.publish(replicas, now)
    }

    /// Settles who is the primary.
    fn choose(&mut self, now: Instant) {
        let claims: Vec<Claim> = self.members.iter().filter_map(|m| m.claim(now)).collect();
        let unheard = |m: &Member| m.condition == Condition::Unheard;
        let heard = match self.members.iter().any(unheard) {
            true => Heard::Some,
            false => Heard::All,
        };
        let next = self.verdict.next(&claims, heard);
        if next == self.verdict {
            return;
        }
        let cluster = &self.cluster.name;
        let (from, to) = (self.verdict.node(), next.node());
        match (&self.verdict, &next) {
            (Verdict::Disputed { nodes: before, .. }, Verdict::Disputed { nodes, .. })
                if before == nodes => {}
            (
                _,
                Verdict::Disputed {
                    nodes, timeline, ..
                },
            ) => {
                tracing::error!(%cluster, ?nodes, timeline, "several nodes are primaries of one timeline: nothing is written until all but one have gone");
            }
            (Verdict::Disputed { .. }, _) => {
                tracing::info!(%cluster, primary = %to, "one primary is left");
            }
            _ if from != to => tracing::info!(%cluster, %from, %to, "the primary has changed"),
            _ => {}
        }
        if from != to || self.verdict.timeline() != next.timeline() {
            self.history = History::default();
        }
        self.verdict = next;
    }

    /// The state of a node that is not the primary.
    fn judged(&self, member: &Member) -> ReplicaState {
        match (&member.condition, &member.known) {
            (Condition::Unheard, _) | (Condition::Answers, None) => ReplicaState::Unknown,
            (Condition::Fails(Failure::Unreachable, _), _) => ReplicaState::Unreachable,
            (Condition::Fails(Failure::Refusing, _), _) => ReplicaState::Refusing,
            (Condition::Answers, Some((found, _))) => match found.standing {
                Standing::Primary(_) => ReplicaState::NoStandby,
                Standing::Standby { timeline, .. } if self.follows(timeline, found.system) => {
                    ReplicaState::Ready
                }
                Standing::Standby { .. } => ReplicaState::Astray,
            },
        }
    }

    /// Whether what a standby shows is what the primary has written.
    fn follows(&self, on: u32, of: u64) -> bool {
        match &self.verdict {
            Verdict::Presumed(_) => true,
            Verdict::Found { node, timeline } => {
                let primary = self.member(node).and_then(|m| m.known);
                *timeline == on && primary.is_none_or(|(found, _)| found.system == of)
            }
            // Whose commits it has nobody can tell.
            Verdict::Disputed { .. } => false,
        }
    }

    fn publish(&mut self, replicas: Vec<ReplicaView>, now: Instant) -> Judged {
        let again = self.members.iter().filter_map(|m| m.ramp.next(now)).min();
        let view = ClusterView {
            cluster: self.cluster.name.clone(),
            primary: self.verdict.primary(),
            replicas,
        };
        if same(&view, &self.view) {
            return Judged { view: None, again };
        }
        for replica in &view.replicas {
            let before = self.state_of(&replica.node);
            if before != Some(replica.state) {
                log_state(&self.cluster, replica);
            }
        }
        self.view = Arc::new(view);
        let view = Some(Arc::clone(&self.view));
        Judged { view, again }
    }

    /// Moves the gauges of a node that was just asked.
    fn measure(&mut self, node: &NodeAddr, report: &Report, now: Instant) {
        let is_ready = self.state_of(node) == Some(ReplicaState::Ready);
        let is_primary = matches!(&self.verdict, Verdict::Found { node: n, .. } if n == node);
        let Some(at) = self.members.iter().position(|m| m.node == *node) else {
            return;
        };
        let gauges = Arc::clone(&self.members[at].gauges);
        match (
            report,
            self.members[at].known.map(|(found, _)| found.standing),
        ) {
            (Report::Found(_), Some(Standing::Primary(position))) if is_primary => {
                self.history.told(now, position.lsn);
            }
            (Report::Found(_), Some(Standing::Standby { replayed, .. })) => {
                if is_ready {
                    gauges.set_replayed(replayed);
                }
                let (time, bytes) = self.history.lag(replayed, now);
                gauges.set_lag(time, bytes);
            }
            (Report::Failed(..), Some(Standing::Standby { replayed, .. })) => {
                let (time, bytes) = self.history.lag(replayed, now);
                gauges.set_lag(time, bytes);
            }
            // It may come back from a crash with less than it had shown before.
            (Report::Interrupted, _) => gauges.set_replayed(Lsn(0)),
            _ => {}
        }
        let replayed = self.members.iter().filter_map(Member::replayed);
        self.history
            .reached_by_all(replayed.min().unwrap_or_default());
    }

    fn member(&self, node: &NodeAddr) -> Option<&Member> {
        self.members.iter().find(|m| m.node == *node)
    }

    /// As last told.
    fn state_of(&self, node: &NodeAddr) -> Option<ReplicaState> {
        let mut replicas = self.view.replicas.iter();
        replicas.find(|r| r.node == *node).map(|r| r.state)
    }
}

/// Failures are told where they are found.
fn log_state(cluster: &Cluster, replica: &ReplicaView) {
    let (cluster, node) = (&cluster.name, &replica.node);
    match replica.state {
        ReplicaState::NoStandby => {
            tracing::warn!(%cluster, %node, "a node is no standby and serves no reads");
        }
        ReplicaState::Astray => {
            tracing::warn!(%cluster, %node, "a standby does not follow the primary and serves no reads");
        }
        ReplicaState::Ready => tracing::info!(%cluster, %node, "a replica serves reads"),
        ReplicaState::Unknown | ReplicaState::Unreachable | ReplicaState::Refusing => {}
    }
}

/// Whether two views differ in nothing but their gauges.
fn same(a: &ClusterView, b: &ClusterView) -> bool {
    let key = |r: &ReplicaView| (r.node.clone(), r.share, r.state);
    a.primary == b.primary && a.replicas.iter().map(key).eq(b.replicas.iter().map(key))
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
