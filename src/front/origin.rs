//! Where a client comes from: its socket's addresses, or those in the header of a balancer.
//!
//! Guarantees: nobody but a configured source is believed; with `proxy_protocol = "required"`
//! nobody else gets any further, and nothing of a client is read before the header.

use super::Ends;
use super::channel::Channel;
use super::counts::Reason;
use super::end::End;
use crate::config::{ProxyMode, ProxyProtocol};
use crate::wire::proxy_header::{HEAD, Origin, head};

/// Both ends of a connection as they count from now on. A Unix socket has none, and no header.
pub(super) async fn ends(
    channel: &mut Channel,
    proxy: &ProxyProtocol,
    own: Option<Ends>,
) -> Result<Option<Ends>, End> {
    let (ProxyMode::Required, Some(socket)) = (proxy.mode, own) else {
        return Ok(own);
    };
    let from = socket.peer.ip();
    if !proxy.sources.iter().any(|network| network.contains(&from)) {
        let why = "not one of proxy_protocol_sources";
        return Err(End::Silent(Reason::ProxyHeader, why));
    }
    let mut first = [0; HEAD];
    channel.read_exact(&mut first).await?;
    let head = head(&first)?;
    let body = channel.read_body(head.body_length()).await?;
    Ok(Some(match head.origin(&body)? {
        Origin::Own => socket,
        Origin::Proxied {
            source,
            destination,
        } => Ends::new(source, destination),
    }))
}
