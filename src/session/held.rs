//! The statements that a server connection holds: how they come, how they go, what is certain.

use std::rc::Rc;

use super::expected::{By, Change, Expected};
use super::link::{Link, Parsed, Prepared, Presence, Standing};
use super::statement::Statement;

impl Link {
    /// Makes sure the server has the statement: evicts and parses where it must.
    pub(super) fn ensure(
        &mut self,
        statement: &Rc<Statement>,
        by: By,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Presence {
        self.clock += 1;
        let clock = self.clock;
        if let Some(held) = self.prepared.get_mut(&statement.id) {
            held.used = clock;
            return Presence::There;
        }
        self.make_room(limit, out);
        let held = Prepared {
            statement: Rc::clone(statement),
            used: clock,
            parse: Parsed::Awaited,
        };
        self.prepared.insert(statement.id, held);
        statement.put_parse(out);
        self.expected
            .push_back(Expected::Parse(by, Rc::clone(statement)));
        Presence::Sent
    }

    /// Makes room for one more statement.
    pub(super) fn make_room(&mut self, limit: usize, out: &mut Vec<u8>) {
        if self.prepared.len() < limit {
            return;
        }
        let oldest = self
            .prepared
            .iter()
            .min_by_key(|(_, held)| held.used)
            .map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.forget(id, out);
        }
    }

    /// Closes a statement on the server, if it is there.
    pub(super) fn forget(&mut self, id: u64, out: &mut Vec<u8>) {
        if let Some(held) = self.prepared.remove(&id) {
            held.statement.put_close(out);
            self.expected.push_back(Expected::Evict(held));
        }
    }

    /// Whether it has a statement, as far as was sent.
    pub(super) fn holds(&self, statement: &Statement) -> bool {
        self.prepared.contains_key(&statement.id)
    }

    /// Takes note of the use of a statement; whether it is there for certain.
    #[inline]
    pub(super) fn touch(&mut self, statement: &Statement) -> bool {
        self.clock += 1;
        match self.prepared.get_mut(&statement.id) {
            Some(held) => {
                held.used = self.clock;
                held.parse == Parsed::Done
            }
            None => false,
        }
    }

    /// Where a statement stands.
    pub(super) fn standing(&self, statement: &Statement, limit: usize) -> Standing {
        match self.prepared.get(&statement.id).map(|held| held.parse) {
            Some(Parsed::Done) => Standing::There,
            Some(Parsed::Stale) => Standing::Stale,
            Some(Parsed::Awaited) => {
                let verifies =
                    |e: &Expected| matches!(e, Expected::Verify(s) if s.id == statement.id);
                let open = self.expected.iter().any(verifies);
                if open || self.is_undecided(statement, limit) {
                    Standing::Undecided
                } else {
                    Standing::There
                }
            }
            None if self.prepared.len() >= limit && self.awaits_ready() => Standing::Undecided,
            None => Standing::Absent,
        }
    }

    /// Whether nobody knows yet if the server has the statement, or if it can be given room.
    pub(super) fn is_undecided(&self, statement: &Statement, limit: usize) -> bool {
        let Some(held) = self.prepared.get(&statement.id) else {
            return self.prepared.len() >= limit && self.awaits_ready();
        };
        if held.parse != Parsed::Awaited {
            return false;
        }
        let before = self.expected.iter().rposition(Expected::ends_segment);
        before.is_some_and(|end| {
            let parses = |e: &Expected| matches!(e, Expected::Parse(_, s) if s.id == statement.id);
            self.expected.iter().take(end).any(parses)
        })
    }

    /// All statements are gone, but for those whose Parse is still to come.
    pub(super) fn forget_all(&mut self) {
        let coming = |id: u64| {
            let parses = |e: &Expected| matches!(e, Expected::Parse(_, s) if s.id == id);
            self.expected.iter().any(parses)
        };
        self.prepared.retain(|id, _| coming(*id));
        for expected in &mut self.expected {
            if matches!(expected, Expected::Evict(_)) {
                *expected = Expected::Close(By::Proxy);
            }
        }
        for change in &mut self.journal {
            if matches!(change, Change::Removed(..)) {
                *change = Change::Void;
            }
        }
    }
}
