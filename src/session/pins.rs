//! What keeps a session on its server connection, and what is asked when its transaction is over.
//!
//! What a statement may leave is noted when it is sent. A setting whose value the text does not
//! tell is asked for by name; an object (a temporary table, a lock ..) pins until an
//! [`super::inquiry::Inquiry`] finds that none is there. What cannot be asked for pins to the end.

use super::carry::MOST;
use super::catalog::Suspicion;
use super::inquiry::{Answer, Inquiry, Objects};
use super::settings::{Given, SettingChange, is_frozen};
use super::statement::Statement;
use super::{Leased, Session};
use crate::config::{PoolMode, StateMode};
use crate::error::{ClientError, SqlState};
use crate::wire::sql::{
    Body, Effect, Named, PinReason, Reasons, Survey, body, has_word, is_portable, named_settings,
    resets,
};

/// Whose cause can be looked for.
const OBJECTS: Reasons = Reasons::of(&[
    PinReason::Listen,
    PinReason::TemporaryTable,
    PinReason::HoldCursor,
    PinReason::AdvisoryLock,
    PinReason::Prepare,
]);

/// What may have left anything that can be looked for.
const ANYTHING: Reasons = Reasons::of(&[
    PinReason::Function,
    PinReason::Do,
    PinReason::Call,
    PinReason::Unknown,
    PinReason::LargeStatement,
]);

const SETTINGS: Reasons = Reasons::of(&[PinReason::Setting, PinReason::Role]);

/// A statement that is about to be sent: its text, and the Bind that gives it parameters.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) survey: &'a Survey,
    pub(super) text: Text<'a>,
    /// Body of the Bind message.
    pub(super) bind: &'a [u8],
}

/// Where a statement's text is.
#[derive(Clone, Copy)]
pub(super) enum Text<'a> {
    Query(&'a [u8]),
    Statement(&'a Statement),
}

impl Sent<'_> {
    fn text(&self) -> &[u8] {
        match self.text {
            Text::Query(text) => text,
            Text::Statement(statement) => statement.text(),
        }
    }
}

impl Session {
    /// Why it keeps its lease, if it does.
    #[inline]
    pub fn pin(&self) -> Option<PinReason> {
        self.pins.first()
    }

    /// It has names whose texts were read under settings that it has no longer: elsewhere they
    /// would be read otherwise. Ends with the last of them.
    fn pin_names(&mut self) {
        self.reread = true;
        self.pins = self.pins.with(PinReason::Setting);
    }

    /// Names whose texts were read under settings that nobody can tell any more.
    fn has_unread_names(&self) -> bool {
        let unread = |s: &Statement| s.told.read_under.get().is_none();
        self.names.any(|s| unread(s) && s.reads_literals())
    }

    /// The transaction is over in which settings changed by which texts are read.
    #[cold]
    fn settle_names(&mut self) {
        if self.frozen && self.has_unread_names() {
            self.pin_names();
        } else if self.unsure {
            // What functions may have set was asked for, and is none of it.
            for (_, statement) in self.names.iter() {
                statement.read_under(&self.settings);
            }
        }
        self.unsure = false;
        self.frozen = false;
        self.frozen_locally = false;
    }

    /// Whether it need not stay any more although nothing is to be asked.
    #[cold]
    pub fn is_released(&mut self) -> bool {
        if self.reread && !self.has_unread_names() {
            self.reread = false;
            if !self.fixed {
                self.pins = self.pins.without(SETTINGS);
            }
        }
        self.pins.is_empty()
    }

    /// It must stay for that reason, whatever is found.
    pub(super) fn pin_for_good(&mut self, reason: PinReason) {
        self.pins = self.pins.with(reason);
        self.fixed = true;
    }

    /// Takes note of what a statement may leave behind. An error: it must not be sent.
    #[inline]
    pub(super) fn note(&mut self, sent: Sent<'_>, leased: &Leased<'_>) -> Result<(), ClientError> {
        let survey = sent.survey;
        if survey.sets_locally() {
            self.note_local(sent.text(), leased.state);
        }
        let begins_or_commits = survey.transacts() && (survey.begins_block() || survey.commits());
        let changes = !survey.reaches() && !begins_or_commits || !survey.leaves.is_empty();
        if (self.local || self.fixed) && changes {
            self.epoch = self.epoch.wrapping_add(1);
        }
        if survey.makes_savepoint() {
            self.note_savepoint();
        }
        let quiet = survey.leaves.is_empty()
            && survey.effect != Effect::Setting
            && self.pins.is_empty()
            && !(survey.several() && survey.calls_foreign())
            && leased.catalog.is_clean();
        if quiet || leased.state == StateMode::Ignore {
            return Ok(());
        }
        self.note_state(sent, leased)
    }

    /// A setting changes until the end of the transaction.
    fn note_local(&mut self, text: &[u8], state: StateMode) {
        self.parse_for_itself();
        if state == StateMode::Ignore {
            return;
        }
        let frozen = |word: &[u8]| str::from_utf8(word).is_ok_and(is_frozen) || word == b"time";
        self.frozen_locally |= has_word(text, frozen);
        self.frozen |= self.frozen_locally;
    }

    #[cold]
    fn note_state(&mut self, sent: Sent<'_>, leased: &Leased<'_>) -> Result<(), ClientError> {
        let survey = sent.survey;
        let mut reasons = survey.leaves;
        if leased.state == StateMode::Reject
            && let Some(reason) = reasons
                .first()
                .or((survey.effect == Effect::Setting).then_some(PinReason::Setting))
        {
            return Err(rejected(reason));
        }
        if leased.mode == PoolMode::Session {
            self.undiscardable |= reasons.iter().any(|reason| !reason.discardable());
            self.pins = self.pins.and(reasons);
            return Ok(());
        }
        if survey.several() && survey.calls_foreign() {
            // It may have made the function itself.
            reasons = reasons.with(PinReason::Function);
        }
        let suspicion = leased.catalog.suspicion(survey, sent.text());
        if suspicion != Suspicion::None {
            reasons = reasons.with(PinReason::Function);
        }
        if leased.link.routed
            && let Some(reason) = reasons.without(ANYTHING).without(SETTINGS).first()
        {
            return Err(not_on_a_replica(reason));
        }
        let opaque = suspicion == Suspicion::Opaque;
        if reasons.contains(PinReason::Prepare) {
            // What it prepares may be run at any time.
            self.prepares_anything |= !reasons.without(OBJECTS).is_empty();
        }
        if survey.executes() && self.prepares_anything {
            reasons = reasons.with(PinReason::Function);
        }
        let kept = reasons.without(ANYTHING).without(SETTINGS);
        if self.pins.is_empty() && (opaque || !kept.is_empty()) && leased.pins_left == 0 {
            return Err(too_many_pins());
        }
        self.fixed |= opaque;
        self.note_reasons(reasons, sent, leased);
        let large = self.pins.contains(PinReason::LargeStatement);
        let released = !self.pins.is_empty() && (survey.releases() || large);
        self.doubt |= !reasons.is_empty() || released;
        Ok(())
    }

    fn note_reasons(&mut self, mut reasons: Reasons, sent: Sent<'_>, leased: &Leased<'_>) {
        if sent.survey.several() && !self.start.list().is_empty() {
            let mut restarted = resets(sent.text());
            restarted.retain(|name| self.start.start(name).is_some());
            if !restarted.is_empty() {
                let changes = self.changes.get_or_insert_default();
                changes.restarted.extend(restarted);
            }
        }
        if reasons != reasons.without(SETTINGS) && self.ask(named_settings(sent.text()), sent.bind)
        {
            reasons = reasons.without(SETTINGS);
        }
        if reasons.contains(PinReason::Do) {
            let read = body(sent.text()).filter(|body| !body.opaque);
            let asked = read.is_some_and(|Body { names, .. }| self.ask(names, sent.bind));
            self.fixed |= !asked;
        }
        if sent.survey.is_doubtful() {
            // What cannot be read may set what cannot be named.
            let text = sent.text();
            self.fixed |= text
                .windows(3)
                .any(|part| part.eq_ignore_ascii_case(b"set"));
        }
        let anything = reasons != reasons.without(ANYTHING);
        if anything {
            self.anything = true;
            self.parse_for_itself();
            self.unsure = true;
            let settings = leased.catalog.settings().iter().take(MOST / 2).cloned();
            let roles = ["session_authorization", "role"].map(str::to_owned);
            self.ask_for(settings.chain(roles));
        }
        self.fixed |= !reasons.without(ANYTHING).without(OBJECTS).is_empty();
        self.undiscardable |= reasons.iter().any(|reason| !reason.discardable());
        self.pins = self.pins.and(reasons);
    }

    /// The settings whose names a text tells are asked for; false: it does not tell.
    fn ask(&mut self, names: Option<Vec<Named>>, bind: &[u8]) -> bool {
        let resolve = |named: Named| match named {
            Named::Text(name) => Some(name),
            // A name that is not there is none that can be set.
            Named::Parameter(number) => parameter(bind, number).map(|n| n.to_ascii_lowercase()),
        };
        let Some(names) = names else { return false };
        let names: Vec<String> = names.into_iter().filter_map(resolve).collect();
        if names.iter().any(|name| name == "seed") {
            self.undiscardable = true;
            return false;
        }
        self.ask_for(names.into_iter());
        true
    }

    /// Asks for all that a text names.
    pub(super) fn ask_by_text(&mut self, text: &[u8]) {
        if !self.ask(named_settings(text), &[]) {
            self.pin_for_good(PinReason::Setting);
        }
    }

    /// These settings are asked for when the transaction is over.
    pub(super) fn ask_for(&mut self, names: impl Iterator<Item = String>) {
        self.parse_for_itself();
        self.doubt = true;
        let asked = &mut self.changes.get_or_insert_default().asked;
        for name in names {
            self.frozen |= is_frozen(&name);
            if !asked.contains(&name) {
                asked.push(name);
            }
        }
    }

    /// From here on what is parsed is shared with nobody, nor with what was parsed before.
    pub(super) fn parse_for_itself(&mut self) {
        self.local = true;
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Whether something is to be asked before anybody else may have the server connection.
    #[inline]
    pub fn wonders(&mut self) -> bool {
        if (self.frozen || self.unsure) && !self.doubt {
            self.settle_names();
        }
        self.doubt
    }

    /// Whether it keeps its server connection beyond this transaction, as far as is known.
    #[inline]
    pub fn keeps(&self) -> bool {
        self.fixed || !self.pins.without(ANYTHING).is_empty()
    }

    /// Whether there are temporary tables.
    pub fn has_temporary(&self) -> bool {
        self.pins.contains(PinReason::TemporaryTable)
    }

    /// What is to be asked. From now on it counts as asked.
    pub(super) fn inquire(&mut self) -> Inquiry {
        self.doubt = false;
        let changes = self.changes.as_mut();
        let made = Inquiry {
            names: changes
                .map(|c| std::mem::take(&mut c.asked))
                .unwrap_or_default(),
            objects: !self.pins.is_empty(),
            settings: self.anything || self.verify,
            strange: std::mem::take(&mut self.anything),
            since: self.epoch,
            answer: None,
        };
        self.verify = false;
        made
    }

    /// What the server has answered.
    pub(super) fn answered(&mut self, inquiry: Inquiry) {
        let Some(answer) = inquiry.answer else {
            // Refused, cancelled: nobody knows.
            return self.pin_for_good(PinReason::Unknown);
        };
        let mut found = Vec::new();
        self.read_settings(&inquiry.names, &answer, &mut found);
        if let Some(objects) = answer.objects.filter(|_| !self.fixed) {
            // What was sent since may have made some.
            let since = if self.doubt { self.pins } else { Reasons::NONE };
            self.pins = since.and(reasons(objects));
            if self.reread {
                self.pins = self.pins.with(PinReason::Setting);
            }
            if self.unnamed.as_ref().is_some_and(|s| !s.is_kept()) {
                // It lives here alone.
                self.pins = self.pins.with(PinReason::LargeStatement);
            }
        }
        self.frozen |= self.unsure && found.iter().any(|c| c.name().is_none_or(is_frozen));
        if !found.is_empty() {
            let changes = self.changes.get_or_insert_default();
            changes.settled.extend(found);
            changes.since = Some(inquiry.since);
        }
    }

    /// Whether a setting with a startup value was reset among other statements of one text.
    fn is_restarted(&self, name: &str, value: &str) -> bool {
        let changes = self.changes.as_ref();
        let reset = changes.is_some_and(|c| c.restarted.iter().any(|n| n == name));
        reset && !self.settings.shows(name, value)
    }

    fn read_settings(&mut self, names: &[String], answer: &Answer, found: &mut Vec<SettingChange>) {
        let named = names.iter().map(String::as_str).zip(&answer.values);
        let all = answer
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value));
        let verified = |name: &str| {
            let own = name.contains('.') || matches!(name, "role" | "session_authorization");
            own || answer.settings.is_empty() && !answer.listed
                || answer.settings.iter().any(|(n, _)| n == name)
        };
        for (name, value) in named.chain(all) {
            match value {
                // The server's start is not the session's.
                Some(value) if self.is_restarted(name, value) => {
                    found.push(SettingChange::Lost(name.to_owned()));
                }
                // Some of what was to be set failed, and this is not set.
                Some(_) if !verified(name) => found.push(SettingChange::Reset(name.to_owned())),
                Some(value) if self.settings.shows(name, value) => {}
                Some(value) if !is_portable(name, value) => self.pin_for_good(PinReason::Setting),
                Some(value) if !is_none(name, value) || self.settings.start(name).is_some() => {
                    let value = Given::Raw(value.clone());
                    found.push(SettingChange::Set(name.to_owned(), value));
                }
                Some(_) | None => found.push(SettingChange::Reset(name.to_owned())),
            }
        }
        if self.settings.carried() + found.len() > 2 * MOST {
            self.pin_for_good(PinReason::Setting);
            found.clear();
        }
    }
}

/// Whether a role is nobody in particular.
fn is_none(name: &str, value: &str) -> bool {
    match name {
        "role" => value == "none",
        "session_authorization" => value.is_empty(),
        _ => false,
    }
}

fn reasons(objects: Objects) -> Reasons {
    let Objects {
        temporary,
        locks,
        cursors,
        channels,
        prepared,
    } = objects;
    [
        (temporary, PinReason::TemporaryTable),
        (locks, PinReason::AdvisoryLock),
        (cursors, PinReason::HoldCursor),
        (channels, PinReason::Listen),
        (prepared, PinReason::Prepare),
    ]
    .into_iter()
    .filter(|(there, _)| *there)
    .fold(Reasons::NONE, |all, (_, reason)| all.with(reason))
}

/// The value of a parameter in a Bind message's body, if it is there and text.
fn parameter(bind: &[u8], number: usize) -> Option<String> {
    let (_, rest) = crate::wire::frame::cstr(bind)?;
    let (_, rest) = crate::wire::frame::cstr(rest)?;
    let word = |at: usize| -> Option<usize> {
        let bytes = rest.get(at..at + 2)?.first_chunk::<2>()?;
        Some(usize::from(u16::from_be_bytes(*bytes)))
    };
    let mut at = 2 + 2 * word(0)?;
    let count = word(at)?;
    at += 2;
    for this in 1..=count {
        let bytes = rest.get(at..at + 4)?.first_chunk::<4>()?;
        at += 4;
        let Ok(len) = usize::try_from(i32::from_be_bytes(*bytes)) else {
            if this == number {
                return None;
            }
            continue;
        };
        let value = rest.get(at..at + len)?;
        if this == number {
            return std::str::from_utf8(value).ok().map(str::to_owned);
        }
        at += len;
    }
    None
}

/// What would tie the session to a replica is not done there: its writes could go nowhere then.
pub fn not_on_a_replica(reason: PinReason) -> ClientError {
    let reason = reason.as_str();
    let text = format!("this transaction is served by a replica, which cannot be kept ({reason})");
    ClientError::error(SqlState::UNSUPPORTED, text)
        .with_hint("begin it with the comment /* tenantry: primary */, or SET tenantry.route")
}

fn rejected(reason: PinReason) -> ClientError {
    let text = format!(
        "session state ({}) is not allowed in transaction pooling mode",
        reason.as_str()
    );
    ClientError::error(SqlState::UNSUPPORTED, text).with_hint(
        "use SET LOCAL and the like within a transaction, or set pool.session_state to carry",
    )
}

/// The pool has no server connection left that a session may keep for itself.
pub fn too_many_pins() -> ClientError {
    let text = "too many sessions of this pool keep a server connection for themselves";
    ClientError::error(SqlState::TOO_MANY, text)
        .with_hint("the limit is pool.max_pins; SHOW PINS on the console tells who does, and why")
}
