//! A blocking client's transport: a socket, TLS if asked for, and messages as they came.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sha2::{Digest as _, Sha256};

/// A test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// SSLRequest.
pub(crate) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// GSSENCRequest.
pub(crate) const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

/// Where a proxy listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// How TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// After SSLRequest.
    Asked,
    /// After GSSENCRequest, refused, and SSLRequest: libpq with a Kerberos ticket.
    AskedAfterGss,
    /// At once, with ALPN.
    Direct,
    /// At once, without ALPN.
    DirectWithoutAlpn,
}

/// A client's TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tls<'a> {
    pub(crate) begin: Begin,
    pub(crate) server_name: &'a str,
    /// Name of the certificate to show.
    pub(crate) identity: Option<&'a str>,
    /// Where the files are.
    pub(crate) files: &'a Path,
}

/// A socket of any kind.
pub(crate) trait Socket: Read + Write + Send {}
impl<T: Read + Write + Send> Socket for T {}

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

/// A connection, before and after the login.
pub(crate) struct Wire {
    socket: Box<dyn Socket>,
    /// Channel binding data of the proxy's certificate.
    pub(crate) end_point: Option<Vec<u8>>,
}

impl Wire {
    /// Without TLS.
    pub(crate) fn plain(address: &Address) -> io::Result<Self> {
        let socket: Box<dyn Socket> = match address {
            Address::Tcp(address) => Box::new(tcp(*address)?),
            Address::Unix(path) => Box::new(unix(path)?),
        };
        Ok(Self {
            socket,
            end_point: None,
        })
    }

    /// With TLS; `Unsupported`: the proxy answered N.
    pub(crate) fn secure(address: &Address, tls: &Tls<'_>) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Self::handshake(tcp(*address)?, tls),
            Address::Unix(path) => Self::handshake(unix(path)?, tls),
        }
    }

    fn handshake<S: Socket + 'static>(mut socket: S, tls: &Tls<'_>) -> io::Result<Self> {
        if tls.begin == Begin::AskedAfterGss {
            assert_eq!(ask(&mut socket, &GSS_REQUEST)?, b'N');
        }
        let asks = matches!(tls.begin, Begin::Asked | Begin::AskedAfterGss);
        if asks && ask(&mut socket, &SSL_REQUEST)? != b'S' {
            return Err(ErrorKind::Unsupported.into());
        }
        let name = ServerName::try_from(tls.server_name.to_owned()).expect("a host name");
        let mut connection =
            ClientConnection::new(Arc::new(configuration(tls)), name).expect("a client");
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        // ECDSA with SHA-256 has signed it, so this is the hash (RFC 5929).
        let shown = connection.peer_certificates().expect("servers show theirs");
        let end_point = Some(Sha256::digest(&shown[0]).to_vec());
        let socket = Box::new(StreamOwned::new(connection, socket));
        Ok(Self { socket, end_point })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)?;
        self.socket.flush()
    }

    /// Sends a message with its type and length.
    pub(crate) fn message(&mut self, tag: u8, body: &[u8]) -> io::Result<()> {
        self.send(&message(tag, body))
    }

    /// The next message; `None` where the proxy has closed in order or by reset.
    pub(crate) fn next(&mut self) -> io::Result<Option<Message>> {
        let mut header = [0; 5];
        match self.socket.read_exact(&mut header) {
            Ok(()) => {}
            Err(e) if is_end(&e) => return Ok(None),
            Err(e) => return Err(e),
        }
        let [tag, length @ ..] = header;
        let length = usize::try_from(u32::from_be_bytes(length)).expect("64 bits");
        let mut body = vec![0; length - 4];
        self.socket.read_exact(&mut body)?;
        Ok(Some(Message { tag, body }))
    }

    /// One byte: the answer to a request for encryption.
    pub(crate) fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.socket.read_exact(&mut byte).expect("an answer");
        byte[0]
    }

    /// What comes next, of whatever length; 0 at the end.
    pub(crate) fn some(&mut self, buffer: &mut [u8]) -> usize {
        self.socket.read(buffer).unwrap_or(0)
    }

    /// Everything until the proxy closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        // TLS reports a close without its alert as an error: an end all the same.
        match self.socket.read_to_end(&mut all) {
            Err(e) if !is_end(&e) => panic!("neither data nor an end: {e}"),
            Ok(_) | Err(_) => all,
        }
    }
}

/// A request for encryption and its answer.
fn ask(socket: &mut impl Socket, request: &[u8]) -> io::Result<u8> {
    socket.write_all(request)?;
    let mut answer = [0];
    socket.read_exact(&mut answer)?;
    Ok(answer[0])
}

/// Whether the connection is over, in whatever way; a timeout is not.
pub(crate) fn is_end(error: &io::Error) -> bool {
    !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("short messages");
    [&[tag], length.to_be_bytes().as_slice(), body].concat()
}

fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn unix(path: &Path) -> io::Result<UnixStream> {
    let socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn configuration(tls: &Tls<'_>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(tls.files.join("ca.crt")).expect("the CA");
    roots.add(ca).expect("a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    let mut config = match tls.identity {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let file = |ending: &str| tls.files.join(format!("{name}.{ending}"));
            let certificate = CertificateDer::from_pem_file(file("crt")).expect("a certificate");
            let key = PrivateKeyDer::from_pem_file(file("key")).expect("a key");
            let builder = builder.with_client_auth_cert(vec![certificate], key);
            builder.expect("certificate and key fit")
        }
    };
    if tls.begin == Begin::Direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    config
}
