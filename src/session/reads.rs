//! What is known of texts that may go to a standby: each is parsed once, not each time it comes.
//!
//! Guarantees: a text is compared as a whole, never by hash alone; texts and bytes are bounded;
//! asking for one that is known allocates nothing.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Catalog;
use crate::wire::sql::{Reading, Unfit, may_read, reads_only};

/// Texts kept.
const MOST: usize = 2_000;
/// Bytes kept, of texts and what was read from them.
const MOST_BYTES: usize = 1 << 20;
/// Longer texts are refused before they are parsed; none of them is kept.
const LONGEST: usize = crate::wire::sql::LONGEST;

/// Texts and whether a standby may serve them. One serves all tenants of a worker: what a text is
/// does not depend on them, and what a catalog says of it is kept with the catalog's number.
#[derive(Debug, Default)]
pub struct ReadCache {
    known: HashTable<Entry>,
    hasher: DefaultHashBuilder,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    text: Box<[u8]>,
    reading: Result<Reading, Unfit>,
    /// What the catalog of that number said.
    verdict: (u32, Result<(), Unfit>),
    age: Age,
}

/// Whether a text has come again since the cache was last full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Old,
    Fresh,
}

impl ReadCache {
    /// Whether a standby may serve a text, by that catalog. `generation` stands for what the
    /// catalog says: no other one has the same on this worker, and it is new once the catalog was
    /// read again.
    pub fn verdict(
        &mut self,
        text: &[u8],
        catalog: &Catalog,
        generation: u32,
    ) -> Result<(), Unfit> {
        if !may_read(text) {
            return Err(Unfit::NotSelect);
        }
        if text.len() > LONGEST {
            return Err(Unfit::TooLarge);
        }
        let hash = self.hasher.hash_one(text);
        if let Some(entry) = self.known.find_mut(hash, |entry| *entry.text == *text) {
            entry.age = Age::Fresh;
            return entry.verdict(catalog, generation);
        }
        self.learn(hash, text, catalog, generation)
    }

    #[cold]
    fn learn(
        &mut self,
        hash: u64,
        text: &[u8],
        catalog: &Catalog,
        generation: u32,
    ) -> Result<(), Unfit> {
        let reading = reads_only(text);
        let verdict = judge(&reading, catalog);
        let entry = Entry {
            text: text.into(),
            reading,
            verdict: (generation, verdict),
            age: Age::Old,
        };
        self.make_room(entry.size());
        self.bytes += entry.size();
        let hasher = &self.hasher;
        self.known
            .insert_unique(hash, entry, |entry| hasher.hash_one(&*entry.text));
        verdict
    }

    /// When full: forgets what has not come again since it was full the last time; if that is not
    /// half of it, everything.
    fn make_room(&mut self, more: usize) {
        if self.known.len() < MOST && self.bytes + more <= MOST_BYTES {
            return;
        }
        self.known
            .retain(|entry| std::mem::replace(&mut entry.age, Age::Old) == Age::Fresh);
        self.bytes = self.known.iter().map(Entry::size).sum();
        if self.known.len() > MOST / 2 || self.bytes + more > MOST_BYTES / 2 {
            self.known.clear();
            self.bytes = 0;
        }
    }
}

impl Entry {
    fn verdict(&mut self, catalog: &Catalog, generation: u32) -> Result<(), Unfit> {
        if self.verdict.0 != generation {
            self.verdict = (generation, judge(&self.reading, catalog));
        }
        self.verdict.1
    }

    fn size(&self) -> usize {
        let reading = self.reading.as_ref().map_or(0, Reading::size);
        size_of::<Self>() + self.text.len() + reading
    }
}

fn judge(reading: &Result<Reading, Unfit>, catalog: &Catalog) -> Result<(), Unfit> {
    match reading {
        Ok(reading) => catalog.reads_only(reading),
        Err(reason) => Err(*reason),
    }
}

#[cfg(all(test, feature = "pg_query"))]
mod tests {
    use super::*;

    fn catalog(function: &str) -> Catalog {
        let rows = [("reads", ""), ("read_function", function)];
        Catalog::read(rows.into_iter())
    }

    #[test]
    fn a_text_is_parsed_once_and_judged_by_each_catalog() {
        let mut cache = ReadCache::default();
        let (one, other) = (catalog("f"), catalog("g"));
        for _ in 0..2 {
            assert_eq!(cache.verdict(b"SELECT f()", &one, 1), Err(Unfit::Function));
            assert_eq!(cache.verdict(b"SELECT f()", &other, 2), Ok(()));
            assert_eq!(
                cache.verdict(b"SELECT 1 FOR UPDATE", &one, 1),
                Err(Unfit::Locks)
            );
        }
        assert_eq!(cache.known.len(), 2);
        assert_eq!(
            cache.verdict(b"SELECT f()", &Catalog::UNKNOWN, 3),
            Err(Unfit::Catalog)
        );
    }

    #[test]
    fn what_is_told_by_its_first_word_is_not_kept() {
        let mut cache = ReadCache::default();
        let large = [b"SELECT '", &[b'a'; LONGEST][..], b"'"].concat();
        for (text, reason) in [
            (&b"INSERT INTO t VALUES (1)"[..], Unfit::NotSelect),
            (&large, Unfit::TooLarge),
        ] {
            assert_eq!(cache.verdict(text, &Catalog::CLEAN, 0), Err(reason));
        }
        assert_eq!(cache.known.len(), 0);
    }

    #[test]
    fn what_merely_hashes_alike_is_not_the_same() {
        let mut cache = ReadCache::default();
        let catalog = catalog("f");
        let hash = cache.hasher.hash_one(&b"SELECT 1"[..]);
        let _verdict = cache.learn(hash, b"SELECT f()", &catalog, 0);
        assert_eq!(cache.verdict(b"SELECT 1", &catalog, 0), Ok(()));
    }

    #[test]
    fn texts_and_bytes_are_bounded() {
        let mut cache = ReadCache::default();
        let catalog = catalog("f");
        let often = b"SELECT 'often'";
        for n in 0..3 * MOST {
            let text = format!("SELECT {n}");
            assert_eq!(cache.verdict(text.as_bytes(), &catalog, 0), Ok(()));
            assert_eq!(cache.verdict(often, &catalog, 0), Ok(()));
            assert!(cache.known.len() <= MOST);
        }
        for n in 0..300 {
            let text = format!("SELECT '{n}{}'", "a".repeat(10_000));
            assert_eq!(cache.verdict(text.as_bytes(), &catalog, 0), Ok(()));
            assert!(cache.bytes <= MOST_BYTES);
            let sum: usize = cache.known.iter().map(Entry::size).sum();
            assert_eq!(cache.bytes, sum);
        }
    }

    #[test]
    fn what_comes_again_stays_when_others_come_once() {
        let mut cache = ReadCache::default();
        let catalog = catalog("f");
        let often = b"SELECT 'often'";
        let holds = |cache: &ReadCache| {
            let hash = cache.hasher.hash_one(&often[..]);
            cache.known.find(hash, |e| *e.text == *often).is_some()
        };
        let _verdict = cache.verdict(often, &catalog, 0);
        let mut gone = 0;
        for n in 0..10 * MOST {
            let _verdict = cache.verdict(format!("SELECT {n}").as_bytes(), &catalog, 0);
            if n % 100 == 0 {
                gone += u32::from(!holds(&cache));
                let _verdict = cache.verdict(often, &catalog, 0);
            }
        }
        assert_eq!(gone, 0);
    }
}
