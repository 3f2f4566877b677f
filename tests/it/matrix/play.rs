//! One performance of a kind: its owner and two others take turns, and all is written down.
//!
//! The same play is performed on direct connections and through a pooler. The first of the others
//! has settings of its own (if asked for), the second has none; in the end their owner leaves and a new session
//! comes.

use std::io;

use super::kind::{Act, Kind, Protocol, Who};
use super::session::{Heard, Session};
use crate::support::client::Client;

/// What the first of the others sets before its owner begins.
pub const OWN: &[&str] = &[
    "SET work_mem = '3MB'",
    "SET my.other = 'other'",
    "SET TimeZone = 'Asia/Kolkata'",
    "SET application_name = 'other'",
];

/// What a session said, and what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// For people, and to find the other end of a comparison.
    pub said: String,
    /// The reply, line by line; texts of errors follow their SQLSTATE.
    pub reply: Vec<String>,
}

/// Everything that was said.
#[derive(Debug, Default)]
pub struct Transcript {
    /// By the owner.
    pub owner: Vec<Entry>,
    /// By all others.
    pub others: Vec<Entry>,
    /// One of the others had to wait in vain for a server connection.
    pub waited: bool,
    /// The last of them did.
    pub waits: bool,
}

/// How many server connections there are for the sessions of a play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// No pooler.
    Own,
    /// Two, one of which is always held by a transaction of somebody else: owner and others share
    /// the free one, and which one that is changes after each step.
    One,
    /// One for each of them.
    Three,
}

/// Where sessions log in.
pub trait Place {
    /// Logs in.
    fn log_in(&self, startup: &[(&str, &str)]) -> io::Result<Client>;

    /// Waits until a session that was dropped has left, and these are there.
    fn wait_for_leaving(&self, _left: usize) {}

    /// How many server connections there may be.
    fn room(&self) -> Room {
        Room::Own
    }
}

/// What is performed.
#[derive(Debug, Clone, Copy)]
pub struct Script<'a> {
    /// The kind of state.
    pub kind: &'a Kind,
    /// How all statements are sent.
    pub protocol: Protocol,
    /// Name of database and role.
    pub me: &'a str,
    /// What the first of the others sets before the owner begins.
    pub own: &'a [&'a str],
}

/// A performance.
struct Play<'a> {
    script: Script<'a>,
    place: &'a dyn Place,
    transcript: Transcript,
    others: Vec<Session>,
    /// Each holds a server connection in turn, the second one first.
    holders: Vec<Session>,
    turns: usize,
}

/// Performs it.
pub fn play(script: Script<'_>, place: &dyn Place) -> Transcript {
    let mut play = Play {
        script,
        place,
        transcript: Transcript::default(),
        others: Vec::new(),
        holders: Vec::new(),
        turns: 0,
    };
    if let Err(e) = play.perform() {
        let reply = vec![format!("error {e}")];
        let said = "logs in".to_owned();
        play.transcript.owner.push(Entry { said, reply });
    }
    play.transcript
}

impl Play<'_> {
    fn perform(&mut self) -> io::Result<()> {
        for _ in 0..2 {
            self.others.push(self.log_in(&[])?);
            if self.place.room() == Room::One {
                self.holders.push(self.log_in(&[])?);
            }
        }
        if let Some(last) = self.holders.last_mut() {
            hold(last);
        }
        for sql in self.script.own {
            let heard = self.others[0].say(sql);
            self.note_other(0, sql, heard);
        }
        let startup: Vec<(&str, String)> = self
            .script
            .kind
            .startup
            .iter()
            .map(|(name, value)| (*name, value.replace("{me}", self.script.me)))
            .collect();
        let startup: Vec<(&str, &str)> = startup.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let mut owner = self.log_in(&startup)?;
        let parameters = owner.parameters();
        self.note_owner("logs in", parameters);
        self.steps(&mut owner);
        self.looks(&mut owner);
        self.note_news(&mut owner);
        if self.place.room() == Room::Three {
            // So that the newcomer gets the owner's, if anybody gets it.
            for other in &mut self.others {
                hold(other);
            }
        }
        drop(owner);
        let left = self.others.len() + self.holders.len();
        self.place.wait_for_leaving(left);
        self.newcomer()
    }

    fn log_in(&self, startup: &[(&str, &str)]) -> io::Result<Session> {
        let client = self.place.log_in(startup)?;
        Ok(Session::new(client, self.script.protocol, self.script.me))
    }

    fn steps(&mut self, owner: &mut Session) {
        for (who, act) in &self.script.kind.steps {
            if *who == Who::Other {
                let heard = self.others[0].act(act);
                self.note_other(0, &act.told(), heard);
                continue;
            }
            if matches!(act, Act::Hear) && self.transcript.waited {
                continue;
            }
            let heard = owner.act(act);
            self.note_owner(&act.told(), heard.lines);
            if heard.status == 'I' && !matches!(act, Act::Hear) {
                self.turn();
                self.swap();
            }
        }
    }

    /// Owner and others look, twice.
    fn looks(&mut self, owner: &mut Session) {
        for _ in 0..2 {
            for sql in &self.script.kind.looks {
                let heard = owner.say(sql);
                self.note_owner(sql, heard.lines);
            }
            self.turn();
            self.swap();
        }
        if self.transcript.waited {
            self.transcript.waited = false;
            self.turn();
            self.transcript.waits = std::mem::replace(&mut self.transcript.waited, true);
        }
    }

    /// The others look, first the one without settings of its own, next time the other one;
    /// nobody does any more once one had to wait.
    fn turn(&mut self) {
        self.turns += 1;
        let order = [[0, 1], [1, 0]][self.turns % 2];
        for who in order {
            for sql in &self.script.kind.looks {
                if !self.transcript.waited {
                    let heard = self.others[who].say(sql);
                    self.note_other(who, sql, heard);
                }
            }
        }
    }

    /// The free server connection is held from now on, and the other one is free.
    fn swap(&mut self) {
        let [free, held] = &mut self.holders[..] else {
            return;
        };
        if !self.transcript.waited {
            self.transcript.waited = hold(free).failed_with("53300");
            held.say("COMMIT");
            self.holders.swap(0, 1);
        }
    }

    fn newcomer(&mut self) -> io::Result<()> {
        let mut newcomer = self.log_in(&[])?;
        for _ in 0..2 {
            for sql in &self.script.kind.looks {
                let reply = newcomer.say(sql).lines;
                let said = format!("a new session, after its owner has left: {sql}");
                self.transcript.others.push(Entry { said, reply });
            }
            self.swap();
        }
        Ok(())
    }

    fn note_owner(&mut self, said: &str, reply: Vec<String>) {
        let said = format!("its owner: {said}");
        self.transcript.owner.push(Entry { said, reply });
    }

    fn note_other(&mut self, who: usize, said: &str, heard: Heard) {
        if heard.failed_with("53300") {
            self.transcript.waited = true;
            return;
        }
        let said = format!("other {}, turn {}: {said}", who + 1, self.turns);
        let reply = heard.lines;
        self.transcript.others.push(Entry { said, reply });
    }

    fn note_news(&mut self, owner: &mut Session) {
        let news = std::mem::take(&mut owner.news);
        self.note_owner("notifications", news);
        for other in &mut self.others {
            let reply = std::mem::take(&mut other.news);
            let said = "notifications of another session".to_owned();
            self.transcript.others.push(Entry { said, reply });
        }
    }
}

/// Takes a server connection; a BEGIN alone need not.
fn hold(session: &mut Session) -> Heard {
    session.say("BEGIN");
    session.say("SELECT 1")
}
