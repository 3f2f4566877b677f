//! Each statement that is carried, one after the other: beside a session that keeps one of the two
//! server connections, a third one finds the other one free, and nothing of what was said.

use std::collections::BTreeMap;

use crate::kinds::{Kind, Pin, Role};
use crate::run::{Pair, run};
use crate::sequence::{Login, Op, SESSIONS, Sequence, Step};
use crate::texts;

/// How a statement is said.
type Way = fn(&str) -> Vec<Vec<Op>>;

fn query(sql: &str) -> Vec<Op> {
    vec![Op::query(sql)]
}

const WAYS: [(&str, Way); 7] = [
    ("alone", |sql| vec![query(sql)]),
    ("in a transaction", |sql| {
        vec![query("BEGIN"), query(sql), query("COMMIT")]
    }),
    ("in a transaction that is rolled back", |sql| {
        vec![query("BEGIN"), query(sql), query("ROLLBACK")]
    }),
    ("within a savepoint", |sql| {
        ["BEGIN", "SAVEPOINT a", sql, "RELEASE a", "COMMIT"]
            .map(query)
            .to_vec()
    }),
    ("taken back by a savepoint", |sql| {
        ["BEGIN", "SAVEPOINT a", sql, "ROLLBACK TO a", "COMMIT"]
            .map(query)
            .to_vec()
    }),
    ("beside another one in a query", |sql| {
        vec![vec![Op::Query(vec![sql.to_owned(), "SELECT 1".into()])]]
    }),
    ("prepared, used, closed", |sql| {
        let execute = Op::Execute(String::new(), 0);
        let bind = Op::Bind(String::new(), "n".into(), Vec::new());
        vec![
            vec![Op::Parse("n".into(), sql.to_owned()), Op::Sync],
            vec![bind, execute, Op::Sync],
            vec![Op::CloseStatement("n".into()), Op::Sync],
        ]
    }),
];

/// Statements that keep a server connection without need, or differ: in which ways.
pub(crate) fn pinned(pair: &mut Pair, kinds: &[Kind]) -> BTreeMap<String, Vec<&'static str>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for kind in kinds.iter().filter(|k| k.role == Role::Carried) {
        for (name, way) in WAYS {
            // All at once: if nobody waits, none of them pins.
            pair.acquire_timeout = 2000;
            if fails(pair, kind.texts, way).is_none() {
                continue;
            }
            pair.acquire_timeout = 250;
            for text in kind.texts {
                if let Some(why) = fails(pair, &[*text], way) {
                    let text = format!("{}: {text}: {why}", kind.name);
                    found.entry(text).or_default().push(name);
                }
            }
        }
    }
    if kinds.iter().any(|k| k.name == "bound") {
        pair.acquire_timeout = 2000;
        for (text, parameters) in texts::BOUND {
            if let Some(why) = bound(pair, text, parameters) {
                let text = format!("bound: {text} {parameters:?}: {why}");
                found.entry(text).or_default().push("alone");
            }
        }
    }
    found
}

fn fails(pair: &mut Pair, texts: &[&str], way: Way) -> Option<String> {
    let said = texts.iter().filter(|text| !text.is_empty());
    let said = said.map(|text| way(&text.replace("{s}", "0")));
    waits(pair, said)
}

fn bound(pair: &mut Pair, text: &str, parameters: &[&str]) -> Option<String> {
    let parameters = parameters.iter().map(|p| p.replace("{s}", "0")).collect();
    let ops = vec![
        Op::Parse(String::new(), text.to_owned()),
        Op::Bind(String::new(), String::new(), parameters),
        Op::Execute(String::new(), 0),
        Op::Sync,
    ];
    waits(pair, [vec![ops]])
}

/// How another session fares after each of them.
fn waits(pair: &mut Pair, all: impl IntoIterator<Item = Vec<Vec<Op>>>) -> Option<String> {
    let step = |session: usize, ops: Vec<Op>| Step {
        session,
        ops,
        pins: Pin::No,
        custom: false,
    };
    let mut steps = vec![step(1, query("BEGIN"))];
    for said in all {
        steps.extend(said.into_iter().map(|ops| step(0, ops)));
        // On the server connection that the other one had; and then on whichever.
        for session in [2, 0] {
            let shown = [texts::SETTINGS, "SELECT current_user, session_user"];
            let shown = shown.map(str::to_owned).to_vec();
            steps.push(step(session, vec![Op::Query(shown)]));
        }
    }
    let sequence = Sequence {
        seed: 0,
        login: Login::Plain,
        functions: false,
        unpin: false,
        startup: vec![Vec::new(); SESSIONS],
        steps,
    };
    match run(pair, &sequence) {
        Ok(_) => None,
        Err(difference) if difference.is_wait() => Some("keeps its server connection".to_owned()),
        Err(difference) => Some(format!("differs: {}", difference.first())),
    }
}
