//! SHOW LISTS: how many there are of everything.

use super::users;
use crate::console::Console;
use crate::console::table::{Column, Row, Table, Type};
use crate::worker::report::WorkerRow;

pub(super) const COLUMNS: &[Column] = &[("list", Type::Text), ("items", Type::Int4)];

pub(super) fn table(console: &Console, workers: &[WorkerRow]) -> Table {
    let sum = |of: fn(&WorkerRow) -> usize| workers.iter().map(of).sum::<usize>();
    let own = console.0.sessions.count();
    let all = console.0.around.clients.taken();
    // The console is a database, and has a pool.
    let rows: [(&'static str, usize); 14] = [
        ("databases", console.view().registry.len() + 1),
        ("users", users::count(console)),
        ("peers", 0),
        ("pools", sum(|w| w.pools) + 1),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", all + own),
        ("login_clients", all.saturating_sub(sum(|w| w.clients))),
        ("free_servers", 0),
        ("used_servers", sum(|w| w.servers)),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ];
    let row = |(list, items): (&'static str, usize)| -> Row { vec![list.into(), items.into()] };
    Table::new(COLUMNS, rows.map(row))
}
