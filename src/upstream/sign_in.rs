//! Startup and authentication at a server (manual, 55.2.1 and 55.3), until it is ready for queries.
//!
//! Methods: trust, certificate, clear text, MD5, SCRAM-SHA-256 and -PLUS. The server's ParameterStatus
//! and BackendKeyData are collected. Sent are user and database alone, so that the role's and
//! the database's own defaults stand.

use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::{ConnectError, ServerError, SignInError};
use super::transport::{Message, Transport, Wire};
use super::{Credentials, Target};
use crate::auth::password::{md5_answer, md5_stored};
use crate::auth::scram::{
    ClientBinding, ClientExchange, ClientFinished, ClientSecret, SCRAM_SHA_256, SCRAM_SHA_256_PLUS,
};
use crate::error::SqlState;

/// Most parameters that a server may report.
const MAX_PARAMETERS: usize = 200;
/// Longest cancel key of protocol 3.2.
const MAX_CANCEL_KEY: usize = 256;

/// What the server said on the way.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) process_id: i32,
    pub(super) cancel_key: Vec<u8>,
    pub(super) parameters: Vec<(String, String)>,
}

/// What the connection allows for channel binding.
#[derive(Debug, Clone)]
pub(super) struct Channel {
    pub(super) is_tls: bool,
    pub(super) end_point: Option<Vec<u8>>,
}

impl Channel {
    pub(super) fn of(transport: &Transport) -> Self {
        Self {
            is_tls: transport.is_tls(),
            end_point: transport.end_point(),
        }
    }
}

/// Signs in; the server is ready for queries afterwards.
pub(super) async fn sign_in<T: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<T>,
    target: &Target,
    channel: Channel,
) -> Result<Session, ConnectError> {
    let own = [
        ("user", target.role.as_str()),
        ("database", target.database.as_str()),
    ];
    let settings = target
        .settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let names = own.into_iter().chain(settings);
    wire.send(|out| frontend::startup_message(names, out))
        .await?;
    authenticate(wire, target, channel).await?;
    let mut session = Session::default();
    loop {
        let message = wire.next().await?;
        match message.tag {
            b'K' => session.take_key(message.body)?,
            b'Z' => return ready(message).map(|()| session),
            b'E' => return Err(ConnectError::Refused(ServerError::parse(message.body))),
            _ => session.asynchronous(message)?,
        }
    }
}

/// Runs a simple query whose result nobody wants; the server is ready for queries afterwards.
pub(super) async fn run<T: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<T>,
    session: &mut Session,
    query: &str,
) -> Result<(), ConnectError> {
    wire.send(|out| frontend::query(query, out)).await?;
    loop {
        let message = wire.next().await?;
        match message.tag {
            b'Z' => return ready(message),
            b'E' => return Err(failed_query(ServerError::parse(message.body))),
            b'C' | b'D' | b'I' | b'T' => {}
            b'G' | b'H' | b'W' => {
                return Err(ConnectError::Protocol("connect_query must not use COPY"));
            }
            _ => session.asynchronous(message)?,
        }
    }
}

/// Takes what the server sent of its own accord right behind ReadyForQuery, if it is here already.
pub(super) async fn settle<T: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<T>,
    session: &mut Session,
) -> Result<(), ConnectError> {
    while wire.has_unread() {
        session.asynchronous(wire.next().await?)?;
    }
    Ok(())
}

/// An administrator who ends the server connection is not the query's fault.
fn failed_query(error: ServerError) -> ConnectError {
    if error.code == SqlState::SHUTDOWN {
        ConnectError::Refused(error)
    } else {
        ConnectError::ConnectQuery(error)
    }
}

pub(super) fn ready(message: Message<'_>) -> Result<(), ConnectError> {
    match message.body {
        b"I" => Ok(()),
        _ => Err(ConnectError::Protocol(
            "not idle when ready (is there a BEGIN in connect_query?)",
        )),
    }
}

impl Session {
    /// NoticeResponse, NotificationResponse and ParameterStatus may come at any time (55.2.7).
    pub(super) fn asynchronous(&mut self, message: Message<'_>) -> Result<(), ConnectError> {
        match message.tag {
            b'N' | b'A' => Ok(()),
            b'S' => self.take_parameter(message.body),
            // The server ends what it has just begun (57P01).
            b'E' => Err(ConnectError::Refused(ServerError::parse(message.body))),
            _ => Err(ConnectError::Protocol("an unexpected message")),
        }
    }

    fn take_parameter(&mut self, body: &[u8]) -> Result<(), ConnectError> {
        let mut texts = body.split(|b| *b == 0).map(String::from_utf8_lossy);
        let (Some(name), Some(value)) = (texts.next(), texts.next()) else {
            return Err(ConnectError::Protocol("a malformed ParameterStatus"));
        };
        if let Some(known) = self.parameters.iter_mut().find(|(n, _)| *n == name) {
            known.1 = value.into_owned();
        } else if self.parameters.len() < MAX_PARAMETERS {
            self.parameters
                .push((name.into_owned(), value.into_owned()));
        } else {
            return Err(ConnectError::Protocol("too many parameters"));
        }
        Ok(())
    }

    fn take_key(&mut self, body: &[u8]) -> Result<(), ConnectError> {
        match body.split_first_chunk() {
            Some((id, key)) if (4..=MAX_CANCEL_KEY).contains(&key.len()) => {
                self.process_id = i32::from_be_bytes(*id);
                self.cancel_key = key.to_vec();
                Ok(())
            }
            Some(_) | None => Err(ConnectError::Protocol("a malformed BackendKeyData")),
        }
    }
}

/// What the server asks for.
enum Request {
    Ok,
    ClearText,
    Md5([u8; 4]),
    Sasl(Vec<String>),
    SaslContinue(Vec<u8>),
    SaslFinal(Vec<u8>),
}

/// The server's next word on authentication.
async fn request<T: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<T>,
) -> Result<Request, ConnectError> {
    loop {
        let message = wire.next().await?;
        match message.tag {
            b'R' => return parse_request(message.body),
            b'E' => return Err(ConnectError::Refused(ServerError::parse(message.body))),
            b'N' => {}
            _ => {
                return Err(ConnectError::Protocol(
                    "an unexpected message before signing in",
                ));
            }
        }
    }
}

fn parse_request(body: &[u8]) -> Result<Request, ConnectError> {
    let malformed = ConnectError::Protocol("a malformed authentication request");
    let Some((code, rest)) = body.split_first_chunk() else {
        return Err(malformed);
    };
    match (i32::from_be_bytes(*code), rest) {
        (0, []) => Ok(Request::Ok),
        (3, []) => Ok(Request::ClearText),
        (5, salt) => salt.try_into().map(Request::Md5).map_err(|_| malformed),
        (10, list) => {
            let names = list.split(|b| *b == 0).filter(|name| !name.is_empty());
            Ok(Request::Sasl(
                names
                    .map(|n| String::from_utf8_lossy(n).into_owned())
                    .collect(),
            ))
        }
        (11, data) => Ok(Request::SaslContinue(data.to_vec())),
        (12, data) => Ok(Request::SaslFinal(data.to_vec())),
        (0 | 3, _) => Err(malformed),
        (other, _) => Err(SignInError::Method(other).into()),
    }
}

async fn authenticate<T: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<T>,
    target: &Target,
    channel: Channel,
) -> Result<(), ConnectError> {
    match request(wire).await? {
        Request::Ok => return Ok(()),
        Request::ClearText => {
            let password = password(&target.credentials)?.as_bytes();
            wire.send(|out| frontend::password_message(password, out))
                .await?;
        }
        Request::Md5(salt) => {
            let stored = md5_stored(password(&target.credentials)?, target.role.as_str());
            let answer = md5_answer(&stored, salt).expect("md5_stored gives the stored form");
            wire.send(|out| frontend::password_message(answer.as_bytes(), out))
                .await?;
        }
        Request::Sasl(offered) => scram(wire, &offered, &target.credentials, channel).await?,
        Request::SaslContinue(_) | Request::SaslFinal(_) => {
            return Err(ConnectError::Protocol("SASL out of order"));
        }
    }
    match request(wire).await? {
        Request::Ok => Ok(()),
        _ => Err(ConnectError::Protocol("a second authentication request")),
    }
}

fn password(credentials: &Credentials) -> Result<&str, SignInError> {
    match credentials {
        Credentials::Password(secret) => Ok(secret.expose()),
        Credentials::ScramKey(_) => Err(SignInError::KeyNeedsScram),
        Credentials::None => Err(SignInError::NoPassword),
    }
}

/// Until the server has proved itself; AuthenticationOk is still to come.
async fn scram<T: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<T>,
    offered: &[String],
    credentials: &Credentials,
    channel: Channel,
) -> Result<(), ConnectError> {
    if matches!(credentials, Credentials::None) {
        return Err(SignInError::NoPassword.into());
    }
    let binding = choose(offered, channel)?;
    let mechanism = binding.mechanism();
    let (exchange, first) = ClientExchange::start(binding).map_err(SignInError::Scram)?;
    wire.send(|out| frontend::sasl_initial_response(mechanism, &first, out))
        .await?;
    let Request::SaslContinue(challenge) = request(wire).await? else {
        return Err(ConnectError::Protocol("SASL out of order"));
    };
    let (finished, last) = respond(exchange, challenge, credentials.clone()).await?;
    wire.send(|out| frontend::sasl_response(&last, out)).await?;
    let Request::SaslFinal(proof) = request(wire).await? else {
        return Err(ConnectError::Protocol("SASL out of order"));
    };
    finished
        .verify(&proof)
        .map_err(|e| SignInError::Scram(e).into())
}

/// PBKDF2 takes milliseconds, and as long as the server likes: not on a thread that others need.
async fn respond(
    exchange: ClientExchange,
    challenge: Vec<u8>,
    credentials: Credentials,
) -> Result<(ClientFinished, Vec<u8>), ConnectError> {
    let work = move || {
        let secret = match &credentials {
            Credentials::Password(secret) => ClientSecret::Password(secret.expose()),
            Credentials::ScramKey(key) => ClientSecret::Key(key),
            Credentials::None => return Err(SignInError::NoPassword),
        };
        exchange
            .respond(&challenge, secret)
            .map_err(SignInError::Scram)
    };
    // It does not panic; it is dropped when the runtime shuts down.
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| ConnectError::Lost("shutting down".to_owned()))??)
}

/// The strongest mechanism that both sides have.
fn choose(offered: &[String], channel: Channel) -> Result<ClientBinding, SignInError> {
    let has = |name| offered.iter().any(|o| o == name);
    match channel {
        Channel {
            is_tls: true,
            end_point: Some(data),
        } if has(SCRAM_SHA_256_PLUS) => Ok(ClientBinding::EndPoint(data)),
        _ if !has(SCRAM_SHA_256) => Err(SignInError::Mechanism),
        Channel {
            is_tls: true,
            end_point: Some(_),
        } => Ok(ClientBinding::NotOffered),
        Channel { .. } => Ok(ClientBinding::Unavailable),
    }
}

#[cfg(test)]
#[path = "sign_in_tests.rs"]
mod tests;
