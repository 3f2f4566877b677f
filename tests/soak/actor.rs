//! One client: it logs in, does a random mix of work, leaves in one way or another, and comes again.
//!
//! It remembers which of its writes were acknowledged and which were refused. What it may not be
//! told at any time, whatever happens around it, is a failure of the proxy.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::setup::{SESSION_TENANTS, TENANTS, mark};
use crate::traffic;
use crate::wire::{Broken, Reply, Wire};

/// What a client has seen, for the end.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Ids below this one (and above the client's base) were sent.
    pub(crate) next: u64,
    pub(crate) acknowledged: Vec<u64>,
    /// The transaction was said not to have taken effect.
    pub(crate) refused: Vec<u64>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) failures: Vec<String>,
}

/// One client.
pub(crate) struct Actor {
    pub(crate) number: u64,
    pub(crate) tenant: usize,
    pub(crate) mark: String,
    pub(crate) rng: StdRng,
    pub(crate) ledger: Ledger,
    /// Names of statements and the constant that each returns, in this session.
    pub(crate) prepared: BTreeMap<String, String>,
    /// Its `work_mem`, as SHOW gives it.
    pub(crate) setting: String,
    nonce: u64,
}

impl Actor {
    pub(crate) fn new(number: usize, seed: u64) -> Self {
        let number = u64::try_from(number).expect("few clients");
        let tenant = usize::try_from(number).expect("few clients") % TENANTS;
        Self {
            number,
            tenant,
            mark: mark(tenant),
            rng: StdRng::seed_from_u64(seed ^ (number << 20)),
            ledger: Ledger::default(),
            prepared: BTreeMap::new(),
            setting: traffic::DEFAULT.to_owned(),
            nonce: 0,
        }
    }

    /// Sessions until `end`.
    pub(crate) fn run(mut self, address: SocketAddr, end: Instant) -> Self {
        while Instant::now() < end && self.ledger.failures.is_empty() {
            self.prepared.clear();
            traffic::DEFAULT.clone_into(&mut self.setting);
            let (what, outcome) = self.session(address, end);
            match outcome {
                Ok(()) => self.count("sessions ended in order"),
                Err(broken) => self.judge(what, &broken),
            }
        }
        self
    }

    fn session(&mut self, address: SocketAddr, end: Instant) -> (&'static str, Result<(), Broken>) {
        let user = format!("app.{}", self.mark);
        let mut wire = match Wire::connect(address, &user, &self.mark) {
            Ok(wire) => wire,
            Err(broken) => return ("login", Err(broken)),
        };
        if let Err(broken) = traffic::finds_nothing(self, &mut wire) {
            return ("finds_nothing", Err(broken));
        }
        let most = if self.tenant >= TENANTS - SESSION_TENANTS {
            12
        } else {
            80
        };
        for _ in 0..self.rng.random_range(1..most) {
            if Instant::now() >= end {
                break;
            }
            let (name, work) = traffic::pick(&mut self.rng);
            if let Err(broken) = work(self, &mut wire) {
                return (name, Err(broken));
            }
            self.count(name);
        }
        if self.rng.random_bool(0.7) {
            return ("goodbye", wire.send(b"X\0\0\0\x04"));
        }
        let _gone = wire.stream.shutdown(Shutdown::Both);
        ("goodbye", Ok(()))
    }

    /// Whether a session may end like this.
    fn judge(&mut self, what: &'static str, broken: &Broken) {
        let known = match broken {
            Broken::Left => Some("sessions left by the client"),
            Broken::Gone(_) => Some("connections found closed"),
            Broken::Fatal(code, text) => match code.as_str() {
                "57P01" => Some("sessions ended by an administrator or a reload"),
                "08006" | "08007" if !text.contains("answers nothing that was asked") => {
                    Some("server connections lost")
                }
                "28P01" if self.tenant == 1 => Some("logins while the tenant was removed"),
                "25P03" => Some("transactions idle for too long"),
                "57014" if text.contains("query took longer") => Some("queries that took too long"),
                _ => None,
            },
            Broken::Hung(_) | Broken::Wrong(_) => None,
        };
        if what == "login" {
            // A tenant that is away for a second must not keep the processor busy with attempts.
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        match known {
            Some(known) => self.count(known),
            None => self.fail(format!("{what}: {broken:?}")),
        }
    }

    fn fail(&mut self, what: String) {
        self.ledger
            .failures
            .push(format!("client {} of {}: {what}", self.number, self.mark));
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.ledger.counts.entry(what).or_default() += 1;
    }

    /// A new id for a row of `log`.
    pub(crate) fn id(&mut self) -> u64 {
        self.ledger.next += 1;
        (self.number << 32) + self.ledger.next
    }

    /// A text that no other request of any client has.
    pub(crate) fn nonce(&mut self) -> String {
        self.nonce += 1;
        format!("{}-{}", self.number, self.nonce)
    }

    /// `insert` of one row, as SQL.
    pub(crate) fn insert(&self, id: u64) -> String {
        format!("insert into log values ({id}, '{}', null)", self.mark)
    }

    /// Books what a reply says about the ids of its transaction.
    pub(crate) fn book(&mut self, ids: &[u64], reply: &Reply) -> Result<(), Broken> {
        if reply.error.is_none() && reply.status == b'I' {
            self.ledger.acknowledged.extend(ids);
            return Ok(());
        }
        self.ledger.refused.extend(ids);
        wrong(reply.status == b'I', "a transaction is still open", reply)
    }
}

/// An error unless `right`.
pub(crate) fn wrong(right: bool, what: &str, reply: &Reply) -> Result<(), Broken> {
    if right {
        return Ok(());
    }
    let rows = reply.rows.len();
    Err(Broken::Wrong(format!(
        "{what}: error {:?}, tags {:?}, status {:?}, {rows} rows, first {:?}",
        reply.error,
        reply.tags,
        char::from(reply.status),
        reply.rows.first()
    )))
}

/// A reply without an error, outside a transaction.
pub(crate) fn fine(reply: Reply) -> Result<Reply, Broken> {
    wrong(
        reply.error.is_none() && reply.status == b'I',
        "an unexpected error",
        &reply,
    )?;
    Ok(reply)
}
