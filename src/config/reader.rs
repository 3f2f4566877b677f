//! Reads a parsed TOML document key by key, and remembers where each mistake is.
//!
//! Every getter reports its own mistakes and goes on with `None` or the default, so that one run
//! finds as many as possible. A table is read through a [`Section`], which must be told when its
//! reader is done: what nobody asked for is an unknown key.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::errors::ConfigError;
use super::keys::Keys;
use super::source::{Digest, Files};
use super::{ConfigErrors, value};
use crate::types::Secret;

/// Where secrets of the form `env:NAME` come from.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What all readers of one document share.
pub(super) struct Document<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
    pub(super) env: Env<'a>,
    pub(super) errors: RefCell<Vec<ConfigError>>,
    pub(super) files: RefCell<Files>,
}

/// Where values stand that do not come from the text but were put over it.
pub(super) const OVER_THE_TEXT: usize = usize::MAX;

/// A key path and where its value stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) offset: Option<usize>,
}

impl Document<'_> {
    /// Notes a mistake.
    pub(super) fn error(&self, place: &Place, message: impl Into<String>) {
        let (file, position) = match place.offset {
            Some(OVER_THE_TEXT) => ("SET".to_owned(), None),
            offset => (
                self.file.display().to_string(),
                offset.map(|o| position(self.text, o)),
            ),
        };
        self.errors.borrow_mut().push(ConfigError {
            file,
            position,
            path: place.path.clone(),
            message: message.into(),
        });
    }

    /// What relative paths are relative to.
    pub(super) fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// Reads a file that the document names, and remembers what it held.
    fn read(&self, path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
        let contents = std::fs::read(path).map(Zeroizing::new);
        let digest = Digest::of(contents.as_ref().ok().map(|c| c.as_slice()));
        self.files.borrow_mut().insert(path.to_owned(), digest);
        contents
    }

    /// The mistakes so far, if there are any.
    pub(super) fn verdict(&self) -> Result<(), ConfigErrors> {
        match ConfigErrors::collect(self.errors.take()) {
            Some(errors) => Err(errors),
            None => Ok(()),
        }
    }
}

/// Line and column, both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// One table while it is read.
pub(super) struct Section<'a> {
    pub(super) doc: &'a Document<'a>,
    pub(super) place: Place,
    table: Option<&'a DeTable<'a>>,
    keys: &'static Keys,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// `table` is `None` where the document has none: every key has its default.
    pub(super) fn new(
        doc: &'a Document<'a>,
        place: Place,
        table: Option<&'a DeTable<'a>>,
        keys: &'static Keys,
    ) -> Self {
        Self {
            doc,
            place,
            table,
            keys,
            asked: Vec::new(),
        }
    }

    /// The value of a key, if it is there.
    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.asked.push(key);
        let value = self.table?.get(key)?;
        let place = Place {
            path: self.path_of(key),
            offset: Some(value.span().start),
        };
        Some(Value {
            doc: self.doc,
            value: value.get_ref(),
            place,
        })
    }

    /// The value of a key that must be there.
    pub(super) fn required(&mut self, key: &'static str) -> Option<Value<'a>> {
        let value = self.value(key);
        if value.is_none() {
            self.error(key, "is missing");
        }
        value
    }

    /// Notes a mistake about a key, at its value or, if it is not there, at the table.
    pub(super) fn error(&self, key: &str, message: impl Into<String>) {
        self.doc.error(&self.place_of(key), message);
    }

    /// Where a key's value is, or would be.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let value = self.table.and_then(|t| t.get(key));
        let offset = value.map_or(self.place.offset, |v| Some(v.span().start));
        Place {
            path: self.path_of(key),
            offset,
        }
    }

    /// Whether the document has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|t| t.contains_key(key))
    }

    fn path_of(&self, key: &str) -> String {
        if self.place.path.is_empty() {
            key.into()
        } else {
            format!("{}.{key}", self.place.path)
        }
    }

    /// A table below this one, empty where the document has none.
    pub(super) fn section(&mut self, key: &'static str, keys: &'static Keys) -> Self {
        match self.value(key) {
            Some(value) => value.section(keys),
            None => Self::new(self.doc, self.place_of(key), None, keys),
        }
    }

    /// The elements of an array; none where the key is absent.
    pub(super) fn items(&mut self, key: &'static str) -> Vec<Value<'a>> {
        self.value(key).map(|v| v.items()).unwrap_or_default()
    }

    /// A text.
    pub(super) fn string(&mut self, key: &'static str) -> Option<&'a str> {
        self.value(key)?.string()
    }

    /// An optional text with a grammar of its own, where the empty text means none.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.value(key)
            .filter(|v| !v.is_empty_text())?
            .parsed(parse)
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.value(key)?.word(words)
    }

    /// A whole number.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> usize {
        self.value(key)
            .and_then(|v| v.number(range))
            .unwrap_or(default)
    }

    /// Yes or no.
    pub(super) fn switch(&mut self, key: &'static str) -> Option<bool> {
        self.value(key)?.switch()
    }

    /// A duration, where zero has a meaning.
    pub(super) fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        self.value(key)
            .and_then(|v| v.parsed(value::duration))
            .unwrap_or(default)
    }

    /// A duration that cannot be zero.
    pub(super) fn positive_duration(&mut self, key: &'static str, default: Duration) -> Duration {
        let duration = self.duration(key, default);
        if duration.is_zero() {
            self.error(key, "must be longer than 0s");
        }
        duration
    }

    /// A file that can be read; the empty text means none.
    pub(super) fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let folder = self.doc.folder();
        let path = self.text(key, |text| Ok(folder.join(text)))?;
        if let Err(e) = self.doc.read(&path) {
            self.error(key, format!("cannot read {}: {e}", path.display()));
        }
        Some(path)
    }

    /// A secret: literal, `env:NAME` or `file:PATH`.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<Secret> {
        self.value(key)?.secret()
    }

    /// Reports what nobody asked for, and what is known but does nothing yet.
    pub(super) fn finish(self) {
        debug_assert!(
            self.keys.working.iter().all(|k| self.asked.contains(k))
                && self.asked.iter().all(|k| self.keys.working.contains(k)),
            "[{}]: the reader asks for {:?}, the list says {:?}",
            self.keys.table,
            self.asked,
            self.keys.working,
        );
        for key in self.table.into_iter().flatten().map(|(key, _)| key) {
            let name: &str = key.get_ref();
            let place = Place {
                path: self.path_of(name),
                offset: Some(key.span().start),
            };
            if self.keys.later.contains(&name) {
                self.doc
                    .error(&place, format!("`{name}` is not supported by this version"));
            } else if !self.keys.working.contains(&name) {
                let known = self.keys.working.join(", ");
                self.doc
                    .error(&place, format!("unknown key; known here: {known}"));
            }
        }
    }
}

/// One value and where it stands.
#[derive(Clone)]
pub(super) struct Value<'a> {
    pub(super) doc: &'a Document<'a>,
    pub(super) place: Place,
    value: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    /// Notes a mistake about it.
    pub(super) fn error(&self, message: impl Into<String>) {
        self.doc.error(&self.place, message);
    }

    fn expected<T>(&self, what: &str) -> Option<T> {
        self.error(format!("expected {what}"));
        None
    }

    /// A text. None of ours may hold a NUL: the protocol ends its texts with one.
    pub(super) fn string(&self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) if text.contains('\0') => self.expected("a text without NUL"),
            DeValue::String(text) => Some(text),
            _ => self.expected("a string"),
        }
    }

    /// A text with a grammar of its own.
    pub(super) fn parsed<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        parse(self.string()?)
            .map_err(|message| self.error(message))
            .ok()
    }

    /// A name of PostgreSQL: 1 to 63 bytes.
    pub(super) fn name(&self) -> Option<&'a str> {
        let text = self.string()?;
        if (1..=63).contains(&text.len()) {
            Some(text)
        } else {
            self.expected("1 to 63 bytes")
        }
    }

    /// A secret: literal, `env:NAME` or `file:PATH`.
    pub(super) fn secret(&self) -> Option<Secret> {
        resolve_secret(self.string()?, self.doc)
            .map(Secret::new)
            .map_err(|message| self.error(message))
            .ok()
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.string()?;
        let found = words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value);
        found.or_else(|| {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.expected(&format!("one of: {}", all.join(", ")))
        })
    }

    /// Yes or no.
    pub(super) fn switch(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(switch) => Some(*switch),
            _ => self.expected("true or false"),
        }
    }

    /// A whole number.
    pub(super) fn number(&self, range: RangeInclusive<usize>) -> Option<usize> {
        let DeValue::Integer(number) = self.value else {
            return self.expected("a whole number");
        };
        let text = number.as_str();
        // What does not fit 128 bits is far outside of any range, on the side its sign says.
        let outside = if text.starts_with('-') {
            i128::MIN
        } else {
            i128::MAX
        };
        let number = i128::from_str_radix(text, number.radix()).unwrap_or(outside);
        if number < *range.start() as i128 {
            self.error(format!("must be at least {}", range.start()));
        } else if number > *range.end() as i128 {
            self.error(format!("must be at most {}", range.end()));
        }
        usize::try_from(number).ok().filter(|n| range.contains(n))
    }

    fn is_empty_text(&self) -> bool {
        matches!(self.value, DeValue::String(text) if text.is_empty())
    }

    /// Whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// A table; what is none counts as empty.
    pub(super) fn section(self, keys: &'static Keys) -> Section<'a> {
        let table = match self.value {
            DeValue::Table(table) => Some(table),
            _ => self.expected("a table"),
        };
        Section::new(self.doc, self.place, table, keys)
    }

    /// The elements of an array.
    pub(super) fn items(&self) -> Vec<Self> {
        let DeValue::Array(array) = self.value else {
            return self.expected("an array").unwrap_or_default();
        };
        let item = |(i, value): (usize, &'a toml::Spanned<DeValue<'a>>)| Self {
            doc: self.doc,
            value: value.get_ref(),
            place: Place {
                path: format!("{}[{i}]", self.place.path),
                offset: Some(value.span().start),
            },
        };
        array.iter().enumerate().map(item).collect()
    }
}

fn resolve_secret(text: &str, doc: &Document<'_>) -> Result<String, String> {
    let secret = if let Some(name) = text.strip_prefix("env:") {
        (doc.env)(name).ok_or_else(|| format!("the environment variable `{name}` is not set"))?
    } else if let Some(path) = text.strip_prefix("file:") {
        let path = doc.folder().join(path);
        let unreadable = |e: &dyn fmt::Display| format!("cannot read {}: {e}", path.display());
        let contents = doc.read(&path).map_err(|e| unreadable(&e))?;
        let mut text = std::str::from_utf8(&contents)
            .map_err(|_| unreadable(&"it is not UTF-8"))?
            .to_owned();
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        text
    } else {
        text.to_owned()
    };
    match secret.as_str() {
        "" => Err("is empty; leave the key out for none".into()),
        s if s.contains('\0') => Err("expected a text without NUL".into()),
        _ => Ok(secret),
    }
}
