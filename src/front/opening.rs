//! From the first byte to the startup message: encryption is agreed upon, or a cancel request
//! recognised (manual, 55.2.1, 55.2.8, 55.2.10 to 55.2.11).
//!
//! Each message is read exactly: bytes smuggled in plain text behind SSLRequest are taken for a
//! TLS handshake, which they are not, never for a startup message. Each request for encryption is
//! answered once.

use super::channel::{Channel, Turns};
use super::counts::Reason;
use super::end::End;
use crate::tls::server::{ALPN, ServerSide};
use crate::wire::startup::{CancelRequest, FirstPacket, Startup, body_length, decode};

/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// What the client wants.
#[derive(Debug)]
pub(super) enum Opened {
    /// A session.
    Startup(Startup),
    /// To stop what another connection runs.
    Cancel(CancelRequest),
}

/// Reads first packets until one of them says what the client wants.
pub(super) async fn open(
    channel: &mut Channel,
    tls: Option<&ServerSide>,
    turns: &Turns<'_>,
) -> Result<Opened, End> {
    let tls = tls.filter(|_| !channel.is_unix());
    let mut first = [0; 4];
    channel.read_exact(&mut first[..1]).await?;
    if first[0] == TLS_HANDSHAKE {
        start_direct(channel, first[0], tls, turns).await?;
        channel.read_exact(&mut first).await?;
    } else {
        channel.read_exact(&mut first[1..]).await?;
    }
    let (mut ssl_asked, mut gss_asked) = (channel.tls().is_some(), false);
    loop {
        let length = body_length(first)?;
        let body = channel.read_body(length).await?;
        match decode(&body)? {
            FirstPacket::Startup(startup) => return Ok(Opened::Startup(startup)),
            FirstPacket::Cancel(request) => return Ok(Opened::Cancel(request)),
            FirstPacket::SslRequest if ssl_asked => {
                return Err(End::protocol("SSLRequest was sent twice"));
            }
            FirstPacket::SslRequest => {
                ssl_asked = true;
                answer_ssl(channel, tls, turns).await?;
            }
            FirstPacket::GssRequest if gss_asked => {
                return Err(End::protocol("GSSENCRequest was sent twice"));
            }
            FirstPacket::GssRequest => {
                gss_asked = true;
                channel.write_all(b"N").await?;
            }
        }
        channel.read_exact(&mut first).await?;
    }
}

async fn answer_ssl(
    channel: &mut Channel,
    tls: Option<&ServerSide>,
    turns: &Turns<'_>,
) -> Result<(), End> {
    let Some(side) = tls else {
        return Ok(channel.write_all(b"N").await?);
    };
    channel.write_all(b"S").await?;
    Ok(channel.start_tls(side.config.clone(), &[], turns).await?)
}

/// TLS without SSLRequest: ALPN must name the protocol, so that no other protocol's traffic can be
/// turned on us.
async fn start_direct(
    channel: &mut Channel,
    first: u8,
    tls: Option<&ServerSide>,
    turns: &Turns<'_>,
) -> Result<(), End> {
    let side = tls.ok_or(End::Silent(
        Reason::Tls,
        "direct TLS where TLS is not served",
    ))?;
    channel
        .start_tls(side.config.clone(), &[first], turns)
        .await?;
    match channel.tls().and_then(|tls| tls.alpn_protocol()) {
        Some(ALPN) => Ok(()),
        Some(_) | None => Err(End::Silent(
            Reason::Tls,
            "direct TLS without ALPN \"postgresql\"",
        )),
    }
}
