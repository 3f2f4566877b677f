//! What a CommandComplete tells: names of statements that vanish, settings that change, the schema.

use super::expected::Expected;
use super::link::{CopyIn, Schema};
use super::reply::Replies;
use super::settings::SettingChange;

impl Replies<'_> {
    /// CommandComplete: some commands make prepared statements vanish.
    pub(super) fn completed(&mut self, body: &[u8]) {
        self.link.copy = CopyIn::None;
        self.link.schema = self.link.schema.max(changed_by(body));
        if matches!(body, b"RESET\0" | b"SET\0") && self.restarts() {
            self.hush();
        }
        self.note_changes(body);
        let Some(b"DEALLOCATE ALL\0" | b"DISCARD ALL\0" | b"DEALLOCATE\0") = Some(body) else {
            return;
        };
        if let Some(Expected::Deallocate(name, statement)) = self.link.expected.front() {
            self.link.prepared.remove(&statement.id);
            if let Some(session) = &mut self.session {
                session.names.remove(name);
            }
        } else if body == b"DEALLOCATE\0" {
            if let Some((name, statement)) = self.link.deallocates.pop_front() {
                self.link.prepared.remove(&statement.id);
                if let Some(session) = &mut self.session {
                    session.names.remove(&name);
                }
            }
        } else {
            self.link.forget_all();
            if body == b"DISCARD ALL\0" {
                self.hush();
                self.link.strange = false;
                self.all_reset(SettingChange::Discard);
                if self.link.awaiting
                    && let Some(session) = &mut self.session
                {
                    // Nothing was sent behind it; what it finds is not the session's start.
                    session.ask_nothing();
                }
                if let Some(Expected::Set(_)) = self.link.expected.front()
                    && let Some(session) = &self.session
                {
                    // Its startup settings follow in the same batch.
                    self.link.settings = std::rc::Rc::clone(&session.start);
                    self.link.restarts = true;
                }
            }
            if let Some(session) = &mut self.session {
                session.names.forget_all(&self.link.journal);
            }
        }
    }

    /// The server connection is as it was when it was fresh, and so is its session.
    pub(super) fn all_reset(&mut self, how: SettingChange) {
        // RESET ALL leaves the role.
        self.link.strange |= self.link.settings.has_role() && how == SettingChange::ResetAll;
        self.link.settings = std::rc::Rc::clone(&self.link.fresh);
        if let Some(session) = &mut self.session {
            session.reset_all(how);
        }
    }

    /// What a completed command did to the session's settings.
    fn note_changes(&mut self, tag: &[u8]) {
        let Some(session) = self.session.as_deref_mut().filter(|s| s.changes_settings()) else {
            return;
        };
        match tag {
            b"COMMIT\0" => session.settle_changes(self.link.changes_due(false)),
            b"ROLLBACK\0" => session.unchange(self.link.changes_due(false)),
            _ => {
                let front = self.link.expected.front();
                if let Some(change) = front.and_then(|front| front.change(tag)) {
                    session.changed(change);
                }
            }
        }
    }
}

/// What a CommandComplete tells to have changed of the schema.
fn changed_by(tag: &[u8]) -> Schema {
    if !matches!(tag.first(), Some(b'A' | b'C' | b'D')) {
        return Schema::Same;
    }
    let begins = |words: &[&[u8]]| words.iter().any(|word| tag.starts_with(word));
    if begins(&[
        b"DROP",
        b"CREATE TABLE",
        b"ALTER TABLE",
        b"CREATE INDEX",
        b"CREATE SEQUENCE",
    ]) {
        Schema::Relations
    } else if begins(&[b"CREATE", b"ALTER", b"DO\0", b"CALL\0"]) {
        Schema::Routines
    } else {
        Schema::Same
    }
}
