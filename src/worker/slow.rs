//! The log of slow transactions: one line each, with the text of its slowest query if texts may
//! appear in logs. Costs nothing per query unless texts are wanted.

use std::collections::HashMap;
use std::time::Duration;

use super::clients::Client;
use super::pool::Pool;
use super::stats::Micros;

/// Longest text in a line, in bytes.
const TEXT: usize = 1024;

/// What is logged of slow transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowLog {
    /// Those that take as long or longer; zero: none.
    pub threshold: Duration,
    /// Whether SQL text may appear.
    pub texts: Texts,
}

/// Whether SQL text may appear in logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Texts {
    /// It may hold what nobody should read.
    Hidden,
    /// It may.
    Shown,
}

/// A worker's half of it.
#[derive(Debug)]
pub(super) struct Slow {
    threshold: Micros,
    /// By client; only while texts are wanted.
    watched: Option<HashMap<usize, Watched>>,
}

/// The queries of one transaction.
#[derive(Debug, Default)]
struct Watched {
    now: Box<[u8]>,
    slowest: Box<[u8]>,
    slowest_us: Micros,
}

impl Default for Slow {
    fn default() -> Self {
        Self {
            threshold: Micros::MAX,
            watched: None,
        }
    }
}

impl Slow {
    pub(super) fn set(&mut self, log: SlowLog) {
        self.threshold = match u64::try_from(log.threshold.as_micros()) {
            Ok(0) | Err(_) => Micros::MAX,
            Ok(us) => us,
        };
        let wanted = self.threshold != Micros::MAX && log.texts == Texts::Shown;
        self.watched = wanted.then(HashMap::new);
    }

    #[inline]
    pub(super) fn wants_texts(&self) -> bool {
        self.watched.is_some()
    }

    /// A query begins with this input.
    #[cold]
    pub(super) fn begins(&mut self, slot: usize, client: &Client, input: &[u8]) {
        if let Some(watched) = &mut self.watched {
            let text = client.session.text_of(input).unwrap_or_default();
            watched.entry(slot).or_default().now = text[..text.len().min(TEXT)].into();
        }
    }

    /// A query has ended.
    #[inline]
    pub(super) fn query(&mut self, slot: usize, took: Micros) {
        if let Some(watched) = &mut self.watched
            && let Some(of) = watched.get_mut(&slot)
            && took >= of.slowest_us
        {
            of.slowest_us = took;
            of.slowest = std::mem::take(&mut of.now);
        }
    }

    /// A transaction has ended.
    #[inline]
    pub(super) fn transaction(&mut self, slot: usize, took: Micros, of: (&Client, &Pool)) {
        if took >= self.threshold {
            self.log(slot, took, of);
        }
        if self.wants_texts() {
            self.forget(slot);
        }
    }

    /// The client is gone, or its transaction over.
    pub(super) fn forget(&mut self, slot: usize) {
        if let Some(watched) = &mut self.watched {
            watched.remove(&slot);
        }
    }

    #[cold]
    fn log(&self, slot: usize, took: Micros, (client, pool): (&Client, &Pool)) {
        let (tenant, role) = (pool.tenant.slug(), &client.role);
        let took = Duration::from_micros(took);
        let watched = self.watched.as_ref().and_then(|w| w.get(&slot));
        match watched {
            Some(watched) => {
                // `?` keeps it on one line.
                let statement = String::from_utf8_lossy(&watched.slowest);
                tracing::info!(%tenant, %role, ?took, ?statement, "slow transaction");
            }
            None => tracing::info!(%tenant, %role, ?took, "slow transaction"),
        }
    }
}
