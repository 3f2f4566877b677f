//! How a connection ends that reaches no worker.

use std::io;
use std::time::Duration;

use super::counts::Reason;
use crate::error::{ClientError, SqlState};
use crate::wire::proxy_header::ProxyHeaderError;
use crate::wire::startup::StartupError;

/// Why nothing is served.
#[derive(Debug)]
pub(super) enum End {
    /// The peer went away.
    Gone(io::Error),
    /// The handshake failed.
    Tls(io::Error),
    /// It does not begin as a balancer's connection does.
    Header(ProxyHeaderError),
    /// The login took longer than this.
    Late(Duration),
    /// Closed without a word, as PostgreSQL does.
    Silent(Reason, &'static str),
    /// A cancel request was passed on; it has no answer.
    Canceled,
    /// The client is told, and the log says more.
    Refused(Refusal),
}

/// What a client that is refused is told, and what it is not.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What the client reads.
    pub(super) error: ClientError,
    /// What is counted.
    pub(super) reason: Reason,
    /// What the log says; the client must not learn it.
    pub(super) why: String,
    /// The user name as sent, where the login came so far.
    pub(super) user: Option<String>,
}

impl End {
    /// A refusal whose reason is no secret.
    pub(super) fn told(reason: Reason, error: ClientError) -> Self {
        let why = error.message.clone().into_owned();
        Self::Refused(Refusal {
            error,
            reason,
            why,
            user: None,
        })
    }

    /// The login failed. Whatever the reason, the client reads the same.
    pub(super) fn login(user: &str, reason: Reason, why: impl Into<String>) -> Self {
        let text = format!("password authentication failed for user \"{user}\"");
        Self::Refused(Refusal {
            error: ClientError::fatal(SqlState::LOGIN, text),
            reason,
            why: why.into(),
            user: Some(user.to_owned()),
        })
    }

    /// The client does not keep to the protocol.
    pub(super) fn protocol(text: &'static str) -> Self {
        Self::told(
            Reason::Protocol,
            ClientError::fatal(SqlState::PROTOCOL, text),
        )
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // What TLS makes of the bytes; sockets have no such error.
            io::ErrorKind::InvalidData => Self::Tls(error),
            _ => Self::Gone(error),
        }
    }
}

impl From<ProxyHeaderError> for End {
    fn from(error: ProxyHeaderError) -> Self {
        Self::Header(error)
    }
}

impl From<StartupError> for End {
    fn from(error: StartupError) -> Self {
        match error {
            StartupError::CancelKey => Self::Silent(
                Reason::Protocol,
                "cancel request with a key of a wrong length",
            ),
            error => Self::told(Reason::Protocol, error.into()),
        }
    }
}
