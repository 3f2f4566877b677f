//! What replies look like when everything is left out that must differ: process ids, numbers of
//! temporary schemas and of tables, names of the databases.

use std::fmt::Write as _;

use crate::sequence::Step;
use crate::support::client::Message;

/// A reply, one line a message; ParameterStatus sorted, before the ReadyForQuery behind them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Essence {
    pub(crate) lines: Vec<String>,
    /// The process id that a probe told.
    pub(crate) process: Option<String>,
    /// Transaction status of the last ReadyForQuery.
    pub(crate) status: Option<char>,
}

/// Reduces a reply of that database.
pub(crate) fn essence(messages: &[Message], database: &str) -> Essence {
    let mut found = Essence::default();
    let mut reported = Vec::new();
    for message in messages {
        let line = line(message).replace(database, "the_database");
        match message.tag {
            b'S' => {
                reported.push(line);
                continue;
            }
            b'D' => {
                if let Some(process) = line.strip_prefix("D pid ") {
                    found.process = Some(process.to_owned());
                    found.lines.push("D pid".to_owned());
                    continue;
                }
            }
            b'Z' => {
                reported.sort();
                found.lines.append(&mut reported);
                found.status = message.body.first().map(|b| char::from(*b));
            }
            _ => {}
        }
        found.lines.push(without_numbers(line));
    }
    found.lines.append(&mut reported);
    found
}

/// Whether the session's reply is what a direct connection says.
pub(crate) fn agree(step: &Step, direct: &Essence, pooled: &Essence) -> bool {
    // What was parsed before may ask for a custom setting, too.
    let custom = step.custom || !step.has_text();
    direct.lines == pooled.lines
        || (custom && is_void(direct) && is_void(pooled))
        || (!step.has_text() && fails_anew(pooled))
        || is_repaired(direct, pooled)
}

/// Outside of transactions a statement that its client has never had described is parsed anew when
/// the schema has changed; a direct connection refuses it for ever.
fn is_repaired(direct: &Essence, pooled: &Essence) -> bool {
    let stale = "C0A000 Mcached plan must not change result type";
    let refused = |essence: &Essence| essence.lines.iter().any(|line| line.contains(stale));
    refused(direct) && !refused(pooled) && pooled.status == Some('I')
}

/// In a failed transaction a statement cannot be parsed again on another server connection; there a
/// Describe of it is refused.
fn fails_anew(pooled: &Essence) -> bool {
    pooled
        .lines
        .iter()
        .any(|line| line.starts_with("E SERROR C25P02"))
}

/// No value, an empty one, or no such setting: which of them depends on what other sessions did on
/// the server connection.
fn is_void(essence: &Essence) -> bool {
    matches!(essence.status, Some('I' | 'T'))
        && essence.lines.iter().all(|line| match line.as_bytes()[0] {
            b'D' => matches!(line.as_str(), "D ~" | "D "),
            b'E' => line.contains("unrecognized configuration parameter"),
            b'S' | b'N' => false,
            _ => true,
        })
}

/// Two replies are of one kind of difference when what differs first does so in the same way.
pub(crate) fn signature(direct: &Essence, pooled: &Essence) -> String {
    let at = direct
        .lines
        .iter()
        .zip(&pooled.lines)
        .take_while(|(a, b)| a == b)
        .count();
    let kind = |essence: &Essence| match essence.lines.get(at) {
        None => "nothing".to_owned(),
        Some(line) if line.starts_with('E') => {
            line.split(' ').take(3).collect::<Vec<_>>().join(" ")
        }
        Some(line) => line.chars().take(1).collect(),
    };
    format!("{} / {}", kind(direct), kind(pooled))
}

fn line(message: &Message) -> String {
    let tag = char::from(message.tag);
    let text = match message.tag {
        b'T' => columns(&message.body),
        b'D' => message.columns().join("|"),
        b'E' | b'N' => fields(&message.body),
        b't' | b'G' | b'H' => format!("{:?}", message.body),
        _ => {
            let text = String::from_utf8_lossy(&message.body).into_owned();
            text.trim_end_matches('\0').replace('\0', "=")
        }
    };
    format!("{tag} {text}")
}

/// Fields of an error or notice.
fn fields(body: &[u8]) -> String {
    let all = body.split(|b| *b == 0).filter(|f| !f.is_empty());
    let mut all: Vec<String> = all
        .map(|f| String::from_utf8_lossy(f).into_owned())
        .collect();
    // Severity and code first, where they are looked for.
    all.sort_by_key(|f| match f.as_bytes()[0] {
        b'S' => 0,
        b'C' => 1,
        _ => 2,
    });
    // A statement may be parsed in a failed transaction instead of bound: another place in the code.
    let failed = all.iter().any(|f| f == "C25P02");
    all.retain(|f| !(f.starts_with('V') || failed && f.starts_with(['F', 'L', 'R'])));
    all.join(" ")
}

/// Columns of a RowDescription: all of it but the table's number, of which only that there is one.
fn columns(body: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = &body[2..];
    while let Some(end) = rest.iter().position(|b| *b == 0) {
        let name = String::from_utf8_lossy(&rest[..end]);
        let Some((table, after)) = rest[end + 1..].split_first_chunk::<4>() else {
            break;
        };
        let table = if *table == [0; 4] { "" } else { " of a table" };
        let (about, after) = after.split_at(14);
        write!(text, "{name}{table} {about:?} ").expect("a String takes all");
        rest = after;
    }
    text
}

/// Replaces the number in `pg_temp_3`.
fn without_numbers(line: String) -> String {
    let Some(at) = line.find("pg_temp_") else {
        return line;
    };
    let (before, after) = line.split_at(at + "pg_temp_".len());
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}N{}", without_numbers(rest.to_owned()))
}
