//! What an operator may say: text -> [`Command`]. Pure; nothing here knows tenants or runs anything.
//!
//! Names of commands and tables are those of PgBouncer's console; letters may be of either case. What
//! drivers and pools send by themselves when they connect (BEGIN, SET of a client parameter, RESET
//! ALL ..) is understood and does nothing.

use super::lexer::{Kind, Statement, Unterminated, statements};
use super::table::{Column, Type, Value};
use crate::error::{ClientError, SqlState};

/// A table of SHOW.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    ActiveSockets,
    Clients,
    Config,
    Databases,
    DnsHosts,
    DnsZones,
    Lists,
    Mem,
    Nodes,
    PeerPools,
    Peers,
    Pins,
    Pools,
    Replicas,
    Servers,
    Sockets,
    State,
    Stats,
    StatsAverages,
    StatsTotals,
    Tenants,
    Totals,
    Users,
    Version,
}

/// The names of tables.
const TABLES: [(&str, Show); 24] = [
    ("active_sockets", Show::ActiveSockets),
    ("clients", Show::Clients),
    ("config", Show::Config),
    ("databases", Show::Databases),
    ("dns_hosts", Show::DnsHosts),
    ("dns_zones", Show::DnsZones),
    ("lists", Show::Lists),
    ("mem", Show::Mem),
    ("nodes", Show::Nodes),
    ("peer_pools", Show::PeerPools),
    ("peers", Show::Peers),
    ("pins", Show::Pins),
    ("pools", Show::Pools),
    ("replicas", Show::Replicas),
    ("servers", Show::Servers),
    ("sockets", Show::Sockets),
    ("state", Show::State),
    ("stats", Show::Stats),
    ("stats_averages", Show::StatsAverages),
    ("stats_totals", Show::StatsTotals),
    ("tenants", Show::Tenants),
    ("totals", Show::Totals),
    ("users", Show::Users),
    ("version", Show::Version),
];

/// Client parameters: what SHOW says of them. To SET one does nothing.
const PARAMETERS: [(&[Column; 1], &str); 13] = [
    (&[("application_name", Type::Text)], ""),
    (&[("client_encoding", Type::Text)], "UTF8"),
    (&[("client_min_messages", Type::Text)], "notice"),
    (&[("DateStyle", Type::Text)], "ISO"),
    (
        &[("default_transaction_isolation", Type::Text)],
        "read committed",
    ),
    (&[("extra_float_digits", Type::Text)], "2"),
    (&[("IntervalStyle", Type::Text)], "postgres"),
    (&[("search_path", Type::Text)], "\"$user\", public"),
    (&[("server_version", Type::Text)], super::SERVER_VERSION),
    (&[("standard_conforming_strings", Type::Text)], "on"),
    (&[("statement_timeout", Type::Text)], "0"),
    (&[("TimeZone", Type::Text)], "GMT"),
    (&[("transaction_isolation", Type::Text)], "read committed"),
];

/// Whom a command is about, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    All,
    Tenant(String),
    Cluster(String),
}

/// How the proxy shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// As on SIGTERM: transactions may finish for `server.drain_timeout`.
    Drain,
    /// Transactions may finish, however long they take.
    WaitForServers,
    /// Clients may go on until they leave by themselves.
    WaitForClients,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Show(Show),
    Help,
    /// One row with one column: what a driver asks for.
    Say(&'static [Column; 1], Value),
    /// Understood, and nothing is done; the command's tag.
    Ignore(&'static str),
    /// SET of a client parameter, likewise, but said so.
    IgnoreSet,
    Order(Order),
}

/// A command that changes something, or waits for a change: for admins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    Set {
        key: String,
        /// As it was typed, quotes included.
        value: String,
    },
    Reload,
    Shutdown(Shutdown),
    Suspend,
    Pause(Target),
    Resume(Target),
    Disable(String),
    Enable(String),
    Kill(Target),
    KillClient(u64),
    Reconnect(Target),
    WaitClose(Target),
}

/// All commands of a text; the first mistake means that none of them counts, as in PostgreSQL.
pub(super) fn parse(text: &str) -> Result<Vec<Command>, ClientError> {
    let statements = statements(text).map_err(|Unterminated| {
        let message = format!("{Unterminated} in command '{}'", shortened(text));
        ClientError::error(SqlState::SYNTAX, message).with_hint(USE_HELP)
    })?;
    statements.iter().map(command).collect()
}

const USE_HELP: &str = "use SHOW HELP;";

fn command(statement: &Statement<'_>) -> Result<Command, ClientError> {
    let words: Vec<Word<'_>> = statement.tokens.iter().map(|t| Word::of(&t.kind)).collect();
    let [Word::Bare(verb), arguments @ ..] = &words[..] else {
        return Err(invalid(statement));
    };
    let verb = verb.to_ascii_lowercase();
    let found = match verb.as_str() {
        "show" => show(arguments)?,
        "set" => set(statement, arguments),
        "select" => select(arguments),
        verb => match ignored(verb) {
            Some(tag) => Some(Command::Ignore(tag)),
            None => order(verb, arguments, statement)?.map(Command::Order),
        },
    };
    found.ok_or_else(|| invalid(statement))
}

fn order(
    verb: &str,
    arguments: &[Word<'_>],
    statement: &Statement<'_>,
) -> Result<Option<Order>, ClientError> {
    Ok(match verb {
        "reload" => arguments.is_empty().then_some(Order::Reload),
        "suspend" => arguments.is_empty().then_some(Order::Suspend),
        "shutdown" => shutdown(arguments).map(Order::Shutdown),
        "pause" => target(arguments).map(Order::Pause),
        "resume" => target(arguments).map(Order::Resume),
        "kill" => tenants(arguments).map(Order::Kill),
        "reconnect" => tenants(arguments).map(Order::Reconnect),
        "wait_close" => tenants(arguments).map(Order::WaitClose),
        "disable" => Some(Order::Disable(database(arguments, statement)?)),
        "enable" => Some(Order::Enable(database(arguments, statement)?)),
        "kill_client" => Some(Order::KillClient(client(arguments, statement)?)),
        _ => None,
    })
}

/// A word, without the quotes.
#[derive(Debug, Clone, Copy)]
enum Word<'a> {
    Bare(&'a str),
    Quoted(&'a str),
    Sign(char),
}

impl<'a> Word<'a> {
    fn of(kind: &'a Kind<'a>) -> Self {
        match kind {
            Kind::Bare(text) => Self::Bare(text),
            Kind::Quoted(text) => Self::Quoted(text),
            Kind::Sign(sign) => Self::Sign(*sign),
        }
    }

    /// Whether it is this keyword.
    fn is(self, keyword: &str) -> bool {
        matches!(self, Self::Bare(text) if text.eq_ignore_ascii_case(keyword))
    }

    /// As a name.
    fn name(self) -> Option<&'a str> {
        match self {
            Self::Bare(text) | Self::Quoted(text) => Some(text),
            Self::Sign(_) => None,
        }
    }
}

fn show(arguments: &[Word<'_>]) -> Result<Option<Command>, ClientError> {
    let name = match arguments {
        [name] => name.name(),
        [a, b, c] if a.is("transaction") && b.is("isolation") && c.is("level") => {
            Some("transaction_isolation")
        }
        [a, b] if a.is("time") && b.is("zone") => Some("timezone"),
        _ => None,
    };
    let Some(name) = name.map(str::to_ascii_lowercase) else {
        return Ok(None);
    };
    match name.as_str() {
        "help" => return Ok(Some(Command::Help)),
        "fds" => {
            let text = "SHOW FDS is not supported: it would show keys of clients' sessions";
            return Err(ClientError::error(SqlState::UNSUPPORTED, text));
        }
        "budget" | "cache" => {
            let text = format!("SHOW {} is not supported yet", name.to_ascii_uppercase());
            return Err(ClientError::error(SqlState::UNSUPPORTED, text));
        }
        _ => {}
    }
    let table = TABLES.iter().find(|(table, _)| *table == name);
    Ok(table.map(|(_, show)| Command::Show(*show)).or_else(|| {
        let (column, value) = parameter(&name)?;
        Some(Command::Say(column, value.into()))
    }))
}

fn parameter(name: &str) -> Option<(&'static [Column; 1], &'static str)> {
    let mut all = PARAMETERS.iter();
    all.find(|([(known, _)], _)| known.eq_ignore_ascii_case(name))
        .copied()
}

fn set(statement: &Statement<'_>, arguments: &[Word<'_>]) -> Option<Command> {
    // Positions count from behind the verb.
    let mut at = 0;
    if arguments.len() > 2 && (arguments[0].is("session") || arguments[0].is("local")) {
        at = 1;
    }
    match &arguments[at..] {
        [a, ..] if a.is("transaction") || a.is("characteristics") || a.is("names") => {
            Some(Command::IgnoreSet)
        }
        [a, b, _, ..] if a.is("time") && b.is("zone") => Some(Command::IgnoreSet),
        [key, sign, _, ..] if matches!(sign, Word::Sign('=')) || sign.is("to") => {
            let key = key.name()?;
            if parameter(key).is_some() {
                return Some(Command::IgnoreSet);
            }
            Some(Command::Order(Order::Set {
                key: key.to_owned(),
                value: statement.text_from(at + 3).to_owned(),
            }))
        }
        _ => None,
    }
}

/// The few queries that clients ask to see whether a connection lives, and with whom.
fn select(arguments: &[Word<'_>]) -> Option<Command> {
    let [first, rest @ ..] = arguments else {
        return None;
    };
    match rest {
        [] if first.is("1") => Some(Command::Say(&[("?column?", Type::Int4)], 1_u64.into())),
        [Word::Sign('('), Word::Sign(')')] => call(*first),
        _ => None,
    }
}

fn call(function: Word<'_>) -> Option<Command> {
    if function.is("version") || function.is("pg_catalog.version") {
        let version = super::VERSION.into();
        return Some(Command::Say(&[("version", Type::Text)], version));
    }
    // asyncpg's pool, before it gives a connection to somebody else.
    let column = &[("pg_advisory_unlock_all", Type::Text)];
    let unlock = function.is("pg_advisory_unlock_all");
    unlock.then(|| Command::Say(column, "".into()))
}

/// What clients send to begin, to end and to clean up: there is nothing here to do it to.
fn ignored(verb: &str) -> Option<&'static str> {
    Some(match verb {
        "begin" => "BEGIN",
        "start" => "START TRANSACTION",
        "commit" | "end" => "COMMIT",
        "rollback" | "abort" => "ROLLBACK",
        "reset" => "RESET",
        "discard" => "DISCARD ALL",
        "deallocate" => "DEALLOCATE ALL",
        "unlisten" => "UNLISTEN",
        "close" => "CLOSE CURSOR ALL",
        _ => return None,
    })
}

fn shutdown(arguments: &[Word<'_>]) -> Option<Shutdown> {
    match arguments {
        [] => Some(Shutdown::Drain),
        [how] if how.is("wait_for_servers") => Some(Shutdown::WaitForServers),
        [how] if how.is("wait_for_clients") => Some(Shutdown::WaitForClients),
        _ => None,
    }
}

fn tenants(arguments: &[Word<'_>]) -> Option<Target> {
    match arguments {
        [] => Some(Target::All),
        [name] => Some(Target::Tenant(name.name()?.to_owned())),
        _ => None,
    }
}

fn target(arguments: &[Word<'_>]) -> Option<Target> {
    match arguments {
        [word, name] if word.is("cluster") => Some(Target::Cluster(name.name()?.to_owned())),
        other => tenants(other),
    }
}

fn database(arguments: &[Word<'_>], statement: &Statement<'_>) -> Result<String, ClientError> {
    match tenants(arguments) {
        Some(Target::Tenant(name)) => Ok(name),
        Some(Target::All) => Err(ClientError::error(
            SqlState::SYNTAX,
            "a database is required",
        )),
        Some(Target::Cluster(_)) | None => Err(invalid(statement)),
    }
}

fn client(arguments: &[Word<'_>], statement: &Statement<'_>) -> Result<u64, ClientError> {
    let [id] = arguments else {
        return Err(invalid(statement));
    };
    id.name().and_then(|id| id.parse().ok()).ok_or_else(|| {
        ClientError::error(SqlState::SYNTAX, "invalid client id supplied")
            .with_hint("it is the column id of SHOW CLIENTS")
    })
}

fn invalid(statement: &Statement<'_>) -> ClientError {
    let message = format!("invalid command '{}'", shortened(statement.text()));
    ClientError::error(SqlState::SYNTAX, message).with_hint(USE_HELP)
}

/// Enough of a text to recognise it, on one line.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}..", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
