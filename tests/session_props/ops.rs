//! What clients say, at random.

use proptest::prelude::*;

use super::model::dialogue::{CopyEnd, CopyStyle, NAMES, Op, TEXTS};

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let text = 0..TEXTS.len();
    let name = || 0..NAMES.len();
    let style = prop_oneof![
        Just(CopyStyle::Simple),
        Just(CopyStyle::SimpleThenData),
        Just(CopyStyle::SimpleSyncThenData),
        Just(CopyStyle::SyncThenWait),
        Just(CopyStyle::SyncThenData),
        Just(CopyStyle::Pipelined),
    ];
    let end = prop_oneof![
        Just(CopyEnd::Done),
        Just(CopyEnd::Fail),
        Just(CopyEnd::BadData)
    ];
    prop_oneof![
        3 => text.clone().prop_map(Op::Query),
        1 => (text.clone(), text.clone()).prop_map(|(a, b)| Op::Several(a, b)),
        1 => name().prop_map(Op::Deallocate),
        1 => Just(Op::Discard),
        6 => (name(), text.clone()).prop_map(|(n, t)| Op::Parse(n, t)),
        6 => (0..2usize, name()).prop_map(|(p, n)| Op::Bind(p, n)),
        3 => name().prop_map(Op::DescribeStatement),
        1 => (0..2usize).prop_map(Op::DescribePortal),
        5 => (0..2usize).prop_map(Op::Execute),
        3 => name().prop_map(Op::CloseStatement),
        1 => (0..2usize).prop_map(Op::ClosePortal),
        3 => (name(), text).prop_map(|(n, t)| Op::Whole(n, t)),
        2 => Just(Op::Flush),
        8 => Just(Op::Sync),
        1 => Just(Op::Call),
        2 => (style, end).prop_map(|(s, e)| Op::Copy(s, e)),
        1 => Just(Op::StrayCopyData),
        6 => Just(Op::Wait),
    ]
}
