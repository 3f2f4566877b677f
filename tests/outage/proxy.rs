//! Proxies as processes, one configuration file for all of them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{CertificateParams, KeyPair};
use tenantry::demo::cluster::Cluster;

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that happens by itself.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A certificate and its key.
pub(crate) struct Pki(tempfile::TempDir);

impl Pki {
    pub(crate) fn new() -> Self {
        let pki = Self(tempfile::tempdir().expect("a temporary directory"));
        pki.renew();
        pki
    }

    /// Replaces both, each at once.
    pub(crate) fn renew(&self) {
        let key = KeyPair::generate().expect("a key is made");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("ASCII");
        let certificate = params.self_signed(&key).expect("it signs itself");
        for (name, pem) in [("key", key.serialize_pem()), ("crt", certificate.pem())] {
            let (new, file) = (self.file(&format!("new.{name}")), self.file(name));
            fs::write(&new, pem).expect("a file of the test is written");
            fs::rename(new, file).expect("a file of the test is renamed");
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Where the proxies serve, one after the other.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    pub(crate) port: u16,
    server: u16,
    tls: String,
}

impl Place {
    pub(crate) fn new(cluster: &Cluster, pki: &Pki) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (crt, key) = (pki.file("crt"), pki.file("key"));
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
            port: free.local_addr().expect("its address").port(),
            server: cluster.port(),
            tls: format!(
                "certificate = '{}'\nprivate_key = '{}'\n",
                crt.display(),
                key.display()
            ),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the configuration, with pools of this size.
    pub(crate) fn configure(&self, size: usize) {
        let text = format!(
            "[server]\nlisten = ['127.0.0.1:{}']\nworkers = 2\ntakeover = '{}'\n[server.tls]\n{}\
             [auth]\nsecret = 'of the tests, long enough for salts'\n\
             [console]\nusers = [{{ name = 'admin', password = 'secret', role = 'admin' }}]\n\
             [pool]\nsize = {size}\n\
             [[cluster]]\nname = 'main'\nprimary = '127.0.0.1:{}'\nmax_connections = 40\ntls = 'disable'\n\
             [[tenant]]\nslug = 'bench'\ncluster = 'main'\ndatabase = 'bench'\nuser = 'bench'\n\
             roles = [{{ name = 'bench', password = 'secret' }}]\n",
            self.port,
            self.file("takeover").display(),
            self.tls,
            self.server,
        );
        let (new, file) = (self.file("new.toml"), self.file("proxy.toml"));
        fs::write(&new, text).expect("a file of the test is written");
        fs::rename(new, file).expect("a file of the test is renamed");
    }

    /// Runs a command of the console.
    pub(crate) fn console(&self, command: &str) {
        let output = Command::new("psql")
            .args(["-X", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args([
                "-U",
                "admin",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                command,
                "tenantry",
            ])
            .env("PGPASSWORD", "secret")
            .output()
            .expect("psql is installed");
        assert!(
            output.status.success(),
            "{command}: {}",
            super::text(&output)
        );
    }

    /// What a new client is shown.
    pub(crate) fn certificate(&self) -> String {
        let output = Command::new("openssl")
            .args(["s_client", "-starttls", "postgres", "-connect"])
            .arg(format!("127.0.0.1:{}", self.port))
            .stdin(Stdio::null())
            .output()
            .expect("openssl is installed");
        let said = super::text(&output);
        let begin = said
            .find("-----BEGIN CERTIFICATE-----")
            .expect("it has one");
        let end = said.find("-----END CERTIFICATE-----").expect("it is whole");
        said[begin..end].to_owned()
    }
}

/// A serving process; killed when dropped.
pub(crate) struct Proxy {
    process: std::cell::RefCell<Child>,
    lines: Receiver<String>,
}

impl Proxy {
    /// Starts one, and waits until it listens.
    pub(crate) fn start(place: &Place) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tenantry"))
            .args(["serve", "--config"])
            .arg(place.file("proxy.toml"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the proxy is built");
        let stderr = process.stderr.take().expect("it is piped");
        let (line, lines) = sync_channel(100_000);
        std::thread::spawn(move || {
            for said in BufReader::new(stderr).lines().map_while(Result::ok) {
                // The test may have heard enough.
                let _over = line.send(said);
            }
        });
        let proxy = Self {
            process: process.into(),
            lines,
        };
        proxy.wait_for_line("listening");
        proxy
    }

    /// Waits for a log line that has these words.
    pub(crate) fn wait_for_line(&self, words: &str) {
        let end = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with {words:?} among {heard:#?}");
            };
            if line.contains(words) {
                return;
            }
            heard.push(line);
        }
    }

    pub(crate) fn hang_up(&self) {
        let id = self.process.borrow().id();
        let pid = Pid::from_raw(i32::try_from(id).expect("a process id"));
        kill(pid, Signal::SIGHUP).expect("it is there");
    }

    /// Its exit code, once it has ended by itself.
    pub(crate) fn ended(&self) -> Option<i32> {
        let mut status = None;
        until("the process ends", || {
            status = self.process.borrow_mut().try_wait().expect("our child");
            status.is_some()
        });
        status.and_then(|s| s.code())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut process = self.process.borrow_mut();
        // It may have ended.
        let _gone = process.kill();
        let _status = process.wait();
    }
}
