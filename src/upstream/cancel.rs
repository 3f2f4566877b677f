//! Cancel requests to servers (manual, 55.2.8).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BufMut as _;
use tokio::time::{Instant, timeout};

use super::connect::Connectors;
use super::dial;
use super::error::ConnectError;
use super::transport::{Transport, Wire};
use crate::config::UpstreamTls;
use crate::types::NodeAddr;

/// The request code of CancelRequest.
const CANCEL: i32 = 80_877_102;

/// Which server connection's query to cancel.
pub struct ServerCancel {
    /// The node, for the name that TLS checks, or its Unix socket.
    pub node: NodeAddr,
    /// TLS as for the connection itself.
    pub tls: UpstreamTls,
    /// Where the connection really goes: a name may mean another server by now.
    pub peer: Option<SocketAddr>,
    /// From [`super::Upstream`].
    pub process_id: i32,
    /// From [`super::Upstream`].
    pub key: Vec<u8>,
    /// For all of it together.
    pub connect_timeout: Duration,
}

/// Sends the request and waits until the server has closed the connection, which it does after it
/// has passed the request on. Whether a query was hit is not told by the protocol.
pub async fn cancel(request: &ServerCancel, connectors: &Connectors) -> Result<(), ConnectError> {
    let limit = request.connect_timeout;
    let work = Box::pin(deliver(request, connectors, Instant::now() + limit));
    timeout(limit, work)
        .await
        .unwrap_or(Err(ConnectError::Timeout(limit)))
}

async fn deliver(
    request: &ServerCancel,
    connectors: &Connectors,
    deadline: Instant,
) -> Result<(), ConnectError> {
    if request.key.is_empty() {
        return Err(ConnectError::Protocol("the server gave no cancel key"));
    }
    let transport = match (request.node.unix_path(), request.peer) {
        (Some(path), _) => dial::open_unix(&path).await?,
        (None, Some(peer)) => {
            let socket = dial::open_tcp(&[peer], deadline).await?;
            dial::secure(socket, &request.node, &request.tls, connectors).await?
        }
        (None, None) => return Err(ConnectError::Unreachable("no address is known".to_owned())),
    };
    let mut wire = Wire::<Transport>::new(transport);
    let length = i32::try_from(12 + request.key.len());
    let length = length.map_err(|_| ConnectError::Protocol("a cancel key of absurd length"))?;
    wire.send(|out| {
        out.put_i32(length);
        out.put_i32(CANCEL);
        out.put_i32(request.process_id);
        out.put_slice(&request.key);
        Ok(())
    })
    .await?;
    wire.until_closed().await;
    Ok(())
}
