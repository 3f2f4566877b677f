//! Where sessions of a play log in: directly, at Tenantry, at PgBouncer.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::play::{Place, Room};
use crate::support::client::Client;
use crate::support::patience::eventually;
use crate::support::postgres::Database;
use crate::support::proxy::Proxy;

/// A database with somebody who watches who is connected to it.
#[derive(Debug)]
pub struct Stage {
    /// Its role owns it.
    pub database: Database,
    watcher: Mutex<Client>,
}

impl Stage {
    /// A fresh database, set up by a superuser.
    pub fn new(setup: &[&str]) -> Self {
        let database = Database::fresh();
        if !setup.is_empty() {
            database.admin(&setup.join(";\n").replace("{me}", &database.name));
        }
        let watcher = Mutex::new(Client::direct(&database).expect("the watcher logs in"));
        Self { database, watcher }
    }

    /// Waits until that many sessions are connected, the watcher left out.
    pub fn wait_for_sessions(&self, count: usize) {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
        let mut watcher = self.watcher.lock().expect("nobody panics with it");
        eventually("they have left", || watcher.value(sql) == count.to_string());
    }

    /// Waits a little for advisory locks to end, the only state that sessions see of each other.
    fn wait_for_locks(&self) {
        let sql = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database \
                   WHERE locktype = 'advisory' AND datname = current_database()";
        let mut watcher = self.watcher.lock().expect("nobody panics with it");
        let start = Instant::now();
        while watcher.value(sql) != "0" && start.elapsed() < A_LITTLE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A server connection that is closed behind its session may end a little later.
const A_LITTLE: Duration = Duration::from_millis(500);

/// No pooler: the truth.
impl Place for Stage {
    fn log_in(&self, startup: &[(&str, &str)]) -> io::Result<Client> {
        Client::direct_with(&self.database, startup)
    }

    fn wait_for_leaving(&self, left: usize) {
        self.wait_for_sessions(left);
    }
}

/// Tenantry, with a pool of its own.
#[derive(Debug)]
pub struct Tenantry<'a> {
    proxy: Proxy,
    stage: &'a Stage,
    room: Room,
}

impl<'a> Tenantry<'a> {
    pub fn new(stage: &'a Stage, room: Room, patience: &str) -> Self {
        let size = if room == Room::One { 2 } else { 3 };
        let pool = format!("size = {size}\nmax_pins = 100\nacquire_timeout = '{patience}'");
        let proxy = Proxy::of(&stage.database, &pool);
        Self { proxy, stage, room }
    }
}

impl Place for Tenantry<'_> {
    fn log_in(&self, startup: &[(&str, &str)]) -> io::Result<Client> {
        Client::connect(self.proxy.address(), &self.stage.database.name, startup)
    }

    fn wait_for_leaving(&self, left: usize) {
        eventually("the owner has left", || self.proxy.app.clients() == left);
        self.stage.wait_for_locks();
    }

    fn room(&self) -> Room {
        self.room
    }
}

/// PgBouncer in transaction mode with two server connections, ended when dropped.
#[derive(Debug)]
pub struct Bouncer {
    process: Child,
    /// On the port of PgBouncer.
    database: Database,
    _place: tempfile::TempDir,
}

impl Bouncer {
    /// Its version, as it says.
    pub fn version(program: &str) -> String {
        let output = Command::new(program).arg("--version").output();
        let text = output.expect("PgBouncer can be run").stdout;
        let text = String::from_utf8_lossy(&text);
        text.lines().next().unwrap_or_default().to_owned()
    }

    /// As `bench/run` starts it, but for the size of its pool.
    pub fn new(program: &str, database: &Database) -> io::Result<Self> {
        let place = tempfile::tempdir()?;
        let (dir, name, backend) = (place.path(), &database.name, database.port);
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut ini = format!(
            "[databases]\n{name} = host=127.0.0.1 port={backend} dbname={name}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {}/userlist.txt\npool_mode = transaction\n\
             default_pool_size = 2\nserver_tls_sslmode = disable\nquery_wait_timeout = 5\n",
            dir.display()
        );
        if prepares(&Self::version(program)) {
            ini += "max_prepared_statements = 500\n";
        }
        let users = format!("\"{name}\" \"{}\"\n", Database::PASSWORD);
        readable(dir, 0o755)?;
        for (file, text) in [("pgbouncer.ini", ini), ("userlist.txt", users)] {
            fs::write(dir.join(file), text)?;
            readable(&dir.join(file), 0o644)?;
        }
        let mut command = Command::new(program);
        if nix::unistd::geteuid().is_root() {
            command.args(["-u", "postgres"]);
        }
        let process = command
            .arg(dir.join("pgbouncer.ini"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("PgBouncer serves", || TcpStream::connect(address).is_ok());
        let database = Database {
            port,
            ..database.clone()
        };
        Ok(Self {
            process,
            database,
            _place: place,
        })
    }
}

impl Place for Bouncer {
    fn log_in(&self, startup: &[(&str, &str)]) -> io::Result<Client> {
        Client::direct_with(&self.database, startup)
    }

    fn room(&self) -> Room {
        Room::One
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn readable(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Prepared statements in transaction mode came with 1.21.
fn prepares(version: &str) -> bool {
    let number = version.rsplit(' ').next().unwrap_or_default();
    let mut parts = number.split('.').map(|p| p.parse().unwrap_or(0));
    (parts.next(), parts.next()) >= (Some(1), Some(21))
}
