//! The queue of expected replies and the journal of names: what one entry can be.

use std::rc::Rc;

use super::inquiry::Inquiry;
use super::link::{Prepared, Unnamed};
use super::settings::SettingChange;
use super::statement::Statement;

/// Who sent a request: the client, whose reply it gets, or we, who swallow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Client,
    Proxy,
}

/// One request whose reply is due.
#[derive(Debug)]
pub(super) enum Expected {
    /// A simple query, up to its ReadyForQuery.
    Query(By),
    /// The client's `DEALLOCATE name`, sent under the server's name.
    Deallocate(Box<[u8]>, Rc<Statement>),
    /// The client's SET or RESET as a simple query, and the change it makes.
    SetQuery(Box<SettingChange>),
    /// The client's query that we keep from the server: it is made to fail, and this is the error.
    RefusedQuery(Box<[u8]>),
    /// As [`Expected::RefusedQuery`], for a Bind.
    RefusedBind(Box<[u8]>),
    /// A question of our own, up to its ReadyForQuery.
    Inquiry(Box<Inquiry>),
    /// A query of our own for pairs of texts, up to its ReadyForQuery.
    Listing(Vec<(String, String)>),
    /// A function call, up to its ReadyForQuery.
    Call,
    /// Parse of a shared statement. `Client`: a name of the session changed with it.
    Parse(By, Rc<Statement>),
    /// Parse of the unnamed statement.
    ParseUnnamed(By),
    /// Parse as the client wrote it, known to fail or not tracked; or ours to make it fail.
    ParseVerbatim(By),
    Bind,
    /// Describe; of a statement, if what is told of it is news.
    Describe(Option<Rc<Statement>>),
    /// A Describe of our own: does this server connection tell what the client was told?
    Verify(Rc<Statement>),
    /// A part of a batch that is ours, whose reply ends with that message.
    Own(u8),
    Execute(Feed),
    /// Execute of a SET or RESET, and the change it makes.
    Set(Box<SettingChange>),
    Close(By),
    /// Close of the unnamed statement.
    CloseUnnamed(By),
    /// Our Close of a statement that gives way or is to be parsed again, as it was there.
    Evict(Prepared),
    Sync(By),
    /// ParseComplete that we owe: the statement was there already.
    LocalParse,
    /// CloseComplete that we owe: others still use the statement.
    LocalClose,
}

impl Expected {
    /// Whether a change of a session's name is journalled with it.
    pub(super) fn is_journalled(&self) -> bool {
        matches!(
            self,
            Self::Query(By::Client)
                | Self::Deallocate(..)
                | Self::SetQuery(_)
                | Self::RefusedQuery(_)
                | Self::Parse(By::Client, _)
                | Self::ParseUnnamed(_)
                | Self::CloseUnnamed(_)
                | Self::LocalParse
                | Self::LocalClose
        )
    }

    /// Whether the server answers it even if what came before has failed.
    pub(super) fn ends_segment(&self) -> bool {
        matches!(
            self,
            Self::Query(_)
                | Self::Deallocate(..)
                | Self::SetQuery(_)
                | Self::RefusedQuery(_)
                | Self::Inquiry(_)
                | Self::Listing(_)
                | Self::Call
                | Self::Sync(_)
        )
    }

    /// Whether its reply is, or may be, read as ours: [`super::reply::Replies::own_reply`].
    #[inline]
    pub(super) fn is_ours_to_read(&self) -> bool {
        matches!(
            self,
            Self::Inquiry(_)
                | Self::Listing(_)
                | Self::Verify(_)
                | Self::Own(_)
                | Self::SetQuery(_)
                | Self::Set(_)
        )
    }

    /// Whether its reply is nobody's business but ours.
    pub(super) fn is_swallowed(&self) -> bool {
        matches!(
            self,
            Self::Query(By::Proxy)
                | Self::Inquiry(_)
                | Self::Listing(_)
                | Self::Verify(_)
                | Self::Own(_)
                | Self::Parse(By::Proxy, _)
                | Self::ParseUnnamed(By::Proxy)
                | Self::ParseVerbatim(By::Proxy)
                | Self::Close(By::Proxy)
                | Self::CloseUnnamed(By::Proxy)
                | Self::Evict(_)
                | Self::Sync(By::Proxy)
        )
    }
}

/// Whether the data of a COPY that an Execute may begin were sent to their end already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feed {
    Due,
    /// With so many Syncs before their end, which a COPY eats.
    Ended(usize),
}

/// What happened to a name of the session, in order, until the server has agreed.
#[derive(Debug)]
pub(super) enum Change {
    Added(Box<[u8]>),
    Removed(Box<[u8]>, Rc<Statement>),
    /// What the unnamed statement was before, to the session and on the server connection.
    Unnamed {
        own: Option<Rc<Statement>>,
        there: Unnamed,
    },
    /// Nothing any more: all names were dropped meanwhile.
    Void,
}

impl Change {
    pub(super) fn is_of(&self, name: &[u8]) -> bool {
        match self {
            Self::Added(n) | Self::Removed(n, _) => **n == *name,
            Self::Unnamed { .. } | Self::Void => false,
        }
    }
}
