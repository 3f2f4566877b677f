//! Who the primary of a cluster is. Pure: the outcome is a function of what was known and of what
//! nodes say of themselves now.
//!
//! Of those that are not in recovery the one with the highest timeline, for each promotion begins a
//! higher one. One of a lower timeline than was ever seen is a former primary and gets no write, even
//! if it is the only one that answers. Nothing is decided by a node's silence, but that one
//! of the same timeline is believed once the primary has been silent for [`CLAIM`].

use std::time::Duration;

use crate::nodes::Primary;
use crate::types::NodeAddr;

/// How long the word of a primary holds that is not heard any more.
pub(super) const CLAIM: Duration = Duration::from_secs(30);

/// A node that says it is no standby, or said so until [`CLAIM`] ago at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) node: NodeAddr,
    pub(super) timeline: u32,
}

/// What is known of the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The configuration says so, no node has.
    Presumed(NodeAddr),
    /// It has said so.
    Found {
        /// The node.
        node: NodeAddr,
        /// Its timeline.
        timeline: u32,
    },
    /// Several say so of one timeline.
    Disputed {
        /// Those.
        nodes: Vec<NodeAddr>,
        /// Theirs.
        timeline: u32,
        /// The primary before the dispute.
        last: NodeAddr,
    },
}

/// Whether every node was heard of since the start, if only that it does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    All,
    Some,
}

impl Verdict {
    /// The primary, or the last one.
    pub(super) fn node(&self) -> &NodeAddr {
        match self {
            Self::Presumed(node) | Self::Found { node, .. } | Self::Disputed { last: node, .. } => {
                node
            }
        }
    }

    /// The highest timeline that was seen.
    pub(super) fn timeline(&self) -> Option<u32> {
        match self {
            Self::Presumed(_) => None,
            Self::Found { timeline, .. } | Self::Disputed { timeline, .. } => Some(*timeline),
        }
    }

    /// For those who write.
    pub(super) fn primary(&self) -> Primary {
        match self {
            Self::Presumed(node) | Self::Found { node, .. } => Primary::Node(node.clone()),
            Self::Disputed { nodes, .. } => Primary::Disputed(nodes.clone()),
        }
    }

    /// What follows from these claims.
    pub(super) fn next(&self, claims: &[Claim], heard: Heard) -> Self {
        let Some(best) = claims.iter().map(|c| c.timeline).max() else {
            return self.undisputed();
        };
        let of_best = claims.iter().filter(|c| c.timeline == best);
        let mut nodes: Vec<NodeAddr> = of_best.map(|c| c.node.clone()).collect();
        // Only the primary itself may have been made anew with a lower timeline.
        let lower = self.timeline().is_some_and(|known| best < known);
        if lower && !nodes.contains(self.node()) {
            return self.undisputed();
        }
        let sole = nodes.len() == 1;
        // A former primary may be the first one to be heard at the start.
        let hasty = matches!(self, Self::Presumed(node) if !(sole && nodes[0] == *node));
        if hasty && heard == Heard::Some {
            return self.clone();
        }
        if !sole {
            return Self::Disputed {
                nodes,
                timeline: best,
                last: self.node().clone(),
            };
        }
        Self::Found {
            node: nodes.swap_remove(0),
            timeline: best,
        }
    }

    fn undisputed(&self) -> Self {
        match self {
            Self::Presumed(_) | Self::Found { .. } => self.clone(),
            Self::Disputed { timeline, last, .. } => Self::Found {
                node: last.clone(),
                timeline: *timeline,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeAddr {
        NodeAddr {
            host: name.into(),
            port: 5432,
        }
    }

    fn presumed(name: &str) -> Verdict {
        Verdict::Presumed(node(name))
    }

    fn found(name: &str, timeline: u32) -> Verdict {
        let node = node(name);
        Verdict::Found { node, timeline }
    }

    fn disputed(names: &[&str], timeline: u32, last: &str) -> Verdict {
        let nodes = names.iter().map(|n| node(n)).collect();
        let last = node(last);
        Verdict::Disputed {
            nodes,
            timeline,
            last,
        }
    }

    #[test]
    fn the_table() {
        type Row<'a> = (Verdict, &'a [(&'a str, u32)], Verdict);
        let table: &[Row<'_>] = &[
            (presumed("a"), &[], presumed("a")),
            (presumed("a"), &[("a", 1)], found("a", 1)),
            (presumed("a"), &[("b", 2)], found("b", 2)),
            (presumed("a"), &[("a", 1), ("b", 2)], found("b", 2)),
            (
                presumed("a"),
                &[("a", 1), ("b", 1)],
                disputed(&["a", "b"], 1, "a"),
            ),
            // Nobody says so: the last one stays.
            (found("a", 1), &[], found("a", 1)),
            (found("a", 1), &[("b", 2)], found("b", 2)),
            (found("a", 1), &[("a", 1), ("b", 2)], found("b", 2)),
            (
                found("a", 1),
                &[("a", 1), ("b", 1)],
                disputed(&["a", "b"], 1, "a"),
            ),
            (
                found("a", 1),
                &[("b", 2), ("c", 2)],
                disputed(&["b", "c"], 2, "a"),
            ),
            // Its claim is no longer held up.
            (found("a", 1), &[("b", 1)], found("b", 1)),
            // A former primary gets nothing, however long the primary is silent.
            (found("b", 2), &[("a", 1)], found("b", 2)),
            (found("b", 2), &[("a", 1), ("c", 1)], found("b", 2)),
            // Made anew, by itself.
            (found("b", 2), &[("b", 1)], found("b", 1)),
            (disputed(&["a", "b"], 2, "a"), &[("b", 2)], found("b", 2)),
            (disputed(&["a", "b"], 2, "c"), &[], found("c", 2)),
            (disputed(&["a", "b"], 2, "c"), &[("d", 1)], found("c", 2)),
            (
                disputed(&["a", "b"], 2, "c"),
                &[("a", 2), ("b", 3)],
                found("b", 3),
            ),
        ];
        for (before, claims, expected) in table {
            let claim = |(name, timeline): &(&str, u32)| Claim {
                node: node(name),
                timeline: *timeline,
            };
            let claims: Vec<Claim> = claims.iter().map(claim).collect();
            assert_eq!(
                before.next(&claims, Heard::All),
                *expected,
                "{before:?} {claims:?}"
            );
        }
    }

    #[test]
    fn at_the_start_only_the_configured_one_is_believed_at_once() {
        let claim = |name: &str, timeline| Claim {
            node: node(name),
            timeline,
        };
        let next = |verdict: Verdict, claims: &[Claim]| verdict.next(claims, Heard::Some);
        assert_eq!(next(presumed("a"), &[claim("b", 2)]), presumed("a"));
        assert_eq!(next(presumed("a"), &[claim("a", 2)]), found("a", 2));
        assert_eq!(next(found("a", 1), &[claim("b", 2)]), found("b", 2));
    }
}
