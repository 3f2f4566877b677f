//! `/metrics`: what the proxy counts, in Prometheus' text format. `docs/metrics.md` lists it all.
//!
//! Made at each scrape from reports of the workers, which they give in slices, so that traffic goes
//! on. One scrape at a time. Counters are exact, of the moment of the scrape; they never go down
//! while the process lives.

mod families;
mod ledger;
mod page;
mod process;
mod replicas;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::timeout;

use self::ledger::{Entry, Ledger, Report};
use self::page::Page;
use super::sources::{Facts, Sources};
use crate::nodes::ClusterView;
use crate::types::Slug;
use crate::upstream::budget::NodeBudget;
use crate::worker::pulse::{Beat, Pulse};
use crate::worker::report::{PoolRow, WorkerRow};
use crate::worker::stats::Tallies;

/// How long workers may take for a report; Prometheus waits ten seconds unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// What must outlive a scrape.
#[derive(Debug, Default)]
pub(super) struct Metrics(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The last row of each worker: one that has ended keeps what it counted.
    workers: Vec<WorkerRow>,
    ledger: Ledger,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScrapeError {
    /// Numbers without its own would be wrong.
    #[error("worker {0} does not answer")]
    Silent(usize),
    /// The report of the pools.
    #[error("the workers' reports took longer than {PATIENCE:?}")]
    Slow,
}

/// All that a page is made of.
struct Gathered {
    facts: Facts,
    tallies: Tallies,
    pools: Vec<PoolRow>,
    tenants: Vec<Entry>,
    nodes: Vec<Node>,
    /// Those with replicas.
    clusters: Vec<Arc<ClusterView>>,
}

/// A node, and what is known of it.
struct Node {
    name: String,
    budget: Arc<NodeBudget>,
    reached: Option<bool>,
}

impl Metrics {
    /// The whole page.
    pub(super) async fn page(
        &self,
        sources: &Sources,
        pulse: &Mutex<Pulse>,
    ) -> Result<String, ScrapeError> {
        let gathered = self.gather(sources, pulse).await?;
        let text = tokio::task::spawn_blocking(move || {
            let mut page = Page::default();
            families::add(&mut page, &gathered);
            process::add(&mut page);
            page.text()
        });
        Ok(text.await.expect("making the page does not panic"))
    }

    async fn gather(
        &self,
        sources: &Sources,
        pulse: &Mutex<Pulse>,
    ) -> Result<Gathered, ScrapeError> {
        let mut state = self.0.lock().await;
        // In this order a pool that is forgotten meanwhile is missing, but never counted twice.
        state.hear(pulse.lock().await.feel(PATIENCE).await)?;
        let pools = timeout(PATIENCE, sources.workers.pools()).await;
        let pools = pools.map_err(|_| ScrapeError::Slow)?;
        let tallies = state.tallies();
        let facts = (sources.facts)();
        let registry = &facts.registry;
        let tenants = state.ledger.enter(&Report {
            pools: &pools,
            gone: tallies.gone,
            at: Instant::now(),
            exists: &|slug: &Slug| registry.by_slug(slug.as_str()).is_some(),
        });
        let nodes = sources.budget.all().into_iter().map(|(node, budget)| Node {
            name: node.to_string(),
            budget,
            reached: sources.connectors.reach(&node).map(|r| r.reached),
        });
        Ok(Gathered {
            nodes: nodes.collect(),
            clusters: sources.health.all(),
            facts,
            tallies,
            pools,
            tenants,
        })
    }
}

impl State {
    fn hear(&mut self, beats: Vec<Beat>) -> Result<(), ScrapeError> {
        self.workers.resize(beats.len(), WorkerRow::default());
        for (number, (beat, row)) in beats.into_iter().zip(&mut self.workers).enumerate() {
            match beat {
                Beat::Row(fresh) => *row = *fresh,
                Beat::Ended => {}
                Beat::Silent => return Err(ScrapeError::Silent(number)),
            }
        }
        Ok(())
    }

    fn tallies(&self) -> Tallies {
        let mut sum = Tallies::default();
        for worker in &self.workers {
            sum.add(&worker.tallies);
        }
        sum
    }
}
