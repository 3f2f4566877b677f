//! What is told of clusters with replicas: where transactions went and why, who is the primary, how
//! the replicas are.

use std::sync::Arc;

use super::page::{Label, Name, Page};
use crate::nodes::{ClusterView, ReplicaState, ReplicaView};
use crate::session::{Place, Why};
use crate::worker::stats::Tallies;

/// A metric of a replica, and how it is read, with its part of a thousand reads.
type Reading = (Name, fn(&ReplicaView, u64) -> Option<f64>);

const REPLICAS: [Reading; 4] = [
    (
        Name(
            "tenantry_replica_up",
            "Whether the replica serves reads; SHOW REPLICAS says why not.",
        ),
        |replica, _| {
            Some(super::families::one_if(
                replica.state == ReplicaState::Ready,
            ))
        },
    ),
    (
        Name(
            "tenantry_replica_share",
            "What part of the cluster's reads goes to it, 0 to 1.",
        ),
        |_, part| Some(part as f64 / 1000.0),
    ),
    (
        Name(
            "tenantry_replica_lag_seconds",
            "For how long what the primary has written is not to be seen there.",
        ),
        |replica, _| replica.behind().map(|(time, _)| time.as_secs_f64()),
    ),
    (
        Name("tenantry_replica_lag_bytes", "How much WAL that is."),
        |replica, _| replica.behind().map(|(_, bytes)| bytes as f64),
    ),
];

/// Adds them all.
pub(super) fn add(page: &mut Page, clusters: &[Arc<ClusterView>], tallies: &Tallies) {
    routed(page, tallies);
    for (name, of) in REPLICAS {
        let samples = clusters.iter().flat_map(|view| {
            let parts = view.parts();
            parts.filter_map(move |(replica, part)| Some((view, replica, of(replica, part)?)))
        });
        // The labels of a sample are lent to the page.
        let samples: Vec<_> = samples
            .map(|(view, replica, value)| (&view.cluster, replica.node.to_string(), value))
            .collect();
        page.gauges(
            name,
            samples
                .iter()
                .map(|(cluster, node, value)| (both(cluster.as_str(), node), *value)),
        );
    }
    primaries(page, clusters);
}

fn routed(page: &mut Page, tallies: &Tallies) {
    let all = Why::ALL.iter().zip(tallies.routed);
    let samples = all.map(|(why, count)| {
        let to = match why.place() {
            Place::Primary => "primary",
            Place::Replica => "replica",
        };
        ([("to", to), ("reason", why.as_str())], count as f64)
    });
    page.counters(
        Name(
            "tenantry_routed_transactions_total",
            "Transactions in clusters with replicas, by where they went and why.",
        ),
        samples,
    );
    page.histogram(
        Name(
            "tenantry_catch_up_duration_seconds",
            "How long reads waited for a replica that caught up in time.",
        ),
        &tallies.catch_up,
    );
}

fn primaries(page: &mut Page, clusters: &[Arc<ClusterView>]) {
    let known: Vec<_> = clusters
        .iter()
        .filter_map(|view| Some((view.cluster.as_str(), view.primary()?.to_string())))
        .collect();
    page.gauges(
        Name(
            "tenantry_cluster_primary",
            "1 for the node that writes of the cluster go to.",
        ),
        known
            .iter()
            .map(|(cluster, node)| (both(cluster, node), 1.0)),
    );
    page.gauges(
        Name(
            "tenantry_cluster_disputed",
            "Whether several nodes are primaries of one timeline, so that nothing is written.",
        ),
        clusters.iter().map(|view| {
            let disputed = super::families::one_if(view.primary().is_none());
            ([("cluster", view.cluster.as_str())], disputed)
        }),
    );
}

fn both<'a>(cluster: &'a str, node: &'a str) -> [Label<'a>; 2] {
    [("cluster", cluster), ("node", node)]
}
