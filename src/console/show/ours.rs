//! SHOW TENANTS and PINS: what PgBouncer has no table for; see also `nodes`.

use std::sync::Arc;
use std::time::SystemTime;

use super::databases::{status, switched, used};
use super::pool_mode;
use crate::console::Console;
use crate::console::table::{Column, Row, Table, Type};
use crate::console::time::shown;
use crate::tenant::Tenant;
use crate::worker::report::{ClientRow, PoolRow};

pub(super) const TENANTS: &[Column] = &[
    ("tenant", Type::Text),
    ("status", Type::Text),
    ("cluster", Type::Text),
    ("database", Type::Text),
    ("pool_mode", Type::Text),
    ("pool_size", Type::Int4),
    ("servers", Type::Int4),
    ("clients", Type::Int4),
    ("waiting", Type::Int4),
    ("pinned", Type::Int4),
    ("max_clients", Type::Int4),
    ("roles", Type::Int4),
    ("paused", Type::Int4),
    ("disabled", Type::Int4),
];

pub(super) const PINS: &[Column] = &[
    ("tenant", Type::Text),
    ("user", Type::Text),
    ("reason", Type::Text),
    ("client_id", Type::Int8),
    ("server_id", Type::Int8),
    ("application_name", Type::Text),
    ("connect_time", Type::Text),
    ("request_time", Type::Text),
    ("idle", Type::Int4),
];

/// SHOW TENANTS.
pub(super) fn tenants(console: &Console, pools: &[PoolRow]) -> Table {
    let used = used(pools);
    let switches = &console.0.around.switches;
    let row = |tenant: &Arc<Tenant>| -> Row {
        let (config, pool) = (&tenant.config, &tenant.config.pool);
        let used = used.get(&tenant.id).copied().unwrap_or_default();
        let (paused, disabled) = switched(switches, tenant);
        vec![
            config.slug.to_string().into(),
            status(config.status).into(),
            config.cluster.name.to_string().into(),
            config.database.to_string().into(),
            pool_mode(pool.mode).into(),
            pool.size.into(),
            used.servers.into(),
            used.clients.into(),
            used.waiting.into(),
            used.pinned.into(),
            pool.max_clients.into(),
            config.roles.len().into(),
            paused.into(),
            disabled.into(),
        ]
    };
    let rows: Vec<Row> = console.view().registry.iter().map(row).collect();
    Table::new(TENANTS, rows)
}

/// SHOW PINS.
pub(super) fn pins(clients: Vec<ClientRow>) -> Table {
    let now = SystemTime::now();
    let rows = clients.into_iter().map(move |client| -> Row {
        let idle = now.duration_since(client.requested).unwrap_or_default();
        vec![
            client.tenant.slug().to_string().into(),
            client.role.to_string().into(),
            client.pin.into(),
            client.id.into(),
            client.server.into(),
            client.application_name.into(),
            shown(client.socket.connected).into(),
            shown(client.requested).into(),
            idle.as_secs().into(),
        ]
    });
    Table::new(PINS, rows)
}
