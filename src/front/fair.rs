//! Turns at a processor, fair between clients' addresses and between the names they ask for.
//!
//! Whoever waits stands in two lines, that of its address and that of its TLS server name. Turns go
//! alternately to the next address and to the next name, each in rotation, and there to whoever
//! came first. So a storm from one address, whatever names it asks for, and a storm for one name,
//! from however many addresses, delay everybody else by about two turns for each other address or
//! name that waits, not by the length of the storm.
//!
//! The queue is as long as there are connections that wait, which have a place each; one that ends
//! is taken out at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// What a client of IPv6 may choose of its address by itself.
const HOST_BITS: u32 = 64;

/// Who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    address: Option<IpAddr>,
    name: Option<Arc<str>>,
}

impl Who {
    /// A client at that address that asks for that server name.
    pub(super) fn new(address: Option<IpAddr>, name: Option<&str>) -> Self {
        Self {
            address: address.map(network),
            name: name.map(|name| name.to_ascii_lowercase().into()),
        }
    }
}

/// The addresses that one client may have: of IPv6 a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> HOST_BITS << HOST_BITS).into(),
    }
}

/// A number of turns at the same time, and who waits for them.
#[derive(Debug, Clone)]
pub(super) struct Fair(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    queue: Queue<oneshot::Sender<Turn>>,
}

impl Fair {
    /// So many turns at the same time.
    pub(super) fn new(turns: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: turns,
            queue: Queue::default(),
        })))
    }

    /// Waits for a turn. Cancel-safe: whoever stops waiting takes nothing along.
    pub(super) async fn turn(&self, who: &Who) -> Turn {
        let (sender, receiver) = oneshot::channel();
        let ticket = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Turn(Some(self.clone()));
            }
            state.queue.push(who.clone(), sender)
        };
        let _waiting = Waiting { fair: self, ticket };
        receiver
            .await
            .expect("a sender leaves the queue with a turn, or with its receiver")
    }

    /// Hands a turn to whoever is next, or keeps it.
    fn pass_on(mut self) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.queue.next();
                state.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            match next.send(Turn(Some(self))) {
                Ok(()) => return,
                // It stopped waiting just now.
                Err(mut turn) => match turn.0.take() {
                    Some(fair) => self = fair,
                    None => return,
                },
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state().queue.waiting.len()
    }
}

/// A turn; dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping it ends the turn"]
pub(super) struct Turn(Option<Fair>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(fair) = self.0.take() {
            fair.pass_on();
        }
    }
}

/// A place in the queue, given up when dropped.
struct Waiting<'a> {
    fair: &'a Fair,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // The sender is dropped after the lock is released.
        let _sender = self.fair.state().queue.remove(self.ticket);
    }
}

/// Who waits, and in which order they come.
#[derive(Debug)]
struct Queue<W> {
    waiting: HashMap<u64, (Who, W)>,
    addresses: Rotation<Option<IpAddr>>,
    names: Rotation<Option<Arc<str>>>,
    /// Tickets given out; they tell who came first.
    tickets: u64,
    next: Side,
}

/// Whose rotation decides.
#[derive(Debug, Clone, Copy)]
enum Side {
    Address,
    Name,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            addresses: Rotation::default(),
            names: Rotation::default(),
            tickets: 0,
            next: Side::Address,
        }
    }
}

impl<W> Queue<W> {
    fn push(&mut self, who: Who, waiter: W) -> u64 {
        let ticket = self.tickets;
        self.tickets += 1;
        self.addresses.push(&who.address, ticket);
        self.names.push(&who.name, ticket);
        self.waiting.insert(ticket, (who, waiter));
        ticket
    }

    fn next(&mut self) -> Option<W> {
        let ticket = match self.next {
            Side::Address => self.addresses.next(),
            Side::Name => self.names.next(),
        };
        self.next = match self.next {
            Side::Address => Side::Name,
            Side::Name => Side::Address,
        };
        self.remove(ticket?)
    }

    fn remove(&mut self, ticket: u64) -> Option<W> {
        let (who, waiter) = self.waiting.remove(&ticket)?;
        self.addresses.remove(&who.address, ticket);
        self.names.remove(&who.name, ticket);
        Some(waiter)
    }
}

/// Lines of tickets, one a key, that come in turn.
#[derive(Debug)]
struct Rotation<K> {
    lines: HashMap<K, Line>,
    order: BTreeMap<u64, K>,
    /// Numbers of `order` given out.
    numbers: u64,
}

/// The tickets of one key, which is never without one.
#[derive(Debug)]
struct Line {
    number: u64,
    tickets: BTreeSet<u64>,
}

impl<K> Default for Rotation<K> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            order: BTreeMap::new(),
            numbers: 0,
        }
    }
}

impl<K: Clone + Eq + Hash> Rotation<K> {
    fn push(&mut self, key: &K, ticket: u64) {
        if let Some(line) = self.lines.get_mut(key) {
            line.tickets.insert(ticket);
            return;
        }
        let number = self.take_number();
        let tickets = BTreeSet::from([ticket]);
        self.lines.insert(key.clone(), Line { number, tickets });
        self.order.insert(number, key.clone());
    }

    /// The first ticket of the next key, which then comes last. It must be removed.
    fn next(&mut self) -> Option<u64> {
        let (_, key) = self.order.pop_first()?;
        let number = self.take_number();
        let line = self.lines.get_mut(&key)?;
        line.number = number;
        let ticket = line.tickets.first().copied();
        self.order.insert(number, key);
        ticket
    }

    fn remove(&mut self, key: &K, ticket: u64) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        line.tickets.remove(&ticket);
        if line.tickets.is_empty() {
            self.order.remove(&line.number);
            self.lines.remove(key);
        }
    }

    fn take_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn who(address: &str, name: &str) -> Who {
        Who::new(
            Some(address.parse().unwrap()),
            Some(name).filter(|n| !n.is_empty()),
        )
    }

    fn order<W>(queue: &mut Queue<W>) -> Vec<W> {
        std::iter::from_fn(|| queue.next()).collect()
    }

    fn is_empty<W>(queue: &Queue<W>) -> bool {
        queue.waiting.is_empty()
            && queue.addresses.lines.is_empty()
            && queue.addresses.order.is_empty()
            && queue.names.lines.is_empty()
            && queue.names.order.is_empty()
    }

    #[test]
    fn one_client_is_served_in_the_order_it_came() {
        let mut queue = Queue::default();
        for n in 0..10 {
            queue.push(who("10.0.0.1", "acme.db.test"), n);
        }
        assert_eq!(order(&mut queue), (0..10).collect::<Vec<_>>());
        assert!(is_empty(&queue));
    }

    #[test]
    fn addresses_take_turns() {
        let mut queue = Queue::default();
        for n in 0..6 {
            queue.push(who("10.0.0.1", ""), ('a', n));
        }
        for n in 0..2 {
            queue.push(who("10.0.0.2", ""), ('b', n));
        }
        let order = order(&mut queue);
        let of_b: Vec<usize> = (0..8).filter(|i| order[*i].0 == 'b').collect();
        // Every other turn goes by name, and all ask for none: then who came first.
        assert_eq!(of_b, [2, 6]);
    }

    #[test]
    fn a_storm_from_one_address_delays_nobody_whatever_it_asks_for() {
        for name in ["", "acme.db.test", "n"] {
            let mut queue = Queue::default();
            for n in 0..1_000 {
                let asked = if name == "n" {
                    format!("n{n}.db.test")
                } else {
                    name.to_owned()
                };
                queue.push(who("10.0.0.66", &asked), false);
            }
            for _ in 0..3 {
                queue.next();
            }
            queue.push(who("10.0.0.1", "acme.db.test"), true);
            let place = order(&mut queue).iter().position(|good| *good);
            assert!(place <= Some(3), "{name}: {place:?}");
        }
    }

    #[test]
    fn a_storm_for_one_name_delays_no_other_name() {
        let mut queue = Queue::default();
        for n in 0..1_000 {
            let address = format!("10.1.{}.{}", n / 250, n % 250);
            queue.push(who(&address, "acme.db.test"), false);
        }
        queue.push(who("10.0.0.1", "globex.db.test"), true);
        let place = order(&mut queue).iter().position(|good| *good);
        assert!(place <= Some(4), "{place:?}");
    }

    #[test]
    fn a_whole_network_of_ipv6_is_one_address() {
        assert_eq!(
            who("2001:db8::1", "A.test"),
            who("2001:db8::ffff:2", "a.TEST")
        );
        assert_ne!(who("2001:db8::1", ""), who("2001:db8:0:1::1", ""));
        assert_ne!(who("10.0.0.1", ""), who("10.0.0.2", ""));
    }

    #[test]
    fn whoever_leaves_is_forgotten() {
        let mut queue = Queue::default();
        let tickets: Vec<u64> = (0..100)
            .map(|n| queue.push(who(&format!("10.0.0.{}", n % 7), &format!("n{}", n % 3)), n))
            .collect();
        for ticket in tickets.iter().step_by(2) {
            assert!(queue.remove(*ticket).is_some());
            assert!(queue.remove(*ticket).is_none());
        }
        let mut served = order(&mut queue);
        served.sort_unstable();
        assert_eq!(served, (1..100).step_by(2).collect::<Vec<_>>());
        assert!(is_empty(&queue));
    }

    #[test]
    fn turns_are_neither_lost_nor_doubled() {
        let fair = Fair::new(1);
        let who = who("10.0.0.1", "");
        let mut context = Context::from_waker(Waker::noop());
        let mut first = Box::pin(fair.turn(&who));
        let Poll::Ready(turn) = first.as_mut().poll(&mut context) else {
            panic!("a turn is free");
        };
        let mut second = Box::pin(fair.turn(&who));
        let mut third = pin!(fair.turn(&who));
        let mut fourth = Box::pin(fair.turn(&who));
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(third.as_mut().poll(&mut context).is_pending());
        assert!(fourth.as_mut().poll(&mut context).is_pending());
        assert_eq!(fair.waiting(), 3);
        // One leaves before its turn, one between getting it and noticing.
        drop(fourth);
        drop(turn);
        drop(second);
        let Poll::Ready(turn) = third.as_mut().poll(&mut context) else {
            panic!("its turn has come");
        };
        drop(turn);
        assert_eq!((fair.waiting(), fair.state().free), (0, 1));
    }
}
