//! What is configured from one reload to the next: tenants, roles, passwords and clusters that
//! appear, change and vanish by the dice.
//!
//! Three kinds: *steady* tenants are always there and change only in what their clients must not
//! notice; *coming* ones have a real database, and come, go, change and are suspended; *fictive*
//! ones have no database, many no server, and names that were never there before.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;

use crate::support::postgres::Database;
use crate::support::process::cheap_verifier;

/// Tenants that stay.
pub(crate) const STEADY: usize = 4;

/// Tenants with a real database that come and go.
pub(crate) const COMING: usize = 6;

/// Tenants without one that are there at the same time.
const FICTIVE: usize = 180;

/// The tenant whose only role tells which reload is in force.
pub(crate) const MARKER: &str = "marker";

/// The kind of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Steady,
    Coming,
    Fictive,
}

/// A tenant at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tenant {
    pub(crate) kind: Kind,
    cluster: String,
    pub(crate) database: String,
    pub(crate) role: String,
    pub(crate) password: String,
    /// Whether the file has the password itself.
    plain: bool,
    second_role: bool,
    pub(crate) suspended: bool,
    size: usize,
    /// `pool.acquire_timeout`.
    patience: &'static str,
    /// Goes into `pool.connect_query`: another one replaces the server connections.
    round: u64,
}

/// Everything at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// How many plans there were before.
    pub(crate) number: u64,
    pub(crate) tenants: BTreeMap<String, Tenant>,
    /// Real databases; the marker's is the first.
    databases: Vec<Database>,
    /// The port of the cluster that nobody listens on, which changes.
    away: u16,
    names: u64,
}

impl Plan {
    /// The first one.
    pub(crate) fn new(databases: Vec<Database>, dice: &mut StdRng) -> Self {
        assert_eq!(databases.len(), 1 + STEADY + COMING);
        let mut plan = Self {
            number: 0,
            tenants: BTreeMap::new(),
            databases,
            away: 1,
            names: 0,
        };
        for number in 0..STEADY {
            let tenant = plan.real(Kind::Steady, 1 + number);
            plan.tenants.insert(format!("steady{number}"), tenant);
        }
        for _ in 0..FICTIVE {
            plan.invent(dice);
        }
        plan
    }

    fn real(&self, kind: Kind, database: usize) -> Tenant {
        Tenant {
            kind,
            cluster: "main".to_owned(),
            database: self.databases[database].name.clone(),
            role: "app".to_owned(),
            password: "the first password".to_owned(),
            plain: false,
            second_role: false,
            suspended: false,
            size: 3,
            patience: "10s",
            round: 0,
        }
    }

    /// A tenant of a name that was never there.
    fn invent(&mut self, dice: &mut StdRng) {
        self.names += 1;
        let cluster = if dice.random() { "main" } else { "away" };
        let tenant = Tenant {
            kind: Kind::Fictive,
            cluster: cluster.to_owned(),
            database: format!("none{}", self.names),
            role: format!("role{}", dice.random_range(0..1_000_000)),
            patience: "100ms",
            ..self.real(Kind::Fictive, 0)
        };
        self.tenants
            .insert(format!("fictive{}", self.names), tenant);
    }

    /// The next one, and the tenants whose clients may notice.
    pub(crate) fn next(&self, dice: &mut StdRng) -> (Self, Vec<String>) {
        let mut next = self.clone();
        next.number += 1;
        let mut touched = Vec::new();
        for _ in 0..3 {
            touched.push(next.change_coming(dice));
            touched.extend(next.forget_one(dice));
            next.invent(dice);
        }
        let steady = format!("steady{}", dice.random_range(0..STEADY));
        if let Some(tenant) = next.tenants.get_mut(&steady) {
            tenant.size = dice.random_range(2..6);
            tenant.second_role = dice.random();
        }
        if next.number.is_multiple_of(5) {
            // Nobody listens on the lowest ports; each is another node.
            next.away = 2 + u16::try_from(next.number % 1000).unwrap_or_default();
            let moved = next.tenants.iter().filter(|(_, t)| t.cluster == "away");
            touched.extend(moved.map(|(slug, _)| slug.clone()));
        }
        (next, touched)
    }

    fn forget_one(&mut self, dice: &mut StdRng) -> Option<String> {
        let fictive = self.tenants.iter().filter(|(_, t)| t.kind == Kind::Fictive);
        let slug = fictive.map(|(slug, _)| slug.clone()).choose(dice)?;
        self.tenants.remove(&slug);
        Some(slug)
    }

    /// One of those that come and go does so, or changes.
    fn change_coming(&mut self, dice: &mut StdRng) -> String {
        let number = dice.random_range(0..COMING);
        let slug = format!("coming{number}");
        let new = self.real(Kind::Coming, 1 + STEADY + number);
        let Some(tenant) = self.tenants.get_mut(&slug) else {
            self.tenants.insert(slug.clone(), new);
            return slug;
        };
        match dice.random_range(0..6) {
            0 => drop(self.tenants.remove(&slug)),
            1 => tenant.suspended = !tenant.suspended,
            2 => tenant.second_role = !tenant.second_role,
            3 => tenant.round += 1,
            4 => tenant.role = format!("app{}", dice.random_range(0..1_000_000)),
            _ => {
                tenant.password = format!("password {}", dice.random_range(0..1_000_000));
                tenant.plain = dice.random();
            }
        }
        slug
    }

    /// The file.
    pub(crate) fn text(&self) -> String {
        let (marker, port) = (&self.databases[0], self.databases[0].port);
        let mut text = format!(
            "[server]\nlisten = ['127.0.0.1:0']\nworkers = 2\n\
             [auth]\nsecret = 'of the tests, long enough for salts'\n\
             [pool]\nidle_timeout = '1s'\npool_ttl = '2s'\nconnect_timeout = '5s'\n\
             [[cluster]]\nname = 'main'\nprimary = '127.0.0.1:{port}'\nmax_connections = 150\ntls = 'disable'\n\
             [[cluster]]\nname = 'away'\nprimary = '127.0.0.1:{}'\ntls = 'disable'\n",
            self.away
        );
        let role = self.marker_role();
        let marker = Tenant {
            database: marker.name.clone(),
            role,
            ..self.real(Kind::Steady, 0)
        };
        let all = self
            .tenants
            .iter()
            .map(|(slug, tenant)| (slug.as_str(), tenant));
        for (slug, tenant) in all.chain([(MARKER, &marker)]) {
            tenant.write(slug, &mut text);
        }
        text
    }

    /// Whoever can log in as this role of the marker knows that this plan is in force.
    pub(crate) fn marker_role(&self) -> String {
        format!("reload{}", self.number)
    }
}

impl Tenant {
    fn write(&self, slug: &str, text: &mut String) {
        let secret = if self.plain {
            self.password.clone()
        } else {
            cheap_verifier(&self.password)
        };
        let second = if self.second_role {
            ", { name = 'second', password = 'another one' }"
        } else {
            ""
        };
        let status = if self.suspended {
            "suspended"
        } else {
            "active"
        };
        let Self {
            cluster,
            database,
            role,
            size,
            patience,
            round,
            ..
        } = self;
        let written = writeln!(
            text,
            "[[tenant]]\nslug = '{slug}'\ncluster = '{cluster}'\ndatabase = '{database}'\n\
             user = '{database}'\npassword = '{}'\nstatus = '{status}'\npool = {{ size = {size}, acquire_timeout = '{patience}', connect_query = 'SELECT {round}' }}\n\
             roles = [{{ name = '{role}', password = '{secret}' }}{second}]",
            Database::PASSWORD
        );
        written.expect("a String takes all");
    }
}
