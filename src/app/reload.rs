//! A configuration takes the place of another one, as a whole or not at all.
//!
//! All that can fail (reading, checking, certificates, verifiers) is done first and changes
//! nothing; what follows cannot fail. Reloads wait for each other. Each one says in one log line
//! what it changed, or why it changed nothing; no value of a key is in it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use tracing::{error, info, warn};

use super::{App, limits, raise_descriptor_limit};
use crate::config::{
    self, Config, ConfigErrors, Draft, Override, OverrideError, Source, Statements, differences,
    keep_until_restart,
};
use crate::console::View;
use crate::front::{FrontSettings, SettingsError};
use crate::systemd;
use crate::tenant::{Registry, difference};
use crate::tls::client::TlsSettingsError;
use crate::tls::server::server_side;
use crate::types::ClusterName;
use crate::upstream::{Connectors, Prepared, UnusableTls};
use crate::worker::slow::{SlowLog, Texts};

/// What reloads are compared with, and where they come from.
#[derive(Debug)]
pub(super) struct Reloads {
    pub(super) registry: Arc<Registry>,
    /// `None`: the configuration comes from no file.
    pub(super) source: Option<Source>,
}

/// What a reload changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Tenants that are new.
    pub added: usize,
    /// Tenants with other settings.
    pub changed: usize,
    /// Tenants that have gone.
    pub removed: usize,
    /// Keys with another value that is in force now, such as `pool.size`.
    pub keys: Vec<&'static str>,
    /// Keys with another value that takes a restart; the old one stays in force.
    pub restart: Vec<&'static str>,
    /// Keys whose value had been set by hand, until now.
    pub unset: Vec<&'static str>,
    /// Files that hold something else than before: certificates, secrets.
    pub files: Vec<PathBuf>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration comes from no file.
    #[error("the configuration comes from no file")]
    NoFile,
    /// A value that cannot be set by hand.
    #[error(transparent)]
    Override(#[from] OverrideError),
    /// The file, or a value that was set by hand.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// What the file names.
    #[error(transparent)]
    Unusable(#[from] Faults),
    /// A listener that stays until a restart does not fit the new settings.
    #[error("a listener that takes a restart to change stays, but {0}")]
    Listener(String),
}

/// Everything that makes a good configuration unusable on this machine; at least one.
#[derive(Debug, thiserror::Error)]
pub struct Faults(Vec<Fault>);

/// What a configuration names and that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Towards clients.
    #[error(transparent)]
    Front(#[from] SettingsError),
    /// Towards the servers of a cluster.
    #[error("cluster {0}: {1}")]
    Cluster(ClusterName, TlsSettingsError),
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl Faults {
    fn new(front: Option<SettingsError>, clusters: Option<Vec<UnusableTls>>) -> Self {
        let clusters = clusters.into_iter().flatten();
        let clusters = clusters.map(|(name, error)| Fault::Cluster(name, error));
        Self(
            front
                .into_iter()
                .map(Fault::Front)
                .chain(clusters)
                .collect(),
        )
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

/// Whether the certificates and keys that a configuration names can be used. Changes nothing.
///
/// # Errors
/// All that cannot.
pub fn check_files(config: &Config) -> Result<(), Faults> {
    let front = server_side(&config.server.tls)
        .err()
        .map(SettingsError::Tls);
    match (front, Connectors::prepare(&config.clusters)) {
        (None, Ok(_prepared)) => Ok(()),
        (front, servers) => Err(Faults::new(front, servers.err())),
    }
}

/// Everything that a configuration needs and that can fail to be made.
pub(super) struct Parts {
    pub(super) registry: Arc<Registry>,
    pub(super) settings: FrontSettings,
    pub(super) servers: Prepared,
}

impl Parts {
    /// Reads the files that the configuration names. Changes nothing.
    pub(super) fn prepare(
        config: &Config,
        registry: &Registry,
        settings: Option<&FrontSettings>,
    ) -> Result<Self, Faults> {
        let registry = Arc::new(Registry::build(config, registry));
        let settings = FrontSettings::build(settings, config, Arc::clone(&registry));
        let servers = Connectors::prepare(&config.clusters);
        match (settings, servers) {
            (Ok(settings), Ok(servers)) => Ok(Self {
                registry,
                settings,
                servers,
            }),
            (settings, servers) => Err(Faults::new(settings.err(), servers.err())),
        }
    }
}

impl App {
    /// Reads the configuration file again and applies it. Not for an async thread.
    ///
    /// # Errors
    /// Everything that is wrong; then nothing has changed.
    pub fn reload_from_source(&self) -> Result<Reloaded, ReloadError> {
        let _told = systemd::reloading();
        let mut reloads = self.reloads();
        let draft = match &mut reloads.source {
            Some(source) => source.read().map_err(ReloadError::from),
            None => Err(ReloadError::NoFile),
        };
        let outcome = draft.and_then(|draft| self.adopt(&mut reloads, draft));
        self.reload_counts.note(&outcome);
        match &outcome {
            Ok(reloaded) => reloaded.log(),
            Err(why) => error!("configuration not reloaded: {}", one_line(why)),
        }
        outcome
    }

    /// Puts one value over the file, until the file is read again. `key` and `value` are as a
    /// console gives them, see [`Override::new`]. Not for an async thread.
    ///
    /// # Errors
    /// An unknown key, one that takes a restart, and a value that the file would not take; then
    /// nothing has changed.
    pub fn set(&self, key: &str, value: &str) -> Result<Reloaded, ReloadError> {
        let over = Override::new(key, value)?;
        let name = over.key();
        let mut reloads = self.reloads();
        let source = reloads.source.as_ref().ok_or(ReloadError::NoFile)?;
        let draft = source.with(over)?;
        let reloaded = self.adopt(&mut reloads, draft)?;
        info!(key = name, "a setting was changed by hand");
        Ok(reloaded)
    }

    /// Applies a configuration that comes from elsewhere. Not for an async thread.
    ///
    /// # Errors
    /// What it names and that cannot be used; then nothing has changed.
    pub fn reload(&self, config: Config) -> Result<Reloaded, ReloadError> {
        let outcome = self.apply(&mut self.reloads(), config);
        self.reload_counts.note(&outcome);
        let reloaded = outcome?;
        reloaded.log();
        Ok(reloaded)
    }

    fn adopt(&self, reloads: &mut Reloads, draft: Draft) -> Result<Reloaded, ReloadError> {
        let mut reloaded = self.apply(reloads, draft.config.clone())?;
        if let Some(source) = &mut reloads.source {
            let adopted = source.adopt(draft);
            (reloaded.unset, reloaded.files) = (adopted.unset, adopted.changed);
        }
        Ok(reloaded)
    }

    fn apply(&self, reloads: &mut Reloads, mut config: Config) -> Result<Reloaded, ReloadError> {
        let old = self.config();
        let (now, restart): (Vec<_>, Vec<_>) = differences(&old, &config)
            .into_iter()
            .partition(|d| d.changeable);
        keep_until_restart(&old, &mut config);
        config.check_listeners().map_err(ReloadError::Listener)?;
        let before = self.front.settings();
        let parts = Parts::prepare(&config, &reloads.registry, Some(&before))?;
        // Nothing fails from here on.
        let changes = difference(&reloads.registry, &parts.registry);
        let reloaded = Reloaded {
            added: changes.added.len(),
            changed: changes.changed.len(),
            removed: changes.removed.len(),
            keys: now.iter().map(|d| d.key).collect(),
            restart: restart.iter().map(|d| d.key).collect(),
            ..Reloaded::default()
        };
        raise_descriptor_limit(config::descriptors(&config));
        self.budget.configure(limits(&config));
        self.connectors.reload(parts.servers);
        self.health.configure(&config.clusters);
        self.announce(&config);
        // Workers before logins: whoever logs in by the new settings finds them informed.
        self.workers.registry_replaced(&parts.registry);
        for (_, tenant) in changes.changed {
            self.workers.tenant_changed(tenant);
        }
        for tenant in changes.removed {
            self.workers.tenant_removed(&tenant);
        }
        self.front.replace_settings(parts.settings);
        reloads.registry = parts.registry;
        let config = Arc::new(config);
        self.console.configured(View {
            config: Arc::clone(&config),
            registry: Arc::clone(&reloads.registry),
        });
        self.config.store(config);
        Ok(reloaded)
    }

    /// Tells those who hold a copy what the configuration says: at the start and each reload.
    pub(super) fn announce(&self, config: &Config) {
        self.connectors.set_keepalive(config.server.keepalive);
        if let Some(logs) = &self.logs {
            logs.apply(&config.log);
        }
        self.workers.set_slow_log(SlowLog {
            threshold: config.log.slow,
            texts: match config.log.statements {
                Statements::Hidden => Texts::Hidden,
                Statements::Shown => Texts::Shown,
            },
        });
    }

    pub(super) fn reloads(&self) -> MutexGuard<'_, Reloads> {
        self.reloads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reloaded {
    fn log(&self) {
        let files = self.files.iter().map(|f| f.display().to_string());
        info!(
            added = self.added,
            changed = self.changed,
            removed = self.removed,
            keys = self.keys.join(", "),
            files = files.collect::<Vec<_>>().join(", "),
            "configuration reloaded"
        );
        if !self.unset.is_empty() {
            warn!(
                "set by hand, and now again as the file says: {}",
                self.unset.join(", ")
            );
        }
        if !self.restart.is_empty() {
            warn!("changed, but takes a restart: {}", self.restart.join(", "));
        }
    }
}

fn one_line(error: &ReloadError) -> String {
    error.to_string().replace('\n', "; ")
}
