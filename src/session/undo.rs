//! What an error takes back: the rest of its batch, and the names that changed in it.

use super::Session;
use super::expected::{By, Change, Expected};
use super::link::{Batch, Bound, Link, Unnamed};
use super::reply::Replies;

impl Session {
    /// Whether all that it has sent since its lease began can be taken back.
    pub fn can_be_taken_back(&self) -> bool {
        self.at_boundary()
            && self.changes.is_none()
            && self.pins.is_empty()
            && !self.owes_sync
            && !self.local
    }

    /// Takes back all that was sent over a server connection that has answered none of it and never
    /// will, so that it can be sent over another one.
    pub fn take_back(&mut self, link: &mut Link) {
        let opening = self.opening.take();
        let undone = link.journal.len();
        let session = Some(&mut *self);
        Replies { session, link }.undo(undone, None);
        self.end_of_lease();
        self.opening = opening;
        self.hold_again();
    }
}

impl Replies<'_> {
    /// The server answers nothing more of this batch: takes back what the skipped requests did, the
    /// last one first, since a statement may have been evicted and parsed again within the batch.
    pub(super) fn skip_to_sync(&mut self) {
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
                Expected::Evict(held) => {
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
    pub(super) fn undo(&mut self, undone: usize, failed_parse: Option<By>) {
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
