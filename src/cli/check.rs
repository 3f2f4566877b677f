//! `tenantry check`: is the configuration good, and what does it amount to?
//!
//! Reads the file and the secrets and certificates it names; connects to nothing.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use serde::Serialize;

use crate::app::check_files;
use crate::config::{self, ClientTlsMode, Config, ConfigErrors, ListenAddr};

/// What a good configuration amounts to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file.
    pub file: String,
    /// Where clients can connect.
    pub listeners: Vec<String>,
    /// Worker threads.
    pub workers: usize,
    /// Clients of the whole proxy.
    pub max_clients: usize,
    /// How many clusters.
    pub clusters: usize,
    /// How many tenants.
    pub tenants: usize,
    /// What works but is likely not meant.
    pub warnings: Vec<String>,
}

/// Checks a configuration file.
///
/// # Errors
/// Everything that is wrong with it or with the certificates it names, and a `max_clients` for
/// which this process can never have enough descriptors.
pub fn check(path: &Path) -> Result<Report, ConfigErrors> {
    let config = config::load(path)?;
    check_files(&config).map_err(|faults| {
        let each = faults
            .iter()
            .map(|fault| format!("cannot be used: {fault}"));
        ConfigErrors::about_each(path, each)
    })?;
    // Where the limit cannot be read there is nothing to compare with.
    let hard_limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_soft, hard)| hard);
    let needed = config::descriptors(&config);
    if needed > hard_limit {
        let message = format!(
            "cannot fit: {} clients and the server connections need {needed} descriptors, the \
             hard limit of this process is {hard_limit} (ulimit -Hn)",
            config.server.max_clients
        );
        return Err(config::file::error_at(
            path,
            ("server", "max_clients"),
            message,
        ));
    }
    Ok(report(path, &config))
}

fn report(path: &Path, config: &Config) -> Report {
    let listeners = config
        .server
        .listen
        .iter()
        .map(|l| l.address.to_string())
        .collect();
    Report {
        file: path.display().to_string(),
        listeners,
        workers: config.server.workers,
        max_clients: config.server.max_clients,
        clusters: config.clusters.len(),
        tenants: config.tenants.len(),
        warnings: warnings(config),
    }
}

/// What works but is likely not meant.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut out = Vec::new();
    if config.auth.secret.is_none() {
        out.push(
            "auth.secret is not set: after a restart, other salts tell roles that exist from \
             those that do not"
                .to_owned(),
        );
    }
    let tls = &config.server.tls;
    let plain = tls.mode == ClientTlsMode::Disable;
    for listener in &config.server.listen {
        if let ListenAddr::Tcp(address) = listener.address
            && plain
            && !address.ip().to_canonical().is_loopback()
        {
            out.push(format!(
                "{address} is reachable from other machines, and TLS is off"
            ));
        }
    }
    if plain && tls.domain.is_some() {
        out.push("server.tls.domain has no effect: TLS is off".to_owned());
    }
    if config.tenants.is_empty() {
        out.push("there is no tenant: nobody can log in".to_owned());
    }
    let slugs: HashSet<&str> = config.tenants.iter().map(|t| t.slug.as_str()).collect();
    for tenant in &config.tenants {
        let (slug, database) = (&tenant.slug, tenant.database.as_str());
        if tenant.roles.is_empty() {
            out.push(format!("tenant {slug} has no roles: nobody can log in"));
        }
        if database != slug.as_str() && slugs.contains(database) {
            out.push(format!(
                "tenant {slug} has the database {database}, which is also another tenant's slug: \
                 a client that names nothing but this database is taken for the other one's"
            ));
        }
    }
    out
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is good", self.file)?;
        writeln!(f, "  listens on   {}", self.listeners.join(", "))?;
        writeln!(f, "  workers      {}", self.workers)?;
        writeln!(f, "  max_clients  {}", self.max_clients)?;
        writeln!(f, "  clusters     {}", self.clusters)?;
        write!(f, "  tenants      {}", self.tenants)?;
        for warning in &self.warnings {
            write!(f, "\nwarning: {warning}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn the_shipped_file_is_good() {
        let shipped = include_str!("../../proxy.toml");
        let (_folder, path) = file(&shipped.replace("max_clients = 20000", "max_clients = 100"));
        let report = check(&path).unwrap();
        assert_eq!((report.clusters, report.tenants), (1, 1));
        assert_eq!(report.listeners, ["127.0.0.1:6432"]);
        assert_eq!(
            report.warnings.len(),
            1,
            "the secret alone: {:?}",
            report.warnings
        );
        assert!(
            report
                .to_string()
                .contains("\nwarning: auth.secret is not set")
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["tenants"], 1);
    }

    #[test]
    fn certificates_that_cannot_be_used_are_told_all_together() {
        let text = "[server]\nmax_clients = 10\n[server.tls]\ncertificate = 'x'\nprivate_key = 'x'\n\
                    [[cluster]]\nname = 'm'\nprimary = 'h'\ntls_ca = 'x'";
        let (folder, path) = file(text);
        std::fs::write(folder.path().join("x"), "nothing").unwrap();
        let errors = check(&path).unwrap_err().to_string();
        let [front, cluster] = errors.lines().collect::<Vec<_>>()[..] else {
            panic!("two mistakes: {errors}")
        };
        assert!(front.contains("no certificate found"), "{front}");
        assert!(cluster.contains("cannot be used: cluster m: "), "{cluster}");
    }

    #[test]
    fn what_cannot_fit_is_refused_at_its_line() {
        let (_soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let clients = hard.min(10_000_000);
        let (_folder, path) = file(&format!("[server]\nmax_clients = {clients}"));
        match check(&path) {
            Ok(_) => assert!(
                hard > 10_000_000,
                "it fits only where there is no real limit"
            ),
            Err(errors) => {
                let text = errors.to_string();
                assert!(
                    text.contains("proxy.toml:2:15: server.max_clients: cannot fit"),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn budgets_of_a_shared_node_count_once() {
        let text = "[server]\nmax_clients = 10\nworkers = 1\n\
                    [[cluster]]\nname = 'a'\nprimary = 'h'\nmax_connections = 7\n\
                    [[cluster]]\nname = 'b'\nprimary = 'h'\nmax_connections = 7";
        let config = config::parse(text, Path::new("t"), &|_| None).unwrap();
        assert_eq!(config::descriptors(&config), 10 + 7 + 4 + 1 + 128);
    }

    #[test]
    fn warns_of_what_is_likely_not_meant() {
        let tenant = |slug: &str, database: &str| {
            format!("[[tenant]]\nslug = '{slug}'\ncluster = 'm'\ndatabase = '{database}'\n")
        };
        let text = format!(
            "auth.secret = 's'\nserver = {{ listen = ['*:1'], tls.domain = 'x.y' }}\n\
             [[cluster]]\nname = 'm'\nprimary = 'h'\n{}{}",
            tenant("a", "b"),
            tenant("b", "c")
        );
        let config = config::parse(&text, Path::new("t"), &|_| None).unwrap();
        let warnings = warnings(&config).join("\n");
        for part in [
            "0.0.0.0:1 is reach",
            "tls.domain has no",
            "tenant a has no roles",
            "tenant a has the database b",
        ] {
            assert!(warnings.contains(part), "{part}: {warnings}");
        }
        assert!(
            !warnings.contains("tenant b has the database"),
            "{warnings}"
        );
    }
}
