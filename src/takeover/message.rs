//! What two processes say to each other while one takes over from the other: one JSON value a
//! frame. `docs/design/takeover.md` has the table.
//!
//! The first message is read by every version; what follows it may change with [`VERSION`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::NodeAddr;
use crate::upstream::lending::Note;

/// Changes when an older release could not follow any more.
pub(super) const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum Message {
    /// The first, from the process that connects.
    Hello {
        version: u32,
        pid: u32,
        wants: Wants,
    },
    /// The answer; so many `Listener` follow.
    Welcome { pid: u32, listeners: usize },
    /// The other answer: try elsewhere.
    Refused { reason: String },
    /// A listening socket, which comes with the frame.
    Listener { asked: String, file: FileOwner },
    /// The new process is ready and serves these of the listeners; what the old one has, please.
    Take { wanted: Vec<usize> },
    /// The old one has said all that it has.
    Taken,
    /// The new one accepts clients.
    Serving,
    /// The new one ends: it accepts no more.
    Leaving,
    /// About places at a node.
    Budget { host: String, port: u16, note: Said },
    /// A client's cancel request, perhaps for a client of the other one.
    Cancel {
        number: u64,
        process_id: i32,
        key: Key,
    },
    /// It was carried out, or nobody had to do with it.
    Canceled { number: u64 },
}

/// What a process comes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wants {
    /// The listening sockets: it takes over.
    Listeners,
    /// Places at the nodes: it finishes, and whoever lent to it has gone.
    Places,
}

/// Who removes the file of a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileOwner {
    /// The last of us.
    Us,
    /// The service manager, who has opened it.
    ServiceManager,
}

/// A cancel key, which is never shown.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Key(pub(super) Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A [`Note`] with ages instead of times: each side has a clock of its own. In milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    Has { taken: usize, limit: usize },
    Ask { number: u64, age: u64 },
    Withdraw { number: u64 },
    Return,
    Granted { number: u64 },
    Owed { age: Option<u64> },
    Evict,
}

impl Said {
    pub(super) fn of(note: Note, now: u64) -> Self {
        let age = |since: u64| now.saturating_sub(since);
        match note {
            Note::Has { taken, limit } => Self::Has { taken, limit },
            Note::Ask { number, since } => Self::Ask {
                number,
                age: age(since),
            },
            Note::Withdraw { number } => Self::Withdraw { number },
            Note::Return => Self::Return,
            Note::Granted { number } => Self::Granted { number },
            Note::Owed { since } => Self::Owed {
                age: (since != u64::MAX).then(|| age(since)),
            },
            Note::Evict => Self::Evict,
        }
    }

    pub(super) fn note(self, now: u64) -> Note {
        // Who has waited since before this process began is first all the same.
        let since = |age: u64| now.saturating_sub(age);
        match self {
            Self::Has { taken, limit } => Note::Has { taken, limit },
            Self::Ask { number, age } => Note::Ask {
                number,
                since: since(age),
            },
            Self::Withdraw { number } => Note::Withdraw { number },
            Self::Return => Note::Return,
            Self::Granted { number } => Note::Granted { number },
            Self::Owed { age } => Note::Owed {
                since: age.map_or(u64::MAX, since),
            },
            Self::Evict => Note::Evict,
        }
    }
}

impl Message {
    pub(super) fn about(node: &NodeAddr, note: Note, now: u64) -> Self {
        Self::Budget {
            host: node.host.to_string(),
            port: node.port,
            note: Said::of(note, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_travel_as_ages() {
        let there = |note| Said::of(note, 10_000).note(500_000);
        let ask = |since| Note::Ask { number: 1, since };
        assert_eq!(there(ask(9_000)), ask(499_000));
        assert_eq!(
            there(Note::Owed { since: 10_000 }),
            Note::Owed { since: 500_000 }
        );
        let nobody = Note::Owed { since: u64::MAX };
        assert_eq!(there(nobody), nobody);
        // Older than the process that hears of it.
        assert_eq!(Said::of(ask(9_000), 10_000).note(300), ask(0));
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = Key(vec![77; 4]);
        assert!(!format!("{key:?}").contains("77"));
    }
}
