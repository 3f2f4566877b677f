//! What is said: sessions with their startup parameters, and steps in order.

use std::fmt::{self, Display, Formatter};

use crate::kinds::Pin;
use crate::support::frames::Frames;

/// Sessions of a sequence.
pub(crate) const SESSIONS: usize = 4;

/// What asks for the process id of the server connection: its row is not compared.
pub(crate) const PROBE: &str = "SELECT 'pid ' || pg_backend_pid()";

/// A role that clients are at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    /// Owns the database.
    Plain,
    /// May become anyone.
    Superuser,
}

impl Login {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Superuser => "super",
        }
    }
}

/// Everything that a run depends on.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    pub(crate) seed: u64,
    pub(crate) login: Login,
    /// The database has functions that leave state behind.
    pub(crate) functions: bool,
    /// Pins end when their reason does, not only with the session.
    pub(crate) unpin: bool,
    pub(crate) startup: Vec<Vec<(&'static str, &'static str)>>,
    pub(crate) steps: Vec<Step>,
}

/// What one session says in one packet.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) session: usize,
    pub(crate) ops: Vec<Op>,
    /// How long the session may keep its server connection afterwards.
    pub(crate) pins: Pin,
    /// It shows a custom setting: no value is as good as an empty one.
    pub(crate) custom: bool,
}

/// A message, or more of them that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// One Query of some statements.
    Query(Vec<String>),
    Parse(String, String),
    /// Portal, statement, parameters.
    Bind(String, String, Vec<String>),
    DescribeStatement(String),
    DescribePortal(String),
    /// Portal, most rows.
    Execute(String, u32),
    CloseStatement(String),
    ClosePortal(String),
    Sync,
    CopyData(String),
    CopyDone,
    CopyFail,
    /// Parse, Bind, Execute of the unnamed statement.
    Run(String),
    /// The session leaves, perhaps without a word, and comes again.
    Reconnect,
}

impl Op {
    pub(crate) fn query(sql: &str) -> Self {
        Self::Query(vec![sql.to_owned()])
    }

    fn put(&self, frames: Frames) -> Frames {
        match self {
            Self::Query(texts) => frames.query(&texts.join("; ")),
            Self::Parse(name, sql) => frames.parse(name, sql),
            Self::Bind(portal, statement, parameters) => {
                let parameters: Vec<&str> = parameters.iter().map(String::as_str).collect();
                frames.bind_portal(portal, statement, &parameters)
            }
            Self::DescribeStatement(name) => frames.describe(name),
            Self::DescribePortal(name) => frames.describe_portal(name),
            Self::Execute(portal, rows) => frames.execute_portal(portal, *rows),
            Self::CloseStatement(name) => frames.close(name),
            Self::ClosePortal(name) => frames.close_portal(name),
            Self::Sync => frames.sync(),
            Self::CopyData(data) => frames.copy_data(data),
            Self::CopyDone => frames.copy_done(),
            Self::CopyFail => frames.copy_fail("no more"),
            Self::Run(sql) => frames.run(sql),
            Self::Reconnect => frames,
        }
    }

    fn statements(&self) -> usize {
        match self {
            Self::Query(texts) => texts.len(),
            Self::Execute(..) | Self::Run(_) => 1,
            _ => 0,
        }
    }
}

impl Step {
    pub(crate) fn frames(&self) -> Frames {
        self.ops.iter().fold(Frames::default(), |f, op| op.put(f))
    }

    /// How many ReadyForQuery answer it.
    pub(crate) fn replies(&self) -> usize {
        let ends = |op: &&Op| matches!(op, Op::Query(_) | Op::Sync);
        self.ops.iter().filter(ends).count()
    }

    /// Whether that number is certain: what follows an error is skipped up to the next Sync, a Query
    /// like everything else.
    pub(crate) fn is_countable(&self) -> bool {
        let closed = |op: &Op| matches!(op, Op::Query(_) | Op::Sync | Op::CopyDone | Op::CopyFail);
        self.ops
            .windows(2)
            .all(|pair| closed(&pair[0]) || !matches!(pair[1], Op::Query(_)))
    }

    pub(crate) fn statements(&self) -> usize {
        self.ops.iter().map(Op::statements).sum()
    }

    /// In words, each with a space before it.
    pub(crate) fn said(&self) -> String {
        let one = |op: &Op| match op {
            Op::Query(texts) => format!(" Query {:?}", texts.join("; ")),
            other => format!(" {other:?}"),
        };
        self.ops.iter().map(one).collect()
    }

    /// Whether it may change settings by which literals are read once, when they are parsed.
    pub(crate) fn freezes(&self) -> bool {
        let said = self.said().to_lowercase();
        [
            "time",
            "datestyle",
            "intervalstyle",
            "reset all",
            "discard",
            "$1",
        ]
        .iter()
        .any(|word| said.contains(word))
    }

    /// Whether it says a statement, and not only names of some.
    pub(crate) fn has_text(&self) -> bool {
        let text = |op: &Op| matches!(op, Op::Query(_) | Op::Parse(..) | Op::Run(_));
        self.ops.iter().any(text)
    }

    /// Whether one query takes a setting back to its start, and says more.
    pub(crate) fn resets_among_others(&self) -> bool {
        let resets = |text: &String| {
            text.starts_with("RESET") || text.ends_with("DEFAULT") || text.ends_with("LOCAL")
        };
        let among = |op: &Op| match op {
            Op::Query(texts) => texts.len() > 1 && texts.iter().any(resets),
            _ => false,
        };
        self.ops.iter().any(among)
    }

    /// Whether it names a statement with a literal.
    pub(crate) fn names_literal(&self) -> bool {
        let names =
            |op: &Op| matches!(op, Op::Parse(name, sql) if !name.is_empty() && sql.contains('\''));
        self.ops.iter().any(names)
    }

    pub(crate) fn reconnects(&self) -> bool {
        self.ops.contains(&Op::Reconnect)
    }
}

/// What may have been done to tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Touched {
    Nothing,
    Rows,
    /// They may be there or not, with other columns.
    Shape,
}

impl Touched {
    fn by(sql: &str) -> Self {
        let any = |words: &[&str]| words.iter().any(|word| sql.contains(word));
        if any(&["CREATE", "ALTER", "DROP", "SELECT * INTO", "ANALYZE"]) {
            Self::Shape
        } else if any(&["INSERT", "UPDATE", "DELETE", "TRUNCATE", "FROM STDIN"]) {
            Self::Rows
        } else {
            Self::Nothing
        }
    }
}

impl Sequence {
    /// What the session may do to its tables.
    pub(crate) fn touches(&self, session: usize) -> Touched {
        let steps = self.steps.iter().filter(|step| step.session == session);
        let texts = steps.flat_map(|step| &step.ops).flat_map(|op| match op {
            Op::Query(texts) => texts.as_slice(),
            Op::Parse(_, sql) | Op::Run(sql) => std::slice::from_ref(sql),
            _ => &[],
        });
        texts
            .map(|sql| Touched::by(sql))
            .max()
            .unwrap_or(Touched::Nothing)
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "session {}:{}", self.session, self.said())
    }
}

impl Display for Sequence {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}, role {}{}",
            self.seed,
            self.login.name(),
            if self.functions {
                ", with functions"
            } else {
                ""
            }
        )?;
        for (session, startup) in self.startup.iter().enumerate() {
            if !startup.is_empty() {
                writeln!(f, "session {session} starts with {startup:?}")?;
            }
        }
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        Ok(())
    }
}
