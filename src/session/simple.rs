//! Simple queries and function calls: what they may leave behind, and `DEALLOCATE name`, which must
//! reach the statement that the name stands for.

use std::rc::Rc;

use super::expected::{By, Expected};
use super::flow::Flow;
use super::link::{Batch, Link, Presence, Reset, Unnamed};
use super::message::Message;
use super::statement::{NAME_PREFIX, Statement};
use super::{Leased, Session, Verdict};
use crate::config::PoolMode;
use crate::error::{ClientError, SqlState};
use crate::wire::frame;
use crate::wire::sql::{Effect, PinReason, Survey, deallocated_name, survey};

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
        let survey = if message.is_whole() {
            survey(text)
        } else {
            Survey::of(PinReason::LargeStatement)
        };
        self.note(&survey, leased)?;
        if survey.resets() {
            self.note_reset(&survey, leased.link);
        }
        let change = match survey.effect {
            Effect::Setting => self.carry(text, leased.mode),
            _ => None,
        };
        let name = match survey.effect {
            Effect::Deallocate if leased.mode != PoolMode::Session => deallocated_name(text),
            _ => None,
        };
        if let Some(name) = &name {
            self.must_know(name.as_bytes(), leased, flow)?;
            self.may_prepare_first(name.as_bytes(), leased.link)?;
        }
        let sent = name.is_some_and(|name| self.deallocate(&name, leased, flow));
        let link = &mut *leased.link;
        self.replace_unnamed(link, None, Unnamed::None);
        link.portal = None;
        link.batch = Batch::Closed;
        link.commit |= survey.commits();
        link.forgets |= survey.forgets();
        if sent {
            return Ok(());
        }
        link.expected.push_back(match change {
            Some(change) => Expected::SetQuery(Box::new(change)),
            None => Expected::Query(By::Client),
        });
        flow.pass(message.range());
        Ok(())
    }

    /// A DEALLOCATE for which the statement must be prepared first, with a Sync of ours behind it,
    /// waits for all before it: that Sync must not end what an error skips.
    fn may_prepare_first(&self, name: &[u8], link: &Link) -> Result<(), Verdict> {
        let absent = |s: &Rc<Statement>| s.is_kept() && !link.holds(s);
        let prepares = link.batch == Batch::Closed && self.names.find(name).is_some_and(absent);
        if prepares && !link.expected.is_empty() {
            return Err(Verdict::Hold);
        }
        Ok(())
    }

    /// Sends `DEALLOCATE name` under the server's name. False: not one of ours, goes as it is.
    fn deallocate(&mut self, name: &str, leased: &mut Leased<'_>, flow: &mut Flow<'_>) -> bool {
        let out = flow.own();
        if let Some(statement) = self.names.find(name.as_bytes()).cloned() {
            let link = &mut *leased.link;
            if statement.is_kept()
                && link.ensure(&statement, By::Proxy, leased.max_prepared, out) == Presence::Sent
                && link.batch == Batch::Closed
            {
                frame::put(out, b'S', &[]);
                link.expected.push_back(Expected::Sync(By::Proxy));
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

    /// Takes note of what a statement may leave behind.
    pub(super) fn note(&mut self, survey: &Survey, leased: &Leased<'_>) -> Result<(), Verdict> {
        if leased.mode == PoolMode::Statement && survey.begins_block() {
            let error = ClientError::fatal(
                SqlState::UNSUPPORTED,
                "transaction blocks are not allowed in statement pooling mode",
            );
            return Err(Verdict::Fail(
                error.with_hint("set pool.mode to transaction"),
            ));
        }
        match survey.effect {
            Effect::Pin(reason) => {
                self.undiscardable |= !reason.discardable();
                self.pin = self.pin.or(Some(reason));
            }
            Effect::Clean
            | Effect::LocalSetting
            | Effect::Setting
            | Effect::Deallocate
            | Effect::DeallocateAll
            | Effect::DiscardAll => {}
        }
        self.local |= survey.sets_locally();
        if survey.makes_savepoint() {
            self.note_savepoint();
        }
        Ok(())
    }

    /// RESET ALL takes the server connection back to its start, of which note is taken at the end
    /// of the query. In a transaction, which may undo it, it pins.
    fn note_reset(&mut self, survey: &Survey, link: &mut Link) {
        if link.only_settings_due() && !survey.transacts() {
            link.reset = Reset::Seen;
        } else {
            self.pin = self.pin.or(Some(PinReason::Setting));
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
            self.pin = self.pin.or(Some(PinReason::Function));
            self.undiscardable = true;
        }
        link.batch = Batch::Closed;
        link.expected.push_back(Expected::Call);
        flow.pass(message.range());
        Ok(())
    }
}

/// Large-object functions by their fixed OIDs (pg_proc.dat): what they open ends with the transaction.
const CLEAN_CALLS: &[u32] = &[
    715, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172,
];
