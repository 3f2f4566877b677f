//! SHOW POOLS: clients and server connections by what they do, a row a pool.

use super::{CONSOLE, pool_mode};
use crate::console::table::{Column, Row, Table, Type, Value};
use crate::worker::report::PoolRow;

pub(super) const COLUMNS: &[Column] = &[
    ("database", Type::Text),
    ("user", Type::Text),
    ("cl_active", Type::Int4),
    ("cl_waiting", Type::Int4),
    ("cl_active_cancel_req", Type::Int4),
    ("cl_waiting_cancel_req", Type::Int4),
    ("sv_active", Type::Int4),
    ("sv_active_cancel", Type::Int4),
    ("sv_being_canceled", Type::Int4),
    ("sv_idle", Type::Int4),
    ("sv_used", Type::Int4),
    ("sv_tested", Type::Int4),
    ("sv_login", Type::Int4),
    ("maxwait", Type::Int4),
    ("maxwait_us", Type::Int4),
    ("pool_mode", Type::Text),
    ("load_balance_hosts", Type::Text),
    // Ours.
    ("cl_pinned", Type::Int4),
    ("sv_closing", Type::Int4),
    ("sv_close_needed", Type::Int4),
    ("paused", Type::Int4),
];

pub(super) fn table(mut pools: Vec<PoolRow>, sessions: usize) -> Table {
    let key = |pool: &PoolRow| (pool.tenant.slug().clone(), pool.role.clone());
    pools.sort_by_cached_key(key);
    // Clients that ask for a standby have a pool of their own, with the same name.
    pools.dedup_by(|next, first| {
        let same = key(next) == key(first) && next.tenant.id == first.tenant.id;
        if same {
            first.add(next);
        }
        same
    });
    let rows = pools.into_iter().map(|pool| row(&pool));
    Table::new(COLUMNS, rows.chain([own_row(sessions)]))
}

fn row(pool: &PoolRow) -> Row {
    let servers = &pool.servers;
    let wait = pool.longest_wait;
    vec![
        pool.tenant.slug().to_string().into(),
        pool.role.to_string().into(),
        pool.clients.saturating_sub(pool.waiting).into(),
        pool.waiting.into(),
        pool.canceling.into(),
        pool.cancel_waiting.into(),
        // A cancelled client is still served, and its cancel request is a connection of its own.
        (servers.active + servers.active_cancel).into(),
        (servers.active_cancel + servers.being_canceled).into(),
        servers.being_canceled.into(),
        servers.idle.into(),
        servers.used.into(),
        servers.tested.into(),
        servers.login.into(),
        wait.as_secs().into(),
        u64::from(wait.subsec_micros()).into(),
        pool_mode(pool.tenant.config.pool.mode).into(),
        Value::Null,
        pool.pinned.into(),
        servers.closing.into(),
        pool.stale.into(),
        pool.paused.into(),
    ]
}

/// The console's own pool.
fn own_row(sessions: usize) -> Row {
    let mut row: Row = vec![CONSOLE.into(), CONSOLE.into(), sessions.into()];
    row.extend((0..12).map(|_| Value::Number(0)));
    row.extend(["statement".into(), Value::Null]);
    row.extend((0..4).map(|_| Value::Number(0)));
    row
}
