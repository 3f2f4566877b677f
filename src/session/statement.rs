//! Prepared statements by what they are: a text, parameter types, and the scope they were parsed in.
//!
//! Sessions of a tenant that prepare the same thing share one [`Statement`], which has one name on
//! every server connection. Compared as a whole, never by hash alone.

use std::cell::Cell;
use std::hash::BuildHasher;
use std::rc::Rc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::reading::Told;
use super::settings::Settings;
use crate::wire::frame;
use crate::wire::sql::{PinReason, Survey, survey};

/// Server names start with this.
pub const NAME_PREFIX: &[u8] = b"tenantry_";

/// Which settings a statement was parsed under: literals and names freeze at Parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The startup settings of that number, see [`super::SettingsTable`].
    Startup(u32),
    /// Those of one session between two of its changes, known to nobody else.
    Private(u64, u32),
}

/// One distinct statement.
#[derive(Debug)]
pub struct Statement {
    /// Never used again for another one on this worker.
    pub id: u64,
    /// Its name on server connections, with the NUL.
    pub server_name: Box<[u8]>,
    /// What follows the name in Parse: text, NUL, parameter types. Empty: too large to keep, so
    /// it lives on one server connection, to which its session is pinned.
    pub definition: Box<[u8]>,
    /// What its text may do.
    pub survey: Survey,
    /// How long its text is.
    text: usize,
    /// What was said of its text as a read, and by which catalog.
    read: Cell<Option<(u32, bool)>>,
    scope: Scope,
    /// What clients were told of it, once one has asked.
    pub(super) told: Told,
    /// A server has parsed it without an error.
    proven: Cell<Proven>,
}

/// Whether a server has ever parsed a statement without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proven {
    No,
    Yes,
}

impl Statement {
    /// Its SQL text.
    pub fn text(&self) -> &[u8] {
        &self.definition[..self.text]
    }

    /// Whether a standby may serve it; `judge` says that of its text, once for each `generation` of the
    /// catalog.
    pub(super) fn reads_only(&self, generation: u32, judge: impl FnOnce(&[u8]) -> bool) -> bool {
        match self.read.get() {
            Some((known, verdict)) if known == generation => verdict,
            _ => {
                let verdict = judge(self.text());
                self.read.set(Some((generation, verdict)));
                verdict
            }
        }
    }

    /// Appends the Parse that makes it on a server connection.
    pub fn put_parse(&self, out: &mut Vec<u8>) {
        frame::put(out, b'P', &[&self.server_name, &self.definition]);
    }

    /// As [`Statement::put_parse`], with the parameter types that clients were told.
    pub(super) fn put_parse_as_told(&self, out: &mut Vec<u8>) {
        match self.told.parameters.get() {
            Some(types) => {
                let parts: [&[u8]; 4] = [&self.server_name, self.text(), b"\0", types];
                frame::put(out, b'P', &parts);
            }
            None => self.put_parse(out),
        }
    }

    /// Whether there is something in it that is read only once.
    pub(super) fn reads_literals(&self) -> bool {
        self.survey.reaches() && self.text().contains(&b'\'')
    }

    /// Its literals were read under these settings.
    pub(super) fn read_under(&self, settings: &Rc<Settings>) {
        // Whoever shares it has the like.
        let _known = self.told.read_under.set(Rc::clone(settings));
    }

    /// Appends the Close that forgets it on a server connection.
    pub fn put_close(&self, out: &mut Vec<u8>) {
        frame::put(out, b'C', &[b"S", &self.server_name]);
    }

    /// Whether it was parsed in that scope.
    pub(super) fn is_of(&self, scope: Scope) -> bool {
        self.scope == scope
    }

    /// A server has parsed it without an error.
    pub(super) fn prove(&self) {
        self.proven.set(Proven::Yes);
    }

    /// Whether it can be parsed again elsewhere.
    pub fn is_kept(&self) -> bool {
        !self.definition.is_empty()
    }
}

/// The statements of one tenant on one worker, each once.
#[derive(Debug)]
pub struct Statements {
    /// What names of server connections begin with. SQL EXECUTE would reach another session's
    /// statement whose name can be guessed.
    prefix: Vec<u8>,
    known: HashTable<Rc<Statement>>,
    hasher: DefaultHashBuilder,
    next_id: u64,
    sweep_at: usize,
}

impl Default for Statements {
    fn default() -> Self {
        let random = std::collections::hash_map::RandomState::new().hash_one(0);
        let mut prefix = NAME_PREFIX.to_vec();
        prefix.extend_from_slice(format!("{:x}_", random >> 32).as_bytes());
        Self {
            prefix,
            known: HashTable::default(),
            hasher: DefaultHashBuilder::default(),
            next_id: 0,
            sweep_at: 0,
        }
    }
}

impl Statements {
    /// The statement of that definition in that scope. Reading one that is known costs no allocation.
    pub fn intern(&mut self, scope: Scope, definition: &[u8]) -> Rc<Statement> {
        let hash = self.hasher.hash_one((scope, definition));
        if let Some(found) = self.find(hash, scope, definition) {
            return Rc::clone(found);
        }
        self.sweep();
        let text = frame::cstr(definition).map_or(definition, |(text, _)| text);
        let made = Rc::new(self.make(scope, definition, survey(text)));
        let hasher = &self.hasher;
        let rehash = |s: &Rc<Statement>| hasher.hash_one((s.scope, &*s.definition));
        self.known.insert_unique(hash, Rc::clone(&made), rehash);
        made
    }

    /// The statement of that definition, if a server has parsed it without an error before.
    pub(super) fn proven(&self, scope: Scope, definition: &[u8]) -> Option<&Rc<Statement>> {
        let hash = self.hasher.hash_one((scope, definition));
        self.find(hash, scope, definition)
            .filter(|s| s.proven.get() == Proven::Yes)
    }

    fn find(&self, hash: u64, scope: Scope, definition: &[u8]) -> Option<&Rc<Statement>> {
        self.known
            .find(hash, |s| s.scope == scope && *s.definition == *definition)
    }

    /// The schema has changed: a text that is prepared from now on is a new statement, parsed
    /// anew. Names given before keep the old one, as they would on a direct connection.
    pub fn renew(&mut self) {
        self.known.clear();
    }

    /// A statement whose text is too large to keep.
    pub fn unkept(&mut self, scope: Scope) -> Rc<Statement> {
        Rc::new(self.make(scope, &[], Survey::of(PinReason::LargeStatement)))
    }

    fn make(&mut self, scope: Scope, definition: &[u8], survey: Survey) -> Statement {
        self.next_id += 1;
        let mut server_name = self.prefix.clone();
        server_name.extend_from_slice(self.next_id.to_string().as_bytes());
        server_name.push(0);
        Statement {
            id: self.next_id,
            server_name: server_name.into(),
            definition: definition.into(),
            text: frame::cstr(definition).map_or(definition.len(), |(text, _)| text.len()),
            read: Cell::default(),
            survey,
            scope,
            told: Told::default(),
            proven: Cell::new(Proven::No),
        }
    }

    /// Forgets what nobody holds, each time the table has doubled.
    fn sweep(&mut self) {
        if self.known.len() >= self.sweep_at {
            self.known.retain(|s| Rc::strong_count(s) > 1);
            self.sweep_at = self.known.len() * 2 + 64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_text_shares_and_other_scope_does_not() {
        let mut all = Statements::default();
        let a = all.intern(Scope::Startup(0), b"select 1\0\0\0");
        assert!(Rc::ptr_eq(
            &a,
            &all.intern(Scope::Startup(0), b"select 1\0\0\0")
        ));
        assert_ne!(a.id, all.intern(Scope::Startup(1), b"select 1\0\0\0").id);
        assert_ne!(a.id, all.intern(Scope::Private(0, 0), b"select 1\0\0\0").id);
        assert_ne!(
            a.id,
            all.intern(Scope::Startup(0), b"select 1\0\0\x01\0\0\0\x17")
                .id
        );
    }

    #[test]
    fn what_merely_hashes_alike_is_not_the_same() {
        let mut all = Statements::default();
        let (scope, text) = (Scope::Startup(0), &b"select 1\0\0\0"[..]);
        all.intern(scope, text);
        let hash = all.hasher.hash_one((scope, text));
        assert!(all.find(hash, scope, text).is_some());
        assert!(all.find(hash, scope, b"select 2\0\0\0").is_none());
        assert!(all.find(hash, Scope::Startup(1), text).is_none());
    }

    #[test]
    fn after_a_schema_change_a_text_is_a_new_statement() {
        let mut all = Statements::default();
        let before = all.intern(Scope::Startup(0), b"select 1\0\0\0");
        all.renew();
        assert_ne!(
            before.id,
            all.intern(Scope::Startup(0), b"select 1\0\0\0").id
        );
    }

    #[test]
    fn statements_nobody_holds_are_forgotten() {
        let mut all = Statements::default();
        for i in 0..10_000 {
            all.intern(Scope::Startup(0), format!("select {i}\0\0\0").as_bytes());
        }
        assert!(all.known.len() <= 130, "{}", all.known.len());
    }
}
