//! Where the listening sockets come from: the process that is taken over from, the service
//! manager, or they are opened.
//!
//! A socket of the service manager that no listener names is an error: it would be there and
//! nobody would answer.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::{info, warn};

use super::{AppError, UNIX_PORT};
use crate::config::{ListenAddr, Listener, Server};
use crate::front::listen::{self, Bound};
use crate::takeover::{FileOwner, Listening, Predecessor};

/// How often an address is tried that another process has, where one might take over from it.
const ATTEMPTS: usize = 50;

/// The wait between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// The sockets of a start, and whom they were taken from.
pub(super) struct Opened {
    pub(super) listening: Vec<Listening>,
    pub(super) predecessor: Option<Predecessor>,
}

/// Opens every listener of the configuration, to be served on `runtime`. `passed` are the service
/// manager's sockets.
pub(super) fn open(
    server: &Server,
    passed: Vec<OwnedFd>,
    runtime: &Handle,
) -> Result<Opened, AppError> {
    let _inside = runtime.enter();
    let mut passed = adopt_all(passed)?;
    let mut attempt = 1;
    loop {
        let mut predecessor = find(server.takeover.as_deref())?;
        match listen_all(server, &mut passed, &mut predecessor) {
            // Whoever has it may be about to own the path: it was taken over from, and its
            // successor has died or is just beginning.
            Err(AppError::Listen(address, error))
                if error.kind() == io::ErrorKind::AddrInUse
                    && predecessor.is_none()
                    && server.takeover.is_some()
                    && attempt < ATTEMPTS =>
            {
                if attempt == 1 {
                    warn!(%address, "in use, and nobody to take over from: trying again");
                }
                attempt += 1;
                std::thread::sleep(PAUSE);
            }
            outcome => {
                let listening = outcome?;
                return match passed.first() {
                    Some(stranger) => Err(AppError::Passed(stranger.address().clone())),
                    None => Ok(Opened {
                        listening,
                        predecessor,
                    }),
                };
            }
        }
    }
}

fn find(path: Option<&Path>) -> Result<Option<Predecessor>, AppError> {
    Ok(path.map(Predecessor::find).transpose()?.flatten())
}

fn adopt_all(sockets: Vec<OwnedFd>) -> Result<Vec<Bound>, AppError> {
    let adopted = sockets.into_iter().map(listen::adopt);
    Ok(adopted.collect::<Result<_, _>>()?)
}

fn listen_all(
    server: &Server,
    passed: &mut Vec<Bound>,
    predecessor: &mut Option<Predecessor>,
) -> Result<Vec<Listening>, AppError> {
    let mut listening = Vec::new();
    for listener in &server.listen {
        listening.push(one(listener, port(server), passed, predecessor)?);
    }
    Ok(listening)
}

/// The port in the names of Unix sockets.
fn port(server: &Server) -> u16 {
    let tcp = server.listen.iter().find_map(|l| match &l.address {
        ListenAddr::Tcp(address) if address.port() != 0 => Some(address.port()),
        ListenAddr::Tcp(_) | ListenAddr::Unix(_) => None,
    });
    tcp.unwrap_or(UNIX_PORT)
}

fn one(
    listener: &Listener,
    port: u16,
    passed: &mut Vec<Bound>,
    predecessor: &mut Option<Predecessor>,
) -> Result<Listening, AppError> {
    let failed = |e| AppError::Listen(listener.address.clone(), e);
    let asked = listen::whole(&listener.address, port);
    let theirs = predecessor.as_mut().and_then(|p| p.socket(&asked));
    let at = passed.iter().position(|bound| *bound.address() == asked);
    let from_manager = at.map(|at| passed.swap_remove(at));
    let (bound, file, how) = match (theirs, from_manager) {
        (Some((socket, file)), _) => (
            listen::adopt(socket).map_err(failed)?,
            file,
            "listening on a socket of the process before",
        ),
        (None, Some(bound)) => (
            bound,
            FileOwner::ServiceManager,
            "listening on a socket of the service manager",
        ),
        (None, None) => (
            listen::bind(&listener.address, port).map_err(failed)?,
            FileOwner::Us,
            "listening",
        ),
    };
    info!(address = %bound.address(), "{how}");
    Ok(Listening::new(listener.clone(), asked, bound, file))
}
