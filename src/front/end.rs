//! How a connection ends that reaches no worker.

use std::io;

use crate::error::{ClientError, SqlState};
use crate::wire::startup::StartupError;

/// Why nothing is served.
#[derive(Debug)]
pub(super) enum End {
    /// The peer went away, or its TLS failed.
    Gone(io::Error),
    /// Closed without a word, as PostgreSQL does.
    Silent(&'static str),
    /// A cancel request was passed on; it has no answer.
    Canceled,
    /// The client is told, and the log says more.
    Refused {
        /// What the client reads.
        error: ClientError,
        /// What the log says; the client must not learn it.
        reason: String,
    },
}

impl End {
    /// A refusal whose reason is no secret.
    pub(super) fn told(error: ClientError) -> Self {
        let reason = error.message.clone().into_owned();
        Self::Refused { error, reason }
    }

    /// The login failed. Whatever the reason, the client reads the same.
    pub(super) fn login(user: &str, reason: impl Into<String>) -> Self {
        let text = format!("password authentication failed for user \"{user}\"");
        Self::Refused {
            error: ClientError::fatal(SqlState::LOGIN, text),
            reason: reason.into(),
        }
    }

    /// The client does not keep to the protocol.
    pub(super) fn protocol(text: &'static str) -> Self {
        Self::told(ClientError::fatal(SqlState::PROTOCOL, text))
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl From<StartupError> for End {
    fn from(error: StartupError) -> Self {
        match error {
            StartupError::CancelKey => Self::Silent("cancel request with a key of a wrong length"),
            error => Self::told(error.into()),
        }
    }
}
