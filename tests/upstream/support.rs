//! A real server with every method of authentication and TLS, and a blocking look at connections.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tenantry::config::{Cluster as ClusterConfig, UpstreamTls, UpstreamTlsMode};
use tenantry::demo::cluster::Cluster;
use tenantry::stream::ReadOutcome;
use tenantry::types::{ClusterName, DbName, NodeAddr, RoleName, Secret};
use tenantry::upstream::{Credentials, Target, Upstream};

/// The server of all tests, and the files of its certificates.
pub(crate) struct Server {
    pub(crate) cluster: Cluster,
    files: tempfile::TempDir,
}

/// Names of roles are the method of authentication; the password of all is `secret`.
const HBA: [&str; 7] = [
    "local all scram scram-sha-256",
    "host all trust 127.0.0.1/32 trust",
    "host all clear 127.0.0.1/32 password",
    "host all md5 127.0.0.1/32 md5",
    "hostssl all cert 127.0.0.1/32 cert",
    "host all reject 127.0.0.1/32 reject",
    "host all all 127.0.0.1/32 scram-sha-256",
];

const ROLES: &str = "
    SET password_encryption = 'scram-sha-256';
    CREATE ROLE scram LOGIN PASSWORD 'secret';
    CREATE ROLE rotated LOGIN PASSWORD 'secret';
    CREATE ROLE clear LOGIN PASSWORD 'secret';
    CREATE ROLE trust LOGIN;
    CREATE ROLE late LOGIN PASSWORD 'secret';
    CREATE ROLE cert LOGIN;
    CREATE ROLE full LOGIN PASSWORD 'secret' CONNECTION LIMIT 0;
    CREATE ROLE odd LOGIN PASSWORD E'I\\u00ADX\\u2168';
    SET password_encryption = 'md5';
    CREATE ROLE md5 LOGIN PASSWORD 'secret';";

pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let files = tempfile::tempdir().expect("a temporary directory");
        write_certificates(files.path());
        let path = |name: &str| files.path().join(name);
        let builder = HBA.iter().fold(Cluster::builder(), |b, line| b.hba(line));
        let builder = builder.tls(&path("server.crt"), &path("server.key"));
        let cluster = builder
            .client_ca(&path("ca.crt"))
            .start()
            .expect("PostgreSQL starts");
        cluster.psql("postgres", ROLES).expect("roles are made");
        Server { cluster, files }
    })
}

/// A CA with certificates for the host `localhost` and the role `cert`, and a CA of somebody else.
fn write_certificates(dir: &Path) {
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text).unwrap();
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let ca = authority("ours");
    write("ca.crt", ca.pem());
    write("other_ca.crt", authority("another").pem());
    for (name, common_name, san) in [
        ("server", "db", vec!["localhost".to_owned()]),
        ("client", "cert", vec![]),
    ] {
        let mut params = CertificateParams::new(san).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        write(
            &format!("{name}.crt"),
            params.signed_by(&key, &ca).unwrap().pem(),
        );
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

impl Server {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// This role with the right password, over plain TCP.
    pub(crate) fn target(&self, role: &str) -> Target {
        target("127.0.0.1", self.cluster.port(), role)
    }

    /// The same over TLS with these settings.
    pub(crate) fn tls_target(&self, mode: UpstreamTlsMode, host: &str, ca: Option<&str>) -> Target {
        let mut target = target(host, self.cluster.port(), "scram");
        let ca = ca.map(|name| self.file(name));
        set_tls(
            &mut target,
            UpstreamTls {
                mode,
                ca,
                client_identity: None,
            },
        );
        target
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.cluster
            .psql("postgres", sql)
            .expect("the SQL of the test is right")
    }
}

pub(crate) fn target(host: &str, port: u16, role: &str) -> Target {
    let node = NodeAddr {
        host: host.into(),
        port,
    };
    let tls = UpstreamTls {
        mode: UpstreamTlsMode::Disable,
        ca: None,
        client_identity: None,
    };
    let cluster = ClusterConfig {
        name: ClusterName::new("main"),
        primary: node.clone(),
        replicas: Vec::new(),
        monitor: None,
        probe_interval: Duration::from_secs(1),
        max_connections: 10,
        tls,
    };
    Target {
        node,
        cluster: Arc::new(cluster),
        database: DbName::new("postgres"),
        role: RoleName::new(role),
        credentials: password("secret"),
        settings: Vec::new(),
        connect_query: String::new(),
        connect_timeout: Duration::from_secs(20),
    }
}

pub(crate) fn password(text: &str) -> Credentials {
    Credentials::Password(Secret::new(text.to_owned()))
}

pub(crate) fn set_tls(target: &mut Target, tls: UpstreamTls) {
    target.cluster = Arc::new(ClusterConfig {
        tls,
        ..(*target.cluster).clone()
    });
}

/// Sends a simple query.
pub(crate) fn send(upstream: &mut Upstream, sql: &str) {
    let length = u32::try_from(sql.len() + 5).unwrap();
    let message = [b"Q", length.to_be_bytes().as_slice(), sql.as_bytes(), b"\0"].concat();
    assert_eq!(upstream.stream.write(&message).unwrap(), message.len());
    assert!(upstream.stream.flush().unwrap());
}

/// Everything up to and with the next ReadyForQuery.
pub(crate) fn receive(upstream: &mut Upstream) -> Vec<u8> {
    let mut poll = Poll::new().unwrap();
    poll.registry()
        .register(&mut upstream.stream, Token(0), Interest::READABLE)
        .unwrap();
    let (mut events, mut got, mut buffer) = (Events::with_capacity(4), Vec::new(), [0; 4096]);
    while !got.ends_with(b"Z\0\0\0\x05I") {
        match upstream.stream.read(&mut buffer).unwrap() {
            ReadOutcome::Drained(0) => {
                poll.poll(&mut events, Some(Duration::from_secs(30)))
                    .unwrap();
                assert!(!events.is_empty(), "no answer: {got:?}");
            }
            ReadOutcome::More(n) | ReadOutcome::Drained(n) => got.extend(&buffer[..n]),
            ReadOutcome::Closed => panic!("the server closed: {got:?}"),
        }
    }
    poll.registry().deregister(&mut upstream.stream).unwrap();
    got
}

/// The single value that a query returns.
pub(crate) fn ask(upstream: &mut Upstream, sql: &str) -> String {
    send(upstream, sql);
    let got = receive(upstream);
    let mut rest = got.as_slice();
    while rest[0] != b'D' {
        let length = u32::from_be_bytes(rest[1..5].try_into().unwrap());
        rest = &rest[usize::try_from(length).unwrap() + 1..];
        assert!(
            !rest.is_empty(),
            "no row: {}",
            String::from_utf8_lossy(&got)
        );
    }
    let length = u32::from_be_bytes(rest[7..11].try_into().unwrap());
    String::from_utf8(rest[11..11 + usize::try_from(length).unwrap()].to_vec()).unwrap()
}
