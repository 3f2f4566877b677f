//! Clients and servers that keep to the protocol, in any dialogue, chunking and interleaving.
//!
//! Each client sees what a server of its own would have said, in order and once, and nothing else;
//! a server connection changes hands only when it is idle indeed: `tests/model`. Among them may be
//! clients that keep to nothing: the others do not notice.

use tenantry::config::{PoolMode, ResetWhen};
use tenantry::session::{Catalog, Openings};

use super::input::Input;
use super::model::dialogue::{
    CopyEnd, CopyStyle, NAMES, Op, Script, TEXTS, bind, execute, message, parse, query,
    script_from, wild,
};
use super::model::dice::Dice;
use super::model::driver::{Driver, Terms};

/// Requests of one client.
const MOST: usize = 40;

pub fn session(data: &[u8]) {
    dialogue(data, Openings::Passed);
    dialogue(data, Openings::Held);
}

/// What clients see is the same wherever a transaction block is opened.
fn dialogue(data: &[u8], openings: Openings) {
    let mut input = Input::new(data);
    let terms = Terms {
        mode: input.one_of(&[
            PoolMode::Transaction,
            PoolMode::Transaction,
            PoolMode::Session,
        ]),
        reset: input.one_of(&[ResetWhen::Dirty, ResetWhen::Always]),
        catalog: vec![Catalog::CLEAN, Catalog::UNKNOWN].swap_remove(input.below(2)),
        links: 1 + input.below(2),
        limit: 1 + input.below(4),
        openings,
    };
    let clients = 1 + input.below(3);
    let scripts: Vec<Script> = (0..clients).map(|_| client(&mut input)).collect();
    let dice = Dice::of_bytes(input.rest());
    if terms.mode == PoolMode::Session {
        Driver::of_sessions(scripts, dice).run();
    } else {
        Driver::new(scripts, terms, dice).run();
    }
}

/// One that keeps to the protocol, or one that does not.
fn client(input: &mut Input<'_>) -> Script {
    let set = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let start = match input.below(6) {
        0 => return wild((0..input.below(16)).map(|_| anything(input)).collect()),
        1 => set("work_mem", "0"),
        2 => set("timezone", "B"),
        _ => Vec::new(),
    };
    let length = input.below(MOST);
    let ops: Vec<Op> = (0..length).map(|_| op(input)).collect();
    script_from(&start, &ops)
}

/// A message with any body, or a piece of one.
fn anything(input: &mut Input<'_>) -> Vec<u8> {
    let tag = input.one_of(b"QQPBDCESHFdcfX");
    let body = input.part();
    match input.below(8) {
        0 => body.to_vec(),
        1 | 2 => message(tag, &[body]),
        3 => message(tag, &[body, b"\0"]),
        4 => query(TEXTS[input.below(TEXTS.len())]),
        5 => parse(NAMES[input.below(4)], &String::from_utf8_lossy(body)),
        6 => bind(NAMES[input.below(2)], NAMES[input.below(4)]),
        _ => execute(NAMES[input.below(2)]),
    }
}

fn op(input: &mut Input<'_>) -> Op {
    let kind = input.below(18);
    let mut name = || input.below(NAMES.len());
    match kind {
        0 => Op::Query(input.below(TEXTS.len())),
        1 => Op::Several(input.below(TEXTS.len()), input.below(TEXTS.len())),
        2 => Op::Deallocate(name()),
        3 => Op::Discard,
        4 => Op::Parse(name(), input.below(TEXTS.len())),
        5 => Op::Bind(input.below(2), input.below(NAMES.len())),
        6 => Op::DescribeStatement(name()),
        7 => Op::DescribePortal(input.below(2)),
        8 => Op::Execute(input.below(2)),
        9 => Op::CloseStatement(name()),
        10 => Op::ClosePortal(input.below(2)),
        11 => Op::Whole(name(), input.below(TEXTS.len())),
        12 => Op::Flush,
        13 => Op::Call,
        14 => {
            let style = input.one_of(&[
                CopyStyle::Simple,
                CopyStyle::SyncThenWait,
                CopyStyle::SyncThenData,
                CopyStyle::Pipelined,
                CopyStyle::SimpleThenData,
                CopyStyle::SimpleSyncThenData,
            ]);
            let end = input.one_of(&[CopyEnd::Done, CopyEnd::Fail, CopyEnd::BadData]);
            Op::Copy(style, end)
        }
        15 => Op::StrayCopyData,
        16 => Op::Wait,
        _ => Op::Sync,
    }
}
