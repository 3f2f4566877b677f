//! A limit on log lines whose number a stranger decides: so many at once, so many a second, and
//! for the rest a count.
//!
//! Pure but for a lock: it neither writes lines nor reads a clock. Whoever writes the first line
//! that is left out also sees to it that, a while later, [`LineLimit::left_out`] is told.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest part of a stranger's text in a line, in characters.
const SHOWN: usize = 64;

/// The limit of one kind of lines.
#[derive(Debug)]
pub struct LineLimit {
    /// The time that one line is worth.
    each: Duration,
    /// How far lines may run ahead of their time.
    ahead: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When everything written so far has been worth its time.
    due: Option<Instant>,
    left_out: u64,
}

/// What to do with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Line {
    /// Write it.
    Write,
    /// It is counted. Nobody is about to tell how many were: somebody must be told to.
    LeaveOutFirst,
    /// It is counted.
    LeaveOut,
}

impl LineLimit {
    /// At most `burst` lines at once and `per_second` from then on; both at least 1.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let each = Duration::from_secs(1) / per_second.max(1);
        Self {
            each,
            ahead: each * burst.max(1),
            state: Mutex::default(),
        }
    }

    /// Whether a line may be written now.
    pub fn ask(&self, now: Instant) -> Line {
        let mut state = self.state();
        let due = state.due.map_or(now, |due| due.max(now)) + self.each;
        if due.saturating_duration_since(now) <= self.ahead {
            state.due = Some(due);
            return Line::Write;
        }
        state.left_out += 1;
        if state.left_out == 1 {
            Line::LeaveOutFirst
        } else {
            Line::LeaveOut
        }
    }

    /// How many lines were left out since this was last asked.
    pub fn left_out(&self) -> u64 {
        std::mem::take(&mut self.state().left_out)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of a stranger's text. To be shown with `?`, which keeps it on one line.
pub fn beginning(text: &str) -> &str {
    text.char_indices()
        .nth(SHOWN)
        .map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate_and_a_count_of_the_rest() {
        let limit = LineLimit::new(10, 50);
        let start = Instant::now();
        let written = |at: Instant, asked: usize| {
            let lines = (0..asked).filter(|_| limit.ask(at) == Line::Write);
            lines.count()
        };
        assert_eq!(written(start, 1_000), 50);
        assert_eq!(limit.left_out(), 950);
        assert_eq!(limit.left_out(), 0);
        for second in 1..5 {
            assert_eq!(written(start + Duration::from_secs(second), 1_000), 10);
        }
        assert_eq!(written(start + Duration::from_secs(60), 1_000), 50);
        // Time never goes back, but two threads may read it in one order and ask in the other.
        assert_eq!(written(start, 1), 0);
    }

    #[test]
    fn the_first_that_is_left_out_is_told_once_a_count() {
        let limit = LineLimit::new(1, 1);
        let now = Instant::now();
        let asked: Vec<Line> = (0..4).map(|_| limit.ask(now)).collect();
        let expected = [
            Line::Write,
            Line::LeaveOutFirst,
            Line::LeaveOut,
            Line::LeaveOut,
        ];
        assert_eq!(asked, expected);
        assert_eq!(limit.left_out(), 3);
        assert_eq!(limit.ask(now), Line::LeaveOutFirst);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(beginning("app"), "app");
        assert_eq!(beginning(&"\u{e4}".repeat(65)), "\u{e4}".repeat(64));
    }
}
