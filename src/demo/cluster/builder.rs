//! What a throw-away server is started with. Values are quoted here, files are copied.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Binaries, Cluster, ClusterError, SUPERUSER, io_error, random_password};

/// A server to be.
#[derive(Debug, Default)]
pub struct Builder {
    settings: Vec<(String, String)>,
    hba: Vec<String>,
    tls: Option<(PathBuf, PathBuf)>,
    client_ca: Option<PathBuf>,
}

impl Builder {
    /// A line of `postgresql.conf`; the value is quoted here.
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// A line of `pg_hba.conf`, before the usual ones (Unix socket: trust; 127.0.0.1: SCRAM).
    #[must_use]
    pub fn hba(mut self, line: &str) -> Self {
        self.hba.push(line.to_owned());
        self
    }

    /// `max_connections`.
    #[must_use]
    pub fn max_connections(self, count: u32) -> Self {
        self.setting("max_connections", count)
    }

    /// Switches TLS on; the PEM files are copied.
    #[must_use]
    pub fn tls(mut self, certificate: &Path, key: &Path) -> Self {
        self.tls = Some((certificate.to_owned(), key.to_owned()));
        self
    }

    /// Who signs client certificates (for `hba` lines with `cert`); the PEM file is copied.
    #[must_use]
    pub fn client_ca(mut self, certificate: &Path) -> Self {
        self.client_ca = Some(certificate.to_owned());
        self
    }

    /// Makes the data directory, starts the server and waits until it accepts connections.
    pub fn start(self) -> Result<Cluster, ClusterError> {
        let cluster = Cluster::prepare(Binaries::find()?, random_password()?)?;
        cluster.initialise()?;
        self.configure(&cluster)?;
        cluster.start_on_free_port()
    }

    fn configure(&self, cluster: &Cluster) -> Result<(), ClusterError> {
        let mut lines = String::from(
            "listen_addresses = '127.0.0.1'\nfsync = off\nwal_level = replica\nhot_standby = on\n\
             max_wal_senders = 10\nlogging_collector = off\n",
        );
        let files = [
            (
                "ssl_cert_file",
                "server.crt",
                self.tls.as_ref().map(|(certificate, _)| certificate),
            ),
            (
                "ssl_key_file",
                "server.key",
                self.tls.as_ref().map(|(_, key)| key),
            ),
            ("ssl_ca_file", "client_ca.crt", self.client_ca.as_ref()),
        ];
        for (setting, name, source) in files {
            if let Some(source) = source {
                cluster.copy_in(source, name)?;
                lines += &format!("{setting} = '{name}'\n");
            }
        }
        if self.tls.is_some() {
            lines += "ssl = on\n";
        }
        for (name, value) in &self.settings {
            lines += &format!("{name} = '{}'\n", value.replace('\'', "''"));
        }
        append(&cluster.data_dir().join("postgresql.conf"), &lines)?;
        let hba = format!(
            "local all {SUPERUSER} trust\nlocal replication {SUPERUSER} trust\n{}\n\
             local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
            self.hba.join("\n")
        );
        let path = cluster.data_dir().join("pg_hba.conf");
        fs::write(&path, hba).map_err(|e| io_error("writing", &path, e))
    }
}

fn append(path: &Path, text: &str) -> Result<(), ClusterError> {
    OpenOptions::new()
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| io_error("writing", path, e))
}
