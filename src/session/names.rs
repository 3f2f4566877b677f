//! A client's names for prepared statements.

use std::collections::VecDeque;
use std::rc::Rc;

use hashbrown::HashMap;

use super::expected::Change;
use super::statement::Statement;

/// Names of one session; costs a pointer while there are none.
#[derive(Debug, Default)]
pub(super) struct Names(Option<Box<ByName>>);

type ByName = HashMap<Box<[u8]>, Rc<Statement>>;

impl Names {
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<&Rc<Statement>> {
        self.0.as_ref()?.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Rc<Statement>)> {
        let all = self.0.iter().flat_map(|names| names.iter());
        all.map(|(name, statement)| (&**name, statement))
    }

    /// Whether one of the statements is of that kind.
    pub(super) fn any(&self, wanted: impl Fn(&Statement) -> bool) -> bool {
        self.iter().any(|(_, statement)| wanted(statement))
    }

    pub(super) fn add(&mut self, name: &[u8], statement: Rc<Statement>) {
        self.0
            .get_or_insert_default()
            .insert(name.into(), statement);
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Rc<Statement>> {
        let names = self.0.as_mut()?;
        let removed = names.remove(name);
        if names.is_empty() {
            self.0 = None;
        }
        removed
    }

    /// The server has dropped all statements; names that are to be added later stay.
    pub(super) fn forget_all(&mut self, journal: &VecDeque<Change>) {
        let Some(names) = self.0.as_mut() else {
            return;
        };
        let added = |name: &[u8]| {
            let adds = |c: &Change| matches!(c, Change::Added(n) if **n == *name);
            journal.iter().any(adds)
        };
        names.retain(|name, _| added(name));
        if names.is_empty() {
            self.0 = None;
        }
    }

    /// Takes back what the server never did.
    pub(super) fn undo(&mut self, change: Change) {
        match change {
            Change::Added(name) => drop(self.remove(&name)),
            Change::Removed(name, statement) => self.add(&name, statement),
            Change::Unnamed { .. } | Change::Void => {}
        }
    }
}
