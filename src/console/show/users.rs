//! SHOW USERS: a row a name, of clients' roles, server roles and users of the console. PgBouncer's
//! users are of the whole proxy; here one name may be a role of many tenants, and counts together.

use std::collections::BTreeMap;

use super::databases::open;
use crate::console::Console;
use crate::console::table::{Column, Row, Table, Type, Value};
use crate::worker::report::{ClientRow, PoolRow};

pub(super) const COLUMNS: &[Column] = &[
    ("name", Type::Text),
    ("pool_size", Type::Text),
    ("reserve_pool_size", Type::Text),
    ("pool_mode", Type::Text),
    ("max_user_connections", Type::Int4),
    ("current_connections", Type::Int4),
    ("max_user_client_connections", Type::Int4),
    ("current_client_connections", Type::Int4),
];

/// Server connections, clients.
type Counts = (usize, usize);

pub(super) fn table(console: &Console, pools: &[PoolRow], clients: &[ClientRow]) -> Table {
    let mut users = named(console);
    for pool in pools {
        users.entry(pool.role.to_string()).or_default().0 += open(&pool.servers);
    }
    for client in clients {
        users.entry(client.role.to_string()).or_default().1 += 1;
    }
    for session in console.0.sessions.rows() {
        users.entry(session.login.user).or_default().1 += 1;
    }
    Table::new(COLUMNS, users.into_iter().map(row))
}

/// How many names there are.
pub(super) fn count(console: &Console) -> usize {
    named(console).len()
}

/// All names that are configured.
fn named(console: &Console) -> BTreeMap<String, Counts> {
    let view = console.view();
    let tenants = view.registry.iter();
    let roles = tenants.flat_map(|tenant| {
        let config = &tenant.config;
        let login = config.login.iter().map(|login| &login.role);
        config.roles.iter().map(|role| &role.name).chain(login)
    });
    let own = view.config.console.users.iter().map(|user| &user.name);
    let names = roles.chain(own).map(|name| (name.to_string(), (0, 0)));
    names.collect()
}

/// There are no limits by user.
fn row((name, (servers, clients)): (String, Counts)) -> Row {
    vec![
        name.into(),
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Number(0),
        servers.into(),
        Value::Number(0),
        clients.into(),
    ]
}
