//! How the nodes of clusters with replicas are: which one is the primary, which replicas serve, how
//! far these have replayed. The only place that finds it out.
//!
//! Clusters without replicas cost nothing: no connection is opened for them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::{Connectors, Target};
use crate::config::Cluster;
use crate::nodes::{ClusterView, Gauges, Lsn, Position, Primary, ReplicaState, ReplicaView};
use crate::types::{ClusterName, NodeAddr};

/// Who is told of views that have changed.
type Tell = Box<dyn Fn(&Arc<ClusterView>) + Send + Sync>;

/// How nodes are, as last heard. Clones are the same.
#[derive(Clone, Debug)]
pub struct Health(Arc<Inner>);

struct Inner {
    runtime: Handle,
    #[allow(dead_code, reason = "nodes are not asked yet")]
    connectors: Arc<Connectors>,
    views: ArcSwap<HashMap<ClusterName, Arc<ClusterView>>>,
    tell: OnceLock<Tell>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

impl Health {
    /// Knows of no cluster yet. `runtime` is where nodes are asked, `connectors` as for any connect.
    pub fn new(runtime: Handle, connectors: Arc<Connectors>) -> Self {
        Self(Arc::new(Inner {
            runtime,
            connectors,
            views: ArcSwap::default(),
            tell: OnceLock::new(),
        }))
    }

    /// Follows a configuration, by difference: new nodes are asked from now on, removed ones no
    /// longer. Also at the start.
    pub fn configure(&self, clusters: &[Arc<Cluster>]) {
        let watched = clusters.iter().filter(|c| !c.replicas.is_empty());
        let views: HashMap<_, _> = watched
            .map(|c| (c.name.clone(), Arc::new(unknown(c))))
            .collect();
        self.0.views.store(Arc::new(views));
        if let Some(tell) = self.0.tell.get() {
            self.all().iter().for_each(tell);
        }
    }

    /// How a cluster is now; `None`: it has no replicas, or is unknown.
    pub fn view(&self, cluster: &ClusterName) -> Option<Arc<ClusterView>> {
        self.0.views.load().get(cluster).cloned()
    }

    /// All clusters with replicas, by name.
    pub fn all(&self) -> Vec<Arc<ClusterView>> {
        let mut all: Vec<_> = self.0.views.load().values().cloned().collect();
        all.sort_by(|a, b| a.cluster.cmp(&b.cluster));
        all
    }

    /// Calls `tell`, which must not block, on a thread of tokio whenever a view has changed in
    /// anything but its gauges. The first one who subscribes stays.
    pub fn subscribe(&self, tell: Tell) {
        let _first_one_stays = self.0.tell.set(tell);
    }

    /// A login that works somewhere in the target's cluster: taken where the cluster has no
    /// `monitor_url` and none is in use. Cheap when it is not needed.
    pub fn offer(&self, _target: &Target) {}

    /// Traffic has seen a node fail: it is asked now.
    pub fn suspect(&self, _node: &NodeAddr) {}

    /// The primary's insert position, by a request that is begun after this call; `None`: it
    /// cannot be told now. Called on a thread of tokio.
    pub fn position(&self, _cluster: &ClusterName, then: Box<dyn FnOnce(Option<Position>) + Send>) {
        self.0.runtime.spawn(async move { then(None) });
    }

    /// Calls `then` once the node has replayed `at_least`, or at `until` at the latest, having
    /// stored what it has replayed in its gauges.
    pub fn replayed(
        &self,
        _node: &NodeAddr,
        _at_least: Lsn,
        until: Instant,
        then: Box<dyn FnOnce() + Send>,
    ) {
        self.0.runtime.spawn(async move {
            tokio::time::sleep_until(until).await;
            then();
        });
    }
}

/// Nobody has asked anyone yet.
fn unknown(cluster: &Cluster) -> ClusterView {
    let replica = |r: &crate::config::Replica| ReplicaView {
        node: r.node.clone(),
        share: 0,
        state: ReplicaState::Unknown,
        gauges: Arc::new(Gauges::default()),
    };
    ClusterView {
        cluster: cluster.name.clone(),
        primary: Primary::Node(cluster.primary.clone()),
        replicas: cluster.replicas.iter().map(replica).collect(),
    }
}
