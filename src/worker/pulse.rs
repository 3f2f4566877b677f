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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::worker::inbox::Inbox;

    const MOMENT: Duration = Duration::from_millis(20);

    /// Workers that are nothing but their inboxes.
    fn workers(count: usize) -> (Workers, Vec<mio::Poll>) {
        let polls: Vec<_> = (0..count).map(|_| mio::Poll::new().unwrap()).collect();
        let inboxes = polls.iter().map(|poll| Inbox::new(poll).unwrap());
        let workers = Workers {
            inboxes: inboxes.collect(),
            process_ids: Arc::default(),
            suspended: Arc::default(),
        };
        (workers, polls)
    }

    fn questions(inbox: &Inbox) -> Vec<oneshot::Sender<Box<WorkerRow>>> {
        let taken = inbox.take().into_iter();
        let to = |message| match message {
            Message::Question(Question::Worker(to)) => Some(to),
            _ => None,
        };
        taken.filter_map(to).collect()
    }

    #[tokio::test]
    async fn who_lives_who_has_ended_and_who_is_stuck_are_told_apart() {
        let (workers, _polls) = workers(3);
        let inboxes = Arc::clone(&workers.inboxes);
        inboxes[1].close();
        let mut pulse = Pulse::new(workers);
        let answering = tokio::spawn(async move {
            // Asked in the first poll of `feel`, before this task runs.
            for to in questions(&inboxes[0]) {
                to.send(Box::default()).unwrap();
            }
            inboxes
        });
        let beats = pulse.feel(MOMENT).await;
        assert!(
            matches!(beats[..], [Beat::Row(_), Beat::Ended, Beat::Silent]),
            "{beats:?}"
        );
        let inboxes = answering.await.unwrap();
        pulse.feel(MOMENT).await;
        let mut open = questions(&inboxes[2]);
        assert_eq!(open.len(), 1, "who is stuck is asked once");
        open.remove(0).send(Box::default()).unwrap();
        let beats = pulse.feel(MOMENT).await;
        assert!(matches!(beats[2], Beat::Row(_)), "its late answer counts");
    }
}
