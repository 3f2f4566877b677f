//! One session of a play: it sends in one of the protocols and writes down what it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use super::kind::{Act, Protocol};
use crate::support::client::{Client, Message, PATIENCE};
use crate::support::frames::Frames;

/// How long a notification may take.
const NEWS: Duration = Duration::from_secs(8);

/// What came back for one step.
#[derive(Debug)]
pub struct Heard {
    /// Every message in a comparable form, without process ids and texts of errors.
    pub lines: Vec<String>,
    /// Transaction status of the last ReadyForQuery; `X`: the connection is gone.
    pub status: char,
}

impl Heard {
    /// Whether there was an error of that SQLSTATE.
    pub fn failed_with(&self, code: &str) -> bool {
        let prefix = format!("error {code}");
        self.lines.iter().any(|line| line.starts_with(&prefix))
    }
}

/// A session.
#[derive(Debug)]
pub struct Session {
    client: Client,
    protocol: Protocol,
    me: String,
    /// What ParameterStatus has said so far, and what it had said at the last ReadyForQuery.
    parameters: BTreeMap<String, String>,
    known: BTreeMap<String, String>,
    /// Notifications, in their order.
    pub news: Vec<String>,
    gone: bool,
}

impl Session {
    /// A client that has logged in.
    pub fn new(client: Client, protocol: Protocol, me: &str) -> Self {
        let parameters: BTreeMap<_, _> = client.parameters.iter().cloned().collect();
        Self {
            client,
            protocol,
            me: me.to_owned(),
            known: parameters.clone(),
            parameters,
            news: Vec::new(),
            gone: false,
        }
    }

    /// What ParameterStatus says.
    pub fn parameters(&self) -> Vec<String> {
        let tell = |(name, value): (&String, &String)| format!("{name} = {value}");
        self.parameters.iter().map(tell).collect()
    }

    /// Does a step.
    pub fn act(&mut self, act: &Act) -> Heard {
        let frames = Frames::default();
        let frames = match act {
            Act::Say(sql) => return self.say(sql),
            Act::Together(all) if self.protocol == Protocol::Simple => {
                frames.query(&self.own(&all.join("; ")))
            }
            Act::Together(all) => all
                .iter()
                .fold(frames, |batch, sql| batch.raw(&run(&self.own(sql), &[]).0))
                .sync(),
            Act::Bound(sql, parameters) => run(&self.own(sql), parameters).sync(),
            Act::Prepare(name, sql) => frames.parse(name, &self.own(sql)).describe(name).sync(),
            Act::Execute(name, parameters) => frames
                .bind(name, parameters)
                .describe_portal("")
                .execute()
                .sync(),
            Act::Close(name) => frames.close(name).sync(),
            Act::Hear => return self.hear(),
        };
        self.exchange(&frames)
    }

    /// One statement.
    pub fn say(&mut self, sql: &str) -> Heard {
        let sql = self.own(sql);
        let frames = match self.protocol {
            Protocol::Simple => Frames::default().query(&sql),
            Protocol::Extended => run(&sql, &[]).sync(),
        };
        self.exchange(&frames)
    }

    fn own(&self, sql: &str) -> String {
        sql.replace("{me}", &self.me)
    }

    fn exchange(&mut self, frames: &Frames) -> Heard {
        let mut lines = Vec::new();
        if !self.gone {
            self.gone = self.client.send(&frames.0).is_err();
        }
        while !self.gone {
            match self.client.read() {
                Ok(message) if message.tag == b'Z' => {
                    let status = char::from(message.body[0]);
                    lines.extend(self.news_of_parameters());
                    lines.push(format!("ready {status}"));
                    return Heard { lines, status };
                }
                Ok(message) => lines.extend(self.note(&message)),
                Err(e) => {
                    lines.push(format!("the connection ends: {}", e.kind()));
                    self.gone = true;
                }
            }
        }
        let status = 'X';
        lines.push("the connection is gone".to_owned());
        Heard { lines, status }
    }

    /// Waits for a notification.
    fn hear(&mut self) -> Heard {
        let before = self.news.len();
        let patience = |client: &Client, time| client.socket.set_read_timeout(Some(time)).unwrap();
        patience(&self.client, NEWS);
        while self.news.len() == before {
            let Ok(message) = self.client.read() else {
                break;
            };
            self.note(&message);
        }
        patience(&self.client, PATIENCE);
        let lines = self.news[before..].to_vec();
        Heard { lines, status: 'I' }
    }

    /// A message as a line; none if it is only taken note of.
    fn note(&mut self, message: &Message) -> Option<String> {
        let body = &message.body;
        let code = || message.field(b'C').unwrap_or_default();
        Some(match message.tag {
            b'S' => {
                let mut texts = body
                    .split(|b| *b == 0)
                    .map(|t| t.escape_ascii().to_string());
                let mut next = || texts.next().unwrap_or_default();
                let (name, value) = (next(), next());
                self.parameters.insert(name, value);
                return None;
            }
            b'A' => {
                let text = body[4..].escape_ascii().to_string();
                self.news.push(format!("notification {text}"));
                return None;
            }
            b'D' => format!("row {}", row(body)),
            b'T' => format!("columns {}", columns(body)),
            b'C' => format!("done {}", body[..body.len() - 1].escape_ascii()),
            b'E' => format!("error {} {}", code(), self.detail(message)),
            b'N' => format!("notice {}", code()),
            tag => format!("message {}", char::from(tag)),
        })
    }

    /// The message of an error; for people only.
    fn detail(&self, message: &Message) -> String {
        let text = message.field(b'M').unwrap_or_default();
        text.replace(&self.me, "app")
    }

    /// What ParameterStatus has changed since the last ReadyForQuery.
    fn news_of_parameters(&mut self) -> Vec<String> {
        let changed =
            |(name, _): &(&String, &String)| self.known.get(*name) != self.parameters.get(*name);
        let tell = |(name, value): (&String, &String)| format!("parameter {name} = {value}");
        let lines = self.parameters.iter().filter(changed).map(tell).collect();
        self.known.clone_from(&self.parameters);
        lines
    }
}

/// A statement in the extended protocol, without the Sync.
fn run(sql: &str, parameters: &[&str]) -> Frames {
    Frames::default()
        .parse("", sql)
        .bind("", parameters)
        .describe_portal("")
        .execute()
}

/// The values of a DataRow; bytes outside of ASCII are escaped.
fn row(body: &[u8]) -> String {
    let mut rest = &body[2..];
    let mut values = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (value, after) = match usize::try_from(i32::from_be_bytes(*len)) {
            Ok(len) => (after[..len].escape_ascii().to_string(), &after[len..]),
            Err(_) => ("NULL".to_owned(), after),
        };
        values.push(value);
        rest = after;
    }
    values.join(", ")
}

/// Names and types of a RowDescription.
fn columns(body: &[u8]) -> String {
    let mut rest = &body[2..];
    let mut columns = Vec::new();
    while let Some(end) = rest.iter().position(|b| *b == 0) {
        let (name, after) = (rest[..end].escape_ascii(), &rest[end + 1..]);
        let oid = after[6..].first_chunk::<4>().copied().unwrap_or_default();
        columns.push(format!("{name}:{}", u32::from_be_bytes(oid)));
        rest = &after[18..];
    }
    columns.join(", ")
}
