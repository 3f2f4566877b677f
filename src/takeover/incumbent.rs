//! The old process's side: waits for a successor, hands over, and follows it to the end. One thread.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::link::{Link, Neighbours, Side};
use super::message::{Message, VERSION, Wants};
use super::path::{OwnSocket, Prepared, is_trusted};
use super::{Standing, Station, TakeoverError, frame, successor};
use crate::upstream::lending::{Note, Peer};

/// What the other process may take for a step of the handing over.
pub(super) const STEP: Duration = Duration::from_secs(10);

/// A successor that is about to serve.
struct Heir {
    pid: u32,
    /// The listening sockets that it serves from.
    wanted: Vec<usize>,
    link: Arc<Link>,
}

/// A socket to wait for successors at, which has not taken the path yet.
pub(super) struct Waiting {
    path: PathBuf,
    socket: Prepared,
}

/// Opens the socket, if the configuration names one.
pub(super) fn prepare(station: &Station) -> Result<Option<Waiting>, TakeoverError> {
    let Some(path) = station.path.clone() else {
        return Ok(None);
    };
    match Prepared::beside(&path) {
        Ok(socket) => Ok(Some(Waiting { path, socket })),
        Err(error) => Err(TakeoverError::Socket(path, error)),
    }
}

impl Waiting {
    /// Takes the path and waits for successors from now on.
    pub(super) fn start(self, station: Arc<Station>) -> Result<(), TakeoverError> {
        let Self { path, socket } = self;
        let failed = |e| TakeoverError::Socket(path.clone(), e);
        let own = claim(&station, socket).map_err(failed)?;
        let thread = std::thread::Builder::new().name("takeover".into());
        let at = path.clone();
        thread
            .spawn(move || run(&station, &at, own))
            .map_err(failed)?;
        Ok(())
    }
}

/// Ends with the process, or when the path cannot be had.
fn run(station: &Arc<Station>, path: &Path, first: Option<Arc<OwnSocket>>) {
    let mut own = first;
    while let Some(socket) = own {
        let Some(heir) = await_heir(station, &socket) else {
            return;
        };
        follow(station, path, heir, socket);
        let prepared = Prepared::beside(path);
        own = match prepared.and_then(|prepared| claim(station, prepared)) {
            Ok(own) => own,
            Err(error) => {
                let path = path.display();
                return error!(%path, %error, "no process will be able to take over from this one");
            }
        };
    }
}

/// Takes the path; `None`: the process is ending.
fn claim(station: &Station, prepared: Prepared) -> io::Result<Option<Arc<OwnSocket>>> {
    let mut own = station.own();
    if station.is_ending() {
        return Ok(None);
    }
    let socket = Arc::new(prepared.take()?);
    *own = Some(Arc::clone(&socket));
    Ok(Some(socket))
}

/// Answers who connects until one of them takes over; `None`: the process is ending.
fn await_heir(station: &Arc<Station>, socket: &OwnSocket) -> Option<Heir> {
    loop {
        let accepted = socket.listener.accept();
        if station.is_ending() {
            return None;
        }
        match accepted.and_then(|(stream, _)| greet(station, stream)) {
            Ok(Some(heir)) => return Some(heir),
            Ok(None) => {}
            Err(error) => {
                warn!(%error, "another process did not take over");
                // Where descriptors have run out the next attempt would fail at once.
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn greet(station: &Arc<Station>, stream: UnixStream) -> io::Result<Option<Heir>> {
    if !is_trusted(&stream) {
        return Err(io::Error::other("it belongs to another user"));
    }
    stream.set_read_timeout(Some(STEP))?;
    stream.set_write_timeout(Some(STEP))?;
    let Message::Hello {
        version,
        pid,
        wants,
    } = frame::receive(&stream)?
    else {
        return Err(io::Error::other("it did not greet"));
    };
    if version != VERSION {
        let reason = format!("it speaks version {VERSION} of the takeover, not {version}");
        frame::send(&stream, &Message::Refused { reason })?;
        let text = format!("it speaks version {version} of the takeover, not {VERSION}");
        return Err(io::Error::other(text));
    }
    match wants {
        Wants::Places => {
            let pid = std::process::id();
            frame::send(&stream, &Message::Welcome { pid, listeners: 0 })?;
            successor::lend(station, stream)?;
            Ok(None)
        }
        Wants::Listeners => hand_over(station, stream, pid).map(Some),
    }
}

/// Passes the listening sockets; then, when the other one is ready, all that it must know.
fn hand_over(station: &Arc<Station>, stream: UnixStream, pid: u32) -> io::Result<Heir> {
    info!(pid, "another process wants to take over");
    {
        let listening = station.listening();
        let welcome = Message::Welcome {
            pid: std::process::id(),
            listeners: listening.len(),
        };
        frame::send(&stream, &welcome)?;
        for listening in &*listening {
            let message = Message::Listener {
                asked: listening.asked.to_string(),
                file: listening.file,
            };
            frame::send_with(&stream, &message, listening.bound.as_fd())?;
        }
    }
    let Message::Take { wanted } = frame::receive(&stream)? else {
        return Err(io::Error::other("it did not say what it takes"));
    };
    let link = station.neighbours.link(stream, Side::Newer)?;
    borrow(station, &link);
    Ok(Heir { pid, wanted, link })
}

fn borrow(station: &Station, link: &Arc<Link>) {
    let arbiter: Arc<dyn Peer> = Arc::clone(link) as Arc<dyn Peer>;
    station.neighbours.budget.borrow_from(&arbiter);
    link.send(Message::Taken);
}

/// Does as the successor says until it, and every one after it, has gone.
fn follow(station: &Arc<Station>, path: &Path, heir: Heir, socket: Arc<OwnSocket>) {
    let Heir { pid, wanted, link } = heir;
    let mut socket = Some(socket);
    read(station, &link, || {
        station.retire(pid, &wanted);
        // Who connects to this one from now on has come too late, and finds the new one.
        drop((station.own().take(), socket.take()));
    });
    station.neighbours.unlink(&link);
    while let Some((link, pid)) = rejoin(station, path) {
        info!(
            pid,
            "the process that had taken over has gone; another one serves"
        );
        station.turn(Standing::Retiring(pid));
        read(station, &link, || {});
        station.neighbours.unlink(&link);
    }
    station.alone_again();
}

/// Obeys the newer process until it has gone.
fn read(station: &Arc<Station>, link: &Arc<Link>, mut serving: impl FnMut()) {
    let neighbours = &station.neighbours;
    link.read(|message| match message {
        Message::Serving => serving(),
        Message::Leaving => station.accept_again(),
        Message::Budget { host, port, note } => {
            let node = Neighbours::node(&host, port);
            let note = link.note(note);
            neighbours.budget.told(&node, note);
            if note == Note::Evict {
                neighbours.workers.evict(&node);
            }
        }
        other => neighbours.told_of_cancel(link, other),
    });
}

/// The successor has gone while we retire: perhaps it had a successor itself, which lends to us.
fn rejoin(station: &Arc<Station>, path: &Path) -> Option<(Arc<Link>, u32)> {
    if !matches!(*station.standing.borrow(), Standing::Retiring(_)) {
        return None;
    }
    let (stream, pid, _) = successor::greet(path, Wants::Places).ok()??;
    let link = station.neighbours.link(stream, Side::Newer).ok()?;
    borrow(station, &link);
    Some((link, pid))
}
