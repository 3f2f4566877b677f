//! A primary with a schema of every kind, its streaming standby, and connections to both.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use tenantry::demo::cluster::Cluster;
use tenantry::session::{Catalog, Extent};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Rows as text.
pub(crate) type Rows = Vec<Vec<Option<String>>>;

const SCHEMA: &str = include_str!("schema.sql");
const DATABASE: &str = "reads";

/// Both servers.
pub(crate) struct World {
    pub(crate) primary: Node,
    pub(crate) standby: Node,
    _servers: [Cluster; 2],
}

/// One of them.
pub(crate) struct Node {
    runtime: Runtime,
    /// As superuser.
    admin: RefCell<Client>,
    /// As the tenant's role, which row-level security applies to.
    app: RefCell<Client>,
}

impl World {
    pub(crate) fn start() -> Self {
        let server = Cluster::builder()
            .max_connections(20)
            .setting("max_prepared_transactions", 2)
            .start()
            .expect("a primary");
        let run = |database, sql: &str| server.psql(database, sql).expect("the schema");
        run(
            "postgres",
            &format!("CREATE ROLE app LOGIN PASSWORD 'app'; CREATE DATABASE {DATABASE}"),
        );
        run(DATABASE, SCHEMA);
        let standby = server.start_replica().expect("a standby");
        let position = run(DATABASE, "SELECT pg_current_wal_insert_lsn()");
        await_replay(&standby, &position);
        Self {
            primary: Node::connect(&server),
            standby: Node::connect(&standby),
            _servers: [server, standby],
        }
    }
}

fn await_replay(standby: &Cluster, position: &str) {
    let question = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
    let deadline = Instant::now() + Duration::from_secs(60);
    while standby.psql("postgres", &question).ok().as_deref() != Some("t") {
        assert!(Instant::now() < deadline, "{}", standby.log_tail());
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Node {
    fn connect(server: &Cluster) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let client = |url: String| {
            let (client, connection) = runtime
                .block_on(tokio_postgres::connect(&url, NoTls))
                .expect("a connection");
            runtime.spawn(connection);
            RefCell::new(client)
        };
        let app = format!(
            "postgres://app:app@127.0.0.1:{}/{DATABASE}?options=-csearch_path%3Ds,public",
            server.port()
        );
        Self {
            admin: client(server.superuser_url(DATABASE)),
            app: client(app),
            runtime,
        }
    }

    /// What the tenant's role is answered; an error is its code. A text with parameters is prepared, and
    /// each is given as 1.
    pub(crate) fn ask(&self, text: &str) -> Result<Rows, String> {
        if !text.contains("$1") {
            return self.query(&self.app, text);
        }
        let values = if text.contains("$2") {
            "'1', '1'"
        } else {
            "'1'"
        };
        let text = format!("PREPARE p AS {text}; EXECUTE p ({values}); DEALLOCATE p");
        self.query(&self.app, &text)
    }

    /// What the superuser is answered.
    pub(crate) fn ask_all(&self, text: &str) -> Result<Rows, String> {
        self.query(&self.admin, text)
    }

    /// What the database's catalog says, as a worker reads it.
    pub(crate) fn catalog(&self) -> Catalog {
        let version = self.ask("SHOW server_version").expect("a version");
        let version = version[0][0].as_deref();
        let rows = self
            .query(&self.app, &Catalog::query(version, Extent::Reads))
            .expect("the catalog");
        let row = |row: &'_ Vec<Option<String>>| {
            let text = |column: usize| row[column].clone().unwrap_or_default();
            (text(0), text(1))
        };
        let rows: Vec<(String, String)> = rows.iter().map(row).collect();
        Catalog::read(rows.iter().map(|(kind, name)| (&**kind, &**name)))
    }

    fn query(&self, client: &RefCell<Client>, text: &str) -> Result<Rows, String> {
        let client = client.borrow();
        let messages = self
            .runtime
            .block_on(client.simple_query(text))
            .map_err(|error| {
                error
                    .code()
                    .map_or_else(|| error.to_string(), |c| c.code().to_owned())
            })?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let columns = 0..row.len();
                Some(columns.map(|c| row.get(c).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }
}
