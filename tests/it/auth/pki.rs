//! Certificates of the tests, made anew in each run.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

/// Below it the first label of a server name is the tenant.
#[allow(dead_code, reason = "the hostile day needs certificates alone")]
pub(crate) const DOMAIN: &str = "db.test";

/// The serial number of `revoked.crt`.
const REVOKED: u64 = 666;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// PEM files in a directory of their own: `ca.crt` has signed all but those of `other_ca.crt`.
#[derive(Debug)]
pub(crate) struct Pki {
    dir: tempfile::TempDir,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let pki = Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        let (ca, other) = (authority("ours"), authority("another"));
        pki.write("ca.crt", &ca.pem());
        pki.write("other_ca.crt", &other.pem());
        pki.leaf(
            "proxy",
            ("proxy", &["*.db.test", "db.test", "a.b.db.test"]),
            &ca,
        );
        pki.leaf("proxy2", ("proxy", &["*.db.test", "db.test"]), &ca);
        pki.leaf("postgres", ("postgres", &["localhost"]), &ca);
        // Towards servers.
        pki.leaf("cert", ("cert", &[]), &ca);
        // Of clients.
        pki.leaf("app.acme", ("app.acme", &[]), &ca);
        pki.leaf("app.globex", ("app.globex", &[]), &ca);
        pki.leaf("san", ("somebody", &["x.test", "app.acme"]), &ca);
        pki.leaf("foreign", ("app.acme", &[]), &other);
        pki.leaf("revoked", ("app.acme", &[]), &ca);
        pki.write("ca.crl", &revocations(&ca, &[REVOKED]));
        pki.write("empty.crl", &revocations(&ca, &[]));
        pki
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).expect("a file of the test is written");
    }

    fn leaf(&self, name: &str, (common_name, dns): (&str, &[&str]), by: &Authority) {
        let dns: Vec<String> = dns.iter().map(|d| (*d).to_owned()).collect();
        let mut params = CertificateParams::new(dns).expect("names are ASCII");
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        if name == "revoked" {
            params.serial_number = Some(SerialNumber::from(REVOKED));
        }
        let key = KeyPair::generate().expect("a key is made");
        let certificate = params.signed_by(&key, by).expect("the authority signs");
        self.write(&format!("{name}.crt"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key is made");
    CertifiedIssuer::self_signed(params, key).expect("an authority signs itself")
}

fn revocations(ca: &Authority, serials: &[u64]) -> String {
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(2120, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = params.signed_by(ca).expect("the authority signs");
    list.pem().expect("it is PEM")
}
