//! SQL texts: what a pooler reads of them.
//!
//! Blanks change nothing, a statement that pins is found behind any other text, what is carried says
//! the same again, and time grows with the length alone.

use std::time::Duration;

use tenantry::wire::sql::{
    self, Effect, PinReason, Survey, assignment, deallocated_name, executed_name, survey,
};

/// Put before a text, it is read over and over, to see how long that takes.
const AT_LENGTH: u8 = b'~';

pub fn sql(data: &[u8]) {
    if let Some((&AT_LENGTH, text)) = data.split_first() {
        return at_length(text);
    }
    let found = survey(data);
    agree(data, found);
    let padded = [b" \n".as_slice(), data].concat();
    assert_eq!(found, survey(&padded));
    pins_behind(data);
    others(data);
    reads(data);
}

/// What may go to a standby leaves nothing behind, as far as the other reader can tell, and is found so
/// again with a hint in front of it.
fn reads(text: &[u8]) {
    let hinted = [b"/* tenantry: primary */", text].concat();
    assert_eq!(sql::hint(&hinted), Some(sql::Hint::Primary));
    let reading = sql::reads_only(text);
    if reading.is_ok() {
        // What one reader has doubts about, the tree may tell.
        let found = survey(text);
        let doubtful = found.effect == Effect::Pin(PinReason::Unknown);
        assert!(sql::may_read(text) && (doubtful || !found.several()));
        assert_eq!(reading, sql::reads_only(&hinted));
    }
}

/// What pins is found behind any text, unless that is one that the server cannot read: it runs no
/// part of it then.
fn pins_behind(text: &[u8]) {
    const MARK: &[u8] = b"a_mark";
    let marked = [text, b"\n;", MARK].concat();
    let is_closed = sql::has_word(&marked, |word| word == MARK);
    // A NUL ends the text for the server; no such text gets this far.
    if is_closed && !text.contains(&0) {
        let behind = [text, b"\n;LISTEN x"].concat();
        assert!(matches!(survey(&behind).effect, Effect::Pin(_)));
    }
}

/// What one reader says of a text fits what the others say.
fn agree(text: &[u8], found: Survey) {
    let name = deallocated_name(text);
    assert_eq!(found.effect == Effect::Deallocate, name.is_some());
    assert!(name.is_none_or(|name| name.len() <= 63));
    if let Effect::Pin(reason) = found.effect {
        assert!(found.leaves.contains(reason));
    } else {
        assert!(found.leaves.is_empty());
    }
    assert!(found.leaves.iter().all(|r| PinReason::ALL.contains(&r)));
    if found.effect == Effect::Setting {
        let carried = assignment(text).expect("a setting is one that can be said again");
        said_again(&carried);
    }
    if let Some((name, place)) = executed_name(text) {
        assert!(name.len() <= 63 && place.end <= text.len() && !place.is_empty());
    }
    assert!(!(found.transaction.is_some() && found.several()));
}

/// As `session` says it to another server connection.
fn said_again(carried: &sql::Assignment) {
    let quoted: Vec<String> = carried
        .name
        .split('.')
        .map(|part| format!("\"{part}\""))
        .collect();
    let (plain, quoted) = (&carried.name, quoted.join("."));
    let (plain, quoted) = match &carried.value {
        Some(value) => (
            format!("SET {plain} = {value}"),
            format!("SET {quoted}={value}"),
        ),
        None => (format!("RESET {plain}"), format!("RESET {quoted}")),
    };
    assert_eq!(assignment(plain.as_bytes()).as_ref(), Some(carried));
    // One statement that sets one setting, whatever the client has written.
    let said = survey(quoted.as_bytes());
    assert!(!said.several() && !said.is_doubtful() && said.sets());
}

/// Readers of which nothing is known but that they end.
fn others(text: &[u8]) {
    let _names = sql::named_settings(text);
    let _body = sql::body(text);
    let resets = sql::resets(text);
    assert!(resets.len() <= text.len());
    let _found = sql::has_word(text, |word| word == b"time");
    if let Ok(text) = std::str::from_utf8(text) {
        let _safe = sql::encoding_is_safe(text);
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let _portable = sql::is_portable(name, value);
        let _short = sql::is_short_limit(name, value);
    }
}

/// 16 KiB take a fraction of a millisecond of a processor, and more than a second where each byte has
/// all others read again.
fn at_length(piece: &[u8]) {
    const LENGTH: usize = 16 * 1024;
    if piece.is_empty() || piece.len() > 32 {
        return;
    }
    let text: Vec<u8> = piece.iter().copied().cycle().take(LENGTH).collect();
    let start = processor_time();
    let _found = survey(&text);
    others(&text);
    let took = processor_time().saturating_sub(start);
    assert!(
        took < Duration::from_millis(500),
        "{}",
        piece.escape_ascii()
    );
}

/// What this thread has had of a processor, however busy the machine is; zero where that is not told.
fn processor_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let spent = told.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(spent.unwrap_or_default())
}
