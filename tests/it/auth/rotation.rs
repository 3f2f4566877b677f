//! Certificates and revocations that are replaced while clients are connected.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tenantry::app::{App, Outside, Watch};
use tenantry::config::Source;

use super::super::support::patience::eventually;
use super::client::{Address, Begin, Tls, Wire};
use super::login::{Attempt, End, Login, log_in};
use super::pki::Pki;
use super::world::{PASSWORD, world};

/// A proxy whose configuration is a file beside its certificates, on a listener for `cert`.
struct Rotating {
    app: Arc<App>,
    pki: Pki,
}

impl Rotating {
    fn start() -> Self {
        let pki = Pki::new();
        fs::copy(pki.file("empty.crl"), pki.file("live.crl")).unwrap();
        for end in ["crt", "key"] {
            fs::copy(
                pki.file(&format!("proxy.{end}")),
                pki.file(&format!("live.{end}")),
            )
            .unwrap();
        }
        let text = format!(
            "[server]\nworkers = 1\nlisten = ['127.0.0.1:0']\n\
             [server.tls]\ncertificate = 'live.crt'\nprivate_key = 'live.key'\n\
             client_ca = 'ca.crt'\ncrl = 'live.crl'\n[auth]\nsecret = 'salts'\nmethod = 'cert'\n\
             [[cluster]]\nname = 'main'\nprimary = '127.0.0.1:{}'\ntls = 'disable'\n\
             [[tenant]]\nslug = 'acme'\ncluster = 'main'\ndatabase = 'tenant_acme'\n\
             user = 'svc'\npassword = '{PASSWORD}'\nroles = [{{ name = 'app' }}]\n",
            world().postgres.port()
        );
        let path = pki.file("proxy.toml");
        fs::write(&path, text).unwrap();
        let (source, config) = Source::open(&path).unwrap();
        let outside = Outside {
            source: Some(source),
            logs: None,
            ..Outside::default()
        };
        let app = Arc::new(App::start_with(config, outside).unwrap());
        Self { app, pki }
    }

    /// Puts a file in the place of another one.
    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.pki.file(from), self.pki.file(to)).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.pki.file(name)
    }

    /// Logs in with that certificate; the digest of the one that the proxy shows is beside it.
    fn log_in(&self, identity: &str) -> Option<(Attempt, Vec<u8>)> {
        let tls = Tls {
            begin: Begin::Asked,
            server_name: "db.test",
            identity: Some(identity),
            files: self.pki.path(),
        };
        let address = Address::Tcp(self.app.tcp_address().unwrap());
        let wire = Wire::secure(&address, &tls).ok()?;
        let shown = wire.end_point.clone()?;
        let attempt = log_in(wire, &Login::new("app.acme", PASSWORD)).ok()?;
        matches!(attempt.end, End::Ready).then_some((attempt, shown))
    }
}

#[test]
fn a_replaced_certificate_is_shown_to_new_clients_and_old_ones_stay() {
    let proxy = Rotating::start();
    let _watch = Watch::start(&proxy.app).unwrap();
    let (mut old, first) = proxy.log_in("app.acme").expect("it gets in");
    // A certificate without its key would lock everybody out.
    proxy.rename("proxy2.crt", "live.crt");
    let told = proxy.app.reload_from_source().unwrap_err().to_string();
    assert!(
        told.contains("live.crt") && told.contains("live.key"),
        "{told}"
    );
    let (_client, still) = proxy.log_in("app.acme").expect("it gets in");
    assert_eq!(still, first);
    proxy.rename("proxy2.key", "live.key");
    eventually("the new one is shown", || {
        proxy
            .log_in("app.acme")
            .is_some_and(|(_, shown)| shown != first)
    });
    assert_eq!(old.current_database(), "tenant_acme");
}

#[test]
fn a_new_revocation_list_holds_for_new_clients() {
    let proxy = Rotating::start();
    let (mut old, _) = proxy.log_in("revoked").expect("not revoked yet");
    proxy.rename("ca.crl", "live.crl");
    let done = proxy.app.reload_from_source().unwrap();
    assert_eq!(done.files, [proxy.file("live.crl")]);
    assert!(proxy.log_in("revoked").is_none());
    assert!(proxy.log_in("app.acme").is_some());
    assert_eq!(old.current_database(), "tenant_acme");
    fs::write(proxy.file("live.crl"), "half a fi").unwrap();
    let told = proxy.app.reload_from_source().unwrap_err().to_string();
    assert!(told.contains("live.crl"), "{told}");
    assert!(proxy.log_in("revoked").is_none() && proxy.log_in("app.acme").is_some());
}
