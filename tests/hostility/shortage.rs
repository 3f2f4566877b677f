//! Descriptors running out, in a proxy of its own that has few: who is logged in goes on, whoever
//! comes waits, and all is well once there are descriptors again.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::good::{Good, Relogin};
use crate::support::client::Client;
use crate::support::patience::eventually;
use crate::support::process::ProxyProcess;
use crate::world::{GOOD, World, cluster, tenant};

/// All that the proxy may open.
const DESCRIPTORS: usize = 80;

/// Clients that are served meanwhile.
const CLIENTS: usize = 3;

/// Takes all descriptors `rounds` times.
pub(crate) fn attack(world: &World, rounds: u64) -> u64 {
    let mut text = "[server]\nlisten = ['127.0.0.1:0']\nworkers = 1\nmax_clients = 70\n\
                    [auth]\nsecret = 'of the tests, long enough for salts'\n"
        .to_owned();
    text += &cluster("main", world.good.port);
    text += &tenant(GOOD, "main", &world.good, "{ size = 2, min_size = 2 }");
    let file = world.write("shortage.toml", &text);
    let proxy = ProxyProcess::start_with_descriptors(&file, DESCRIPTORS);
    let good = Good::default();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let account = super::GOOD_CLIENTS + client;
            let (good, proxy) = (&good, &proxy);
            scope.spawn(move || good.run(proxy.address(), GOOD, account, Relogin::Never));
        }
        eventually("they are served", || good.transactions() > 100);
        let before = held(&proxy, &good);
        for _ in 0..rounds {
            take_all(&proxy, &good);
            let mut newcomer = Client::connect(proxy.address(), GOOD, &[]).expect("a login");
            assert_eq!(newcomer.value("SELECT 1"), "1");
            drop(newcomer);
            eventually("descriptors are back", || held(&proxy, &good) <= before);
        }
        good.end();
    });
    assert_eq!(good.failures(), Vec::<String>::new());
    rounds
}

fn held(proxy: &ProxyProcess, good: &Good) -> usize {
    let _held = good.hold();
    proxy.descriptors()
}

/// More connections than there are descriptors; those that are logged in notice nothing.
fn take_all(proxy: &ProxyProcess, good: &Good) {
    let all: Vec<TcpStream> = (0..2 * DESCRIPTORS)
        .map(|_| TcpStream::connect(proxy.address()).expect("the kernel takes it"))
        .collect();
    eventually("there is none left", || {
        proxy.descriptors() >= DESCRIPTORS - 1
    });
    let (before, begin) = (good.transactions(), Instant::now());
    eventually("the others go on", || good.transactions() > before + 200);
    assert!(begin.elapsed() < Duration::from_secs(20));
    drop(all);
}
