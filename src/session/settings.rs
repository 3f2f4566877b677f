//! Startup settings of sessions (`TimeZone`, `search_path` ..): each distinct list once per pool,
//! carried to the server connection a session gets.
//!
//! A list is first sent, awaited, at the login of the first session that has it; from its reply we
//! know that the server takes it and what a direct login would report. After that it may be sent
//! ahead of a query without waiting.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::wire::sql::encoding_is_safe;

/// Name and value, as given in the startup packet.
pub type Setting = (String, String);

/// Settings that change neither how a statement is parsed nor how its literals are read.
const PARSE_NEUTRAL: &[&str] = &[
    "application_name",
    "client_min_messages",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "lock_timeout",
    "statement_timeout",
];

/// One distinct list of startup settings.
#[derive(Debug)]
pub struct Settings {
    list: Vec<Setting>,
    /// Number of the part that parsing reads; equal numbers, equal parts.
    pub scope: u32,
    /// Whether the survey of a text can be trusted under this list: some client encodings hide
    /// ASCII bytes, and with `pg_temp` in the path every new table is a temporary one.
    pub readable: bool,
    /// ParameterStatus as the server reports them under this list; unset until it took the list.
    pub reported: OnceCell<Vec<Setting>>,
}

impl Settings {
    /// Names and values, sorted by name.
    pub fn list(&self) -> &[Setting] {
        &self.list
    }

    /// Whether both are the same list.
    pub fn same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.list == other.list
    }

    /// Appends SQL that turns `from` into `self` on a server connection; nothing if they agree.
    pub fn put_change(&self, from: &Self, sql: &mut Vec<u8>) {
        for (name, _) in from
            .list
            .iter()
            .filter(|(name, _)| self.value(name).is_none())
        {
            sql.extend_from_slice(b"RESET ");
            put_name(sql, name);
            sql.push(b';');
        }
        let changed = |(name, value): &&Setting| from.value(name) != Some(value.as_str());
        let mut separator: &[u8] = b"SELECT ";
        for (name, value) in self.list.iter().filter(changed) {
            sql.extend_from_slice(separator);
            sql.extend_from_slice(b"pg_catalog.set_config(");
            put_literal(sql, name);
            sql.push(b',');
            put_literal(sql, value);
            sql.extend_from_slice(b",false)");
            separator = b",";
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.list
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Quotes a literal; `E''` reads the same whatever `standard_conforming_strings` says (manual 4.1.2.2).
fn put_literal(sql: &mut Vec<u8>, text: &str) {
    sql.extend_from_slice(b"E'");
    for byte in text.bytes() {
        if byte == b'\'' || byte == b'\\' {
            sql.push(byte);
        }
        sql.push(byte);
    }
    sql.push(b'\'');
}

/// Quotes a setting's name: custom ones have dots, which stay outside the quotes.
fn put_name(sql: &mut Vec<u8>, name: &str) {
    for (i, part) in name.split('.').enumerate() {
        if i > 0 {
            sql.push(b'.');
        }
        sql.push(b'"');
        sql.extend(
            part.bytes()
                .flat_map(|b| std::iter::repeat_n(b, 1 + usize::from(b == b'"'))),
        );
        sql.push(b'"');
    }
}

/// The distinct lists of one pool.
#[derive(Debug)]
pub struct SettingsTable {
    known: HashMap<Vec<Setting>, Rc<Settings>>,
    scopes: HashMap<Vec<Setting>, u32>,
    none: Rc<Settings>,
    next_scope: u32,
}

/// Lists kept although no session has them at the moment.
const KEPT: usize = 256;

impl Default for SettingsTable {
    fn default() -> Self {
        let none = Settings {
            list: Vec::new(),
            scope: 0,
            readable: true,
            reported: OnceCell::new(),
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

    /// The list of those settings; later ones override earlier ones of the same name.
    pub fn intern(&mut self, settings: &[Setting]) -> Rc<Settings> {
        let list = canonical(settings);
        if list.is_empty() {
            return Rc::clone(&self.none);
        }
        if let Some(found) = self.known.get(&list) {
            return Rc::clone(found);
        }
        if self.known.len() >= KEPT {
            self.known.retain(|_, s| Rc::strong_count(s) > 1);
            let live: Vec<u32> = self.known.values().map(|s| s.scope).collect();
            self.scopes.retain(|_, scope| live.contains(scope));
        }
        let scope = self.scope(&list);
        let readable = list.iter().all(|(name, value)| match name.as_str() {
            "client_encoding" => encoding_is_safe(value),
            "search_path" => !value.to_ascii_lowercase().contains("pg_temp"),
            _ => true,
        });
        let reported = OnceCell::new();
        let made = Rc::new(Settings {
            list: list.clone(),
            scope,
            readable,
            reported,
        });
        self.known.insert(list, Rc::clone(&made));
        made
    }

    /// Forgets what servers reported: another server may report otherwise.
    pub fn forget(&mut self) {
        *self = Self {
            next_scope: self.next_scope,
            ..Self::default()
        };
    }

    fn scope(&mut self, list: &[Setting]) -> u32 {
        let read: Vec<Setting> = list
            .iter()
            .filter(|(name, _)| !PARSE_NEUTRAL.contains(&name.as_str()))
            .cloned()
            .collect();
        if read.is_empty() {
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

    fn change(from: &[(&str, &str)], to: &[(&str, &str)]) -> String {
        let own = |l: &[(&str, &str)]| -> Vec<Setting> {
            l.iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        let mut table = SettingsTable::default();
        let (from, to) = (table.intern(&own(from)), table.intern(&own(to)));
        let mut sql = Vec::new();
        to.put_change(&from, &mut sql);
        String::from_utf8(sql).expect("settings are text")
    }

    #[test]
    fn only_differences_are_sent() {
        assert_eq!(change(&[("a", "1")], &[("A", "0"), ("a", "1")]), "");
        assert_eq!(
            change(
                &[("a", "1"), ("my.x", "y")],
                &[("a", "2"), ("b", r"it's \")]
            ),
            r#"RESET "my"."x";SELECT pg_catalog.set_config(E'a',E'2',false),pg_catalog.set_config(E'b',E'it''s \\',false)"#
        );
    }

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
