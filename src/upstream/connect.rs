//! From a [`Target`] to an [`Upstream`], on tokio.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::cancel::{ServerCancel, cancel};
use super::error::ConnectError;
use super::reach::Reached;
use super::resolve::Names;
use super::sign_in::{Channel, Session, run, settle, sign_in};
use super::transport::{Transport, Wire};
use super::{Target, Upstream, dial};
use crate::config::{Cluster, UpstreamTlsMode};
use crate::stream::keep_alive;
use crate::tls::client::{ClientConfigs, TlsSettingsError};
use crate::types::ClusterName;

/// How long a failed connect waits for the server to end what it had begun: whoever holds a permit
/// for it should not give it back while the server still counts the connection.
const FAREWELL: Duration = Duration::from_secs(1);

/// Certificates that were read and can be used.
#[derive(Debug)]
pub struct Prepared(ClientConfigs);

/// A cluster whose TLS settings cannot be used.
pub type UnusableTls = (ClusterName, TlsSettingsError);

/// What connects share: TLS configurations, addresses of names, which nodes answer.
#[derive(Debug, Default)]
pub struct Connectors {
    pub(super) tls: ClientConfigs,
    pub(super) names: Names,
    pub(super) reached: Reached,
    /// Milliseconds of `server.keepalive`.
    keepalive: AtomicU64,
}

impl Connectors {
    /// Sets the time of keep-alive for connections that are opened from now on; zero: none.
    pub fn set_keepalive(&self, after: Duration) {
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.keepalive.store(millis, Ordering::Relaxed);
    }

    pub(super) fn keepalive(&self) -> Duration {
        Duration::from_millis(self.keepalive.load(Ordering::Relaxed))
    }

    /// Reads the certificates that these clusters name, for [`Self::reload`].
    ///
    /// # Errors
    /// Each cluster whose files cannot be used, and why.
    pub fn prepare(clusters: &[Arc<Cluster>]) -> Result<Prepared, Vec<UnusableTls>> {
        let mut tls = ClientConfigs::default();
        let mut errors = Vec::new();
        for cluster in clusters {
            if cluster.tls.mode != UpstreamTlsMode::Disable
                && let Err(error) = tls.add(&cluster.tls)
            {
                errors.push((cluster.name.clone(), error));
            }
        }
        if errors.is_empty() {
            Ok(Prepared(tls))
        } else {
            Err(errors)
        }
    }

    /// Takes other certificates and resolves names again: at the start and each reload.
    pub fn reload(&self, prepared: Prepared) {
        self.tls.replace(prepared.0);
        self.names.clear();
        self.reached.clear();
    }
}

/// Connects, signs in and runs `connect_query`, all within `connect_timeout`.
///
/// When it fails the server has closed its side, or had a further second to do so.
pub async fn connect(target: &Target, connectors: &Connectors) -> Result<Upstream, ConnectError> {
    let deadline = Instant::now() + target.connect_timeout;
    let opened = timeout_at(deadline, open(target, connectors, deadline)).await;
    let outcome = match opened.unwrap_or(Err(ConnectError::Timeout(target.connect_timeout))) {
        Ok((transport, peer)) => {
            Box::pin(set_up(target, connectors, (transport, peer), deadline)).await
        }
        Err(e) => Err(e),
    };
    note(target, connectors, &outcome);
    outcome
}

/// Connects and signs in, for a connection that stays on tokio: without `connect_query`.
///
/// One that fails is just dropped: nobody holds a permit for it.
pub(super) async fn attach(
    target: &Target,
    connectors: &Connectors,
) -> Result<(Wire<Transport>, Session), ConnectError> {
    let deadline = Instant::now() + target.connect_timeout;
    let work = async {
        let (transport, _) = open(target, connectors, deadline).await?;
        let channel = Channel::of(&transport);
        let mut wire = Wire::new(transport);
        let mut session = sign_in(&mut wire, target, channel).await?;
        settle(&mut wire, &mut session).await?;
        Ok((wire, session))
    };
    let outcome = timeout_at(deadline, Box::pin(work)).await;
    let outcome = outcome.unwrap_or(Err(ConnectError::Timeout(target.connect_timeout)));
    note(target, connectors, &outcome);
    outcome
}

fn note<T>(target: &Target, connectors: &Connectors, outcome: &Result<T, ConnectError>) {
    if outcome.is_err() {
        connectors.names.forget(&target.node);
    }
    connectors.reached.note(&target.node, outcome);
}

type Opened = (Transport, Option<SocketAddr>);

async fn open(
    target: &Target,
    connectors: &Connectors,
    deadline: Instant,
) -> Result<Opened, ConnectError> {
    if let Some(path) = target.node.unix_path() {
        return Ok((dial::open_unix(&path).await?, None));
    }
    let addresses = connectors.names.lookup(&target.node).await?;
    let socket = dial::open_tcp(&addresses, deadline).await?;
    keep_alive(&socket, connectors.keepalive()).map_err(|e| ConnectError::lost(&e))?;
    let peer = socket.peer_addr().map_err(|e| ConnectError::lost(&e))?;
    let tls = &target.cluster.tls;
    let transport = dial::secure(socket, &target.node, tls, connectors).await?;
    Ok((transport, Some(peer)))
}

async fn set_up(
    target: &Target,
    connectors: &Connectors,
    (transport, peer): Opened,
    deadline: Instant,
) -> Result<Upstream, ConnectError> {
    let late = ConnectError::Timeout(target.connect_timeout);
    let channel = Channel::of(&transport);
    let mut wire = Wire::new(transport);
    let signed_in = timeout_at(deadline, sign_in(&mut wire, target, channel)).await;
    let mut session = match signed_in.unwrap_or_else(|_| Err(late.clone())) {
        Ok(session) => session,
        Err(e) => return Err(farewell(wire, e).await),
    };
    let prepared = timeout_at(
        deadline,
        prepare(&mut wire, &mut session, &target.connect_query),
    );
    match prepared.await {
        Ok(Ok(())) => hand_over(wire, session, peer),
        Ok(Err(e)) => Err(farewell(wire, e).await),
        Err(_) => {
            // A query that is still running would keep the server connection alive.
            let request = ServerCancel {
                node: target.node.clone(),
                tls: target.cluster.tls.clone(),
                peer,
                process_id: session.process_id,
                key: session.cancel_key,
                connect_timeout: FAREWELL,
            };
            let _unreachable_now = cancel(&request, connectors).await;
            Err(farewell(wire, late).await)
        }
    }
}

async fn prepare(
    wire: &mut Wire<Transport>,
    session: &mut Session,
    query: &str,
) -> Result<(), ConnectError> {
    if !query.is_empty() {
        run(wire, session, query).await?;
    }
    settle(wire, session).await
}

fn hand_over(
    wire: Wire<Transport>,
    session: Session,
    peer: Option<SocketAddr>,
) -> Result<Upstream, ConnectError> {
    let stream = wire
        .into_transport()?
        .into_stream()
        .map_err(|e| ConnectError::lost(&e))?;
    let Session {
        process_id,
        cancel_key,
        parameters,
    } = session;
    Ok(Upstream {
        stream,
        peer,
        process_id,
        cancel_key,
        parameters,
    })
}

/// Ends a connection that is of no use and waits for the server to have ended it, too.
async fn farewell(mut wire: Wire<Transport>, error: ConnectError) -> ConnectError {
    let ended = async {
        let terminate = |out: &mut bytes::BytesMut| {
            postgres_protocol::message::frontend::terminate(out);
            Ok(())
        };
        if wire.send(terminate).await.is_ok() {
            wire.until_closed().await;
        }
    };
    let _gone_or_too_slow = timeout(FAREWELL, ended).await;
    error
}
