//! A TCP relay before a server, that delays what it passes on, hangs or refuses.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Passes on nothing.
const HANGS: u64 = u64::MAX;

/// How often a connection that hangs looks whether it goes on.
const LOOK: Duration = Duration::from_millis(10);

/// Ends with its connections when dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In milliseconds, for each piece of what a server answers.
    delay: AtomicU64,
    refuses: AtomicBool,
    over: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// In front of the server on that port.
    pub(crate) fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::new(State::default());
        let own = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if own.over.load(Ordering::Acquire) {
                    return;
                }
                if own.refuses.load(Ordering::Acquire) {
                    continue;
                }
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server)) {
                    own.join(client, server);
                }
            }
        });
        Self { port, state }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Passes on what the server says after so long.
    pub(crate) fn delays(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).expect("it is short");
        self.state.delay.store(millis, Ordering::Release);
    }

    /// Takes connections, and passes nothing on.
    pub(crate) fn hangs(&self) {
        self.state.delay.store(HANGS, Ordering::Release);
    }

    /// Ends all connections, and closes new ones at once.
    pub(crate) fn refuses(&self) {
        self.state.refuses.store(true, Ordering::Release);
        self.state.end();
    }

    /// As at the start. What was held is passed on.
    pub(crate) fn passes(&self) {
        self.state.refuses.store(false, Ordering::Release);
        self.state.delay.store(0, Ordering::Release);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Release);
        self.state.end();
        // Wakes the acceptor; if that fails it has ended already.
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    fn end(&self) {
        for socket in self.sockets.lock().expect("no holder panics").drain(..) {
            let _gone = socket.shutdown(Shutdown::Both);
        }
    }

    fn join(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        let mut copies = Vec::new();
        for socket in [&client, &server] {
            socket.set_nodelay(true).expect("a socket of the test");
            copies.push(socket.try_clone().expect("a socket of the test"));
        }
        let (back, forth) = (copies.pop(), copies.pop());
        let mut sockets = self.sockets.lock().expect("no holder panics");
        sockets.extend(
            [client.try_clone(), server.try_clone()]
                .into_iter()
                .flatten(),
        );
        drop(sockets);
        let (one, other) = (Arc::clone(self), Arc::clone(self));
        std::thread::spawn(move || back.map(|back| one.copy(client, back, 0)));
        std::thread::spawn(move || forth.map(|forth| other.copy(server, forth, 1)));
    }

    /// Passes on what comes from one side; `times` the delay.
    fn copy(&self, mut from: TcpStream, mut to: TcpStream, times: u64) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            while self.delay.load(Ordering::Acquire) == HANGS {
                if self.over.load(Ordering::Acquire) {
                    return;
                }
                std::thread::sleep(LOOK);
            }
            let delay = self.delay.load(Ordering::Acquire).saturating_mul(times);
            if delay > 0 && delay != HANGS {
                std::thread::sleep(Duration::from_millis(delay));
            }
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
