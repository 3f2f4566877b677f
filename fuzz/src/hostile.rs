//! Clients and a server that need not keep to the protocol, at the session machine.
//!
//! Whatever they say: frames go out whole and in order on both sides, no ReadyForQuery is taken
//! that was not asked for, nor given to a client that did not ask, and a server connection changes
//! hands only when nothing is owed on it and its last word was idle.

use std::rc::Rc;

use tenantry::config::{PoolMode, ResetWhen, StateMode};
use tenantry::error::{ClientError, SqlState};
use tenantry::session::{
    Catalog, Flow, Leased, Link, Openings, Replies, Session, SettingsTable, Statements, Verdict,
    WHOLE,
};
use tenantry::wire::frame;

use super::input::Input;

/// Bodies that mean something in some message.
const BODIES: &[&[u8]] = &[
    b"",
    b"a\0select 1\0\0\0",
    b"\0select 1\0\0\0",
    b"\0copy t from stdin\0\0\0",
    b"a\0select 'x', $1\0\0\x01\0\0\0\x17",
    b"\0set work_mem = 1\0\0\0",
    b"\0deallocate a\0\0\0",
    b"\0discard all\0\0\0",
    b"\0execute a\0\0\0",
    b"\0a\0\0\0\0\0\0\0",
    b"\0\0\0\0\0\0\0\0",
    b"p\0a\0\0\0\0\0\0\0",
    b"Sa\0",
    b"S\0",
    b"P\0",
    b"Pp\0",
    b"\0\0\0\0\0",
    b"p\0\0\0\0\0",
    b"begin\0",
    b"commit\0",
    b"rollback\0",
    b"select 1\0",
    b"select f(1)\0",
    b"deallocate a\0",
    b"deallocate all\0",
    b"discard all\0",
    b"reset all\0",
    b"set timezone = 'utc'\0",
    b"reset timezone\0",
    b"set local timezone = 'utc'\0",
    b"copy t from stdin\0",
    b"select lastval()\0",
    b"savepoint s\0",
    b"prepare a as select 1\0",
    b"execute a\0",
    b"listen x\0",
    b"set role x\0",
    b"do $$set a$$\0",
    b"I",
    b"T",
    b"E",
    b"BEGIN\0",
    b"SET\0",
    b"RESET\0",
    b"ROLLBACK\0",
    b"COMMIT\0",
    b"DEALLOCATE ALL\0",
    b"DISCARD ALL\0",
    b"DEALLOCATE\0",
    b"SELECT 1\0",
    b"COPY 1\0",
    b"CREATE TABLE\0",
    b"DO\0",
    b"SERROR\0VERROR\0C0A000\0RRevalidateCachedQuery\0\0",
    b"SFATAL\0VFATAL\0C57P01\0\0",
    b"TimeZone\0UTC\0",
    b"\0\x02\0\0\0\x05fffff\0\0\0\0",
    b"\0\0",
    b"\0\x01a\0..................",
];

pub fn hostile(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    while !input.is_empty() {
        match input.below(16) {
            0..=5 => {
                let (tag, body) = (input.one_of(b"QPBDCESHFdcfX"), body(&mut input));
                frame::put(&mut world.client.waiting, tag, &[body]);
                world.read_client(usize::MAX);
            }
            6 => {
                world.client.waiting.extend_from_slice(input.part());
                world.read_client(usize::MAX);
            }
            7 => world.read_client(input.below(64)),
            8..=12 => {
                let (tag, body) = (input.one_of(b"123CZDTtnEIsGHdcVNSAWRK"), body(&mut input));
                frame::put(&mut world.server.waiting, tag, &[body]);
                world.read_server(usize::MAX);
            }
            13 => {
                world.server.waiting.extend_from_slice(input.part());
                world.read_server(usize::MAX);
            }
            14 => {
                // Part of a message: the rest comes with the next one.
                let (tag, body) = (input.one_of(b"CZDTE"), body(&mut input));
                frame::put(&mut world.server.waiting, tag, &[body]);
                world.read_server(input.below(64));
            }
            _ => match input.below(4) {
                0 => world.client_gone(),
                1 => world.refuse(),
                2 => world.is_busy = true,
                _ => world.serve_line(),
            },
        }
    }
}

fn body<'a>(input: &mut Input<'a>) -> &'a [u8] {
    let chosen = input.below(256);
    match BODIES.get(chosen) {
        Some(body) => body,
        None => input.part(),
    }
}

/// What a peer has sent and is not yet read, and what it was sent.
#[derive(Default)]
struct Peer {
    waiting: Vec<u8>,
    seen: Stream,
}

/// A stream of frames as its reader sees it.
#[derive(Default)]
struct Stream {
    /// A header that is not yet whole, or nothing.
    partial: Vec<u8>,
    /// Bytes of the last frame that are still to come.
    left: usize,
    tag: u8,
    /// ReadyForQuery, or what asks for one.
    readies: usize,
    /// What the last ReadyForQuery said; zero: there was none.
    status: u8,
    /// The server copies, which eats Syncs, or has failed, which skips what stands before one.
    skips: bool,
}

impl Stream {
    fn take(&mut self, bytes: &[u8], (tags, counted): (&[u8], &[u8])) {
        let mut rest = bytes;
        loop {
            let body = self.left.min(rest.len());
            self.left -= body;
            if body > 0 && self.tag == b'Z' {
                self.status = rest[body - 1];
            }
            rest = &rest[body..];
            let header = (frame::HEADER - self.partial.len()).min(rest.len());
            self.partial.extend_from_slice(&rest[..header]);
            rest = &rest[header..];
            let Some(head) = frame::header(&self.partial).expect("a frame's length") else {
                return;
            };
            assert!(tags.contains(&head.tag), "{}", bytes.escape_ascii());
            self.readies += usize::from(counted.contains(&head.tag));
            self.skips |= matches!(head.tag, b'G' | b'W' | b'E');
            self.tag = head.tag;
            self.left = head.total - frame::HEADER;
            self.partial.clear();
        }
    }

    fn is_whole(&self) -> bool {
        self.left == 0 && self.partial.is_empty()
    }
}

const BY_CLIENTS: (&[u8], &[u8]) = (b"QPBDCESHFdcfX", b"QFS");
const BY_SERVERS: (&[u8], &[u8]) = (b"123CZDTtnEIsGHdcVNSAW", b"Z");

struct World {
    terms: (PoolMode, StateMode, ResetWhen, usize),
    catalog: Catalog,
    table: SettingsTable,
    statements: Statements,
    session: Session,
    serial: u64,
    link: Link,
    leased: Option<u64>,
    /// Others have the server connection, and the client may wait for it.
    is_busy: bool,
    waits: bool,
    client: Peer,
    /// What the client has asked for, as far as it was used.
    asked: Stream,
    server: Peer,
    /// What the server has answered, as far as it was used.
    answered: Stream,
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let terms = (
            input.one_of(&[
                PoolMode::Transaction,
                PoolMode::Statement,
                PoolMode::Session,
            ]),
            input.one_of(&[StateMode::Carry, StateMode::Reject, StateMode::Ignore]),
            input.one_of(&[ResetWhen::Dirty, ResetWhen::Always]),
            1 + input.below(3),
        );
        let catalog = match input.below(3) {
            0 => Catalog::CLEAN,
            1 => Catalog::UNKNOWN,
            _ => Catalog::read([("name", "f"), ("opaque", "g"), ("setting", "a.b")].into_iter()),
        };
        let table = SettingsTable::default();
        let none = Rc::clone(table.none());
        let mut world = Self {
            terms,
            catalog,
            statements: Statements::default(),
            session: Session::new(Rc::clone(&none), 0),
            serial: 0,
            link: Link::new(none, Vec::new()),
            leased: None,
            is_busy: false,
            waits: false,
            table,
            client: Peer::default(),
            asked: Stream::default(),
            server: Peer::default(),
            answered: Stream::default(),
        };
        world.next_client(input.below(3));
        world
    }

    /// Another client comes, with startup settings of its own or none.
    fn next_client(&mut self, settings: usize) {
        let zone = [("TimeZone".to_owned(), "UTC".to_owned())];
        let role = [("role".to_owned(), "x".to_owned())];
        let list = [&[][..], &zone, &role][settings];
        self.serial += 1;
        self.session = Session::new(self.table.intern(list), self.serial);
        self.waits = false;
        self.client = Peer::default();
        self.asked = Stream::default();
    }

    /// Another server connection is opened.
    fn next_server(&mut self) {
        let fresh = Rc::clone(self.table.none());
        self.link = Link::new(fresh, vec![("TimeZone".to_owned(), "GMT".to_owned())]);
        self.server = Peer::default();
        self.answered = Stream::default();
    }

    /// As the worker's `feed_client`.
    fn read_client(&mut self, most: usize) {
        if self.waits {
            return;
        }
        loop {
            let input = self.client.waiting[..self.client.waiting.len().min(most)].to_vec();
            let leased = self.leased == Some(self.serial);
            let (used, verdict) = if leased {
                self.read_leased(&input)
            } else {
                let mut answer = Vec::new();
                let with = (&mut self.statements, Openings::Passed);
                let step = self.session.read_unleased(&input, with, &mut answer);
                self.send_client(&answer);
                (step.used, step.verdict)
            };
            self.asked.take(&input[..used], BY_CLIENTS);
            self.client.waiting.drain(..used);
            self.check_answers();
            match verdict {
                Verdict::More | Verdict::Hold => {
                    let held = if verdict == Verdict::More {
                        input.len() - used
                    } else {
                        0
                    };
                    assert!(held <= WHOLE, "{held} bytes wait for more");
                    return self.settle();
                }
                Verdict::Lease if leased => panic!("it has one"),
                Verdict::Lease if self.is_busy => {
                    self.waits = true;
                    return;
                }
                Verdict::Lease => self.leased = Some(self.serial),
                Verdict::Terminate | Verdict::Fail(_) => return self.client_gone(),
            }
        }
    }

    fn read_leased(&mut self, input: &[u8]) -> (usize, Verdict) {
        let (mode, state, reset, max_prepared) = self.terms;
        let mut scratch = Vec::new();
        if self.link.at_rest() {
            self.link.prepare_for(&self.session, reset, &mut scratch);
        }
        if self.link.is_awaiting() {
            self.send_server(&scratch);
            return (0, Verdict::Hold);
        }
        let mut leased = Leased {
            link: &mut self.link,
            statements: &mut self.statements,
            max_prepared,
            mode,
            state,
            catalog: &self.catalog,
            pins_left: 1,
        };
        let mut answer = Vec::new();
        let mut flow = Flow::new(input, &mut scratch);
        let step = self
            .session
            .read(input, &mut leased, &mut flow, &mut answer);
        let passed = flow.finish().to_vec();
        assert!(step.used <= input.len());
        self.send_server(&passed);
        self.send_client(&answer);
        (step.used, step.verdict)
    }

    fn send_server(&mut self, bytes: &[u8]) {
        self.server.seen.take(bytes, BY_CLIENTS);
    }

    fn send_client(&mut self, bytes: &[u8]) {
        self.client.seen.take(bytes, BY_SERVERS);
    }

    /// As the worker's `feed_server` and `after_replies`.
    fn read_server(&mut self, most: usize) {
        let input = self.server.waiting[..self.server.waiting.len().min(most)].to_vec();
        let leased = self.leased == Some(self.serial);
        let rested = self.link.at_rest();
        let mut scratch = Vec::new();
        let mut flow = Flow::new(&input, &mut scratch);
        let read = Replies {
            session: leased.then_some(&mut self.session),
            link: &mut self.link,
        }
        .read(&input, &mut flow);
        let passed = flow.finish().to_vec();
        let Ok(used) = read else {
            return self.server_lost();
        };
        assert!(used <= input.len() && (leased || passed.is_empty()));
        self.send_client(&passed);
        self.note_answered(&input[..used]);
        self.server.waiting.drain(..used);
        assert!(input.len() - used <= WHOLE);
        if !leased && !rested && self.link.at_rest() {
            // Our own query is over.
        } else if !leased && !self.link.at_rest() {
            return self.server_lost();
        }
        self.check_answers();
        if leased {
            self.replied();
        }
        if self.link.has_last_words() {
            self.server_lost();
        }
    }

    /// Every ReadyForQuery that was taken had been asked for.
    fn note_answered(&mut self, used: &[u8]) {
        self.answered.take(used, BY_SERVERS);
        let asked = self.server.seen.readies;
        assert!(self.answered.readies <= asked, "nobody asked");
    }

    fn check_answers(&self) {
        let (asked, given) = (self.asked.readies, self.client.seen.readies);
        assert!(given <= asked, "{given} of {asked} requests are answered");
    }

    fn replied(&mut self) {
        if self.link.has_fault() {
            return self.server_lost();
        }
        if self.session.has_changed() {
            self.session.adopt(&mut self.link, &mut self.table);
        }
        self.read_client_again();
        self.settle();
    }

    fn read_client_again(&mut self) {
        if !self.client.waiting.is_empty() || self.session.owes_sync() {
            self.read_client(usize::MAX);
        }
    }

    /// As the worker's `settle`.
    fn settle(&mut self) {
        if self.leased != Some(self.serial)
            || !self.may_leave()
            || self.terms.0 == PoolMode::Session
        {
            return;
        }
        if self.session.wonders() {
            let mut sql = Vec::new();
            self.link.put_inquiry(&mut self.session, &mut sql);
            self.send_server(&sql);
        } else if self.session.pin().is_none() || self.session.is_released() {
            self.check_rest();
            self.session.end_of_lease();
            self.leased = None;
        }
    }

    fn may_leave(&self) -> bool {
        self.link.at_rest() && self.session.at_boundary() && !self.session.owes_sync()
    }

    /// Nothing is owed, to anybody.
    fn check_rest(&self) {
        assert!(matches!(self.answered.status, 0 | b'I'));
        assert!(self.server.seen.is_whole() && self.client.seen.is_whole());
        if !self.answered.skips {
            assert_eq!(self.answered.readies, self.server.seen.readies);
            assert_eq!(self.client.seen.readies, self.asked.readies);
        }
    }

    /// The client has waited for too long.
    fn refuse(&mut self) {
        if !std::mem::take(&mut self.waits) {
            return;
        }
        let error = ClientError::error(SqlState::TOO_MANY, "no server connection");
        let mut answer = Vec::new();
        self.session
            .refuse(&self.client.waiting, &error, &mut answer);
        self.send_client(&answer);
        self.read_client(usize::MAX);
    }

    /// The server connection is free, and whoever waits for it gets it.
    fn serve_line(&mut self) {
        self.is_busy = false;
        if std::mem::take(&mut self.waits) {
            self.leased = Some(self.serial);
            self.read_client(usize::MAX);
        }
    }

    /// As the worker's `give_back`.
    fn client_gone(&mut self) {
        if self.leased.take() == Some(self.serial) {
            let marked = self.terms.0 == PoolMode::Session || self.session.pin().is_some();
            if !self.link.at_rest() || !self.session.at_boundary() {
                self.next_server();
            } else if marked && self.session.is_discardable() {
                let mut sql = Vec::new();
                self.link.put_discard(&mut sql);
                self.send_server(&sql);
            } else if marked {
                self.next_server();
            }
        }
        self.next_client(usize::try_from(self.serial % 3).expect("it is below three"));
    }

    fn server_lost(&mut self) {
        if self.leased.take().is_some() {
            self.next_client(1);
        }
        self.next_server();
    }
}
