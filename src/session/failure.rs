//! What an ErrorResponse answers, undoes and ends: one request and all up to the next Sync (manual
//! 55.2.3), the settings that its transaction had changed, the connection.

use std::rc::Rc;

use super::expected::{By, Expected};
use super::flow::Flow;
use super::link::{CopyIn, Reset, Schema};
use super::reply::{Fate, Replies};

impl Replies<'_> {
    pub(super) fn error(&mut self, body: &[u8], flow: &mut Flow<'_>) -> Fate {
        if self.link.at_rest() && is_fatal(body) {
            self.link.last_words = Some(body.into());
            return Fate::Swallow;
        }
        if self.link.silent && self.can_go_elsewhere(body) {
            self.link.failed = true;
            return Fate::Swallow;
        }
        self.answer_local(flow);
        self.take_back();
        if is_stale_plan(body) {
            self.link.schema = self.link.schema.max(Schema::Relations);
        }
        let front = self.link.expected.front();
        let told = !front.is_some_and(Expected::is_swallowed);
        self.link.fatal |= told && is_fatal(body);
        let fed = std::mem::replace(&mut self.link.copy, CopyIn::None);
        match self.link.expected.front_mut() {
            Some(Expected::Query(By::Proxy) | Expected::Listing(_)) => {
                self.link.fault = Some(body.into());
                Fate::Swallow
            }
            Some(Expected::Inquiry(_)) => Fate::Swallow,
            Some(Expected::RefusedQuery(told)) => {
                flow.own().extend_from_slice(told);
                Fate::Swallow
            }
            Some(
                Expected::Query(_)
                | Expected::Deallocate(..)
                | Expected::SetQuery(_)
                | Expected::Call
                | Expected::Sync(_),
            ) => Fate::Pass,
            None => self.unasked(flow),
            Some(front) => {
                let refused = match front {
                    Expected::RefusedBind(told) => Some(std::mem::take(told)),
                    _ => None,
                };
                self.skip_to_sync();
                if let Some(told) = refused {
                    flow.own().extend_from_slice(&told);
                    return Fate::Swallow;
                }
                self.batch_failed(fed)
            }
        }
    }

    /// Changes of settings that the error undoes.
    fn take_back(&mut self) {
        let front = self.link.expected.front();
        let own = matches!(
            front,
            Some(Expected::Query(By::Proxy) | Expected::Inquiry(_))
        );
        if let Some(session) = self.session.as_mut().filter(|_| !own) {
            let skips = front.is_some_and(|front| !front.ends_segment());
            session.unchange(self.link.changes_due(skips));
        }
        self.link.reset = Reset::None;
        if self.link.restarts {
            // DISCARD ALL is committed at once; what followed is taken back.
            self.link.settings = Rc::clone(&self.link.fresh);
        } else {
            self.link.hushed = None;
        }
    }

    /// A part of a batch has failed, perhaps while the server read the data of a COPY.
    fn batch_failed(&mut self, fed: CopyIn) -> Fate {
        // The Sync behind COPY's Execute was kept from the server, which now waits for it.
        if let CopyIn::Reading {
            sync_dropped: true,
            fed: false,
        } = fed
            && let Some(session) = &mut self.session
        {
            session.owes_sync = true;
        }
        match self.link.expected.front() {
            Some(Expected::Sync(By::Proxy)) => Fate::Swallow,
            _ => Fate::Pass,
        }
    }

    /// Whether an error says that this standby has lost what another node can do: a conflict with
    /// recovery (manual 27.4.2), the end of the connection.
    #[cold]
    fn can_go_elsewhere(&self, body: &[u8]) -> bool {
        let session = self.session.as_ref();
        (is_fatal(body) || is_conflict(body)) && session.is_some_and(|s| s.can_be_taken_back())
    }
}

/// Whether a standby has cancelled something so that its replay could go on. Nothing else fails by
/// these codes there: a standby has no SERIALIZABLE, and what only reads deadlocks with nobody.
fn is_conflict(fields: &[u8]) -> bool {
    fields
        .split(|b| *b == 0)
        .any(|field| field == b"C40001" || field == b"C40P01")
}

/// Whether an ErrorResponse ends the connection.
fn is_fatal(fields: &[u8]) -> bool {
    fields
        .split(|b| *b == 0)
        .any(|field| field == b"VFATAL" || field == b"VPANIC")
}

/// 0A000 "cached plan must not change result type": the schema changed where we did not see it.
fn is_stale_plan(fields: &[u8]) -> bool {
    let has = |wanted: &[u8]| fields.split(|b| *b == 0).any(|field| field == wanted);
    has(b"C0A000") && has(b"RRevalidateCachedQuery")
}
