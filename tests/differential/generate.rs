//! Makes sequences. The generator keeps a rough model of the sessions, so that most of what it says
//! makes sense, and of the pool, so that transactions change their server connection.
//!
//! A pool gives out the server connection that came back last. So whoever begins is preferably a
//! session that had the other one.

use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::kinds::{Kind, Pin};
use crate::sequence::{Login, Op, PROBE, SESSIONS, Sequence, Step};
use crate::texts;

/// Server connections of the pool that the model reckons with.
const POOL: usize = 2;

/// What the generator knows of a session.
#[derive(Debug, Default)]
struct Person {
    /// In a transaction of several statements.
    open: bool,
    /// Its transaction asks for the process id at its end.
    owes_probe: bool,
    /// The server connection that it has or had.
    place: Option<usize>,
    /// Named statements: which text.
    names: BTreeMap<usize, usize>,
    /// How often it has connected.
    connects: usize,
}

struct Generator<'a> {
    dice: Dice,
    kinds: &'a [Kind],
    people: Vec<Person>,
    pinner: Option<usize>,
    pinned: bool,
    /// Free server connections, the last one is given out first.
    free: Vec<usize>,
    steps: Vec<Step>,
}

/// The sequence of that number, of those kinds.
pub(crate) fn sequence(seed: u64, kinds: &[Kind]) -> Sequence {
    let mut dice = Dice::new(seed);
    let login = if dice.percent(25) {
        Login::Superuser
    } else {
        Login::Plain
    };
    let functions = kinds.iter().any(|k| k.name == "function") && dice.percent(20);
    let mut startup: Vec<_> = (0..SESSIONS).map(|_| startup(&mut dice)).collect();
    if kinds.iter().all(|k| k.name != "startup") {
        startup.iter_mut().for_each(Vec::clear);
    }
    let pins = kinds.iter().any(|k| k.pin() != Pin::No) && dice.percent(35);
    let pinner = pins.then(|| dice.below(SESSIONS));
    let mut generator = Generator {
        dice,
        kinds,
        people: (0..SESSIONS).map(|_| Person::default()).collect(),
        pinner,
        pinned: false,
        free: (0..POOL).collect(),
        steps: Vec::new(),
    };
    let length = generator.dice.between(24, 50);
    while generator.steps.len() < length {
        generator.step();
    }
    generator.finish();
    Sequence {
        seed,
        login,
        functions,
        unpin: kinds.iter().any(|k| k.name == "unpin"),
        startup,
        steps: generator.steps,
    }
}

fn startup(dice: &mut Dice) -> Vec<(&'static str, &'static str)> {
    let mut chosen: Vec<(&str, &str)> = Vec::new();
    for _ in 0..dice.of(&[0, 0, 1, 1, 2, 3]) {
        let one = dice.of(texts::STARTUP);
        if chosen.iter().all(|(name, _)| *name != one.0) {
            chosen.push(one);
        }
    }
    chosen
}

impl Generator<'_> {
    fn has(&self, name: &str) -> bool {
        self.kinds.iter().any(|k| k.name == name)
    }

    fn holds(&self, s: usize) -> bool {
        self.people[s].open || (self.pinned && self.pinner == Some(s))
    }

    fn holders(&self) -> Vec<usize> {
        (0..SESSIONS).filter(|s| self.holds(*s)).collect()
    }

    fn step(&mut self) {
        let holders = self.holders();
        let full = holders.len() >= POOL;
        let open: Vec<usize> = holders
            .iter()
            .copied()
            .filter(|s| self.people[*s].open)
            .collect();
        let idle: Vec<usize> = (0..SESSIONS).filter(|s| !self.holds(*s)).collect();
        let top = self.free.last().copied();
        let moving: Vec<usize> = idle
            .iter()
            .copied()
            .filter(|s| self.people[*s].place != top)
            .collect();
        if full || (!holders.is_empty() && self.dice.percent(45)) {
            let s = self.dice.of(&holders);
            self.go_on(s);
        } else if moving.is_empty() && !open.is_empty() && self.dice.percent(80) {
            let s = self.dice.of(&open);
            self.go_on(s);
        } else {
            let of = if moving.is_empty() || self.dice.percent(8) {
                idle
            } else {
                moving
            };
            let s = self.dice.of(&of);
            self.start(s);
        }
    }

    /// A session without a server connection does something.
    fn start(&mut self, s: usize) {
        self.take(s);
        // Whoever runs while another one is open takes turns with it.
        if self.has("transaction") && self.dice.percent(62) {
            self.begin(s);
        } else {
            self.say(s);
        }
        self.give_back(s);
    }

    fn go_on(&mut self, s: usize) {
        if !self.people[s].open {
            return if self.has("transaction") && self.dice.percent(40) {
                self.begin(s);
            } else {
                self.say(s);
            };
        }
        if self.dice.percent(30) {
            self.end(s);
        } else {
            self.say(s);
        }
        self.give_back(s);
    }

    fn take(&mut self, s: usize) {
        self.people[s].place = self.free.pop();
    }

    fn give_back(&mut self, s: usize) {
        if !self.holds(s)
            && let Some(place) = self.people[s].place
            && !self.free.contains(&place)
        {
            self.free.push(place);
        }
    }

    fn begin(&mut self, s: usize) {
        let text = self.dice.of(texts::BEGIN);
        self.put_text(s, text, Pin::No);
        self.people[s].open = true;
        let now = self.dice.percent(60);
        self.people[s].owes_probe = !now;
        if now {
            self.probe(s);
        }
    }

    fn probe(&mut self, s: usize) {
        self.push(s, vec![Op::query(PROBE)], Pin::No);
    }

    fn end(&mut self, s: usize) {
        if std::mem::take(&mut self.people[s].owes_probe) {
            self.probe(s);
        }
        let chain = self.dice.percent(6);
        let text = self.dice.of(if chain { texts::CHAIN } else { texts::END });
        self.put_text(s, text, Pin::No);
        self.people[s].open = chain;
    }

    /// Everybody comes to rest and says what is left.
    fn finish(&mut self) {
        for s in self.holders() {
            if self.people[s].open {
                self.put_text(s, "COMMIT", Pin::No);
                self.people[s].open = false;
            }
        }
        for s in 0..SESSIONS {
            self.put_text(s, texts::SETTINGS, Pin::No);
            let other = self.dice.of(texts::OBSERVE);
            self.put_text(s, other, Pin::No);
            let custom = self.dice.of(texts::CUSTOM_SHOWN);
            self.custom(s, custom);
        }
    }

    fn kind(&mut self, s: usize, of: impl Fn(&Kind) -> bool) -> Option<Kind> {
        let pinner = self.pinner == Some(s);
        let fits: Vec<Kind> = self
            .kinds
            .iter()
            .copied()
            .filter(|k| (pinner || k.pin() == Pin::No) && of(k))
            .collect();
        let total: usize = fits.iter().map(|k| k.weight).sum();
        if total == 0 {
            return None;
        }
        let mut at = self.dice.below(total);
        fits.into_iter().find(|k| {
            let hit = at < k.weight;
            at = at.saturating_sub(k.weight);
            hit
        })
    }

    fn say(&mut self, s: usize) {
        let Some(kind) = self.kind(s, |_| true) else {
            return;
        };
        match kind.name {
            "bound" => self.bound(s),
            "named" => self.named(s),
            "unnamed" => self.unnamed(s),
            "portal" => self.portal(s),
            "multi" => self.multi(s),
            "pipeline" => self.pipeline(s),
            "copy" => self.copy(s),
            "reconnect" => self.reconnect(s),
            "custom" if self.dice.percent(50) => {
                let outside = !self.people[s].open && self.dice.percent(40);
                let texts = if outside {
                    texts::CUSTOM_SHOWN_OUTSIDE
                } else {
                    texts::CUSTOM_SHOWN
                };
                let text = self.dice.of(texts);
                self.custom(s, text);
            }
            _ => {
                let text = self.dice.of(kind.texts);
                self.put_text(s, text, kind.pin());
            }
        }
    }

    /// A single statement of a kind that has texts.
    fn text(&mut self, s: usize) -> Option<(&'static str, Pin)> {
        let kind = self.kind(s, |k| !k.texts.is_empty())?;
        let text = self.dice.of(kind.texts);
        Some((text, kind.pin()))
    }

    fn fill(&self, s: usize, text: &str) -> String {
        let key = 10 * s + 100 * self.people[s].connects + 1000;
        text.replace("{s}", &s.to_string())
            .replace("{k}", &key.to_string())
    }

    fn push(&mut self, s: usize, ops: Vec<Op>, pins: Pin) {
        self.pinned |= pins != Pin::No;
        self.steps.push(Step {
            session: s,
            ops,
            pins,
            custom: false,
        });
    }

    fn put_text(&mut self, s: usize, text: &str, pins: Pin) {
        let ops = self.ways(s, text);
        self.push(s, ops, pins);
    }

    fn custom(&mut self, s: usize, text: &str) {
        let ops = self.ways(s, text);
        self.steps.push(Step {
            session: s,
            ops,
            pins: Pin::No,
            custom: true,
        });
    }

    /// One statement by one of the protocols.
    fn ways(&mut self, s: usize, text: &str) -> Vec<Op> {
        let sql = self.fill(s, text);
        match self.dice.below(10) {
            0..=5 => vec![Op::Query(vec![sql])],
            6..=7 => vec![Op::Run(sql), Op::Sync],
            _ => vec![
                Op::Parse(String::new(), sql),
                Op::DescribeStatement(String::new()),
                Op::Bind(String::new(), String::new(), Vec::new()),
                Op::DescribePortal(String::new()),
                Op::Execute(String::new(), 0),
                Op::Sync,
            ],
        }
    }

    /// The model follows what a statement in a batch does to the transaction.
    fn follow(&mut self, s: usize, text: &str) {
        if texts::BEGIN.contains(&text) {
            self.people[s].open = true;
        } else if texts::END.contains(&text) {
            self.people[s].open = false;
        }
    }

    fn batch(&mut self, s: usize) -> (Vec<String>, Pin) {
        let mut pins = Pin::No;
        let mut texts = Vec::new();
        let outside = !self.people[s].open;
        for _ in 0..self.dice.between(2, 4) {
            let control = self.has("transaction") && self.dice.percent(12);
            let (text, pinning) = if control {
                let all = if self.people[s].open {
                    texts::END
                } else {
                    texts::BEGIN
                };
                (self.dice.of(all), Pin::No)
            } else {
                match self.text(s) {
                    Some(text) => text,
                    None => continue,
                }
            };
            self.follow(s, text);
            pins = pins.max(pinning);
            if !text.is_empty() {
                texts.push(self.fill(s, text));
            }
        }
        if outside && !self.people[s].open {
            texts.push(PROBE.to_owned());
        }
        (texts, pins)
    }
}

mod protocol;
