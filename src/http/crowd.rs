//! Who is connected to the HTTP port: a bounded number, and nobody can keep others out.
//!
//! When all places are taken, the address with the most connections loses its oldest one: a crowd
//! from one address gets into nobody's way but its own.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use tokio::task::AbortHandle;

/// Connections at a time.
const PLACES: usize = 64;

/// Connections, oldest first.
#[derive(Debug, Default)]
pub(super) struct Crowd(VecDeque<(IpAddr, AbortHandle)>);

impl Crowd {
    /// Takes one more in, whose task is `handle`; ends another one's if there is no place left.
    pub(super) fn enter(&mut self, address: IpAddr, handle: AbortHandle) {
        self.0.retain(|(_, other)| !other.is_finished());
        self.0.push_back((address, handle));
        if self.0.len() > PLACES
            && let Some(loser) = self.loser()
            && let Some((_, handle)) = self.0.remove(loser)
        {
            handle.abort();
        }
    }

    /// The oldest connection of the address that has the most.
    fn loser(&self) -> Option<usize> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (address, _) in &self.0 {
            *counts.entry(*address).or_default() += 1;
        }
        let most = counts.values().copied().max()?;
        self.0.iter().position(|(a, _)| counts[a] == most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> tokio::task::JoinHandle<()> {
        tokio::spawn(std::future::pending())
    }

    #[tokio::test]
    async fn a_crowd_from_one_address_loses_its_own() {
        let mut crowd = Crowd::default();
        let [greedy, modest] = [1, 2].map(|n| IpAddr::from([127, 0, 0, n]));
        let guest = task();
        crowd.enter(modest, guest.abort_handle());
        let mut others: Vec<_> = (0..PLACES + 10).map(|_| task()).collect();
        for other in &others {
            crowd.enter(greedy, other.abort_handle());
        }
        for over in others.drain(..11) {
            assert!(over.await.unwrap_err().is_cancelled());
        }
        assert!(!guest.is_finished());
        assert!(others.iter().all(|other| !other.is_finished()));
        assert_eq!(crowd.0.len(), PLACES);
    }

    #[tokio::test]
    async fn who_has_left_counts_no_more() {
        let mut crowd = Crowd::default();
        let address = IpAddr::from([127, 0, 0, 1]);
        let first = task();
        crowd.enter(address, first.abort_handle());
        for _ in 0..3 * PLACES {
            let short = tokio::spawn(async {});
            let handle = short.abort_handle();
            short.await.unwrap();
            crowd.enter(address, handle);
        }
        assert!(!first.is_finished());
    }
}
