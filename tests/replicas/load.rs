//! Clients that write, one numbered row after the other, keep account of what they were told of each,
//! and come again when they are sent away.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::frames::Frames;
use crate::world::World;

/// What a client was told of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is there.
    Written,
    /// It is there or not: the connection was lost where that could not be told.
    Unknown,
    /// It is not there: why.
    Refused(String),
}

/// What a client was told that went wrong, if it was told.
pub(crate) type Codes = BTreeMap<String, u64>;

/// The account of all clients.
#[derive(Debug)]
pub(crate) struct Load {
    stop: AtomicBool,
    /// The next number.
    next: AtomicU64,
    fates: Mutex<BTreeMap<u64, Fate>>,
    codes: Mutex<Codes>,
    /// When rows were acknowledged, by client: only the last time.
    last: Mutex<BTreeMap<usize, Instant>>,
    /// Acknowledged in all.
    acknowledged: AtomicU64,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self {
            stop: AtomicBool::new(false),
            next: AtomicU64::new(0),
            fates: Mutex::default(),
            codes: Mutex::default(),
            last: Mutex::default(),
            acknowledged: AtomicU64::new(0),
        }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// Numbers below it have been begun.
    pub(crate) fn begun(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// The client's last acknowledgement.
    pub(crate) fn last_of(&self, client: usize) -> Option<Instant> {
        self.last.lock().unwrap().get(&client).copied()
    }

    pub(crate) fn fates(&self) -> BTreeMap<u64, Fate> {
        self.fates.lock().unwrap().clone()
    }

    pub(crate) fn codes(&self) -> Codes {
        self.codes.lock().unwrap().clone()
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Writes until it is stopped.
    pub(crate) fn write(&self, world: &World, client: usize) {
        let mut connection = None;
        while !self.stop.load(Ordering::Acquire) {
            let Some(open) = connection.as_mut() else {
                match Client::connect(world.address(), &world.database.name, &[]) {
                    Ok(open) => connection = Some(open),
                    Err(error) => {
                        self.note(&told_at_login(&error));
                        // As an application does that is not in a hurry.
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
                continue;
            };
            let id = self.next.fetch_add(1, Ordering::AcqRel);
            let (fate, end) = self.one(open, id);
            if fate == Fate::Written {
                self.last.lock().unwrap().insert(client, Instant::now());
                self.acknowledged.fetch_add(1, Ordering::AcqRel);
            }
            self.fates.lock().unwrap().insert(id, fate);
            if end {
                connection = None;
            }
        }
    }

    /// Writes a row; every other one in a block of its own. What became of it, and whether the
    /// connection has ended.
    fn one(&self, client: &mut Client, id: u64) -> (Fate, bool) {
        let insert = format!("INSERT INTO acks VALUES ({id})");
        if id.is_multiple_of(2) {
            let form = if id.is_multiple_of(4) {
                Frames::default().query(&insert)
            } else {
                Frames::default().run(&insert).sync()
            };
            return match self.ask(client, &form) {
                Told::Well => (Fate::Written, false),
                Told::Failed(why) => (Fate::Refused(why), false),
                Told::Ended(_) => (Fate::Unknown, true),
            };
        }
        for sql in ["BEGIN", &insert] {
            match self.ask(client, &Frames::default().query(sql)) {
                Told::Well => {}
                Told::Failed(why) => {
                    let ended = self.ask(client, &Frames::default().query("ROLLBACK"));
                    return (Fate::Refused(why), matches!(ended, Told::Ended(_)));
                }
                Told::Ended(why) => return (Fate::Refused(why), true),
            }
        }
        match self.ask(client, &Frames::default().query("COMMIT")) {
            Told::Well => (Fate::Written, false),
            Told::Failed(why) => (Fate::Refused(why), false),
            Told::Ended(_) => (Fate::Unknown, true),
        }
    }

    fn ask(&self, client: &mut Client, frames: &Frames) -> Told {
        let sent = client.send(&frames.0);
        let (mut code, mut text) = (None, None);
        loop {
            match client.read() {
                Ok(message) if message.tag == b'E' => {
                    (code, text) = (message.field(b'C'), message.field(b'M'));
                }
                Ok(message) if message.tag == b'Z' => {
                    return match code {
                        None => Told::Well,
                        Some(code) => {
                            self.note(&code);
                            Told::Failed(why(&code, text))
                        }
                    };
                }
                Ok(_) => {}
                Err(error) => {
                    let hangs = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                    let nameless = if hangs { "hangs" } else { "nameless" };
                    let code = code.unwrap_or_else(|| format!("{nameless} {error} {sent:?}"));
                    self.note(&code);
                    return Told::Ended(why(&code, text));
                }
            }
        }
    }

    fn note(&self, code: &str) {
        *self
            .codes
            .lock()
            .unwrap()
            .entry(code.to_owned())
            .or_default() += 1;
    }
}

/// The answer to a request.
#[derive(Debug)]
enum Told {
    Well,
    Failed(String),
    Ended(String),
}

fn why(code: &str, text: Option<String>) -> String {
    format!("{code} {}", text.unwrap_or_default())
}

/// The SQLSTATE of a refused login, or that there was none.
fn told_at_login(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(": ") {
        Some((code, _)) if code.len() == 5 => code.to_owned(),
        _ => format!("nameless at login: {text}"),
    }
}
