//! Counted places with a limit: a place is given back when its guard is dropped, however that happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many places are taken. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicUsize>);

impl Gauge {
    /// Takes a place unless `limit` are taken.
    pub fn enter(&self, limit: usize) -> Option<Place> {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < limit).then_some(n + 1)
            })
            .is_ok()
            .then(|| Place(Arc::clone(&self.0)))
    }

    /// How many are taken now.
    pub fn taken(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// One place of a [`Gauge`].
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_holds_and_drop_gives_back() {
        let gauge = Gauge::default();
        let place = gauge.enter(1);
        assert!(place.is_some() && gauge.enter(1).is_none());
        drop(place);
        assert!(gauge.enter(1).is_some());
        assert_eq!(gauge.taken(), 0);
    }
}
