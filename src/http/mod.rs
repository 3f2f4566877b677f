//! The HTTP port: `/metrics` for Prometheus, `/health/live` and `/health/ready` for whoever starts,
//! restarts and balances, and a page at `/` that links to them. Read-only, without TLS or login:
//! it is for a loopback or a network of the operator's own.
//!
//! Guarantees: a bounded number of connections, each of one request, with a bounded head, at an end
//! after `LIFETIME` however slowly somebody reads or writes; a crowd from one address does not
//! keep others out; the workers are asked one thing at a time, however many ask here. It goes on
//! while the proxy drains.

mod crowd;
mod health;
mod metrics;
mod site;
mod sources;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use self::crowd::Crowd;

pub use self::site::Site;
pub use self::sources::{Facts, Logins, Phase, Reloads, Sources};

/// The longest life of a connection: its request, the reports for it, its answer. What Prometheus
/// waits for unless told otherwise.
const LIFETIME: Duration = Duration::from_secs(10);

/// Bytes of a request's head, all headers together.
const HEAD: usize = 16 * 1024;

/// Headers of a request.
const HEADERS: usize = 64;

/// How long to wait when there are no descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// An open HTTP port.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// Opens the port, from within a tokio runtime.
pub fn bind(address: SocketAddr) -> io::Result<Bound> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    Ok(Bound { listener, address })
}

impl Bound {
    /// Where it is: the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answers requests, for as long as its task lives.
pub async fn run(bound: Bound, site: Arc<Site>) {
    let mut crowd = Crowd::default();
    let mut short = false;
    loop {
        match bound.listener.accept().await {
            Ok((socket, peer)) => {
                short = false;
                let task = tokio::spawn(serve(socket, Arc::clone(&site)));
                crowd.enter(peer.ip(), task.abort_handle());
            }
            // It left before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut short, true) {
                    warn!(address = %bound.address, %error, "cannot accept HTTP for now");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(socket: TcpStream, site: Arc<Site>) {
    let service = service_fn(|request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(site.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        // One request each: nothing to bound beyond that, and a scraper loses nothing by it.
        .keep_alive(false)
        .half_close(false)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(socket), service);
    match timeout(LIFETIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "HTTP connection"),
        Err(_) => debug!("HTTP connection took longer than {LIFETIME:?}"),
    }
}
