//! The tables of SHOW, each a function of rows that workers report.
//!
//! PgBouncer's columns come first, with its names, order and types (release 1.25); what is ours comes
//! after them. A database is a tenant, by its slug; a user of a pool or server connection is the server
//! role. The console shows itself as the database `pgbouncer`, as PgBouncer's does.

mod databases;
mod lists;
mod nodes;
mod ours;
mod pools;
mod sockets;
mod stats;
mod users;

use super::Console;
use super::command::Show;
use super::table::{Column, Table, Type};
use crate::error::ClientError;
use crate::worker::report::Which;

/// The console's name in tables.
const CONSOLE: &str = "pgbouncer";

const DNS_HOSTS: &[Column] = &[
    ("hostname", Type::Text),
    ("ttl", Type::Int8),
    ("addrs", Type::Text),
];

const DNS_ZONES: &[Column] = &[
    ("zonename", Type::Text),
    ("serial", Type::Int8),
    ("count", Type::Int4),
];

const CONFIG: &[Column] = &[
    ("key", Type::Text),
    ("value", Type::Text),
    ("default", Type::Text),
    ("changeable", Type::Text),
];

const MEM: &[Column] = &[
    ("name", Type::Text),
    ("size", Type::Int4),
    ("used", Type::Int4),
    ("free", Type::Int4),
    ("memtotal", Type::Int4),
];

const PEERS: &[Column] = &[
    ("peer_id", Type::Int4),
    ("host", Type::Text),
    ("port", Type::Int4),
    ("pool_size", Type::Int4),
];

const PEER_POOLS: &[Column] = &[
    ("peer_id", Type::Int4),
    ("cl_active_cancel_req", Type::Int4),
    ("cl_waiting_cancel_req", Type::Int4),
    ("sv_active_cancel", Type::Int4),
    ("sv_login", Type::Int4),
];

const STATE: &[Column] = &[("key", Type::Text), ("value", Type::Text)];

const VERSION: &[Column] = &[("version", Type::Text)];

/// The columns of a table.
pub(super) fn columns(table: Show) -> &'static [Column] {
    match table {
        Show::ActiveSockets | Show::Sockets => sockets::SOCKETS,
        Show::Clients => sockets::CLIENTS,
        Show::Config => CONFIG,
        Show::Databases => databases::COLUMNS,
        Show::DnsHosts => DNS_HOSTS,
        Show::DnsZones => DNS_ZONES,
        Show::Lists => lists::COLUMNS,
        Show::Mem => MEM,
        Show::Nodes => nodes::NODES,
        Show::PeerPools => PEER_POOLS,
        Show::Peers => PEERS,
        Show::Pins => ours::PINS,
        Show::Pools => pools::COLUMNS,
        Show::Replicas => nodes::REPLICAS,
        Show::Servers => sockets::SERVERS,
        Show::State => STATE,
        Show::Stats => stats::STATS,
        Show::StatsAverages => stats::AVERAGES,
        Show::StatsTotals => stats::TOTALS,
        Show::Tenants => ours::TENANTS,
        Show::Totals => stats::ALL,
        Show::Users => users::COLUMNS,
        Show::Version => VERSION,
    }
}

/// A table, as of now.
pub(super) async fn table(console: &Console, table: Show) -> Result<Table, ClientError> {
    let workers = &console.0.around.workers;
    let columns = columns(table);
    Ok(match table {
        Show::ActiveSockets | Show::Sockets => {
            let clients = workers.clients(Which::All).await;
            let servers = workers.servers().await;
            sockets::sockets(table, clients, servers, console.0.sessions.rows())
        }
        Show::Clients => {
            let clients = workers.clients(Which::All).await;
            sockets::clients(clients, console.0.sessions.rows())
        }
        Show::Servers => sockets::servers(workers.servers().await),
        Show::Config => Table::new(columns, config(console)),
        Show::Pools => pools::table(workers.pools().await, console.0.sessions.count()),
        Show::Databases => databases::table(console, &workers.pools().await),
        Show::Tenants => ours::tenants(console, &workers.pools().await),
        Show::Nodes => nodes::nodes(console),
        Show::Replicas => nodes::replicas(console, &workers.servers().await),
        Show::Pins => ours::pins(workers.clients(Which::Pinned).await),
        Show::Users => {
            let clients = workers.clients(Which::All).await;
            users::table(console, &workers.pools().await, &clients)
        }
        Show::Lists => lists::table(console, &workers.overview().await),
        Show::Stats | Show::StatsAverages | Show::StatsTotals | Show::Totals => {
            stats::table(console, table).await
        }
        Show::State => Table::new(columns, state(console)),
        Show::Version => Table::new(columns, [vec![super::VERSION.into()]]),
        // Nothing is allocated in advance, names are not cached by zone, and there are no peers.
        Show::DnsHosts | Show::DnsZones | Show::Mem | Show::Peers | Show::PeerPools => {
            Table::new(columns, [])
        }
    })
}

fn config(console: &Console) -> Vec<super::table::Row> {
    let row = |row: crate::config::Row| {
        vec![
            row.key.into(),
            row.value.into(),
            row.default.into(),
            yes_or_no(row.changeable).into(),
        ]
    };
    let rows = crate::config::show(&console.view().config);
    rows.into_iter().map(row).collect()
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn state(console: &Console) -> [super::table::Row; 3] {
    let suspended = console.is_suspended();
    let paused = console.0.around.switches.all_paused();
    [
        ("active", !paused && !suspended),
        ("paused", paused && !suspended),
        ("suspended", suspended),
    ]
    .map(|(key, yes)| vec![key.into(), yes_or_no(yes).into()])
}

/// The word for a mode, as PgBouncer has it.
fn pool_mode(mode: crate::config::PoolMode) -> &'static str {
    match mode {
        crate::config::PoolMode::Session => "session",
        crate::config::PoolMode::Transaction => "transaction",
        crate::config::PoolMode::Statement => "statement",
    }
}
