//! A proxy with a console and two tenants, and a session of the console that reads tables by name.

use std::collections::BTreeMap;

use crate::support::client::{Client, Reply};
use crate::support::postgres::Database;
use crate::support::proxy::{Proxy, Toml};

/// Users `admin` and `watch`; their password is what [`Client`] uses for names without a tenant.
pub fn users() -> String {
    let password = Database::PASSWORD;
    format!(
        "[console]\nusers = [{{ name = 'admin', password = '{password}', role = 'admin' }}, \
         {{ name = 'watch', password = '{password}', role = 'stats' }}]"
    )
}

pub struct World {
    pub acme: Database,
    pub proxy: Proxy,
}

impl World {
    pub fn new(server: &str, pool: &str) -> Self {
        let (acme, globex) = (Database::fresh(), Database::fresh());
        let proxy = Self::toml(&acme, &globex, server, pool).start();
        Self { acme, proxy }
    }

    /// Two clusters on one server, a tenant on each.
    pub fn toml(acme: &Database, globex: &Database, server: &str, pool: &str) -> Toml {
        Toml::default()
            .server(server)
            .pool(pool)
            .tables(&users())
            .cluster("main", acme.port, "")
            .cluster("other", globex.port, "")
            .tenant("acme", "main", acme, "")
            .tenant("globex", "other", globex, "")
    }

    pub fn admin(&self) -> Console {
        self.console("admin", "pgbouncer")
    }

    pub fn console(&self, user: &str, database: &str) -> Console {
        let client = Client::log_in(self.proxy.address(), user, database, &[]);
        Console(client.expect("the login works"))
    }

    pub fn client(&self, tenant: &str) -> Client {
        self.proxy.client(tenant)
    }
}

/// A row by the names of its columns.
pub type Row = BTreeMap<String, String>;

/// A session of the console.
pub struct Console(pub Client);

impl Console {
    /// The rows of a table.
    pub fn rows(&mut self, sql: &str) -> Vec<Row> {
        rows(&self.0.query(sql))
    }

    /// The row of a table whose column is of that value.
    pub fn row(&mut self, sql: &str, column: &str, value: &str) -> Row {
        let mut rows = self.rows(sql);
        rows.retain(|row| row[column] == value);
        assert_eq!(rows.len(), 1, "{column} = {value} in {sql}: {rows:?}");
        rows.remove(0)
    }

    /// A command that works.
    pub fn does(&mut self, sql: &str) {
        let reply = self.0.query(sql);
        assert_eq!(reply.tags(), "CZ", "{sql}: {reply:?}");
    }

    /// The SQLSTATE of a command that fails.
    pub fn fails(&mut self, sql: &str) -> String {
        let reply = self.0.query(sql);
        assert_eq!(reply.tags(), "EZ", "{sql}: {reply:?}");
        reply.errors().remove(0)
    }
}

/// The rows of a reply.
pub fn rows(reply: &Reply) -> Vec<Row> {
    let description = reply.0.iter().find(|m| m.tag == b'T');
    let description = description.unwrap_or_else(|| panic!("no rows in {reply:?}"));
    let names = names(&description.body);
    let rows = reply.0.iter().filter(|m| m.tag == b'D');
    rows.map(|m| names.iter().cloned().zip(m.columns()).collect())
        .collect()
}

/// The columns of a RowDescription.
pub fn names(body: &[u8]) -> Vec<String> {
    let mut rest = &body[2..];
    let mut names = Vec::new();
    while let Some(end) = rest.iter().position(|b| *b == 0) {
        names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = &rest[end + 19..];
    }
    names
}

/// The numbers in these columns.
pub fn numbers(row: &Row, names: &[&str]) -> Vec<u64> {
    let number = |name: &&str| row[*name].parse().unwrap_or_else(|e| panic!("{name}: {e}"));
    names.iter().map(number).collect()
}

/// These columns have these values.
pub fn has(row: &Row, expected: &[(&str, &str)]) {
    for (column, value) in expected {
        assert_eq!(row[*column], *value, "{column} of {row:?}");
    }
}
