//! The first packets of a client: requests for encryption, cancel requests, the startup message
//! (manual, 55.2.1 and 55.7).
//!
//! Guarantees: no input panics or allocates more than a small multiple of its own length, which
//! [`body_length`] bounds before anything is read. Limits and wording are PostgreSQL's. What is
//! refused here is refused for everybody alike: nothing here knows a tenant.

mod options;

use crate::error::{ClientError, SqlState};

/// Longest packet behind its length field, as in PostgreSQL (`MAX_STARTUP_PACKET_LENGTH`).
pub const MAX_BODY: usize = 10_000;

const MAGIC: u16 = 1234;
const CANCEL: u16 = 5678;
const SSL: u16 = 5679;
const GSS: u16 = 5680;

/// One of the packets that carry no message type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstPacket {
    /// Asks for TLS.
    SslRequest,
    /// Asks for GSSAPI encryption.
    GssRequest,
    /// Asks to cancel what another connection runs.
    Cancel(CancelRequest),
    /// Opens a session.
    Startup(Startup),
}

/// A cancel request.
#[derive(Clone, PartialEq, Eq)]
pub struct CancelRequest {
    /// From BackendKeyData.
    pub process_id: i32,
    /// From BackendKeyData, 4 to 256 bytes.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for CancelRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelRequest")
            .field("process_id", &self.process_id)
            .finish_non_exhaustive()
    }
}

/// A startup message of protocol 3.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Startup {
    /// The minor version asked for.
    pub minor: u16,
    /// Names of protocol options (`_pq_.`) that we do not know: all of them.
    pub unknown_options: Vec<String>,
    /// The user name as sent, not empty.
    pub user: String,
    /// The database as sent, unless empty.
    pub database: Option<String>,
    /// What names the tenant outright, in `options` or as a parameter; distinct values.
    pub tenants: Vec<String>,
    /// Everything else: first `options` taken apart, then the other parameters, which override
    /// them, as in PostgreSQL.
    pub settings: Vec<(String, String)>,
}

/// The minor versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Minor {
    /// 3.0
    Zero,
    /// 3.2
    Two,
}

/// Why a first packet is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    /// The length field is out of bounds.
    #[error("invalid length of startup packet")]
    Length,
    /// The key of a cancel request is shorter than 4 or longer than 256 bytes.
    #[error("invalid length of cancel key")]
    CancelKey,
    /// No protocol that we know.
    #[error("unsupported frontend protocol {0}.{1}: server supports 3.0 to 3.2")]
    Version(u16, u16),
    /// A name without a value, a missing terminator, or bytes behind it.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// A name or value is not UTF-8.
    #[error("invalid startup packet: names and values must be UTF-8")]
    Encoding,
    /// There is no user name.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    /// The client wants physical replication.
    #[error("physical replication is not supported through this proxy")]
    Replication,
    /// A word of `options` is not understood.
    #[error("invalid command-line argument for server process: {0}")]
    Option(String),
}

impl From<StartupError> for ClientError {
    fn from(error: StartupError) -> Self {
        let (code, hint) = match &error {
            StartupError::Length
            | StartupError::CancelKey
            | StartupError::Layout
            | StartupError::Encoding => (SqlState::PROTOCOL, None),
            StartupError::Version(..) => (SqlState::UNSUPPORTED, None),
            StartupError::NoUser => (SqlState::INVALID_AUTHORIZATION, None),
            StartupError::Replication => (
                SqlState::UNSUPPORTED,
                Some("connect to the database server itself for replication"),
            ),
            StartupError::Option(_) => (
                SqlState::INVALID_PARAMETER,
                Some("options may hold \"-c name=value\", \"--name=value\" and \"tenant=slug\""),
            ),
        };
        let refusal = Self::fatal(code, error.to_string());
        match hint {
            Some(hint) => refusal.with_hint(hint),
            None => refusal,
        }
    }
}

/// How many bytes follow the length field; an error says that none of them should be read.
pub fn body_length(field: [u8; 4]) -> Result<usize, StartupError> {
    let total = usize::try_from(u32::from_be_bytes(field)).map_err(|_| StartupError::Length)?;
    match total.checked_sub(4) {
        Some(body) if (4..=MAX_BODY).contains(&body) => Ok(body),
        _ => Err(StartupError::Length),
    }
}

/// Decodes what stands behind the length field.
pub fn decode(body: &[u8]) -> Result<FirstPacket, StartupError> {
    let (code, rest) = body.split_first_chunk::<4>().ok_or(StartupError::Length)?;
    let major = u16::from_be_bytes([code[0], code[1]]);
    let minor = u16::from_be_bytes([code[2], code[3]]);
    match (major, minor) {
        (MAGIC, CANCEL) => cancel(rest).map(FirstPacket::Cancel),
        (MAGIC, SSL) if rest.is_empty() => Ok(FirstPacket::SslRequest),
        (MAGIC, GSS) if rest.is_empty() => Ok(FirstPacket::GssRequest),
        (MAGIC, SSL | GSS) => Err(StartupError::Length),
        (3, minor) => startup(minor, rest).map(FirstPacket::Startup),
        (major, minor) => Err(StartupError::Version(major, minor)),
    }
}

fn cancel(rest: &[u8]) -> Result<CancelRequest, StartupError> {
    let (process_id, key) = rest
        .split_first_chunk::<4>()
        .ok_or(StartupError::CancelKey)?;
    if !(4..=256).contains(&key.len()) {
        return Err(StartupError::CancelKey);
    }
    Ok(CancelRequest {
        process_id: i32::from_be_bytes(*process_id),
        key: key.to_vec(),
    })
}

fn startup(minor: u16, mut rest: &[u8]) -> Result<Startup, StartupError> {
    let mut found = Startup {
        minor,
        ..Startup::default()
    };
    let mut from_options = Vec::new();
    loop {
        let name = text(&mut rest)?;
        if name.is_empty() {
            break;
        }
        let value = text(&mut rest)?;
        match name {
            "user" => found.user = value.to_owned(),
            "database" => found.database = (!value.is_empty()).then(|| value.to_owned()),
            "options" => from_options = options::parse(value)?,
            "replication" if is_false(value) => {}
            // Logical: whether the tenant may is told after the login.
            "replication" if value == "database" => {
                found.settings.push((name.to_owned(), value.to_owned()));
            }
            "replication" => return Err(StartupError::Replication),
            _ if name.starts_with("_pq_.") => found.unknown_options.push(name.to_owned()),
            _ => found.settings.push((name.to_owned(), value.to_owned())),
        }
    }
    if !rest.is_empty() {
        return Err(StartupError::Layout);
    }
    if found.user.is_empty() {
        return Err(StartupError::NoUser);
    }
    found.take_settings(from_options);
    Ok(found)
}

/// Takes one string with its final NUL off the front.
fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, StartupError> {
    let end = rest
        .iter()
        .position(|b| *b == 0)
        .ok_or(StartupError::Layout)?;
    let (head, tail) = rest.split_at(end);
    *rest = &tail[1..];
    std::str::from_utf8(head).map_err(|_| StartupError::Encoding)
}

/// PostgreSQL's `parse_bool`, the false half: unique prefixes count.
fn is_false(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let prefix_of = |word: &str, least: usize| value.len() >= least && word.starts_with(&value);
    prefix_of("false", 1) || prefix_of("no", 1) || prefix_of("off", 2) || value == "0"
}

impl Startup {
    /// Puts those of `options` before the others, and takes the tenant's names out.
    fn take_settings(&mut self, from_options: Vec<(String, String)>) {
        let others = std::mem::take(&mut self.settings);
        for (name, value) in from_options.into_iter().chain(others) {
            if !name.eq_ignore_ascii_case("tenant") {
                self.settings.push((name, value));
            } else if !self.tenants.contains(&value) {
                self.tenants.push(value);
            }
        }
    }

    /// The version to speak. 3.1 never existed: who asks for it gets 3.0.
    pub fn agreed(&self) -> Minor {
        if self.minor >= 2 {
            Minor::Two
        } else {
            Minor::Zero
        }
    }

    /// NegotiateProtocolVersion, where the client asked for what we do not speak. It goes before
    /// the authentication request. libpq refuses an answer of 3.1, so there is none.
    pub fn negotiation(&self) -> Option<Vec<u8>> {
        let minor = match self.agreed() {
            Minor::Zero => 0,
            Minor::Two => 2,
        };
        if minor == self.minor && self.unknown_options.is_empty() {
            return None;
        }
        let mut body = Vec::new();
        body.extend([0, 3]);
        body.extend(minor.to_be_bytes());
        let count = u32::try_from(self.unknown_options.len()).unwrap_or(u32::MAX);
        body.extend(count.to_be_bytes());
        for name in &self.unknown_options {
            body.extend(name.as_bytes());
            body.push(0);
        }
        let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
        let mut message = vec![b'v'];
        message.extend(length.to_be_bytes());
        message.extend(body);
        Some(message)
    }
}

#[cfg(test)]
mod tests;
