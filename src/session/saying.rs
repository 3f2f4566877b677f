//! Settings as SQL: what turns one list into another on a server connection.

use super::settings::{Given, ROLES, Settings, Value};

impl Settings {
    /// Appends SQL that turns `from` into `self` on a server connection; nothing if they agree.
    pub fn put_change(&self, from: &Self, sql: &mut Vec<u8>) {
        let (from, to) = (&from.lists, &self.lists);
        if from == to {
            return;
        }
        if from.has_role() {
            sql.extend_from_slice(NO_ROLE);
        }
        let plain = |name: &&str| !ROLES.contains(name);
        for name in from
            .names()
            .filter(plain)
            .filter(|name| to.value(name).is_none())
        {
            put_reset(sql, name);
            sql.push(b';');
        }
        let differs = |name: &&str| plain(name) && from.value(name) != to.value(name);
        for (name, value) in to.set.iter().filter(|(name, _)| differs(&name.as_str())) {
            let Given::Sql(value) = value else { continue };
            put_set(sql, name, value);
            sql.push(b';');
        }
        let mut separator: &[u8] = b"SELECT ";
        for name in to.names().filter(differs) {
            let Some(Value::Raw(value)) = to.value(name) else {
                continue;
            };
            sql.extend_from_slice(separator);
            put_config(sql, name, value);
            separator = b",";
        }
        if separator == b"," {
            sql.push(b';');
        }
        for (role, words) in ROLES
            .iter()
            .zip(["SET SESSION AUTHORIZATION ", "SET ROLE "])
        {
            if let Some(Value::Raw(name) | Value::Sql(name)) = to.value(role) {
                sql.extend_from_slice(words.as_bytes());
                put_literal(sql, name);
                sql.push(b';');
            }
        }
    }
}

impl Given {
    /// What sets a setting to it.
    pub(super) fn said(&self, name: &str) -> String {
        let value = match self {
            Self::Sql(value) => Value::Sql(value),
            Self::Raw(value) => Value::Raw(value),
        };
        say(name, Some(value))
    }
}

/// Quotes a literal; `E''` reads the same whatever `standard_conforming_strings` says (manual 4.1.2.2).
pub(super) fn put_literal(sql: &mut Vec<u8>, text: &str) {
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

fn put_reset(sql: &mut Vec<u8>, name: &str) {
    sql.extend_from_slice(b"RESET ");
    put_name(sql, name);
}

fn put_set(sql: &mut Vec<u8>, name: &str, value: &str) {
    sql.extend_from_slice(b"SET ");
    put_name(sql, name);
    sql.push(b'=');
    sql.extend_from_slice(value.as_bytes());
}

fn put_config(sql: &mut Vec<u8>, name: &str, value: &str) {
    sql.extend_from_slice(b"pg_catalog.set_config(");
    put_literal(sql, name);
    sql.push(b',');
    put_literal(sql, value);
    sql.extend_from_slice(b",false)");
}

/// Ends whatever role a session has taken on.
pub(super) const NO_ROLE: &[u8] = b"SET SESSION AUTHORIZATION DEFAULT;RESET ROLE;";

/// The statement that sets a setting; nothing: that resets it.
pub(super) fn say(name: &str, value: Option<Value<'_>>) -> String {
    let mut sql = Vec::new();
    match value {
        Some(Value::Sql(value)) => put_set(&mut sql, name, value),
        Some(Value::Raw(value)) => {
            sql.extend_from_slice(b"SELECT ");
            put_config(&mut sql, name, value);
        }
        None => put_reset(&mut sql, name),
    }
    // It was made of text.
    String::from_utf8(sql).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Setting, SettingsTable};

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
            r#"RESET "my"."x";SELECT pg_catalog.set_config(E'a',E'2',false),pg_catalog.set_config(E'b',E'it''s \\',false);"#
        );
    }
}
