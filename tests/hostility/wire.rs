//! A blocking connection with or without TLS that logs in only as far as it likes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tenantry::auth::scram::{ClientBinding, ClientExchange, ClientSecret, SCRAM_SHA_256};

use crate::support::client::Client;
use crate::support::frames::Frames;

const PATIENCE: Duration = Duration::from_secs(60);

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Where a login may stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Login {
    /// Asked for a secret.
    Asked,
    /// The first SASL message was answered.
    Challenged,
    /// The proof is sent, nothing is read.
    Proven,
    /// Greeted.
    Done,
}

/// A connection.
pub(crate) struct Wire {
    socket: TcpStream,
    tls: Option<ClientConnection>,
}

impl Wire {
    pub(crate) fn plain(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, tls: None })
    }

    /// After SSLRequest; the directory holds `ca.crt`.
    pub(crate) fn secure(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut wire = Self::plain(address)?;
        wire.send(&SSL_REQUEST)?;
        let mut answer = [0];
        wire.socket.read_exact(&mut answer)?;
        let name = ServerName::try_from("db.test").expect("a host name");
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut wire.socket)?;
        }
        wire.tls = Some(tls);
        Ok(wire)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.socket.write_all(bytes),
            Some(tls) => {
                let mut stream = rustls::Stream::new(tls, &mut self.socket);
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }

    /// Past TLS, where there is some.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.socket.read_exact(buffer),
            Some(tls) => rustls::Stream::new(tls, &mut self.socket).read_exact(buffer),
        }
    }

    /// The next message: its type and body.
    pub(crate) fn message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut header = [0; 5];
        self.read_exact(&mut header)?;
        let [tag, length @ ..] = header;
        let mut body = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4)];
        self.read_exact(&mut body)?;
        Ok((tag, body))
    }

    /// Reads up to a message of that type; an ErrorResponse is an error.
    pub(crate) fn until(&mut self, wanted: u8) -> io::Result<Vec<u8>> {
        loop {
            match self.message()? {
                (tag, body) if tag == wanted => return Ok(body),
                (b'E', body) => {
                    let told = String::from_utf8_lossy(&body).replace('\0', " ");
                    return Err(io::Error::other(told));
                }
                _ => {}
            }
        }
    }

    /// Logs in as `app` of a tenant, up to a stage.
    pub(crate) fn log_in(&mut self, tenant: &str, stage: Login) -> io::Result<()> {
        self.send(&startup(tenant))?;
        self.until(b'R')?;
        if stage == Login::Asked {
            return Ok(());
        }
        let (exchange, first) =
            ClientExchange::start(ClientBinding::Unavailable).map_err(io::Error::other)?;
        self.send(&sasl_initial(&first))?;
        let challenge = self.until(b'R')?;
        if stage == Login::Challenged {
            return Ok(());
        }
        let (_, last) = exchange
            .respond(
                challenge.get(4..).unwrap_or_default(),
                ClientSecret::Password(Client::PASSWORD),
            )
            .map_err(io::Error::other)?;
        self.send(&Frames::default().message(b'p', &last).0)?;
        if stage == Login::Done {
            self.until(b'Z')?;
        }
        Ok(())
    }

    /// Sends nothing more, and reads until the proxy has closed; a proxy that does not is an error.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        // The proxy may have closed already.
        let _gone = self.socket.shutdown(Shutdown::Write);
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if is_timeout(&e) => return Err(e),
                Err(_) => return Ok(()),
            }
        }
    }

    /// Closes by a reset.
    pub(crate) fn reset(self) {
        let socket = socket2::Socket::from(self.socket);
        // A socket whose peer is gone may refuse.
        let _gone = socket.set_linger(Some(Duration::ZERO));
    }

    /// The socket of a connection without TLS.
    pub(crate) fn into_socket(self) -> TcpStream {
        self.socket
    }
}

/// Whether nothing came in time.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The startup message of `app` of a tenant.
pub(crate) fn startup(tenant: &str) -> Vec<u8> {
    let body = format!("\0\x03\0\0user\0app.{tenant}\0database\0{tenant}\0\0");
    let length = u32::try_from(body.len() + 4).expect("it is short");
    [&length.to_be_bytes(), body.as_bytes()].concat()
}

/// SASLInitialResponse.
pub(crate) fn sasl_initial(first: &[u8]) -> Vec<u8> {
    let length = u32::try_from(first.len()).expect("it is short");
    let body = [
        SCRAM_SHA_256.as_bytes(),
        b"\0",
        &length.to_be_bytes(),
        first,
    ];
    Frames::default().message(b'p', &body.concat()).0
}

/// What TLS needs: the CA in a directory.
pub(crate) fn tls_config(directory: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(directory.join("ca.crt")).expect("the CA");
    roots.add(ca).expect("a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
