//! Parse, Bind, Describe and Close: a client's statement names against those of a server connection.

use std::rc::Rc;

use super::bound::refuse_stale;
use super::expected::{By, Change, Expected};
use super::flow::Flow;
use super::link::{Batch, Link, Presence, Standing, TxStatus, Unnamed};
use super::pins::{Sent, Text};
use super::request::must_be_certain;
use super::route::answered_by;
use super::simple::forbid_blocks;
use super::statement::{NAME_PREFIX, Statement, Statements};
use super::{Leased, Message, Renamed, Session, Verdict};
use crate::config::{PoolMode, StateMode};
use crate::error::{ClientError, SqlState};
use crate::wire::frame::{self, HEADER, Header, cstr};
use crate::wire::sql::{Effect, PinReason, deallocated_name};

impl Session {
    pub(super) fn parse(
        &mut self,
        message: &Message<'_>,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) -> Result<(), Verdict> {
        let (name, definition) = cstr(message.body()).ok_or_else(malformed)?;
        if leased.mode == PoolMode::Session {
            return self.parse_for_good(definition, message, leased, flow);
        }
        if name.is_empty() {
            if message.is_whole() && self.parse_deallocate(definition, leased, flow)? {
                return Ok(());
            }
            return self.parse_unnamed(definition, message, leased, flow);
        }
        must_be_certain(name, leased.link, flow)?;
        if self.names.find(name).is_some() {
            leased.link.batch = Batch::Open;
            self.parse_duplicate(name, message, leased.link, flow);
            return Ok(());
        }
        if !message.is_whole() {
            leased.link.batch = Batch::Open;
            return self.parse_large(name, message, leased, flow);
        }
        let (statement, _) = self.intern(definition, leased)?;
        self.must_be_settled(&statement, leased.link)?;
        if let Some(settings) = self.reading_now() {
            statement.read_under(&settings);
        }
        self.fresh_sequences(&statement.survey, leased, flow);
        let link = &mut *leased.link;
        if link.is_undecided(&statement, leased.max_prepared)
            || (link.holds(&statement) && link.awaits_ready())
        {
            // Whether the server would take it is not known before it has answered.
            return Err(Verdict::Hold);
        }
        if link.status == TxStatus::Failed && link.holds(&statement) {
            if link.may_copy() {
                // Nothing may come between an Execute and the data of the COPY that it may begin.
                link.ask_to_flush(flow);
                return Err(Verdict::Hold);
            }
            // The server itself must refuse it (25P02), or not.
            link.forget(statement.id, flow.own());
        }
        link.batch = Batch::Open;
        self.tally.client_parses += 1;
        self.names.add(name, Rc::clone(&statement));
        link.journal.push_back(Change::Added(name.into()));
        let limit = leased.max_prepared;
        if link.ensure(&statement, By::Client, limit, flow.own()) == Presence::There {
            link.expected.push_back(Expected::LocalParse);
        }
        Ok(())
    }

    /// In session mode: the server connection stays, and so does what it has parsed.
    fn parse_for_good(
        &mut self,
        definition: &[u8],
        message: &Message<'_>,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) -> Result<(), Verdict> {
        let text = cstr(definition).map_or(definition, |(text, _)| text);
        let survey = message.survey(text);
        forbid_blocks(&survey, leased.mode)?;
        let sent = Sent {
            survey: &survey,
            text: Text::Query(text),
            bind: &[],
        };
        // In session mode nothing is refused.
        let _noted = self.note(sent, leased);
        leased.link.batch = Batch::Open;
        let expected = Expected::ParseVerbatim(By::Client);
        verbatim(expected, message, leased.link, flow);
        Ok(())
    }

    /// Whether the message gives a name to a statement that a server has parsed before, with
    /// nothing but a Sync behind it: then no server is needed. (Drivers prepare while they hold
    /// other connections in transactions; waiting for a server there could block them for ever.)
    pub(super) fn prepares_known(
        &mut self,
        head: Header,
        input: &[u8],
        statements: &Statements,
    ) -> bool {
        let (Some(message), Some(rest)) = (input.get(HEADER..head.total), input.get(head.total..))
        else {
            return false;
        };
        let sync = rest == b"S\0\0\0\x04";
        let Some((name, definition)) = cstr(message).filter(|(name, _)| sync && !name.is_empty())
        else {
            return false;
        };
        let known = statements.proven(self.scope(), definition);
        let clean =
            known.filter(|s| !matches!(s.survey.effect, Effect::Pin(_)) && !s.survey.resets());
        match clean {
            Some(statement) if self.names.find(name).is_none() => {
                self.tally.client_parses += 1;
                self.names.add(name, Rc::clone(statement));
                true
            }
            _ => false,
        }
    }

    fn intern(
        &mut self,
        definition: &[u8],
        leased: &mut Leased<'_>,
    ) -> Result<(Rc<Statement>, Wording), Verdict> {
        let (text, types) = cstr(definition).unwrap_or((definition, &[]));
        if let Some(sql) = answered_by(text) {
            let definition = [sql.as_bytes(), b"\0", types].concat();
            let statement = leased.statements.intern(self.scope(), &definition);
            return Ok((statement, Wording::Ours));
        }
        let statement = leased.statements.intern(self.scope(), definition);
        forbid_blocks(&statement.survey, leased.mode)?;
        let survey = &statement.survey;
        if (survey.effect == Effect::Setting || survey.sets())
            && leased.state == StateMode::Carry
            && let Some(definition) = self.restated_definition(definition)
        {
            let statement = leased.statements.intern(self.scope(), &definition);
            return Ok((statement, Wording::Ours));
        }
        Ok((statement, Wording::Clients))
    }

    /// A RESET to a startup value, in words that a server understands which does not know it.
    fn restated_definition(&self, definition: &[u8]) -> Option<Vec<u8>> {
        let (text, types) = cstr(definition)?;
        let sql = self.restated(text)?;
        Some([sql.as_bytes(), b"\0", types].concat())
    }

    /// Sends `DEALLOCATE name` under the server's name; drivers do so in pipelines. False: it is
    /// something else, or not one of our names.
    fn parse_deallocate(
        &mut self,
        definition: &[u8],
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) -> Result<bool, Verdict> {
        if !may_deallocate(definition) {
            return Ok(false);
        }
        let text = cstr(definition).map_or(definition, |(text, _)| text);
        let Some(name) = deallocated_name(text) else {
            return Ok(false);
        };
        let name = name.as_bytes();
        self.must_know(name, leased, flow)?;
        let Some(old) = self.names.find(name).filter(|s| s.is_kept()).cloned() else {
            return Ok(false);
        };
        let (statement, _) = self.intern(definition, leased)?;
        let link = &mut *leased.link;
        link.batch = Batch::Open;
        link.forgets = true;
        let out = flow.own();
        link.ensure(&old, By::Proxy, leased.max_prepared, out);
        frame::put(out, b'P', &[b"\0DEALLOCATE ", &old.server_name, b"\0\0"]);
        link.expected.push_back(Expected::ParseUnnamed(By::Client));
        link.deallocates.push_back((name.into(), old));
        let own = Some(Rc::clone(&statement));
        self.replace_unnamed(link, own, Unnamed::Known(statement));
        Ok(true)
    }

    fn parse_unnamed(
        &mut self,
        definition: &[u8],
        message: &Message<'_>,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) -> Result<(), Verdict> {
        let (statement, wording) = if message.is_whole() {
            let (statement, wording) = self.intern(definition, leased)?;
            let executes = statement.survey.executes();
            match executes
                .then(|| self.executed(&statement.survey, statement.text()))
                .flatten()
            {
                Some((name, sql)) => {
                    let inner = self.named(name.as_bytes());
                    if let Some(inner) = inner {
                        self.must_be_ready(&inner, leased, flow)?;
                    }
                    let types = cstr(definition).map_or(&[][..], |(_, types)| types);
                    let definition = [&sql, &b"\0"[..], types].concat();
                    (self.intern(&definition, leased)?.0, Wording::Ours)
                }
                None => (statement, wording),
            }
        } else {
            (leased.statements.unkept(self.scope()), Wording::Clients)
        };
        self.fresh_sequences(&statement.survey, leased, flow);
        let link = &mut *leased.link;
        link.commit |= statement.survey.commits();
        link.forgets |= statement.survey.forgets();
        link.batch = Batch::Open;
        self.replace_unnamed(link, Some(Rc::clone(&statement)), Unnamed::Known(statement));
        let expected = Expected::ParseUnnamed(By::Client);
        if wording == Wording::Ours {
            let definition = self.unnamed.as_ref().map_or(definition, |s| &s.definition);
            frame::put(flow.own(), b'P', &[b"\0", definition]);
            link.expected.push_back(expected);
        } else {
            verbatim(expected, message, link, flow);
        }
        Ok(())
    }

    /// The name is taken: the server is made to say so itself.
    fn parse_duplicate(
        &mut self,
        name: &[u8],
        message: &Message<'_>,
        link: &mut Link,
        flow: &mut Flow<'_>,
    ) {
        frame::put(flow.own(), b'P', &[name, b"\0\0\0\0"]);
        link.expected.push_back(Expected::ParseVerbatim(By::Proxy));
        // The first of a batch fails, and the others are skipped.
        link.stray.get_or_insert_with(|| name.into());
        verbatim(Expected::ParseVerbatim(By::Client), message, link, flow);
    }

    /// A text too large to keep: prepared on this server connection only, to which the session is now bound.
    fn parse_large(
        &mut self,
        name: &[u8],
        message: &Message<'_>,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) -> Result<(), Verdict> {
        self.pin_for_good(PinReason::LargeStatement);
        self.undiscardable = true;
        let statement = leased.statements.unkept(self.scope());
        self.tally.client_parses += 1;
        self.names.add(name, Rc::clone(&statement));
        leased.link.journal.push_back(Change::Added(name.into()));
        let old = name.len() + 1;
        let renamed = Renamed {
            before: 0,
            old,
            new: &statement.server_name,
        };
        message.pass_renamed(renamed, flow);
        leased
            .link
            .expected
            .push_back(Expected::Parse(By::Client, statement));
        Ok(())
    }

    /// The statement that a name of the client stands for.
    pub(super) fn named(&self, name: &[u8]) -> Option<Rc<Statement>> {
        if name.is_empty() {
            self.unnamed.clone()
        } else {
            self.names.find(name).cloned()
        }
    }

    pub(super) fn describe(
        &mut self,
        message: &Message<'_>,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) -> Result<(), Verdict> {
        let (kind, name) = kind_and_name(message)?;
        let statement = match leased.mode {
            PoolMode::Session => None,
            _ if kind == b'S' => {
                must_be_certain(name, leased.link, flow)?;
                self.named(name)
            }
            _ => leased.link.portal.clone().filter(|_| name.is_empty()),
        };
        if kind == b'S'
            && !name.is_empty()
            && let Some(statement) = &statement
            && self.must_be_ready(statement, leased, flow)? == Standing::Stale
        {
            refuse_stale(statement, leased.link, flow);
            return Ok(());
        }
        leased.link.batch = Batch::Open;
        let news = |s: &Rc<Statement>| s.is_kept() && !s.told.is_complete();
        let of = statement.as_ref().filter(|s| news(s)).cloned();
        if kind == b'S' {
            let named = Named {
                before: 1,
                name,
                statement: statement.as_ref(),
            };
            self.refer(&named, message, leased, flow);
        } else {
            flow.pass(message.range());
        }
        leased.link.expected.push_back(Expected::Describe(of));
        Ok(())
    }

    pub(super) fn close(
        &mut self,
        message: &Message<'_>,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) -> Result<(), Verdict> {
        let (kind, name) = kind_and_name(message)?;
        let link = &mut *leased.link;
        let ours = kind == b'S' && !name.is_empty() && leased.mode != PoolMode::Session;
        if ours {
            must_be_certain(name, link, flow)?;
        }
        link.batch = Batch::Open;
        if ours && let Some(statement) = self.names.remove(name) {
            link.journal
                .push_back(Change::Removed(name.into(), statement));
            link.expected.push_back(Expected::LocalClose);
            self.left_dropped = true;
            return Ok(());
        }
        if kind == b'S' && name.is_empty() {
            self.replace_unnamed(link, None, Unnamed::None);
            verbatim(Expected::CloseUnnamed(By::Client), message, link, flow);
            return Ok(());
        }
        if ours && name.starts_with(NAME_PREFIX) {
            pass_foreign(1, name, message, flow);
        } else {
            flow.pass(message.range());
        }
        link.expected.push_back(Expected::Close(By::Client));
        Ok(())
    }

    /// Passes a message that names a statement, under the server's name.
    pub(super) fn refer(
        &mut self,
        named: &Named<'_>,
        message: &Message<'_>,
        leased: &mut Leased<'_>,
        flow: &mut Flow<'_>,
    ) {
        let &Named {
            before,
            name,
            statement,
        } = named;
        let link = &mut *leased.link;
        if leased.mode == PoolMode::Session {
            flow.pass(message.range());
        } else if name.is_empty() {
            self.refer_unnamed(message, link, flow);
        } else if let Some(statement) = statement {
            link.commit |= statement.survey.commits();
            let new = &statement.server_name;
            message.pass_renamed(
                Renamed {
                    before,
                    old: name.len() + 1,
                    new,
                },
                flow,
            );
        } else if name.starts_with(NAME_PREFIX) {
            pass_foreign(before, name, message, flow);
        } else {
            flow.pass(message.range());
        }
    }

    /// The unnamed statement may have been parsed under an earlier lease, or be another session's.
    fn refer_unnamed(&mut self, message: &Message<'_>, link: &mut Link, flow: &mut Flow<'_>) {
        match (&self.unnamed, &link.unnamed) {
            (Some(own), Unnamed::Known(there)) if Rc::ptr_eq(own, there) => {}
            (None, Unnamed::None) => {}
            (Some(own), _) => {
                frame::put(flow.own(), b'P', &[b"\0", &own.definition]);
                link.expected.push_back(Expected::ParseUnnamed(By::Proxy));
                let own = Rc::clone(own);
                self.replace_unnamed(link, Some(Rc::clone(&own)), Unnamed::Known(own));
            }
            (None, _) => {
                frame::put(flow.own(), b'C', &[b"S\0"]);
                link.expected.push_back(Expected::CloseUnnamed(By::Proxy));
                self.replace_unnamed(link, None, Unnamed::None);
            }
        }
        flow.pass(message.range());
    }
}

/// Whose words a statement is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wording {
    Clients,
    Ours,
}

/// Whether a text may begin with DEALLOCATE, told by its first byte.
#[inline]
fn may_deallocate(text: &[u8]) -> bool {
    !matches!(text.first(), Some(first) if first.is_ascii_alphabetic() && first | 0x20 != b'd')
}

/// A statement's name in a message, and how much of the body is before it.
pub(super) struct Named<'a> {
    pub(super) before: usize,
    pub(super) name: &'a [u8],
    pub(super) statement: Option<&'a Rc<Statement>>,
}

/// A name that only we give: passed on as one that exists nowhere.
fn pass_foreign(before: usize, name: &[u8], message: &Message<'_>, flow: &mut Flow<'_>) {
    let new = [NAME_PREFIX, name, b"\0"].concat();
    message.pass_renamed(
        Renamed {
            before,
            old: name.len() + 1,
            new: &new,
        },
        flow,
    );
}

fn verbatim(expected: Expected, message: &Message<'_>, link: &mut Link, flow: &mut Flow<'_>) {
    link.expected.push_back(expected);
    flow.pass(message.range());
}

fn kind_and_name<'a>(message: &Message<'a>) -> Result<(u8, &'a [u8]), Verdict> {
    let (kind, rest) = message.body().split_first().ok_or_else(malformed)?;
    let (name, _) = cstr(rest).ok_or_else(malformed)?;
    Ok((*kind, name))
}

pub(super) fn malformed() -> Verdict {
    let text = "a name in a protocol message does not end";
    Verdict::Fail(ClientError::fatal(SqlState::PROTOCOL, text))
}
