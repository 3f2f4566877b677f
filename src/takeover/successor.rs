//! The new process's side: finds who serves, takes over, and lends to it until it has gone.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::incumbent::STEP;
use super::link::{Link, Neighbours, Side};
use super::message::{FileOwner, Message, VERSION, Wants};
use super::path::is_trusted;
use super::{Station, TakeoverError, frame};
use crate::config::ListenAddr;
use crate::upstream::lending::{Lender, Note, Peer};

/// How often the path is tried while it changes hands.
const ATTEMPTS: usize = 20;

/// The wait between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// More listening sockets than anybody has.
const MOST: usize = 10_000;

/// The process that serves, until it is taken over from.
#[derive(Debug)]
pub struct Predecessor {
    path: PathBuf,
    stream: UnixStream,
    pid: u32,
    passed: Vec<Passed>,
    wanted: Vec<usize>,
}

/// A listening socket of the old process.
#[derive(Debug)]
struct Passed {
    asked: String,
    file: FileOwner,
    /// Until it is wanted.
    socket: Option<OwnedFd>,
}

impl Predecessor {
    /// The process that listens at this path; `None`: nobody does.
    pub fn find(path: &Path) -> Result<Option<Self>, TakeoverError> {
        let failed = |e| TakeoverError::Socket(path.to_owned(), e);
        let Some((stream, pid, count)) = greet(path, Wants::Listeners)? else {
            return Ok(None);
        };
        let mut passed = Vec::new();
        for _ in 0..count.min(MOST) {
            let (message, socket) = frame::receive_with(&stream).map_err(failed)?;
            let (Message::Listener { asked, file }, Some(_)) = (message, &socket) else {
                return Err(TakeoverError::Strange("a listener was expected"));
            };
            passed.push(Passed {
                asked,
                file,
                socket,
            });
        }
        Ok(Some(Self {
            path: path.to_owned(),
            stream,
            pid,
            passed,
            wanted: Vec::new(),
        }))
    }

    /// Its socket for an address of our configuration, with the whole path of a Unix socket.
    pub fn socket(&mut self, address: &ListenAddr) -> Option<(OwnedFd, FileOwner)> {
        let name = address.to_string();
        let mut all = self.passed.iter_mut().enumerate();
        let (at, passed) = all.find(|(_, p)| p.asked == name && p.socket.is_some())?;
        self.wanted.push(at);
        Some((passed.socket.take()?, passed.file))
    }

    /// From now on we serve.
    pub(super) fn take_over(self, station: &Arc<Station>) -> Result<(), TakeoverError> {
        let Self {
            path,
            stream,
            pid,
            wanted,
            ..
        } = self;
        let take = frame::send(&stream, &Message::Take { wanted });
        let lent = take.and_then(|()| lend(station, stream));
        match lent {
            Ok(link) => {
                station.open();
                link.send(Message::Serving);
                info!(pid, "took over from another process");
            }
            Err(error) if is_end(&error) && UnixStream::connect(&path).is_err() => {
                // Its sockets are ours all the same.
                warn!(pid, "the process to take over from has gone");
                station.open();
            }
            // It may serve still.
            Err(error) => return Err(TakeoverError::Socket(path, error)),
        }
        Ok(())
    }
}

/// Says hello to who listens at the path: the connection, its process id, and how many listeners
/// follow.
pub(super) fn greet(
    path: &Path,
    wants: Wants,
) -> Result<Option<(UnixStream, u32, usize)>, TakeoverError> {
    let failed = |e| TakeoverError::Socket(path.to_owned(), e);
    for _ in 0..ATTEMPTS {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(e) => return Err(failed(e)),
        };
        if !is_trusted(&stream) {
            return Err(failed(io::Error::other("it belongs to another user")));
        }
        match hello(&stream, wants) {
            Ok(Message::Welcome { pid, listeners }) => return Ok(Some((stream, pid, listeners))),
            Ok(Message::Refused { reason }) => return Err(TakeoverError::Refused(reason)),
            Ok(_) => return Err(TakeoverError::Strange("a welcome was expected")),
            // Another process has just taken over, or it is ending.
            Err(e) if is_end(&e) => std::thread::sleep(PAUSE),
            Err(e) => return Err(failed(e)),
        }
    }
    Ok(None)
}

fn hello(stream: &UnixStream, wants: Wants) -> io::Result<Message> {
    // Another one may be before us.
    stream.set_read_timeout(Some(STEP * 3))?;
    stream.set_write_timeout(Some(STEP))?;
    let hello = Message::Hello {
        version: VERSION,
        pid: std::process::id(),
        wants,
    };
    frame::send(stream, &hello)?;
    frame::receive(stream)
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

/// Hears what an older process has, and lends to it from then on, in a thread.
pub(super) fn lend(station: &Arc<Station>, stream: UnixStream) -> io::Result<Arc<Link>> {
    let neighbours = &station.neighbours;
    let first = stream.try_clone()?;
    let link = neighbours.link(stream, Side::Older)?;
    let peer: Arc<dyn Peer> = Arc::clone(&link) as Arc<dyn Peer>;
    let lender = Lender::new(&neighbours.budget, link.id, peer);
    let heard = hear(&first, |message| told(station, &link, &lender, message));
    if let Err(error) = heard {
        end(station, &link, &lender);
        return Err(error);
    }
    station.settle_files();
    let (station, reader) = (Arc::clone(station), Arc::clone(&link));
    let thread = std::thread::Builder::new().name("takeover-in".into());
    thread.spawn(move || {
        reader.read(|message| told(&station, &reader, &lender, message));
        end(&station, &reader, &lender);
        info!("the older process has ended");
    })?;
    Ok(link)
}

/// The first messages, up to the word that these are all.
fn hear(stream: &UnixStream, mut told: impl FnMut(Message)) -> io::Result<()> {
    stream.set_read_timeout(Some(STEP))?;
    loop {
        match frame::receive(stream)? {
            Message::Taken => break,
            message => told(message),
        }
    }
    stream.set_read_timeout(None)
}

fn told(station: &Arc<Station>, link: &Arc<Link>, lender: &Arc<Lender>, message: Message) {
    let neighbours = &station.neighbours;
    match message {
        Message::Budget { host, port, note } => {
            let node = Neighbours::node(&host, port);
            let note = link.note(note);
            lender.told(&node, note);
            if let Note::Ask { .. } = note {
                neighbours.workers.evict(&node);
            }
        }
        other => neighbours.told_of_cancel(link, other),
    }
}

fn end(station: &Arc<Station>, link: &Link, lender: &Lender) {
    station.neighbours.unlink(link);
    lender.end();
    station.settle_files();
}
