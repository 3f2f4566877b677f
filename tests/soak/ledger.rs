//! The end: what is in the databases against what the clients were told.

use std::collections::{HashMap, HashSet};

use tenantry::demo::cluster::Cluster;

use crate::actor::Actor;
use crate::setup::{TENANTS, mark};

/// Each acknowledged write is in its tenant's database once, each refused one is not, and nothing
/// else is there but what its clients sent.
pub(crate) fn check(cluster: &Cluster, actors: &[Actor]) {
    for tenant in 0..TENANTS {
        let mark = mark(tenant);
        let mine: HashMap<u64, &Actor> = actors
            .iter()
            .filter(|a| a.tenant == tenant)
            .map(|a| (a.number, a))
            .collect();
        let found = rows(cluster, &mark);
        let present: HashSet<u64> = found.iter().copied().collect();
        assert_eq!(
            present.len(),
            found.len(),
            "{mark}: writes are there more than once"
        );
        let strangers: Vec<u64> = found.into_iter().filter(|id| !sent(&mine, *id)).collect();
        assert!(
            strangers.is_empty(),
            "{mark}: writes of others: {strangers:?}"
        );
        for actor in mine.values() {
            let lost: Vec<_> = actor
                .ledger
                .acknowledged
                .iter()
                .filter(|id| !present.contains(id))
                .collect();
            assert!(
                lost.is_empty(),
                "{mark}: acknowledged writes of client {} are lost: {lost:?}",
                actor.number
            );
            let risen: Vec<_> = actor
                .ledger
                .refused
                .iter()
                .filter(|id| present.contains(id))
                .collect();
            assert!(
                risen.is_empty(),
                "{mark}: refused writes of client {} are there: {risen:?}",
                actor.number
            );
        }
    }
}

/// The ids in a tenant's database, all of whose rows carry its mark.
fn rows(cluster: &Cluster, mark: &str) -> Vec<u64> {
    let psql = |sql: &str| cluster.psql(mark, sql).expect("the tenant's table");
    let foreign = psql(&format!(
        "select count(*) from log where tenant is distinct from '{mark}'"
    ));
    assert_eq!(foreign, "0", "rows of other tenants in {mark}");
    psql("select id from log")
        .lines()
        .map(|id| id.parse().expect("an id"))
        .collect()
}

fn sent(mine: &HashMap<u64, &Actor>, id: u64) -> bool {
    mine.get(&(id >> 32))
        .is_some_and(|actor| (id & 0xffff_ffff) <= actor.ledger.next)
}
