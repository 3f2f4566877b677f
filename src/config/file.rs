//! `proxy.toml` as text -> [`Config`].
//!
//! Strict: an unknown key, a key that does nothing yet, a bad value, a dangling name or settings
//! that contradict each other are errors with file, line, column and key path. As many as can be
//! told apart are reported at once. A [`Config`] comes out only if there is none.
//!
//! It does not parse certificates (it looks whether the files can be read) and resolves no host
//! names.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::ConfigErrors;
use super::reader::{Document, OVER_THE_TEXT, Place, Section};
use super::server::METHODS;
use super::source::{Files, Source};
use super::{
    Auth, AuthMethod, Config, Log, LogFormat, PoolSettings, RoutingSettings, Statements, checks,
    cluster, console, keys, pool, routing, server, tenant, value,
};

pub use super::reader::Env;

/// The words for shapes of log lines.
pub(super) const FORMATS: [(&str, LogFormat); 2] =
    [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Reads and checks a file; secrets of the form `env:NAME` come from the process's environment.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    Source::open(path).map(|(_source, config)| config)
}

/// Checks a text. `file` names it in errors, and its folder is what relative paths are relative to.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, file: &Path, env: Env<'_>) -> Result<Config, ConfigErrors> {
    read((text, ""), file, env).config
}

/// What a reading found.
pub(super) struct Reading {
    pub(super) config: Result<Config, ConfigErrors>,
    /// The files that were looked into, whatever came of it.
    pub(super) files: Files,
}

/// Checks a text with `over` put over it: lines such as `pool.size = 5`.
pub(super) fn read((text, over): (&str, &str), file: &Path, env: Env<'_>) -> Reading {
    let doc = Document {
        file,
        text,
        env,
        errors: RefCell::default(),
        files: RefCell::default(),
    };
    let config = merged(&doc, over);
    Reading {
        config,
        files: doc.files.into_inner(),
    }
}

fn merged(doc: &Document<'_>, over: &str) -> Result<Config, ConfigErrors> {
    let (mut table, errors) = DeTable::parse_recoverable(doc.text);
    for error in errors {
        let offset = error.span().map(|s| s.start);
        doc.error(
            &Place {
                path: String::new(),
                offset,
            },
            error.message(),
        );
    }
    // What a broken text seems to say would only add noise.
    doc.verdict()?;
    let (over, _none) = DeTable::parse_recoverable(over);
    put_over(table.get_mut(), over.into_inner());
    document(doc, table.get_ref())
}

/// Values of `over` take the place of those below, tables are merged.
fn put_over<'a>(base: &mut DeTable<'a>, over: DeTable<'a>) {
    const PLACE: std::ops::Range<usize> = OVER_THE_TEXT..OVER_THE_TEXT;
    for (key, value) in over {
        match value.into_inner() {
            DeValue::Table(over) => {
                let empty = || Spanned::new(PLACE, DeValue::Table(DeTable::new()));
                let below = base.entry(key).or_insert_with(empty);
                // What is no table is an error already where it is read.
                if let DeValue::Table(below) = below.get_mut() {
                    put_over(below, over);
                }
            }
            value => {
                base.insert(key, Spanned::new(PLACE, value));
            }
        }
    }
}

/// A mistake that shows only when a good file meets this machine, at the place of its key.
pub(crate) fn error_at(file: &Path, (table, key): (&str, &str), message: String) -> ConfigErrors {
    // The file may be gone by now; then the mistake has no line, but is still one.
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let doc = Document {
        file,
        text: &text,
        env: &|_| None,
        errors: RefCell::default(),
        files: RefCell::default(),
    };
    let (root, _broken) = DeTable::parse_recoverable(&text);
    let value = root
        .get_ref()
        .get(table)
        .and_then(|t| t.get_ref().as_table()?.get(key));
    let offset = value.map(|v| v.span().start);
    doc.error(
        &Place {
            path: format!("{table}.{key}"),
            offset,
        },
        message,
    );
    ConfigErrors::collect(doc.errors.take()).expect("one was just added")
}

fn document(doc: &Document<'_>, table: &DeTable<'_>) -> Result<Config, ConfigErrors> {
    let place = Place {
        path: String::new(),
        offset: None,
    };
    let mut root = Section::new(doc, place, Some(table), &keys::ROOT);
    let server = server::read(root.section("server", &keys::SERVER));
    let (auth, method_place) = auth(root.section("auth", &keys::AUTH));
    let log = log(root.section("log", &keys::LOG));
    let console = console::read(root.section("console", &keys::CONSOLE));
    registry(root.section("registry", &keys::REGISTRY));
    let pool = pool::read(root.section("pool", &keys::POOL), &PoolSettings::default());
    let base = RoutingSettings::default();
    let routing = routing::read(root.section("routing", &keys::ROUTING), &base);
    let clusters = cluster::read(root.items("cluster"));
    let defaults = tenant::Defaults {
        pool: &pool,
        routing: &routing,
    };
    let tenants = tenant::read(root.items("tenant"), &clusters, &defaults);
    root.finish();
    checks::listeners(doc, &server, (auth.method, &method_place));
    // Who can log in depends on all of the above: one mistake there would be many here.
    doc.verdict()?;
    checks::logins(doc, &server.server, auth.method, &tenants);
    checks::console(doc, &server.server, auth.method, &console);
    doc.verdict()?;
    Ok(Config {
        server: server.server,
        auth,
        log,
        console: console.console,
        pool,
        routing,
        clusters: clusters.all,
        tenants: tenants.into_iter().map(|d| d.tenant).collect(),
    })
}

fn auth(mut s: Section<'_>) -> (Auth, Place) {
    let auth = Auth {
        method: s
            .word("method", &METHODS)
            .unwrap_or(AuthMethod::ScramSha256),
        secret: s.secret("secret"),
    };
    let place = s.place_of("method");
    s.finish();
    (auth, place)
}

fn log(mut s: Section<'_>) -> Log {
    let log = Log {
        format: s.word("format", &FORMATS).unwrap_or(LogFormat::Text),
        level: s
            .value("level")
            .and_then(|v| v.parsed(value::log_filter))
            .unwrap_or_else(|| "info".to_owned()),
        slow: s.duration("slow", Duration::ZERO),
        statements: match s.switch("statements") {
            Some(true) => Statements::Shown,
            Some(false) | None => Statements::Hidden,
        },
    };
    s.finish();
    log
}

fn registry(mut s: Section<'_>) {
    if let Some(source) = s.value("source") {
        match source.string() {
            Some("postgres") => source.error("`postgres` is not supported by this version"),
            Some("file") | None => {}
            Some(_) => source.error("expected one of: file"),
        }
    }
    s.finish();
}
