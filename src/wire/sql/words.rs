//! The word tables: key words packed into integers, and the sets of names that may stand before `(`.
//!
//! The sets are built when the crate is compiled, from text files beside this one: `functions.txt`
//! (the functions of PostgreSQL 15's `pg_catalog` that leave nothing behind), `structural.txt` (its
//! key words that cannot be the name of a function, unless quoted or qualified) and `soft.txt` (the
//! other key words). A later server's new functions are missing, which costs a pin, not safety.

/// A word of up to 16 bytes as an integer, ASCII letters folded to lower case; 0 for longer ones.
pub(super) const fn pack(word: &[u8]) -> u128 {
    if word.len() > 16 {
        return 0;
    }
    let mut packed = 0_u128;
    let mut at = 0;
    while at < word.len() {
        // Folds letters; of what else a word can hold, only `_` changes, to what no word holds.
        packed = packed << 8 | (word[at] | 0x20) as u128;
        at += 1;
    }
    packed
}

macro_rules! words {
    ($($name:ident)*) => { $(pub(super) const $name: u128 = pack(stringify!($name).as_bytes());)* };
}

words! {
    ABORT ALL ALTER ANALYSE ANALYZE AND AS ATOMIC AUTHORIZATION BEGIN BIT BRIN BTREE BY CALL
    CHAIN CHAR CHARACTER CHECKPOINT CLOSE CLUSTER COMMENT COMMIT CONFLICT CONSTRAINT CONSTRAINTS COPY
    CREATE CROSS CUBE DEALLOCATE DECLARE DEFAULT DELETE DISCARD DO DOMAIN DROP END EVENT EXCLUDE
    EXECUTE EXISTS EXPLAIN EXTENSION FETCH FOR FOREIGN FROM FULL FUNCTION GIN GIST GLOBAL GRANT GROUP
    GROUPING HASH HOLD ILIKE IMPORT INDEX INNER INSERT INTO JOIN KEY LANGUAGE LEFT LIST LISTEN LOAD
    LOCAL LOCK MATERIALIZED MERGE MOVE NATURAL NCHAR NOT NOTIFY ON OPERATOR OR ORDER OUTER
    OVERRIDING PARTITION PREPARE PREPARED PRIMARY PROCEDURAL PROCEDURE RANGE REASSIGN RECURSIVE
    REFERENCES REFRESH REINDEX RELEASE REPLACE RESET REVOKE RIGHT ROLE ROLLBACK ROLLUP SAVEPOINT
    SECURITY SELECT SESSION SET SETS SHOW SPGIST START TABLE TEMP TEMPORARY THEN TIME TO TRANSACTION
    TREAT TRUE TRUNCATE TRUSTED UNIQUE UNLISTEN UNLOGGED UPDATE USING VACUUM VALUES VARYING VERBOSE
    VIEW WITH WORK ZONE
    AGGREGATE CAST COLLATION DATABASE POLICY PUBLICATION RULE SCHEMA SEQUENCE SERVER STATISTICS
    SUBSCRIPTION TABLESPACE TEXT TRANSFORM TRIGGER TYPE USER ACCESS SET_CONFIG SETSEED
    CURRVAL LASTVAL SEED PG_SETTINGS NAMES XML OPTION
    PLANS SEQUENCES CHARACTERISTICS PG_CATALOG NAME SQL PLPGSQL INTERNAL SYSTEM LARGE ROUTINE CONVERSION
}

const SLOTS: usize = 8192;

/// A set of names: open addressing over a text of words, built at compile time.
pub(super) struct Names<const N: usize> {
    text: &'static [u8],
    /// Start of a word in the text times 64 plus its length; 0 is empty.
    slots: [u32; N],
}

/// Functions known to leave nothing behind.
pub(super) static FUNCTIONS: Names<SLOTS> = Names::new(include_bytes!("functions.txt"));
/// Key words that are no function's name.
pub(super) static STRUCTURAL: Names<512> = Names::new(include_bytes!("structural.txt"));
/// All other key words.
pub(super) static SOFT: Names<1024> = Names::new(include_bytes!("soft.txt"));

const fn mix(hash: u32, byte: u8) -> u32 {
    (hash ^ byte as u32).wrapping_mul(0x0100_0193)
}

const fn slot(hash: u32, slots: usize) -> usize {
    (hash ^ hash >> 15) as usize & (slots - 1)
}

impl<const N: usize> Names<N> {
    pub(super) const fn new(text: &'static [u8]) -> Self {
        let mut slots = [0_u32; N];
        let (mut at, mut start, mut hash) = (0, 0, 0);
        while at < text.len() {
            if text[at] > b' ' {
                hash = mix(hash, text[at]);
            } else {
                if at > start {
                    let mut free = slot(hash, N);
                    while slots[free] != 0 {
                        free = (free + 1) & (N - 1);
                    }
                    assert!(at - start < 64 && start < 1 << 24);
                    #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
                    let entry = (start << 6 | (at - start)) as u32;
                    slots[free] = entry;
                }
                start = at + 1;
                hash = 0;
            }
            at += 1;
        }
        Self { text, slots }
    }

    /// Whether the set has a word, written in any case.
    pub(super) fn contains_folded(&self, word: &[u8]) -> bool {
        self.find(word, u8::to_ascii_lowercase)
    }

    /// Whether the set has exactly this word.
    pub(super) fn contains(&self, word: &[u8]) -> bool {
        self.find(word, |byte| *byte)
    }

    fn find(&self, word: &[u8], fold: impl Fn(&u8) -> u8) -> bool {
        if word.len() > 63 {
            return false;
        }
        let hash = word.iter().fold(0, |hash, byte| mix(hash, fold(byte)));
        let mut at = slot(hash, N);
        while self.slots[at] != 0 {
            let (start, len) = (self.slots[at] as usize >> 6, self.slots[at] as usize & 63);
            let known = &self.text[start..start + len];
            if len == word.len() && word.iter().map(&fold).eq(known.iter().copied()) {
                return true;
            }
            at = (at + 1) & (N - 1);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_what_their_files_name() {
        for word in include_str!("functions.txt").split_whitespace() {
            assert!(FUNCTIONS.contains(word.as_bytes()), "{word}");
            assert!(
                FUNCTIONS.contains_folded(word.to_uppercase().as_bytes()),
                "{word}"
            );
        }
        assert!(STRUCTURAL.contains_folded(b"Select") && !STRUCTURAL.contains(b"Select"));
        assert!(SOFT.contains(b"by") && !SOFT.contains(b"b"));
    }

    #[test]
    fn functions_with_effects_are_not_in_the_set() {
        for word in [
            "set_config",
            "setseed",
            "pg_advisory_lock",
            "pg_try_advisory_lock_shared",
            "pg_advisory_unlock",
            "query_to_xml",
            "database_to_xml_and_xmlschema",
            "ts_stat",
            "ts_rewrite",
            "pg_create_logical_replication_slot",
            "pg_backup_start",
            "treat",
            "",
        ] {
            assert!(!FUNCTIONS.contains(word.as_bytes()), "{word}");
        }
        assert!(FUNCTIONS.contains(b"pg_advisory_xact_lock"));
        assert!(FUNCTIONS.contains(b"pg_advisory_unlock_all"));
    }
}
