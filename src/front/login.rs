//! The proof of a login, by each method.
//!
//! Guarantee: a login by a name that does not exist, and one that is refused for any other reason
//! that is not the client's to know, goes through the very same messages and the same work as one
//! with a wrong password; [`Applicant::who`] is then an error and no proof fits.
//!
//! A client is asked for its secret before anybody looks who it is: what the look-ups take is
//! spent while its answer is on the way, and shows in no answer of ours.

use std::net::IpAddr;

use super::channel::Channel;
use super::counts::Reason;
use super::end::{Cause, End};
use crate::auth::cert::names_role;
use crate::auth::messages;
use crate::auth::scram::{
    Genuine, MAX_MESSAGE, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramError, ServerBinding,
    ServerExchange, Verifier,
};
use crate::auth::verifier::{Claim, Verifiers};
use crate::config::AuthMethod;
use crate::error::{ClientError, SqlState};
use crate::tenant::resolve::Failure;
use crate::types::{RoleName, ScramClientKey, TenantId};

const NO_RANDOM: &str = "no random bytes from the operating system";

/// Longest password message.
const MAX_PASSWORD: usize = 10_000;

/// Longest SASL message: SCRAM's own limit, with room for the mechanism's name.
const MAX_SASL: usize = MAX_MESSAGE + 64;

/// Who wants in.
#[derive(Debug)]
pub(super) struct Applicant<'a> {
    /// The tenant and role to prove, or why nothing can prove it.
    pub(super) who: Result<Known<'a>, &'a Unfit>,
    /// What its login says, known or not.
    pub(super) claim: Claim<'a>,
    /// The role that the claim names, if there is one. A login that nothing can prove shows its
    /// salt all the same: who compares the salts of good and bad logins must not learn that it
    /// exists.
    pub(super) claimed: Option<(TenantId, &'a RoleName)>,
    /// The user name as sent.
    pub(super) user: &'a str,
}

/// Why no proof can fit. For the log alone.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    /// Two tenants in one startup packet.
    #[error("the startup options name two tenants, {0:?} and {1:?}")]
    TwoTenants(String, String),
    /// The evidence leads to nobody.
    #[error(transparent)]
    Evidence(#[from] Failure),
    /// The tenant's clients come from elsewhere.
    #[error("{0} is not in the tenant's allowed_networks")]
    Network(IpAddr),
    /// Not one of `[console] users`.
    #[error("the console has no such user")]
    Operator,
}

impl Unfit {
    /// What is counted.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Evidence(Failure::NoTenant | Failure::UnknownTenant(_) | Failure::Console) => {
                Reason::UnknownTenant
            }
            Self::Evidence(Failure::UnknownRole(_)) | Self::Operator => Reason::UnknownRole,
            Self::TwoTenants(..)
            | Self::Evidence(Failure::Disagree(..) | Failure::ForeignDatabase(_)) => {
                Reason::EvidenceDisagrees
            }
            Self::Network(_) => Reason::Network,
        }
    }
}

/// A role that exists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// Its tenant.
    pub(super) id: TenantId,
    /// The tenant's slug.
    pub(super) slug: &'a str,
    /// The role.
    pub(super) role: &'a RoleName,
}

/// What a client was asked for, which depends on the listener alone.
#[derive(Debug)]
pub(super) enum Asked {
    /// SCRAM, with or without channel binding.
    Scram(ServerBinding),
    /// A password hashed with this salt.
    Md5([u8; 4]),
    /// Nothing: the handshake has verified the chain of its certificate.
    Certificate,
    /// Nothing at all.
    Trust,
}

/// Asks a client for its secret. `binding` is what the connection can bind a login to.
pub(super) async fn ask(
    channel: &mut Channel,
    method: AuthMethod,
    binding: ServerBinding,
) -> Result<Asked, End> {
    match method {
        AuthMethod::ScramSha256 => {
            let offered: &[&str] = match binding {
                ServerBinding::Unavailable => &[SCRAM_SHA_256],
                ServerBinding::EndPoint(_) => &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256],
            };
            channel.write_all(&messages::sasl(offered)).await?;
            Ok(Asked::Scram(binding))
        }
        AuthMethod::Md5 => {
            let mut salt = [0; 4];
            getrandom::fill(&mut salt).map_err(|_| End::Silent(Reason::Internal, NO_RANDOM))?;
            channel.write_all(&messages::md5_password(salt)).await?;
            Ok(Asked::Md5(salt))
        }
        AuthMethod::Cert => Ok(Asked::Certificate),
        AuthMethod::Trust => Ok(Asked::Trust),
    }
}

/// Takes the client's answer; `Ok` is the proof, with the client's key where SCRAM was the method.
pub(super) async fn prove(
    channel: &mut Channel,
    asked: Asked,
    applicant: &Applicant<'_>,
    verifiers: &Verifiers,
) -> Result<Option<ScramClientKey>, End> {
    match asked {
        Asked::Scram(binding) => {
            let verifier = applicant.verifier(verifiers);
            scram(channel, applicant, verifier, binding).await.map(Some)
        }
        Asked::Md5(salt) => {
            let check = verifiers.md5(applicant.pair(), applicant.user);
            let body = response(channel, MAX_PASSWORD).await?;
            let answer =
                messages::password(&body).ok_or(End::protocol("malformed password message"))?;
            if check.fits(salt, answer) {
                Ok(None)
            } else {
                Err(applicant.refused(Reason::Password, "wrong password"))
            }
        }
        Asked::Certificate => certificate(channel, applicant).map(|()| None),
        Asked::Trust => match &applicant.who {
            Ok(_) => Ok(None),
            Err(_) => Err(applicant.refused(Reason::UnknownRole, "")),
        },
    }
}

impl Applicant<'_> {
    /// `reason` and `why` count where the name itself is good; see [`End::because`].
    fn refused(&self, reason: Reason, why: &'static str) -> End {
        End::login(self.user, Cause::Proof(reason, why))
    }

    /// What a SCRAM login is checked against; a mock unless the name itself is good.
    fn verifier(&self, verifiers: &Verifiers) -> (Verifier, Genuine) {
        let shown = self.pair().or(self.claimed);
        match (verifiers.scram(shown, &self.claim), &self.who) {
            ((verifier, genuine), Ok(_)) => (verifier, genuine),
            ((verifier, _), Err(_)) => (verifier, Genuine::Mock),
        }
    }

    fn pair(&self) -> Option<(TenantId, &RoleName)> {
        self.who.as_ref().ok().map(|known| (known.id, known.role))
    }
}

async fn scram(
    channel: &mut Channel,
    applicant: &Applicant<'_>,
    (verifier, genuine): (Verifier, Genuine),
    binding: ServerBinding,
) -> Result<ScramClientKey, End> {
    let body = response(channel, MAX_SASL).await?;
    let (mechanism, data) =
        messages::sasl_initial(&body).ok_or(End::protocol("malformed SASL response"))?;
    let refused = |error| scram_refusal(error, applicant);
    let (exchange, first) =
        ServerExchange::start(verifier, genuine, binding, mechanism, data).map_err(refused)?;
    channel.write_all(&messages::sasl_continue(&first)).await?;
    let last = response(channel, MAX_SASL).await?;
    let (final_message, key) = exchange.finish(&last).map_err(refused)?;
    channel
        .write_all(&messages::sasl_final(&final_message))
        .await?;
    Ok(key)
}

/// What is wrong with the client's messages is told as it is; it depends on nothing but them.
fn scram_refusal(error: ScramError, applicant: &Applicant<'_>) -> End {
    let code = match error {
        ScramError::WrongPassword => {
            return applicant.refused(Reason::Password, "no proof of the password");
        }
        ScramError::Random => return End::Silent(Reason::Internal, NO_RANDOM),
        ScramError::Downgrade | ScramError::Binding => SqlState::INVALID_AUTHORIZATION,
        ScramError::AuthorizationIdentity | ScramError::Extension => SqlState::UNSUPPORTED,
        ScramError::Malformed(_)
        | ScramError::Mechanism
        | ScramError::Nonce
        | ScramError::Iterations(_)
        | ScramError::Refused
        | ScramError::ServerSignature => SqlState::PROTOCOL,
    };
    End::told(
        Reason::Protocol,
        ClientError::fatal(code, error.to_string()),
    )
}

/// The handshake has verified the chain; here the name must fit.
fn certificate(channel: &Channel, applicant: &Applicant<'_>) -> Result<(), End> {
    let shown = channel
        .tls()
        .and_then(|tls| tls.peer_certificates())
        .and_then(<[_]>::first);
    let why = match (&applicant.who, shown) {
        (Ok(known), Some(shown)) if names_role(shown, known.role.as_str(), known.slug) => {
            return Ok(());
        }
        (_, Some(_)) => "the client certificate does not name this role of this tenant",
        (_, None) => "no client certificate",
    };
    Err(applicant.refused(Reason::Certificate, why))
}

/// One answer of the client: a message of type `p` and bounded size.
async fn response(channel: &mut Channel, limit: usize) -> Result<Vec<u8>, End> {
    let mut header = [0; 5];
    channel.read_exact(&mut header).await?;
    let [kind, length @ ..] = header;
    match kind {
        b'p' => {}
        b'X' => return Err(End::Silent(Reason::Gone, "the client gave up")),
        _ => {
            return Err(End::protocol(
                "expected an answer to the authentication request",
            ));
        }
    }
    let length = usize::try_from(u32::from_be_bytes(length))
        .ok()
        .and_then(|n| n.checked_sub(4));
    match length {
        Some(length) if length <= limit => Ok(channel.read_body(length).await?),
        Some(_) | None => Err(End::protocol("invalid length of an authentication message")),
    }
}
