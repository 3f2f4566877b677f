//! Evidence -> tenant and role. Pure and total: no I/O, an outcome for every input.
//!
//! All evidence that is present must agree. The strongest first: TLS server name, startup option,
//! user name `role.tenant` or `role@tenant`, database. What went wrong is for the log alone: a
//! client is told the same whatever it was.

use std::fmt;
use std::sync::Arc;

use super::{Registry, Tenant};
use crate::config::Role;
use crate::types::{Slug, is_console};

/// What a client shows of who it is, before it proves anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// TLS server name of the handshake, if there was one.
    pub server_name: Option<&'a str>,
    /// `[server.tls] domain`, in lower case; without it the server name says nothing.
    pub domain: Option<&'a str>,
    /// The startup parameter `tenant`, or `tenant` in `options`. Where a client sends both, the
    /// caller compares them.
    pub option_tenant: Option<&'a str>,
    /// The startup parameter `user`.
    pub user: &'a str,
    /// The startup parameter `database`; absent or empty it is the user's name (manual, 55.7).
    pub database: Option<&'a str>,
}

/// Who a client says it is.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Whose data it wants.
    pub tenant: Arc<Tenant>,
    /// What it wants to log in as: one of the tenant's roles.
    pub role: Role,
}

/// A piece of evidence, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The TLS server name.
    ServerName,
    /// The startup option or parameter `tenant`.
    Option,
    /// The user's name.
    User,
    /// The database.
    Database,
}

/// Why nobody is found. For the log only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing names a tenant.
    #[error("nothing names a tenant")]
    NoTenant,
    /// A name that is no tenant's.
    #[error("the {0} names an unknown tenant")]
    UnknownTenant(Source),
    /// Two pieces of evidence name different tenants.
    #[error("the {0} and the {1} name different tenants")]
    Disagree(Source, Source),
    /// The tenant has no such role.
    #[error("tenant {0} has no such role")]
    UnknownRole(Slug),
    /// The database is neither the tenant's nor its slug.
    #[error("the database is not that of tenant {0}")]
    ForeignDatabase(Slug),
    /// The database is the console's, and nothing names a tenant.
    #[error("the console is no tenant's database")]
    Console,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServerName => "TLS server name",
            Self::Option => "startup option",
            Self::User => "user name",
            Self::Database => "database",
        })
    }
}

/// A tenant and what named it.
type Named<'r> = (&'r Arc<Tenant>, Source);

/// Finds the tenant and the role that a client claims.
///
/// # Errors
/// Why there is none.
pub fn resolve(registry: &Registry, evidence: &Evidence<'_>) -> Result<Resolved, Failure> {
    let strong = strong(registry, evidence)?;
    let database = database(evidence);
    if is_console(database.name) && !(database.may_be_default && strong.is_some()) {
        return Err(match strong {
            Some((_, by)) => Failure::Disagree(by, Source::Database),
            None => Failure::Console,
        });
    }
    let named = strong.or_else(|| Some((registry.by_slug(database.name)?, Source::Database)));
    let (tenant, role, by) = match named {
        Some((tenant, by)) => with_tenant(registry, evidence.user, (tenant, by), &database)?,
        None => by_user(registry, evidence.user)?,
    };
    agree_on_database(registry, (tenant, by), &database)?;
    Ok(Resolved {
        tenant: Arc::clone(tenant),
        role: role.clone(),
    })
}

/// What the server name and the startup option say, if they agree.
fn strong<'r>(registry: &'r Registry, e: &Evidence<'_>) -> Result<Option<Named<'r>>, Failure> {
    let find = |slug: &str, source| {
        registry
            .by_slug(slug)
            .map(|t| (t, source))
            .ok_or(Failure::UnknownTenant(source))
    };
    let label = e
        .server_name
        .zip(e.domain)
        .and_then(|(name, domain)| label(name, domain));
    let by_name = label.map(|l| find(&l, Source::ServerName)).transpose()?;
    let by_option = e
        .option_tenant
        .map(|t| find(t, Source::Option))
        .transpose()?;
    match (by_name, by_option) {
        (Some((a, _)), Some((b, _))) if a.id != b.id => {
            Err(Failure::Disagree(Source::ServerName, Source::Option))
        }
        (by_name, by_option) => Ok(by_name.or(by_option)),
    }
}

/// What stands before the domain; `None` for the domain itself and for names outside of it. It
/// may have several labels, which are no slug.
fn label(server_name: &str, domain: &str) -> Option<String> {
    let name = server_name
        .strip_suffix('.')
        .unwrap_or(server_name)
        .to_ascii_lowercase();
    let label = name.strip_suffix(domain)?.strip_suffix('.')?;
    Some(label.to_owned())
}

/// The database that a client asks for.
struct Database<'a> {
    name: &'a str,
    /// It is the user's name: libpq fills that in, so perhaps the client asked for none.
    may_be_default: bool,
}

fn database<'a>(e: &Evidence<'a>) -> Database<'a> {
    let name = e.database.filter(|d| !d.is_empty()).unwrap_or(e.user);
    Database {
        name,
        may_be_default: name == e.user,
    }
}

/// The role where something other than the user's name has named the tenant: the whole name, dots
/// and all, if it is one of the tenant's; else what stands before the suffix, which must agree.
fn with_tenant<'r>(
    registry: &'r Registry,
    user: &str,
    (tenant, by): Named<'r>,
    database: &Database<'_>,
) -> Result<(&'r Arc<Tenant>, &'r Role, Source), Failure> {
    if let Some(role) = tenant.role(user) {
        return Ok((tenant, role, by));
    }
    let unknown_role = || Failure::UnknownRole(tenant.slug().clone());
    let (role, suffix) = split(user).ok_or_else(unknown_role)?;
    let other = registry.by_slug(suffix).ok_or_else(unknown_role)?;
    if other.id == tenant.id {
        return Ok((tenant, tenant.role(role).ok_or_else(unknown_role)?, by));
    }
    // A database that is one tenant's slug may be the very database of another one: the user's
    // name, the stronger evidence, says which is meant.
    if by == Source::Database && other.config.database.as_str() == database.name {
        return by_user(registry, user);
    }
    let (stronger, weaker) = if by == Source::Database {
        (Source::User, by)
    } else {
        (by, Source::User)
    };
    Err(Failure::Disagree(stronger, weaker))
}

/// Tenant and role where nothing but the user's name can tell.
fn by_user<'r>(
    registry: &'r Registry,
    user: &str,
) -> Result<(&'r Arc<Tenant>, &'r Role, Source), Failure> {
    let (role, suffix) = split(user).ok_or(Failure::NoTenant)?;
    let tenant = registry
        .by_slug(suffix)
        .ok_or(Failure::UnknownTenant(Source::User))?;
    let unknown_role = || Failure::UnknownRole(tenant.slug().clone());
    Ok((
        tenant,
        tenant.role(role).ok_or_else(unknown_role)?,
        Source::User,
    ))
}

/// `role.tenant` or `role@tenant`. A slug has neither sign, so the last one is the border.
fn split(user: &str) -> Option<(&str, &str)> {
    user.rsplit_once(['.', '@'])
}

/// The database must be the tenant's slug or its own one, unless the client may have asked for none.
fn agree_on_database(
    registry: &Registry,
    (tenant, by): Named<'_>,
    database: &Database<'_>,
) -> Result<(), Failure> {
    let name = database.name;
    let own = name == tenant.slug().as_str() || name == tenant.config.database.as_str();
    if own || database.may_be_default {
        Ok(())
    } else if registry.by_slug(name).is_some() {
        Err(Failure::Disagree(by, Source::Database))
    } else {
        Err(Failure::ForeignDatabase(tenant.slug().clone()))
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
