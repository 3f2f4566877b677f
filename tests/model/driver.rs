//! Plays the worker: clients, server connections and the bytes between them, in any interleaving.
//!
//! What `worker::relay` does with sockets is done here with buffers, so that each chunk and each
//! turn can be chosen.

use std::rc::Rc;

use tenantry::config::{PoolMode, StateMode};
use tenantry::session::{
    Catalog, Flow, Leased, Link, NAME_PREFIX, Replies, Session, SettingsTable, Statements, Verdict,
};

use super::dialogue::Script;
use super::server::Server;

/// xorshift: all choices of a run follow from one number.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).expect("n is a usize")
    }

    /// How much of `n` bytes moves: often all, often little.
    fn chunk(&mut self, n: usize) -> usize {
        match self.below(4) {
            0 => n.min(1 + self.below(4)),
            1 => 1 + self.below(n),
            _ => n,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Waiting,
    Leased(usize),
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

struct Connection {
    link: Link,
    server: Server,
    to_server: Vec<u8>,
    held: Vec<u8>,
    lease: Option<usize>,
}

pub(crate) struct Driver {
    clients: Vec<Client>,
    connections: Vec<Connection>,
    statements: Statements,
    limit: usize,
    mode: PoolMode,
    dice: Dice,
}

impl Driver {
    pub(crate) fn new(scripts: Vec<Script>, links: usize, limit: usize, seed: u64) -> Self {
        let table = SettingsTable::default();
        let none = Rc::clone(table.none());
        let client = |(i, script)| Client {
            session: Session::new(Rc::clone(&none), i as u64),
            script,
            next: (0, 0),
            received: Vec::new(),
            state: State::Idle,
            held: Vec::new(),
            turn: false,
        };
        let connection = |_| Connection {
            link: Link::new(Rc::clone(&none), Vec::new()),
            server: Server::new(),
            to_server: Vec::new(),
            held: Vec::new(),
            lease: None,
        };
        Self {
            clients: scripts.into_iter().enumerate().map(client).collect(),
            connections: (0..links).map(connection).collect(),
            statements: Statements::default(),
            limit,
            mode: PoolMode::Transaction,
            dice: Dice(seed | 1),
        }
    }

    /// In session mode: a lease for each client, to its end.
    pub(crate) fn of_sessions(scripts: Vec<Script>, seed: u64) -> Self {
        let links = scripts.len();
        let mut driver = Self::new(scripts, links, 1, seed);
        driver.mode = PoolMode::Session;
        driver
    }

    /// Runs until every client has said all and seen all.
    pub(crate) fn run(&mut self) {
        while let Some(action) = self.choose() {
            match action {
                Action::Say(client) => self.say(client),
                Action::Read(client) => self.read_client(client),
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
            if part.is_some_and(|p| client.received.len() >= p.after) {
                actions.push(Action::Say(i));
            }
            if client.turn && client.state != State::Waiting {
                actions.push(Action::Read(i));
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
                State::Idle | State::Waiting => self.read_unleased(i, &input, &mut used),
            };
            match verdict {
                Verdict::More | Verdict::Hold => {
                    self.settle(i);
                    break;
                }
                Verdict::Lease => {
                    let free = self.connections.iter().position(|c| c.lease.is_none());
                    let Some(free) = free else {
                        self.clients[i].state = State::Waiting;
                        break;
                    };
                    self.lend(free, i);
                }
                Verdict::Terminate | Verdict::Fail(_) => panic!("a legal dialogue: {verdict:?}"),
            }
        }
        self.clients[i].held = input[used..].to_vec();
    }

    fn read_unleased(&mut self, i: usize, input: &[u8], used: &mut usize) -> Verdict {
        let client = &mut self.clients[i];
        let mut answer = Vec::new();
        let step = client
            .session
            .read_unleased(&input[*used..], &self.statements, &mut answer);
        *used += step.used;
        self.deliver(i, &answer);
        step.verdict
    }

    fn read_leased(&mut self, i: usize, link: usize, input: &[u8], used: &mut usize) -> Verdict {
        let connection = &mut self.connections[link];
        let mut leased = Leased {
            link: &mut connection.link,
            max_prepared: self.limit,
            mode: self.mode,
            state: StateMode::Carry,
            catalog: &Catalog::Clean,
            pins_left: 8,
            statements: &mut self.statements,
        };
        let (mut scratch, mut answer) = (Vec::new(), Vec::new());
        let mut flow = Flow::new(&input[*used..], &mut scratch);
        let session = &mut self.clients[i].session;
        let step = session.read(&input[*used..], &mut leased, &mut flow, &mut answer);
        let passed = flow.finish();
        assert!(
            passed.len() <= 64 * (step.used + 16),
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
        assert!(!connection.server.broken, "the machine broke the protocol");
        let ours = |name: &&Vec<u8>| name.starts_with(NAME_PREFIX);
        let kept = connection.server.statements.keys().filter(ours).count();
        assert!(kept <= self.limit, "{kept} statements on one server");
    }

    /// As `Worker::feed_server` and `replied`.
    fn read_server(&mut self, link: usize) {
        let connection = &mut self.connections[link];
        let n = self.dice.chunk(connection.server.out.len());
        let fresh = connection.server.out.drain(..n);
        connection.held.extend(fresh);
        let input = std::mem::take(&mut connection.held);
        let client = connection.lease.expect("only who was asked answers");
        let mut scratch = Vec::new();
        let mut flow = Flow::new(&input, &mut scratch);
        let used = Replies {
            session: Some(&mut self.clients[client].session),
            link: &mut connection.link,
        }
        .read(&input, &mut flow)
        .expect("the server keeps to the protocol");
        let passed = flow.finish().to_vec();
        connection.held = input[used..].to_vec();
        self.deliver(client, &passed);
        let waits = &mut self.clients[client];
        waits.turn |= !waits.held.is_empty() || waits.session.owes_sync();
        self.settle(client);
    }

    fn deliver(&mut self, i: usize, bytes: &[u8]) {
        let client = &mut self.clients[i];
        client.received.extend_from_slice(bytes);
        let (seen, due) = (&client.received, &client.script.replies);
        assert!(
            due.starts_with(seen),
            "client {i} saw\n  {}\nnot\n  {}",
            seen.escape_ascii(),
            due.escape_ascii()
        );
    }

    /// As `Worker::settle`: and the server must be idle indeed.
    fn settle(&mut self, i: usize) {
        let State::Leased(link) = self.clients[i].state else {
            return;
        };
        let session = &self.clients[i].session;
        let connection = &self.connections[link];
        if !connection.link.at_rest()
            || !session.at_boundary()
            || session.owes_sync()
            || session.pin().is_some()
            || self.mode == PoolMode::Session
        {
            return;
        }
        assert!(connection.held.is_empty());
        // Copy data outside of a COPY may still be on its way: it is ignored there.
        let connection = &mut self.connections[link];
        connection
            .server
            .feed(&std::mem::take(&mut connection.to_server));
        assert!(connection.server.is_idle(), "{:?}", connection.server);
        self.check_statements(link);
        self.clients[i].session.end_of_lease();
        self.clients[i].state = State::Idle;
        self.connections[link].lease = None;
        let waiting = self.clients.iter().position(|c| c.state == State::Waiting);
        if let Some(waiting) = waiting {
            self.lend(link, waiting);
            self.clients[waiting].turn = true;
        }
    }

    fn lend(&mut self, link: usize, client: usize) {
        self.connections[link].lease = Some(client);
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
                client.received == client.script.replies
                    && client.next.0 == client.script.parts.len(),
                "client {i} waits for ever: saw {} of {}, state {:?}, held {}, {:?}",
                client.received.escape_ascii(),
                client.script.replies.escape_ascii(),
                client.state,
                client.held.escape_ascii(),
                client.session,
            );
            assert_eq!(client.session.pin(), None, "nothing here leaves state");
        }
        for connection in &self.connections {
            assert!(connection.link.at_rest(), "{:?}", connection.link);
            assert!(connection.lease.is_none() || self.mode == PoolMode::Session);
        }
    }
}

enum Action {
    Say(usize),
    Read(usize),
    Serve(usize),
    Reply(usize),
}
