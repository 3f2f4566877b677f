//! A sign of life of each worker, told apart: who answers, who has ended, who is stuck.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Workers;
use super::inbox::Message;
use super::report::{Question, WorkerRow};

/// What one worker has to say.
#[derive(Debug)]
pub enum Beat {
    /// It lives.
    Row(Box<WorkerRow>),
    /// It has ended, as workers do at the end of a drain.
    Ended,
    /// It did not answer in time.
    Silent,
}

/// Asks workers again and again. A worker that has not answered is not asked once more: nothing
/// piles up at one that is stuck.
#[derive(Debug)]
pub struct Pulse {
    workers: Workers,
    asked: Vec<Option<oneshot::Receiver<Box<WorkerRow>>>>,
}

impl Pulse {
    /// Of these workers.
    pub fn new(workers: Workers) -> Self {
        let asked = workers.inboxes.iter().map(|_| None).collect();
        Self { workers, asked }
    }

    /// Asks all workers, and waits for at most `limit`; in their order. Cancel-safe.
    pub async fn feel(&mut self, limit: Duration) -> Vec<Beat> {
        let deadline = Instant::now() + limit;
        for (inbox, asked) in self.workers.inboxes.iter().zip(&mut self.asked) {
            if asked.is_none() {
                let (to, answer) = oneshot::channel();
                inbox.put(Message::Question(Question::Worker(to)));
                *asked = Some(answer);
            }
        }
        let mut beats = Vec::with_capacity(self.asked.len());
        for asked in &mut self.asked {
            let answer = asked.as_mut().expect("asked above");
            let beat = match timeout_at(deadline, answer).await {
                Ok(Ok(row)) => Beat::Row(row),
                Ok(Err(_)) => Beat::Ended,
                Err(_) => {
                    beats.push(Beat::Silent);
                    continue;
                }
            };
            *asked = None;
            beats.push(beat);
        }
        beats
    }
}
