//! What fuzzing has found, by name: bytes of a client and of its server, as they come.

use std::rc::Rc;

use tenantry::config::{PoolMode, StateMode};
use tenantry::session::{
    Catalog, Flow, Leased, Link, Replies, Session, SettingsTable, Statements, Verdict,
};

use super::model::dialogue::CopyEnd::Done;
use super::model::dialogue::CopyStyle::SyncThenWait;
use super::model::dialogue::{Op, bind, execute, message, parse, query, script, script_from};
use super::model::dice::Dice;
use super::model::driver::{Driver, Terms};
use Op::{
    Bind, ClosePortal, CloseStatement, Copy, Deallocate, DescribePortal, Query, Sync, Wait, Whole,
};

/// A session that leases a server connection.
struct Pair {
    session: Session,
    link: Link,
    statements: Statements,
    state: StateMode,
    to_client: Vec<u8>,
}

impl Pair {
    fn new(state: StateMode) -> Self {
        let none = Rc::clone(SettingsTable::default().none());
        Self {
            session: Session::new(Rc::clone(&none), 1),
            link: Link::new(none, Vec::new()),
            statements: Statements::default(),
            state,
            to_client: Vec::new(),
        }
    }

    fn client(&mut self, input: &[u8]) {
        let mut leased = Leased {
            link: &mut self.link,
            statements: &mut self.statements,
            max_prepared: 5,
            mode: PoolMode::Transaction,
            state: self.state,
            catalog: &Catalog::CLEAN,
            pins_left: 1,
        };
        let mut scratch = Vec::new();
        let mut flow = Flow::new(input, &mut scratch);
        let step = self
            .session
            .read(input, &mut leased, &mut flow, &mut self.to_client);
        let _sent = flow.finish();
        assert_eq!((step.used, step.verdict), (input.len(), Verdict::More));
    }

    fn server(&mut self, input: &[u8]) {
        let mut scratch = Vec::new();
        let mut flow = Flow::new(input, &mut scratch);
        let mut replies = Replies {
            session: Some(&mut self.session),
            link: &mut self.link,
        };
        assert_eq!(replies.read(input, &mut flow), Ok(input.len()));
        self.to_client.extend_from_slice(flow.finish());
    }
}

#[test]
fn a_refused_query_that_an_error_skips_takes_nothing_back() {
    let mut pair = Pair::new(StateMode::Reject);
    pair.client(&parse("", "SELECT 1 syntax"));
    // The server skips it: it stands between an error and its Sync.
    pair.client(&query("LISTEN x"));
    let error = message(b'E', &[b"SERROR\0C42601\0\0"]);
    pair.server(&error);
    pair.client(&message(b'S', &[]));
    let ready = message(b'Z', &[b"I"]);
    pair.server(&ready);
    assert_eq!(pair.to_client, [error, ready].concat());
    assert!(pair.link.at_rest());
}

#[test]
fn a_refused_query_ends_the_unnamed_statement_and_no_other_request() {
    let mut pair = Pair::new(StateMode::Reject);
    pair.client(&query("LISTEN x"));
    pair.client(&parse("a", "SELECT 1"));
    pair.client(&message(b'S', &[]));
    pair.server(&message(b'E', &[b"SERROR\0C42601\0\0"]));
    pair.server(&message(b'Z', &[b"I"]));
    pair.server(&message(b'E', &[b"SERROR\0C42P01\0\0"]));
    pair.server(&message(b'Z', &[b"I"]));
    // The Parse has failed, so the name is free.
    pair.client(&parse("a", "SELECT 2"));
    pair.client(&message(b'S', &[]));
    let done = [message(b'1', &[]), message(b'Z', &[b"I"])].concat();
    pair.server(&done);
    assert!(
        pair.to_client.ends_with(&done),
        "{pair_link:?}",
        pair_link = pair.link
    );
}

#[test]
fn an_error_that_passes_in_pieces_keeps_its_length() {
    let mut pair = Pair::new(StateMode::Carry);
    pair.client(&query("SELECT 1"));
    let long = "x".repeat(100_000);
    let text = format!("SERROR\0C22012\0Mprepared statement \"tenantry_1\" {long}\0\0");
    let error = message(b'E', &[text.as_bytes()]);
    let (first, rest) = error.split_at(1_000);
    pair.server(first);
    pair.server(rest);
    assert!(pair.to_client == error);
}

#[test]
fn a_deallocate_in_an_open_batch_of_a_failed_transaction_is_answered() {
    let ops = [
        Whole(2, 8),
        Whole(3, 6),
        Wait,
        Query(3),
        Wait,
        Bind(0, 2),
        Deallocate(3),
        Query(0),
        Wait,
        Query(8),
        Query(0),
        Sync,
    ];
    super::every_way(&[&ops], 1, 1);
}

#[test]
fn what_is_pipelined_behind_a_reset_finds_the_sessions_start() {
    let zone = [("timezone".to_owned(), "B".to_owned())];
    for resets in [Op::Discard, Query(19), Op::Several(19, 0)] {
        let ops = [Query(18), Query(16), resets, Query(18), Whole(0, 18)];
        for seed in 0..40 {
            let terms = Terms::new(1, 4);
            Driver::new(vec![script_from(&zone, &ops)], terms, Dice::of_seed(seed)).run();
        }
    }
}

#[test]
fn a_ready_that_is_longer_than_it_can_be_is_none_in_its_first_piece_either() {
    let ready = message(b'Z', &[b"I", &[0; 100_000]]);
    for first in [6, 1_000, ready.len()] {
        let mut pair = Pair::new(StateMode::Carry);
        pair.client(&query("SELECT 1"));
        let mut scratch = Vec::new();
        let input = &ready[..first];
        let mut flow = Flow::new(input, &mut scratch);
        let mut replies = Replies {
            session: Some(&mut pair.session),
            link: &mut pair.link,
        };
        assert!(replies.read(input, &mut flow).is_err(), "{first} bytes");
    }
}

#[test]
fn a_server_that_begins_to_copy_twice_eats_its_syncs_once() {
    let mut pair = Pair::new(StateMode::Carry);
    pair.client(&parse("", "SELECT 1"));
    pair.client(&bind("", ""));
    pair.client(&execute(""));
    pair.client(&message(b'S', &[]));
    pair.client(&message(b'c', &[]));
    let copies = message(b'G', &[b"\0\0\0"]);
    for reply in [&message(b'1', &[]), &message(b'2', &[]), &copies, &copies] {
        pair.server(reply);
    }
    assert!(!pair.link.at_rest());
}

#[test]
fn nothing_of_ours_goes_into_the_middle_of_a_clients_message() {
    let start = [("work_mem".to_owned(), "0".to_owned())];
    let ops = [
        DescribePortal(0),
        Query(0),
        Copy(SyncThenWait, Done),
        Query(0),
        Query(0),
    ];
    for seed in 0..400 {
        let terms = Terms {
            catalog: Catalog::UNKNOWN,
            ..Terms::new(1, 1)
        };
        let script = script_from(&start, &ops);
        Driver::new(vec![script], terms, Dice::of_seed(seed)).run();
    }
}

#[test]
fn a_batch_of_nothing_but_replies_of_ours_does_not_keep_a_deallocate_waiting() {
    let ops = [
        Whole(1, 6),
        Op::Discard,
        Whole(3, 10),
        Wait,
        CloseStatement(3),
        Deallocate(1),
        Query(0),
        Wait,
        Query(8),
    ];
    super::every_way(&[&ops], 1, 1);
}

#[test]
fn a_deallocate_that_an_error_skips_leaves_the_next_one_its_flush() {
    let ops = [
        Whole(2, 0),
        Whole(3, 6),
        Op::Discard,
        Wait,
        Bind(0, 0),
        Deallocate(2),
        Sync,
        Wait,
        ClosePortal(0),
        Deallocate(2),
        Query(0),
        Wait,
        Query(8),
    ];
    super::every_way(&[&ops], 1, 1);
}

#[test]
fn a_reset_among_others_undoes_a_set_that_is_not_answered_yet() {
    let ops = [
        Query(14),
        Query(0),
        Op::Several(0, 19),
        Wait,
        Query(12),
        Wait,
        Query(12),
    ];
    super::every_way(&[&ops], 1, 1);
}

#[test]
fn a_statement_parsed_twice_in_a_batch_is_there_when_both_are_answered() {
    let zone = [("timezone".to_owned(), "B".to_owned())];
    let ops = [
        Op::Discard,
        Op::Parse(1, 3),
        Op::Parse(2, 0),
        Whole(1, 11),
        Deallocate(1),
        Query(0),
    ];
    for seed in 0..1000 {
        let terms = Terms::new(1, 1);
        Driver::new(vec![script_from(&zone, &ops)], terms, Dice::of_seed(seed)).run();
    }
}

#[test]
fn copy_data_behind_a_reset_are_not_held() {
    let mut pair = Pair::new(StateMode::Carry);
    let start = [("work_mem".to_owned(), "0".to_owned())];
    pair.session = Session::new(SettingsTable::default().intern(&start), 1);
    pair.client(&query("RESET ALL; COPY t FROM STDIN"));
    pair.server(&message(b'C', &[b"RESET\0"]));
    pair.server(&message(b'G', &[b"\0\0\0"]));
    pair.client(&message(b'd', &[b"line\n"]));
    pair.client(&message(b'c', &[]));
}

#[test]
fn a_deallocate_in_an_open_batch_behind_one_that_may_fail_waits_for_its_outcome() {
    let zone = [("timezone".to_owned(), "B".to_owned())];
    let ops = [
        Whole(2, 16),
        Whole(3, 6),
        Deallocate(3),
        Whole(2, 0),
        ClosePortal(0),
        Deallocate(2),
    ];
    for seed in 0..40 {
        let script = script_from(&zone, &ops);
        Driver::new(vec![script], Terms::new(1, 1), Dice::of_seed(seed)).run();
    }
}

#[test]
fn a_failed_transaction_is_left_by_a_rollback_that_was_read_under_other_settings() {
    let ops = [
        Op::Parse(1, 8),
        Sync,
        Whole(2, 16),
        Query(6),
        Query(3),
        Bind(0, 1),
        Op::Execute(0),
        Sync,
    ];
    for seed in 0..40 {
        let script = script_from(&[], &ops);
        Driver::new(vec![script], Terms::new(1, 1), Dice::of_seed(seed)).run();
    }
}

#[test]
fn a_parse_behind_an_execute_of_a_failed_transaction_is_refused_by_the_server() {
    let ops = [
        Op::Parse(3, 11),
        Query(6),
        Deallocate(1),
        Op::Flush,
        Whole(1, 10),
        Op::Execute(0),
        Op::Parse(2, 11),
    ];
    for seed in 0..50 {
        Driver::new(vec![script(&ops)], Terms::new(1, 2), Dice::of_seed(seed)).run();
    }
}

#[test]
fn a_reset_among_others_undoes_a_set_that_an_earlier_answer_leaves_on_its_way() {
    let ops = [
        Query(13),
        Whole(2, 16),
        Deallocate(2),
        Op::Several(19, 19),
        Op::Several(19, 19),
        Op::Call,
        Whole(1, 18),
    ];
    let zone = [("timezone".to_owned(), "B".to_owned())];
    let other = [Op::Several(19, 0), Query(0)];
    for seed in 0..3000 {
        let terms = Terms {
            catalog: Catalog::UNKNOWN,
            ..Terms::new(1, 1)
        };
        let scripts = vec![script(&ops), script_from(&zone, &other)];
        Driver::new(scripts, terms, Dice::of_seed(seed)).run();
    }
}

/// A statement that its server connection has lost is parsed again behind `ops`, which change how its
/// literal is read.
fn parsed_again_behind(ops: &[Op]) {
    // Two names share it, and one of them is deallocated.
    let before = [
        Op::Parse(1, 18),
        Op::Parse(3, 18),
        Sync,
        Deallocate(3),
        Wait,
    ];
    let again = [Bind(0, 1), Op::Execute(0), Sync, Query(18), Wait, Query(18)];
    let ops = [&before, ops, &again].concat();
    for seed in 0..400 {
        Driver::new(vec![script(&ops)], Terms::new(1, 4), Dice::of_seed(seed)).run();
    }
}

#[test]
fn a_set_on_its_way_behind_another_change_is_in_force_when_a_statement_was_parsed_again() {
    parsed_again_behind(&[Query(13), Query(16)]);
}

#[test]
fn a_set_on_its_way_behind_an_error_is_in_force_when_a_statement_was_parsed_again() {
    parsed_again_behind(&[Query(3), Query(16)]);
}

#[test]
fn a_reset_of_all_on_its_way_is_in_force_when_a_statement_was_parsed_again() {
    parsed_again_behind(&[Query(16), Query(19)]);
}

/// A name is given behind `ops`, and its statement is lost and parsed again under another setting.
fn parsed_again_after(ops: &[Op]) {
    let given = [Op::Parse(1, 18), Op::Parse(3, 18), Sync, Deallocate(3)];
    let again = [Bind(0, 1), Op::Execute(0), Sync, Query(18)];
    for between in [&[Query(16)][..], &[Wait, Query(16), Wait]] {
        let ops = [ops, &given, between, &again].concat();
        for seed in 0..400 {
            Driver::new(vec![script(&ops)], Terms::new(1, 4), Dice::of_seed(seed)).run();
        }
    }
}

#[test]
fn a_literal_behind_a_reset_on_its_way_is_read_under_it_for_ever() {
    parsed_again_after(&[Query(16), Query(17)]);
}

#[test]
fn a_literal_in_the_batch_of_a_set_is_read_under_it_for_ever() {
    parsed_again_after(&[
        Query(16),
        Wait,
        Op::Parse(0, 17),
        Bind(0, 0),
        Op::Execute(0),
    ]);
}

#[test]
fn a_literal_in_the_transaction_of_a_reset_is_read_under_it_for_ever() {
    parsed_again_after(&[Query(16), Query(6), Query(17), Query(14)]);
}

#[test]
fn a_literal_behind_a_question_that_found_nothing_is_not_read_under_the_next_set() {
    // The first question finds a value, the second finds the same.
    let asked = [Query(0), Op::Several(19, 19)];
    let set = [Op::Parse(0, 16), Bind(0, 0), Op::Execute(0), Sync];
    let given = [Op::Parse(1, 18), Op::Parse(3, 18)];
    let again = [Deallocate(3), Bind(0, 1), Op::Execute(0), Sync, Query(18)];
    let first = [Query(16), Op::Several(19, 19), Wait];
    let ops = [&first[..], &asked, &given, &set, &again].concat();
    for seed in 0..3000 {
        Driver::new(vec![script(&ops)], Terms::new(1, 4), Dice::of_seed(seed)).run();
    }
}

#[test]
fn what_a_portal_might_have_set_is_not_asked_for_behind_a_discard() {
    let start = [("work_mem".to_owned(), "0".to_owned())];
    // Nobody executes the portal, so its setting is asked for.
    let bound = [
        Whole(1, 13),
        Whole(2, 2),
        Op::Parse(2, 2),
        Whole(1, 1),
        Bind(1, 1),
    ];
    let ops = [&bound[..], &[Op::Discard, Query(12)]].concat();
    for seed in 0..4000 {
        let terms = Terms {
            reset: tenantry::config::ResetWhen::Always,
            ..Terms::new(1, 1)
        };
        Driver::new(vec![script_from(&start, &ops)], terms, Dice::of_seed(seed)).run();
    }
}
