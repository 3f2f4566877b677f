//! SHOW NODES and REPLICAS: what the configuration says of nodes, and what they were found to be.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Cluster;
use crate::console::Console;
use crate::console::table::{Column, Row, Table, Type, Value};
use crate::nodes::{ClusterView, Primary, ReplicaState, ReplicaView};
use crate::types::{ClusterName, NodeAddr};
use crate::upstream::budget::NodeBudget;
use crate::worker::report::{ServerDoes, ServerRow};

pub(super) const NODES: &[Column] = &[
    ("node", Type::Text),
    ("role", Type::Text),
    ("clusters", Type::Text),
    ("connections", Type::Int4),
    ("max_connections", Type::Int4),
    ("waiting", Type::Int4),
    ("tenants", Type::Int4),
    ("found", Type::Text),
    ("state", Type::Text),
    ("reached", Type::Text),
];

pub(super) const REPLICAS: &[Column] = &[
    ("cluster", Type::Text),
    ("node", Type::Text),
    ("weight", Type::Int4),
    ("share", Type::Int4),
    ("state", Type::Text),
    ("replayed", Type::Text),
    ("lag", Type::Int8),
    ("lag_bytes", Type::Int8),
    ("sv_active", Type::Int4),
    ("sv_idle", Type::Int4),
];

/// SHOW NODES. Nodes that no cluster names any more stay while they have connections.
pub(super) fn nodes(console: &Console) -> Table {
    let view = console.view();
    let mut tenants = HashMap::<&ClusterName, usize>::new();
    for tenant in view.registry.iter() {
        *tenants.entry(&tenant.config.cluster.name).or_default() += 1;
    }
    let views = console.0.around.health.all();
    let row = |(node, budget): (NodeAddr, Arc<NodeBudget>)| -> Row {
        let clusters = view.config.clusters.iter();
        let of: Vec<&Cluster> = clusters
            .filter(|c| c.nodes().any(|n| *n == node))
            .map(|c| &**c)
            .collect();
        let names: Vec<&str> = of.iter().map(|c| c.name.as_str()).collect();
        let tenants = of
            .iter()
            .filter_map(|c| tenants.get(&c.name))
            .sum::<usize>();
        let leads = of.iter().any(|c| c.primary == node) || of.is_empty();
        let reach = console.0.around.connectors.reach(&node);
        vec![
            node.to_string().into(),
            if leads { "primary" } else { "replica" }.into(),
            names.join(",").into(),
            budget.taken().into(),
            budget.limit().into(),
            budget.waiting().into(),
            tenants.into(),
            found(&views, &node),
            state(&views, &node),
            reach.map(|r| super::yes_or_no(r.reached)).into(),
        ]
    };
    let mut all = console.0.around.budget.all();
    all.sort_by(|(a, _), (b, _)| (&a.host, a.port).cmp(&(&b.host, b.port)));
    let rows: Vec<Row> = all.into_iter().map(row).collect();
    Table::new(NODES, rows)
}

/// What a node is in the clusters that have replicas; in others nobody asks.
fn found(views: &[Arc<ClusterView>], node: &NodeAddr) -> Value {
    let role = |view: &Arc<ClusterView>| match &view.primary {
        Primary::Node(primary) if primary == node => Some("primary"),
        Primary::Disputed(nodes) if nodes.contains(node) => Some("disputed"),
        _ => replica(view, node).map(|_| "replica"),
    };
    listed(views.iter().filter_map(role))
}

/// How it is where it is no primary.
fn state(views: &[Arc<ClusterView>], node: &NodeAddr) -> Value {
    let replicas = views.iter().filter_map(|view| replica(view, node));
    listed(replicas.map(|replica| replica.state.as_str()))
}

fn replica<'a>(view: &'a ClusterView, node: &NodeAddr) -> Option<&'a ReplicaView> {
    view.replicas.iter().find(|r| r.node == *node)
}

/// Each word once; NULL without one.
fn listed(words: impl Iterator<Item = &'static str>) -> Value {
    let words: Vec<&str> = words.collect::<BTreeSet<_>>().into_iter().collect();
    (!words.is_empty()).then(|| words.join(",")).into()
}

/// SHOW REPLICAS.
pub(super) fn replicas(console: &Console, servers: &[ServerRow]) -> Table {
    let used = used(servers);
    let row = |view: &ClusterView, replica: &ReplicaView, part: u64| -> Row {
        let ready = replica.state == ReplicaState::Ready;
        let replayed = ready.then(|| replica.gauges.replayed().to_string());
        let behind = replica.behind();
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let used = used.get(&(&view.cluster, &replica.node));
        let (active, idle) = used.copied().unwrap_or_default();
        vec![
            view.cluster.to_string().into(),
            replica.node.to_string().into(),
            u64::from(replica.weight).into(),
            ((part + 5) / 10).into(),
            replica.state.as_str().into(),
            replayed.into(),
            behind.map(|(time, _)| milliseconds(time)).into(),
            behind.map(|(_, bytes)| bytes).into(),
            active.into(),
            idle.into(),
        ]
    };
    let views = console.0.around.health.all();
    let rows: Vec<Row> = views
        .iter()
        .flat_map(|view| view.parts().map(|(replica, part)| row(view, replica, part)))
        .collect();
    Table::new(REPLICAS, rows)
}

/// Server connections that are lent and that are free, by cluster and node.
fn used(servers: &[ServerRow]) -> HashMap<(&ClusterName, &NodeAddr), (usize, usize)> {
    let mut all = HashMap::<_, (usize, usize)>::new();
    for server in servers {
        let key = (&server.tenant.config.cluster.name, &server.node);
        let (active, idle) = all.entry(key).or_default();
        match server.state {
            ServerDoes::Active | ServerDoes::ActiveCancel | ServerDoes::BeingCanceled => {
                *active += 1;
            }
            ServerDoes::Idle | ServerDoes::Used => *idle += 1,
            ServerDoes::Tested | ServerDoes::Closing => {}
        }
    }
    all
}
