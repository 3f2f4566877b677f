//! Settings of sessions (`TimeZone`, `search_path` ..), from the startup packet and from SETs since:
//! each distinct list once per pool, carried to the server connection a session gets.
//!
//! A list is first sent, awaited, at the login of the first session that has it; from its reply we
//! know that the server takes it and what a direct login would report. After that it may be sent
//! ahead of a query without waiting.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::route::Wishes;
use crate::wire::sql::{Assignment, encoding_is_safe, is_short_limit};

/// Name and value, as given in the startup packet.
pub type Setting = (String, String);

/// Roles, which are taken on behind all else, and awaited: what follows must not run without them.
pub(super) const ROLES: [&str; 2] = ["session_authorization", "role"];

/// Settings by which literals are read once, when a statement is parsed; other settings count when
/// it is executed, or have it parsed anew (`search_path`).
const FROZEN: &[&str] = &[
    "array_nulls",
    "backslash_quote",
    "client_encoding",
    "datestyle",
    "intervalstyle",
    "lc_monetary",
    "standard_conforming_strings",
    "timezone",
    "timezone_abbreviations",
    "transform_null_equals",
    "xmloption",
];

/// Settings that change neither how a statement is parsed nor how its literals are read.
const PARSE_NEUTRAL: &[&str] = &[
    "application_name",
    "bytea_output",
    "client_min_messages",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "jit",
    "lock_timeout",
    "maintenance_work_mem",
    "statement_timeout",
    "transaction_timeout",
    "work_mem",
];

/// A change of one setting, or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SettingChange {
    /// To a value.
    Set(String, Given),
    /// Back to its start.
    Reset(String),
    /// Back to its start, by a SET that stands for the client's RESET.
    Restated(String),
    /// Back to its start, which the server connection has lost.
    Lost(String),
    /// All but the role back to the session's start, where the server connection is now, too.
    AllToStart,
    /// All but the role back to their start: the server connection to its own.
    ResetAll,
    /// As `ResetAll`, and the role.
    Discard,
}

/// How the value of a setting was given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Given {
    /// As SQL text.
    Sql(String),
    /// As the server shows it and `set_config` takes it.
    Raw(String),
}

impl SettingChange {
    /// The setting that it is about; `None`: all.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Set(name, _) | Self::Reset(name) | Self::Restated(name) | Self::Lost(name) => {
                Some(name)
            }
            Self::AllToStart | Self::ResetAll | Self::Discard => None,
        }
    }
}

impl From<Assignment> for SettingChange {
    fn from(assignment: Assignment) -> Self {
        match assignment.value {
            Some(value) => Self::Set(assignment.name, Given::Sql(value)),
            None => Self::Reset(assignment.name),
        }
    }
}

/// A setting's value: how it is said to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// As `set_config` takes it.
    Raw(&'a str),
    /// As SQL text.
    Sql(&'a str),
}

/// What a list is found by: startup settings, and what a session has set since, both sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Lists {
    pub(super) startup: Vec<Setting>,
    pub(super) set: Vec<(String, Given)>,
}

impl Lists {
    pub(super) fn value(&self, name: &str) -> Option<Value<'_>> {
        let given = self.set.iter().find(|(n, _)| n == name);
        match given.map(|(_, given)| given) {
            Some(Given::Sql(value)) => Some(Value::Sql(value)),
            Some(Given::Raw(value)) => Some(Value::Raw(value)),
            None => self.start(name).map(Value::Raw),
        }
    }

    fn start(&self, name: &str) -> Option<&str> {
        let start = self.startup.iter().find(|(n, _)| n == name);
        start.map(|(_, value)| value.as_str())
    }

    /// Whether it has a role other than that of the login.
    pub(super) fn has_role(&self) -> bool {
        ROLES.iter().any(|role| self.value(role).is_some())
    }

    /// After some changes.
    fn changed<'a>(&self, changes: impl IntoIterator<Item = &'a SettingChange>) -> Self {
        let mut lists = self.clone();
        for change in changes {
            let (name, value) = match change {
                SettingChange::Set(name, value) => (name, Some(value)),
                SettingChange::Reset(name)
                | SettingChange::Restated(name)
                | SettingChange::Lost(name) => (name, None),
                SettingChange::AllToStart | SettingChange::ResetAll => {
                    lists.set.retain(|(n, _)| ROLES.contains(&n.as_str()));
                    continue;
                }
                SettingChange::Discard => {
                    lists.set.clear();
                    continue;
                }
            };
            lists.set.retain(|(n, _)| n != name);
            lists
                .set
                .extend(value.map(|value| (name.clone(), value.clone())));
        }
        lists.set.sort();
        lists
    }

    /// Of both halves, those whose names are wanted.
    fn only(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let startup = self.startup.iter().filter(|(name, _)| wanted(name));
        let set = self.set.iter().filter(|(name, _)| wanted(name));
        Self {
            startup: startup.cloned().collect(),
            set: set.cloned().collect(),
        }
    }

    /// Each name once.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let startup = self.startup.iter().map(|(name, _)| name.as_str());
        let overridden = |name: &&str| !self.set.iter().any(|(n, _)| n == name);
        let set = self.set.iter().map(|(name, _)| name.as_str());
        startup.filter(overridden).chain(set)
    }
}

/// One distinct list of settings.
#[derive(Debug)]
pub struct Settings {
    pub(super) lists: Lists,
    /// Number of the part that parsing reads; equal numbers, equal parts.
    pub scope: u32,
    /// Whether sessions with this list may take turns on a server connection: some client encodings
    /// hide ASCII bytes from the survey of a text, with `pg_temp` in the path every new table is a
    /// temporary one, and a short time limit could hit the statement that takes it back.
    pub shareable: bool,
    /// It has a role of its own, which is awaited.
    roles: bool,
    /// ParameterStatus as the server reports them under this list; unset until it took the list.
    pub reported: OnceCell<Vec<Setting>>,
    /// Notices that a server raised when it took the list, as messages.
    pub notices: OnceCell<Vec<u8>>,
    /// What it says of routing.
    pub(super) wishes: OnceCell<Wishes>,
}

impl Settings {
    /// Names and values of the startup settings, sorted by name.
    pub fn list(&self) -> &[Setting] {
        &self.lists.startup
    }

    /// Whether the session speaks the replication protocol, which a server connection does from
    /// its startup on or never.
    pub fn replicates(&self) -> bool {
        self.lists.start("replication").is_some()
    }

    /// A setting's value as a text; empty if it has none.
    pub(super) fn text(&self, name: &str) -> String {
        match self.lists.value(name) {
            Some(Value::Raw(value)) => value.to_owned(),
            Some(Value::Sql(sql)) => {
                let literal = sql.strip_prefix('\'').and_then(|s| s.strip_suffix('\''));
                literal.map_or_else(|| sql.to_owned(), |text| text.replace("''", "'"))
            }
            None => String::new(),
        }
    }

    /// How many were set since.
    pub(super) fn carried(&self) -> usize {
        self.lists.set.len()
    }

    /// A setting's value as the server has reported it.
    pub(super) fn shown(&self, name: &str) -> Option<&str> {
        let mut reported = self.reported.get()?.iter();
        let found = reported.find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The startup value of a setting.
    pub(super) fn start(&self, name: &str) -> Option<&str> {
        self.lists.start(name)
    }

    /// The names of all that it sets.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.lists.names()
    }

    /// What gives a server connection this value of a setting.
    pub(super) fn said(&self, name: &str) -> String {
        super::saying::say(name, self.lists.value(name))
    }

    /// Whether the server would show this value of a setting, as far as can be told.
    pub(super) fn shows(&self, name: &str, value: &str) -> bool {
        match self.lists.value(name) {
            Some(Value::Raw(raw)) => raw == value,
            Some(Value::Sql(sql)) => {
                let literal = sql.strip_prefix('\'').and_then(|s| s.strip_suffix('\''));
                let plain = |c: char| c.is_ascii_alphanumeric() || "_-+/:. ".contains(c);
                let said = literal.unwrap_or(sql);
                said.chars().all(plain) && said.eq_ignore_ascii_case(value)
            }
            None => false,
        }
    }

    /// Whether it has a role other than that of the login.
    pub(super) fn has_role(&self) -> bool {
        self.roles
    }

    /// The same after some changes, found in no table: for what is said of it alone.
    pub(super) fn after<'a>(&self, changes: impl IntoIterator<Item = &'a SettingChange>) -> Self {
        let lists = self.lists.changed(changes);
        Self {
            roles: lists.has_role(),
            lists,
            scope: self.scope,
            shareable: self.shareable,
            reported: OnceCell::new(),
            notices: OnceCell::new(),
            wishes: OnceCell::new(),
        }
    }

    /// Whether both are the same list.
    pub fn same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.lists == other.lists
    }
}

/// Whether literals are read by a setting once, when a statement is parsed.
pub(super) fn is_frozen(name: &str) -> bool {
    FROZEN.contains(&name)
}

/// The distinct lists of one pool.
#[derive(Debug)]
pub struct SettingsTable {
    known: HashMap<Lists, Rc<Settings>>,
    scopes: HashMap<Lists, u32>,
    none: Rc<Settings>,
    next_scope: u32,
}

/// Lists kept although no session has them at the moment.
const KEPT: usize = 256;

impl Default for SettingsTable {
    fn default() -> Self {
        let none = Settings {
            lists: Lists::default(),
            scope: 0,
            shareable: true,
            roles: false,
            reported: OnceCell::new(),
            notices: OnceCell::new(),
            wishes: OnceCell::new(),
        };
        Self {
            known: HashMap::new(),
            scopes: HashMap::new(),
            none: Rc::new(none),
            next_scope: 1,
        }
    }
}

impl SettingsTable {
    /// What a fresh server connection has.
    pub fn none(&self) -> &Rc<Settings> {
        &self.none
    }

    /// The list of those startup settings; later ones override earlier ones of the same name.
    pub fn intern(&mut self, settings: &[Setting]) -> Rc<Settings> {
        self.find(Lists {
            startup: canonical(settings),
            set: Vec::new(),
        })
    }

    /// A list after some changes.
    pub(super) fn change<'a>(
        &mut self,
        from: &Settings,
        changes: impl IntoIterator<Item = &'a SettingChange>,
    ) -> Rc<Settings> {
        let lists = from.lists.changed(changes);
        self.find(lists)
    }

    /// What a server connection has that was given a session's startup settings and kept its role.
    pub(super) fn with_start(&mut self, start: &Settings, from: &Settings) -> Rc<Settings> {
        let lists = Lists {
            startup: start.lists.startup.clone(),
            set: from.lists.only(|name| ROLES.contains(&name)).set,
        };
        self.find(lists)
    }

    /// What a server connection has that has lost a setting, startup value and all.
    pub(super) fn without(&mut self, from: &Settings, name: &str) -> Rc<Settings> {
        let lists = from.lists.only(|n| n != name);
        self.find(lists)
    }

    fn find(&mut self, lists: Lists) -> Rc<Settings> {
        if lists == self.none.lists {
            return Rc::clone(&self.none);
        }
        if let Some(found) = self.known.get(&lists) {
            return Rc::clone(found);
        }
        if self.known.len() >= KEPT {
            self.known.retain(|_, s| Rc::strong_count(s) > 1);
            let live: Vec<u32> = self.known.values().map(|s| s.scope).collect();
            self.scopes.retain(|_, scope| live.contains(scope));
        }
        let scope = self.scope(&lists);
        let shareable = lists
            .startup
            .iter()
            .all(|(name, value)| match name.as_str() {
                "client_encoding" => encoding_is_safe(value),
                "search_path" => !value.to_ascii_lowercase().contains("pg_temp"),
                name => !is_short_limit(name, value),
            });
        let reported = OnceCell::new();
        let made = Rc::new(Settings {
            lists: lists.clone(),
            roles: lists.has_role(),
            scope,
            shareable,
            reported,
            notices: OnceCell::new(),
            wishes: OnceCell::new(),
        });
        self.known.insert(lists, Rc::clone(&made));
        made
    }

    /// Forgets what servers reported: another server may report otherwise.
    pub fn forget(&mut self) {
        *self = Self {
            next_scope: self.next_scope,
            ..Self::default()
        };
    }

    fn scope(&mut self, lists: &Lists) -> u32 {
        let read = lists.only(|name| !PARSE_NEUTRAL.contains(&name) && !name.contains('.'));
        if read == Lists::default() {
            return 0;
        }
        *self.scopes.entry(read).or_insert_with(|| {
            self.next_scope += 1;
            self.next_scope
        })
    }
}

/// Sorted, one value a name, names in lower case as the server compares them.
fn canonical(settings: &[Setting]) -> Vec<Setting> {
    let mut list: Vec<Setting> = Vec::with_capacity(settings.len());
    for (name, value) in settings {
        let name = name.to_ascii_lowercase();
        match list.iter_mut().find(|(n, _)| *n == name) {
            Some(known) => known.1.clone_from(value),
            None => list.push((name, value.clone())),
        }
    }
    list.sort();
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_ignores_what_parsing_does_not_read() {
        let mut table = SettingsTable::default();
        let set = |n: &str, v: &str| vec![(n.to_owned(), v.to_owned())];
        let app = table.intern(&set("application_name", "x"));
        assert_eq!(app.scope, table.none().scope);
        let zone = table.intern(&set("TimeZone", "UTC"));
        assert_ne!(zone.scope, app.scope);
        assert_ne!(zone.scope, table.intern(&set("TimeZone", "CET")).scope);
    }
}
