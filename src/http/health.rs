//! Is the process alive, and should it be sent clients?
//!
//! *Live* asks only what a restart would mend: each worker answers within [`PATIENCE`]. *Ready*
//! asks whether this proxy takes clients: it listens, is not on its way out, at least one node
//! answers or was never tried, and there is a cluster whose primary is not disputed. A database that is
//! down is no reason to take a proxy away that serves others.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Mutex;

use super::sources::{Facts, Phase, Sources};
use crate::nodes::Primary;
use crate::types::{ClusterName, NodeAddr};
use crate::worker::pulse::{Beat, Pulse};

/// How long a worker may take to answer: below the usual second of those who ask.
const PATIENCE: Duration = Duration::from_millis(900);

/// How long a node may take to accept when it is looked at.
const LOOK: Duration = Duration::from_millis(400);

/// How long it counts that a node was not reached.
const STALE: Duration = Duration::from_secs(2);

/// Nodes that are looked at for one answer.
const LOOKS: usize = 8;

/// What was looked at, and what came of it.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    status: &'static str,
    checks: Vec<Check>,
}

/// One thing that must hold.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// What is there, or what is missing.
    detail: String,
}

impl Health {
    fn of(checks: Vec<Check>) -> Self {
        let ok = checks.iter().all(|check| check.ok);
        let status = if ok { "ok" } else { "unavailable" };
        Self { status, checks }
    }

    /// Whether all checks hold.
    pub(super) fn is_ok(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }
}

/// Whether the process works at all.
pub(super) async fn live(sources: &Sources, pulse: &Mutex<Pulse>) -> Health {
    let facts = (sources.facts)();
    Health::of(vec![workers(&facts, pulse).await])
}

/// Whether clients should be sent here.
pub(super) async fn ready(sources: &Sources, pulse: &Mutex<Pulse>) -> Health {
    let facts = (sources.facts)();
    Health::of(vec![
        phase(&facts),
        listeners(&facts),
        configuration(&facts),
        workers(&facts, pulse).await,
        nodes(sources).await,
        clusters(sources, &facts),
    ])
}

fn phase(facts: &Facts) -> Check {
    let (ok, detail) = match facts.phase {
        Phase::Serving => (true, "serving"),
        Phase::Suspended => (false, "suspended: RESUME ends it"),
        Phase::Draining => (false, "shutting down"),
    };
    Check {
        name: "phase",
        ok,
        detail: detail.to_owned(),
    }
}

fn listeners(facts: &Facts) -> Check {
    let Facts {
        listeners, short, ..
    } = facts;
    let detail = match short {
        0 => format!("{listeners} open"),
        _ => format!("{short} of {listeners} cannot accept for want of descriptors"),
    };
    Check {
        name: "listeners",
        ok: *listeners > 0 && *short == 0,
        detail,
    }
}

/// Always there, or the proxy would not have started. That a newer one was refused is told.
fn configuration(facts: &Facts) -> Check {
    let refused = match facts.reloads.refused {
        true => "; the last reload was refused, the one before is in force",
        false => "",
    };
    Check {
        name: "configuration",
        ok: true,
        detail: format!("{} tenants{refused}", facts.registry.len()),
    }
}

async fn workers(facts: &Facts, pulse: &Mutex<Pulse>) -> Check {
    let beats = pulse.lock().await.feel(PATIENCE).await;
    let ending = facts.phase == Phase::Draining;
    let missing: Vec<String> = (0..)
        .zip(&beats)
        .filter_map(|(number, beat)| match beat {
            Beat::Row(_) => None,
            Beat::Ended if ending => None,
            Beat::Ended => Some(format!("worker {number} has ended")),
            Beat::Silent => Some(format!("worker {number} does not answer")),
        })
        .collect();
    let detail = match missing.is_empty() {
        true => format!("{} answer", beats.len()),
        false => missing.join(", "),
    };
    Check {
        name: "workers",
        ok: missing.is_empty(),
        detail,
    }
}

/// One cluster that can be written to is enough. In one with a disputed primary nobody is served; where
/// the primary is only out of reach, replicas may serve.
fn clusters(sources: &Sources, facts: &Facts) -> Check {
    let views = sources.health.all();
    let known = views.iter().map(|view| (&view.cluster, &view.primary));
    let wrong: Vec<String> = known
        .filter_map(|(cluster, primary)| match primary {
            Primary::Disputed(nodes) => {
                let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
                let names = names.join(" and ");
                Some(format!("{cluster}: {names} say that they are the primary"))
            }
            Primary::Node(node) => {
                let reach = sources.connectors.reach(node);
                let missed = reach.is_some_and(|r| !r.reached);
                missed.then(|| format!("{cluster}: the primary {node} is out of reach"))
            }
        })
        .collect();
    let is_disputed = |name: &ClusterName| {
        let view = views.iter().find(|view| view.cluster == *name);
        view.is_some_and(|view| view.primary().is_none())
    };
    let mut tenants = facts.registry.iter();
    let none = facts.registry.is_empty();
    let detail = match wrong.len() {
        0 => format!("{} with replicas, each with its primary", views.len()),
        count => wrong[..count.min(LOOKS)].join(", "),
    };
    Check {
        name: "clusters",
        ok: none || tenants.any(|t| !is_disputed(&t.config.cluster.name)),
        detail,
    }
}

/// One node is enough. Where none was reached, they are looked at again: otherwise nobody would be
/// sent here any more, and nobody would find out that they are back.
async fn nodes(sources: &Sources) -> Check {
    let nodes: Vec<NodeAddr> = sources.budget.all().into_iter().map(|(n, _)| n).collect();
    let reach = |node: &NodeAddr| sources.connectors.reach(node);
    let missed = |node: &NodeAddr| reach(node).is_some_and(|r| !r.reached);
    if !nodes.is_empty() && nodes.iter().all(missed) {
        let old = |node: &&NodeAddr| {
            reach(node).is_some_and(|r| Instant::now().duration_since(r.at) >= STALE)
        };
        let looks = nodes.iter().filter(old).take(LOOKS);
        let looks = looks.map(|node| sources.connectors.look(node, LOOK));
        futures_util::future::join_all(looks).await;
    }
    let lost: Vec<String> = nodes
        .iter()
        .filter(|node| missed(node))
        .map(ToString::to_string)
        .collect();
    let ok = nodes.is_empty() || lost.len() < nodes.len();
    let detail = match lost.len() {
        0 => format!("{} known, none out of reach", nodes.len()),
        count => {
            let named = lost[..count.min(LOOKS)].join(", ");
            format!("{count} of {} out of reach: {named}", nodes.len())
        }
    };
    Check {
        name: "nodes",
        ok,
        detail,
    }
}
