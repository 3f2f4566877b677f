//! What comes from outside: killed backends, reloads; and a look whether the cap on server
//! connections holds meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tenantry::app::App;
use tenantry::demo::cluster::Cluster;

use crate::setup::{PERMITS, Variant, config};
use crate::wire::Wire;

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Disturbed {
    pub(crate) killed: u64,
    pub(crate) reloads: u64,
    /// Server connections seen at once.
    pub(crate) most: usize,
    pub(crate) failures: Vec<String>,
}

/// Disturbs until it is to be quiet; the last configuration is the first one.
pub(crate) fn run(cluster: &Cluster, app: &App, seed: u64, quiet: &AtomicBool) -> Disturbed {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut done = Disturbed::default();
    let address = ([127, 0, 0, 1], cluster.port()).into();
    let mut wire =
        Wire::connect(address, "postgres", "postgres").expect("the superuser may log in");
    while !quiet.load(Ordering::Acquire) {
        // The pace of the disturbances: nothing waits for it.
        thread::sleep(Duration::from_millis(rng.random_range(20..300)));
        if rng.random_bool(0.6) {
            kill_one(&mut wire, &mut done);
        }
        if rng.random_bool(0.2) {
            reload(cluster, app, any(&mut rng), &mut done);
        }
        count(&mut wire, &mut done);
    }
    reload(cluster, app, Variant::FIRST, &mut done);
    done
}

fn any(rng: &mut StdRng) -> Variant {
    Variant {
        size: rng.random_range(2..4),
        connect_query: ["", "select 1", "select 2"][rng.random_range(0..3)],
        complete: rng.random_bool(0.7),
    }
}

fn kill_one(wire: &mut Wire, done: &mut Disturbed) {
    let sql = "select pg_terminate_backend(pid) from (select pid from pg_stat_activity \
               where usename ~ '^t[0-9]' order by random() limit 1) one";
    match wire.query(sql) {
        Ok(reply) => done.killed += u64::from(!reply.rows.is_empty()),
        Err(broken) => done
            .failures
            .push(format!("the superuser's session: {broken:?}")),
    }
}

fn reload(cluster: &Cluster, app: &App, variant: Variant, done: &mut Disturbed) {
    match app.reload(config(cluster, variant)) {
        Ok(_stays) => done.reloads += 1,
        Err(error) => done.failures.push(format!("a reload: {error}")),
    }
}

fn count(wire: &mut Wire, done: &mut Disturbed) {
    let sql = "select count(*) from pg_stat_activity where usename ~ '^t[0-9]'";
    let Ok(reply) = wire.query(sql) else {
        return done
            .failures
            .push("the superuser's session has gone".into());
    };
    let count = reply
        .value(0, 0)
        .and_then(|c| c.parse().ok())
        .unwrap_or(usize::MAX);
    done.most = done.most.max(count);
    if count > PERMITS {
        done.failures
            .push(format!("{count} server connections, {PERMITS} allowed"));
    }
}
