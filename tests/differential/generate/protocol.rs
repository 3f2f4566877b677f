//! What needs more than one message, or more than a text.

use super::Generator;
use crate::kinds::Pin;
use crate::sequence::Op;
use crate::texts;

impl Generator<'_> {
    fn fill_all(&self, s: usize, texts: &[&str]) -> Vec<String> {
        texts.iter().map(|t| self.fill(s, t)).collect()
    }

    pub(super) fn bound(&mut self, s: usize) {
        let (text, parameters) = self.dice.of(texts::BOUND);
        let parameters = self.fill_all(s, parameters);
        let mut ops = vec![
            Op::Parse(String::new(), text.to_owned()),
            Op::Bind(String::new(), String::new(), parameters),
            Op::Execute(String::new(), 0),
            Op::Sync,
        ];
        if self.dice.percent(40) {
            ops.insert(1, Op::DescribeStatement(String::new()));
        }
        self.push(s, ops, Pin::No);
    }

    /// Prepares, uses, or closes a named statement.
    pub(super) fn named(&mut self, s: usize) {
        let mut ops = self.named_ops(s);
        if self.dice.percent(30) {
            ops.extend(self.named_ops(s));
        }
        ops.push(Op::Sync);
        self.push(s, ops, Pin::No);
    }

    fn named_ops(&mut self, s: usize) -> Vec<Op> {
        let number = self.dice.below(3);
        let name = format!("n{number}");
        let known = self.people[s].names.get(&number).copied();
        let mut ops = Vec::new();
        if known.is_some() && self.dice.percent(15) {
            ops.push(Op::CloseStatement(name.clone()));
            self.people[s].names.remove(&number);
            if self.dice.percent(50) {
                return ops;
            }
        }
        let known = self.people[s].names.get(&number).copied();
        let prepares = known.is_none() && self.dice.percent(94) || self.dice.percent(2);
        let which = if prepares {
            self.dice.below(texts::NAMED.len())
        } else {
            known.unwrap_or(0)
        };
        let (text, parameters) = texts::NAMED[which];
        if prepares {
            ops.push(Op::Parse(name.clone(), self.fill(s, text)));
            self.people[s].names.entry(number).or_insert(which);
        }
        if self.dice.percent(25) {
            ops.push(Op::DescribeStatement(name.clone()));
        }
        if !prepares || self.dice.percent(60) {
            let parameters = self.fill_all(s, parameters);
            ops.push(Op::Bind(String::new(), name, parameters));
            if self.dice.percent(30) {
                ops.push(Op::DescribePortal(String::new()));
            }
            ops.push(Op::Execute(String::new(), 0));
        }
        ops
    }

    /// The unnamed statement outlives its transaction, until the next Parse or Query.
    pub(super) fn unnamed(&mut self, s: usize) {
        let mut ops = Vec::new();
        if self.dice.percent(50) {
            let alone = texts::NAMED
                .iter()
                .filter(|(_, parameters)| parameters.is_empty());
            let alone: Vec<&str> = alone.map(|(text, _)| *text).collect();
            let text = self.dice.of(&alone);
            ops.push(Op::Parse(String::new(), self.fill(s, text)));
        } else {
            if self.dice.percent(30) {
                ops.push(Op::DescribeStatement(String::new()));
            }
            ops.push(Op::Bind(String::new(), String::new(), Vec::new()));
            ops.push(Op::Execute(String::new(), 0));
        }
        ops.push(Op::Sync);
        self.push(s, ops, Pin::No);
    }

    /// A portal that is read in pieces: it lives as long as its transaction.
    pub(super) fn portal(&mut self, s: usize) {
        let portal = self.dice.of(&["p0", "p1"]).to_owned();
        let mut ops = Vec::new();
        if self.dice.percent(60) {
            let sql = "SELECT * FROM public.items ORDER BY id".to_owned();
            ops.push(Op::Parse(String::new(), sql));
            ops.push(Op::Bind(portal.clone(), String::new(), Vec::new()));
        }
        if self.dice.percent(30) {
            ops.push(Op::DescribePortal(portal.clone()));
        }
        ops.push(Op::Execute(portal.clone(), 2));
        if self.dice.percent(50) {
            ops.push(Op::Execute(portal.clone(), 2));
        }
        if self.dice.percent(20) {
            ops.push(Op::ClosePortal(portal));
        }
        ops.push(Op::Sync);
        self.push(s, ops, Pin::No);
    }

    /// Several statements in one Query.
    pub(super) fn multi(&mut self, s: usize) {
        let (texts, pins) = self.batch(s);
        self.push(s, vec![Op::Query(texts)], pins);
    }

    /// Several statements before one Sync, or each with its own, in one packet.
    pub(super) fn pipeline(&mut self, s: usize) {
        let (texts, pins) = self.batch(s);
        let mut ops = Vec::new();
        let syncs = self.dice.percent(30);
        for sql in texts {
            match self.dice.below(8) {
                0 if syncs => {
                    if !matches!(ops.last(), None | Some(Op::Sync | Op::Query(_))) {
                        ops.push(Op::Sync);
                    }
                    ops.push(Op::query(&sql));
                }
                1 => {
                    ops.push(Op::Parse(String::new(), sql));
                    ops.push(Op::DescribeStatement(String::new()));
                    ops.push(Op::Bind(String::new(), String::new(), Vec::new()));
                    ops.push(Op::Execute(String::new(), 0));
                }
                _ => ops.push(Op::Run(sql)),
            }
            if syncs && self.dice.percent(50) {
                ops.push(Op::Sync);
            }
        }
        if self.has("named") && self.dice.percent(45) {
            ops.extend(self.named_ops(s));
        }
        ops.push(Op::Sync);
        self.push(s, ops, pins);
    }

    pub(super) fn copy(&mut self, s: usize) {
        let out = self.dice.of(&[
            "COPY t{s} TO STDOUT",
            "COPY (SELECT * FROM items ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)",
            "COPY (SELECT '2024-01-02 00:00'::timestamptz) TO STDOUT",
            "COPY (SELECT 1/(3 - i) FROM generate_series(1, 5) i) TO STDOUT",
            "COPY no_such_table TO STDOUT",
        ]);
        let into = self.dice.of(&[
            "COPY t{s} FROM STDIN",
            "COPY t{s} (id, name) FROM STDIN WITH (FORMAT csv)",
            "COPY no_such_table FROM STDIN",
        ]);
        let extended = self.dice.percent(40);
        let says = |sql: String| {
            if extended {
                Op::Run(sql)
            } else {
                Op::query(&sql)
            }
        };
        let mut ops = Vec::new();
        if self.dice.percent(40) {
            ops.push(says(self.fill(s, out)));
        } else {
            ops.push(says(self.fill(s, into)));
            let separator = if into.contains("csv") { "," } else { "\t" };
            for row in 0..self.dice.below(3) {
                let id = if self.dice.percent(15) {
                    "x".into()
                } else {
                    (30 + row).to_string()
                };
                ops.push(Op::CopyData(format!("{id}{separator}copied\n")));
            }
            ops.push(if self.dice.percent(15) {
                Op::CopyFail
            } else {
                Op::CopyDone
            });
        }
        if extended {
            ops.push(Op::Sync);
        }
        self.push(s, ops, Pin::No);
    }

    pub(super) fn reconnect(&mut self, s: usize) {
        self.push(s, vec![Op::Reconnect], Pin::No);
        let person = &mut self.people[s];
        person.names.clear();
        person.connects += 1;
        person.open = false;
        person.owes_probe = false;
        if self.pinner == Some(s) {
            self.pinned = false;
        }
    }
}
