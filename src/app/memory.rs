//! Memory that was freed goes back to the system.
//!
//! glibc gives back only what is free at the upper end of a heap: after ten thousand connections
//! that never spoke, 46 of 57 MB stayed resident with nothing in them, for ever; given back here
//! they leave 10 MB. With another C library nothing is done.
//!
//! It concerns the whole process, so whoever owns that runs it, once.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

/// How often is looked.
const PERIOD: Duration = Duration::from_secs(10);

/// Growth that is left alone, in KiB.
const SLACK: u64 = 1024;

/// Gives back what is free, now and then, where the process has grown.
pub(super) async fn give_back() {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut floor = Floor::default();
    loop {
        ticks.tick().await;
        let Some(before) = resident() else {
            return;
        };
        if floor.is_left(before) {
            trim();
            let after = resident().unwrap_or(before);
            floor.set(after);
            debug!(before, after, "free memory given back, in KiB");
        }
    }
}

/// What was resident when memory was last given back, or less since: where nothing was free, it
/// is not tried again until there is more.
#[derive(Debug, Default)]
struct Floor(u64);

impl Floor {
    /// Whether so much is reason to give back.
    fn is_left(&mut self, resident: u64) -> bool {
        self.0 = self.0.min(resident);
        resident > self.0 + SLACK
    }

    fn set(&mut self, resident: u64) {
        self.0 = resident;
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

    #[test]
    fn growth_is_answered_once_and_again_only_after_more() {
        let mut floor = Floor::default();
        assert!(
            floor.is_left(9_000),
            "at the start what it takes is not known"
        );
        floor.set(9_000);
        assert!(!floor.is_left(10_000));
        assert!(floor.is_left(11_000));
        floor.set(10_900);
        assert!(!floor.is_left(11_500));
        assert!(!floor.is_left(8_000));
        assert!(floor.is_left(9_100));
    }

    #[test]
    fn the_system_tells_how_much_is_resident() {
        trim();
        assert!(resident().is_none_or(|kib| kib > 1_000));
    }
}
