//! The cap holds, the line is kept, nobody is forgotten.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn db() -> NodeAddr {
    NodeAddr {
        host: "db".into(),
        port: 5432,
    }
}

fn budget(limit: usize) -> (Budget, Arc<NodeBudget>) {
    let budget = Budget::default();
    budget.configure([(db(), limit)]);
    let of_node = budget.node(&db()).unwrap();
    (budget, of_node)
}

fn waiter(since: u64) -> Waiter {
    Waiter {
        id: (0, since),
        since,
    }
}

/// Waits in line; its permit arrives in the channel with its number.
fn line_up(of: &Arc<NodeBudget>, since: u64, into: &SyncSender<(u64, Permit)>) -> Ticket {
    let into = into.clone();
    let send = move |permit| into.send((since, permit)).expect("the test listens");
    of.enqueue(waiter(since), Box::new(send))
}

fn granted(from: &Receiver<(u64, Permit)>) -> Vec<(u64, Permit)> {
    from.try_iter().collect()
}

fn numbers(of: &[(u64, Permit)]) -> Vec<u64> {
    of.iter().map(|(number, _)| *number).collect()
}

#[test]
fn places_go_to_the_first_in_line() {
    let (_, node) = budget(1);
    let (into, from) = sync_channel(8);
    let held = node.try_acquire().unwrap();
    let _tickets = [line_up(&node, 10, &into), line_up(&node, 11, &into)];
    assert_eq!(node.owed_since(), 10);
    assert_eq!(node.first_waiting(), Some(waiter(10)));
    drop(held);
    let first = granted(&from);
    assert_eq!(numbers(&first), [10]);
    assert!(node.try_acquire().is_none());
    assert_eq!(node.owed_since(), 11);
    drop(first);
    assert_eq!(numbers(&granted(&from)), [11]);
    assert_eq!((node.owed_since(), node.taken()), (u64::MAX, 0));
}

#[test]
fn nobody_overtakes_the_line() {
    let (_, node) = budget(0);
    let (into, _from) = sync_channel(8);
    let ticket = line_up(&node, 1, &into);
    assert!(node.try_acquire().is_none());
    drop(ticket);
    assert_eq!((node.waiting(), node.owed_since()), (0, u64::MAX));
}

#[test]
fn a_free_place_is_granted_at_once() {
    let (_, node) = budget(1);
    let (into, from) = sync_channel(8);
    let ticket = line_up(&node, 1, &into);
    let got = granted(&from);
    drop(ticket);
    assert_eq!((numbers(&got), node.taken()), (vec![1], 1));
}

#[test]
fn a_cancelled_ticket_swallows_nothing() {
    let (_, node) = budget(1);
    let (into, from) = sync_channel(8);
    let held = node.try_acquire();
    let first = line_up(&node, 1, &into);
    let _second = line_up(&node, 2, &into);
    drop(first);
    assert_eq!(node.owed_since(), 2);
    drop(held);
    assert_eq!(numbers(&granted(&from)), [2]);
}

#[test]
fn limits_shrink_and_grow() {
    let (all, node) = budget(2);
    let (into, from) = sync_channel(8);
    let mut held = vec![node.try_acquire().unwrap(), node.try_acquire().unwrap()];
    let _ticket = line_up(&node, 1, &into);
    all.configure([(db(), 1)]);
    held.pop();
    assert_eq!(node.taken(), 1);
    assert!(granted(&from).is_empty());
    all.configure([(db(), 2)]);
    assert_eq!(numbers(&granted(&from)), [1]);
}

#[test]
fn a_node_named_again_keeps_its_count() {
    let (all, node) = budget(1);
    let held = node.try_acquire();
    drop(node);
    all.configure([]);
    all.configure([(db(), 1)]);
    let again = all.node(&db()).unwrap();
    assert!(held.is_some() && again.try_acquire().is_none());
    drop((held, again));
    all.configure([]);
    assert!(all.all().is_empty());
}

#[test]
fn grants_that_drop_their_permits_do_not_recurse() {
    let (all, node) = budget(0);
    let count = Arc::new(AtomicUsize::new(0));
    let tickets: Vec<_> = (0..100_000)
        .map(|n| {
            let count = Arc::clone(&count);
            let drop_it = move |permit| {
                count.fetch_add(1, Ordering::Relaxed);
                drop::<Permit>(permit);
            };
            node.enqueue(waiter(n), Box::new(drop_it))
        })
        .collect();
    all.configure([(db(), 1)]);
    assert_eq!(
        (count.load(Ordering::Relaxed), node.taken(), node.waiting()),
        (100_000, 0, 0)
    );
    drop(tickets);
}

#[test]
fn a_panic_in_a_grant_does_not_stop_the_line() {
    let (all, node) = budget(0);
    let (into, from) = sync_channel(8);
    let _bad = node.enqueue(waiter(1), Box::new(|_permit| panic!("on purpose")));
    let _good = line_up(&node, 2, &into);
    let grow = std::panic::AssertUnwindSafe(|| all.configure([(db(), 1)]));
    assert!(std::panic::catch_unwind(grow).is_err());
    drop(node.try_acquire());
    drop(line_up(&node, 3, &into));
    assert_eq!(numbers(&granted(&from))[0], 2);
}

/// Threads that take, wait, cancel and give back: the cap holds and everybody is served.
#[test]
fn churn_over_threads() {
    const LIMIT: usize = 5;
    let (all, node) = budget(LIMIT);
    let out = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (node, out) = (Arc::clone(&node), Arc::clone(&out));
            scope.spawn(move || {
                let (into, from) = sync_channel(4);
                for round in 0..2_000_u64 {
                    if (thread + round) % 3 == 0 {
                        drop(line_up(&node, round, &into));
                        drop(granted(&from));
                        continue;
                    }
                    let ticket = line_up(&node, round, &into);
                    let wait = Duration::from_secs(60);
                    let permit = from.recv_timeout(wait).expect("everybody is served");
                    assert!(out.fetch_add(1, Ordering::SeqCst) < LIMIT);
                    drop(ticket);
                    out.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
        scope.spawn(|| {
            for round in 0..500 {
                all.configure([(db(), 1 + round % LIMIT)]);
            }
            all.configure([(db(), LIMIT)]);
        });
    });
    assert_eq!(
        (node.taken(), node.waiting(), node.owed_since()),
        (0, 0, u64::MAX)
    );
}

#[derive(Debug, Clone)]
enum Step {
    Take,
    Wait,
    Cancel(usize),
    GiveBack(usize),
    Limit(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Take),
        Just(Step::Wait),
        any::<usize>().prop_map(Step::Cancel),
        any::<usize>().prop_map(Step::GiveBack),
        (0..4_usize).prop_map(Step::Limit),
    ]
}

proptest! {
    /// Against a model: a list of who waits, a number of who holds.
    #[test]
    fn any_sequence_keeps_cap_and_order(steps in proptest::collection::vec(step(), 0..80)) {
        let (all, of_node) = budget(2);
        let (into, from) = sync_channel(100);
        let (mut limit, mut held, mut line) = (2, Vec::new(), Vec::<(u64, Ticket)>::new());
        for (at, step) in (1_u64..).zip(steps) {
            match step {
                Step::Take => {
                    let got = of_node.try_acquire();
                    prop_assert_eq!(got.is_some(), held.len() < limit && line.is_empty());
                    held.extend(got);
                }
                Step::Wait => line.push((at, line_up(&of_node, at, &into))),
                Step::Cancel(n) if !line.is_empty() => drop(line.remove(n % line.len())),
                Step::GiveBack(n) if !held.is_empty() => drop(held.swap_remove(n % held.len())),
                Step::Cancel(_) | Step::GiveBack(_) => {}
                Step::Limit(n) => {
                    limit = n;
                    all.configure([(db(), n)]);
                }
            }
            let due = limit.saturating_sub(held.len()).min(line.len());
            let expected: Vec<u64> = line.drain(..due).map(|(number, _)| number).collect();
            let got = granted(&from);
            prop_assert_eq!(numbers(&got), expected);
            held.extend(got.into_iter().map(|(_, permit)| permit));
            prop_assert_eq!(of_node.taken(), held.len());
            let first = line.first().map_or(u64::MAX, |(number, _)| *number);
            prop_assert_eq!(of_node.owed_since(), first);
        }
    }
}
