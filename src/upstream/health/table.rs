//! Which nodes are asked, of which clusters, and the judges of these.
//!
//! What other threads read (views, gauges, mailboxes) is reached without a lock that is held for
//! long; judging and following a configuration exclude each other, so that a view is never
//! replaced by an older one and whoever is told of views is told in order.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Tell;
use super::attend::Attendant;
use super::desk::Mailbox;
use super::judge::{Judge, Judged};
use super::login::{LIMIT, Logins};
use super::member::Report;
use crate::config::Cluster;
use crate::nodes::{ClusterView, Gauges, Lsn, Primary};
use crate::types::{ClusterName, NodeAddr};
use crate::upstream::connect::Connectors;

/// All of it.
pub(super) struct Inner {
    pub(super) runtime: Handle,
    connectors: Arc<Connectors>,
    pub(super) table: ArcSwap<Table>,
    pub(super) tell: OnceLock<Tell>,
    judges: Mutex<HashMap<ClusterName, Judge>>,
}

/// What is watched now.
#[derive(Default)]
pub(super) struct Table {
    pub(super) clusters: HashMap<ClusterName, Arc<Watched>>,
    pub(super) nodes: HashMap<NodeAddr, Arc<Attended>>,
}

/// A cluster.
pub(super) struct Watched {
    pub(super) config: Arc<Cluster>,
    pub(super) logins: Logins,
    pub(super) view: ArcSwap<ClusterView>,
}

/// A node.
pub(super) struct Node {
    pub(super) address: NodeAddr,
    pub(super) mailbox: Mailbox,
    /// The clusters that it belongs to.
    pub(super) places: ArcSwap<Vec<Place>>,
}

/// A node in a cluster.
pub(super) struct Place {
    pub(super) watched: Arc<Watched>,
    gauges: Arc<Gauges>,
}

/// A node whose task ends with this, and its connection with that.
pub(super) struct Attended {
    pub(super) node: Arc<Node>,
    task: AbortHandle,
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    /// What it has replayed, at least, in any of its clusters.
    pub(super) fn replayed(&self) -> Lsn {
        let places = self.places.load();
        let replayed = places.iter().map(|place| place.gauges.replayed());
        replayed.max().unwrap_or_default()
    }

    /// How often it is asked.
    pub(super) fn interval(&self) -> Duration {
        let places = self.places.load();
        let intervals = places
            .iter()
            .map(|place| place.watched.config.probe_interval);
        intervals.min().unwrap_or(LIMIT)
    }
}

impl Inner {
    pub(super) fn new(runtime: Handle, connectors: Arc<Connectors>) -> Self {
        Self {
            runtime,
            connectors,
            table: ArcSwap::default(),
            tell: OnceLock::new(),
            judges: Mutex::default(),
        }
    }

    /// Follows a configuration, by difference.
    pub(super) fn configure(self: &Arc<Self>, clusters: &[Arc<Cluster>]) {
        let mut judges = self.judges();
        let old = self.table.load_full();
        let mut former = std::mem::take(&mut *judges);
        let mut table = Table::default();
        for cluster in clusters.iter().filter(|c| !c.replicas.is_empty()) {
            let (watched, judge) = watch(cluster, old.clusters.get(&cluster.name), &mut former);
            judges.insert(cluster.name.clone(), judge);
            table.clusters.insert(cluster.name.clone(), watched);
        }
        for (address, places) in places(&table, &judges) {
            let attended = match old.nodes.get(&address) {
                Some(known) => {
                    known.node.move_to(places);
                    Arc::clone(known)
                }
                None => self.attend(address.clone(), places),
            };
            table.nodes.insert(address, attended);
        }
        let table = Arc::new(table);
        // Nodes that are not in it end with the last who reads the old one.
        self.table.store(Arc::clone(&table));
        let is_new = |w: &&Arc<Watched>| {
            let known = old.clusters.get(&w.config.name);
            known.is_none_or(|k| !Arc::ptr_eq(k, w))
        };
        for watched in table.clusters.values().filter(is_new) {
            self.tell(&watched.view.load_full());
        }
    }

    fn attend(self: &Arc<Self>, address: NodeAddr, places: Vec<Place>) -> Arc<Attended> {
        let node = Arc::new(Node {
            address,
            mailbox: Mailbox::default(),
            places: ArcSwap::from_pointee(places),
        });
        let connectors = Arc::clone(&self.connectors);
        let attendant = Attendant::new(Arc::clone(&node), Arc::downgrade(self), connectors);
        let task = self.runtime.spawn(attendant.run()).abort_handle();
        Arc::new(Attended { node, task })
    }

    /// Something was found out about a node. Returns when to [`Self::pass`].
    pub(super) fn report(&self, node: &Node, report: &Report) -> Option<Instant> {
        self.each(node, |judge, now| judge.hear(&node.address, report, now))
    }

    /// Time has passed. Returns when to call it again.
    pub(super) fn pass(&self, node: &Node) -> Option<Instant> {
        self.each(node, Judge::judge)
    }

    /// A standby has replayed this.
    pub(super) fn replayed(&self, node: &Node, lsn: Lsn) {
        let mut judges = self.judges();
        for place in node.places.load().iter() {
            if let Some(judge) = judges.get_mut(&place.watched.config.name) {
                judge.replayed(&node.address, lsn);
            }
        }
    }

    /// Whether writes of a cluster go to this node.
    pub(super) fn is_primary(&self, cluster: &ClusterName, node: &NodeAddr) -> bool {
        let table = self.table.load();
        let watched = table.clusters.get(cluster);
        watched.is_some_and(|w| matches!(&w.view.load().primary, Primary::Node(n) if n == node))
    }

    /// Asks the judges of all clusters that a node belongs to.
    fn each(&self, node: &Node, judge: impl Fn(&mut Judge, Instant) -> Judged) -> Option<Instant> {
        let now = Instant::now();
        let mut judges = self.judges();
        let mut again: Option<Instant> = None;
        for place in node.places.load().iter() {
            let Some(of_cluster) = judges.get_mut(&place.watched.config.name) else {
                continue;
            };
            let judged = judge(of_cluster, now);
            if let Some(view) = judged.view {
                place.watched.view.store(Arc::clone(&view));
                self.tell(&view);
            }
            again = again.into_iter().chain(judged.again).min();
        }
        again
    }

    fn tell(&self, view: &Arc<ClusterView>) {
        if let Some(tell) = self.tell.get() {
            tell(view);
        }
    }

    fn judges(&self) -> MutexGuard<'_, HashMap<ClusterName, Judge>> {
        self.judges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Belongs to these from now on; connects anew if that is done in another way now.
    fn move_to(&self, places: Vec<Place>) {
        let old = self.places.load_full();
        let changed = |place: &Place| {
            let config = &place.watched.config;
            let mut known = old.iter().map(|p| &p.watched.config);
            let known = known.find(|c| c.name == config.name);
            known.is_some_and(|k| k.tls != config.tls || k.monitor != config.monitor)
        };
        let renewed = places.iter().any(changed);
        self.places.store(Arc::new(places));
        self.mailbox.put(|mail| mail.renewed |= renewed);
    }
}

/// A cluster that has not changed stays what it is.
fn watch(
    cluster: &Arc<Cluster>,
    known: Option<&Arc<Watched>>,
    former: &mut HashMap<ClusterName, Judge>,
) -> (Arc<Watched>, Judge) {
    let judge = former.remove(&cluster.name);
    match (known, judge) {
        (Some(known), Some(judge)) if known.config == *cluster => (Arc::clone(known), judge),
        (known, judge) => {
            let judge = Judge::new(Arc::clone(cluster), judge, Instant::now());
            let watched = Watched {
                config: Arc::clone(cluster),
                logins: Logins::new(cluster, known.map(|k| &k.logins)),
                view: ArcSwap::new(Arc::clone(judge.view())),
            };
            (Arc::new(watched), judge)
        }
    }
}

/// All nodes, each with the clusters that it belongs to.
fn places(table: &Table, judges: &HashMap<ClusterName, Judge>) -> HashMap<NodeAddr, Vec<Place>> {
    let mut places: HashMap<NodeAddr, Vec<Place>> = HashMap::new();
    for watched in table.clusters.values() {
        for node in watched.config.nodes() {
            let judge = judges.get(&watched.config.name);
            let Some(gauges) = judge.and_then(|j| j.gauges(node)) else {
                continue;
            };
            places.entry(node.clone()).or_default().push(Place {
                watched: Arc::clone(watched),
                gauges: Arc::clone(gauges),
            });
        }
    }
    places
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<NodeAddr> = self.table.load().nodes.keys().cloned().collect();
        f.debug_struct("Health")
            .field("nodes", &nodes)
            .finish_non_exhaustive()
    }
}
