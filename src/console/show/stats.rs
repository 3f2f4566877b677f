//! SHOW STATS, STATS_TOTALS, STATS_AVERAGES and TOTALS: what tenants have done since the start, and
//! a second in the last period.

use std::collections::BTreeMap;

use super::CONSOLE;
use crate::console::Console;
use crate::console::averages::{Sample, taken};
use crate::console::command::Show;
use crate::console::table::{Column, Row, Table, Type, Value};
use crate::types::TenantId;
use crate::worker::stats::Stats;

pub(super) const STATS: &[Column] = &[
    ("database", Type::Text),
    ("total_server_assignment_count", Type::Numeric),
    ("total_xact_count", Type::Numeric),
    ("total_query_count", Type::Numeric),
    ("total_received", Type::Numeric),
    ("total_sent", Type::Numeric),
    ("total_xact_time", Type::Numeric),
    ("total_query_time", Type::Numeric),
    ("total_wait_time", Type::Numeric),
    ("total_client_parse_count", Type::Numeric),
    ("total_server_parse_count", Type::Numeric),
    ("total_bind_count", Type::Numeric),
    ("avg_server_assignment_count", Type::Numeric),
    ("avg_xact_count", Type::Numeric),
    ("avg_query_count", Type::Numeric),
    ("avg_recv", Type::Numeric),
    ("avg_sent", Type::Numeric),
    ("avg_xact_time", Type::Numeric),
    ("avg_query_time", Type::Numeric),
    ("avg_wait_time", Type::Numeric),
    ("avg_client_parse_count", Type::Numeric),
    ("avg_server_parse_count", Type::Numeric),
    ("avg_bind_count", Type::Numeric),
    // Ours.
    ("total_server_closed_count", Type::Numeric),
    ("total_server_lifetime", Type::Numeric),
    ("total_wait_count", Type::Numeric),
    ("avg_server_closed_count", Type::Numeric),
    ("avg_server_lifetime", Type::Numeric),
    ("avg_wait_count", Type::Numeric),
    // What exporters from before PgBouncer 1.8 ask for: the queries.
    ("total_requests", Type::Numeric),
];

pub(super) const TOTALS: &[Column] = &[
    ("database", Type::Text),
    ("server_assignment_count", Type::Numeric),
    ("xact_count", Type::Numeric),
    ("query_count", Type::Numeric),
    ("bytes_received", Type::Numeric),
    ("bytes_sent", Type::Numeric),
    ("xact_time", Type::Numeric),
    ("query_time", Type::Numeric),
    ("wait_time", Type::Numeric),
    ("client_parse_count", Type::Numeric),
    ("server_parse_count", Type::Numeric),
    ("bind_count", Type::Numeric),
    // Ours.
    ("server_closed_count", Type::Numeric),
    ("server_lifetime", Type::Numeric),
    ("wait_count", Type::Numeric),
];

/// PgBouncer gives three of them another prefix than the rest.
pub(super) const AVERAGES: &[Column] = &[
    ("database", Type::Text),
    ("server_assignment_count", Type::Numeric),
    ("xact_count", Type::Numeric),
    ("query_count", Type::Numeric),
    ("bytes_received", Type::Numeric),
    ("bytes_sent", Type::Numeric),
    ("xact_time", Type::Numeric),
    ("query_time", Type::Numeric),
    ("wait_time", Type::Numeric),
    ("avg_client_parse_count", Type::Numeric),
    ("avg_server_parse_count", Type::Numeric),
    ("avg_bind_count", Type::Numeric),
    // Ours.
    ("server_closed_count", Type::Numeric),
    ("server_lifetime", Type::Numeric),
    ("wait_count", Type::Numeric),
];

pub(super) const ALL: &[Column] = &[("name", Type::Text), ("value", Type::Numeric)];

/// Names in SHOW TOTALS: for totals and for averages, PgBouncer's first.
const NAMES: [(&str, &str); 14] = [
    (
        "total_server_assignment_count",
        "avg_server_assignment_count",
    ),
    ("total_xact_count", "avg_xact_count"),
    ("total_query_count", "avg_query_count"),
    ("total_client_bytes", "avg_client_bytes"),
    ("total_server_bytes", "avg_server_bytes"),
    ("total_xact_time", "avg_xact_time"),
    ("total_query_time", "avg_query_time"),
    ("total_wait_time", "avg_wait_time"),
    ("total_ps_client_parse_count", "avg_ps_client_parse_count"),
    ("total_ps_server_parse_count", "avg_ps_server_parse_count"),
    ("total_ps_bind_count", "avg_ps_bind_count"),
    ("total_server_closed_count", "avg_server_closed_count"),
    ("total_server_lifetime", "avg_server_lifetime"),
    ("total_wait_count", "avg_wait_count"),
];

/// How many of [`NAMES`] are PgBouncer's.
const PGBOUNCERS: usize = 11;

/// The numbers in the order of [`NAMES`].
fn numbers(stats: &Stats) -> [u64; 14] {
    [
        stats.leases,
        stats.transactions,
        stats.queries,
        stats.received,
        stats.sent,
        stats.transaction_us,
        stats.query_us,
        stats.wait_us,
        stats.client_parses,
        stats.server_parses,
        stats.binds,
        stats.server_closed,
        stats.server_lifetime_us,
        stats.waits,
    ]
}

/// One of the four tables.
pub(super) async fn table(console: &Console, table: Show) -> Table {
    let own = console.0.sessions.stats();
    if table == Show::Totals {
        let (_, mut now) = taken(&console.0.around.workers).await;
        now.add(&own);
        let from = console.0.averages.from();
        let mut then = from.all();
        then.add(&from.console());
        let averages = from.averages(&then, &now);
        return Table::new(ALL, totals(&now, &averages));
    }
    let mut by_name = BTreeMap::<String, (Option<TenantId>, Stats)>::new();
    by_name.insert(CONSOLE.to_owned(), (None, own));
    for pool in console.0.around.workers.pools().await {
        let name = pool.tenant.slug().to_string();
        let entry = by_name.entry(name);
        let (_, stats) = entry.or_insert((Some(pool.tenant.id), Stats::default()));
        stats.add(&pool.stats);
    }
    let from = console.0.averages.from();
    let rows = by_name
        .into_iter()
        .map(move |(name, (tenant, now))| row(table, name, &now, &averages(&from, tenant, &now)));
    Table::new(super::columns(table), rows)
}

fn averages(from: &Sample, tenant: Option<TenantId>, now: &Stats) -> Stats {
    let then = tenant.map_or_else(|| from.console(), |tenant| from.of(tenant));
    from.averages(&then, now)
}

fn row(table: Show, name: String, now: &Stats, averages: &Stats) -> Row {
    let (totals, averages) = (numbers(now), numbers(averages));
    let mut row = vec![name.into()];
    let mut push = |numbers: &[u64]| row.extend(numbers.iter().map(|n| Value::from(*n)));
    match table {
        Show::StatsTotals => push(&totals),
        Show::StatsAverages => push(&averages),
        _ => {
            push(&totals[..PGBOUNCERS]);
            push(&averages[..PGBOUNCERS]);
            push(&totals[PGBOUNCERS..]);
            push(&averages[PGBOUNCERS..]);
            push(&[now.queries]);
        }
    }
    row
}

fn totals(now: &Stats, averages: &Stats) -> Vec<Row> {
    let totals = NAMES.iter().map(|(total, _)| *total).zip(numbers(now));
    let averages = NAMES.iter().map(|(_, avg)| *avg).zip(numbers(averages));
    let (totals, averages): (Vec<_>, Vec<_>) = (totals.collect(), averages.collect());
    let order = [
        &totals[..PGBOUNCERS],
        &averages[..PGBOUNCERS],
        &totals[PGBOUNCERS..],
        &averages[PGBOUNCERS..],
    ];
    let row = |(name, value): &(&'static str, u64)| vec![(*name).into(), (*value).into()];
    order.into_iter().flatten().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_in_its_column() {
        let now = Stats {
            transactions: 2,
            queries: 3,
            leases: 1,
            waits: 14,
            received: 4,
            sent: 5,
            transaction_us: 6,
            query_us: 7,
            wait_us: 8,
            client_parses: 9,
            server_parses: 10,
            binds: 11,
            server_closed: 12,
            server_lifetime_us: 13,
        };
        let mut averages = Stats::default();
        for _ in 0..100 {
            averages.add(&now);
        }
        for (table, expected) in [
            (Show::StatsTotals, (1..=14).collect::<Vec<u64>>()),
            (Show::StatsAverages, (1..=14).map(|n| n * 100).collect()),
            (
                Show::Stats,
                (1..=11)
                    .chain((1..=11).map(|n| n * 100))
                    .chain([12, 13, 14, 1200, 1300, 1400, 3])
                    .collect(),
            ),
        ] {
            let row = row(table, "a".to_owned(), &now, &averages);
            let numbers: Vec<Value> = expected.into_iter().map(Value::from).collect();
            assert_eq!(row[1..], numbers, "{table:?}");
            assert_eq!(row.len(), super::super::columns(table).len(), "{table:?}");
        }
        let all = totals(&now, &averages);
        let value = |name: &'static str| {
            all.iter().find(|r| r[0] == Value::Fixed(name)).unwrap()[1].clone()
        };
        assert_eq!(value("total_client_bytes"), Value::Number(4));
        assert_eq!(value("avg_ps_bind_count"), Value::Number(1100));
        assert_eq!(all.len(), 28);
    }
}
