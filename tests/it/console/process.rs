//! What the console asks of the proxy as a whole, and signals: of a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::world::{Console, World};
use crate::support::client::{Client, PATIENCE};
use crate::support::frames::Frames;
use crate::support::patience::eventually;
use crate::support::postgres::Database;

const MOMENT: Duration = Duration::from_millis(150);

struct Process {
    child: Child,
    address: SocketAddr,
    file: PathBuf,
    text: String,
    acme: Database,
    _dir: tempfile::TempDir,
}

impl Process {
    fn start(server: &str, pool: &str) -> Self {
        let (acme, globex) = (Database::fresh(), Database::fresh());
        let text = World::toml(&acme, &globex, server, pool).text();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("proxy.toml");
        std::fs::write(&file, &text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tenantry"))
            .args(["serve", "--config"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, told) = sync_channel(1);
        // Reads to the end, so that the process is never held up.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening address=") {
                    let _unread = tell.try_send(address.trim().to_owned());
                }
            }
        });
        let address = told.recv_timeout(PATIENCE).expect("it listens");
        let address = address.parse().unwrap();
        Self {
            child,
            address,
            file,
            text,
            acme,
            _dir: dir,
        }
    }

    fn admin(&self) -> Console {
        Console(Client::log_in(self.address, "admin", "tenantry", &[]).unwrap())
    }

    fn client(&self) -> Client {
        Client::connect(self.address, "acme", &[]).unwrap()
    }

    fn write(&self, from: &str, to: &str) {
        let text = self.text.replacen(from, to, 1);
        assert_ne!(text, self.text);
        // As an editor does: the watcher never sees half of it.
        let new = self.file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &self.file).unwrap();
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// It ends by itself, and well.
    fn ends(&mut self) {
        eventually("it ends", || !self.is_running());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn pool_size(console: &mut Console) -> String {
    console.row("SHOW DATABASES", "name", "acme")["pool_size"].clone()
}

#[test]
fn reload_reads_the_file_again_or_says_what_is_wrong() {
    let process = Process::start("", "size = 5");
    let mut console = process.admin();
    assert_eq!(pool_size(&mut console), "5");
    process.write("size = 5", "size = 6");
    console.does("RELOAD");
    assert_eq!(pool_size(&mut console), "6");
    process.write("size = 5", "size = 'many'");
    let reply = console.0.query("RELOAD");
    assert_eq!(reply.errors(), ["F0000"]);
    let text = reply.0[0].field(b'M').unwrap();
    assert!(text.contains("pool.size"), "{text}");
    assert_eq!(pool_size(&mut console), "6");
}

#[test]
fn set_changes_a_setting_until_the_file_is_read_again() {
    let process = Process::start("", "size = 5");
    let mut console = process.admin();
    console.does("SET pool.size = 7");
    assert_eq!(pool_size(&mut console), "7");
    console.does("SET default_pool_size = 8");
    assert_eq!(pool_size(&mut console), "8");
    let config = console.row("SHOW CONFIG", "key", "pool.size");
    assert_eq!(
        (config["value"].as_str(), config["changeable"].as_str()),
        ("8", "yes")
    );
    for sql in [
        "SET pool.size = -1",
        "SET pool.nosuch = 1",
        "SET server.workers = 3",
    ] {
        assert_eq!(console.fails(sql), "22023", "{sql}");
    }
    assert_eq!(pool_size(&mut console), "8");
    let reply = console.0.query("RELOAD");
    assert_eq!(reply.commands(), ["RELOAD"]);
    let notice = reply.0.iter().find(|m| m.tag == b'N').unwrap();
    let text = notice.field(b'M').unwrap();
    assert!(text.contains("pool.size"), "{text}");
    assert_eq!(pool_size(&mut console), "5");
}

#[test]
fn shutdown_answers_and_ends() {
    let mut process = Process::start("", "");
    let mut console = process.admin();
    let mut idle = process.client();
    assert_eq!(idle.value("SELECT 1"), "1");
    console.does("SHUTDOWN");
    let last = console.0.end();
    assert_eq!(last[0].field(b'C').as_deref(), Some("57P01"), "{last:?}");
    assert_eq!(idle.end()[0].field(b'C').as_deref(), Some("57P01"));
    process.ends();
}

#[test]
fn shutdown_waits_for_servers_without_a_limit() {
    let mut process = Process::start("drain_timeout = '1ms'", "");
    let mut console = process.admin();
    let (mut busy, mut idle) = (process.client(), process.client());
    busy.query("BEGIN");
    idle.query("SELECT 1");
    console.does("SHUTDOWN WAIT_FOR_SERVERS");
    assert_eq!(idle.end()[0].field(b'C').as_deref(), Some("57P01"));
    assert!(busy.is_silent(MOMENT));
    assert_eq!(busy.value("SELECT 1"), "1");
    assert!(process.is_running());
    busy.query("COMMIT");
    process.ends();
}

#[test]
fn shutdown_waits_for_clients_to_leave() {
    let mut process = Process::start("", "");
    let mut console = process.admin();
    let mut client = process.client();
    console.does("SHUTDOWN WAIT_FOR_CLIENTS");
    eventually("nobody gets in any more", || {
        std::net::TcpStream::connect(process.address).is_err()
    });
    assert!(client.is_silent(MOMENT));
    assert_eq!(client.value("SELECT 1"), "1");
    assert_eq!(console.row("SHOW STATE", "key", "active")["value"], "yes");
    assert!(process.is_running());
    drop(client);
    process.ends();
}

#[test]
fn signals_pause_resume_and_quit() {
    let mut process = Process::start("", "");
    let mut console = process.admin();
    let mut client = process.client();
    client.value("SELECT 1");
    process.signal(Signal::SIGUSR1);
    eventually("it is paused", || {
        console.row("SHOW STATE", "key", "paused")["value"] == "yes"
            && process.acme.connections() == 0
    });
    client.put(&Frames::default().query("SELECT 2"));
    assert!(client.is_silent(MOMENT));
    process.signal(Signal::SIGUSR2);
    assert_eq!(client.ready().one(), "2");
    client.query("BEGIN");
    process.signal(Signal::SIGQUIT);
    client.end();
    process.ends();
}
