//! From an address to a socket that is ready for the startup message: connect, then TLS.
//!
//! TLS is asked for by SSLRequest (manual, 55.2.10). Over Unix sockets there is none, as in libpq.

use std::net::SocketAddr;
use std::sync::Arc;

use postgres_protocol::message::frontend;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::connect::Connectors;
use super::error::ConnectError;
use super::transport::Transport;
use crate::config::{UpstreamTls, UpstreamTlsMode};
use crate::types::NodeAddr;

/// Connects a TCP socket to the first address of a name that takes it, each in a fair part of
/// what is left until the deadline.
pub(super) async fn open_tcp(
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<TcpStream, ConnectError> {
    let mut failure = ConnectError::Unreachable("the host has no address".to_owned());
    for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let now = Instant::now();
        let parts = u32::try_from(left).unwrap_or(u32::MAX);
        let until = now + deadline.saturating_duration_since(now) / parts;
        failure = match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                socket
                    .set_nodelay(true)
                    .map_err(|e| ConnectError::lost(&e))?;
                return Ok(socket);
            }
            Ok(Err(e)) => ConnectError::Unreachable(e.to_string()),
            Err(_) => ConnectError::Unreachable("connection timed out".to_owned()),
        };
    }
    Err(failure)
}

/// Connects to a node's Unix socket.
pub(super) async fn open_unix(path: &std::path::Path) -> Result<Transport, ConnectError> {
    let opened = UnixStream::connect(path).await;
    opened
        .map(Transport::Unix)
        .map_err(|e| ConnectError::Unreachable(e.to_string()))
}

/// Agrees on TLS as the settings want it.
pub(super) async fn secure(
    mut socket: TcpStream,
    node: &NodeAddr,
    settings: &UpstreamTls,
    connectors: &Connectors,
) -> Result<Transport, ConnectError> {
    if settings.mode == UpstreamTlsMode::Disable {
        return Ok(Transport::Tcp(socket));
    }
    // Files are read before the server is kept waiting.
    let config = connectors.tls.get(settings)?;
    let mut request = bytes::BytesMut::new();
    frontend::ssl_request(&mut request);
    socket
        .write_all(&request)
        .await
        .map_err(|e| ConnectError::lost(&e))?;
    // One byte and no more: what somebody in between sends behind it must fail the handshake,
    // not be taken for the server's word.
    match socket.read_u8().await.map_err(|e| ConnectError::lost(&e))? {
        b'S' => {}
        b'N' if settings.mode == UpstreamTlsMode::Prefer => return Ok(Transport::Tcp(socket)),
        b'N' => return Err(ConnectError::Tls("the server does not offer it".to_owned())),
        _ => return Err(ConnectError::Protocol("unknown answer to SSLRequest")),
    }
    let name = server_name(&socket, node, settings.mode)?;
    let handshake = TlsConnector::from(Arc::clone(&config))
        .connect(name, socket)
        .await;
    let stream = handshake.map_err(|e| ConnectError::Tls(e.to_string()))?;
    Ok(Transport::Tls(Box::new(stream)))
}

/// The name to ask for and, in `verify-full`, to check. A host that is no valid name is replaced
/// by the address where the name is not checked.
fn server_name(
    socket: &TcpStream,
    node: &NodeAddr,
    mode: UpstreamTlsMode,
) -> Result<ServerName<'static>, ConnectError> {
    match ServerName::try_from(node.host.to_string()) {
        Ok(name) => Ok(name),
        Err(_) if mode == UpstreamTlsMode::VerifyFull => Err(ConnectError::Tls(
            "the host is not a name that a certificate can have".to_owned(),
        )),
        Err(_) => {
            let peer = socket.peer_addr().map_err(|e| ConnectError::lost(&e))?;
            Ok(ServerName::IpAddress(peer.ip().into()))
        }
    }
}
