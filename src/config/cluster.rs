//! `[[cluster]]`: where tenants live.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::reader::{Section, Value};
use super::{Cluster, UpstreamTls, UpstreamTlsMode, keys, value};
use crate::types::ClusterName;

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
    let max_connections = s.number("max_connections", 1..=262_143, 90);
    let tls = tls(&mut s);
    s.finish();
    Some(Cluster {
        name: ClusterName::new(name?),
        primary: primary?,
        max_connections,
        tls,
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
    let mut smallest = HashMap::new();
    for c in clusters.iter() {
        let least = smallest
            .entry(c.primary.clone())
            .or_insert(c.max_connections);
        *least = c.max_connections.min(*least);
    }
    for c in clusters {
        c.max_connections = smallest[&c.primary];
    }
}
