//! Our own queries to a server connection: what makes it fit for its next session, what finds out
//! what the last one has left.

use std::rc::Rc;

use super::Session;
use super::expected::{By, Expected};
use super::link::{CopyIn, Link, Unnamed};
use super::saying::NO_ROLE;
use super::settings::Settings;
use crate::config::ResetWhen;
use crate::wire::frame;

/// With [`NO_ROLE`], takes all settings back to their start.
const SETTINGS: &[u8] = b"RESET ALL";

/// With [`NO_ROLE`], takes everything back that DISCARD ALL does, but for what the protocol has
/// prepared.
const EVERYTHING: &[u8] = b"RESET ALL;UNLISTEN *;CLOSE ALL;\
SELECT pg_catalog.pg_advisory_unlock_all();DISCARD TEMP;DISCARD SEQUENCES";

impl Link {
    /// Appends a query of our own, whose replies are swallowed.
    pub fn put_own_query(&mut self, sql: &[u8], out: &mut Vec<u8>) {
        self.fault = None;
        self.notices.clear();
        self.unnamed = Unnamed::None;
        self.expected.push_back(Expected::Query(By::Proxy));
        frame::put(out, b'Q', &[sql, b"\0"]);
    }

    /// Appends what gives it the settings `wanted`; true: something was to be done.
    pub fn put_settings(&mut self, wanted: &Rc<Settings>, out: &mut Vec<u8>) -> bool {
        if Rc::ptr_eq(&self.settings, wanted) {
            return false;
        }
        let mut sql = Vec::new();
        wanted.put_change(&self.settings, &mut sql);
        self.settings = Rc::clone(wanted);
        if !sql.is_empty() {
            self.put_own_query(&sql, out);
        }
        !sql.is_empty()
    }

    /// At rest: appends what makes it fit for a session's next transaction.
    #[inline]
    pub fn prepare_for(&mut self, session: &Session, when: ResetWhen, out: &mut Vec<u8>) {
        let same = Rc::ptr_eq(&self.settings, session.settings());
        if !same || self.strange || when == ResetWhen::Always {
            self.make_fit(session, when, out);
        }
    }

    #[cold]
    fn make_fit(&mut self, session: &Session, when: ResetWhen, out: &mut Vec<u8>) {
        if !session.at_boundary() {
            // Stray copy data in pieces: nothing may come between them.
            return;
        }
        self.told.clear();
        if session.pin().is_none() {
            self.put_reset(session, when, out);
        }
        let roles = self.settings.has_role() || session.settings().has_role();
        let put = self.put_settings(session.settings(), out);
        // If one failed what is sent behind it would run all the same.
        self.awaiting = put && roles;
    }

    /// Whether nothing may be sent before what was sent last is answered, but for the data of a COPY.
    #[inline]
    pub fn is_awaiting(&mut self) -> bool {
        self.awaiting &= !self.expected.is_empty();
        self.awaiting && self.copy == CopyIn::None
    }

    /// Appends what makes it fit for a session that shares it, whatever the last one has left.
    pub(super) fn put_reset(&mut self, session: &Session, when: ResetWhen, out: &mut Vec<u8>) {
        let other = std::mem::replace(&mut self.last, session.serial()) != session.serial();
        let sql = match when {
            ResetWhen::Always if other => EVERYTHING,
            _ if self.strange => SETTINGS,
            _ => return,
        };
        self.strange = false;
        self.settings = Rc::clone(&self.fresh);
        self.put_own_query(&[NO_ROLE, sql].concat(), out);
    }

    /// Appends what finds out what the session's transaction has left.
    pub fn put_inquiry(&mut self, session: &mut Session, out: &mut Vec<u8>) {
        // What the session wants set first waits for the answer, and so does its next request; one
        // that may not belong to this standby waits, too.
        self.awaiting =
            self.routed || session.restarts() || !Rc::ptr_eq(&self.settings, session.settings());
        let inquiry = session.inquire();
        let mut sql = Vec::new();
        inquiry.put(&mut sql);
        self.unnamed = Unnamed::None;
        self.expected
            .push_back(Expected::Inquiry(Box::new(inquiry)));
        frame::put(out, b'Q', &[&sql, b"\0"]);
    }

    /// Appends what lists what [`super::Catalog::read`] takes.
    pub fn put_listing(&mut self, sql: &[u8], out: &mut Vec<u8>) {
        self.fault = None;
        self.unnamed = Unnamed::None;
        self.expected.push_back(Expected::Listing(Vec::new()));
        frame::put(out, b'Q', &[sql, b"\0"]);
    }

    /// What was listed.
    pub fn take_listed(&mut self) -> Option<Vec<(String, String)>> {
        self.listed.take()
    }

    /// Appends DISCARD ALL: all that a former session may have left and that it is known to undo.
    pub fn put_discard(&mut self, out: &mut Vec<u8>) {
        self.put_own_query(b"DISCARD ALL", out);
    }
}
