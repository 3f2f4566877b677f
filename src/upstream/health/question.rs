//! What a node is asked, and how its answers are read. No privilege is needed for any of it.
//!
//! Names are qualified, and `search_path` is set at the start: the login may be a tenant's, whose
//! own functions must not answer for the server.
//!
//! A standby does not tell which timeline it replays (manual 26.3.5): `pg_walfile_name` fails there. It
//! tells the one that it receives to members of pg_monitor (or pg_read_all_stats), at once. To others it
//! is shown by the control file alone, which learns of another timeline when the standby next flushes:
//! at its next restartpoint, often sooner, at the latest after its `checkpoint_timeout`. Both may be
//! lower than the truth, neither is ever higher.

use super::link::Row;
use crate::nodes::{Lsn, Position};

/// Settings of the connection. A role's own may not fit: `serializable` fails on a standby.
pub(super) const SETTINGS: [(&str, &str); 4] = [
    ("application_name", "tenantry monitor"),
    ("search_path", "pg_catalog"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
];

/// How a node is. Whether it is a standby is asked once: a promotion in between must not make the
/// functions of one role fail in the other. (Those of a standby do not fail on a primary.)
pub(super) const PROBE: &str = "\
SELECT s.standby, \
CASE WHEN s.standby THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
CASE WHEN s.standby THEN NULL ELSE pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) END, \
(SELECT c.timeline_id FROM pg_catalog.pg_control_checkpoint() c), \
(SELECT r.min_recovery_end_timeline FROM pg_catalog.pg_control_recovery() r), \
(SELECT w.received_tli FROM pg_catalog.pg_stat_get_wal_receiver() w), \
pg_catalog.current_setting('wal_block_size'), \
pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')), \
(SELECT y.system_identifier FROM pg_catalog.pg_control_system() y) \
FROM (SELECT pg_catalog.pg_is_in_recovery() AS standby OFFSET 0) s";

/// How far a primary is; fails on a standby.
pub(super) const POSITION: &str = "\
SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn())";

/// How far a standby is.
pub(super) const REPLAYED: &str = "SELECT pg_catalog.pg_last_wal_replay_lsn()";

/// The answer to [`PROBE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// What it says that it is.
    pub(super) standing: Standing,
    /// Identifies the cluster of servers that are copies of each other.
    pub(super) system: u64,
    /// How its WAL is divided.
    pub(super) pages: Pages,
}

/// What a node says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not in recovery, and this far.
    Primary(Position),
    /// In recovery.
    Standby {
        /// At least.
        timeline: u32,
        /// How far.
        replayed: Lsn,
    },
}

/// How the WAL is divided, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pages {
    block: u64,
    segment: u64,
}

/// The header of a page of WAL.
const SHORT_HEADER: u64 = 24;
/// And of the first page of a segment.
const LONG_HEADER: u64 = 40;

impl Pages {
    /// As servers are built and initialised by default.
    #[cfg(test)]
    pub(super) const USUAL: Self = Self {
        block: 8192,
        segment: 16 << 20,
    };

    /// Where the last record ends, from where the next one would begin.
    ///
    /// They differ where the last one fills its page: the next one begins behind the header of the
    /// next page, but a standby that has replayed everything is at the end of the last one. No
    /// record ends right behind a header: what continues on a page has at least 8 bytes there.
    pub(super) fn end_of_last(self, insert: Lsn) -> Lsn {
        let header = match insert.0 % self.segment {
            LONG_HEADER => LONG_HEADER,
            offset if offset > self.block && offset % self.block == SHORT_HEADER => SHORT_HEADER,
            _ => 0,
        };
        Lsn(insert.0 - header)
    }
}

/// Reads the answer to [`PROBE`]; `None`: it is none.
pub(super) fn found(row: &Row) -> Option<Found> {
    let text = |column: usize| row.get(column)?.as_deref();
    let timeline = |column| text(column).and_then(|t| t.parse::<u32>().ok());
    let pages = Pages {
        block: text(6)?.parse().ok().filter(|size| *size > LONG_HEADER)?,
        segment: text(7)?.parse().ok().filter(|size| *size > LONG_HEADER)?,
    };
    let standing = match text(0)? {
        // A standby that has replayed nothing yet has no position.
        "t" => Standing::Standby {
            timeline: [3, 4, 5].into_iter().filter_map(timeline).max()?,
            replayed: text(1).map_or(Some(Lsn(0)), |t| t.parse().ok())?,
        },
        _ => Standing::Primary(primary(text(1)?, text(2)?, pages)?),
    };
    Some(Found {
        standing,
        system: text(8)?.parse().ok()?,
        pages,
    })
}

/// Reads the answer to [`POSITION`].
pub(super) fn position(row: &Row, pages: Pages) -> Option<Position> {
    let text = |column: usize| row.get(column)?.as_deref();
    primary(text(0)?, text(1)?, pages)
}

/// Reads the answer to [`REPLAYED`].
pub(super) fn replayed(row: &Row) -> Option<Lsn> {
    row.first()?.as_deref()?.parse().ok()
}

/// The name of a file of WAL begins with its timeline.
fn primary(insert: &str, file: &str, pages: Pages) -> Option<Position> {
    Some(Position {
        timeline: u32::from_str_radix(file.get(..8)?, 16).ok()?,
        lsn: pages.end_of_last(insert.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(columns: [&str; 9]) -> Row {
        let column = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        columns.into_iter().map(column).collect()
    }

    #[test]
    fn a_primary_is_read() {
        let file = "0000001F0000000000000004";
        let row = row([
            "f",
            "0/4002018",
            file,
            "30",
            "0",
            "",
            "8192",
            "16777216",
            "18446744073709551615",
        ]);
        let position = Position {
            timeline: 31,
            lsn: Lsn(0x0400_2000),
        };
        let expected = Found {
            standing: Standing::Primary(position),
            system: u64::MAX,
            pages: Pages::USUAL,
        };
        assert_eq!(found(&row), Some(expected));
    }

    #[test]
    fn a_standby_is_on_the_highest_timeline_that_it_shows() {
        for (checkpoint, recovery, received) in [("3", "2", ""), ("2", "3", ""), ("1", "1", "3")] {
            let row = row([
                "t",
                "0/4002018",
                "",
                checkpoint,
                recovery,
                received,
                "8192",
                "16777216",
                "7",
            ]);
            let expected = Standing::Standby {
                timeline: 3,
                replayed: Lsn(0x0400_2018),
            };
            assert_eq!(found(&row).map(|f| f.standing), Some(expected));
        }
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let good = row([
            "f",
            "0/4002018",
            "000000010000000000000004",
            "1",
            "0",
            "",
            "8192",
            "16777216",
            "7",
        ]);
        assert!(found(&good).is_some());
        assert_eq!(found(&Row::new()), None);
        for column in [0, 1, 2, 6, 7, 8] {
            for broken in [
                None,
                Some("".to_owned()),
                Some("ä\u{0}".to_owned()),
                Some("0".to_owned()),
            ] {
                let mut row = good.clone();
                row[column] = broken;
                // A single 0 is an identifier, and no sign of a standby.
                let harmless = matches!(
                    (column, row[column].as_deref()),
                    (0, Some(_)) | (8, Some("0"))
                );
                assert_eq!(found(&row).is_some(), harmless, "{row:?}");
            }
        }
    }

    /// Where the next record begins, for an end of the last one: what the server does.
    fn next_begin(end: u64, pages: Pages) -> u64 {
        match (end % pages.segment, end % pages.block) {
            (0, _) => end + LONG_HEADER,
            (_, 0) => end + SHORT_HEADER,
            _ => end,
        }
    }

    proptest! {
        /// Ends are aligned to 8 and never within a header or right behind one.
        #[test]
        fn the_end_of_the_last_record_is_found(
            blocks in prop_oneof![Just(0_u64), Just(2047), Just(2048), 0..1_u64 << 30],
            inside in 0_u64..1024,
            block_bits in 10..17_u32,
            segment_bits in 20..31_u32,
        ) {
            let pages = Pages { block: 1 << block_bits, segment: 1 << segment_bits };
            let start = blocks * pages.block;
            let header = if start.is_multiple_of(pages.segment) { LONG_HEADER } else { SHORT_HEADER };
            let inside = inside * 8 % pages.block;
            let end = if inside <= header { start } else { start + inside };
            prop_assert_eq!(pages.end_of_last(Lsn(next_begin(end, pages))), Lsn(end));
        }
    }
}
