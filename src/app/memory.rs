//! Memory that was freed goes back to the system.
//!
//! glibc gives back only what is free at the upper end of a heap: after ten thousand connections
//! that never spoke, 46 of 57 MB stayed resident with nothing in them, for ever; given back here
//! they leave 10 MB. And memory that many threads take and give back in turn, as reloads and logins
//! do, spreads over as many heaps as there are threads: with two heaps a process that has been
//! reloaded some thousand times keeps 1 MB of that, not 4. With another C library nothing is done.
//!
//! It concerns the whole process, so whoever owns that does it, once.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

/// How often is looked.
const PERIOD: Duration = Duration::from_secs(10);

/// Growth that is left alone, in KiB.
const SLACK: u64 = 256;

/// Clients that have gone of whose memory no more is made, either.
const GONE: usize = 100;

/// Heaps of the process. What workers do for a query takes no memory, so none waits for another.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS: libc::c_int = 2;

/// Limits the number of heaps. To be called before there are threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "a call with two numbers; what it gains is told at the top of the file"
)]
pub(super) fn limit_heaps() {
    // SAFETY: it sets a number that the allocator reads.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}

/// Limits the number of heaps.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn limit_heaps() {}

/// What memory is needed for.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Use {
    /// Clients, logged in or not.
    pub(super) clients: usize,
    /// Reloads so far, each of which needed room for two configurations.
    pub(super) reloads: u64,
}

/// Gives back what is free, now and then: where the process has grown, clients have gone or a
/// reload has passed.
pub(super) async fn give_back(now: impl Fn() -> Use) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Last::default();
    loop {
        ticks.tick().await;
        let Some(before) = resident() else {
            return;
        };
        let used = now();
        if last.is_left(before, used) {
            trim();
            let after = resident().unwrap_or(before);
            last.given_back(after, used);
            debug!(before, after, "free memory given back, in KiB");
        }
    }
}

/// How it was when memory was last given back: where nothing is free, it is not tried again
/// until there is a reason.
#[derive(Debug, Default)]
struct Last {
    /// Resident then, or less since.
    resident: u64,
    /// The reloads then, the clients then or more since.
    used: Use,
}

impl Last {
    /// Whether there is reason to give back.
    fn is_left(&mut self, resident: u64, used: Use) -> bool {
        self.resident = self.resident.min(resident);
        self.used.clients = self.used.clients.max(used.clients);
        resident > self.resident + SLACK
            || self.used.clients - used.clients > GONE
            || used.reloads != self.used.reloads
    }

    fn given_back(&mut self, resident: u64, used: Use) {
        *self = Self { resident, used };
    }
}

/// Resident memory in KiB; `None` where the system does not tell.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "a call without arguments of ours; what it gains is told at the top of the file"
)]
fn trim() {
    // SAFETY: it may be called at any time from any thread, and frees nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(clients: usize) -> Use {
        Use {
            clients,
            reloads: 0,
        }
    }

    #[test]
    fn growth_is_answered_once_and_again_only_after_more() {
        let (mut last, none) = (Last::default(), clients(0));
        assert!(last.is_left(9_000, none), "at the start nothing is known");
        last.given_back(9_000, none);
        assert!(!last.is_left(9_200, none));
        assert!(last.is_left(9_300, none));
        last.given_back(9_250, none);
        assert!(!last.is_left(9_500, none));
        assert!(!last.is_left(8_000, none));
        assert!(last.is_left(8_300, none));
    }

    #[test]
    fn clients_that_have_gone_are_a_reason_though_nothing_has_grown() {
        let mut last = Last::default();
        last.given_back(75_000, clients(4_000));
        assert!(!last.is_left(75_000, clients(10_000)));
        assert!(!last.is_left(75_000, clients(9_950)));
        assert!(last.is_left(75_000, clients(6)));
        last.given_back(15_000, clients(6));
        assert!(!last.is_left(15_000, clients(3)));
    }

    #[test]
    fn a_reload_is_a_reason() {
        let mut last = Last::default();
        last.given_back(15_000, clients(6));
        let after = Use {
            reloads: 1,
            ..clients(6)
        };
        assert!(last.is_left(15_000, after));
        last.given_back(15_000, after);
        assert!(!last.is_left(15_000, after));
    }

    #[test]
    fn the_system_tells_how_much_is_resident() {
        trim();
        assert!(resident().is_none_or(|kib| kib > 1_000));
    }
}
