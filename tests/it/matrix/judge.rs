//! What became of a kind: a play through a pooler beside the same play on direct connections.

use std::fmt;

use super::kind::{Allowed, Kind, Protocol};
use super::places::{Bouncer, Stage, Tenantry};
use super::play::{Entry, OWN, Room, Script, Transcript, play};

/// How long a session waits for a server connection that it may get.
const PATIENT: &str = "4s";
/// How long for one that it is known not to get.
const IMPATIENT: &str = "200ms";

/// A cell of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// Right, with one server connection for all.
    Carried,
    /// Right, on a server connection of its own.
    Pinned,
    /// Pinned, and in the end not any more.
    Unpinned,
    /// Its owner sees something else than directly, which is documented.
    MayDiffer,
    /// Its owner sees something else than directly.
    Lost,
    /// Another session sees something else than directly.
    Leaks,
    /// It is told that this cannot be done.
    Refused,
    /// Not in this protocol.
    None,
}

impl Cell {
    const ALL: [(Self, &str); 8] = [
        (Self::Carried, "carried"),
        (Self::Pinned, "pinned"),
        (Self::Unpinned, "pinned, then free"),
        (Self::MayDiffer, "may differ"),
        (Self::Lost, "**lost**"),
        (Self::Leaks, "**leaks**"),
        (Self::Refused, "refused"),
        (Self::None, "–"),
    ];

    pub fn parse(text: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(cell, _)| *cell)
    }

    /// How many cells are what, in the order in which they are listed above.
    pub fn count(cells: &[Self]) -> String {
        let count = |cell: Self| cells.iter().filter(|c| **c == cell).count();
        let all = Self::ALL.iter().filter(|(cell, _)| *cell != Self::None);
        let counts = all.map(|(cell, name)| format!("{} {name}", count(*cell)));
        counts.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(cell, _)| cell == self);
        f.write_str(found.map_or("", |(_, name)| name))
    }
}

/// A cell, and why it is that.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What it is.
    pub cell: Cell,
    /// The first difference, if there is one.
    pub why: String,
}

impl Finding {
    fn of(cell: Cell) -> Self {
        let why = String::new();
        Self { cell, why }
    }
}

/// A kind in one protocol, with what a direct connection does.
pub struct Judge<'a> {
    script: Script<'a>,
    stage: &'a Stage,
    truth: Transcript,
}

impl<'a> Judge<'a> {
    /// None if the kind cannot be done in the protocol.
    pub fn new(kind: &'a Kind, protocol: Protocol, stage: &'a Stage) -> Option<Self> {
        if !kind.is_in(protocol) {
            return None;
        }
        let script = Script {
            kind,
            protocol,
            me: &stage.database.name,
            own: OWN,
        };
        let truth = directly(script, stage);
        Some(Self {
            script,
            stage,
            truth,
        })
    }

    /// The owner's part of the truth, for people.
    pub fn truth(&self) -> String {
        self.truth.owner.iter().map(told).collect()
    }

    /// Through Tenantry. Who waits in vain for a moment may have waited for a busy machine: a pin
    /// that the table does not know is looked at again with patience.
    pub fn tenantry(&self, known: Option<Cell>) -> Finding {
        let mut alone = self.through_tenantry(Room::One, IMPATIENT);
        let news = match known {
            None | Some(Cell::Carried) => alone.waited,
            Some(Cell::Unpinned) => alone.waits,
            _ => false,
        };
        if news || wanting(&alone.owner) {
            alone = self.through_tenantry(Room::One, PATIENT);
        }
        if !alone.waited {
            return self.compare(&self.truth, &alone, Cell::Carried);
        }
        let spare = self.through_tenantry(Room::Three, PATIENT);
        let cell = if alone.waits {
            Cell::Pinned
        } else {
            Cell::Unpinned
        };
        self.compare(&self.truth, &spare, cell)
    }

    /// Through PgBouncer, where others set nothing: it would reach their owner and hide the rest.
    pub fn pgbouncer(&self, program: &str) -> Finding {
        let script = Script {
            own: &[],
            ..self.script
        };
        let truth = directly(script, self.stage);
        self.stage.wait_for_sessions(0);
        let bouncer = Bouncer::new(program, &self.stage.database).expect("PgBouncer starts");
        self.compare(&truth, &play(script, &bouncer), Cell::Carried)
    }

    fn through_tenantry(&self, room: Room, patience: &str) -> Transcript {
        self.stage.wait_for_sessions(0);
        let tenantry = Tenantry::new(self.stage, room, patience);
        play(self.script, &tenantry)
    }

    fn compare(&self, truth: &Transcript, seen: &Transcript, right: Cell) -> Finding {
        let owner = difference(&truth.owner, &seen.owner);
        let other = difference(&truth.others, &seen.others);
        let allowed = self.script.kind.allowed;
        let (cell, why) = match (owner, other) {
            (None, None) => return Finding::of(right),
            (Some((why, Fate::Refused)), None) => (Cell::Refused, why),
            (Some((why, _)), _) | (_, Some((why, _))) if allowed == Allowed::All => {
                (Cell::MayDiffer, why)
            }
            (Some((why, _)), None) if allowed == Allowed::Loss => (Cell::MayDiffer, why),
            (Some((why, _)), None) => (Cell::Lost, why),
            // Whose login was refused said nothing more, and others less than directly.
            (Some((why, Fate::NoLogin)), _) => (Cell::Refused, why),
            (_, Some((why, _))) => (Cell::Leaks, why),
        };
        Finding { cell, why }
    }
}

fn directly(script: Script<'_>, stage: &Stage) -> Transcript {
    stage.wait_for_sessions(0);
    let truth = play(script, stage);
    assert!(!truth.waited, "directly nobody waits");
    truth
}

/// Whether a session got no server connection.
fn wanting(entries: &[Entry]) -> bool {
    let mut lines = entries.iter().flat_map(|entry| &entry.reply);
    lines.any(|line| line.starts_with("error 53300"))
}

/// How a difference came about.
enum Fate {
    Other,
    Refused,
    NoLogin,
}

/// The first difference.
fn difference(truth: &[Entry], seen: &[Entry]) -> Option<(String, Fate)> {
    let same = |a: &Entry, b: &Entry| a.said == b.said && essence(a).eq(essence(b));
    let at = (0..truth.len().max(seen.len())).find(|at| {
        let (a, b) = (truth.get(*at), seen.get(*at));
        !a.zip(b).is_some_and(|(a, b)| same(a, b))
    })?;
    let show = |entry: Option<&Entry>| entry.map_or_else(|| "nothing\n".to_owned(), told);
    let (directly, got) = (truth.get(at), seen.get(at));
    let why = format!("directly {}instead {}", show(directly), show(got));
    let failed = |code: &str| {
        let has = |entry: &Entry| entry.reply.iter().any(|line| line.starts_with(code));
        got.is_some_and(has) && !directly.is_some_and(has)
    };
    let fate = match got {
        Some(got) if got.said == "logs in" => Fate::NoLogin,
        _ if failed("error 0A000") => Fate::Refused,
        _ => Fate::Other,
    };
    Some((why, fate))
}

/// What counts of a reply: of errors only the SQLSTATE.
fn essence(entry: &Entry) -> impl Iterator<Item = &str> {
    entry
        .reply
        .iter()
        .map(|line| match line.strip_prefix("error ") {
            Some(error) => error.split(' ').next().unwrap_or_default(),
            None => line,
        })
}

fn told(entry: &Entry) -> String {
    format!("{}\n    {}\n", entry.said, entry.reply.join("\n    "))
}
