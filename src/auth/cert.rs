//! Client certificates: the names that one gives its holder.
//!
//! The chain was verified in the TLS handshake; here only names are read.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Whether the certificate (DER) names this role of this tenant: a common name or a DNS name
/// `role.tenant`. A slug holds no dot, so the last dot always separates the two.
pub fn names_role(certificate: &[u8], role: &str, tenant: &str) -> bool {
    let expected = format!("{role}.{tenant}");
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let by_common_name = certificate
        .subject()
        .iter_common_name()
        .any(|name| name.as_str().is_ok_and(|name| name == expected));
    by_common_name || dns_names(&certificate).any(|name| name == expected)
}

fn dns_names<'a>(certificate: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a str> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names = alternative.map_or(&[][..], |found| &found.value.general_names);
    names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(common_name: &str, dns: &[&str]) -> Vec<u8> {
        let dns: Vec<_> = dns.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(dns).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn common_name_or_dns_name() {
        let by_cn = certificate("app.acme", &["other"]);
        let by_dns = certificate("somebody", &["x", "app.acme"]);
        for certificate in [&by_cn, &by_dns] {
            assert!(names_role(certificate, "app", "acme"));
            assert!(!names_role(certificate, "app", "acm"));
            assert!(!names_role(certificate, "ap", "acme"));
            assert!(!names_role(certificate, "app", "globex"));
        }
        assert!(!names_role(b"no certificate", "app", "acme"));
    }

    #[test]
    fn a_role_with_dots_belongs_to_the_last_label() {
        let certificate = certificate("a.b.acme", &[]);
        assert!(names_role(&certificate, "a.b", "acme"));
        assert!(!names_role(&certificate, "a", "b.acm"));
    }
}
