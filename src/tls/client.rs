//! TLS towards servers, with the meaning of libpq's `sslmode` (manual, 34.19).
//!
//! A chain is checked in `verify-ca` and `verify-full`, and in the weaker modes where a CA is
//! configured; the name only in `verify-full`. A server certificate that is itself listed as CA
//! (a self-signed one) is trusted, as OpenSSL does. Handshake signatures are always checked.
//!
//! It lacks: host names in the certificate's CN (only SAN counts), revocation lists.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    Resumption, WantsClientCert, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::{UpstreamTls, UpstreamTlsMode};

/// Why TLS settings cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TlsSettingsError {
    /// A file cannot be read or is no PEM of that kind.
    #[error("cannot read {path}: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A CA is unusable.
    #[error("unusable CA certificate in {path}: {source}")]
    Root {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: Error,
    },
    /// The chain is to be checked, but nothing says against which CA.
    #[error("the system has no CA certificates; set tls_ca")]
    NoRoots,
    /// Our certificate and key do not fit each other or cannot be used.
    #[error("unusable client certificate {certificate} or key {key}: {source}")]
    Identity {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        source: Error,
    },
}

/// Built TLS configurations, one for each settings in use.
///
/// Bounded by the configuration: each distinct [`UpstreamTls`] has one entry until
/// [`Self::replace`].
#[derive(Default)]
pub struct ClientConfigs(Mutex<Built>);

type Built = Vec<(UpstreamTls, Arc<ClientConfig>)>;

impl fmt::Debug for ClientConfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientConfigs(..)")
    }
}

impl ClientConfigs {
    /// The configuration for these settings; reads its files when first asked for.
    pub fn get(&self, settings: &UpstreamTls) -> Result<Arc<ClientConfig>, TlsSettingsError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = known.iter().find(|(s, _)| s == settings) {
            return Ok(Arc::clone(config));
        }
        let config = client_config(settings)?;
        known.push((settings.clone(), Arc::clone(&config)));
        Ok(config)
    }

    /// Builds the configuration for these settings if there is none yet.
    pub fn add(&mut self, settings: &UpstreamTls) -> Result<(), TlsSettingsError> {
        self.get(settings).map(drop)
    }

    /// Forgets all and takes what `other` has built, from files as they are now: at each reload.
    pub fn replace(&self, other: Self) {
        let built = other.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = built;
    }
}

/// Builds the rustls configuration; reads the files that the settings name.
pub fn client_config(settings: &UpstreamTls) -> Result<Arc<ClientConfig>, TlsSettingsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(verifier(settings, &provider)?);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = with_identity(builder, settings)?;
    // libpq 17 and later say so, too; servers that do not know it ignore it.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    // PostgreSQL gives no tickets: a store for them would only take memory.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn with_identity(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    settings: &UpstreamTls,
) -> Result<ClientConfig, TlsSettingsError> {
    let Some((certificate, key)) = &settings.client_identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, &e))?;
    builder
        .with_client_auth_cert(chain, secret)
        .map_err(|source| TlsSettingsError::Identity {
            certificate: certificate.clone(),
            key: key.clone(),
            source,
        })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSettingsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match all {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(unreadable(path, &pem::Error::NoItemsFound)),
        Err(e) => Err(unreadable(path, &e)),
    }
}

fn unreadable(path: &Path, error: &pem::Error) -> TlsSettingsError {
    let reason = match error {
        pem::Error::Io(e) => e.to_string(),
        pem::Error::NoItemsFound => "nothing of the expected kind in it".to_owned(),
        _ => "not valid PEM".to_owned(),
    };
    TlsSettingsError::File {
        path: path.to_owned(),
        reason,
    }
}

/// What is checked of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

#[derive(Debug)]
struct Verifier {
    check: Check,
    roots: RootCertStore,
    /// The configured CAs as they are, for server certificates that are their own CA.
    listed: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

fn verifier(
    settings: &UpstreamTls,
    provider: &CryptoProvider,
) -> Result<Verifier, TlsSettingsError> {
    use UpstreamTlsMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    let check = match (settings.mode, &settings.ca) {
        (Disable | Prefer | Require, None) => Check::Nothing,
        (Disable | Prefer | Require, Some(_)) | (VerifyCa, _) => Check::Chain,
        (VerifyFull, _) => Check::ChainAndName,
    };
    let algorithms = provider.signature_verification_algorithms;
    let (mut roots, mut listed) = (RootCertStore::empty(), Vec::new());
    match (&settings.ca, check) {
        (Some(path), _) => {
            listed = certificates(path)?;
            for certificate in &listed {
                roots
                    .add(certificate.clone())
                    .map_err(|source| TlsSettingsError::Root {
                        path: path.clone(),
                        source,
                    })?;
            }
        }
        (None, Check::Nothing) => {}
        (None, Check::Chain | Check::ChainAndName) => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsSettingsError::NoRoots);
            }
        }
    }
    Ok(Verifier {
        check,
        roots,
        listed,
        algorithms,
    })
}

impl Verifier {
    fn check_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.listed.iter().any(|listed| listed == end_entity) {
            return check_validity(end_entity, now);
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )
    }
}

/// What is left to check of a certificate that is trusted by itself.
fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now < validity.not_before.timestamp() {
        Err(Error::InvalidCertificate(CertificateError::NotValidYet))
    } else if now > validity.not_after.timestamp() {
        Err(Error::InvalidCertificate(CertificateError::Expired))
    } else {
        Ok(())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.check != Check::Nothing {
            self.check_chain(end_entity, intermediates, now)?;
        }
        if self.check == Check::ChainAndName {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(mode: UpstreamTlsMode, ca: Option<&Path>) -> UpstreamTls {
        UpstreamTls {
            mode,
            ca: ca.map(Path::to_owned),
            client_identity: None,
        }
    }

    fn written_certificate() -> tempfile::NamedTempFile {
        let made = rcgen::generate_simple_self_signed(vec!["db".to_owned()]).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), made.cert.pem()).unwrap();
        file
    }

    #[test]
    fn mode_and_ca_say_what_is_checked() {
        let provider = aws_lc_rs::default_provider();
        let file = written_certificate();
        for (mode, without, with) in [
            (UpstreamTlsMode::Prefer, Check::Nothing, Check::Chain),
            (UpstreamTlsMode::Require, Check::Nothing, Check::Chain),
            (UpstreamTlsMode::VerifyCa, Check::Chain, Check::Chain),
            (
                UpstreamTlsMode::VerifyFull,
                Check::ChainAndName,
                Check::ChainAndName,
            ),
        ] {
            let checked = verifier(&settings(mode, Some(file.path())), &provider)
                .unwrap()
                .check;
            assert_eq!(checked, with, "{mode:?}");
            match verifier(&settings(mode, None), &provider) {
                Ok(verifier) => assert_eq!(verifier.check, without, "{mode:?}"),
                // A machine without CA certificates.
                Err(e) => assert!(matches!(e, TlsSettingsError::NoRoots), "{e}"),
            }
        }
    }

    #[test]
    fn a_configuration_is_built_once_until_replaced() {
        let configs = ClientConfigs::default();
        let settings = settings(UpstreamTlsMode::Require, None);
        let first = configs.get(&settings).unwrap();
        assert!(Arc::ptr_eq(&first, &configs.get(&settings).unwrap()));
        let mut others = ClientConfigs::default();
        others.add(&settings).unwrap();
        let other = others.get(&settings).unwrap();
        configs.replace(others);
        let now = configs.get(&settings).unwrap();
        assert!(Arc::ptr_eq(&other, &now) && !Arc::ptr_eq(&first, &now));
    }

    #[test]
    fn a_key_that_does_not_fit_its_certificate_is_refused() {
        let made = || rcgen::generate_simple_self_signed(vec!["us".to_owned()]).unwrap();
        let (one, other) = (made(), made());
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("us.crt"), dir.path().join("us.key"));
        std::fs::write(&certificate, one.cert.pem()).unwrap();
        let mut settings = settings(UpstreamTlsMode::Require, None);
        settings.client_identity = Some((certificate, key.clone()));
        std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
        let error = client_config(&settings).unwrap_err();
        assert!(
            matches!(error, TlsSettingsError::Identity { .. }),
            "{error}"
        );
        std::fs::write(&key, one.signing_key.serialize_pem()).unwrap();
        client_config(&settings).unwrap();
    }

    #[test]
    fn missing_and_empty_files_are_named() {
        let missing = Path::new("/nonexistent/ca.crt");
        let error = client_config(&settings(UpstreamTlsMode::VerifyCa, Some(missing))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ca.crt"), "{error}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        let error = client_config(&settings(UpstreamTlsMode::Require, Some(empty.path())));
        assert!(matches!(error, Err(TlsSettingsError::File { .. })));
    }
}
