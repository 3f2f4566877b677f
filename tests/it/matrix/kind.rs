//! A kind of session state: what its owner does, and what shows whether it is there.
//!
//! `{me}` stands for the name of the database and of the role that owns it.

/// Who takes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Whose state it is.
    Owner,
    /// The session that has settings of its own.
    Other,
}

/// What is done in a step.
#[derive(Debug, Clone)]
pub enum Act {
    /// One statement, in its own round trip.
    Say(&'static str),
    /// Several statements in one string, or in one batch before one Sync.
    Together(&'static [&'static str]),
    /// A statement with bound parameters, as text.
    Bound(&'static str, &'static [&'static str]),
    /// A statement prepared under a name by the protocol.
    Prepare(&'static str, &'static str),
    /// One that was prepared so is executed.
    Execute(&'static str, &'static [&'static str]),
    /// One that was prepared so is forgotten.
    Close(&'static str),
    /// A notification arrives while the session is idle.
    Hear,
}

/// How statements are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Query.
    Simple,
    /// Parse, Bind, Describe, Execute, Sync.
    Extended,
}

/// What may differ from direct connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Nothing.
    Nothing,
    /// Its owner may see something else.
    Loss,
    /// Everybody may.
    All,
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Kind {
    /// Its name in the table; there are no two alike.
    pub title: &'static str,
    /// Done once and directly, by a superuser.
    pub setup: Vec<&'static str>,
    /// Startup parameters of its owner.
    pub startup: Vec<(&'static str, &'static str)>,
    /// What is done.
    pub steps: Vec<(Who, Act)>,
    /// What shows it, each in a transaction of its own.
    pub looks: Vec<&'static str>,
    /// What may differ from direct connections.
    pub allowed: Allowed,
}

/// A kind that has yet to be told.
pub fn kind(title: &'static str) -> Kind {
    Kind {
        title,
        setup: Vec::new(),
        startup: Vec::new(),
        steps: Vec::new(),
        looks: Vec::new(),
        allowed: Allowed::Nothing,
    }
}

impl Kind {
    #[must_use]
    pub fn setup(mut self, sql: &'static str) -> Self {
        self.setup.push(sql);
        self
    }

    /// The owner's role, which the others log in as, too, may do everything.
    #[must_use]
    pub fn superuser(self) -> Self {
        self.setup("ALTER ROLE {me} SUPERUSER")
    }

    #[must_use]
    pub fn startup(mut self, name: &'static str, value: &'static str) -> Self {
        self.startup.push((name, value));
        self
    }

    /// What product and documents say may be lost, but never reach another session.
    #[must_use]
    pub fn may_be_lost(mut self) -> Self {
        self.allowed = Allowed::Loss;
        self
    }

    /// What shows the pool rather than a session.
    #[must_use]
    pub fn may_differ(mut self) -> Self {
        self.allowed = Allowed::All;
        self
    }

    fn step(mut self, who: Who, act: Act) -> Self {
        self.steps.push((who, act));
        self
    }

    #[must_use]
    pub fn says(self, sql: &'static str) -> Self {
        self.step(Who::Owner, Act::Say(sql))
    }

    /// Each in its own round trip.
    #[must_use]
    pub fn says_all(self, all: &[&'static str]) -> Self {
        all.iter().fold(self, |kind, sql| kind.says(sql))
    }

    /// In one.
    #[must_use]
    pub fn together(self, all: &'static [&'static str]) -> Self {
        self.step(Who::Owner, Act::Together(all))
    }

    #[must_use]
    pub fn bound(self, sql: &'static str, parameters: &'static [&'static str]) -> Self {
        self.step(Who::Owner, Act::Bound(sql, parameters))
    }

    #[must_use]
    pub fn prepares(self, name: &'static str, sql: &'static str) -> Self {
        self.step(Who::Owner, Act::Prepare(name, sql))
    }

    #[must_use]
    pub fn executes(self, name: &'static str, parameters: &'static [&'static str]) -> Self {
        self.step(Who::Owner, Act::Execute(name, parameters))
    }

    #[must_use]
    pub fn closes(self, name: &'static str) -> Self {
        self.step(Who::Owner, Act::Close(name))
    }

    #[must_use]
    pub fn hears(self) -> Self {
        self.step(Who::Owner, Act::Hear)
    }

    #[must_use]
    pub fn other_says(self, sql: &'static str) -> Self {
        self.step(Who::Other, Act::Say(sql))
    }

    #[must_use]
    pub fn other_prepares(self, name: &'static str, sql: &'static str) -> Self {
        self.step(Who::Other, Act::Prepare(name, sql))
    }

    #[must_use]
    pub fn other_executes(self, name: &'static str, parameters: &'static [&'static str]) -> Self {
        self.step(Who::Other, Act::Execute(name, parameters))
    }

    #[must_use]
    pub fn look(mut self, sql: &'static str) -> Self {
        self.looks.push(sql);
        self
    }

    /// Whether it can be done in that protocol.
    pub fn is_in(&self, protocol: Protocol) -> bool {
        let extended_only = |act: &Act| {
            matches!(
                act,
                Act::Bound(..) | Act::Prepare(..) | Act::Execute(..) | Act::Close(..)
            )
        };
        protocol == Protocol::Extended || !self.steps.iter().any(|(_, act)| extended_only(act))
    }

    /// Whether what it creates may stay in the database: what should be temporary need not be.
    pub fn creates(&self) -> bool {
        let told = self.told();
        told.contains("CREATE ") || told.contains(" INTO ")
    }

    /// What is done, for people.
    pub fn told(&self) -> String {
        let startup = self
            .startup
            .iter()
            .map(|(name, value)| format!("login with `{name}={value}`"));
        let steps = self.steps.iter().map(|(who, act)| match who {
            Who::Owner => act.told(),
            Who::Other => format!("another session: {}", act.told()),
        });
        let looks = self.looks.first().map(|sql| format!("→ `{sql}`"));
        let all: Vec<String> = startup.chain(steps).chain(looks).collect();
        let text = all
            .join(" ")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        text.replace("{me}", "app").replace('|', "\\|")
    }
}

impl Act {
    /// For people.
    pub fn told(&self) -> String {
        match self {
            Self::Say(sql) => format!("`{sql}`"),
            Self::Together(all) => format!("`{}`", all.join("; ")),
            Self::Bound(sql, parameters) => format!("`{sql}` with `{}`", parameters.join("`, `")),
            Self::Prepare(name, sql) => format!("Parse {name}: `{sql}`"),
            Self::Execute(name, _) => format!("Bind {name}, Execute"),
            Self::Close(name) => format!("Close {name}"),
            Self::Hear => "is told while idle".to_owned(),
        }
    }
}
