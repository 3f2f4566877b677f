//! Peers that do not keep to the protocol: nothing panics, and what is used is never more than what
//! was given.

use std::rc::Rc;

use proptest::prelude::*;
use tenantry::config::{PoolMode, StateMode};
use tenantry::session::{
    Catalog, Flow, Leased, Link, Openings, Replies, Session, SettingsTable, Statements, Verdict,
};
use tenantry::wire::frame;

/// Who says something: a client or a server.
#[derive(Debug, Clone, Copy)]
enum Side {
    Client,
    Server,
}

fn bytes() -> impl Strategy<Value = (Side, Vec<u8>)> {
    let tag = |tags: &'static [u8]| prop::sample::select(tags);
    let body = prop_oneof![
        4 => prop::sample::select(vec![
            &b""[..],
            b"a\0select 1\0\0\0",
            b"\0select 1\0\0\0",
            b"\0copy t from stdin\0\0\0",
            b"\0a\0\0\0\0\0\0\0",
            b"\0\0\0\0\0\0\0\0",
            b"Sa\0",
            b"S\0",
            b"P\0",
            b"\0\0\0\0\0",
            b"begin\0",
            b"commit\0",
            b"deallocate a\0",
            b"deallocate all\0",
            b"I",
            b"T",
            b"E",
            b"DEALLOCATE ALL\0",
            b"SELECT 1\0",
            b"COPY 1\0",
        ]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    let message = |tags, side| {
        (tag(tags), body.clone()).prop_map(move |(tag, body)| {
            let mut out = Vec::new();
            frame::put(&mut out, tag, &[&body]);
            (side, out)
        })
    };
    let noise = prop::collection::vec(any::<u8>(), 1..12);
    prop_oneof![
        20 => message(b"QPBDCESHFdcfSSPBE", Side::Client),
        20 => message(b"123CCZZZDTtnEIsGHdcVNSA", Side::Server),
        1 => (prop_oneof![Just(Side::Client), Just(Side::Server)], noise),
    ]
}

/// Plays until one side breaks the protocol beyond repair.
fn play(said: &[(Side, Vec<u8>)], mode: PoolMode, whole: bool) {
    let table = SettingsTable::default();
    let mut session = Session::new(Rc::clone(table.none()), 1);
    let mut link = Link::new(Rc::clone(table.none()), Vec::new());
    let mut statements = Statements::default();
    let (mut client, mut server) = (Vec::new(), Vec::new());
    let mut leased = false;
    for (side, bytes) in said {
        let pieces: Vec<&[u8]> = if whole {
            vec![bytes]
        } else {
            bytes.chunks(3).collect()
        };
        for piece in pieces {
            let (mut scratch, mut answer) = (Vec::new(), Vec::new());
            match side {
                Side::Server => {
                    server.extend_from_slice(piece);
                    let mut flow = Flow::new(&server, &mut scratch);
                    let session = leased.then_some(&mut session);
                    let link = &mut link;
                    let Ok(used) = (Replies { session, link }).read(&server, &mut flow) else {
                        return;
                    };
                    let _passed = flow.finish();
                    server.drain(..used);
                }
                Side::Client => {
                    client.extend_from_slice(piece);
                    let step = if leased {
                        let mut leased = Leased {
                            link: &mut link,
                            statements: &mut statements,
                            max_prepared: 2,
                            mode,
                            state: StateMode::Carry,
                            catalog: &Catalog::CLEAN,
                            pins_left: 8,
                        };
                        let mut flow = Flow::new(&client, &mut scratch);
                        let step = session.read(&client, &mut leased, &mut flow, &mut answer);
                        let _passed = flow.finish();
                        step
                    } else {
                        {
                            let with = (&mut statements, Openings::Passed);
                            session.read_unleased(&client, with, &mut answer)
                        }
                    };
                    client.drain(..step.used);
                    match step.verdict {
                        Verdict::More | Verdict::Hold => {}
                        Verdict::Lease => leased = true,
                        Verdict::Terminate | Verdict::Fail(_) => return,
                    }
                }
            }
            leased &= !(link.at_rest() && session.at_boundary() && session.pin().is_none());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn peers_that_break_the_protocol_break_nothing_else(
        said in prop::collection::vec(bytes(), 1..40),
        mode in prop_oneof![Just(PoolMode::Transaction), Just(PoolMode::Session)],
        whole in any::<bool>(),
    ) {
        play(&said, mode, whole);
    }
}
