//! How a connection ends that reaches no worker.

use std::io;
use std::time::Duration;

use super::counts::Reason;
use super::login::Unfit;
use crate::error::{ClientError, SqlState};
use crate::tenant::resolve::Resolved;
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
    Refused(Box<Refusal>),
}

/// What a client that is refused is told, and what it is not.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What the client reads.
    pub(super) error: ClientError,
    /// Why; the client must not learn it.
    pub(super) cause: Cause,
    /// The user name as sent, where the login came so far.
    pub(super) user: Option<String>,
    /// Whose proof did not fit. Here so that it is let go of when the client has its answer, which
    /// takes a time of its own as well.
    pub(super) of: Option<Resolved>,
}

/// Why a client is refused, for counts and the log. Its words are made once the client has its
/// answer: making them takes a time of its own for each cause, which would tell them apart.
#[derive(Debug)]
pub(super) enum Cause {
    /// Just what the client is told.
    Told(Reason),
    /// The proof does not fit.
    Proof(Reason, &'static str),
    /// No proof can fit.
    Unfit(Unfit),
}

impl Refusal {
    /// What is counted.
    pub(super) fn reason(&self) -> Reason {
        match &self.cause {
            Cause::Told(reason) | Cause::Proof(reason, _) => *reason,
            Cause::Unfit(unfit) => unfit.reason(),
        }
    }

    /// What the log says.
    pub(super) fn why(&self) -> String {
        match &self.cause {
            Cause::Told(_) => self.error.message.clone().into_owned(),
            Cause::Proof(_, why) => (*why).to_owned(),
            Cause::Unfit(unfit) => unfit.to_string(),
        }
    }
}

impl End {
    /// A refusal whose reason is no secret.
    pub(super) fn told(reason: Reason, error: ClientError) -> Self {
        Self::Refused(Box::new(Refusal {
            error,
            cause: Cause::Told(reason),
            user: None,
            of: None,
        }))
    }

    /// The login failed. Whatever the reason, the client reads the same.
    pub(super) fn login(user: &str, cause: Cause) -> Self {
        let text = format!("password authentication failed for user \"{user}\"");
        Self::Refused(Box::new(Refusal {
            error: ClientError::fatal(SqlState::LOGIN, text),
            cause,
            user: Some(user.to_owned()),
            of: None,
        }))
    }

    /// A failed login whose name itself is not good: that is why no proof fits.
    pub(super) fn because(mut self, unfit: Unfit) -> Self {
        if let Self::Refused(refusal) = &mut self
            && let Cause::Proof(..) = refusal.cause
        {
            refusal.cause = Cause::Unfit(unfit);
        }
        self
    }

    /// A failed login of somebody that there is.
    pub(super) fn of(mut self, found: Resolved) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.of = Some(found);
        }
        self
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
