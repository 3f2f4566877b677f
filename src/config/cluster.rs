//! `[[cluster]]`: where tenants live.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::reader::{Section, Value};
use super::{Cluster, Monitor, Replica, UpstreamTls, UpstreamTlsMode, keys, value};
use crate::types::{ClusterName, DbName, NodeAddr, RoleName, Secret};

/// Replicas of one cluster: routing keeps a bit for each.
const MOST_REPLICAS: usize = 64;

/// How often nodes are asked how they are.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// The clusters that could be read, and all names that were declared: a cluster with a mistake of
/// its own is not a dangling name as well.
pub(super) struct Clusters {
    pub(super) all: Vec<Arc<Cluster>>,
    pub(super) declared: HashSet<String>,
}

impl Clusters {
    /// The cluster of that name.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.all.iter().find(|c| c.name.as_str() == name)
    }
}

/// Reads all `[[cluster]]`.
pub(super) fn read(items: Vec<Value<'_>>) -> Clusters {
    let mut declared = HashSet::new();
    let mut clusters = Vec::new();
    for item in items {
        clusters.extend(cluster(item.section(&keys::CLUSTER), &mut declared));
    }
    share_nodes(&mut clusters);
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    Clusters {
        all: clusters.into_iter().map(Arc::new).collect(),
        declared,
    }
}

fn cluster(mut s: Section<'_>, declared: &mut HashSet<String>) -> Option<Cluster> {
    let name = s.required("name").and_then(|v| v.name());
    if let Some(name) = name
        && !declared.insert(name.to_owned())
    {
        s.error("name", format!("there are two clusters named `{name}`"));
    }
    let primary = s.required("primary").and_then(|v| v.parsed(value::node));
    let replicas = replicas(&mut s, primary.as_ref());
    let max_connections = s.number("max_connections", 1..=262_143, 90);
    let tls = tls(&mut s);
    let monitor = s.value("monitor_url").and_then(|v| monitor(&v));
    let probe_interval = s.positive_duration("probe_interval", PROBE_INTERVAL);
    s.finish();
    Some(Cluster {
        name: ClusterName::new(name?),
        primary: primary?,
        replicas,
        max_connections,
        tls,
        monitor,
        probe_interval,
    })
}

fn replicas(s: &mut Section<'_>, primary: Option<&NodeAddr>) -> Vec<Replica> {
    let mut seen: HashSet<NodeAddr> = primary.cloned().into_iter().collect();
    let mut replicas = Vec::new();
    for item in s.items("replicas") {
        let (doc, place) = (item.doc, item.place.clone());
        if let Some(replica) = replica(item) {
            if !seen.insert(replica.node.clone()) {
                doc.error(&place, "this node is named twice");
            }
            replicas.push(replica);
        }
    }
    if replicas.len() > MOST_REPLICAS {
        s.error("replicas", format!("must be at most {MOST_REPLICAS}"));
    }
    replicas
}

fn replica(item: Value<'_>) -> Option<Replica> {
    if !item.is_table() {
        let node = item.parsed(value::node)?;
        return Some(Replica { node, weight: 1 });
    }
    let mut s = item.section(&keys::REPLICA);
    let node = s.required("address").and_then(|v| v.parsed(value::node));
    let weight = s.number("weight", 0..=1000, 1);
    s.finish();
    Some(Replica {
        node: node?,
        weight: u32::try_from(weight).expect("checked above"),
    })
}

/// A connection URL or keyword/value string (manual 34.1.1), of which only who and where to count:
/// the nodes are the cluster's own.
fn monitor(value: &Value<'_>) -> Option<Monitor> {
    let url = value.secret()?;
    let Ok(parsed) = url.expose().parse::<tokio_postgres::Config>() else {
        // What the parser says may quote the password.
        value.error("expected a URL such as \"postgres://monitor:password@/postgres\"");
        return None;
    };
    let Some(role) = parsed.get_user() else {
        value.error("names no user");
        return None;
    };
    let password = parsed.get_password().map(String::from_utf8_lossy);
    Some(Monitor {
        role: RoleName::new(role),
        password: password.map(|p| Secret::new(p.into_owned())),
        database: DbName::new(parsed.get_dbname().unwrap_or("postgres")),
    })
}

fn tls(s: &mut Section<'_>) -> UpstreamTls {
    let modes = [
        ("disable", UpstreamTlsMode::Disable),
        ("prefer", UpstreamTlsMode::Prefer),
        ("require", UpstreamTlsMode::Require),
        ("verify-ca", UpstreamTlsMode::VerifyCa),
        ("verify-full", UpstreamTlsMode::VerifyFull),
    ];
    let mode = s.word("tls", &modes).unwrap_or(UpstreamTlsMode::Prefer);
    let ca = s.file("tls_ca");
    let (certificate, key) = (s.file("tls_certificate"), s.file("tls_key"));
    let client_identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (Some(_), None) => {
            s.error("tls_certificate", "needs `tls_key` beside it");
            None
        }
        (None, Some(_)) => {
            s.error("tls_key", "needs `tls_certificate` beside it");
            None
        }
        (None, None) => None,
    };
    UpstreamTls {
        mode,
        ca,
        client_identity,
    }
}

/// Where clusters name the same node, the smallest budget holds for all of them.
fn share_nodes(clusters: &mut [Cluster]) {
    let mut smallest: HashMap<NodeAddr, usize> = HashMap::new();
    for c in clusters.iter() {
        for node in c.nodes() {
            let least = smallest.entry(node.clone()).or_insert(c.max_connections);
            *least = c.max_connections.min(*least);
        }
    }
    for c in clusters {
        c.max_connections = smallest[&c.primary];
    }
}
