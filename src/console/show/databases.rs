//! SHOW DATABASES: a row a tenant.

use std::collections::HashMap;

use super::{CONSOLE, pool_mode};
use crate::config::TenantStatus;
use crate::console::table::{Column, Row, Table, Type, Value};
use crate::console::{Console, MAX_SESSIONS};
use crate::tenant::Tenant;
use crate::tenant::switches::Switches;
use crate::types::{NodeAddr, TenantId};
use crate::worker::report::{PoolRow, ServerCounts};

pub(super) const COLUMNS: &[Column] = &[
    ("name", Type::Text),
    ("host", Type::Text),
    ("port", Type::Int4),
    ("database", Type::Text),
    ("force_user", Type::Text),
    ("pool_size", Type::Int4),
    ("min_pool_size", Type::Int4),
    ("reserve_pool_size", Type::Int4),
    ("server_lifetime", Type::Int4),
    ("pool_mode", Type::Text),
    ("load_balance_hosts", Type::Text),
    ("max_connections", Type::Int4),
    ("current_connections", Type::Int4),
    ("max_client_connections", Type::Int4),
    ("current_client_connections", Type::Int4),
    ("paused", Type::Int4),
    ("disabled", Type::Int4),
    // Ours.
    ("cluster", Type::Text),
    ("status", Type::Text),
    // PgBouncer's name of reserve_pool_size before 1.24.
    ("reserve_pool", Type::Int4),
];

/// Connections of one tenant.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    pub(super) clients: usize,
    pub(super) waiting: usize,
    pub(super) pinned: usize,
    pub(super) servers: usize,
}

/// Connections of each tenant.
pub(super) fn used(pools: &[PoolRow]) -> HashMap<TenantId, Used> {
    let mut all = HashMap::<_, Used>::new();
    for pool in pools {
        let used = all.entry(pool.tenant.id).or_default();
        used.clients += pool.clients;
        used.waiting += pool.waiting;
        used.pinned += pool.pinned;
        used.servers += open(&pool.servers);
    }
    all
}

/// Server connections that are open or opening; those that end are counted until they are gone.
pub(super) fn open(servers: &ServerCounts) -> usize {
    let ServerCounts {
        active,
        active_cancel,
        being_canceled,
        idle,
        used,
        tested,
        login,
        closing,
    } = servers;
    active + active_cancel + being_canceled + idle + used + tested + login + closing
}

/// The word for a tenant's status, as the configuration has it.
pub(super) fn status(status: TenantStatus) -> &'static str {
    match status {
        TenantStatus::Active => "active",
        TenantStatus::Suspended => "suspended",
        TenantStatus::Paused => "paused",
    }
}

/// Whether its clients wait, and whether new ones are refused.
pub(super) fn switched(switches: &Switches, tenant: &Tenant) -> (bool, bool) {
    let status = tenant.config.status;
    let paused = switches.is_paused(tenant) || status == TenantStatus::Paused;
    let disabled = switches.is_disabled(tenant) || status == TenantStatus::Suspended;
    (paused, disabled)
}

pub(super) fn table(console: &Console, pools: &[PoolRow]) -> Table {
    let view = console.view();
    let used = used(pools);
    let (switches, health) = (&console.0.around.switches, &console.0.around.health);
    let tenants = view.registry.iter();
    let row = |tenant: &std::sync::Arc<Tenant>| {
        let used = used.get(&tenant.id).copied().unwrap_or_default();
        let view = health.view(&tenant.config.cluster.name);
        let found = view.as_ref().and_then(|view| view.primary());
        let node = found.unwrap_or(&tenant.config.cluster.primary);
        row(tenant, node, used, switched(switches, tenant))
    };
    let rows: Vec<Row> = tenants.map(row).collect();
    let own = own_row(console);
    Table::new(COLUMNS, rows.into_iter().chain([own]))
}

fn row(tenant: &Tenant, node: &NodeAddr, used: Used, (paused, disabled): (bool, bool)) -> Row {
    let config = &tenant.config;
    let pool = &config.pool;
    let login = config.login.as_ref().map(|login| login.role.to_string());
    vec![
        config.slug.to_string().into(),
        node.host.to_string().into(),
        u64::from(node.port).into(),
        config.database.to_string().into(),
        login.into(),
        pool.size.into(),
        pool.min_size.into(),
        Value::Number(0),
        pool.max_lifetime.as_secs().into(),
        pool_mode(pool.mode).into(),
        Value::Null,
        // There is no limit but those of the pools and of the node.
        Value::Number(0),
        used.servers.into(),
        pool.max_clients.into(),
        used.clients.into(),
        paused.into(),
        disabled.into(),
        config.cluster.name.to_string().into(),
        status(config.status).into(),
        Value::Number(0),
    ]
}

/// The console itself.
fn own_row(console: &Console) -> Row {
    let none = Value::Number(0);
    vec![
        CONSOLE.into(),
        Value::Null,
        none.clone(),
        CONSOLE.into(),
        CONSOLE.into(),
        none.clone(),
        none.clone(),
        none.clone(),
        none.clone(),
        "statement".into(),
        Value::Null,
        none.clone(),
        none.clone(),
        MAX_SESSIONS.into(),
        console.0.sessions.count().into(),
        none.clone(),
        none.clone(),
        Value::Null,
        "active".into(),
        none,
    ]
}
