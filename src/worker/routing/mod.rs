//! Which line a request gets in: that of its pool, at the primary, or that of a replica.
//!
//! The session says what it asks for ([`crate::session::Session::aim`]); here that is held against the
//! nodes as they are: which replicas serve ([`replicas`]) and what they have replayed
//! ([`catching`]).

mod catching;
mod kept;
mod replicas;

use std::rc::Rc;
use std::sync::Arc;

use super::pool::Pool;
use super::run::Worker;
use crate::config::{NoReplica, PoolMode, Reads, Route};
use crate::error::{ClientError, SqlState};
use crate::nodes::{ClusterView, Primary};
use crate::session::{Asked, Openings, Place, Why};
use crate::types::NodeAddr;

use catching::Need;
pub(super) use catching::{CatchUp, Known, Writes};
pub(super) use replicas::Branch;
use replicas::Replicas;

/// What a pool is beside others of its tenant.
#[derive(Debug)]
pub(super) enum Part {
    /// That of its clients; its server connections lead to the primary.
    Home(Box<Home>),
    /// Server connections of that pool's clients to a replica.
    Branch(usize),
}

/// What the pool of the clients knows of the other nodes.
#[derive(Debug)]
pub(super) struct Home {
    /// What its clients ask for.
    pub(super) route: Route,
    /// `None`: the cluster has no replicas.
    pub(super) view: Option<Arc<ClusterView>>,
    /// One for each replica of the view, in its order.
    pub(super) branches: Vec<Branch>,
    /// Of the tenant, whatever the pool.
    pub(super) writes: Rc<Writes>,
}

/// Where a client's requests go.
#[derive(Debug)]
pub(super) struct Course {
    /// The pool in whose line it is, or was last.
    pub(super) line: usize,
    /// Why its transaction is served where it is.
    pub(super) why: Why,
    /// Its next request goes to the primary, for that reason.
    pub(super) forced: Option<Why>,
    /// Its wait for a replica.
    pub(super) catch_up: Option<Box<CatchUp>>,
    /// What it has written itself, where that matters.
    writes: Option<Box<Writes>>,
}

impl Course {
    /// At its pool's own servers.
    pub(super) fn at(pool: usize) -> Self {
        Self {
            line: pool,
            why: Why::Writes,
            forced: None,
            catch_up: None,
            writes: None,
        }
    }
}

/// What becomes of a request.
pub(super) enum Way {
    /// It gets in this pool's line.
    Line(usize),
    /// It waits for a replica to catch up.
    Wait,
    /// It cannot be served.
    Refuse(ClientError),
}

impl Pool {
    /// What it knows of other nodes, if it is the pool of clients.
    pub(super) fn home(&self) -> Option<&Home> {
        match &self.part {
            Part::Home(home) => Some(home),
            Part::Branch(_) => None,
        }
    }

    pub(super) fn home_mut(&mut self) -> Option<&mut Home> {
        match &mut self.part {
            Part::Home(home) => Some(home),
            Part::Branch(_) => None,
        }
    }

    /// Whether its clients ask for a standby.
    pub(super) fn is_for_standbys(&self) -> bool {
        self.home().is_some_and(|home| home.route == Route::Replica)
    }

    /// Whether it has any nodes to choose from.
    #[inline]
    pub(super) fn is_routed(&self) -> bool {
        match &self.part {
            Part::Home(home) => home.view.is_some() || home.route == Route::Replica,
            Part::Branch(_) => false,
        }
    }

    /// What becomes of statements that open a transaction block.
    #[inline]
    pub(super) fn openings(&self) -> Openings {
        let held = match &self.part {
            Part::Home(home) => home.view.is_some() && home.route == Route::Primary,
            Part::Branch(_) => false,
        };
        let config = &self.tenant.config;
        if held && config.routing.reads != Reads::Off && config.pool.mode == PoolMode::Transaction {
            Openings::Held
        } else {
            Openings::Passed
        }
    }
}

impl Worker {
    /// The pool of the clients that a pool's server connections serve.
    #[inline]
    pub(super) fn home_of(&self, pool: usize) -> usize {
        match self.pools[pool].part {
            Part::Home(_) => pool,
            Part::Branch(home) => home,
        }
    }

    /// Where the request goes that the input begins with.
    #[inline]
    pub(super) fn way(&mut self, slot: usize, input: &[u8]) -> Way {
        let home = self.clients[slot].pool;
        if self.pools[home].is_routed() {
            self.routed_way(slot, input)
        } else {
            Way::Line(home)
        }
    }

    fn routed_way(&mut self, slot: usize, input: &[u8]) -> Way {
        let client = &mut self.clients[slot];
        if let Some(why) = client.course.forced.take() {
            return self.at_primary(slot, why);
        }
        let pool = &mut self.pools[client.pool];
        let Part::Home(home) = &pool.part else {
            return Way::Line(client.pool);
        };
        let why = if home.route == Route::Replica {
            Why::Listener
        } else {
            let reads = pool.tenant.config.routing.reads;
            let (catalog, number) = pool.catalog.numbered();
            let known = &mut self.reads;
            let mut judge = |asked: Asked<'_>| {
                asked.reads_only(number, |text| known.verdict(text, catalog, number).is_ok())
            };
            client.session.aim(input, reads, &mut judge)
        };
        match why.place() {
            Place::Primary => self.at_primary(slot, why),
            Place::Replica => self.at_a_replica(slot, why),
        }
    }

    /// Where a client at its login gets what tells its settings.
    pub(super) fn way_in(&mut self, slot: usize) -> Way {
        let home = self.clients[slot].pool;
        let pool = &self.pools[home];
        match pool.home() {
            Some(known) if known.route == Route::Replica => {
                let serving = known.serving(&pool.tenant.config.routing, self.now);
                self.lead_to(slot, serving, Why::Listener)
            }
            _ => self.at_primary(slot, Why::Writes),
        }
    }

    /// Why a client that asks for a standby cannot log in: libpq and JDBC try the next host then.
    pub(super) fn unserved(&self, slot: usize) -> Option<ClientError> {
        let pool = &self.pools[self.clients[slot].pool];
        let known = pool.home().filter(|home| home.route == Route::Replica)?;
        let serving = known.serving(&pool.tenant.config.routing, self.now);
        serving.is_empty().then(no_replica)
    }

    fn at_primary(&mut self, slot: usize, why: Why) -> Way {
        let client = &mut self.clients[slot];
        client.course.catch_up = None;
        let home = self.pools[client.pool].home();
        if home.is_some_and(|h| h.route == Route::Replica) {
            // Who asks for a standby must not write by mistake.
            let behind = matches!(why, Why::Behind);
            return Way::Refuse(if behind { not_yet() } else { no_replica() });
        }
        let view = home.and_then(|h| h.view.as_ref());
        if let Some(Primary::Disputed(nodes)) = view.map(|view| &view.primary) {
            return Way::Refuse(disputed(nodes));
        }
        client.course.why = why;
        Way::Line(client.pool)
    }

    fn at_a_replica(&mut self, slot: usize, why: Why) -> Way {
        let home = self.clients[slot].pool;
        let pool = &self.pools[home];
        let Some(known) = pool.home() else {
            return Way::Line(home);
        };
        let serving = known.serving(&pool.tenant.config.routing, self.now);
        if serving.is_empty() {
            return self.without_replica(slot);
        }
        let need = match self.clients[slot].course.catch_up.as_deref().copied() {
            Some(wait) => self.need_of_waiting(slot, wait),
            None => self.need(slot),
        };
        let needed = match need {
            Need::Replayed(lsn) => lsn,
            Need::Asking(since) => return self.ask_position(slot, since),
            Need::Primary => return self.at_primary(slot, Why::Behind),
        };
        let fresh = known.fresh(serving, needed);
        if fresh.is_empty() {
            return self.ask_replay(slot, serving, needed);
        }
        self.lead_to(slot, fresh, why)
    }

    /// At one of these.
    fn lead_to(&mut self, slot: usize, of: Replicas, why: Why) -> Way {
        let home = self.clients[slot].pool;
        if of.is_empty() {
            return self.without_replica(slot);
        }
        let chosen = self.choose(home, of);
        let Some(branch) = self.branch(home, chosen) else {
            return self.at_primary(slot, Why::NoReplica);
        };
        let client = &mut self.clients[slot];
        if let Some(wait) = client.course.catch_up.take() {
            self.tallies.catch_up.observe(self.micros - wait.began());
        }
        client.course.why = why;
        Way::Line(branch)
    }

    fn without_replica(&mut self, slot: usize) -> Way {
        let pool = &self.pools[self.clients[slot].pool];
        match pool.tenant.config.routing.no_replica {
            NoReplica::Primary => self.at_primary(slot, Why::NoReplica),
            NoReplica::Error => Way::Refuse(no_replica()),
        }
    }
}

fn disputed(nodes: &[NodeAddr]) -> ClientError {
    let text = "nobody knows which node is the primary";
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    ClientError::error(SqlState::UNAVAILABLE, text).with_hint(format!(
        "{} say so; an operator must stop all but one",
        names.join(" and ")
    ))
}

fn not_yet() -> ClientError {
    let text = "no replica has replayed what tenantry.position asks for";
    ClientError::error(SqlState::UNAVAILABLE, text).with_hint("try again later, or at the primary")
}

fn no_replica() -> ClientError {
    ClientError::error(SqlState::UNAVAILABLE, "no replica serves at the moment")
        .with_hint("see SHOW REPLICAS; routing.no_replica says what becomes of reads then")
}
