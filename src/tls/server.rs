//! TLS towards clients: `[server.tls]` as a rustls configuration.
//!
//! TLS 1.2 and 1.3. ALPN is `postgresql`; a client that offers other protocols only is refused, one
//! that offers none is not (direct TLS demands it, but that is the front's to check). There is no
//! session resumption: tickets would cost memory per client and libpq never asks for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::binding;
use crate::config::{ClientTlsMode, ServerTls};

/// The protocol name of PostgreSQL in ALPN (manual, 55.2.11).
pub const ALPN: &[u8] = b"postgresql";

/// What is needed to serve TLS.
#[derive(Debug, Clone)]
pub struct ServerSide {
    /// For each new connection.
    pub config: Arc<ServerConfig>,
    /// The `tls-server-end-point` data of the certificate, if it has a usable hash: with it
    /// SCRAM-SHA-256-PLUS is offered.
    pub end_point: Option<Vec<u8>>,
}

/// Why TLS cannot be served; each names the file at fault.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// A key of the configuration that this mode needs is absent.
    #[error("server.tls.{0} is not set")]
    Unset(&'static str),
    /// A file cannot be read or is not PEM.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        source: PemError,
    },
    /// A file holds nothing of the kind.
    #[error("{}: no {what} found", path.display())]
    Empty {
        /// Which one.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Certificate and key do not fit together, or are not usable.
    #[error("{} with {}: {source}", certificate.display(), key.display())]
    Identity {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// A certificate of `client_ca` is not usable.
    #[error("{}: {source}", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// `client_ca` and `crl` make no verifier.
    #[error("{}: {source}", path.display())]
    Verifier {
        /// The file of the authorities, or of the revocations where there is one.
        path: PathBuf,
        /// What is wrong.
        source: VerifierBuilderError,
    },
}

/// Reads the files; `None` where TLS is disabled.
pub fn server_side(tls: &ServerTls) -> Result<Option<ServerSide>, ServerTlsError> {
    if tls.mode == ClientTlsMode::Disable {
        return Ok(None);
    }
    let certificate = tls
        .certificate
        .as_deref()
        .ok_or(ServerTlsError::Unset("certificate"))?;
    let key_path = tls
        .private_key
        .as_deref()
        .ok_or(ServerTlsError::Unset("private_key"))?;
    let chain = certificates(certificate)?;
    let end_point = binding::server_end_point(&chain[0]);
    let key = PrivateKeyDer::from_pem_file(key_path).map_err(file(key_path))?;
    let identity = |source| ServerTlsError::Identity {
        certificate: certificate.to_owned(),
        key: key_path.to_owned(),
        source,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(identity)?;
    let builder = match client_verifier(tls, provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(identity)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Some(ServerSide {
        config: Arc::new(config),
        end_point,
    }))
}

/// Checks client certificates wherever `client_ca` is set; without one no certificate is asked for.
fn client_verifier(
    tls: &ServerTls,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, ServerTlsError> {
    let mandatory = tls.mode == ClientTlsMode::VerifyClient;
    let Some(authorities) = tls.client_ca.as_deref() else {
        return if mandatory {
            Err(ServerTlsError::Unset("client_ca"))
        } else {
            Ok(None)
        };
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authorities)? {
        roots
            .add(certificate)
            .map_err(|source| ServerTlsError::Authority {
                path: authorities.to_owned(),
                source,
            })?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(crl) = tls.crl.as_deref() {
        builder = builder.with_crls(revocations(crl)?);
    }
    if !mandatory {
        builder = builder.allow_unauthenticated();
    }
    let path = tls.crl.as_deref().unwrap_or(authorities);
    let verifier = builder.build().map_err(|source| ServerTlsError::Verifier {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(verifier))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServerTlsError> {
    all(path, "certificate")
}

fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, ServerTlsError> {
    all(path, "certificate revocation list")
}

/// All objects of one kind in a PEM file; at least one.
fn all<T: PemObject>(path: &Path, what: &'static str) -> Result<Vec<T>, ServerTlsError> {
    let found = T::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<T>, _>>)
        .map_err(file(path))?;
    if found.is_empty() {
        return Err(ServerTlsError::Empty {
            path: path.to_owned(),
            what,
        });
    }
    Ok(found)
}

fn file(path: &Path) -> impl FnOnce(PemError) -> ServerTlsError {
    let path = path.to_owned();
    move |source| ServerTlsError::File { path, source }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn files(mode: ClientTlsMode) -> (tempfile::TempDir, ServerTls) {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["db.example.com".to_owned()]).unwrap();
        let (certificate, key) = (dir.path().join("server.crt"), dir.path().join("server.key"));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let tls = ServerTls {
            mode,
            certificate: Some(certificate),
            private_key: Some(key),
            client_ca: None,
            crl: None,
            domain: None,
        };
        (dir, tls)
    }

    #[test]
    fn builds_from_files() {
        let (_dir, tls) = files(ClientTlsMode::Allow);
        let side = server_side(&tls).unwrap().expect("TLS is on");
        assert_eq!(side.config.alpn_protocols, [ALPN]);
        assert_eq!(side.end_point.map(|hash| hash.len()), Some(32));
        let off = ServerTls {
            mode: ClientTlsMode::Disable,
            ..tls
        };
        assert!(server_side(&off).unwrap().is_none());
    }

    #[test]
    fn client_certificates_need_an_authority() {
        let (_dir, tls) = files(ClientTlsMode::VerifyClient);
        let refused = server_side(&tls).unwrap_err();
        assert_eq!(refused.to_string(), "server.tls.client_ca is not set");
        let with_ca = ServerTls {
            client_ca: tls.certificate.clone(),
            ..tls
        };
        assert!(server_side(&with_ca).is_ok());
    }

    #[test]
    fn errors_name_the_file() {
        let (dir, tls) = files(ClientTlsMode::Require);
        let nowhere = dir.path().join("nowhere.pem");
        let empty = dir.path().join("empty.pem");
        fs::write(&empty, "nothing\n").unwrap();
        for (broken, name) in [
            (
                ServerTls {
                    certificate: Some(nowhere.clone()),
                    ..tls.clone()
                },
                "nowhere.pem",
            ),
            (
                ServerTls {
                    private_key: Some(nowhere),
                    ..tls.clone()
                },
                "nowhere.pem",
            ),
            (
                ServerTls {
                    certificate: Some(empty.clone()),
                    ..tls.clone()
                },
                "empty.pem",
            ),
            (
                ServerTls {
                    client_ca: Some(empty.clone()),
                    ..tls.clone()
                },
                "empty.pem",
            ),
            (
                ServerTls {
                    client_ca: tls.certificate.clone(),
                    crl: Some(empty),
                    ..tls.clone()
                },
                "empty.pem",
            ),
        ] {
            let error = server_side(&broken).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let (_other_dir, other) = files(ClientTlsMode::Require);
        let mixed = ServerTls {
            private_key: other.private_key,
            ..tls
        };
        let error = server_side(&mixed).unwrap_err().to_string();
        assert!(error.contains("server.key"), "{error}");
    }
}
