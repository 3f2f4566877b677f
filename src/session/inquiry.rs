//! A question of our own to a server connection, behind the client's last reply: which objects of
//! the session are there, and what some settings are now.
//!
//! Guarantees: it runs no function or operator but those of `pg_catalog`, and leaves nothing.

use crate::wire::frame;

/// What is asked, and the answer once it is there.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    /// Settings asked for by name.
    pub(super) names: Vec<String>,
    /// Are there objects of the session?
    pub(super) objects: bool,
    /// Which settings of the server's own does the session have?
    pub(super) settings: bool,
    /// Functions may have made custom settings, which nobody can list.
    pub(super) strange: bool,
    /// When it was asked, by the session's count of changes.
    pub(super) since: u32,
    pub(super) answer: Option<Answer>,
}

/// The row that answers an [`Inquiry`].
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) objects: Option<Objects>,
    /// In the order of [`Inquiry::names`]; `None`: no such setting.
    pub(super) values: Vec<Option<String>>,
    pub(super) settings: Vec<(String, Option<String>)>,
    /// Whether they were asked for.
    pub(super) listed: bool,
}

/// Which objects of the session are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each column")]
pub(super) struct Objects {
    pub(super) temporary: bool,
    pub(super) locks: bool,
    pub(super) cursors: bool,
    pub(super) channels: bool,
    pub(super) prepared: bool,
}

/// Five letters, one for each kind of object, `t` or `f`.
const OBJECTS: &str = "pg_catalog.concat(\
CASE WHEN pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.=) 0::pg_catalog.oid THEN false ELSE EXISTS(SELECT FROM pg_catalog.pg_class WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) \
OR EXISTS(SELECT FROM pg_catalog.pg_proc WHERE pronamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) \
OR EXISTS(SELECT FROM pg_catalog.pg_type WHERE typnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) END,\
EXISTS(SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()),\
EXISTS(SELECT FROM pg_catalog.pg_cursors WHERE is_holdable),\
EXISTS(SELECT pg_catalog.pg_listening_channels()),\
EXISTS(SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql))";

/// Names and values, each ended by a byte that no setting has.
const SETTINGS: &str = "(SELECT pg_catalog.string_agg(pg_catalog.concat(name,E'\\x01',pg_catalog.current_setting(name,true)),E'\\x02') \
FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session' AND name OPERATOR(pg_catalog.<>) ALL(ARRAY['transaction_isolation','transaction_read_only','transaction_deferrable']))";

impl Inquiry {
    /// Appends the SQL of the question.
    pub(super) fn put(&self, sql: &mut Vec<u8>) {
        sql.extend_from_slice(b"SELECT ");
        sql.extend_from_slice(if self.objects { OBJECTS } else { "''" }.as_bytes());
        sql.push(b',');
        sql.extend_from_slice(if self.settings { SETTINGS } else { "''" }.as_bytes());
        for name in &self.names {
            sql.extend_from_slice(b",pg_catalog.current_setting(");
            super::saying::put_literal(sql, name);
            sql.extend_from_slice(b",true)");
        }
    }

    /// A session that is whom it logged in as has no other role.
    pub(super) fn hide_login(&mut self, login: &str) {
        let Some(answer) = &mut self.answer else {
            return;
        };
        for (name, value) in self.names.iter().zip(&mut answer.values) {
            if name == "session_authorization" && value.as_deref() == Some(login) {
                *value = None;
            }
        }
    }

    /// Reads the row. Anything unexpected: there is no answer.
    pub(super) fn read(&mut self, row: &[u8]) {
        self.answer = self.parse(row);
    }

    fn parse(&self, row: &[u8]) -> Option<Answer> {
        let mut columns = frame::columns(row)?;
        let letters = columns.next()??;
        let listed = columns.next()?.unwrap_or_default();
        let there = |at: usize| letters.get(at) == Some(&b't');
        let objects = self.objects.then(|| Objects {
            temporary: there(0),
            locks: there(1),
            cursors: there(2),
            channels: there(3),
            prepared: there(4),
        });
        let mut values = Vec::with_capacity(self.names.len());
        for column in columns {
            let value = column.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            values.push(value);
        }
        let listed = String::from_utf8_lossy(listed);
        let settings = listed.split('\u{2}').filter_map(|entry| {
            let (name, value) = entry.split_once('\u{1}')?;
            Some((name.to_ascii_lowercase(), Some(value.to_owned())))
        });
        let complete = values.len() == self.names.len() && (!self.objects || letters.len() == 5);
        complete.then(|| Answer {
            objects,
            values,
            settings: settings.collect(),
            listed: self.settings,
        })
    }
}
