//! Clients under reloads. Those of steady tenants may notice nothing; those of others may fail only
//! where their tenant was changed since they looked it up.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;

use crate::plan::{Kind, MARKER, Plan, STEADY, Tenant};
use crate::support::client::Client;
use crate::support::frames::Frames;

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(2);

/// What clients know of the configuration, and what they have found.
#[derive(Debug)]
pub(crate) struct Load {
    address: SocketAddr,
    /// What is in force.
    plan: Mutex<Arc<Plan>>,
    /// The last plan that changed a tenant, noted before it is in force.
    touched: Mutex<HashMap<String, u64>>,
    ended: AtomicBool,
    failures: Mutex<Vec<String>>,
    /// Logins and queries of clients that came and went; those that a change has hit.
    pub(crate) visits: AtomicU64,
    pub(crate) hit: AtomicU64,
    /// Queries of the clients that stay.
    pub(crate) steady: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    pub(crate) fn new(address: SocketAddr, plan: Plan) -> Self {
        Self {
            address,
            plan: Mutex::new(Arc::new(plan)),
            touched: Mutex::default(),
            ended: AtomicBool::new(false),
            failures: Mutex::default(),
            visits: AtomicU64::new(0),
            hit: AtomicU64::new(0),
            steady: AtomicU64::new(0),
        }
    }

    /// The plan that is in force.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&locked(&self.plan))
    }

    /// A plan is about to come into force.
    pub(crate) fn announce(&self, number: u64, touched: Vec<String>) {
        let mut all = locked(&self.touched);
        all.extend(touched.into_iter().map(|slug| (slug, number)));
    }

    /// It is: waits until its marker can log in.
    pub(crate) fn wait_for(&self, plan: Plan) {
        let user = format!("{}.{MARKER}", plan.marker_role());
        crate::support::patience::eventually("the reload is in force", || {
            Client::log_in_with(self.address, (&user, "the first password"), MARKER, &[]).is_ok()
        });
        *locked(&self.plan) = Arc::new(plan);
    }

    /// Waits until there were so many visits.
    pub(crate) fn wait_for_visits(&self, count: u64) {
        crate::support::patience::eventually("there is load", || {
            self.visits.load(Ordering::Acquire) >= count
        });
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        locked(&self.failures).clone()
    }

    fn goes_on(&self) -> bool {
        std::thread::sleep(PAUSE);
        !self.ended.load(Ordering::Acquire)
    }

    fn fail(&self, what: String) {
        locked(&self.failures).push(what);
    }

    /// A client that stays from the first day to the last.
    pub(crate) fn stay(&self, number: usize) {
        let slug = format!("steady{}", number % STEADY);
        let tenant = self.plan().tenants[&slug].clone();
        let mut client = match log_in(self.address, &slug, &tenant) {
            Ok(client) => client,
            Err(error) => return self.fail(format!("{slug}: {error}")),
        };
        let prepare = Frames::default().parse("sum", "SELECT $1::int + 1").sync();
        if let Err(error) = client.try_rows(&prepare) {
            return self.fail(format!("{slug}: {error}"));
        }
        for round in 0.. {
            if !self.goes_on() {
                return;
            }
            let (frames, expected) = if round % 2 == 0 {
                let bind = Frames::default().bind("sum", &[&round.to_string()]);
                (bind.execute().sync(), (round + 1).to_string())
            } else {
                let query = Frames::default().query("SELECT current_database()");
                (query, tenant.database.clone())
            };
            match client.try_rows(&frames) {
                Ok(rows) if rows == [expected.as_str()] => {}
                other => return self.fail(format!("{slug}, staying: {other:?}, not {expected}")),
            }
            self.steady.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Clients that come and go.
    pub(crate) fn come_and_go(&self, mut dice: StdRng) {
        while self.goes_on() {
            let plan = self.plan();
            let kind = [Kind::Steady, Kind::Coming, Kind::Coming, Kind::Fictive]
                .into_iter()
                .choose(&mut dice)
                .expect("there are some");
            let some = plan.tenants.iter().filter(|(_, t)| t.kind == kind);
            let Some((slug, tenant)) = some.choose(&mut dice) else {
                continue;
            };
            let outcome = match dice.random_range(0..8) {
                0 => stranger(self.address, slug, tenant),
                _ => self.visit(slug, tenant, dice.random_range(1..20)),
            };
            self.visits.fetch_add(1, Ordering::AcqRel);
            let Err(error) = outcome else {
                continue;
            };
            let touched = locked(&self.touched).get(slug).copied().unwrap_or_default();
            if touched > plan.number {
                self.hit.fetch_add(1, Ordering::AcqRel);
            } else {
                self.fail(format!("{slug} at {}: {error}", plan.number));
            }
        }
    }

    /// Logs in and asks some questions.
    fn visit(&self, slug: &str, tenant: &Tenant, questions: u32) -> Result<(), String> {
        let mut client = match (log_in(self.address, slug, tenant), tenant.kind) {
            (Err(told), Kind::Steady | Kind::Coming) if tenant.suspended => {
                let right = told.starts_with("57P03");
                return right.then_some(()).ok_or(told);
            }
            (Ok(_), _) if tenant.suspended => return Err("suspended, and let in".to_owned()),
            (Err(told), Kind::Fictive) if told.starts_with("28P01") => return Err(told),
            // There is no database, perhaps no server.
            (Err(_), Kind::Fictive) => return Ok(()),
            (client, _) => client?,
        };
        for _ in 0..questions {
            let query = Frames::default().query("SELECT current_database()");
            let rows = client.try_rows(&query)?;
            if rows != [tenant.database.as_str()] {
                return Err(format!("{rows:?} instead of {}", tenant.database));
            }
        }
        Ok(())
    }
}

fn log_in(address: SocketAddr, slug: &str, tenant: &Tenant) -> Result<Client, String> {
    let user = format!("{}.{slug}", tenant.role);
    let login = Client::log_in_with(address, (&user, &tenant.password), slug, &[]);
    login.map_err(|e| e.to_string())
}

/// A login with another password, or of a tenant that is not there: refused, and as the other.
fn stranger(address: SocketAddr, slug: &str, tenant: &Tenant) -> Result<(), String> {
    for slug in [slug, &format!("{slug}0000")] {
        let user = format!("{}.{slug}", tenant.role);
        match Client::log_in_with(address, (&user, "not the password"), slug, &[]) {
            Err(told) if told.to_string().starts_with("28P01") => {}
            Err(told) => return Err(told.to_string()),
            Ok(_) => return Err("let in without the password".to_owned()),
        }
    }
    Ok(())
}
