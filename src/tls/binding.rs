//! Channel binding data of type `tls-server-end-point` (RFC 5929, section 4).

use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::AlgorithmIdentifier;

/// Which hash a signature algorithm implies for channel binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// The hash of a server's certificate, by the hash of the certificate's own signature (MD5 and
/// SHA-1 count as SHA-256).
///
/// `None` for what is no certificate, and for signatures without a hash of their own such as
/// Ed25519: like PostgreSQL, such a server has no channel binding.
pub fn server_end_point(cert_der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(cert_der).ok()?;
    Some(match signature_hash(&certificate.signature_algorithm)? {
        Hash::Sha224 => Sha224::digest(cert_der).to_vec(),
        Hash::Sha256 => Sha256::digest(cert_der).to_vec(),
        Hash::Sha384 => Sha384::digest(cert_der).to_vec(),
        Hash::Sha512 => Sha512::digest(cert_der).to_vec(),
    })
}

fn signature_hash(algorithm: &AlgorithmIdentifier<'_>) -> Option<Hash> {
    let oid = algorithm.algorithm.to_id_string();
    match oid.as_str() {
        // RSA (PKCS #1) with MD5, SHA-1, SHA-256 .. SHA-224
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" => {
            Some(Hash::Sha256)
        }
        "1.2.840.113549.1.1.12" => Some(Hash::Sha384),
        "1.2.840.113549.1.1.13" => Some(Hash::Sha512),
        "1.2.840.113549.1.1.14" => Some(Hash::Sha224),
        // RSASSA-PSS names its hash in its parameters
        "1.2.840.113549.1.1.10" => pss_hash(algorithm),
        // ECDSA with SHA-1, SHA-224 .. SHA-512
        "1.2.840.10045.4.1" | "1.2.840.10045.4.3.2" => Some(Hash::Sha256),
        "1.2.840.10045.4.3.1" => Some(Hash::Sha224),
        "1.2.840.10045.4.3.3" => Some(Hash::Sha384),
        "1.2.840.10045.4.3.4" => Some(Hash::Sha512),
        _ => None,
    }
}

fn pss_hash(algorithm: &AlgorithmIdentifier<'_>) -> Option<Hash> {
    let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) = SignatureAlgorithm::try_from(algorithm)
    else {
        return None;
    };
    match parameters.hash_algorithm_oid().to_id_string().as_str() {
        // SHA-1, which is also the default, counts as SHA-256.
        "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Some(Hash::Sha256),
        "2.16.840.1.101.3.4.2.2" => Some(Hash::Sha384),
        "2.16.840.1.101.3.4.2.3" => Some(Hash::Sha512),
        "2.16.840.1.101.3.4.2.4" => Some(Hash::Sha224),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    use super::*;

    fn certificate(algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(vec!["db.example.com".to_owned()]).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_signature_chooses_the_hash() {
        let p256 = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(
            server_end_point(&p256),
            Some(Sha256::digest(&p256).to_vec())
        );
        let p384 = certificate(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(
            server_end_point(&p384),
            Some(Sha384::digest(&p384).to_vec())
        );
    }

    #[test]
    fn no_hash_no_binding() {
        assert_eq!(server_end_point(&certificate(&rcgen::PKCS_ED25519)), None);
        assert_eq!(server_end_point(b"no certificate"), None);
    }
}
