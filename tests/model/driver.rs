//! Plays the worker: clients, server connections and the bytes between them, in any interleaving.
//!
//! What `worker::relay` does with sockets is done here with buffers, so that each chunk and each
//! turn can be chosen.

use std::rc::Rc;

use tenantry::config::{PoolMode, ResetWhen, StateMode};
use tenantry::session::{
    Catalog, Flow, Leased, Link, NAME_PREFIX, Openings, Replies, Session, Setting, Settings,
    SettingsTable, Statements, Verdict,
};

use super::dialogue::{Keeps, Script};
use super::dice::Dice;
use super::server::Server;

/// What a tenant's configuration and catalog say.
pub(crate) struct Terms {
    pub(crate) links: usize,
    /// Statements on one server connection.
    pub(crate) limit: usize,
    pub(crate) mode: PoolMode,
    pub(crate) reset: ResetWhen,
    pub(crate) catalog: Catalog,
    pub(crate) openings: Openings,
}

impl Terms {
    pub(crate) fn new(links: usize, limit: usize) -> Self {
        Self {
            links,
            limit,
            mode: PoolMode::Transaction,
            reset: ResetWhen::Dirty,
            catalog: Catalog::CLEAN,
            openings: Openings::Passed,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Waiting,
    Leased(usize),
    Gone,
}

struct Client {
    session: Session,
    script: Script,
    /// Next part of the script, and how much of it was sent.
    next: (usize, usize),
    received: Vec<u8>,
    state: State,
    /// On its way to the proxy, or held there.
    held: Vec<u8>,
    /// There is something new to be read.
    turn: bool,
}

impl Client {
    fn has_said_all(&self) -> bool {
        self.next.0 == self.script.parts.len()
    }

    /// Whether it may go: when it has seen all, or at any time if it keeps to nothing.
    fn may_go(&self) -> bool {
        let seen = self.received.len() >= self.script.replies.len();
        let done = self.has_said_all() && seen && !self.turn;
        self.state != State::Gone && (done || self.script.keeps == Keeps::Nothing)
    }
}

/// Who has a server connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lease {
    Free,
    Client(usize),
    /// We, to clean it.
    Own,
}

#[derive(Debug)]
struct Connection {
    link: Link,
    server: Server,
    to_server: Vec<u8>,
    held: Vec<u8>,
    lease: Lease,
}

impl Connection {
    fn new(table: &SettingsTable) -> Self {
        Self::opened_with(table.none(), &[])
    }

    /// With startup settings of its own.
    fn opened_with(fresh: &Rc<Settings>, start: &[Setting]) -> Self {
        Self {
            link: Link::new(Rc::clone(fresh), Vec::new()),
            server: Server::new(start),
            to_server: Vec::new(),
            held: Vec::new(),
            lease: Lease::Free,
        }
    }
}

pub(crate) struct Driver {
    clients: Vec<Client>,
    connections: Vec<Connection>,
    statements: Statements,
    table: SettingsTable,
    terms: Terms,
    dice: Dice,
}

impl Driver {
    pub(crate) fn new(scripts: Vec<Script>, terms: Terms, dice: Dice) -> Self {
        let mut table = SettingsTable::default();
        let client = |(i, script): (usize, Script)| {
            let settings = table.intern(&script.start);
            // Its login is over: the server takes the list and reports none of it.
            let _known = settings.reported.set(Vec::new());
            Client {
                session: Session::new(settings, 1 + i as u64),
                script,
                next: (0, 0),
                received: Vec::new(),
                state: State::Idle,
                held: Vec::new(),
                turn: false,
            }
        };
        let clients = scripts.into_iter().enumerate().map(client).collect();
        let connections = (0..terms.links).map(|_| Connection::new(&table)).collect();
        Self {
            clients,
            connections,
            statements: Statements::default(),
            table,
            terms,
            dice,
        }
    }

    /// In session mode: a lease for each client, to its end.
    pub(crate) fn of_sessions(scripts: Vec<Script>, dice: Dice) -> Self {
        let terms = Terms {
            mode: PoolMode::Session,
            ..Terms::new(scripts.len(), 1)
        };
        Self::new(scripts, terms, dice)
    }

    /// Runs until every client has said all and seen all.
    pub(crate) fn run(&mut self) {
        while let Some(action) = self.choose() {
            match action {
                Action::Say(client) => self.say(client),
                Action::Read(client) => self.read_client(client),
                Action::Go(client) => self.client_gone(client),
                Action::Serve(link) => self.serve(link),
                Action::Reply(link) => self.read_server(link),
            }
        }
        self.check_end();
    }

    fn choose(&mut self) -> Option<Action> {
        let mut actions = Vec::new();
        for (i, client) in self.clients.iter().enumerate() {
            let part = client.script.parts.get(client.next.0);
            let speaks = client.state != State::Gone;
            if speaks && part.is_some_and(|p| client.received.len() >= p.after) {
                actions.push(Action::Say(i));
            }
            if client.turn && !matches!(client.state, State::Waiting | State::Gone) {
                actions.push(Action::Read(i));
            }
            if client.may_go() {
                actions.push(Action::Go(i));
            }
        }
        for (i, connection) in self.connections.iter().enumerate() {
            if !connection.to_server.is_empty() {
                actions.push(Action::Serve(i));
            }
            if !connection.server.out.is_empty() {
                actions.push(Action::Reply(i));
            }
        }
        if actions.is_empty() {
            return None;
        }
        let chosen = self.dice.below(actions.len());
        Some(actions.swap_remove(chosen))
    }

    fn say(&mut self, i: usize) {
        let client = &mut self.clients[i];
        let mut wanted = match self.dice.below(3) {
            0 => 1 + self.dice.below(8),
            1 => 1 + self.dice.below(60),
            _ => 10_000,
        };
        while let Some(part) = client.script.parts.get(client.next.0) {
            let rest = &part.bytes[client.next.1..];
            if client.received.len() < part.after || wanted == 0 {
                break;
            }
            let take = wanted.min(rest.len());
            client.held.extend_from_slice(&rest[..take]);
            wanted -= take;
            client.next.1 += take;
            if client.next.1 == part.bytes.len() {
                client.next = (client.next.0 + 1, 0);
            }
        }
        client.turn = true;
    }

    /// As `Worker::feed_client`.
    fn read_client(&mut self, i: usize) {
        self.clients[i].turn = false;
        let input = std::mem::take(&mut self.clients[i].held);
        let mut used = 0;
        loop {
            let verdict = match self.clients[i].state {
                State::Leased(link) => self.read_leased(i, link, &input, &mut used),
                State::Idle | State::Waiting | State::Gone => {
                    self.read_unleased(i, &input, &mut used)
                }
            };
            match verdict {
                Verdict::More | Verdict::Hold => {
                    self.settle(i);
                    break;
                }
                Verdict::Lease => {
                    let free = |c: &Connection| c.lease == Lease::Free;
                    let Some(free) = self.connections.iter().position(free) else {
                        self.clients[i].state = State::Waiting;
                        break;
                    };
                    self.lend(free, i);
                }
                Verdict::Terminate | Verdict::Fail(_) => {
                    let legal = self.clients[i].script.keeps == Keeps::Protocol;
                    assert!(!legal, "a legal dialogue: {verdict:?}");
                    return self.client_gone(i);
                }
            }
        }
        self.clients[i].held = input[used..].to_vec();
    }

    fn read_unleased(&mut self, i: usize, input: &[u8], used: &mut usize) -> Verdict {
        let client = &mut self.clients[i];
        let mut answer = Vec::new();
        let with = (&mut self.statements, self.terms.openings);
        let step = client
            .session
            .read_unleased(&input[*used..], with, &mut answer);
        *used += step.used;
        self.deliver(i, &answer);
        step.verdict
    }

    /// As `Worker::feed_leased`.
    fn read_leased(&mut self, i: usize, link: usize, input: &[u8], used: &mut usize) -> Verdict {
        let connection = &mut self.connections[link];
        let session = &mut self.clients[i].session;
        let mut scratch = Vec::new();
        if connection.link.at_rest() {
            let reset = self.terms.reset;
            connection.link.prepare_for(session, reset, &mut scratch);
        }
        if connection.link.is_awaiting() {
            connection.to_server.extend_from_slice(&scratch);
            return Verdict::Hold;
        }
        session.put_opening(&mut connection.link, &mut scratch);
        let before = scratch.len();
        let mut leased = Leased {
            link: &mut connection.link,
            max_prepared: self.terms.limit,
            mode: self.terms.mode,
            state: StateMode::Carry,
            catalog: &self.terms.catalog,
            pins_left: 8,
            statements: &mut self.statements,
        };
        let mut answer = Vec::new();
        let mut flow = Flow::new(&input[*used..], &mut scratch);
        let step = session.read(&input[*used..], &mut leased, &mut flow, &mut answer);
        let passed = flow.finish();
        assert!(
            passed.len() - before <= 64 * (step.used + 64),
            "{} bytes became {}",
            step.used,
            passed.len()
        );
        connection.to_server.extend_from_slice(passed);
        *used += step.used;
        self.deliver(i, &answer);
        step.verdict
    }

    fn serve(&mut self, link: usize) {
        let connection = &mut self.connections[link];
        let n = self.dice.chunk(connection.to_server.len());
        let bytes: Vec<u8> = connection.to_server.drain(..n).collect();
        connection.server.feed(&bytes);
        let legal = match connection.lease {
            Lease::Client(i) => self.clients[i].script.keeps == Keeps::Protocol,
            Lease::Free | Lease::Own => true,
        };
        let broken = connection.server.broken && legal;
        assert!(!broken, "the machine broke the protocol");
        // What switches settings lives for a part of a batch.
        let switch = [NAME_PREFIX, b"switch"].concat();
        let ours = |name: &&Vec<u8>| name.starts_with(NAME_PREFIX) && **name != switch;
        let kept = connection.server.statements.keys().filter(ours).count();
        assert!(kept <= self.terms.limit, "{kept} statements on one server");
    }

    /// As `Worker::feed_server`.
    fn read_server(&mut self, link: usize) {
        let connection = &mut self.connections[link];
        let n = self.dice.chunk(connection.server.out.len());
        let fresh = connection.server.out.drain(..n);
        connection.held.extend(fresh);
        let input = std::mem::take(&mut connection.held);
        let client = match connection.lease {
            Lease::Client(client) => Some(client),
            Lease::Own => None,
            Lease::Free => panic!("only who was asked answers"),
        };
        let mut scratch = Vec::new();
        let mut flow = Flow::new(&input, &mut scratch);
        let used = Replies {
            session: client.map(|client| &mut self.clients[client].session),
            link: &mut connection.link,
        }
        .read(&input, &mut flow)
        .expect("the server keeps to the protocol");
        let passed = flow.finish().to_vec();
        connection.held = input[used..].to_vec();
        match client {
            Some(client) => {
                self.deliver(client, &passed);
                self.replied(client, link);
            }
            None => {
                assert!(passed.is_empty(), "nobody reads it");
                if connection.link.at_rest() {
                    self.release(link);
                }
            }
        }
    }

    /// As `Worker::replied`.
    fn replied(&mut self, client: usize, link: usize) {
        let held = &mut self.connections[link].link;
        assert!(!held.has_fault(), "the server takes all settings");
        let waits = &mut self.clients[client];
        if waits.session.has_changed() {
            waits.session.adopt(held, &mut self.table);
        }
        waits.turn |= !waits.held.is_empty() || waits.session.owes_sync();
        self.settle(client);
    }

    fn deliver(&mut self, i: usize, bytes: &[u8]) {
        let client = &mut self.clients[i];
        if client.script.keeps == Keeps::Nothing {
            return;
        }
        client.received.extend_from_slice(bytes);
        let (seen, due) = (&client.received, &client.script.replies);
        assert!(
            due.starts_with(seen),
            "client {i} saw\n  {}\nnot\n  {}",
            seen.escape_ascii(),
            due.escape_ascii()
        );
    }

    /// As `Worker::settle`.
    fn settle(&mut self, i: usize) {
        let State::Leased(link) = self.clients[i].state else {
            return;
        };
        let session = &mut self.clients[i].session;
        let connection = &mut self.connections[link];
        if !connection.link.at_rest()
            || !session.at_boundary()
            || session.owes_sync()
            || self.terms.mode == PoolMode::Session
        {
            return;
        }
        if session.wonders() {
            let inquiry = &mut connection.to_server;
            connection.link.put_inquiry(session, inquiry);
        } else if session.pin().is_none() || session.is_released() {
            session.end_of_lease();
            self.clients[i].state = State::Idle;
            self.release(link);
        }
    }

    /// A server connection is free: the server must be idle indeed.
    fn release(&mut self, link: usize) {
        let connection = &mut self.connections[link];
        assert!(connection.held.is_empty());
        // Copy data outside of a COPY may still be on its way: it is ignored there.
        let rest = std::mem::take(&mut connection.to_server);
        connection.server.feed(&rest);
        assert!(connection.server.is_idle(), "{:?}", connection.server);
        connection.lease = Lease::Free;
        self.check_statements(link);
        self.serve_line(link);
    }

    fn serve_line(&mut self, link: usize) {
        let waiting = self.clients.iter().position(|c| c.state == State::Waiting);
        if let Some(waiting) = waiting {
            self.lend(link, waiting);
            self.clients[waiting].turn = true;
        }
    }

    /// As `Worker::client_gone` and `give_back`.
    fn client_gone(&mut self, i: usize) {
        let State::Leased(link) = std::mem::replace(&mut self.clients[i].state, State::Gone) else {
            return;
        };
        let session = &self.clients[i].session;
        let connection = &mut self.connections[link];
        let resting = connection.link.at_rest() && session.at_boundary();
        let marked = self.terms.mode == PoolMode::Session || session.pin().is_some();
        if resting && !marked {
            self.release(link);
        } else if resting && session.is_discardable() {
            connection.lease = Lease::Own;
            connection.link.put_discard(&mut connection.to_server);
        } else {
            *connection = Connection::new(&self.table);
            self.serve_line(link);
        }
    }

    fn lend(&mut self, link: usize, client: usize) {
        if self.terms.mode == PoolMode::Session {
            let Client {
                session, script, ..
            } = &self.clients[client];
            self.connections[link] = Connection::opened_with(session.settings(), &script.start);
        }
        self.connections[link].lease = Lease::Client(client);
        self.clients[client].state = State::Leased(link);
    }

    /// What we believe to be prepared is what is prepared, and nothing else.
    fn check_statements(&self, link: usize) {
        let connection = &self.connections[link];
        let mut believed: Vec<Vec<u8>> = connection
            .link
            .prepared_names()
            .map(<[u8]>::to_vec)
            .collect();
        believed.sort();
        let named = |name: &&Vec<u8>| !name.is_empty();
        let there: Vec<Vec<u8>> = connection
            .server
            .statements
            .keys()
            .filter(named)
            .cloned()
            .collect();
        assert_eq!(
            believed
                .iter()
                .map(|n| n.escape_ascii().to_string())
                .collect::<Vec<_>>(),
            there
                .iter()
                .map(|n| n.escape_ascii().to_string())
                .collect::<Vec<_>>()
        );
    }

    fn check_end(&self) {
        for (i, client) in self.clients.iter().enumerate() {
            assert!(
                client.state == State::Gone,
                "client {i} waits for ever: saw {} of {}, state {:?}, held {}, {:?}; {:?}",
                client.received.escape_ascii(),
                client.script.replies.escape_ascii(),
                client.state,
                client.held.escape_ascii(),
                client.session,
                self.connections,
            );
        }
        for connection in &self.connections {
            assert!(connection.link.at_rest(), "{:?}", connection.link);
            assert_eq!(connection.lease, Lease::Free);
        }
    }
}

enum Action {
    Say(usize),
    Read(usize),
    Go(usize),
    Serve(usize),
    Reply(usize),
}
