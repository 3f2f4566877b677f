//! Settings of the model server, and the few words in which they are set, shown and asked for.
//!
//! Those of a transaction that fails are taken back. None is reported to the client.

use std::collections::BTreeMap;

/// What a setting is that nobody has set.
const DEFAULT: &str = "its default";

type Values = BTreeMap<String, String>;

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    start: Values,
    now: Values,
    /// At the beginning of the transaction.
    before: Values,
}

impl Settings {
    pub(crate) fn new(start: &[(String, String)]) -> Self {
        let start: Values = start.iter().cloned().collect();
        Self {
            now: start.clone(),
            before: start.clone(),
            start,
        }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.now.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn reset(&mut self, name: &str) {
        match self.start.get(name) {
            Some(start) => self.now.insert(name.to_owned(), start.clone()),
            None => self.now.remove(name),
        };
    }

    pub(crate) fn reset_all(&mut self) {
        self.now = self.start.clone();
    }

    pub(crate) fn shown(&self, name: &str) -> &str {
        self.now.get(name).map_or(DEFAULT, String::as_str)
    }

    /// The transaction is over, and it was well.
    pub(crate) fn keep(&mut self) {
        self.before = self.now.clone();
    }

    /// The transaction has failed.
    pub(crate) fn take_back(&mut self) {
        self.now = self.before.clone();
    }

    /// The row that answers a question of the proxy's: no objects, and some values.
    pub(crate) fn answer(&self, asked: &Asked) -> Vec<u8> {
        let mut columns = vec![Some(if asked.objects { "fffff" } else { "" }.to_owned())];
        let entry = |(name, value): (&String, &String)| format!("{name}\u{1}{value}");
        let all: Vec<String> = self.now.iter().map(entry).collect();
        columns.push(asked.all.then(|| all.join("\u{2}")));
        columns.extend(asked.names.iter().map(|name| match name.as_str() {
            "role" => Some("none".to_owned()),
            "session_authorization" => Some(String::new()),
            // Nobody has heard of a custom setting that was never set.
            name if name.contains('.') => self.now.get(name).cloned(),
            name => Some(self.shown(name).to_owned()),
        }));
        row(&columns)
    }
}

fn row(columns: &[Option<String>]) -> Vec<u8> {
    let mut row = u16::try_from(columns.len())
        .expect("few")
        .to_be_bytes()
        .to_vec();
    for column in columns {
        match column {
            Some(text) => {
                row.extend(u32::try_from(text.len()).expect("short").to_be_bytes());
                row.extend_from_slice(text.as_bytes());
            }
            None => row.extend((-1_i32).to_be_bytes()),
        }
    }
    row
}

/// What a text says of settings.
pub(crate) enum Statement {
    Set(String, String),
    Reset(String),
    ResetAll,
    Show(String),
    /// `set_config`, by the proxy.
    Config(Vec<(String, String)>),
    Inquiry(Asked),
    /// Only its command tag.
    Nothing(&'static str),
    Other,
}

/// What the proxy wants to know at the end of a transaction.
pub(crate) struct Asked {
    objects: bool,
    all: bool,
    names: Vec<String>,
}

pub(crate) fn read(sql: &str) -> Statement {
    match sql {
        "SET SESSION AUTHORIZATION DEFAULT" => return Statement::Nothing("SET"),
        "RESET ROLE" => return Statement::Nothing("RESET"),
        "RESET ALL" => return Statement::ResetAll,
        "UNLISTEN *" => return Statement::Nothing("UNLISTEN"),
        "CLOSE ALL" => return Statement::Nothing("CLOSE CURSOR ALL"),
        "DISCARD TEMP" => return Statement::Nothing("DISCARD TEMP"),
        "DISCARD SEQUENCES" => return Statement::Nothing("DISCARD SEQUENCES"),
        _ => {}
    }
    if let Some(rest) = sql.strip_prefix("SELECT pg_catalog.set_config(") {
        return config(rest).map_or(Statement::Other, Statement::Config);
    }
    if sql.starts_with("SELECT pg_catalog.concat(CASE") || sql.starts_with("SELECT '',") {
        return Statement::Inquiry(inquiry(sql));
    }
    let (verb, rest) = sql.split_once(' ').unwrap_or((sql, ""));
    match verb {
        "SET" => set(rest).unwrap_or(Statement::Other),
        "RESET" => name(rest).map_or(Statement::Other, Statement::Reset),
        "SHOW" => name(rest).map_or(Statement::Other, Statement::Show),
        _ => Statement::Other,
    }
}

fn set(rest: &str) -> Option<Statement> {
    let rest = rest.strip_suffix("/*RESET*/").unwrap_or(rest);
    let (left, value) = rest.split_once('=').or_else(|| rest.split_once(" TO "))?;
    let (name, value) = (name(left.trim())?, value.trim());
    if value == "DEFAULT" {
        return Some(Statement::Reset(name));
    }
    let inner = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\''));
    let value = inner.unwrap_or(value);
    let plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| Statement::Set(name, value.to_owned()))
}

/// As it is, or each part quoted.
fn name(text: &str) -> Option<String> {
    let plain = text.replace('"', "").to_ascii_lowercase();
    let word = |b: u8| b.is_ascii_alphanumeric() || b"_.".contains(&b);
    (!plain.is_empty() && plain.bytes().all(word)).then_some(plain)
}

/// `E'name',E'value',false),pg_catalog.set_config(E'..`
fn config(text: &str) -> Option<Vec<(String, String)>> {
    let calls = text.strip_suffix(",false)")?;
    let calls = calls.split(",false),pg_catalog.set_config(");
    let literal = |text: &str| {
        let inner = text.strip_prefix("E'")?.strip_suffix('\'')?;
        Some(inner.replace("''", "'").replace("\\\\", "\\"))
    };
    calls
        .map(|call| {
            let (name, value) = call.split_once("',E'")?;
            Some((
                literal(&format!("{name}'"))?,
                literal(&format!("E'{value}"))?,
            ))
        })
        .collect()
}

fn inquiry(sql: &str) -> Asked {
    const NAME: &str = ",pg_catalog.current_setting(E'";
    let names = sql.split(NAME).skip(1);
    let names = names.filter_map(|part| Some(part.split_once("',true)")?.0.to_owned()));
    Asked {
        objects: sql.contains("pg_my_temp_schema"),
        all: sql.contains("string_agg"),
        names: names.collect(),
    }
}
