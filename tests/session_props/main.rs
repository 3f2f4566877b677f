//! Any legal dialogue, in any chunking and interleaving: each client sees what a server of its own
//! would have said, no server connection is lent on before it is idle, and what we believe to be
//! prepared on it is prepared.
//!
//! Cases that once failed are tests with names.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod found;
mod hostile;
#[path = "../model/mod.rs"]
mod model;
mod ops;

use model::dialogue::CopyEnd::{BadData, Done, Fail};
use model::dialogue::CopyStyle::{
    Pipelined, SimpleSyncThenData, SimpleThenData, SyncThenData, SyncThenWait,
};
use model::dialogue::Op::{
    Bind, CloseStatement, Copy, Deallocate, DescribeStatement, Execute, Flush, Parse, Query, Sync,
    Wait, Whole,
};
use model::dialogue::{Op, script};
use model::dice::Dice;
use model::driver::{Driver, Terms};
use ops::op;
use proptest::prelude::*;
use tenantry::session::Openings;

fn run(dialogues: &[Vec<Op>], links: usize, limit: usize, seed: u64) {
    // What clients see is the same wherever a transaction block is opened.
    for openings in [Openings::Passed, Openings::Held] {
        let scripts = dialogues.iter().map(|ops| script(ops)).collect();
        let terms = Terms {
            openings,
            ..Terms::new(links, limit)
        };
        Driver::new(scripts, terms, Dice::of_seed(seed)).run();
    }
}

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.and_then(|n| n.parse().ok()).unwrap_or(400),
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_client_sees_what_its_own_server_would_say(
        dialogues in proptest::collection::vec(proptest::collection::vec(op(), 1..24), 1..4),
        links in 1..3usize,
        limit in 1..5usize,
        seed in any::<u64>(),
    ) {
        run(&dialogues, links, limit, seed);
    }

    #[test]
    fn in_session_mode_nothing_gets_out_of_step(
        dialogues in proptest::collection::vec(proptest::collection::vec(op(), 1..24), 1..3),
        seed in any::<u64>(),
    ) {
        let scripts = dialogues.iter().map(|ops| script(ops)).collect();
        Driver::of_sessions(scripts, Dice::of_seed(seed)).run();
    }
}

#[test]
fn deallocate_behind_a_query_that_is_skipped() {
    let ops = [
        Whole(2, 0),
        Query(2),
        Parse(1, 4),
        Whole(0, 0),
        Bind(0, 0),
        Query(0),
        Deallocate(2),
    ];
    every_way(&[&ops], 1, 1);
}

#[test]
fn copy_to_stdout_ends_with_the_servers_copy_done() {
    let ops = [Query(9), Wait, Whole(0, 9), Wait, Query(0)];
    every_way(&[&ops], 1, 5);
}

#[test]
fn copy_done_may_be_sent_before_copy_in_response() {
    let ops = [
        Copy(Pipelined, Done),
        Whole(0, 0),
        Copy(Pipelined, Fail),
        Whole(0, 0),
    ];
    every_way(&[&ops], 1, 5);
}

#[test]
fn copy_done_may_be_sent_before_a_simple_query_is_answered() {
    for style in [SimpleThenData, SimpleSyncThenData] {
        for end in [Done, Fail, BadData] {
            for seed in 0..200 {
                run(&[vec![Copy(style, end), Whole(0, 0), Query(0)]], 1, 5, seed);
            }
        }
    }
}

#[test]
fn the_sync_that_copy_eats_is_not_counted() {
    let ops = [
        Copy(SyncThenWait, Done),
        Wait,
        Copy(SyncThenData, BadData),
        Whole(0, 0),
    ];
    every_way(&[&ops], 1, 5);
}

#[test]
fn an_earlier_error_does_not_let_the_sync_of_a_copy_go() {
    let ops = [
        Bind(0, 0),
        Sync,
        Copy(SyncThenData, Fail),
        Sync,
        Whole(0, 0),
    ];
    every_way(&[&ops], 1, 5);
}

#[test]
fn a_flush_brings_the_replies_that_are_ours() {
    let ops = [
        Whole(1, 0),
        Wait,
        Bind(0, 1),
        CloseStatement(1),
        Flush,
        Wait,
        Sync,
    ];
    every_way(&[&ops], 1, 5);
}

#[test]
fn a_notice_comes_behind_the_replies_that_are_ours() {
    let ops = [Whole(3, 0), CloseStatement(3), Query(2)];
    every_way(&[&ops], 1, 5);
}

#[test]
fn evictions_in_a_failed_batch_are_undone_in_reverse() {
    let ops = [
        Whole(1, 0),
        Bind(0, 3),
        Parse(2, 1),
        Parse(3, 0),
        Parse(0, 2),
        Sync,
        Whole(2, 1),
        Whole(3, 0),
        Bind(0, 1),
        Execute(0),
        Sync,
    ];
    every_way(&[&ops], 1, 1);
}

#[test]
fn a_name_in_a_later_batch_waits_for_its_parse() {
    let ops = [
        Parse(1, 5),
        Sync,
        Bind(0, 1),
        Sync,
        Parse(1, 0),
        Sync,
        Bind(0, 3),
        Parse(2, 0),
        Sync,
        DescribeStatement(2),
        Sync,
    ];
    every_way(&[&ops], 1, 5);
}

#[test]
fn two_taken_names_in_one_batch_leave_nothing_behind() {
    let ops = [
        Parse(1, 0),
        Parse(2, 1),
        Sync,
        Wait,
        Parse(1, 1),
        Parse(2, 1),
        Sync,
        Wait,
        Whole(0, 0),
    ];
    every_way(&[&ops], 1, 5);
}

#[test]
fn a_skipped_parse_leaves_the_unnamed_statement() {
    let ops = [
        Whole(0, 0),
        Bind(0, 3),
        Parse(0, 1),
        Sync,
        Bind(0, 0),
        Execute(0),
        Sync,
    ];
    every_way(&[&ops], 1, 5);
}

#[test]
fn names_after_deallocate_all_are_free() {
    let ops = [
        Parse(1, 11),
        Parse(2, 0),
        Bind(0, 1),
        Execute(0),
        Whole(2, 6),
        Query(7),
        Query(11),
        Whole(2, 1),
    ];
    every_way(&[&ops], 1, 5);
}

#[test]
fn an_empty_text_may_be_prepared_in_a_failed_transaction() {
    let ops = [
        Whole(1, 10),
        CloseStatement(1),
        Query(6),
        Query(4),
        Wait,
        Parse(1, 10),
        Sync,
        Query(8),
        Whole(1, 0),
    ];
    every_way(&[&ops], 1, 5);
}

#[test]
fn a_deallocate_ends_the_batch() {
    let ops = [
        Whole(1, 0),
        Bind(0, 1),
        Execute(0),
        Deallocate(1),
        Wait,
        Query(0),
    ];
    every_way(&[&ops], 1, 5);
}

#[test]
fn an_unnamed_statement_of_another_session_is_not_executed() {
    let first = [Whole(0, 0), Wait, Query(10), Whole(0, 0)];
    let second = [Bind(0, 3), Parse(0, 1), Sync, Bind(0, 0), Execute(0), Sync];
    every_way(&[&first, &second], 1, 5);
}

/// A dialogue in many chunkings and interleavings, with a session for neighbour.
fn every_way(dialogues: &[&[Op]], links: usize, limit: usize) {
    let neighbour: &[Op] = &[Bind(0, 1), Sync, Whole(0, 2), Wait, Whole(1, 1)];
    let all = dialogues.iter().chain(std::iter::once(&neighbour));
    let dialogues: Vec<Vec<Op>> = all.map(|ops| ops.to_vec()).collect();
    for seed in 0..40 {
        run(&dialogues, links, limit, seed);
    }
}
