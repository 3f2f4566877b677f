//! Properties of the survey on any text.

use proptest::prelude::*;

use super::super::lexer::{Kind, Lexer};
use super::super::{Effect, deallocated_name, survey, survey_closely};
use super::CLEAN;

/// The tokens of a text.
fn tokens(text: &str) -> Vec<&str> {
    let mut lexer = Lexer::new(text.as_bytes());
    let mut found = Vec::new();
    loop {
        let token = lexer.next();
        if matches!(token.kind, Kind::End | Kind::Doubt) {
            return found;
        }
        found.push(std::str::from_utf8(lexer.slice(token)).expect("whole characters"));
    }
}

fn some_text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "SELECT",
        "set_config",
        "(",
        ")",
        ",",
        "'a'",
        "'b'",
        "true",
        "false",
        ";",
        "SET",
        "LOCAL",
        "x",
        ".",
        "=",
        "INTO",
        "TEMP",
        "WITH",
        "HOLD",
        "AS",
        "FROM",
        "\"q\"",
        "$$s$$",
        "1",
        "$1",
        "BEGIN",
        "ATOMIC",
        "END",
        "CREATE",
        "TABLE",
        "FUNCTION",
        "pg_temp",
        "EXPLAIN",
        "ANALYZE",
        "DEALLOCATE",
        "ALL",
        "lower",
        "ON",
        "JOIN",
        "E'\\''",
    ]);
    prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn any_bytes_are_surveyed(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = survey(&bytes);
        let _ = deallocated_name(&bytes);
    }

    #[test]
    fn any_tokens_are_surveyed_the_same_in_any_spelling(
        text in some_text(),
        gaps in prop::collection::vec(prop::sample::select(vec![" ", "\n\t", "/* ; ' /* */ */", " -- (\"\n"]), 24),
        upper in any::<bool>(),
    ) {
        let expected = survey(text.as_bytes());
        let mut spelled = String::new();
        for (at, token) in tokens(&text).into_iter().enumerate() {
            let word = token.starts_with(|c: char| c.is_ascii_alphabetic()) && !token.contains('\'');
            spelled.push_str(&if word && upper { token.to_uppercase() } else { token.to_owned() });
            spelled.push_str(gaps[at % gaps.len()]);
        }
        prop_assert_eq!(survey(spelled.as_bytes()), expected, "{}", spelled);
    }

    #[test]
    fn the_short_way_finds_what_the_long_way_finds(
        text in "(SELECT|insert|Update|delete|SET) ([a-c$1; .,=/*-]|pg_temp|INTO TEMP | /\\*|mp|\\$\\$|')*",
    ) {
        prop_assert_eq!(survey(text.as_bytes()), survey_closely(text.as_bytes()), "{}", text);
    }

    #[test]
    fn a_pin_stays_whatever_comes_before_and_behind(
        before in prop::sample::select(CLEAN), after in some_text(),
    ) {
        prop_assume!(!before.contains("untermin"));
        let text = format!("{before}\n;LISTEN x;{after}");
        prop_assert!(matches!(survey(text.as_bytes()).effect, Effect::Pin(_)), "{}", text);
    }

    #[test]
    fn deallocated_name_agrees_with_the_effect(text in "(DEALLOCATE|deallocate) (PREPARE |prepare )?[a-zA-Z\"; ]{0,6}") {
        let effect = survey(text.as_bytes()).effect;
        prop_assert_eq!(effect == Effect::Deallocate, deallocated_name(text.as_bytes()).is_some(), "{}", text);
    }
}
