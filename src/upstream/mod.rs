//! One authenticated server connection: resolve, connect, TLS, sign in, `connect_query`. Then it
//! is handed to a worker, which alone owns it.

pub mod backoff;
pub mod budget;
mod cancel;
mod connect;
mod dial;
mod error;
pub mod health;
pub mod lending;
mod reach;
mod resolve;
mod sign_in;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Cluster;
use crate::stream::Stream;
use crate::types::{DbName, NodeAddr, RoleName, ScramClientKey, Secret};

pub use cancel::{ServerCancel, cancel};
pub use connect::{Connectors, Prepared, UnusableTls, connect};
pub use error::{ConnectError, ServerError, SignInError};
pub use reach::Reach;

/// What to connect to, and as whom.
#[derive(Debug, Clone)]
pub struct Target {
    /// The node.
    pub node: NodeAddr,
    /// The cluster it belongs to: TLS settings.
    pub cluster: Arc<Cluster>,
    /// The database there.
    pub database: DbName,
    /// The server role.
    pub role: RoleName,
    /// What proves it.
    pub credentials: Credentials,
    /// Settings of the startup packet: they are what RESET goes back to.
    pub settings: Vec<(String, String)>,
    /// SQL run once signed in; empty: none.
    pub connect_query: String,
    /// For all of it together.
    pub connect_timeout: std::time::Duration,
}

/// What proves our role at a server.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Nothing stored: trust or certificate.
    None,
    /// A password, for any method.
    Password(Secret),
    /// A client's SCRAM key, for SCRAM-SHA-256 with the very verifier it was derived from.
    ScramKey(ScramClientKey),
}

/// A server connection that is signed in, ready for queries, with nothing left unread.
#[derive(Debug)]
pub struct Upstream {
    /// The socket.
    pub stream: Stream,
    /// Where it really is connected to (`None` for Unix sockets): cancel requests go there.
    pub peer: Option<SocketAddr>,
    /// From BackendKeyData.
    pub process_id: i32,
    /// From BackendKeyData: 4 bytes.
    pub cancel_key: Vec<u8>,
    /// ParameterStatus as last reported, in order of first appearance.
    pub parameters: Vec<(String, String)>,
}
