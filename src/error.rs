//! What a client may be told: the only place with SQLSTATE literals.
//!
//! Source of the codes: PostgreSQL manual, appendix A. A server's own error passes through
//! untouched and never becomes a [`ClientError`].

use std::borrow::Cow;

/// An error for a client: safe text only (no secrets, no other tenant's names).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ClientError {
    /// Whether the connection goes on after it.
    pub severity: Severity,
    /// Five characters.
    pub code: SqlState,
    /// One sentence, lower case, without a full stop, as PostgreSQL writes them.
    pub message: Cow<'static, str>,
    /// What to do about it.
    pub hint: Option<Cow<'static, str>>,
}

/// How far an error reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement fails, the connection stays.
    Error,
    /// The connection ends.
    Fatal,
}

/// A SQLSTATE: one that Tenantry itself raises, or what a server said when it refused us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// invalid_password: every failed login.
    pub const LOGIN: Self = Self(*b"28P01");
    /// too_many_connections: limits, budget, `acquire_timeout`.
    pub const TOO_MANY: Self = Self(*b"53300");
    /// cannot_connect_now: tenant suspended or paused, node starting up.
    pub const UNAVAILABLE: Self = Self(*b"57P03");
    /// admin_shutdown.
    pub const SHUTDOWN: Self = Self(*b"57P01");
    /// query_canceled: query timeout or cancel.
    pub const CANCELED: Self = Self(*b"57014");
    /// idle_in_transaction_session_timeout.
    pub const IDLE_IN_TRANSACTION: Self = Self(*b"25P03");
    /// in_failed_sql_transaction.
    pub const FAILED_TRANSACTION: Self = Self(*b"25P02");
    /// read_only_sql_transaction: a write on a read-only route.
    pub const READ_ONLY: Self = Self(*b"25006");
    /// idle_session_timeout.
    pub const IDLE_SESSION: Self = Self(*b"57P05");
    /// transaction_timeout.
    pub const TRANSACTION_TIMEOUT: Self = Self(*b"25P04");
    /// protocol_violation.
    pub const PROTOCOL: Self = Self(*b"08P01");
    /// connection_failure: the server was lost or cannot be reached.
    pub const LOST: Self = Self(*b"08006");
    /// transaction_resolution_unknown: the server was lost while a COMMIT was in flight.
    pub const UNKNOWN_OUTCOME: Self = Self(*b"08007");
    /// feature_not_supported.
    pub const UNSUPPORTED: Self = Self(*b"0A000");
    /// invalid_parameter_value: a malformed startup parameter.
    pub const INVALID_PARAMETER: Self = Self(*b"22023");
    /// invalid_authorization_specification, for a connection without required TLS.
    pub const INVALID_AUTHORIZATION: Self = Self(*b"28000");
    /// program_limit_exceeded.
    pub const TOO_LARGE: Self = Self(*b"54000");
    /// syntax_error: no command of the console.
    pub const SYNTAX: Self = Self(*b"42601");
    /// insufficient_privilege: the console's user may only look.
    pub const FORBIDDEN: Self = Self(*b"42501");
    /// undefined_object: a client or cluster that is not there.
    pub const UNDEFINED: Self = Self(*b"42704");
    /// invalid_catalog_name: no such tenant.
    pub const NO_DATABASE: Self = Self(*b"3D000");
    /// object_not_in_prerequisite_state: paused already, or not paused.
    pub const WRONG_STATE: Self = Self(*b"55000");
    /// config_file_error: a configuration that is not taken.
    pub const CONFIGURATION: Self = Self(*b"F0000");
    /// duplicate_prepared_statement.
    pub const DUPLICATE_STATEMENT: Self = Self(*b"42P05");
    /// invalid_sql_statement_name.
    pub const NO_STATEMENT: Self = Self(*b"26000");
    /// invalid_cursor_name: no such portal.
    pub const NO_PORTAL: Self = Self(*b"34000");
    /// successful_completion: of notices.
    const SUCCESS: Self = Self(*b"00000");

    /// Takes over a server's code: five digits and upper-case letters.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let code: [u8; 5] = text.try_into().ok()?;
        code.iter()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
            .then_some(Self(code))
    }

    /// The five characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII gets in")
    }

    /// Whether it is of the class of failed logins (28).
    pub fn is_authorization(&self) -> bool {
        self.0.starts_with(b"28")
    }
}

impl ClientError {
    /// An error that ends the statement.
    pub fn error(code: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// An error that ends the connection.
    pub fn fatal(code: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            severity: Severity::Fatal,
            ..Self::error(code, message)
        }
    }

    /// The same, where there is nothing to go on with.
    #[must_use]
    pub fn as_fatal(self) -> Self {
        Self {
            severity: Severity::Fatal,
            ..self
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<Cow<'static, str>>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Appends it as an ErrorResponse message (manual, 55.7 and 55.8).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let severity = match self.severity {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        };
        let hint = self.hint.as_deref().map(|hint| (b'H', hint));
        let body = Body {
            severity,
            code: self.code,
            message: &self.message,
            more: hint,
        };
        body.put(out, b'E');
    }
}

/// Something for the client to know, which is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// One sentence.
    pub message: Cow<'static, str>,
    /// More about it.
    pub detail: Option<Cow<'static, str>>,
}

impl Notice {
    /// One sentence.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            message: message.into(),
            detail: None,
        }
    }

    /// Appends it as a NoticeResponse message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let body = Body {
            severity: "NOTICE",
            code: SqlState::SUCCESS,
            message: &self.message,
            more: self.detail.as_deref().map(|detail| (b'D', detail)),
        };
        body.put(out, b'N');
    }
}

/// The fields of an error or a notice.
struct Body<'a> {
    severity: &'a str,
    code: SqlState,
    message: &'a str,
    more: Option<(u8, &'a str)>,
}

impl Body<'_> {
    fn put(&self, out: &mut Vec<u8>, tag: u8) {
        let start = out.len();
        out.push(tag);
        out.extend_from_slice(&[0; 4]);
        let mut field = |tag: u8, text: &str| {
            out.push(tag);
            out.extend(text.bytes().filter(|b| *b != 0));
            out.push(0);
        };
        field(b'S', self.severity);
        field(b'V', self.severity);
        field(b'C', self.code.as_str());
        field(b'M', self.message);
        if let Some((tag, text)) = self.more {
            field(tag, text);
        }
        out.push(0);
        let len = u32::try_from(out.len() - start - 1).unwrap_or(u32::MAX);
        out[start + 1..start + 5].copy_from_slice(&len.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_as_error_response() {
        let mut out = Vec::new();
        ClientError::fatal(SqlState::TOO_MANY, "full")
            .with_hint("wait")
            .encode(&mut out);
        assert_eq!(
            out,
            b"E\0\0\0\x26SFATAL\0VFATAL\0C53300\0Mfull\0Hwait\0\0".to_vec()
        );
        assert_eq!(out.len() - 1, 0x26);
    }

    #[test]
    fn encodes_as_notice_response() {
        let mut out = Vec::new();
        Notice::new("done").encode(&mut out);
        assert_eq!(out, b"N\0\0\0\x22SNOTICE\0VNOTICE\0C00000\0Mdone\0\0");
    }
}
