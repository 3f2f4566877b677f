//! Makes a failing sequence as short as it can be while it fails in the same way.

use std::time::{Duration, Instant};

use crate::run::{Difference, Pair, run};
use crate::sequence::{Op, SESSIONS, Sequence, Step};

/// After that the shortest so far will do.
const LIMIT: Duration = Duration::from_secs(60);

struct Shrinker<'a> {
    pair: &'a mut Pair,
    best: (Sequence, Box<Difference>),
    deadline: Instant,
}

/// The shortest sequence found, and how it differs.
pub(crate) fn shrink(
    pair: &mut Pair,
    sequence: Sequence,
    difference: Box<Difference>,
) -> (Sequence, Box<Difference>) {
    let patience = pair.acquire_timeout;
    if difference.is_wait() {
        pair.acquire_timeout = 400;
    }
    let mut shrinker = Shrinker {
        pair,
        best: (sequence, difference),
        deadline: Instant::now() + LIMIT,
    };
    shrinker.cut();
    loop {
        let before = shrinker.size();
        shrinker.sessions();
        shrinker.chunks();
        shrinker.parts();
        shrinker.startup();
        shrinker.simplify();
        if shrinker.size() == before || shrinker.late() {
            shrinker.pair.acquire_timeout = patience;
            return shrinker.best;
        }
    }
}

impl Shrinker<'_> {
    fn late(&self) -> bool {
        Instant::now() > self.deadline
    }

    fn size(&self) -> usize {
        let sequence = &self.best.0;
        let ops = |op: &Op| match op {
            Op::Query(texts) => texts.len(),
            _ => 2,
        };
        let steps = sequence
            .steps
            .iter()
            .map(|s| 1 + s.ops.iter().map(ops).sum::<usize>());
        steps.sum::<usize>() + sequence.startup.iter().map(Vec::len).sum::<usize>()
    }

    /// Keeps the candidate if it still fails in the same way.
    fn try_out(&mut self, candidate: Sequence) -> bool {
        if self.late() || !candidate.steps.iter().all(Step::is_countable) {
            return false;
        }
        match run(self.pair, &candidate) {
            Err(found) if found.signature == self.best.1.signature => {
                self.best = (candidate, found);
                self.cut();
                true
            }
            _ => false,
        }
    }

    /// Forgets what came after the difference.
    fn cut(&mut self) {
        let steps = self.best.1.at.map_or(0, |at| at + 1);
        self.best.0.steps.truncate(steps);
    }

    fn sessions(&mut self) {
        for session in 0..SESSIONS {
            let mut candidate = self.best.0.clone();
            candidate.steps.retain(|s| s.session != session);
            if candidate.steps.len() < self.best.0.steps.len() {
                self.try_out(candidate);
            }
        }
    }

    fn chunks(&mut self) {
        let mut length = self.best.0.steps.len() / 2;
        while length > 0 {
            let mut end = self.best.0.steps.len();
            while end >= length {
                let mut candidate = self.best.0.clone();
                candidate.steps.drain(end - length..end);
                self.try_out(candidate);
                end = (end - length).min(self.best.0.steps.len());
            }
            length /= 2;
        }
    }

    /// Statements of a Query, and messages of a batch.
    fn parts(&mut self) {
        for at in (0..self.best.0.steps.len()).rev() {
            let mut op = 0;
            while let Some(found) = self.best.0.steps.get(at).and_then(|s| s.ops.get(op)) {
                let mut candidate = self.best.0.clone();
                if let Op::Query(texts) = found
                    && texts.len() > 1
                {
                    if !self.texts(at, op) {
                        op += 1;
                    }
                    continue;
                }
                let ops = &mut candidate.steps[at].ops;
                ops.remove(op);
                let whole = matches!(ops.last(), Some(Op::Sync | Op::Query(_)));
                if !(whole && self.try_out(candidate)) {
                    op += 1;
                }
            }
        }
    }

    fn texts(&mut self, at: usize, op: usize) -> bool {
        let Op::Query(texts) = self.best.0.steps[at].ops[op].clone() else {
            return false;
        };
        (0..texts.len()).any(|text| {
            let mut candidate = self.best.0.clone();
            if let Op::Query(texts) = &mut candidate.steps[at].ops[op] {
                texts.remove(text);
            }
            self.try_out(candidate)
        })
    }

    fn startup(&mut self) {
        for session in 0..SESSIONS {
            for at in (0..self.best.0.startup[session].len()).rev() {
                let mut candidate = self.best.0.clone();
                candidate.startup[session].remove(at);
                self.try_out(candidate);
            }
        }
        if self.best.0.functions {
            let mut candidate = self.best.0.clone();
            candidate.functions = false;
            self.try_out(candidate);
        }
    }

    /// A simple query instead of the extended protocol.
    fn simplify(&mut self) {
        for at in 0..self.best.0.steps.len() {
            let sql = match self.best.0.steps.get(at).map(|s| s.ops.as_slice()) {
                Some([Op::Run(sql), Op::Sync]) => sql.clone(),
                Some([Op::Parse(name, sql), .., Op::Execute(..), Op::Sync]) if name.is_empty() => {
                    sql.clone()
                }
                _ => continue,
            };
            let mut candidate = self.best.0.clone();
            candidate.steps[at].ops = vec![Op::Query(vec![sql])];
            self.try_out(candidate);
        }
    }
}
