//! How the nodes of clusters with replicas are: which one is the primary, which replicas serve, how
//! far these have replayed. The only place that finds it out.
//!
//! Each node is asked over one connection, beside `max_connections`, at `probe_interval` and whenever
//! traffic suspects it; in between it is asked for what somebody waits for. Clusters without replicas cost
//! nothing: no connection is opened for them. See `docs/design/health.md`.
//!
//! Guarantees: a node that stops answering is known as unreachable after `probe_interval` and a
//! timeout (2 s, or the `connect_timeout` of the tenant whose login is used) at most; one that closes its
//! connections at once. A failure of the primary changes nothing of where writes go.
//!
//! It lacks: a timeline of standbys that is right at once without pg_monitor (see `question`), and any
//! word with other instances.

mod attend;
mod desk;
mod judge;
mod lag;
mod link;
mod login;
mod member;
mod question;
mod ramp;
mod table;
mod verdict;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::time::Instant;

use self::desk::{Asked, Waiter};
use self::table::Inner;
use super::{Connectors, Target};
use crate::config::Cluster;
use crate::nodes::{ClusterView, Lsn, Position, Primary};
use crate::types::{ClusterName, NodeAddr};

/// Who is told of views that have changed.
type Tell = Box<dyn Fn(&Arc<ClusterView>) + Send + Sync>;

/// How nodes are, as last heard. Clones are the same; with the last one all connections end.
#[derive(Clone, Debug)]
pub struct Health(Arc<Inner>);

impl Health {
    /// Knows of no cluster yet. `runtime` is where nodes are asked, `connectors` as for any connect.
    pub fn new(runtime: Handle, connectors: Arc<Connectors>) -> Self {
        Self(Arc::new(Inner::new(runtime, connectors)))
    }

    /// Follows a configuration, by difference: new nodes are asked from now on, removed ones no
    /// longer, and whoever waits for them is told. Also at the start.
    pub fn configure(&self, clusters: &[Arc<Cluster>]) {
        self.0.configure(clusters);
    }

    /// How a cluster is now; `None`: it has no replicas, or is unknown.
    pub fn view(&self, cluster: &ClusterName) -> Option<Arc<ClusterView>> {
        let table = self.0.table.load();
        table.clusters.get(cluster).map(|w| w.view.load_full())
    }

    /// All clusters with replicas, by name.
    pub fn all(&self) -> Vec<Arc<ClusterView>> {
        let table = self.0.table.load();
        let mut all: Vec<_> = table
            .clusters
            .values()
            .map(|w| w.view.load_full())
            .collect();
        all.sort_by(|a, b| a.cluster.cmp(&b.cluster));
        all
    }

    /// Calls `tell`, in order, whenever a view has changed in anything but its gauges: on a thread of
    /// tokio, or on the one that calls [`Self::configure`]. It must neither block nor configure.
    /// The first one who subscribes stays.
    pub fn subscribe(&self, tell: Tell) {
        let _first_one_stays = self.0.tell.set(tell);
    }

    /// A login that works somewhere in the target's cluster: taken where the cluster has no
    /// `monitor_url` and no other one is in use, or that was refused. Cheap when it is not needed.
    pub fn offer(&self, target: &Target) {
        let table = self.0.table.load();
        let Some(watched) = table.clusters.get(&target.cluster.name) else {
            return;
        };
        if watched.logins.offer(target).is_some() {
            let nodes = watched.config.nodes().filter_map(|n| table.nodes.get(n));
            for attended in nodes {
                attended.node.mailbox.put(|mail| mail.offered = true);
            }
        }
    }

    /// Traffic has seen a node fail: it is asked now.
    pub fn suspect(&self, node: &NodeAddr) {
        if let Some(attended) = self.0.table.load().nodes.get(node) {
            attended.node.mailbox.put(|mail| mail.suspected = true);
        }
    }

    /// The primary's insert position, by a request that is begun after this call; `None`: it
    /// cannot be told now. Requests under way are shared. `then` is called on a thread of tokio.
    ///
    /// It covers every commit that was acknowledged before the call, and whatever else has been
    /// written: also what is not flushed yet, which no replica has before it is.
    pub fn position(&self, cluster: &ClusterName, then: Box<dyn FnOnce(Option<Position>) + Send>) {
        let asked = Asked::new(cluster.clone(), then);
        let table = self.0.table.load();
        let watched = table.clusters.get(cluster);
        let primary = watched.map(|w| w.view.load().primary.clone());
        let attended = match &primary {
            Some(Primary::Node(node)) => table.nodes.get(node),
            Some(Primary::Disputed(_)) | None => None,
        };
        match attended {
            Some(attended) => attended.node.mailbox.put(|mail| mail.positions.push(asked)),
            None => {
                self.0.runtime.spawn(async move { drop(asked) });
            }
        }
    }

    /// Calls `then` once the node has replayed `at_least`, or at `until` at the latest, with what it
    /// has replayed in its gauges: at once, on this thread, if they say enough already; sooner than
    /// `until` if the node is asked no longer. Whoever is called looks at the gauges.
    pub fn replayed(
        &self,
        node: &NodeAddr,
        at_least: Lsn,
        until: Instant,
        then: Box<dyn FnOnce() + Send>,
    ) {
        let waiter = Waiter::new(at_least, until, then);
        let table = self.0.table.load();
        match table.nodes.get(node) {
            Some(attended) if attended.node.replayed() < at_least => {
                attended.node.mailbox.put(|mail| mail.waiters.push(waiter));
            }
            // Dropped, it is told.
            Some(_) => drop(waiter),
            None => {
                self.0.runtime.spawn(async move { drop(waiter) });
            }
        }
    }
}
