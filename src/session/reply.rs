//! The server's side: what each of its messages answers, and what of it goes to the client.
//!
//! Manual 55.2.2 to 55.2.6 say which messages answer a request; `facts` that they do not say (the
//! Sync that COPY eats, what an error skips) are in `docs/design/session.md`.

use super::Session;
use super::expected::{By, Change, Expected, Feed};
use super::flow::Flow;
use super::inquiry::Inquiry;
use super::link::{
    Batch, Bound, CopyIn, Link, Parsed, Prepared, Reset, Schema, Standing, TxStatus, Unnamed,
};
use super::settings::SettingChange;
use super::statement::{NAME_PREFIX, Statement};
use crate::wire::frame::{self, HEADER, PARSE_COMPLETE};

/// Longest message of the server that is looked at as a whole; longer ones pass in pieces.
const WHOLE: usize = 64 * 1024;

/// The server's messages do not fit what was asked: nobody knows whose replies come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Desync {
    /// A reply that answers nothing.
    #[error("the server sent message {0:?}, which answers nothing that was asked")]
    Unasked(char),
    /// A message that cannot be.
    #[error("the server sent a message with an impossible length")]
    Length,
    /// The session's startup settings, accepted before, failed this time.
    #[error("the server refused settings that it had accepted before")]
    Settings,
}

/// The replies of a server connection: to its session, or to our own queries if nobody leases it.
#[derive(Debug)]
pub struct Replies<'a> {
    /// Who leases the server connection.
    pub session: Option<&'a mut Session>,
    /// The server connection.
    pub link: &'a mut Link,
}

impl Replies<'_> {
    /// Reads replies. Returns how many bytes were used; the rest is the start of a message.
    pub fn read(&mut self, input: &[u8], flow: &mut Flow<'_>) -> Result<usize, Desync> {
        let mut at = 0;
        loop {
            if self.link.left > 0 {
                let end = at + self.link.left.min(input.len() - at);
                if !self.link.left_swallowed {
                    flow.pass(at..end);
                }
                self.link.left -= end - at;
                at = end;
                if self.link.left == 0 {
                    self.answer_local(flow);
                }
            }
            let Some(head) = frame::header(&input[at..]).map_err(|_| Desync::Length)? else {
                return Ok(at);
            };
            let whole = input.len() - at >= head.total;
            let read =
                || needs_whole(head.tag) || (matches!(head.tag, b'D' | b'T') && self.is_asked());
            if !whole && head.total <= WHOLE && read() {
                return Ok(at);
            }
            let end = (at + head.total).min(input.len());
            let body = &input[at + HEADER..end];
            self.link.left = at + head.total - end;
            self.link.left_swallowed = self.message(head.tag, body, flow)? == Fate::Swallow;
            if !self.link.left_swallowed {
                flow.pass(at..end);
            }
            if self.link.left == 0 {
                // The server may say no more: the client may have asked for a flush only.
                self.answer_local(flow);
            }
            at = end;
        }
    }

    /// What one message answers, and whether the client sees it.
    #[inline]
    fn message(&mut self, tag: u8, body: &[u8], flow: &mut Flow<'_>) -> Result<Fate, Desync> {
        match tag {
            b'D' | b'd' | b'c' | b'T' | b'H' | b'W' | b'C' | b'Z' | b't' | b'n' | b'1' | b'2'
            | b'3' | b'I' | b's' | b'V' | b'G' => self.reply(tag, body, flow),
            b'E' => {
                let renamed = self.under_clients_names(body);
                let fate = self.error(body, flow);
                match renamed.filter(|_| fate == Fate::Pass) {
                    Some(body) => {
                        frame::put(flow.own(), b'E', &[&body]);
                        Ok(Fate::Swallow)
                    }
                    None => Ok(fate),
                }
            }
            b'S' => {
                let news = self.link.note_parameter(body);
                if !news || self.link.hushed.is_some() {
                    return Ok(Fate::Swallow);
                }
                Ok(self.unasked(flow))
            }
            b'A' if self.session.is_some() => {
                self.answer_local(flow);
                Ok(Fate::Pass)
            }
            b'N' | b'A' => {
                let fate = self.unasked(flow);
                if fate == Fate::Swallow {
                    self.link.note_notice(tag, body);
                }
                Ok(fate)
            }
            _ => Err(Desync::Unasked(char::from(tag))),
        }
    }

    /// An error that names a statement as the server does, as the client does.
    fn under_clients_names(&self, body: &[u8]) -> Option<Vec<u8>> {
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

    /// Messages that come by themselves go to whoever leases, unless our own query caused them.
    fn unasked(&mut self, flow: &mut Flow<'_>) -> Fate {
        self.answer_local(flow);
        let own = self
            .link
            .expected
            .front()
            .is_some_and(Expected::is_swallowed);
        if own || self.session.is_none() {
            Fate::Swallow
        } else {
            Fate::Pass
        }
    }

    /// Whether the next row answers a question of our own.
    fn is_asked(&self) -> bool {
        matches!(
            self.link.expected.front(),
            Some(Expected::Inquiry(_) | Expected::Listing(_) | Expected::Verify(_))
        )
    }

    /// What is ours of a reply: the answers to what we asked, and the words in which we passed the
    /// client's RESET on. `None`: it is read as any other.
    #[cold]
    fn own_reply(&mut self, tag: u8, body: &[u8], flow: &mut Flow<'_>) -> Option<Fate> {
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
            (Expected::Inquiry(_) | Expected::Listing(_), b'T' | b'C') => Some(Fate::Swallow),
            (Expected::SetQuery(change), b'C') if body == b"SET\0" => match **change {
                SettingChange::AllToStart => Some(Fate::Swallow),
                SettingChange::Restated(_) => self.restate(flow),
                _ => None,
            },
            (Expected::Set(change), b'C') if **change == SettingChange::ServerReset => {
                self.hush();
                None
            }
            (Expected::Set(change), b'C') if body == b"SET\0" => match **change {
                SettingChange::Restated(_) => self.restate(flow),
                _ => None,
            },
            _ => None,
        }
    }

    /// All settings go back to the server connection's start; what the server reports of it, from
    /// here to its ReadyForQuery, is not what the client is to hear.
    fn hush(&mut self) {
        let fresh = &self.link.fresh;
        let other = |session: &&mut Session| !session.start.same(fresh);
        if self.link.hushed.is_none() && self.session.as_ref().is_some_and(other) {
            self.link.hushed = Some(self.link.reported.clone());
        }
    }

    /// What the client hears of settings: where the server connection is back at its own start it
    /// is the session's.
    fn tell_start(&mut self, flow: &mut Flow<'_>) {
        let before = self.link.hushed.take().unwrap_or_default();
        let start = self.session.as_ref().map(|session| &session.start);
        let restarted = self.session.as_ref().map_or(&[][..], |s| s.restarted());
        for (name, now) in &mut self.link.reported {
            let told = before.iter().find(|(n, _)| n == name);
            let at_start = self.link.fresh.shown(name) == Some(now);
            let folded = name.to_ascii_lowercase();
            let starts = start.filter(|s| at_start && s.start(&folded).is_some());
            let starts = starts.filter(|_| restarted.is_empty() || restarted.contains(&folded));
            if let Some(value) = starts.and_then(|s| s.shown(name)) {
                value.clone_into(now);
            }
            if told.is_none_or(|(_, told)| told != now) {
                let fields = [name.as_bytes(), b"\0", now.as_bytes(), b"\0"];
                frame::put(flow.own(), b'S', &fields);
            }
        }
    }

    /// Whether the client's statement may have lost startup values.
    fn restarts(&self) -> bool {
        let front = self.link.expected.front();
        let own = front.is_some_and(Expected::is_swallowed);
        let session = self.session.as_ref();
        !own && session.is_some_and(|session| session.restarts())
    }

    fn restate(&mut self, flow: &mut Flow<'_>) -> Option<Fate> {
        self.completed(b"RESET\0");
        frame::put(flow.own(), b'C', &[b"RESET\0"]);
        if matches!(self.link.expected.front(), Some(Expected::Set(_))) {
            self.answered();
        }
        Some(Fate::Swallow)
    }

    fn reply(&mut self, tag: u8, body: &[u8], flow: &mut Flow<'_>) -> Result<Fate, Desync> {
        self.answer_local(flow);
        if tag == b'Z' && self.link.hushed.is_some() {
            self.tell_start(flow);
        }
        if let Some(
            Expected::Inquiry(_) | Expected::Listing(_) | Expected::SetQuery(_) | Expected::Set(_),
        ) = self.link.expected.front()
            && let Some(fate) = self.own_reply(tag, body, flow)
        {
            return Ok(fate);
        }
        let Some(front) = self.link.expected.front() else {
            return Err(Desync::Unasked(char::from(tag)));
        };
        let fate = if front.is_swallowed() {
            Fate::Swallow
        } else {
            Fate::Pass
        };
        let done = match (front, tag) {
            (
                Expected::Query(_) | Expected::Deallocate(..) | Expected::SetQuery(_),
                b'T' | b'D' | b'd' | b'c' | b'I' | b'H',
            )
            | (Expected::Execute(_), b'D' | b'd' | b'c' | b'H')
            | (Expected::Verify(_), b't')
            | (Expected::Call, b'V') => false,
            (Expected::Query(_) | Expected::Deallocate(..) | Expected::SetQuery(_), b'C') => {
                self.completed(body);
                false
            }
            (Expected::Execute(Feed::Ended(syncs)), b'G') => {
                let syncs = *syncs;
                self.link.expected.drain(1..=syncs);
                false
            }
            (Expected::Query(By::Client), b'W') if self.link.fresh.replicates() => {
                self.link.streams = true;
                self.copy_begins();
                false
            }
            (Expected::Query(_) | Expected::Execute(Feed::Due), b'G') => {
                self.copy_begins();
                false
            }
            (Expected::Execute(_) | Expected::Set(_), b'C') => {
                self.completed(body);
                true
            }
            (Expected::Execute(_), b'I' | b's')
            | (
                Expected::Parse(..) | Expected::ParseUnnamed(_) | Expected::ParseVerbatim(_),
                b'1',
            )
            | (Expected::Bind, b'2')
            | (Expected::Close(_) | Expected::CloseUnnamed(_) | Expected::Evict(_), b'3') => true,
            (Expected::Own(_), b'D') => false,
            (Expected::Describe(of), b't' | b'T' | b'n') => {
                if let Some(statement) = of.as_ref().filter(|_| self.link.left == 0) {
                    statement.told.note(tag, body);
                }
                tag != b't'
            }
            (Expected::Verify(statement), b'T' | b'n') => {
                let agrees = statement.told.agrees(tag, body);
                let id = statement.id;
                self.verified(id, agrees);
                true
            }
            (Expected::Own(ends), tag) if *ends == tag => true,
            (
                Expected::Query(_)
                | Expected::Deallocate(..)
                | Expected::SetQuery(_)
                | Expected::RefusedQuery(_)
                | Expected::Inquiry(_)
                | Expected::Listing(_)
                | Expected::Call
                | Expected::Sync(_),
                b'Z',
            ) => {
                self.ready(body)?;
                true
            }
            _ => return Err(Desync::Unasked(char::from(tag))),
        };
        if done {
            self.answered();
        }
        Ok(fate)
    }

    /// The first request has had its whole reply.
    #[inline]
    fn answered(&mut self) {
        let Some(answered) = self.link.expected.pop_front() else {
            return;
        };
        if answered.is_journalled() {
            self.link.journal.pop_front();
        }
        match answered {
            Expected::Execute(_) => {
                if !self.link.may_copy() {
                    self.link.bound = Bound::Plain;
                }
            }
            Expected::Parse(by, statement) => self.parsed(by, &statement),
            Expected::Inquiry(inquiry) => self.inquired(*inquiry),
            Expected::Listing(rows) => self.link.listed = Some(rows),
            _ => {}
        }
    }

    /// A server connection has a statement that it had not. One that is to be verified is not
    /// there before that.
    fn parsed(&mut self, by: By, statement: &Statement) {
        statement.prove();
        let standing = self.link.standing(statement, usize::MAX);
        let verified = by == By::Proxy && standing == Standing::Undecided;
        let held = self.link.prepared.get_mut(&statement.id);
        if let Some(held) = held.filter(|_| !verified) {
            held.parse = Parsed::Done;
        }
    }

    /// What we asked is answered.
    fn inquired(&mut self, mut inquiry: Inquiry) {
        self.link.strange |= inquiry.strange;
        if let Some(session) = &mut self.session {
            inquiry.hide_login(&self.link.login);
            session.answered(inquiry);
            self.link.strange |= std::mem::take(&mut session.lost_start);
        }
    }

    /// Whether a statement is the one that the client knows.
    #[cold]
    fn verified(&mut self, id: u64, agrees: bool) {
        if let Some(held) = self.link.prepared.get_mut(&id) {
            held.parse = if agrees { Parsed::Done } else { Parsed::Stale };
        }
        if !agrees {
            // Whoever prepares the text from now on gets a new statement.
            self.link.schema = self.link.schema.max(Schema::Relations);
        }
    }

    /// Gives the client the replies that we owe it before the next one of the server.
    #[inline(always)]
    pub(super) fn answer_local(&mut self, flow: &mut Flow<'_>) {
        let front = self.link.expected.front();
        if matches!(front, Some(Expected::LocalParse | Expected::LocalClose)) {
            self.answer_locals(flow);
        }
    }

    fn answer_locals(&mut self, flow: &mut Flow<'_>) {
        while let Some(front) = self.link.expected.front() {
            let reply: &[u8] = match front {
                Expected::LocalParse => PARSE_COMPLETE,
                Expected::LocalClose => b"3\0\0\0\x04",
                _ => return,
            };
            flow.own().extend_from_slice(reply);
            self.link.expected.pop_front();
            self.link.journal.pop_front();
        }
    }

    /// CopyInResponse. A Sync that was sent behind the Execute is eaten.
    fn copy_begins(&mut self) {
        let link = &mut *self.link;
        link.copy = CopyIn::Reading {
            sync_dropped: false,
            fed: false,
        };
        link.bound = Bound::Plain;
        while matches!(link.expected.get(1), Some(Expected::Sync(By::Client))) {
            link.expected.remove(1);
            // A simple query's own ReadyForQuery ends it; Execute waits for a further Sync.
            if let [Expected::Execute(_)] = link.expected.make_contiguous() {
                link.batch = Batch::Open;
            }
        }
    }

    fn ready(&mut self, body: &[u8]) -> Result<(), Desync> {
        self.link.status = match body {
            b"I" => TxStatus::Idle,
            b"T" => TxStatus::Open,
            b"E" => TxStatus::Failed,
            _ => return Err(Desync::Unasked('Z')),
        };
        self.link.copy = CopyIn::None;
        self.link.streams = false;
        let last = self.link.expected.len() == 1;
        self.link.commit &= !last;
        self.link.forgets &= !last;
        if last {
            self.link.deallocates.clear();
        }
        self.link.copy_portal &= self.link.status == TxStatus::Open;
        if self.link.status == TxStatus::Idle
            && let Some(session) = &mut self.session
        {
            session.settle_changes();
        }
        let by_client = matches!(
            self.link.expected.front(),
            Some(Expected::Query(By::Client))
        );
        if by_client && std::mem::replace(&mut self.link.reset, Reset::None) == Reset::Seen {
            self.all_reset(SettingChange::ResetAll);
        }
        Ok(())
    }

    /// CommandComplete: some commands make prepared statements vanish.
    fn completed(&mut self, body: &[u8]) {
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
            }
            if let Some(session) = &mut self.session {
                session.names.forget_all(&self.link.journal);
            }
        }
    }

    /// The server connection is as it was when it was fresh, and so is its session.
    fn all_reset(&mut self, how: SettingChange) {
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
            b"COMMIT\0" => session.settle_changes(),
            b"ROLLBACK\0" => session.unchange(),
            _ => {
                let front = self.link.expected.front();
                if let Some(change) = front.and_then(|front| front.change(tag)) {
                    session.changed(change);
                }
            }
        }
    }

    fn error(&mut self, body: &[u8], flow: &mut Flow<'_>) -> Fate {
        self.answer_local(flow);
        let own = matches!(
            self.link.expected.front(),
            Some(Expected::Query(By::Proxy) | Expected::Inquiry(_))
        );
        if let Some(session) = self.session.as_mut().filter(|_| !own) {
            session.unchange();
        }
        let fed = self.link.copy;
        self.link.reset = Reset::None;
        self.link.hushed = None;
        if is_stale_plan(body) {
            self.link.schema = self.link.schema.max(Schema::Relations);
        }
        let told = !self
            .link
            .expected
            .front()
            .is_some_and(Expected::is_swallowed);
        self.link.fatal |= told && is_fatal(body);
        self.link.copy = CopyIn::None;
        match self.link.expected.front_mut() {
            Some(Expected::Query(By::Proxy) | Expected::Listing(_)) => {
                self.link.fault = Some(body.into());
                Fate::Swallow
            }
            Some(Expected::Inquiry(_)) => Fate::Swallow,
            Some(Expected::RefusedQuery(told)) => {
                flow.own().extend_from_slice(told);
                Fate::Swallow
            }
            Some(
                Expected::Query(_)
                | Expected::Deallocate(..)
                | Expected::SetQuery(_)
                | Expected::Call
                | Expected::Sync(_),
            ) => Fate::Pass,
            None => self.unasked(flow),
            Some(front) => {
                let refused = match front {
                    Expected::RefusedBind(told) => Some(std::mem::take(told)),
                    _ => None,
                };
                self.skip_to_sync();
                if let Some(told) = refused {
                    flow.own().extend_from_slice(&told);
                    return Fate::Swallow;
                }
                // The Sync behind COPY's Execute was kept from the server, which now waits for it.
                if let CopyIn::Reading {
                    sync_dropped: true,
                    fed: false,
                } = fed
                    && let Some(session) = &mut self.session
                {
                    session.owes_sync = true;
                }
                match self.link.expected.front() {
                    Some(Expected::Sync(By::Proxy)) => Fate::Swallow,
                    _ => Fate::Pass,
                }
            }
        }
    }

    /// The server answers nothing more of this batch: takes back what the skipped requests did, the
    /// last one first, since a statement may have been evicted and parsed again within the batch.
    fn skip_to_sync(&mut self) {
        let link = &mut *self.link;
        let failed_parse = match link.expected.front() {
            Some(Expected::ParseUnnamed(by)) => Some(*by),
            _ => None,
        };
        let sync = |e: &Expected| matches!(e, Expected::Sync(_));
        let end = link.expected.iter().position(sync);
        let skipped: Vec<Expected> = link
            .expected
            .drain(..end.unwrap_or(link.expected.len()))
            .collect();
        let undone = skipped.iter().filter(|e| e.is_journalled()).count();
        // Backwards: what was evicted may have been parsed before, or is parsed again behind.
        for expected in skipped.into_iter().rev() {
            match expected {
                Expected::Parse(_, statement) => {
                    link.prepared.remove(&statement.id);
                }
                Expected::Evict(statement) => {
                    let held = Prepared {
                        used: link.clock,
                        parse: Parsed::Done,
                        statement,
                    };
                    link.prepared.insert(held.statement.id, held);
                }
                _ => {}
            }
        }
        if end.is_none() {
            link.batch = Batch::Skipping;
        }
        if !link.may_copy() {
            link.bound = Bound::Plain;
        }
        self.undo(undone, failed_parse);
    }

    /// Takes back the oldest changes. `failed_parse`: the first request was a Parse of the unnamed
    /// statement; the server drops the old one before it reads the new one.
    fn undo(&mut self, undone: usize, failed_parse: Option<By>) {
        let link = &mut *self.link;
        let changes: Vec<Change> = link.journal.drain(..undone).collect();
        let Some(session) = &mut self.session else {
            return;
        };
        let mut unnamed = None;
        for change in changes.into_iter().rev() {
            match change {
                Change::Unnamed { own, there } => unnamed = Some((own, there)),
                change => session.names.undo(change),
            }
        }
        let Some((mut before, mut there_before)) = unnamed else {
            return;
        };
        if let Some(by) = failed_parse {
            there_before = Unnamed::None;
            before = before.filter(|_| by == By::Proxy);
        }
        let later = link.journal.iter_mut().find_map(|change| match change {
            Change::Unnamed { own, there } => Some((own, there)),
            Change::Added(_) | Change::Removed(..) | Change::Void => None,
        });
        let (own, there) = later.unwrap_or((&mut session.unnamed, &mut link.unnamed));
        (*own, *there) = (before, there_before);
    }
}

/// Whether the client sees a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    Swallow,
}

/// What a CommandComplete tells to have changed of the schema.
fn changed_by(tag: &[u8]) -> Schema {
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

/// Whether an ErrorResponse ends the connection.
fn is_fatal(fields: &[u8]) -> bool {
    fields
        .split(|b| *b == 0)
        .any(|field| field == b"VFATAL" || field == b"VPANIC")
}

/// 0A000 "cached plan must not change result type": the schema changed where we did not see it.
fn is_stale_plan(fields: &[u8]) -> bool {
    let has = |wanted: &[u8]| fields.split(|b| *b == 0).any(|field| field == wanted);
    has(b"C0A000") && has(b"RRevalidateCachedQuery")
}

/// Messages that are read here, not only passed.
fn needs_whole(tag: u8) -> bool {
    matches!(
        tag,
        b'Z' | b'C' | b'S' | b'E' | b'1' | b'2' | b'3' | b'I' | b's' | b'n' | b'G' | b'H' | b'W'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SettingsTable;
    use crate::session::expected::Feed;

    fn answer(link: &mut Link, tag: u8, body: &[u8]) {
        let (mut input, mut out) = (Vec::new(), Vec::new());
        frame::put(&mut input, tag, &[body]);
        let session = None;
        let read = Replies { session, link }.read(&input, &mut Flow::new(&input, &mut out));
        assert_eq!(read, Ok(input.len()));
    }

    #[test]
    fn syncs_behind_an_unseen_copy_are_eaten_by_the_server() {
        for (request, ending) in [
            (Expected::Execute(Feed::Due), false),
            (Expected::Query(By::Client), true),
        ] {
            let settings = SettingsTable::default();
            let mut link = Link::new(std::rc::Rc::clone(settings.none()), Vec::new());
            let syncs = [Expected::Sync(By::Client), Expected::Sync(By::Client)];
            link.expected.push_back(request);
            link.expected.extend(syncs);
            answer(&mut link, b'G', b"\0\0\0");
            answer(&mut link, b'C', b"COPY 1\0");
            assert!(!link.at_rest(), "a ReadyForQuery is still to come");
            if !ending {
                link.expected.push_back(Expected::Sync(By::Client));
                link.batch = Batch::Closed;
            }
            answer(&mut link, b'Z', b"I");
            assert!(link.at_rest());
        }
    }
}
