//! Waiting for what must become true, without a guess at how long it takes.

use std::time::{Duration, Instant};

/// Looks again and again until `done` says true; fails after 20 seconds.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
