//! What a cluster is found to be, from what its nodes say, without any node.

use std::time::Duration;

use super::*;
use crate::config::{Replica, UpstreamTls, UpstreamTlsMode};
use crate::nodes::Position;
use crate::types::ClusterName;
use crate::upstream::health::question::{Found, Pages};
use crate::upstream::health::verdict::CLAIM;

const SECOND: Duration = Duration::from_secs(1);

fn node(name: &str) -> NodeAddr {
    NodeAddr {
        host: name.into(),
        port: 5432,
    }
}

/// Primary `a`, replicas `b` and `c` with the weights 1 and 2.
fn cluster() -> Cluster {
    let replica = |(name, weight)| Replica {
        node: node(name),
        weight,
    };
    Cluster {
        name: ClusterName::new("main"),
        primary: node("a"),
        replicas: [("b", 1), ("c", 2)].map(replica).to_vec(),
        max_connections: 10,
        tls: UpstreamTls {
            mode: UpstreamTlsMode::Disable,
            ca: None,
            client_identity: None,
        },
        monitor: None,
        probe_interval: SECOND,
    }
}

/// A judge, and its clock.
struct Court {
    judge: Judge,
    now: Instant,
}

impl Court {
    fn new() -> Self {
        let now = Instant::now();
        let judge = Judge::new(Arc::new(cluster()), None, now);
        Self { judge, now }
    }

    /// `a` is the primary, the others follow it and are ready.
    fn settled() -> Self {
        let mut court = Self::new();
        court.says("a", primary(1, 1000));
        court.says("b", standby(1, 1000));
        court.says("c", standby(1, 1000));
        court
    }

    fn hear(&mut self, name: &str, report: &Report) -> Judged {
        self.judge.hear(&node(name), report, self.now)
    }

    fn says(&mut self, name: &str, standing: Standing) -> Judged {
        self.hear(name, &said(standing, 7))
    }

    fn fails(&mut self, name: &str, failure: Failure) -> Judged {
        self.hear(name, &Report::Failed(failure, "so it was".to_owned()))
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn primary(&self) -> Primary {
        self.judge.view().primary.clone()
    }

    /// State and share of a replica.
    fn replica(&self, name: &str) -> (ReplicaState, u32) {
        let mut replicas = self.judge.view().replicas.iter();
        let replica = replicas.find(|r| r.node == node(name)).expect("a replica");
        (replica.state, replica.share)
    }

    fn gauges(&self, name: &str) -> &Gauges {
        self.judge.gauges(&node(name)).expect("a member")
    }
}

fn said(standing: Standing, system: u64) -> Report {
    Report::Found(Found {
        standing,
        system,
        pages: Pages::USUAL,
    })
}

fn primary(timeline: u32, lsn: u64) -> Standing {
    let lsn = Lsn(lsn);
    Standing::Primary(Position { timeline, lsn })
}

fn standby(timeline: u32, lsn: u64) -> Standing {
    let replayed = Lsn(lsn);
    Standing::Standby { timeline, replayed }
}

#[test]
fn at_the_start_the_configuration_is_believed_and_nothing_is_known() {
    let court = Court::new();
    assert_eq!(court.primary(), Primary::Node(node("a")));
    assert_eq!(court.replica("b"), (ReplicaState::Unknown, 0));
    assert_eq!(court.judge.view().replicas.len(), 2);
}

#[test]
fn a_standby_is_ready_after_one_answer_with_all_of_its_share() {
    let mut court = Court::new();
    assert!(court.says("c", standby(1, 900)).view.is_some());
    assert_eq!(court.replica("c"), (ReplicaState::Ready, 2000));
    assert_eq!(court.gauges("c").replayed(), Lsn(900));
    // The same again is no news.
    let judged = court.says("c", standby(1, 950));
    assert!(judged.view.is_none() && judged.again.is_none());
    assert_eq!(court.gauges("c").replayed(), Lsn(950));
}

#[test]
fn silence_of_the_primary_changes_nothing() {
    let mut court = Court::settled();
    for failure in [Failure::Unreachable, Failure::Refusing] {
        assert!(court.fails("a", failure).view.is_none());
        court.pass(SECOND * 100);
        assert!(court.says("b", standby(1, 1000)).view.is_none());
    }
    assert!(court.hear("a", &Report::Interrupted).view.is_none());
    assert_eq!(court.primary(), Primary::Node(node("a")));
}

#[test]
fn after_a_promotion_the_others_are_astray_until_they_follow() {
    let mut court = Court::settled();
    court.fails("a", Failure::Unreachable);
    court.says("b", primary(2, 1100));
    assert_eq!(court.primary(), Primary::Node(node("b")));
    assert_eq!(court.replica("a"), (ReplicaState::Unreachable, 0));
    assert_eq!(court.replica("c"), (ReplicaState::Astray, 0));
    // What it has replayed is of another timeline.
    assert_eq!(court.gauges("c").replayed(), Lsn(0));
    court.judge.replayed(&node("c"), Lsn(5000));
    assert_eq!(court.gauges("c").replayed(), Lsn(0));

    court.says("c", standby(2, 1100));
    assert_eq!(court.replica("c"), (ReplicaState::Ready, 200));
    assert_eq!(court.gauges("c").replayed(), Lsn(1100));
    // The former primary, started again as it was.
    court.says("a", primary(1, 2000));
    assert_eq!(court.primary(), Primary::Node(node("b")));
    assert_eq!(court.replica("a"), (ReplicaState::NoStandby, 0));
    court.fails("b", Failure::Unreachable);
    court.pass(CLAIM * 2);
    court.says("a", primary(1, 2000));
    assert_eq!(court.primary(), Primary::Node(node("b")));
    // And as it should be.
    court.says("a", standby(2, 1100));
    assert_eq!(court.replica("a"), (ReplicaState::Ready, 100));
}

#[test]
fn two_primaries_of_one_timeline_are_a_dispute_until_one_has_gone() {
    let mut court = Court::settled();
    court.fails("a", Failure::Unreachable);
    court.says("b", primary(2, 1100));
    court.says("c", primary(2, 1200));
    assert_eq!(
        court.primary(),
        Primary::Disputed(vec![node("b"), node("c")])
    );
    assert_eq!(court.judge.view().replicas.len(), 3);
    assert_eq!(court.replica("b"), (ReplicaState::NoStandby, 0));
    // A standby of that timeline may be of either.
    court.says("a", standby(2, 1200));
    assert_eq!(court.replica("a"), (ReplicaState::Astray, 0));
    // Silence does not end it soon.
    court.fails("c", Failure::Unreachable);
    court.pass(CLAIM / 2);
    court.says("b", primary(2, 1300));
    assert!(matches!(court.primary(), Primary::Disputed(_)));
    court.says("c", standby(2, 1250));
    assert_eq!(court.primary(), Primary::Node(node("b")));
    assert_eq!(court.replica("c").0, ReplicaState::Ready);
}

#[test]
fn a_standby_of_another_cluster_serves_nothing() {
    let mut court = Court::settled();
    court.hear("b", &said(standby(1, 1000), 8));
    assert_eq!(court.replica("b"), (ReplicaState::Astray, 0));
}

#[test]
fn a_full_node_is_not_a_dead_one() {
    let mut court = Court::settled();
    assert!(court.hear("b", &Report::Interrupted).view.is_none());
    assert!(court.hear("b", &Report::Full).view.is_none());
    assert_eq!(court.replica("b"), (ReplicaState::Ready, 1000));
    // But what it shows is not known.
    assert_eq!(court.gauges("b").replayed(), Lsn(0));
    let mut court = Court::new();
    court.hear("b", &Report::Full);
    assert_eq!(court.replica("b"), (ReplicaState::Refusing, 0));
}

#[test]
fn one_that_comes_back_gets_its_share_step_by_step() {
    let mut court = Court::settled();
    court.fails("c", Failure::Unreachable);
    assert_eq!(court.replica("c"), (ReplicaState::Unreachable, 0));
    let mut again = court.says("c", standby(1, 1000)).again;
    let mut shares = Vec::new();
    while let Some(at) = again {
        shares.push(court.replica("c").1);
        court.now = at;
        let judged = court.judge.judge(at);
        assert!(judged.view.is_some());
        again = judged.again;
    }
    assert_eq!(shares.first(), Some(&200));
    assert_eq!(shares.len(), 10);
    assert_eq!(court.replica("c"), (ReplicaState::Ready, 2000));
}

#[test]
fn one_that_is_promoted_on_its_way_back_waits_for_no_more_steps() {
    let mut court = Court::settled();
    court.fails("b", Failure::Unreachable);
    assert!(court.says("b", standby(1, 1000)).again.is_some());
    court.fails("a", Failure::Unreachable);
    assert_eq!(court.says("b", primary(2, 1000)).again, None);
}

#[test]
fn lag_is_how_long_the_primarys_word_is_not_reached() {
    let mut court = Court::settled();
    court.pass(SECOND);
    court.says("a", primary(1, 1500));
    court.pass(SECOND);
    court.says("b", standby(1, 1500));
    court.says("c", standby(1, 1400));
    assert_eq!(
        (court.gauges("b").lag(), court.gauges("b").lag_bytes()),
        (Duration::ZERO, 0)
    );
    assert_eq!(
        (court.gauges("c").lag(), court.gauges("c").lag_bytes()),
        (SECOND, 100)
    );
    // One that cannot be asked falls behind all the same.
    court.pass(SECOND * 3);
    court.fails("c", Failure::Unreachable);
    assert_eq!(court.gauges("c").lag(), SECOND * 4);
}

#[test]
fn a_reload_keeps_what_is_known() {
    let mut court = Court::settled();
    court.says("c", primary(2, 1100));
    let mut config = cluster();
    config.replicas[0].weight = 5;
    let judge = Judge::new(Arc::new(config), Some(court.judge), court.now);
    court.judge = judge;
    assert_eq!(court.primary(), Primary::Node(node("c")));
    court.says("b", standby(2, 1100));
    assert_eq!(court.replica("b"), (ReplicaState::Ready, 500));
    // The primary that was found is no longer one of the nodes.
    let mut config = cluster();
    config.replicas.truncate(1);
    court.judge = Judge::new(Arc::new(config), Some(court.judge), court.now);
    assert_eq!(court.primary(), Primary::Node(node("a")));
    assert_eq!(court.replica("b").0, ReplicaState::Astray);
}
