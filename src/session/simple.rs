//! Simple queries and function calls: what they may leave behind, and `DEALLOCATE name`, which must
//! reach the statement that the name stands for.

use std::rc::Rc;

use super::expected::{By, Expected};
use super::flow::Flow;
use super::link::{Batch, Link, Presence, Reset, TxStatus, Unnamed};
use super::message::Message;
use super::pins::{Sent, Text};
use super::route::answered_by;
use super::statement::{NAME_PREFIX, Statement};
use super::{Leased, Session, Verdict};
use crate::config::{PoolMode, StateMode};
use crate::error::{ClientError, SqlState};
use crate::wire::frame;
use crate::wire::sql::{Effect, PinReason, Survey, deallocated_name, executed_name};

impl Session {
    pub(super) fn query(
        &mut self,
        message: &Message<'_>,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) -> Result<(), Verdict> {
        let text = message
            .body()
            .split_last()
            .map_or(&[][..], |(_, text)| text);
        if let Some(sql) = answered_by(text) {
            self.query_in_its_place(sql, leased.link, flow);
            return Ok(());
        }
        let survey = message.survey(text);
        forbid_blocks(&survey, leased.mode)?;
        let shared = leased.mode != PoolMode::Session;
        let deallocates = shared && survey.effect == Effect::Deallocate;
        let name = deallocates.then(|| deallocated_name(text)).flatten();
        let executes = shared && survey.executes();
        let executed = executes.then(|| self.executed(&survey, text)).flatten();
        let named = name
            .as_deref()
            .or(executed.as_ref().map(|(name, _)| &**name));
        if let Some(name) = named {
            self.must_know(name.as_bytes(), leased, flow)?;
            self.may_prepare_first(name.as_bytes(), leased.link, flow)?;
        }
        let carries = shared && leased.state == StateMode::Carry;
        let sets = survey.effect == Effect::Setting || survey.sets();
        if carries && sets && self.restated_query(text, leased.link, flow) {
            return Ok(());
        }
        let restarted = self.restarted().len();
        // From here on it is sent: what is noted twice would be asked for ever.
        let sent = Sent {
            survey: &survey,
            text: Text::Query(text),
            bind: &[],
        };
        if let Err(error) = self.note(sent, leased) {
            self.refuse_query(&error, leased.link, flow);
            return Ok(());
        }
        self.fresh_sequences(&survey, leased, flow);
        if carries && survey.effect == Effect::Setting {
            self.set_query(text, message, leased, flow);
            return Ok(());
        }
        if survey.resets() && self.resets_all(&survey, leased, flow) {
            return Ok(());
        }
        let sent = name.is_some_and(|name| self.deallocate(&name, leased, flow))
            || executed.is_some_and(|(name, sql)| self.execute_by_name(&name, &sql, leased, flow));
        // The session's start comes behind it, ahead of the next transaction.
        let discards = survey.effect == Effect::DiscardAll && !self.start.list().is_empty();
        let loses_start = discards || self.restarted().len() > restarted;
        let link = &mut *leased.link;
        self.begin_query(link);
        link.commit |= survey.commits();
        link.forgets |= survey.forgets();
        link.awaiting |= shared && loses_start;
        if sent {
            return Ok(());
        }
        link.expected.push_back(Expected::Query(By::Client));
        flow.pass(message.range());
        Ok(())
    }

    /// Sends another query than the client's.
    #[cold]
    fn query_in_its_place(&mut self, sql: &str, link: &mut Link, flow: &mut Flow<'_>) {
        self.begin_query(link);
        link.expected.push_back(Expected::Query(By::Client));
        frame::put(flow.own(), b'Q', &[sql.as_bytes(), b"\0"]);
    }

    /// A simple query ends the unnamed statement and portal.
    fn begin_query(&mut self, link: &mut Link) {
        self.replace_unnamed(link, None, Unnamed::None);
        link.portal = None;
        link.batch = Batch::Closed;
    }

    /// Sends something that fails in the place of the client's query, so that its transaction fails as
    /// it would by any other error; the client gets ours.
    fn refuse_query(&mut self, error: &ClientError, link: &mut Link, flow: &mut Flow<'_>) {
        let mut told = Vec::new();
        error.encode(&mut told);
        self.begin_query(link);
        link.expected.push_back(Expected::RefusedQuery(told.into()));
        frame::put(flow.own(), b'Q', &[b"refused_by_tenantry\0"]);
    }

    /// A sole SET or RESET.
    fn set_query(
        &mut self,
        text: &[u8],
        message: &Message<'_>,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) {
        let change = self.carry(text, leased.mode);
        let link = &mut *leased.link;
        self.begin_query(link);
        link.expected.push_back(match change {
            Some(change) => Expected::SetQuery(Box::new(change)),
            None => Expected::Query(By::Client),
        });
        flow.pass(message.range());
    }

    /// Sends the SET that stands for a RESET to a startup value. False: it is not one.
    fn restated_query(&mut self, text: &[u8], link: &mut Link, flow: &mut Flow<'_>) -> bool {
        let Some(sql) = self.restated(text) else {
            return false;
        };
        let sql = sql.as_bytes();
        let change = self.carry_restated(sql);
        let change = change.or_else(|| self.carry(sql, PoolMode::Transaction));
        self.begin_query(link);
        link.expected.push_back(match change {
            Some(change) => Expected::SetQuery(Box::new(change)),
            None => Expected::Query(By::Client),
        });
        frame::put(flow.own(), b'Q', &[sql, b"\0"]);
        true
    }

    /// A DEALLOCATE for which the statement must be prepared first, with a Sync of ours behind it,
    /// waits for all before it: that Sync must not end what an error skips. In a batch of the
    /// client's it waits until it is known whether the transaction has failed.
    fn may_prepare_first(
        &self,
        name: &[u8],
        link: &mut Link,
        flow: &mut Flow<'_>,
    ) -> Result<(), Verdict> {
        let absent = |s: &Rc<Statement>| s.is_kept() && !link.holds(s);
        if !self.names.find(name).is_some_and(absent) {
            return Ok(());
        }
        match link.batch {
            Batch::Closed if !link.expected.is_empty() => Err(Verdict::Hold),
            Batch::Open if link.awaits_ready() => Err(Verdict::Hold),
            Batch::Open if link.status == TxStatus::Failed => Err(end_batch_first(link, flow)),
            _ => Ok(()),
        }
    }

    /// Sends `DEALLOCATE name` under the server's name. False: not one of ours, goes as it is.
    fn deallocate(&mut self, name: &str, leased: &mut Leased<'_>, flow: &mut Flow<'_>) -> bool {
        let out = flow.own();
        if let Some(statement) = self.names.find(name.as_bytes()).cloned() {
            let link = &mut *leased.link;
            if statement.is_kept() {
                prepare_first(&statement, link, leased.max_prepared, out);
            }
            frame::put(out, b'Q', &[b"DEALLOCATE ", &statement.server_name]);
            let name = name.as_bytes().into();
            link.expected
                .push_back(Expected::Deallocate(name, statement));
            return true;
        }
        let foreign = name.as_bytes().starts_with(NAME_PREFIX);
        if foreign {
            // A name of another session's statement: the server must not find it.
            let quoted = name.replace('"', "\"\"");
            let sql = format!("DEALLOCATE \"tenantry_{quoted}\"\0");
            frame::put(out, b'Q', &[sql.as_bytes()]);
            leased.link.expected.push_back(Expected::Query(By::Client));
        }
        foreign
    }

    /// The name that a sole EXECUTE has of a statement that the protocol prepared, and the same text
    /// under the server's name.
    pub(super) fn executed(&self, survey: &Survey, text: &[u8]) -> Option<(String, Vec<u8>)> {
        if survey.several() {
            return None;
        }
        let (name, place) = executed_name(text)?;
        let statement = self.names.find(name.as_bytes()).filter(|s| s.is_kept())?;
        let server_name = statement.server_name.split_last().map(|(_, name)| name)?;
        let sql = [
            &text[..place.start],
            b"\"",
            server_name,
            b"\"",
            &text[place.end..],
        ]
        .concat();
        Some((name.into_owned(), sql))
    }

    /// Sends an EXECUTE under the server's name.
    fn execute_by_name(
        &mut self,
        name: &str,
        sql: &[u8],
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) -> bool {
        let Some(statement) = self.names.find(name.as_bytes()).cloned() else {
            return false;
        };
        let out = flow.own();
        prepare_first(&statement, leased.link, leased.max_prepared, out);
        frame::put(out, b'Q', &[sql, b"\0"]);
        leased.link.expected.push_back(Expected::Query(By::Client));
        true
    }

    /// RESET ALL takes the server connection back to its start, which is not the session's. True:
    /// it was sent, with the session's startup settings behind it. Else note of it is taken at the
    /// end of the query; in a transaction, which may undo it, it pins.
    fn resets_all(
        &mut self,
        survey: &Survey,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) -> bool {
        if leased.state == StateMode::Ignore || leased.mode == PoolMode::Session {
            return false;
        }
        if !survey.several()
            && !self.fixed
            && let Some(sql) = self.reset_to_start()
        {
            let change = Box::new(self.carry_reset());
            self.begin_query(leased.link);
            leased.link.expected.push_back(Expected::SetQuery(change));
            frame::put(flow.own(), b'Q', &[sql.as_bytes(), b"\0"]);
            return true;
        }
        self.restart_all();
        // What is parsed behind it is read under what it makes of the settings.
        self.parse_for_itself();
        self.expect_changes();
        if leased.link.only_settings_due() && !survey.transacts() {
            leased.link.reset = Reset::Seen;
        } else {
            self.ask_about_all();
        }
        false
    }

    /// What `currval` and `lastval` tell is of this transaction, never another session's.
    #[inline]
    pub(super) fn fresh_sequences(
        &self,
        survey: &Survey,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) {
        if survey.reads_sequences() {
            self.discard_sequences(leased, flow);
        }
    }

    #[cold]
    fn discard_sequences(&self, leased: &mut Leased<'_>, flow: &mut Flow<'_>) {
        let shared = leased.mode != PoolMode::Session && self.pin().is_none();
        if shared && leased.state == StateMode::Carry && leased.link.only_settings_due() {
            leased.link.put_own_query(b"DISCARD SEQUENCES", flow.own());
        }
    }

    pub(super) fn call(
        &mut self,
        message: &Message<'_>,
        link: &mut Link,
        flow: &mut Flow<'_>,
    ) -> Result<(), Verdict> {
        let oid = message
            .body()
            .first_chunk::<4>()
            .map(|b| u32::from_be_bytes(*b));
        if !oid.is_some_and(|oid| CLEAN_CALLS.contains(&oid)) {
            self.pin_for_good(PinReason::Function);
            self.undiscardable = true;
        }
        link.batch = Batch::Closed;
        link.expected.push_back(Expected::Call);
        flow.pass(message.range());
        Ok(())
    }
}

/// In a failed transaction a Parse fails, and the server would skip the query behind it: a batch that
/// is still open ends first, unless it has failed itself.
fn end_batch_first(link: &mut Link, flow: &mut Flow<'_>) -> Verdict {
    let local = |e: &Expected| matches!(e, Expected::LocalParse | Expected::LocalClose);
    if link.expected.iter().all(local) {
        link.flushes = false;
        link.batch = Batch::Closed;
        link.expected.push_back(Expected::Sync(By::Proxy));
        frame::put(flow.own(), b'S', &[]);
    } else if !std::mem::replace(&mut link.flushes, true) {
        frame::put(flow.own(), b'H', &[]);
    }
    Verdict::Hold
}

/// Makes a statement exist ahead of a simple query that names it.
fn prepare_first(statement: &Rc<Statement>, link: &mut Link, limit: usize, out: &mut Vec<u8>) {
    if link.ensure(statement, By::Proxy, limit, out) == Presence::Sent
        && link.batch == Batch::Closed
    {
        frame::put(out, b'S', &[]);
        link.expected.push_back(Expected::Sync(By::Proxy));
    }
}

/// Transaction blocks have no place in statement pooling mode.
pub(super) fn forbid_blocks(survey: &Survey, mode: PoolMode) -> Result<(), Verdict> {
    if mode != PoolMode::Statement || !survey.begins_block() {
        return Ok(());
    }
    let error = ClientError::fatal(
        SqlState::UNSUPPORTED,
        "transaction blocks are not allowed in statement pooling mode",
    );
    Err(Verdict::Fail(
        error.with_hint("set pool.mode to transaction"),
    ))
}

/// Large-object functions by their fixed OIDs (pg_proc.dat): what they open ends with the transaction.
const CLEAN_CALLS: &[u32] = &[
    715, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172,
];
