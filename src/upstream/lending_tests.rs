//! The limit holds over all processes, whatever arrives when, and nobody is forgotten.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 3;

fn db() -> NodeAddr {
    NodeAddr {
        host: "db".into(),
        port: 5432,
    }
}

/// One direction of a link.
#[derive(Debug, Clone, Default)]
struct Queue(Arc<Mutex<VecDeque<Note>>>);

impl Peer for Queue {
    fn tell(&self, _node: &NodeAddr, note: Note) {
        self.0.lock().unwrap().push_back(note);
    }
}

impl Queue {
    fn next(&self) -> Option<Note> {
        self.0.lock().unwrap().pop_front()
    }
}

struct Process {
    budget: Budget,
    held: Vec<Permit>,
    line: Vec<(u64, Ticket)>,
    into: SyncSender<(u64, Permit)>,
    from: Receiver<(u64, Permit)>,
}

impl Process {
    fn new() -> Self {
        let budget = Budget::default();
        budget.configure([(db(), LIMIT)]);
        let (into, from) = sync_channel(1_000);
        Self {
            budget,
            held: Vec::new(),
            line: Vec::new(),
            into,
            from,
        }
    }

    fn node(&self) -> Arc<NodeBudget> {
        self.budget.node(&db()).unwrap()
    }

    fn wait(&mut self, since: u64) {
        let into = self.into.clone();
        let grant = move |permit| into.send((since, permit)).expect("the test listens");
        let waiter = Waiter {
            id: (0, since),
            since,
        };
        let ticket = self.node().enqueue(waiter, Box::new(grant));
        self.line.push((since, ticket));
    }

    /// Who has got a place meanwhile.
    fn served(&mut self) -> Vec<u64> {
        let got: Vec<_> = self.from.try_iter().collect();
        let numbers = got.iter().map(|(number, _)| *number).collect();
        for (number, permit) in got {
            self.line.retain(|(other, _)| *other != number);
            self.held.push(permit);
        }
        numbers
    }
}

/// From a process to the next newer one, which lends to it.
struct Link {
    up: Queue,
    down: Queue,
    lender: Arc<Lender>,
}

/// Processes that took over from one another, the newest last.
struct Chain {
    processes: Vec<Process>,
    links: Vec<Link>,
}

impl Chain {
    fn new() -> Self {
        Self {
            processes: vec![Process::new()],
            links: Vec::new(),
        }
    }

    fn take_over(&mut self) {
        let new = Process::new();
        let (up, down) = (Queue::default(), Queue::default());
        let lender = Lender::new(&new.budget, LinkId(0), Arc::new(down.clone()));
        let arbiter: Arc<dyn Peer> = Arc::new(up.clone());
        let old = self.processes.last().expect("one is there");
        old.budget.borrow_from(&arbiter);
        // The new one acts only when it has heard what the old one has.
        while let Some(note) = up.next() {
            lender.told(&db(), note);
        }
        self.processes.push(new);
        self.links.push(Link { up, down, lender });
    }

    fn up(&self, link: usize) -> bool {
        let note = self.links[link].up.next();
        if let Some(note) = note {
            self.links[link].lender.told(&db(), note);
        }
        note.is_some()
    }

    fn down(&self, link: usize) -> bool {
        let note = self.links[link].down.next();
        if let Some(note) = note {
            self.processes[link].budget.told(&db(), note);
        }
        note.is_some()
    }

    fn oldest_dies(&mut self) {
        if self.links.is_empty() {
            return;
        }
        while self.up(0) {}
        let link = self.links.remove(0);
        drop(self.processes.remove(0));
        link.lender.end();
    }

    fn newest_dies(&mut self) {
        let Some(link) = self.links.len().checked_sub(1) else {
            return;
        };
        while self.down(link) {}
        self.links.pop();
        let dead = self.processes.pop();
        self.processes[link].budget.decide_again();
        drop(dead);
    }

    fn settle(&self) {
        let step = |link| self.up(link) | self.down(link);
        while (0..self.links.len()).map(step).fold(false, |a, b| a | b) {}
    }

    fn served(&mut self) -> Vec<u64> {
        let all = self.processes.iter_mut();
        all.flat_map(Process::served).collect()
    }

    fn held(&self) -> usize {
        self.processes.iter().map(|p| p.held.len()).sum()
    }
}

#[test]
fn the_longest_waiter_is_first_wherever_it_waits() {
    let mut chain = Chain::new();
    let full: Vec<_> = (0..LIMIT)
        .map(|_| chain.processes[0].node().try_acquire().unwrap())
        .collect();
    chain.processes[0].wait(10);
    chain.take_over();
    assert!(chain.processes[0].node().try_acquire().is_none());
    assert!(chain.processes[1].node().try_acquire().is_none());
    chain.processes[1].wait(11);
    chain.processes[0].wait(5);
    chain.processes[1].wait(4);
    chain.settle();
    assert_eq!(chain.processes[0].node().owed_since(), 4);
    assert_eq!(chain.processes[1].node().owed_since(), 4);
    let mut order = Vec::new();
    chain.processes[0].held = full;
    while chain.held() > 0 {
        let holder = chain.processes.iter_mut().find(|p| !p.held.is_empty());
        drop(holder.and_then(|process| process.held.pop()));
        chain.settle();
        order.extend(chain.served());
    }
    assert_eq!(order, [4, 5, 10, 11]);
}

#[test]
fn the_other_process_is_asked_to_close_an_idle_connection() {
    let mut chain = Chain::new();
    let _full: Vec<_> = (0..LIMIT)
        .map(|_| chain.processes[0].node().try_acquire().unwrap())
        .collect();
    chain.take_over();
    while chain.links[0].down.next().is_some() {}
    chain.processes[1].wait(7);
    let told: Vec<_> = std::iter::from_fn(|| chain.links[0].down.next()).collect();
    assert_eq!(told, [Note::Owed { since: 7 }, Note::Evict]);
    chain.processes[0].wait(9);
    chain.settle();
    assert_eq!(
        chain.links[0].down.next(),
        None,
        "its own is not told to it"
    );
}

#[test]
fn what_was_lent_comes_back_when_the_borrower_dies() {
    let mut chain = Chain::new();
    chain.processes[0].held = (0..LIMIT)
        .map(|_| chain.processes[0].node().try_acquire().unwrap())
        .collect();
    chain.take_over();
    chain.processes[1].wait(1);
    chain.oldest_dies();
    assert_eq!(chain.served(), [1]);
    assert_eq!(chain.processes[0].node().taken(), 1);
}

#[test]
fn a_place_that_nobody_waits_for_any_more_goes_on() {
    let mut chain = Chain::new();
    chain.take_over();
    chain.processes[0].wait(1);
    while chain.up(0) {}
    chain.processes[0].line.clear();
    while chain.down(0) {}
    assert_eq!(chain.processes[1].node().taken(), 1);
    chain.settle();
    assert_eq!(chain.processes[1].node().taken(), 0);
}

#[test]
fn a_node_that_only_the_old_one_names_has_its_limit() {
    let old = Budget::default();
    old.configure([(db(), 1)]);
    let new = Budget::default();
    let (up, down) = (Queue::default(), Queue::default());
    let lender = Lender::new(&new, LinkId(0), Arc::new(down.clone()));
    let arbiter: Arc<dyn Peer> = Arc::new(up.clone());
    old.borrow_from(&arbiter);
    let node = old.node(&db()).unwrap();
    let (into, from) = sync_channel(2);
    let waiter = Waiter {
        id: (0, 0),
        since: 0,
    };
    let _tickets = [into.clone(), into].map(|into| {
        node.enqueue(
            waiter,
            Box::new(move |p| into.send(p).expect("listened to")),
        )
    });
    while let Some(note) = up.next() {
        lender.told(&db(), note);
    }
    while let Some(note) = down.next() {
        old.told(&db(), note);
    }
    assert_eq!(from.try_iter().count(), 1);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Take(usize),
    Wait(usize),
    Cancel(usize, usize),
    GiveBack(usize, usize),
    Up(usize),
    Down(usize),
    TakeOver,
    OldestDies,
    NewestDies,
}

fn step() -> impl Strategy<Value = Step> {
    let (who, which) = (0..3_usize, 0..8_usize);
    prop_oneof![
        4 => who.clone().prop_map(Step::Take),
        8 => who.clone().prop_map(Step::Wait),
        3 => (who.clone(), which.clone()).prop_map(|(p, n)| Step::Cancel(p, n)),
        6 => (who.clone(), which).prop_map(|(p, n)| Step::GiveBack(p, n)),
        10 => who.clone().prop_map(Step::Up),
        10 => who.prop_map(Step::Down),
        1 => Just(Step::TakeOver),
        1 => Just(Step::OldestDies),
        1 => Just(Step::NewestDies),
    ]
}

impl Chain {
    fn step(&mut self, at: u64, step: Step) {
        let count = self.processes.len();
        match step {
            Step::Take(p) => {
                let process = &mut self.processes[p % count];
                process.held.extend(process.node().try_acquire());
            }
            Step::Wait(p) => self.processes[p % count].wait(at),
            Step::Cancel(p, n) => {
                let line = &mut self.processes[p % count].line;
                if !line.is_empty() {
                    drop(line.remove(n % line.len()));
                }
            }
            Step::GiveBack(p, n) => {
                let held = &mut self.processes[p % count].held;
                if !held.is_empty() {
                    drop(held.swap_remove(n % held.len()));
                }
            }
            Step::Up(n) if !self.links.is_empty() => drop(self.up(n % self.links.len())),
            Step::Down(n) if !self.links.is_empty() => drop(self.down(n % self.links.len())),
            Step::Up(_) | Step::Down(_) => {}
            Step::TakeOver if count < 4 => self.take_over(),
            Step::TakeOver => {}
            Step::OldestDies => self.oldest_dies(),
            Step::NewestDies => self.newest_dies(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_interleaving_keeps_the_limit_and_serves_everybody(
        steps in proptest::collection::vec(step(), 0..150),
    ) {
        let mut chain = Chain::new();
        for (at, step) in (1_u64..).zip(steps) {
            chain.step(at, step);
            chain.served();
            prop_assert!(chain.held() <= LIMIT, "{step:?}");
        }
        loop {
            chain.settle();
            chain.served();
            prop_assert!(chain.held() <= LIMIT);
            let Some(holder) = chain.processes.iter_mut().find(|p| !p.held.is_empty()) else {
                break;
            };
            holder.held.pop();
        }
        for process in &chain.processes {
            let node = process.node();
            prop_assert!(process.line.is_empty());
            prop_assert_eq!((node.taken(), node.waiting(), node.owed_since()), (0, 0, u64::MAX));
        }
    }
}
