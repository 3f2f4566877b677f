//! Settings that a session changes and that follow it to other server connections.
//!
//! A change counts when its transaction has: the reply says that it was made, ReadyForQuery that it
//! stays. An error or ROLLBACK takes it back, as the server does. Within the lease everything is
//! parsed for this session alone; at its end session and server connection both have the new list.
//! Where there are savepoints the values are asked for instead. Names given under settings by which
//! their texts were read otherwise pin.

use std::rc::Rc;

use super::expected::Expected;
use super::link::Link;
use super::settings::{Given, SettingChange, SettingsTable, is_frozen};
use super::{PoolMode, Scope, Session, Settings};
use crate::wire::sql::{Named, PinReason, assignment, named_settings, reset_name};

/// Most settings that a session carries besides its startup settings.
pub(super) const MOST: usize = 64;

/// What a session has changed since the last time that its list was brought up to date.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Made, but their transaction may still take them back.
    pending: Vec<SettingChange>,
    /// Sent, in that order: not answered yet, or made in a transaction that is not over.
    sent: Vec<SettingChange>,
    /// For good.
    pub(super) settled: Vec<SettingChange>,
    /// Reset among other statements of one text, although they have a startup value.
    pub(super) restarted: Vec<String>,
    /// When it was asked what is settled now, if it was, by [`Session`]'s count of changes.
    pub(super) since: Option<u32>,
    /// To be asked for when the transaction is over.
    pub(super) asked: Vec<String>,
}

impl Changes {
    /// What was sent is answered, but for the last ones.
    fn forget_answered(&mut self, due: usize) {
        let answered = self.sent.len().saturating_sub(due);
        self.sent.drain(..answered);
    }
}

/// Ends the text of a SET that stands for the client's RESET.
const IS_RESET: &[u8] = b"/*RESET*/";

impl Session {
    /// A SET or RESET is about to be sent: what is expected of it, unless it need not be carried.
    pub(super) fn carry(&mut self, text: &[u8], mode: PoolMode) -> Option<SettingChange> {
        if mode == PoolMode::Session || self.fixed {
            return None;
        }
        let Some(found) = assignment(text) else {
            self.ask_by_text(text);
            return None;
        };
        if self.settings.carried() >= MOST {
            self.ask_for(std::iter::once(found.name));
            return None;
        }
        self.parse_for_itself();
        self.frozen |= is_frozen(&found.name);
        let change = SettingChange::from(found);
        Some(self.note_sent(change))
    }

    /// As [`Session::carry`], for a sole RESET ALL.
    pub(super) fn carry_reset(&mut self) -> SettingChange {
        self.parse_for_itself();
        self.expect_changes();
        self.note_sent(SettingChange::AllToStart)
    }

    /// Under which settings a text is read that is sent now, where that can be told: what an error
    /// takes back is known by then, see [`Session::must_be_settled`].
    pub(super) fn reading_now(&self) -> Option<Rc<Settings>> {
        if !self.frozen && !self.unsure {
            return Some(Rc::clone(&self.settings));
        }
        let changes = self.changes.as_ref()?;
        let asked = changes.asked.iter().any(|name| is_frozen(name));
        let told = !self.unsure && !self.frozen_locally && !self.savepoint && !asked;
        told.then(|| Rc::new(self.settings.after(&changes.sent)))
    }

    /// Settings that were sent in this lease, by name.
    pub(super) fn sent_names(&self) -> impl Iterator<Item = &str> {
        let sent = self.changes.iter().flat_map(|changes| &changes.sent);
        sent.filter_map(SettingChange::name)
    }

    /// What sets a setting to what it is now, in this transaction.
    pub(super) fn said_now(&self, name: &str) -> String {
        let sent = self.changes.iter().flat_map(|c| c.sent.iter().rev());
        for change in sent {
            match change {
                SettingChange::Set(n, given) if n == name => return given.said(name),
                SettingChange::Reset(n) | SettingChange::Restated(n) if n == name => {
                    return self.start.said(name);
                }
                SettingChange::Set(..)
                | SettingChange::Reset(_)
                | SettingChange::Restated(_)
                | SettingChange::Lost(_) => {}
                SettingChange::AllToStart | SettingChange::ResetAll | SettingChange::Discard => {
                    return self.start.said(name);
                }
            }
        }
        self.settings.said(name)
    }

    /// What a RESET must say to a server that does not know the session's startup value.
    pub(super) fn restated(&self, text: &[u8]) -> Option<String> {
        if self.settings.list().is_empty() {
            return None;
        }
        let name = reset_name(text)?;
        let start = self.settings.start(&name)?;
        // A part of a date style would be added to what is there.
        let whole = self.start.shown(&name).unwrap_or(start);
        let value = as_sql(&name, whole)?;
        let verb = text.iter().find(|byte| byte.is_ascii_alphabetic());
        let mark = if matches!(verb, Some(b'R' | b'r')) {
            str::from_utf8(IS_RESET).unwrap_or_default()
        } else {
            ""
        };
        Some(format!("SET {name} = {value}{mark}"))
    }

    /// What is expected of the SET that stands for a RESET.
    pub(super) fn carry_restated(&mut self, text: &[u8]) -> Option<SettingChange> {
        if !text.ends_with(IS_RESET) {
            return None;
        }
        let name = named_settings(text)?.pop()?;
        let Named::Text(name) = name else { return None };
        self.parse_for_itself();
        self.expect_changes();
        Some(self.note_sent(SettingChange::Restated(name)))
    }

    /// Each is expected, too: [`Link::changes_due`].
    pub(super) fn note_sent(&mut self, change: SettingChange) -> SettingChange {
        let changes = self.changes.get_or_insert_default();
        changes.sent.push(change.clone());
        change
    }

    /// A sole RESET ALL, followed by the session's startup settings.
    pub(super) fn reset_to_start(&self) -> Option<String> {
        let mut sql = "RESET ALL".to_owned();
        for (name, value) in self.settings.list() {
            sql = format!("{sql};SET {name} = {}", as_sql(name, value)?);
        }
        Some(sql)
    }

    /// All startup values may be lost to those of the server.
    pub(super) fn restart_all(&mut self) {
        if self.start.list().is_empty() {
            return;
        }
        let names: Vec<String> = self.start.names().map(str::to_owned).collect();
        self.changes.get_or_insert_default().restarted.extend(names);
    }

    /// Startup values that may be lost to those of the server, by name.
    pub(super) fn restarted(&self) -> &[String] {
        self.changes
            .as_ref()
            .map_or(&[], |changes| &changes.restarted)
    }

    /// Whether startup values may be lost to those of the server.
    pub(super) fn restarts(&self) -> bool {
        !self.restarted().is_empty()
    }

    /// All settings have changed in a transaction that may take it back.
    pub(super) fn ask_about_all(&mut self) {
        // One that is not answered yet may be made before this.
        let changes = self.changes.iter();
        let pending = changes.flat_map(|changes| changes.pending.iter().chain(&changes.sent));
        let pending = pending.filter_map(SettingChange::name);
        let names: Vec<String> = self
            .settings
            .names()
            .chain(pending)
            .map(str::to_owned)
            .collect();
        self.expect_changes();
        self.ask_for(names.into_iter());
    }

    /// A savepoint could take back a part of what was changed.
    pub(super) fn note_savepoint(&mut self) {
        self.savepoint = true;
        let Some(changes) = &mut self.changes else {
            return;
        };
        let pending = std::mem::take(&mut changes.pending);
        for change in pending {
            self.ask_about(change);
        }
    }

    /// The outcome of a change is asked for.
    fn ask_about(&mut self, change: SettingChange) {
        match change {
            SettingChange::Set(name, _)
            | SettingChange::Reset(name)
            | SettingChange::Restated(name)
            | SettingChange::Lost(name) => {
                self.ask_for(std::iter::once(name));
            }
            SettingChange::AllToStart | SettingChange::ResetAll | SettingChange::Discard => {
                self.ask_about_all();
            }
        }
    }

    /// All settings are about to change.
    pub(super) fn expect_changes(&mut self) {
        let changes = self.changes.get_or_insert_default();
        let pending = changes
            .pending
            .iter()
            .any(|change| change.name().is_none_or(is_frozen));
        let asked = changes.asked.iter().any(|name| is_frozen(name));
        self.frozen |= pending || asked || self.settings.names().any(is_frozen);
    }

    /// The server has made a change.
    pub(super) fn changed(&mut self, change: SettingChange) {
        if self.savepoint {
            return self.ask_about(change);
        }
        self.changes.get_or_insert_default().pending.push(change);
    }

    /// All settings are back at their start, for good.
    pub(super) fn reset_all(&mut self, how: SettingChange) {
        let changes = self.changes.get_or_insert_default();
        changes.pending.clear();
        changes.since = None;
        changes.settled = vec![how];
    }

    /// Whatever was to be asked for is known.
    pub(super) fn ask_nothing(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.asked.clear();
        }
    }

    /// The transaction was taken back. `due`: changes that were sent behind it.
    #[inline]
    pub(super) fn unchange(&mut self, due: usize) {
        if let Some(changes) = &mut self.changes {
            self.verify |= !changes.asked.is_empty();
            changes.pending.clear();
            changes.forget_answered(due);
            self.epoch = self.epoch.wrapping_add(1);
        }
    }

    /// The transaction has ended well. `due`: changes that were sent behind it.
    #[inline]
    pub(super) fn settle_changes(&mut self, due: usize) {
        if let Some(changes) = &mut self.changes {
            if !changes.pending.is_empty() {
                changes.since = None;
            }
            changes.settled.append(&mut changes.pending);
            changes.forget_answered(due);
        }
    }

    /// Whether a setting was sent in this lease.
    #[inline]
    pub(super) fn changes_settings(&self) -> bool {
        self.changes.is_some()
    }

    /// Whether there is something for [`Session::adopt`].
    #[inline]
    pub fn has_changed(&self) -> bool {
        self.changes
            .as_ref()
            .is_some_and(|changes| !changes.settled.is_empty())
    }

    /// Brings the lists of session and server connection up to date.
    pub fn adopt(&mut self, link: &mut Link, table: &mut SettingsTable) {
        let Some(changes) = &mut self.changes else {
            return;
        };
        let since = changes.since.take();
        let settled = std::mem::take(&mut changes.settled);
        let wanted = table.change(&self.settings, &settled);
        for change in &settled {
            link.settings = match change {
                // Note of it was taken when it happened.
                SettingChange::ResetAll | SettingChange::Discard => continue,
                SettingChange::Lost(name) => table.without(&link.settings, name),
                SettingChange::AllToStart => table.with_start(&self.start, &link.settings),
                // Sent in the place of a RESET: the session's start, whatever was there.
                SettingChange::Restated(name) => {
                    let start = self.start.start(name).unwrap_or_default();
                    let value = Given::Raw(start.to_owned());
                    table.change(&link.settings, [&SettingChange::Set(name.clone(), value)])
                }
                change => table.change(&link.settings, [change]),
            };
        }
        self.settings = wanted;
        if !self.settings.shareable {
            self.pin_for_good(PinReason::Setting);
        }
        if let Some(since) = since.filter(|_| !self.frozen_locally) {
            // What was parsed behind what was asked for was read under what is there now.
            let since = Scope::Private(self.serial(), since);
            for (_, statement) in self.names.iter().filter(|(_, s)| s.is_of(since)) {
                statement.read_under(&self.settings);
            }
        }
    }
}

/// A startup value as SQL text that needs no decoding; `None`: it cannot be said so.
pub(super) fn as_sql(name: &str, value: &str) -> Option<String> {
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b));
    if !plain || !value.is_ascii() || value.contains(['\\', '\0']) {
        return None;
    }
    if !LISTS.contains(&name) {
        return Some(format!("'{}'", value.replace('\'', "''")));
    }
    let quoted = |part: &str| {
        let part = part.trim();
        if part.starts_with('"') {
            part.to_owned()
        } else {
            format!("\"{}\"", part.to_ascii_lowercase())
        }
    };
    let parts: Vec<String> = value.split(',').map(quoted).collect();
    // A comma within quotes is not a separator.
    let whole = parts
        .iter()
        .all(|part| part.len() > 2 && part.ends_with('"'));
    whole.then(|| parts.join(", "))
}

/// Settings whose value is a list of names (`GUC_LIST_QUOTE`).
const LISTS: [&str; 4] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "temp_tablespaces",
];

impl Link {
    /// How many changes of settings were sent behind the request that is answered now. `skipped`: so
    /// are those before the next Sync.
    pub(super) fn changes_due(&self, skipped: bool) -> usize {
        let sync = |e: &Expected| matches!(e, Expected::Sync(_));
        let ends = skipped.then(|| self.expected.iter().position(sync));
        let from = ends.map_or(1, |end| end.unwrap_or(self.expected.len()));
        let behind = self.expected.iter().skip(from);
        let changes = |e: &&Expected| matches!(e, Expected::SetQuery(_) | Expected::Set(_));
        behind.filter(changes).count()
    }
}

impl Expected {
    /// The change that this request makes when it is completed with that command tag.
    pub(super) fn change(&self, tag: &[u8]) -> Option<SettingChange> {
        match self {
            Self::SetQuery(change) | Self::Set(change) if matches!(tag, b"SET\0" | b"RESET\0") => {
                Some((**change).clone())
            }
            _ => None,
        }
    }
}
