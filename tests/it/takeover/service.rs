//! What a service manager sees of the proxy, and the sockets that it passes.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::super::support::client::Client;
use super::super::support::postgres::Database;
use super::process::{Place, Process};

/// Runs the proxy with a listening socket as the first passed descriptor, as systemd does.
fn activated(place: &Place, config: &str, socket: impl Into<OwnedFd>) -> Process {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0 0</dev/null",
        ])
        .arg(env!("CARGO_BIN_EXE_tenantry"))
        .stdin(Stdio::from(socket.into()));
    Process::spawn_by(&place.path("activated"), config, command)
}

#[test]
fn passed_sockets_are_matched_by_address() {
    let database = Database::fresh();
    let place = Place::of(std::slice::from_ref(&database), "", "");
    let socket = TcpListener::bind(place.address).unwrap();
    let kept = socket.try_clone().unwrap();
    let mut process = activated(&place, &place.config(""), socket);
    process.hear("READY=1");
    assert_eq!(place.client(&database).value("SELECT 1"), "1");
    process.signal(Signal::SIGTERM);
    assert!(process.end().success());
    // Whoever comes now waits for the next start: the manager still has the socket.
    assert!(std::net::TcpStream::connect(place.address).is_ok());
    drop(kept);
}

#[test]
fn the_file_of_a_passed_unix_socket_stays() {
    let database = Database::fresh();
    let place = Place::of(std::slice::from_ref(&database), "", "");
    let file = place.path(&format!(".s.PGSQL.{}", place.address.port()));
    let socket = UnixListener::bind(&file).unwrap();
    let config = place.config(&format!(", 'unix:{}'", place.dir.path().display()));
    let mut old = activated(&place, &config, socket);
    old.hear("READY=1");
    let mut new = place.start_with("new", &config);
    assert!(old.end().success());
    new.says("the older process has ended");
    new.signal(Signal::SIGTERM);
    assert!(new.end().success());
    assert!(file.exists());
}

#[test]
fn a_passed_socket_that_nobody_names_is_an_error() {
    let database = Database::fresh();
    let place = Place::of(&[database], "", "");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let stranger = socket.local_addr().unwrap().to_string();
    let mut process = activated(&place, &place.config(""), socket);
    assert_eq!(process.end().code(), Some(1));
    let log = process.log();
    assert!(log.contains(&stranger), "{log}");
}

#[test]
fn the_manager_is_told_what_happens() {
    let database = Database::fresh();
    let place = Place::of(std::slice::from_ref(&database), "", "");
    let watchdog = [("WATCHDOG_USEC", "400000")];
    let mut process = Process::spawn(&place.path("one"), &place.config(""), &watchdog);
    assert_eq!(process.told().trim(), "READY=1");
    assert!(Client::connect(place.address, &database.name, &[]).is_ok());
    // It is said once, and the watchdog behind it again and again.
    process.hear("STATUS=serving, ");
    process.hear("WATCHDOG=1");
    process.signal(Signal::SIGHUP);
    let reloading = process.hear("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    process.hear("READY=1");
    let client = place.client(&database);
    let new = place.start("two");
    process.hear(&format!("MAINPID={}", new.child.id()));
    process.hear("STATUS=retiring, 1 clients");
    drop(client);
    process.hear("STOPPING=1");
    assert!(process.end().success());
}
