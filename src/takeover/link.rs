//! The connection between two processes that serve at the same time, and all that one process has.
//!
//! A thread writes what was queued, so that no worker ever waits for the other process; whoever
//! owns the link reads. Cancel requests go to every other process: their keys do not tell whose
//! client they mean.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufReader, ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tracing::{error, warn};

use super::frame;
use super::message::{Key, Message, Said};
use crate::front::Dispatch;
use crate::types::NodeAddr;
use crate::upstream::budget::Budget;
use crate::upstream::lending::{LinkId, Note, Peer};
use crate::worker::{Carried, Carrying, NewClient, Surroundings, Workers};

/// Messages that may wait for the other process. Each stands for a permit, a waiter or a cancel
/// request; if there are more it does not read any more.
const QUEUE: usize = 100_000;

/// Cancel requests that may be under way over one link; more are forgotten, which they may be.
const CANCELS: usize = 1024;

/// What both ends of every link need of the program.
#[derive(Debug)]
pub struct Neighbours {
    pub(super) workers: Workers,
    pub(super) budget: Budget,
    /// Where the end of cancel requests is awaited.
    pub(super) runtime: tokio::runtime::Handle,
    /// The beginning of the workers' clock.
    pub(super) epoch: Instant,
    links: Mutex<Links>,
}

#[derive(Debug, Default)]
struct Links {
    next: u64,
    all: Vec<Arc<Link>>,
}

/// Which way a link goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The other one borrows from us.
    Older,
    /// We borrow from the other one.
    Newer,
}

/// A connection to another process.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) side: Side,
    stream: UnixStream,
    epoch: Instant,
    outbox: Mutex<Outbox>,
    filled: Condvar,
    cancels: Mutex<Cancels>,
}

#[derive(Debug)]
enum Outbox {
    Open(VecDeque<Message>),
    Closed,
}

#[derive(Debug, Default)]
struct Cancels {
    next: u64,
    under_way: HashMap<u64, Carrying>,
}

impl Neighbours {
    /// Without any link so far.
    pub fn new(
        workers: &Workers,
        around: &Surroundings,
        runtime: &tokio::runtime::Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            workers: workers.clone(),
            budget: around.budget.clone(),
            runtime: runtime.clone(),
            epoch: around.epoch,
            links: Mutex::default(),
        })
    }

    /// Makes a link of a connection that is past its greeting.
    pub(super) fn link(&self, stream: UnixStream, side: Side) -> io::Result<Arc<Link>> {
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(None)?;
        let mut links = self.links();
        links.next += 1;
        let link = Arc::new(Link {
            id: LinkId(links.next),
            side,
            stream,
            epoch: self.epoch,
            outbox: Mutex::new(Outbox::Open(VecDeque::new())),
            filled: Condvar::new(),
            cancels: Mutex::default(),
        });
        let writer = Arc::clone(&link);
        let thread = std::thread::Builder::new().name("takeover-out".into());
        thread.spawn(move || writer.write())?;
        links.all.push(Arc::clone(&link));
        Ok(link)
    }

    /// The other process has gone.
    pub(super) fn unlink(&self, link: &Link) {
        link.close();
        self.links().all.retain(|l| l.id != link.id);
    }

    pub(super) fn all(&self, side: Side) -> Vec<Arc<Link>> {
        let links = self.links();
        links
            .all
            .iter()
            .filter(|l| l.side == side)
            .cloned()
            .collect()
    }

    /// Ends every link.
    pub(super) fn close(&self) {
        for link in &self.links().all {
            link.close();
        }
    }

    /// Asks the workers and all other processes but the one that has asked us.
    fn cancel(&self, process_id: i32, key: &[u8], but: Option<LinkId>) -> Carried {
        let (carrying, carried) = self.workers.cancel_beside(process_id, key);
        let links = self.links().all.clone();
        for link in links.iter().filter(|l| Some(l.id) != but) {
            link.cancel(process_id, key, carrying.clone());
        }
        carried
    }

    /// A message about cancel requests.
    pub(super) fn told_of_cancel(&self, link: &Arc<Link>, message: Message) {
        match message {
            Message::Cancel {
                number,
                process_id,
                key,
            } => {
                let carried = self.cancel(process_id, &key.0, Some(link.id));
                let link = Arc::clone(link);
                self.runtime.spawn(async move {
                    carried.end().await;
                    link.send(Message::Canceled { number });
                });
            }
            Message::Canceled { number } => link.canceled(number),
            other => warn!(?other, "another process said what makes no sense here"),
        }
    }

    pub(super) fn node(host: &str, port: u16) -> NodeAddr {
        NodeAddr {
            host: host.into(),
            port,
        }
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    pub(super) fn send(&self, message: Message) {
        let mut outbox = self.outbox();
        let Outbox::Open(queue) = &mut *outbox else {
            return;
        };
        if queue.len() >= QUEUE {
            error!("the other process does not read what it is told: the link to it is closed");
            *outbox = Outbox::Closed;
            let _gone = self.stream.shutdown(Shutdown::Both);
        } else {
            queue.push_back(message);
        }
        self.filled.notify_one();
    }

    /// Hands each message to `handle`, until the other process has gone.
    pub(super) fn read(&self, mut handle: impl FnMut(Message)) {
        let mut stream = BufReader::new(&self.stream);
        loop {
            match frame::receive(&mut stream) {
                Ok(message) => handle(message),
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    error!(%error, "another process said what cannot be understood");
                    return self.close();
                }
                Err(_) => return self.close(),
            }
        }
    }

    pub(super) fn close(&self) {
        *self.outbox() = Outbox::Closed;
        self.filled.notify_one();
        let _gone = self.stream.shutdown(Shutdown::Both);
        // Nobody will say any more that they were carried out.
        let cancels = std::mem::take(&mut *self.cancels());
        drop(cancels);
    }

    /// Milliseconds of the workers' clock.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What was said about a node, in our own time.
    pub(super) fn note(&self, said: Said) -> Note {
        said.note(self.now())
    }

    fn cancel(&self, process_id: i32, key: &[u8], carrying: Carrying) {
        let mut cancels = self.cancels();
        if cancels.under_way.len() >= CANCELS || matches!(*self.outbox(), Outbox::Closed) {
            return;
        }
        let number = cancels.next;
        cancels.next += 1;
        cancels.under_way.insert(number, carrying);
        drop(cancels);
        let key = Key(key.to_vec());
        self.send(Message::Cancel {
            number,
            process_id,
            key,
        });
    }

    fn canceled(&self, number: u64) {
        let carrying = self.cancels().under_way.remove(&number);
        drop(carrying);
    }

    fn write(&self) {
        while let Some(messages) = self.next() {
            let mut bytes = Vec::new();
            for message in &messages {
                match frame::encode(message) {
                    Ok(frame) => bytes.extend(frame),
                    Err(error) => error!(%error, "a message cannot be written"),
                }
            }
            if (&self.stream).write_all(&bytes).is_err() {
                return self.close();
            }
        }
    }

    fn next(&self) -> Option<VecDeque<Message>> {
        let mut outbox = self.outbox();
        loop {
            match &mut *outbox {
                Outbox::Open(queue) if queue.is_empty() => {
                    let woken = self.filled.wait(outbox);
                    outbox = woken.unwrap_or_else(PoisonError::into_inner);
                }
                Outbox::Open(queue) => return Some(std::mem::take(queue)),
                Outbox::Closed => return None,
            }
        }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancels(&self) -> MutexGuard<'_, Cancels> {
        self.cancels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer for Link {
    fn tell(&self, node: &NodeAddr, note: Note) {
        self.send(Message::about(node, note, self.now()));
    }
}

/// Where the front's clients go: to our workers. Cancel requests go to the other processes, too.
#[derive(Debug)]
pub struct Desk(pub Arc<Neighbours>);

impl Dispatch for Desk {
    fn admit(&self, client: NewClient) {
        self.0.workers.admit(client);
    }

    fn cancel(&self, process_id: i32, key: &[u8]) -> Carried {
        self.0.cancel(process_id, key, None)
    }
}
