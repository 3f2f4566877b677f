//! Replies that are ours: answers to what we asked, words in which we passed a RESET on, and what the
//! client hears of settings while the server connection goes back to a start that is not the session's.

use super::Session;
use super::expected::Expected;
use super::flow::Flow;
use super::inquiry::Inquiry;
use super::link::{Parsed, Schema};
use super::reply::{Fate, Replies};
use super::settings::SettingChange;
use super::statement::NAME_PREFIX;
use crate::wire::frame;

impl Replies<'_> {
    /// Whether the next row answers a question of our own.
    pub(super) fn is_asked(&self) -> bool {
        matches!(
            self.link.expected.front(),
            Some(Expected::Inquiry(_) | Expected::Listing(_) | Expected::Verify(_))
        )
    }

    /// What is ours of a reply: the answers to what we asked, and the words in which we passed the
    /// client's RESET on. `None`: it is read as any other.
    #[cold]
    pub(super) fn own_reply(&mut self, tag: u8, body: &[u8], flow: &mut Flow<'_>) -> Option<Fate> {
        match (self.link.expected.front_mut()?, tag) {
            (Expected::Inquiry(inquiry), b'D') => {
                inquiry.read(body);
                Some(Fate::Swallow)
            }
            (Expected::Listing(rows), b'D') => {
                let mut columns = frame::columns(body)?;
                let mut text = || {
                    let column = columns.next().flatten().unwrap_or_default();
                    String::from_utf8_lossy(column).into_owned()
                };
                rows.push((text(), text()));
                Some(Fate::Swallow)
            }
            (Expected::Inquiry(_) | Expected::Listing(_), b'T' | b'C')
            | (Expected::Verify(_), b't')
            | (Expected::Own(_), b'D') => Some(Fate::Swallow),
            (Expected::Verify(statement), b'T' | b'n') => {
                let agrees = statement.told.agrees(tag, body);
                let id = statement.id;
                self.verified(id, agrees);
                self.answered();
                Some(Fate::Swallow)
            }
            (Expected::Own(ends), tag) if *ends == tag => {
                self.answered();
                Some(Fate::Swallow)
            }
            (Expected::SetQuery(change), b'C') if body == b"SET\0" => match **change {
                SettingChange::AllToStart => Some(Fate::Swallow),
                SettingChange::Restated(_) => self.restate(flow),
                _ => None,
            },
            (Expected::Set(change), b'C') if body == b"SET\0" => match **change {
                SettingChange::Restated(_) => self.restate(flow),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a statement is the one that the client knows.
    #[cold]
    pub(super) fn verified(&mut self, id: u64, agrees: bool) {
        if let Some(held) = self.link.prepared.get_mut(&id) {
            held.parse = if agrees { Parsed::Done } else { Parsed::Stale };
        }
        if !agrees {
            // Whoever prepares the text from now on gets a new statement.
            self.link.schema = self.link.schema.max(Schema::Relations);
        }
    }

    /// What we asked is answered.
    pub(super) fn inquired(&mut self, mut inquiry: Inquiry) {
        self.link.strange |= inquiry.strange;
        if let Some(session) = &mut self.session {
            inquiry.hide_login(&self.link.login);
            session.answered(inquiry);
        }
    }

    /// All settings go back to the server connection's start; what the server reports of it, from
    /// here to its ReadyForQuery, is not what the client is to hear.
    pub(super) fn hush(&mut self) {
        let fresh = &self.link.fresh;
        let other = |session: &&mut Session| !session.start.same(fresh);
        if self.link.hushed.is_none() && self.session.as_ref().is_some_and(other) {
            self.link.hushed = Some(self.link.reported.clone());
        }
    }

    /// What the client hears of settings: where the server connection is back at its own start it
    /// is the session's.
    pub(super) fn tell_start(&mut self, flow: &mut Flow<'_>) {
        let before = self.link.hushed.take().unwrap_or_default();
        let start = self.session.as_ref().map(|session| &session.start);
        let restarted = self.session.as_ref().map_or(&[][..], |s| s.restarted());
        for (name, now) in &self.link.reported {
            let heard = before.iter().find(|(n, _)| n == name);
            let at_start = self.link.fresh.shown(name) == Some(now);
            let folded = name.to_ascii_lowercase();
            let starts = start.filter(|s| at_start && s.start(&folded).is_some());
            let starts = starts.filter(|_| restarted.is_empty() || restarted.contains(&folded));
            let value = starts.and_then(|s| s.shown(name)).unwrap_or(now);
            if value != now {
                self.link.told.push((name.clone(), value.to_owned()));
            }
            if heard.is_none_or(|(_, heard)| heard != value) {
                let fields = [name.as_bytes(), b"\0", value.as_bytes(), b"\0"];
                frame::put(flow.own(), b'S', &fields);
            }
        }
    }

    /// Whether a ParameterStatus is no news to the client, who was told of it before it was true.
    pub(super) fn is_told(&mut self, body: &[u8]) -> bool {
        if self.link.told.is_empty() {
            return false;
        }
        let Some((name, value)) = frame::cstr(body) else {
            return false;
        };
        let value = value.strip_suffix(b"\0").unwrap_or(value);
        let told = &mut self.link.told;
        let Some(at) = told.iter().position(|(n, _)| n.as_bytes() == name) else {
            return false;
        };
        told.swap_remove(at).1.as_bytes() == value
    }

    /// Whether the client's statement may have lost startup values.
    pub(super) fn restarts(&self) -> bool {
        let front = self.link.expected.front();
        let own = front.is_some_and(Expected::is_swallowed);
        let session = self.session.as_ref();
        !own && session.is_some_and(|session| session.restarts())
    }

    pub(super) fn restate(&mut self, flow: &mut Flow<'_>) -> Option<Fate> {
        self.completed(b"RESET\0");
        frame::put(flow.own(), b'C', &[b"RESET\0"]);
        if matches!(self.link.expected.front(), Some(Expected::Set(_))) {
            self.answered();
        }
        Some(Fate::Swallow)
    }

    /// An error that names a statement as the server does, as the client does.
    pub(super) fn under_clients_names(&self, body: &[u8]) -> Option<Vec<u8>> {
        if !body
            .windows(NAME_PREFIX.len())
            .any(|part| part == NAME_PREFIX)
        {
            return None;
        }
        let mut text = String::from_utf8(body.to_vec()).ok()?;
        for (name, statement) in self.session.as_ref()?.names.iter() {
            let server_name = str::from_utf8(statement.server_name.split_last()?.1).ok()?;
            let quoted = |name: &str| format!("\"{name}\"");
            let own = String::from_utf8_lossy(name);
            text = text.replace(&quoted(server_name), &quoted(&own));
        }
        Some(text.into_bytes())
    }
}
