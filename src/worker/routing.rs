//! Which line a request gets in: that of its pool, at the primary, or that of a replica.
//!
//! The session says what it asks for ([`Session::aim`]); here that is held against the nodes as they
//! are. A read at a replica sees what was acknowledged before it: a request for the primary's
//! position that is begun after an acknowledgement bounds all writes acknowledged until then, and a
//! replica that has replayed so far has them all. Nothing is asked per commit: only when a read needs
//! it, and who needs it at the same time shares the answer.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::clients::ClientState;
use super::deadlines::{Millis, Owner, after, millis};
use super::inbox::Message;
use super::pool::Pool;
use super::run::{SPARE, Turn, Worker};
use super::stats::Micros;
use crate::config::{
    Balance, Consistency, MaxLag, NoReplica, PoolMode, Reads, Route, RoutingSettings,
};
use crate::error::{ClientError, Notice, SqlState};
use crate::nodes::{ClusterView, Lsn, Position, Primary, ReplicaState, ReplicaView};
use crate::session::{Openings, Place, Seen, Why};
use crate::types::{ClusterName, NodeAddr};

/// A replica that could not be connected to is left alone for so long, unless it is heard of.
const AVOIDED: Millis = 1_000;

/// Of what is kept of a request at a replica.
const KEPT: usize = 32 * 1024;

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

/// A replica, for one pool.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) node: NodeAddr,
    /// The slot of the pool of connections to it, once there was need of one.
    pub(super) pool: Option<usize>,
    /// What it is behind the others in turns.
    credit: i64,
    /// It could not be connected to: not before that.
    avoided: Millis,
}

/// Writes that were acknowledged, and what bounds them. At first nobody knows what was acknowledged
/// before: by an earlier process, or before the tenant's pools were forgotten.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// A position is to be asked for that is of a later request than this one.
    since: Cell<u64>,
    /// There were writes that `bound` does not cover.
    news: Cell<News>,
    bound: Cell<Lsn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum News {
    None,
    #[default]
    Some,
}

impl Writes {
    /// One was acknowledged, or may have been done, after `asked` requests for a position.
    #[inline]
    pub(super) fn note(&self, asked: u64) {
        self.since.set(asked);
        self.news.set(News::Some);
    }
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
    /// Its transaction may write.
    pub(super) may_write: bool,
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
            may_write: true,
            catch_up: None,
            writes: None,
        }
    }
}

/// A read that waits for a replica.
#[derive(Debug, Clone, Copy)]
pub(super) struct CatchUp {
    /// The position that it needs is of a later request than this one.
    since: u64,
    /// That position, once it is known.
    lsn: Option<Lsn>,
    /// It gives up then.
    until: Millis,
    /// It began to wait then.
    began: Micros,
}

impl CatchUp {
    /// When it began to wait.
    pub(super) fn began(&self) -> Micros {
        self.began
    }
}

/// What is known of the position of a cluster's primary.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The last request that was sent.
    sent: u64,
    /// The last one that was answered, and how.
    answer: Option<(u64, Position)>,
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

/// What a read needs of a replica.
enum Need {
    /// To have replayed that.
    Replayed(Lsn),
    /// A position that is of a later request than this one.
    Asking(u64),
    /// More than can be known.
    Primary,
}

/// Some of a view's replicas, by their places in it. The configuration allows no more than fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Replicas(u64);

impl Replicas {
    fn of(all: &[ReplicaView], wanted: impl Fn(usize, &ReplicaView) -> bool) -> Self {
        let numbered = all.iter().enumerate();
        let bits = numbered.map(|(at, replica)| u64::from(wanted(at, replica)) << at);
        Self(bits.sum())
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let at = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (at < 64).then_some(at)
        })
    }
}

impl Home {
    pub(super) fn new(route: Route, view: Option<Arc<ClusterView>>, writes: Rc<Writes>) -> Self {
        let mut home = Self {
            route,
            view: None,
            branches: Vec::new(),
            writes,
        };
        home.see(view);
        home
    }

    /// Takes over another view; returned are the pools of replicas that it has not.
    pub(super) fn see(&mut self, view: Option<Arc<ClusterView>>) -> Vec<usize> {
        let mut before = std::mem::take(&mut self.branches);
        for replica in view.iter().flat_map(|view| &view.replicas) {
            let known = before.iter().position(|b| b.node == replica.node);
            self.branches.push(match known {
                Some(at) => before.swap_remove(at),
                None => Branch {
                    node: replica.node.clone(),
                    pool: None,
                    credit: 0,
                    avoided: 0,
                },
            });
        }
        self.view = view;
        before.into_iter().filter_map(|b| b.pool).collect()
    }

    fn replicas(&self) -> &[ReplicaView] {
        self.view.as_ref().map_or(&[], |view| &view.replicas)
    }

    /// Those that serve and are not too far behind.
    fn serving(&self, routing: &RoutingSettings, now: Millis) -> Replicas {
        let close = |replica: &ReplicaView| match (routing.consistency, routing.max_lag) {
            (Consistency::Bounded, MaxLag::Time(most)) => replica.gauges.lag() <= most,
            (Consistency::Bounded, MaxLag::Bytes(most)) => replica.gauges.lag_bytes() <= most,
            (Consistency::Tenant | Consistency::Session | Consistency::Eventual, _) => true,
        };
        Replicas::of(self.replicas(), |at, replica| {
            replica.state == ReplicaState::Ready
                && replica.share > 0
                && self.branches[at].avoided <= now
                && close(replica)
        })
    }

    /// Of these, those that have replayed so far.
    fn fresh(&self, of: Replicas, needed: Lsn) -> Replicas {
        Replicas::of(self.replicas(), |at, replica| {
            of.0 >> at & 1 == 1 && replica.gauges.replayed() >= needed
        })
    }

    /// Smooth weighted round robin: each gains its share, who is furthest behind is chosen and pays
    /// for all.
    fn next_in_turn(&mut self, of: Replicas) -> usize {
        let (mut total, mut best) = (0, 0);
        let mut most = i64::MIN;
        for at in of.iter() {
            let share = self.view.as_ref().map_or(0, |view| view.replicas[at].share);
            let credit = &mut self.branches[at].credit;
            *credit += i64::from(share);
            total += i64::from(share);
            if *credit > most {
                (most, best) = (*credit, at);
            }
        }
        self.branches[best].credit -= total;
        best
    }
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
            let mut judge = |text: &[u8]| known.verdict(text, catalog, number).is_ok();
            client.session.aim(input, reads, &mut judge)
        };
        client.course.may_write = !matches!(why, Why::ReadOnly | Why::Default | Why::Statement);
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
        // What is sent behind a read may be served with it, and may write.
        client.course.may_write = true;
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
            self.tallies.catch_up.observe(self.micros - wait.began);
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

    /// What a read that arrives now must see.
    fn need(&self, slot: usize) -> Need {
        let client = &self.clients[slot];
        let pool = &self.pools[client.pool];
        let Some(home) = pool.home() else {
            return Need::Primary;
        };
        let cluster = &pool.tenant.config.cluster.name;
        let answer = self.positions.get(cluster).and_then(|known| known.answer);
        let writes = match pool.tenant.config.routing.consistency {
            _ if home.route == Route::Replica => None,
            Consistency::Tenant => Some(&*home.writes),
            Consistency::Session => client.course.writes.as_deref(),
            Consistency::Bounded | Consistency::Eventual => None,
        };
        let mut needed = Lsn::default();
        if let Some(writes) = writes {
            if writes.news.get() == News::Some {
                match answer.filter(|(id, _)| *id > writes.since.get()) {
                    Some((_, position)) => {
                        writes.bound.set(position.lsn);
                        writes.news.set(News::None);
                    }
                    None => return Need::Asking(writes.since.get()),
                }
            }
            needed = writes.bound.get();
        }
        match (client.session.seen(), answer) {
            (None, _) => Need::Replayed(needed),
            // Its timeline tells whether the position means anything here.
            (Some(Seen::Position(_)), None) => Need::Asking(0),
            (Some(seen), answer) => seen_too(seen, answer.map(|(_, known)| known), needed),
        }
    }

    /// What a read needs that has waited: later writes do not matter to it.
    fn need_of_waiting(&self, slot: usize, wait: CatchUp) -> Need {
        let client = &self.clients[slot];
        let cluster = &self.pools[client.pool].tenant.config.cluster.name;
        let answer = self.positions.get(cluster).and_then(|known| known.answer);
        match (wait.lsn, answer) {
            (Some(lsn), _) => Need::Replayed(lsn),
            (None, Some((id, known))) if id > wait.since => match client.session.seen() {
                Some(seen) => seen_too(seen, Some(known), known.lsn),
                None => Need::Replayed(known.lsn),
            },
            (None, _) => Need::Asking(wait.since),
        }
    }

    /// The read waits for the primary's position by a request that is begun after `since`.
    fn ask_position(&mut self, slot: usize, since: u64) -> Way {
        if let Some(way) = self.catch_up(slot, since, None) {
            return way;
        }
        let cluster = self.pools[self.clients[slot].pool]
            .tenant
            .config
            .cluster
            .name
            .clone();
        let known = self.positions.entry(cluster.clone()).or_default();
        if known.sent > since && known.answer.is_none_or(|(id, _)| id < known.sent) {
            return Way::Wait;
        }
        self.asked += 1;
        known.sent = self.asked;
        let inbox = Arc::clone(&self.workers.inboxes[self.number]);
        let (id, of) = (self.asked, cluster.clone());
        let then = move |position| {
            let cluster = of;
            inbox.put(Message::Position {
                cluster,
                id,
                position,
            });
        };
        self.around.health.position(&cluster, Box::new(then));
        Way::Wait
    }

    /// The read waits until one of these replicas has replayed what it needs.
    fn ask_replay(&mut self, slot: usize, serving: Replicas, needed: Lsn) -> Way {
        let asked = self.clients[slot]
            .course
            .catch_up
            .as_ref()
            .and_then(|wait| wait.lsn);
        if let Some(way) = self.catch_up(slot, 0, Some(needed)) {
            return way;
        }
        if asked.is_some() {
            // They have been asked.
            return Way::Wait;
        }
        let client = &self.clients[slot];
        let left = client
            .course
            .catch_up
            .as_ref()
            .map_or(0, |w| w.until.saturating_sub(self.now));
        let until = tokio::time::Instant::now() + Duration::from_millis(left);
        let Some(home) = self.pools[client.pool].home() else {
            return Way::Wait;
        };
        for at in serving.iter() {
            let node = &home.branches[at].node;
            let inbox = Arc::clone(&self.workers.inboxes[self.number]);
            let then = Box::new(move || inbox.put(Message::Replayed));
            self.around.health.replayed(node, needed, until, then);
        }
        Way::Wait
    }

    /// Puts a read among those that wait. `Some`: it has waited long enough.
    fn catch_up(&mut self, slot: usize, since: u64, lsn: Option<Lsn>) -> Option<Way> {
        let client = &self.clients[slot];
        let wait = self.pools[client.pool]
            .tenant
            .config
            .routing
            .consistency_wait;
        let before = client.course.catch_up.as_deref().copied();
        let until = before.map_or(after_wait(self.now, wait), |w| w.until);
        if until <= self.now {
            return Some(self.at_primary(slot, Why::Behind));
        }
        let client = &mut self.clients[slot];
        client.course.catch_up = Some(Box::new(CatchUp {
            since: before.map_or(since, |w| w.since),
            lsn,
            until,
            began: before.map_or(self.micros, |w| w.began),
        }));
        client.state = ClientState::CatchingUp;
        let owner = Owner::Client(slot, client.serial);
        self.deadlines.set(&mut client.deadline, owner, until);
        self.catching.push((slot, client.serial));
        None
    }

    /// One of several replicas.
    fn choose(&mut self, home: usize, of: Replicas) -> usize {
        let pool = &mut self.pools[home];
        match (pool.tenant.config.routing.balance, &mut pool.part) {
            (Balance::RoundRobin, Part::Home(home)) => home.next_in_turn(of),
            _ => {
                let least = self.least_used(home, of);
                let home = self.pools[home].home_mut();
                home.map_or(0, |home| home.next_in_turn(least))
            }
        }
    }

    /// Those with the fewest server connections in use, beside their shares.
    fn least_used(&self, home: usize, of: Replicas) -> Replicas {
        let load = |at: &usize| {
            let known = self.pools[home].home()?;
            let share = known.replicas()[*at].share;
            let used = known.branches[*at].pool.map_or(0, |pool| {
                let pool = &self.pools[pool];
                pool.open - pool.idle.len() + pool.waiting()
            });
            Some((used as u64 + 1) * 1_000_000 / u64::from(share.max(1)))
        };
        let least = of.iter().map(|at| load(&at)).min();
        let bits = of.iter().filter(|at| Some(load(at)) == least);
        Replicas(bits.map(|at| 1 << at).sum())
    }

    /// The pool of connections to a replica, made if it is new.
    fn branch(&mut self, home: usize, at: usize) -> Option<usize> {
        let known = &self.pools[home].home()?.branches[at];
        if let Some(pool) = known.pool {
            return Some(pool);
        }
        let node = known.node.clone();
        let budget = self.around.budget.node(&node)?;
        let serial = self.next_serial();
        let branch = self.pools[home].branch((node, budget), home, serial);
        let tenant = branch.tenant.id;
        let pool = self.pools.insert(branch);
        self.by_tenant.entry(tenant).or_default().push(pool);
        self.pools[home].home_mut()?.branches[at].pool = Some(pool);
        Some(pool)
    }

    /// A replica could not be connected to: those in line there go elsewhere.
    pub(super) fn branch_failed(&mut self, pool: usize) {
        let home = self.home_of(pool);
        let until = self.now + AVOIDED;
        let known = self.pools[home].home_mut();
        let mut branches = known.into_iter().flat_map(|h| &mut h.branches);
        if let Some(branch) = branches.find(|b| b.pool == Some(pool)) {
            branch.avoided = until;
        }
        let node = self.pools[pool].at.clone();
        self.around.health.suspect(&node);
        self.empty_line(pool);
    }

    /// Those in a line choose again where they go.
    pub(super) fn empty_line(&mut self, pool: usize) {
        let clients = &self.clients;
        let mut moved = Vec::new();
        let line = &mut self.pools[pool];
        while let Some(w) = line.first(|w| clients.get(w.client).is_some_and(|c| c.waits(w))) {
            line.skip_first();
            line.left_line();
            moved.push(w.client);
        }
        for slot in moved {
            if self.clients[slot].state == ClientState::Login {
                self.welcome(slot);
            } else {
                self.go_on(slot);
            }
        }
    }

    /// A client whose request waits has its turn with it.
    pub(super) fn go_on(&mut self, slot: usize) {
        let client = &mut self.clients[slot];
        client.state = ClientState::Idle;
        self.ready.push_back(Turn::Client(slot, client.serial));
    }

    /// The position of a primary has come, or cannot be told.
    pub(super) fn position_known(
        &mut self,
        cluster: &ClusterName,
        id: u64,
        position: Option<Position>,
    ) {
        let known = self.positions.entry(cluster.clone()).or_default();
        if let Some(position) = position
            && known.answer.is_none_or(|(last, _)| last < id)
        {
            known.answer = Some((id, position));
        }
        if position.is_none() && known.sent == id {
            known.sent = 0;
        }
        self.wake(|worker, slot, wait| {
            let client = &mut worker.clients[slot];
            let of = &worker.pools[client.pool].tenant.config.cluster.name;
            let concerned = wait.lsn.is_none() && wait.since < id && of == cluster;
            if concerned && position.is_none() {
                client.course.forced = Some(Why::Behind);
            }
            concerned
        });
    }

    /// A replica has replayed more.
    pub(super) fn replayed(&mut self) {
        self.wake(|worker, slot, wait| {
            let pool = &worker.pools[worker.clients[slot].pool];
            let (Some(needed), Some(home)) = (wait.lsn, pool.home()) else {
                return false;
            };
            let serving = home.serving(&pool.tenant.config.routing, worker.now);
            !home.fresh(serving, needed).is_empty()
        });
    }

    /// Those that wait for a replica go on, if `may` says so.
    fn wake(&mut self, mut may: impl FnMut(&mut Self, usize, CatchUp) -> bool) {
        for (slot, serial) in std::mem::take(&mut self.catching) {
            if !self.client_is(slot, serial) || self.clients[slot].state != ClientState::CatchingUp
            {
                continue;
            }
            let wait = self.clients[slot].course.catch_up.as_deref().copied();
            if wait.is_some_and(|wait| may(self, slot, wait)) {
                self.go_on(slot);
            } else {
                self.catching.push((slot, serial));
            }
        }
    }

    /// A read has waited long enough.
    pub(super) fn caught_up_too_late(&mut self, slot: usize) {
        self.clients[slot].course.forced = Some(Why::Behind);
        self.go_on(slot);
    }
}

impl Worker {
    /// A transaction begins at the server connection that its client was given.
    pub(super) fn routed(&mut self, slot: usize, server: usize) {
        let client = &mut self.clients[slot];
        let held = &mut self.servers[server];
        self.tallies.routed[client.course.why as usize] += 1;
        if held.link.is_routed() {
            held.link.begin_silent();
            held.sent = Some(self.spare.pop().unwrap_or_default());
        }
        if self.pools[client.pool].tenant.config.routing.notice {
            let reason = client.course.why.as_str();
            let notice = Notice::new(format!("served by {} ({reason})", held.cancel.node));
            let mut told = Vec::new();
            notice.encode(&mut told);
            // A failed write shows again as a failed read.
            let _gone = client.socket.send(&told);
        }
    }

    /// Keeps what a client has sent to a replica, for as long as that has answered nothing.
    pub(super) fn keep_sent(&mut self, server: usize, bytes: &[u8]) {
        let held = &mut self.servers[server];
        let Some(sent) = &mut held.sent else {
            return;
        };
        if sent.len() + bytes.len() <= KEPT {
            sent.extend_from_slice(bytes);
        } else {
            held.link.end_silent();
            held.sent = None;
        }
    }

    /// The client has had something of the answer: nothing is sent again from here on.
    pub(super) fn forget_sent(&mut self, server: usize) {
        let held = &mut self.servers[server];
        held.link.end_silent();
        if let Some(mut sent) = held.sent.take() {
            sent.clear();
            if self.spare.len() < SPARE {
                self.spare.push(sent);
            }
        }
    }

    /// A transaction has ended at the primary that may have written.
    #[inline]
    pub(super) fn note_write(&mut self, slot: usize) {
        let client = &mut self.clients[slot];
        let pool = &self.pools[client.pool];
        let Some(home) = pool.home().filter(|_| client.course.may_write) else {
            return;
        };
        match pool.tenant.config.routing.consistency {
            Consistency::Session => {
                let writes = client.course.writes.get_or_insert_default();
                writes.note(self.asked);
            }
            Consistency::Tenant | Consistency::Bounded | Consistency::Eventual => {}
        }
        home.writes.note(self.asked);
    }
}

/// What a read needs whose session has seen a position elsewhere.
fn seen_too(seen: Seen, known: Option<Position>, needed: Lsn) -> Need {
    match (seen, known) {
        (Seen::Position(seen), Some(known)) if seen.timeline == known.timeline => {
            Need::Replayed(needed.max(seen.lsn))
        }
        (Seen::Position(_) | Seen::Unreadable, _) => Need::Primary,
    }
}

fn after_wait(now: Millis, wait: Duration) -> Millis {
    if wait.is_zero() {
        now
    } else {
        after(now, wait).max(now + millis(wait).max(1))
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
