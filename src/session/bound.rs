//! Bind and Execute: what running a statement may leave behind is noted here, each time.

use std::rc::Rc;

use super::expected::{Expected, Feed};
use super::extended::{Named, malformed};
use super::flow::Flow;
use super::link::{Batch, Link, Portal, Standing};
use super::pins::{Sent, Text};
use super::request::must_be_certain;
use super::settings::SettingChange;
use super::statement::Statement;
use super::{Leased, Message, Session, Verdict};
use crate::config::{PoolMode, StateMode};
use crate::error::ClientError;
use crate::wire::frame::{self, cstr};
use crate::wire::sql::Effect;

impl Session {
    pub(super) fn bind(
        &mut self,
        message: &Message<'_>,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) -> Result<(), Verdict> {
        let (portal, rest) = cstr(message.body()).ok_or_else(malformed)?;
        let (name, _) = cstr(rest).ok_or_else(malformed)?;
        let statement = match leased.mode {
            PoolMode::Session => None,
            _ => {
                must_be_certain(name, leased.link, flow)?;
                self.named(name)
            }
        };
        if let Some(statement) = &statement {
            let portal = if portal.is_empty() {
                Portal::Unnamed
            } else {
                Portal::Named
            };
            if !name.is_empty() && self.must_be_ready(statement, leased, flow)? == Standing::Stale {
                refuse_stale(statement, leased.link, flow);
                return Ok(());
            }
            if let Err(error) = self.note_bound(statement, portal, message, leased) {
                let mut told = Vec::new();
                error.encode(&mut told);
                refuse(&told, leased.link, flow);
                return Ok(());
            }
            self.fresh_sequences(&statement.survey, leased, flow);
        } else {
            leased.link.portal = None;
        }
        leased.link.batch = Batch::Open;
        self.tally.binds += u32::from(!name.is_empty());
        let named = Named {
            before: portal.len() + 1,
            name,
            statement: statement.as_ref(),
        };
        self.refer(&named, message, leased, flow);
        leased.link.expected.push_back(Expected::Bind);
        Ok(())
    }

    /// Takes note of what executing a statement may leave behind. An error: it must not be.
    fn note_bound(
        &mut self,
        statement: &Rc<Statement>,
        portal: Portal,
        message: &Message<'_>,
        leased: &mut Leased<'_>,
    ) -> Result<(), ClientError> {
        let sent = Sent {
            survey: &statement.survey,
            text: Text::Statement(statement),
            bind: message.body(),
        };
        self.note(sent, leased)?;
        let carries = leased.state == StateMode::Carry;
        let resets = statement.survey.resets() && !statement.survey.several();
        let sets = carries && (statement.survey.effect == Effect::Setting || resets);
        if portal == Portal::Unnamed {
            leased.link.portal = Some(Rc::clone(statement));
        } else if sets {
            self.ask_by_text(statement.text());
        }
        leased.link.note_bound(statement, portal);
        Ok(())
    }

    pub(super) fn execute(
        &mut self,
        message: &Message<'_>,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) {
        let link = &mut *leased.link;
        link.batch = Batch::Open;
        link.flush_asked = false;
        let unnamed = message.body().first() == Some(&0);
        let carries = unnamed && leased.state == StateMode::Carry;
        let change = link
            .portal
            .as_ref()
            .filter(|_| carries)
            .and_then(|statement| {
                let survey = &statement.survey;
                if survey.effect == Effect::Setting {
                    let text = statement.text();
                    let restated = self.carry_restated(text);
                    restated.or_else(|| self.carry(text, leased.mode))
                } else if survey.sets() {
                    self.carry_restated(statement.text())
                } else if survey.effect == Effect::DiscardAll && !self.start.list().is_empty() {
                    Some(self.note_sent(SettingChange::Discard))
                } else if survey.resets() && !survey.several() {
                    Some(self.carry_reset())
                } else {
                    None
                }
            });
        link.expected.push_back(match change {
            Some(change) => Expected::Set(Box::new(change)),
            None => Expected::Execute(Feed::Due),
        });
        flow.pass(message.range());
        let resets = |e: &Expected| match e {
            Expected::Set(change) => {
                matches!(**change, SettingChange::AllToStart | SettingChange::Discard)
            }
            _ => false,
        };
        if link.expected.back().is_some_and(resets) {
            // The server does not know the session's start.
            self.put_start(link, flow.own());
        }
    }
}

/// Refuses a statement whose result is not what the client was told. The next time it is parsed
/// anew: by then the schema, or the session's search_path, may be what it was.
pub(super) fn refuse_stale(statement: &Statement, link: &mut Link, flow: &mut Flow<'_>) {
    link.forget(statement.id, flow.own());
    refuse(&stale(), link, flow);
}

/// What the server says of a statement whose result has changed.
fn stale() -> Vec<u8> {
    let mut told = Vec::new();
    let fields: [&[u8]; 6] = [
        b"SERROR\0",
        b"VERROR\0",
        b"C0A000\0",
        b"Mcached plan must not change result type\0",
        b"Fplancache.c\0",
        b"RRevalidateCachedQuery\0\0",
    ];
    frame::put(&mut told, b'E', &fields);
    told
}

/// Binds what does not exist in the place of what must not be executed; the client gets that error.
fn refuse(told: &[u8], link: &mut Link, flow: &mut Flow<'_>) {
    link.batch = Batch::Open;
    link.expected.push_back(Expected::RefusedBind(told.into()));
    frame::put(flow.own(), b'B', &[b"\0refused_by_tenantry\0\0\0\0\0\0\0"]);
}
