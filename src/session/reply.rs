//! The server's side: what each of its messages answers, and what of it goes to the client.
//!
//! Manual 55.2.2 to 55.2.6 say which messages answer a request; `facts` that they do not say (the
//! Sync that COPY eats, what an error skips) are in `docs/design/session.md`.

use super::Session;
use super::expected::{By, Expected, Feed};
use super::flow::Flow;
use super::link::{Batch, Bound, CopyIn, Link, Parsed, Reset, Standing, TxStatus};
use super::settings::SettingChange;
use super::statement::Statement;
use crate::wire::frame::{self, HEADER, Header, PARSE_COMPLETE};

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
            }
            let rows = at + self.rows(&input[at..]);
            flow.pass(at..rows);
            at = rows;
            let head = frame::header(&input[at..]).map_err(|_| Desync::Length)?;
            let Some(head) = head.filter(|head| self.can_be_read(*head, input.len() - at)) else {
                if self.link.left == 0 {
                    // The server may say no more: the client may have asked for a flush only.
                    self.answer_local(flow);
                }
                return Ok(at);
            };
            let end = (at + head.total).min(input.len());
            let body = &input[at + HEADER..end];
            self.link.left = at + head.total - end;
            self.link.left_swallowed = self.message(head.tag, body, flow)? == Fate::Swallow;
            if !self.link.left_swallowed {
                flow.pass(at..end);
            }
            at = end;
        }
    }

    /// Whether there is enough of a message: all of it, or it need not be looked at as a whole.
    #[inline]
    fn can_be_read(&self, head: Header, available: usize) -> bool {
        let read = || needs_whole(head.tag) || (matches!(head.tag, b'D' | b'T') && self.is_asked());
        available >= head.total || head.total > WHOLE || !read()
    }

    /// How much of the input is rows of the client's query, or data that it copies out. They say
    /// nothing but that there are more: no look at each.
    #[inline]
    fn rows(&self, input: &[u8]) -> usize {
        let described = match self.link.expected.front() {
            Some(Expected::Query(By::Client)) => b'T',
            Some(Expected::Execute(_)) => b'D',
            _ => return 0,
        };
        frame::run_of([b'D', b'd', described], input)
    }

    /// What one message answers, and whether the client sees it.
    #[inline]
    fn message(&mut self, tag: u8, body: &[u8], flow: &mut Flow<'_>) -> Result<Fate, Desync> {
        match tag {
            b'D' | b'd' | b'c' | b'T' | b'H' | b'W' | b'C' | b'Z' | b't' | b'n' | b'1' | b'2'
            | b'3' | b'I' | b's' | b'V' | b'G' => self.reply(tag, body, flow),
            b'E' => {
                // One that passes in pieces keeps the length that was announced.
                let whole = self.link.left == 0;
                let renamed = whole.then(|| self.under_clients_names(body)).flatten();
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
                self.link.note_parameter(body);
                if self.link.hushed.is_some() || self.is_told(body) {
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
                if fate == Fate::Swallow && tag == b'N' {
                    self.link.note_notice(body);
                }
                Ok(fate)
            }
            _ => Err(Desync::Unasked(char::from(tag))),
        }
    }

    /// Messages that come by themselves go to whoever leases, unless our own query caused them.
    pub(super) fn unasked(&mut self, flow: &mut Flow<'_>) -> Fate {
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

    fn reply(&mut self, tag: u8, body: &[u8], flow: &mut Flow<'_>) -> Result<Fate, Desync> {
        self.answer_local(flow);
        if tag == b'Z' && self.link.hushed.is_some() {
            self.tell_start(flow);
        }
        let Some(front) = self.link.expected.front() else {
            return Err(Desync::Unasked(char::from(tag)));
        };
        let fate = if front.is_swallowed() {
            Fate::Swallow
        } else {
            Fate::Pass
        };
        if front.is_ours_to_read()
            && let Some(fate) = self.own_reply(tag, body, flow)
        {
            return Ok(fate);
        }
        if self.progress(tag, body)? == Progress::Done {
            self.answered();
            if tag == b'Z' && fate == Fate::Pass {
                self.count_ready();
            }
        }
        Ok(fate)
    }

    /// A query of the client's was answered.
    #[inline]
    fn count_ready(&mut self) {
        if let Some(session) = &mut self.session {
            session.tally.queries += 1;
            session.tally.transactions += u32::from(self.link.status == TxStatus::Idle);
        }
    }

    /// What a message means for the request that it answers.
    #[inline]
    fn progress(&mut self, tag: u8, body: &[u8]) -> Result<Progress, Desync> {
        let Some(front) = self.link.expected.front() else {
            return Err(Desync::Unasked(char::from(tag)));
        };
        let done = match (front, tag) {
            (
                Expected::Query(_) | Expected::Deallocate(..) | Expected::SetQuery(_),
                b'T' | b'D' | b'd' | b'c' | b'I' | b'H',
            )
            | (Expected::Execute(_), b'D' | b'd' | b'c' | b'H')
            | (Expected::Call, b'V') => false,
            (Expected::Query(_) | Expected::Deallocate(..) | Expected::SetQuery(_), b'C') => {
                self.completed(body);
                false
            }
            (Expected::Execute(Feed::Ended(_)), b'G') => {
                self.eat_syncs();
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
            (Expected::Describe(of), b't' | b'T' | b'n') => {
                if let Some(statement) = of.as_ref().filter(|_| self.link.left == 0) {
                    statement.told.note(tag, body);
                }
                tag != b't'
            }
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
        Ok(if done { Progress::Done } else { Progress::More })
    }

    /// The first request has had its whole reply.
    #[inline]
    pub(super) fn answered(&mut self) {
        let Some(answered) = self.link.expected.pop_front() else {
            return;
        };
        if answered.is_journalled() {
            self.link.journal.pop_front();
        }
        match answered {
            Expected::Execute(_) if !self.link.may_copy() => self.link.bound = Bound::Plain,
            Expected::Parse(by, statement) => self.parsed(by, &statement),
            Expected::Inquiry(inquiry) => self.inquired(*inquiry),
            Expected::Listing(rows) => self.link.listed = Some(rows),
            _ => {}
        }
    }

    /// A server connection has a statement that it had not. One that is to be verified is not
    /// there before that, nor one that has given way since and is parsed again.
    fn parsed(&mut self, by: By, statement: &Statement) {
        statement.prove();
        if let Some(session) = &mut self.session {
            session.tally.server_parses += 1;
        }
        let standing = self.link.standing(statement, usize::MAX);
        let verified = by == By::Proxy && standing == Standing::Undecided;
        let parses = |e: &Expected| matches!(e, Expected::Parse(_, s) if s.id == statement.id);
        if verified || self.link.expected.iter().any(parses) {
            return;
        }
        if let Some(held) = self.link.prepared.get_mut(&statement.id) {
            held.parse = Parsed::Done;
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

    /// CopyInResponse to data that were sent to their end: the Syncs before that are eaten, once.
    fn eat_syncs(&mut self) {
        if let Some(Expected::Execute(Feed::Ended(syncs))) = self.link.expected.front_mut() {
            let syncs = std::mem::take(syncs);
            self.link.expected.drain(1..=syncs);
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
        if self.link.left > 0 {
            return Err(Desync::Length);
        }
        self.link.status = match body {
            b"I" => TxStatus::Idle,
            b"T" => TxStatus::Open,
            b"E" => TxStatus::Failed,
            _ => return Err(Desync::Unasked('Z')),
        };
        self.link.copy = CopyIn::None;
        self.link.streams = false;
        self.link.restarts = false;
        self.link.flushes = false;
        let last = self.link.expected.len() == 1;
        self.link.commit &= !last;
        self.link.forgets &= !last;
        if last {
            self.link.deallocates.clear();
        }
        self.link.copy_portal &= self.link.status == TxStatus::Open;
        if self.link.status == TxStatus::Idle
            && let Some(session) = self.session.as_deref_mut()
            && session.changes_settings()
        {
            session.settle_changes(self.link.changes_due(false));
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
}

/// Whether a request has had its whole reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    More,
    Done,
}

/// Whether the client sees a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Pass,
    Swallow,
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
    fn a_server_that_says_fatal_while_nobody_has_it_is_lent_no_more() {
        let settings = SettingsTable::default();
        let mut link = Link::new(std::rc::Rc::clone(settings.none()), Vec::new());
        answer(&mut link, b'E', b"SFATAL\0VFATAL\0C57P01\0\0");
        assert!(link.has_last_words(), "its worker closes it");
        assert!(
            !link.said_fatal(),
            "who had it next would not know why it ends"
        );
    }

    #[test]
    fn what_a_server_says_behind_the_end_of_a_transaction_is_no_part_of_its_answer() {
        let settings = SettingsTable::default();
        let mut session = Session::new(std::rc::Rc::clone(settings.none()), 1);
        let mut link = Link::new(std::rc::Rc::clone(settings.none()), Vec::new());
        let (mut answer, mut input, mut out) = (Vec::new(), Vec::new(), Vec::new());
        frame::put(&mut answer, b'C', &[b"INSERT 0 1\0"]);
        frame::put(&mut answer, b'Z', &[b"I"]);
        input.extend_from_slice(&answer);
        frame::put(&mut input, b'E', &[b"SFATAL\0VFATAL\0C57P01\0\0"]);
        link.expected.push_back(Expected::Query(By::Client));
        let mut flow = Flow::new(&input, &mut out);
        let (session, link) = (Some(&mut session), &mut link);
        let read = Replies { session, link }.read(&input, &mut flow);
        assert_eq!(read, Ok(input.len()));
        assert_eq!(flow.finish(), answer);
        assert!(link.has_last_words());
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
