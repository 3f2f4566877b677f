//! `[routing]`, and what a tenant overrides of it.

use std::time::Duration;

use super::reader::Section;
use super::{Balance, Consistency, MaxLag, NoReplica, Reads, RoutingSettings, value};

impl Default for RoutingSettings {
    fn default() -> Self {
        Self {
            reads: Reads::Transactions,
            consistency: Consistency::Tenant,
            consistency_wait: Duration::from_millis(50),
            max_lag: MaxLag::Time(Duration::from_secs(5)),
            no_replica: NoReplica::Primary,
            notice: false,
            balance: Balance::RoundRobin,
        }
    }
}

pub(super) const READS: [(&str, Reads); 3] = [
    ("off", Reads::Off),
    ("transactions", Reads::Transactions),
    ("statements", Reads::Statements),
];
pub(super) const CONSISTENCIES: [(&str, Consistency); 4] = [
    ("tenant", Consistency::Tenant),
    ("session", Consistency::Session),
    ("bounded", Consistency::Bounded),
    ("eventual", Consistency::Eventual),
];
pub(super) const NO_REPLICAS: [(&str, NoReplica); 2] =
    [("primary", NoReplica::Primary), ("error", NoReplica::Error)];
pub(super) const BALANCES: [(&str, Balance); 2] = [
    ("round-robin", Balance::RoundRobin),
    ("least-connections", Balance::LeastConnections),
];

/// Reads the table over `base`.
pub(super) fn read(mut s: Section<'_>, base: &RoutingSettings) -> RoutingSettings {
    let settings = RoutingSettings {
        reads: reads(&mut s).unwrap_or(base.reads),
        consistency: s
            .word("consistency", &CONSISTENCIES)
            .unwrap_or(base.consistency),
        consistency_wait: s.duration("consistency_wait", base.consistency_wait),
        max_lag: s
            .value("max_lag")
            .and_then(|v| v.parsed(max_lag))
            .unwrap_or(base.max_lag),
        no_replica: s
            .word("no_replica", &NO_REPLICAS)
            .unwrap_or(base.no_replica),
        notice: s.switch("notice").unwrap_or(base.notice),
        balance: s.word("balance", &BALANCES).unwrap_or(base.balance),
    };
    s.finish();
    settings
}

/// Which reads go to replicas: to tell single ones takes PostgreSQL's parser.
fn reads(s: &mut Section<'_>) -> Option<Reads> {
    let reads = s.word("reads", &READS)?;
    if reads == Reads::Statements && !cfg!(feature = "pg_query") {
        let missing = "reads = \"statements\" needs a build with the feature pg_query";
        s.error("reads", missing);
    }
    Some(reads)
}

/// A duration, or an amount of WAL.
fn max_lag(text: &str) -> Result<MaxLag, String> {
    if let Ok(bytes) = value::size(text) {
        return Ok(MaxLag::Bytes(bytes));
    }
    let neither = "expected a duration such as \"5s\" or a size such as \"16MiB\"";
    value::duration(text)
        .map(MaxLag::Time)
        .map_err(|_| neither.to_owned())
}

/// As [`max_lag`] reads it.
pub(super) fn max_lag_text(lag: MaxLag) -> String {
    match lag {
        MaxLag::Time(time) => value::duration_text(time),
        MaxLag::Bytes(bytes) => value::size_text(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_reads_need_the_parser() {
        let answer = crate::config::tests::parse("routing = { reads = 'statements' }");
        if cfg!(feature = "pg_query") {
            assert_eq!(
                answer.map(|config| config.routing.reads),
                Ok(Reads::Statements)
            );
        } else {
            let error = answer.expect_err("no parser");
            assert!(error.contains("routing.reads: "), "{error}");
            assert!(error.contains("needs a build with the feature pg_query"));
        }
    }

    #[test]
    fn a_lag_is_a_time_or_an_amount_of_wal() {
        for (text, lag) in [
            ("5s", MaxLag::Time(Duration::from_secs(5))),
            ("250ms", MaxLag::Time(Duration::from_millis(250))),
            ("16MiB", MaxLag::Bytes(16 << 20)),
            ("64KiB", MaxLag::Bytes(64 << 10)),
            ("1B", MaxLag::Bytes(1)),
        ] {
            assert_eq!(max_lag(text), Ok(lag), "{text}");
            assert_eq!(max_lag_text(lag), text);
        }
        for text in ["", "5", "MiB", "5 s", "-1s", "16MB"] {
            assert!(max_lag(text).is_err(), "{text}");
        }
    }
}
