//! Why there is no server connection, for logs and for the clients that wait for it.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::auth::scram::ScramError;
use crate::error::{ClientError, SqlState};
use crate::tls::client::TlsSettingsError;

/// Longest text taken from a server's error, in characters.
const MAX_TEXT: usize = 500;

/// Why a connect failed. Its texts hold no secrets; the node is the caller's to name.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The name is unknown, or no address of it takes connections.
    #[error("cannot reach the server: {0}")]
    Unreachable(String),
    /// `connect_timeout` is over.
    #[error("the server was not ready within {0:?}")]
    Timeout(Duration),
    /// The server answered with an error.
    #[error("the server refused: {0}")]
    Refused(ServerError),
    /// Signed in, but `connect_query` failed.
    #[error("connect_query failed: {0}")]
    ConnectQuery(ServerError),
    /// We cannot do what the server asks for, or it did not prove who it is.
    #[error("cannot sign in at the server: {0}")]
    SignIn(#[from] SignInError),
    /// TLS was refused, failed, or its certificate was not accepted.
    #[error("TLS to the server failed: {0}")]
    Tls(String),
    /// The files for TLS cannot be used.
    #[error("TLS to the server is misconfigured: {0}")]
    TlsSettings(#[from] TlsSettingsError),
    /// The server does not speak the protocol.
    #[error("the server violates the protocol: {0}")]
    Protocol(&'static str),
    /// The connection broke while signing in.
    #[error("the server closed the connection: {0}")]
    Lost(String),
}

/// Why we cannot sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// Nothing is stored that it could be answered with.
    #[error("it asks for a password, but none is stored")]
    NoPassword,
    /// A client's SCRAM key answers nothing but SCRAM.
    #[error("it does not ask for SCRAM, which a client's own key needs")]
    KeyNeedsScram,
    /// GSSAPI, SSPI or something unknown.
    #[error("it asks for an unsupported method (code {0})")]
    Method(i32),
    /// SASL, but neither SCRAM-SHA-256 nor, over TLS, SCRAM-SHA-256-PLUS.
    #[error("it offers no SASL mechanism that can be used here")]
    Mechanism,
    /// SCRAM failed on our side.
    #[error("{0}")]
    Scram(#[from] ScramError),
}

/// What a server said in an ErrorResponse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// Its SQLSTATE.
    pub code: SqlState,
    /// Its primary message, in the server's language, shortened.
    pub message: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code.as_str())
    }
}

impl ServerError {
    /// Reads the body of an ErrorResponse (manual, 55.8); what is missing is filled in.
    pub(super) fn parse(body: &[u8]) -> Self {
        let field = |tag: u8| {
            let mut fields = body.split(|b| *b == 0);
            fields.find_map(|f| f.split_first().filter(|(t, _)| **t == tag).map(|(_, v)| v))
        };
        let code = field(b'C')
            .and_then(SqlState::parse)
            .unwrap_or(SqlState::LOST);
        let text = String::from_utf8_lossy(field(b'M').unwrap_or(b"no message"));
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        Self {
            code,
            message: text.chars().take(MAX_TEXT).map(plain).collect(),
        }
    }
}

impl ConnectError {
    pub(super) fn lost(error: &io::Error) -> Self {
        Self::Lost(error.to_string())
    }

    /// Whether trying again will not help until somebody changes something.
    pub fn is_final(&self) -> bool {
        match self {
            // 57P01: ended by an administrator; 57P03: starting up; 53300: full. All pass.
            Self::Refused(e) => ![
                SqlState::SHUTDOWN,
                SqlState::UNAVAILABLE,
                SqlState::TOO_MANY,
            ]
            .contains(&e.code),
            Self::ConnectQuery(_)
            | Self::SignIn(_)
            | Self::Tls(_)
            | Self::TlsSettings(_)
            | Self::Protocol(_) => true,
            Self::Unreachable(_) | Self::Timeout(_) | Self::Lost(_) => false,
        }
    }

    /// What a client is told that waited for the connection: the true reason, without addresses.
    ///
    /// A failed login of ours is never told as one of the client's: it is 08006. Other refusals
    /// (53300, 57P03, 3D000 ..) keep the server's code and text.
    pub fn client_error(&self) -> ClientError {
        let lost = |text: String| ClientError::fatal(SqlState::LOST, text);
        match self {
            Self::Refused(e) if !e.code.is_authorization() => {
                ClientError::fatal(e.code, e.message.clone())
            }
            Self::Refused(e) => server_login_failed(&e.message),
            Self::SignIn(e) => server_login_failed(&e.to_string()),
            Self::Unreachable(_) | Self::Timeout(_) | Self::Lost(_) => lost(self.to_string())
                .with_hint("the database server may be down or restarting; try again"),
            Self::ConnectQuery(_) => {
                lost(self.to_string()).with_hint("correct connect_query in the pool's settings")
            }
            Self::Tls(_) => lost(self.to_string())
                .with_hint("compare the cluster's tls settings with what the server offers"),
            // File names are the operator's business.
            Self::TlsSettings(_) => lost("TLS to the server is misconfigured".to_owned())
                .with_hint("the proxy's log names the file"),
            Self::Protocol(_) => lost(self.to_string()),
        }
    }
}

fn server_login_failed(reason: &str) -> ClientError {
    ClientError::fatal(SqlState::LOST, format!("server login failed: {reason}"))
        .with_hint("the proxy could not sign in at the database server: check the credentials stored for this tenant")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str) -> ConnectError {
        let body = format!("SFATAL\0VFATAL\0C{code}\0Mno\tentry\0\0");
        ConnectError::Refused(ServerError::parse(body.as_bytes()))
    }

    #[test]
    fn a_failed_login_of_ours_is_not_the_clients() {
        for code in ["28P01", "28000", "28XYZ"] {
            let told = refused(code).client_error();
            assert_eq!(told.code, SqlState::LOST);
            assert_eq!(told.message, "server login failed: no entry");
            assert!(told.hint.is_some());
        }
        let told = ConnectError::from(SignInError::NoPassword).client_error();
        assert_eq!(told.code, SqlState::LOST);
        assert!(told.message.starts_with("server login failed: "));
    }

    #[test]
    fn other_refusals_keep_their_code() {
        for code in ["53300", "57P03", "3D000", "42501"] {
            let told = refused(code).client_error();
            assert_eq!(
                (told.code.as_str(), told.message.as_ref()),
                (code, "no entry")
            );
        }
    }

    #[test]
    fn odd_error_responses_are_survived() {
        for body in [&b""[..], b"\0\0", b"Cx\0", b"M\xff\xfe\0", b"C28P0"] {
            let parsed = ServerError::parse(body);
            assert_eq!(parsed.code, SqlState::LOST, "{body:?}");
        }
        let long = [b"M", [b'x'; 9_000].as_slice(), b"\0\0"].concat();
        assert_eq!(ServerError::parse(&long).message.len(), MAX_TEXT);
    }
}
