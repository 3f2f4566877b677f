//! One stream of bytes, cut into pieces in two ways: what comes out does not depend on the cuts.
//!
//! Headers, rows, and both halves of the session machine: what a client sends towards a server, and
//! what a server answers to requests that went before.

use std::rc::Rc;

use tenantry::config::{PoolMode, StateMode};
use tenantry::session::{
    Catalog, Flow, Leased, Link, Openings, Replies, Scope, Session, SettingsTable, Statements,
};
use tenantry::wire::frame;

use super::input::Input;

pub fn frames(data: &[u8]) {
    let mut input = Input::new(data);
    let terms = Terms {
        mode: input.one_of(&[
            PoolMode::Transaction,
            PoolMode::Statement,
            PoolMode::Session,
        ]),
        state: input.one_of(&[StateMode::Carry, StateMode::Reject, StateMode::Ignore]),
        catalog: input.one_of(&[Known::Clean, Known::Nothing]),
        limit: 1 + input.below(3),
    };
    let cuts = input.part();
    let (before, stream) = (input.part(), input.rest());
    headers(stream);
    row(stream);
    same(
        |cuts| {
            let mut world = World::new(terms);
            world.client(stream, cuts);
            world.seen()
        },
        cuts,
    );
    same(
        |cuts| {
            let mut world = World::new(terms);
            world.client(before, &[]);
            world.server(stream, cuts);
            world.seen()
        },
        cuts,
    );
    same(|cuts| unleased(stream, cuts), cuts);
}

fn same<T: PartialEq + std::fmt::Debug>(run: impl Fn(&[u8]) -> T, cuts: &[u8]) {
    assert_eq!(run(&[]), run(cuts));
}

/// Frames follow each other without a gap, and none is longer than PostgreSQL's longest.
fn headers(stream: &[u8]) {
    let mut at = 0;
    while let Ok(Some(head)) = frame::header(&stream[at..]) {
        assert!((5..=0x4000_0000).contains(&head.total));
        let Some(whole) = stream.get(at..at + head.total) else {
            return;
        };
        let mut again = Vec::new();
        frame::put(&mut again, head.tag, &[&whole[frame::HEADER..]]);
        assert_eq!(again, whole);
        at += head.total;
    }
}

/// The columns of a row are the row.
fn row(body: &[u8]) {
    let Some(columns) = frame::columns(body) else {
        return;
    };
    let mut again = body[..2].to_vec();
    for column in columns {
        match column {
            Some(value) => {
                again.extend(
                    u32::try_from(value.len())
                        .expect("it was read")
                        .to_be_bytes(),
                );
                again.extend_from_slice(value);
            }
            // Any negative length is NULL.
            None => again.extend_from_slice(&body[again.len()..again.len() + 4]),
        }
    }
    assert_eq!(again, body);
}

/// What a tenant's configuration and catalog say.
#[derive(Clone, Copy)]
struct Terms {
    mode: PoolMode,
    state: StateMode,
    catalog: Known,
    limit: usize,
}

#[derive(Clone, Copy)]
enum Known {
    Clean,
    Nothing,
}

struct World {
    terms: Terms,
    session: Session,
    link: Link,
    statements: Statements,
    prefix: Vec<u8>,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    end: String,
}

/// What can be seen from outside.
#[derive(Debug, PartialEq)]
struct Seen {
    to_server: String,
    to_client: String,
    /// The last word of the machine, and how much it has used.
    end: String,
    at_rest: bool,
}

impl World {
    fn new(terms: Terms) -> Self {
        let none = Rc::clone(SettingsTable::default().none());
        let (statements, prefix) = statements();
        Self {
            terms,
            session: Session::new(Rc::clone(&none), 1),
            link: Link::new(none, Vec::new()),
            statements,
            prefix,
            to_server: Vec::new(),
            to_client: Vec::new(),
            end: String::new(),
        }
    }

    /// A client with a lease sends a stream.
    fn client(&mut self, stream: &[u8], cuts: &[u8]) {
        let (mut used, mut last) = (0, None);
        for end in ends(stream.len(), cuts) {
            let input = &stream[used..end];
            let mut scratch = Vec::new();
            let mut flow = Flow::new(input, &mut scratch);
            let catalog = match self.terms.catalog {
                Known::Clean => Catalog::CLEAN,
                Known::Nothing => Catalog::UNKNOWN,
            };
            let mut leased = Leased {
                link: &mut self.link,
                statements: &mut self.statements,
                max_prepared: self.terms.limit,
                mode: self.terms.mode,
                state: self.terms.state,
                catalog: &catalog,
                pins_left: 1,
            };
            let session = &mut self.session;
            let step = session.read(input, &mut leased, &mut flow, &mut self.to_client);
            assert!(step.used <= input.len());
            self.to_server.extend_from_slice(flow.finish());
            used += step.used;
            let verdict = format!("{:?}", step.verdict);
            let over = !["More", "Hold"].contains(&verdict.as_str());
            last = Some(verdict);
            if over {
                break;
            }
        }
        self.end = format!("{last:?} at {used}");
    }

    /// Its server answers with a stream.
    fn server(&mut self, stream: &[u8], cuts: &[u8]) {
        let mut used = 0;
        for end in ends(stream.len(), cuts) {
            let input = &stream[used..end];
            let mut scratch = Vec::new();
            let mut flow = Flow::new(input, &mut scratch);
            let read = Replies {
                session: Some(&mut self.session),
                link: &mut self.link,
            }
            .read(input, &mut flow);
            self.to_client.extend_from_slice(flow.finish());
            match read {
                Ok(n) => {
                    assert!(n <= input.len());
                    used += n;
                }
                Err(error) => {
                    // How much was read before is of no use to anybody.
                    self.end = error.to_string();
                    return;
                }
            }
        }
        self.end = format!("at {used}");
    }

    fn seen(&self) -> Seen {
        let plain = |bytes: &[u8]| {
            let text = bytes.escape_ascii().to_string();
            text.replace(&self.prefix.escape_ascii().to_string(), "tenantry_")
        };
        Seen {
            to_server: plain(&self.to_server),
            to_client: plain(&self.to_client),
            end: self.end.clone(),
            // Behind a reply that makes no sense nobody asks.
            at_rest: self.end.starts_with("the server")
                || self.link.at_rest() && self.session.at_boundary(),
        }
    }
}

/// Names on servers begin with a random number; here one of eight digits, so that lengths agree.
fn statements() -> (Statements, Vec<u8>) {
    loop {
        let mut statements = Statements::default();
        let first = statements.intern(Scope::Startup(0), b"\0\0\0");
        if first.server_name.len() == "tenantry_01234567_1\0".len() {
            let prefix = first.server_name[..first.server_name.len() - 2].to_vec();
            return (statements, prefix);
        }
    }
}

/// A client without a lease.
fn unleased(stream: &[u8], cuts: &[u8]) -> (Vec<u8>, String) {
    let none = Rc::clone(SettingsTable::default().none());
    let mut session = Session::new(none, 1);
    let mut statements = Statements::default();
    let (mut used, mut answer, mut last) = (0, Vec::new(), String::new());
    for end in ends(stream.len(), cuts) {
        let step = session.read_unleased(
            &stream[used..end],
            (&mut statements, Openings::Passed),
            &mut answer,
        );
        used += step.used;
        assert!(used <= end);
        last = format!("{:?} at {used}", step.verdict);
        if !last.starts_with("More") {
            break;
        }
    }
    (answer, last)
}

/// Where the pieces of a stream end; the last one is what no cut is left for.
fn ends(length: usize, cuts: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    for cut in cuts {
        at += usize::from(*cut);
        if at >= length {
            break;
        }
        ends.push(at);
    }
    ends.push(length);
    ends
}
