//! Settings that a session changes and that follow it to other server connections.
//!
//! A change counts when its transaction has: the reply says that it was made, ReadyForQuery that it
//! stays. An error or ROLLBACK takes it back, as the server does. Within the lease everything is
//! parsed for this session alone; at its end session and server connection both have the new list.
//! What would need more (savepoints, a RESET to a startup value that the server does not know,
//! names given under the former settings) pins instead.

use super::expected::Expected;
use super::link::Link;
use super::settings::{SettingChange, SettingsTable};
use super::{PoolMode, Session};
use crate::wire::sql::{PinReason, assignment};

/// Most settings that a session carries besides its startup settings.
const MOST: usize = 64;

/// What a session has changed since the last time that its list was brought up to date.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Made, but their transaction may still take them back.
    pending: Vec<SettingChange>,
    /// For good.
    settled: Vec<SettingChange>,
}

impl Session {
    /// A SET or RESET is about to be sent: what is expected of it, unless it pins the session or
    /// need not be carried.
    pub(super) fn carry(&mut self, text: &[u8], mode: PoolMode) -> Option<SettingChange> {
        if mode == PoolMode::Session || self.pin.is_some() {
            return None;
        }
        let found = assignment(text).filter(|a| {
            let full = self.settings.carried() >= MOST;
            let unknown_start = a.value.is_none() && self.settings.starts_with(&a.name);
            !full && !unknown_start && !self.savepoint
        });
        if found.is_none() {
            self.pin = Some(PinReason::Setting);
            return None;
        }
        self.local = true;
        self.changes.get_or_insert_default();
        found.map(SettingChange::from)
    }

    /// A savepoint could take back a part of what was changed.
    pub(super) fn note_savepoint(&mut self) {
        self.savepoint = true;
        if self.changes.is_some() {
            self.pin = self.pin.or(Some(PinReason::Setting));
        }
    }

    /// The server has made a change.
    pub(super) fn changed(&mut self, change: SettingChange) {
        self.changes.get_or_insert_default().pending.push(change);
    }

    /// All settings are back at their start, for good.
    pub(super) fn reset_all(&mut self) {
        let changes = self.changes.get_or_insert_default();
        changes.pending.clear();
        changes.settled = vec![SettingChange::ResetAll];
    }

    /// The transaction was taken back.
    #[inline]
    pub(super) fn unchange(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.pending.clear();
        }
    }

    /// The transaction has ended well.
    #[inline]
    pub(super) fn settle_changes(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.settled.append(&mut changes.pending);
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
        let settled = std::mem::take(&mut changes.settled);
        let wanted = table.change(&self.settings, &settled);
        // A RESET ALL was taken note of when it happened.
        link.settings = table.change(
            &link.settings,
            settled.iter().filter(|c| **c != SettingChange::ResetAll),
        );
        let reread = wanted.scope != self.settings.scope && !self.names.is_empty();
        self.settings = wanted;
        if reread && self.pin.is_none() {
            // Elsewhere they would be parsed under the new settings, and for others, too.
            self.pin = Some(PinReason::Setting);
        }
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
