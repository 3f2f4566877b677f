//! The nodes of a cluster as they are found to be: who is the primary, which replicas serve, how far
//! these have replayed. Snapshots, made by `upstream::health`, read by whoever routes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::types::{ClusterName, NodeAddr};

/// A place in the write-ahead log (manual 8.20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

/// A place in the write-ahead log of one timeline (manual 26.3.5): places of two timelines say
/// nothing of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Of the primary; each promotion begins a new one.
    pub timeline: u32,
    /// The place.
    pub lsn: Lsn,
}

/// A text that is no place, or no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a position such as 1:0/16B3748")]
pub struct NoPosition;

/// One cluster at one moment.
#[derive(Debug)]
pub struct ClusterView {
    /// Its name.
    pub cluster: ClusterName,
    /// Where writes go.
    pub primary: Primary,
    /// All other nodes, in the order of the configuration.
    pub replicas: Vec<ReplicaView>,
}

/// Where the writes of a cluster go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Primary {
    /// To this node: it has said that it is no standby, or nothing was heard of any other.
    Node(NodeAddr),
    /// Nowhere: these nodes say so of one timeline.
    Disputed(Vec<NodeAddr>),
}

/// A node that is not the primary.
#[derive(Debug)]
pub struct ReplicaView {
    /// Where.
    pub node: NodeAddr,
    /// As configured; that of a former primary is the usual one.
    pub weight: u32,
    /// Its share of the reads, in thousandths of its weight: less than all while it recovers.
    /// Zero: none.
    pub share: u32,
    /// Whether it serves, and why not.
    pub state: ReplicaState,
    /// What changes all the time.
    pub gauges: Arc<Gauges>,
}

/// Whether a node serves reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaState {
    /// It does.
    Ready,
    /// Nobody has asked it yet.
    Unknown,
    /// It does not answer, or not in time.
    Unreachable,
    /// It answers with an error.
    Refusing,
    /// It is no standby: a former primary, or one of two.
    NoStandby,
    /// It follows another timeline than the primary's.
    Astray,
}

impl ClusterView {
    /// The node that writes go to, if there is one.
    pub fn primary(&self) -> Option<&NodeAddr> {
        match &self.primary {
            Primary::Node(node) => Some(node),
            Primary::Disputed(_) => None,
        }
    }

    /// How many of a thousand reads go to each of the replicas, in their order.
    pub fn parts(&self) -> impl Iterator<Item = (&ReplicaView, u64)> {
        let serves = |r: &ReplicaView| r.state == ReplicaState::Ready;
        let share = move |r: &ReplicaView| u64::from(if serves(r) { r.share } else { 0 });
        let all = self.replicas.iter().map(share).sum::<u64>().max(1);
        let part = move |r: &ReplicaView| (share(r) * 1000 + all / 2) / all;
        self.replicas.iter().map(move |r| (r, part(r)))
    }
}

impl ReplicaView {
    /// How far it is behind, in time and in WAL; `None`: nobody has compared it with a primary.
    pub fn behind(&self) -> Option<(Duration, u64)> {
        match self.state {
            ReplicaState::Unknown | ReplicaState::NoStandby => None,
            ReplicaState::Ready
            | ReplicaState::Unreachable
            | ReplicaState::Refusing
            | ReplicaState::Astray => Some((self.gauges.lag(), self.gauges.lag_bytes())),
        }
    }
}

impl ReplicaState {
    /// Its name in the console and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
            Self::Refusing => "refusing",
            Self::NoStandby => "no standby",
            Self::Astray => "astray",
        }
    }
}

/// How far a replica is, as last heard.
#[derive(Debug, Default)]
pub struct Gauges {
    replayed: AtomicU64,
    lag_micros: AtomicU64,
    lag_bytes: AtomicU64,
}

impl Gauges {
    /// What it has replayed, at least: it never goes back while the node is up.
    #[inline]
    pub fn replayed(&self) -> Lsn {
        Lsn(self.replayed.load(Ordering::Acquire))
    }

    /// For how long what the primary has written is not to be seen here.
    pub fn lag(&self) -> Duration {
        Duration::from_micros(self.lag_micros.load(Ordering::Relaxed))
    }

    /// How much WAL that is.
    pub fn lag_bytes(&self) -> u64 {
        self.lag_bytes.load(Ordering::Relaxed)
    }

    /// Takes note of what it has replayed.
    pub fn set_replayed(&self, lsn: Lsn) {
        self.replayed.store(lsn.0, Ordering::Release);
    }

    /// Takes note of how far it is behind.
    pub fn set_lag(&self, time: Duration, bytes: u64) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.lag_micros.store(micros, Ordering::Relaxed);
        self.lag_bytes.store(bytes, Ordering::Relaxed);
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Lsn {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (high, low) = text.split_once('/').ok_or(NoPosition)?;
        let half = |text: &str| {
            let fits = (1..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
            let number = fits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
            number.ok_or(NoPosition)
        };
        Ok(Self(half(high)? << 32 | half(low)?))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.timeline, self.lsn)
    }
}

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (timeline, lsn) = text.split_once(':').ok_or(NoPosition)?;
        let digits = timeline.bytes().all(|b| b.is_ascii_digit());
        let timeline = digits.then(|| timeline.parse().ok()).flatten();
        Ok(Self {
            timeline: timeline.ok_or(NoPosition)?,
            lsn: lsn.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(share: u32, state: ReplicaState) -> ReplicaView {
        ReplicaView {
            node: NodeAddr {
                host: "a".into(),
                port: 5432,
            },
            weight: 1,
            share,
            state,
            gauges: Arc::default(),
        }
    }

    #[test]
    fn those_that_serve_divide_the_reads_among_them() {
        use ReplicaState::{Ready, Unreachable};
        for (replicas, parts) in [
            (vec![(1000, Ready), (3000, Ready)], vec![250, 750]),
            (vec![(100, Ready), (3000, Unreachable)], vec![1000, 0]),
            (vec![(1000, Ready); 3], vec![333; 3]),
            (vec![(0, Ready), (1000, Unreachable)], vec![0, 0]),
        ] {
            let replicas = replicas.into_iter().map(|(share, s)| replica(share, s));
            let view = ClusterView {
                cluster: ClusterName::new("main"),
                primary: Primary::Disputed(Vec::new()),
                replicas: replicas.collect(),
            };
            let found: Vec<u64> = view.parts().map(|(_, part)| part).collect();
            assert_eq!(found, parts);
        }
    }

    #[test]
    fn positions_are_read_as_they_are_written() {
        for text in ["1:0/0", "3:16/B374D848", "4294967295:FFFFFFFF/FFFFFFFF"] {
            let position: Position = text.parse().unwrap();
            assert_eq!(position.to_string(), text);
        }
        for text in [
            "",
            "1",
            "1:",
            ":0/0",
            "1:0",
            "1:0/",
            "x:0/0",
            "+1:0/0",
            "1:0/+1",
            "1:000000001/0",
        ] {
            assert_eq!(text.parse::<Position>(), Err(NoPosition), "{text}");
        }
        let (low, high): (Lsn, Lsn) = ("0/FFFFFFFF".parse().unwrap(), "1/0".parse().unwrap());
        assert!(low < high);
    }
}
