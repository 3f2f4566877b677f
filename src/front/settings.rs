//! What logins depend on, as one snapshot that a reload replaces.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::auth::verifier::{SaltSecret, TenantRoles, Verifiers, VerifiersError};
use crate::config::{AuthMethod, ClientTlsMode, Config, ConsoleUser, ProxyProtocol, Role};
use crate::gauge::Gauge;
use crate::tenant::Registry;
use crate::tls::server::{ServerSide, ServerTlsError, server_side};
use crate::types::{CONSOLE, TenantId};

/// The settings of the front at one moment.
#[derive(Debug)]
pub struct FrontSettings {
    pub(super) registry: Arc<Registry>,
    pub(super) verifiers: Verifiers,
    pub(super) tls: Option<ServerSide>,
    pub(super) tls_mode: ClientTlsMode,
    /// The tenant is the first label of a TLS server name below this.
    pub(super) domain: Option<String>,
    pub(super) method: AuthMethod,
    /// Clients of the whole proxy.
    pub(super) max_clients: usize,
    pub(super) login_timeout: Duration,
    pub(super) proxy_protocol: ProxyProtocol,
    pub(super) keepalive: Duration,
    /// Who may log in to the console.
    console: Vec<ConsoleUser>,
    /// Counts of each tenant's clients; they live on over reloads.
    tenant_clients: HashMap<TenantId, Gauge>,
}

/// Why a configuration cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file of `[server.tls]`.
    #[error(transparent)]
    Tls(#[from] ServerTlsError),
    /// A role's password.
    #[error(transparent)]
    Verifiers(#[from] VerifiersError),
    /// The operating system gives no random bytes.
    #[error("no random bytes from the operating system: {0}")]
    Random(#[from] getrandom::Error),
}

impl FrontSettings {
    /// Reads files and works out the verifiers of plain passwords: about a millisecond of a core
    /// for each one that `previous` does not have yet. Not for an async thread.
    pub fn build(
        previous: Option<&Self>,
        config: &Config,
        registry: Arc<Registry>,
    ) -> Result<Self, SettingsError> {
        let tls = server_side(&config.server.tls)?;
        let secret = salt_secret(previous, config)?;
        let operators = operators(config);
        let roles: Vec<_> = registry
            .iter()
            .map(|t| TenantRoles {
                id: t.id,
                slug: t.slug().as_str(),
                roles: &t.config.roles,
            })
            .chain([TenantRoles {
                id: TenantId::CONSOLE,
                slug: CONSOLE,
                roles: &operators,
            }])
            .collect();
        let before = previous.map(|p| &p.verifiers);
        let verifiers = Verifiers::build(before, secret, &roles)?;
        let gauge = |id| previous.and_then(|p| p.tenant_clients.get(&id)).cloned();
        let tenant_clients = registry
            .iter()
            .map(|t| (t.id, gauge(t.id).unwrap_or_default()))
            .collect();
        Ok(Self {
            registry,
            verifiers,
            tls,
            tls_mode: config.server.tls.mode,
            domain: config.server.tls.domain.clone(),
            method: config.auth.method,
            max_clients: config.server.max_clients,
            login_timeout: config.server.login_timeout,
            proxy_protocol: config.server.proxy_protocol.clone(),
            keepalive: config.server.keepalive,
            console: config.console.users.clone(),
            tenant_clients,
        })
    }

    /// The console's user of that name.
    pub(super) fn console_user(&self, name: &str) -> Option<&ConsoleUser> {
        self.console.iter().find(|user| user.name.as_str() == name)
    }

    /// The tenants.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// How many clients the whole proxy may have.
    pub fn max_clients(&self) -> usize {
        self.max_clients
    }

    /// The clients of a tenant, if it is one of this snapshot.
    pub fn tenant_clients(&self, tenant: TenantId) -> Option<&Gauge> {
        self.tenant_clients.get(&tenant)
    }
}

/// The console's users, with their secrets as roles have them.
fn operators(config: &Config) -> Vec<Role> {
    let users = config.console.users.iter();
    let role = |user: &ConsoleUser| Role {
        name: user.name.clone(),
        password: Some(user.password.clone()),
    };
    users.map(role).collect()
}

fn salt_secret(
    previous: Option<&FrontSettings>,
    config: &Config,
) -> Result<SaltSecret, getrandom::Error> {
    match (&config.auth.secret, previous) {
        (Some(secret), _) => Ok(SaltSecret::new(secret)),
        (None, Some(previous)) => Ok(previous.verifiers.secret().clone()),
        (None, None) => {
            warn!(
                "auth.secret is not set: salts change at each start, \
                 which tells plain passwords and unknown names from stored verifiers"
            );
            SaltSecret::random()
        }
    }
}
