//! What a worker knows of the catalog of a pool's database, and when that is read again.

use super::deadlines::Millis;
use crate::session::Catalog;

/// What the database's catalog says of its functions, and when it is read again.
#[derive(Debug, Default)]
pub(super) struct CatalogView {
    known: Catalog,
    /// That no other one has on this worker, but for those of which nothing is known.
    number: u32,
    read: Millis,
    due: Millis,
    progress: Progress,
}

/// How far the catalog was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Progress {
    /// Never yet.
    #[default]
    Never,
    /// For the first time, under way.
    First,
    /// It was, or could not be.
    Done,
    /// It has changed since it was begun to be read.
    Outdated,
}

/// The catalog is read again when it was last read that long ago: it may be changed elsewhere.
const CATALOG_AGE: Millis = 10 * 60_000;

/// Schema changes make it be read again, but not more often than this.
const CATALOG_PAUSE: Millis = 1_000;

impl CatalogView {
    pub(super) fn known(&self) -> &Catalog {
        &self.known
    }

    /// Whether it is to be read.
    #[inline]
    pub(super) fn is_due(&self, now: Millis) -> bool {
        self.due <= now
    }

    /// It is being read. If that fails it is tried again at its age.
    pub(super) fn begin(&mut self, now: Millis) {
        self.read = now;
        self.due = now + CATALOG_AGE;
        self.progress = match self.progress {
            Progress::Never => Progress::First,
            _ => Progress::Done,
        };
    }

    /// It was read; `number` is its own.
    pub(super) fn set(&mut self, known: Catalog, number: u32) {
        if self.progress != Progress::Outdated {
            (self.known, self.number) = (known, number);
        }
    }

    /// What a single read is held against: it, and its number.
    pub(super) fn numbered(&self) -> (&Catalog, u32) {
        (&self.known, self.number)
    }

    /// Reading it has come to an end, one way or another.
    pub(super) fn end(&mut self) {
        if self.progress == Progress::First {
            self.progress = Progress::Done;
        }
    }

    /// Whether it is being read for the first time.
    #[inline]
    pub(super) fn is_first_read(&self) -> bool {
        self.progress == Progress::First
    }

    /// More of it is wanted than was read.
    pub(super) fn hasten(&mut self) {
        self.due = 0;
    }

    /// Functions may have changed.
    pub(super) fn outdate(&mut self, now: Millis) {
        self.known = Catalog::UNKNOWN;
        self.number = 0;
        self.progress = Progress::Outdated;
        self.due = self.due.min((self.read + CATALOG_PAUSE).max(now));
    }
}
