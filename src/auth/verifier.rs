//! What logins are checked against: a snapshot of all tenants' secrets, worked out in advance, and
//! made-up ones for names that do not exist.
//!
//! Guarantees: a known and an unknown name cost the same work at login (PBKDF2 runs when a
//! snapshot is built, never later); a name's salt is the same at each try and, with `auth.secret`
//! set, over restarts; a made-up verifier lets nobody in. Nothing here shows a secret.

use std::collections::HashMap;
use std::sync::Arc;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::password::{is_md5, md5_fits, md5_stored};
use super::scram::{Genuine, Verifier, VerifierError};
use crate::config::Role;
use crate::types::{RoleName, Secret, TenantId};

/// PBKDF2 rounds of verifiers that we make: PostgreSQL's default.
pub const ITERATIONS: u32 = 4096;

/// Bytes of the salts that we make: PostgreSQL's default.
const SALT_BYTES: usize = 16;

/// Who a login says it is, known or not: the texts that salts are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The tenant's name, as far as the login names one.
    pub tenant: &'a str,
    /// The role's name.
    pub role: &'a str,
}

/// Salts of verifiers that we make ourselves derive from it (`auth.secret`).
#[derive(Clone)]
pub struct SaltSecret(Arc<Zeroizing<[u8; 32]>>);

impl std::fmt::Debug for SaltSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SaltSecret(..)")
    }
}

impl SaltSecret {
    /// From the configured secret.
    pub fn new(secret: &Secret) -> Self {
        Self(Arc::new(Zeroizing::new(
            Sha256::digest(secret.expose()).into(),
        )))
    }

    /// A new one, for this process only.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice())?;
        Ok(Self(Arc::new(bytes)))
    }

    /// Names hold no NUL, so the separators keep two claims apart.
    fn derive(&self, purpose: &str, claim: &Claim<'_>) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice())
            .expect("HMAC takes keys of any length");
        for part in [purpose, claim.tenant, claim.role] {
            mac.update(part.as_bytes());
            mac.update(&[0]);
        }
        mac.finalize().into_bytes().into()
    }

    fn salt(&self, claim: &Claim<'_>) -> Vec<u8> {
        self.derive("salt", claim)[..SALT_BYTES].to_vec()
    }

    fn mock(&self, claim: &Claim<'_>) -> Verifier {
        Verifier {
            iterations: ITERATIONS,
            salt: self.salt(claim),
            stored_key: self.derive("stored key", claim),
            server_key: self.derive("server key", claim),
        }
    }

    fn same(&self, other: &Self) -> bool {
        super::password::same(self.0.as_slice(), other.0.as_slice())
    }
}

/// Why a snapshot cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("tenant {tenant}, role {role}: {source}")]
pub struct VerifiersError {
    tenant: String,
    role: RoleName,
    source: VerifierError,
}

/// The roles of one tenant, to build from.
#[derive(Debug, Clone, Copy)]
pub struct TenantRoles<'a> {
    /// Whose.
    pub id: TenantId,
    /// Its name, for salts.
    pub slug: &'a str,
    /// As configured.
    pub roles: &'a [Role],
}

/// All tenants' secrets at one moment.
#[derive(Debug)]
pub struct Verifiers {
    secret: SaltSecret,
    tenants: HashMap<TenantId, Arc<TenantVerifiers>>,
    nobody: Nobody,
}

/// What is looked up and copied for a name that does not exist, so that it costs what a name that
/// does exist costs: a hash and a copy show in a thousand tries.
#[derive(Debug)]
struct Nobody {
    tenants: HashMap<TenantId, Arc<TenantVerifiers>>,
    role: RoleName,
}

impl Nobody {
    const TENANT: TenantId = TenantId(0);

    fn new(secret: &SaltSecret) -> Self {
        let claim = Claim {
            tenant: "",
            role: "",
        };
        let secrets = RoleSecrets {
            scram: Some(secret.mock(&claim)),
            md5: Some(Md5Secret::Plain(Secret::new(
                "a password of nobody".to_owned(),
            ))),
        };
        let role = RoleName::new("nobody");
        let verifiers = TenantVerifiers {
            configured: Vec::new(),
            by_role: HashMap::from([(role.clone(), secrets)]),
        };
        Self {
            tenants: HashMap::from([(Self::TENANT, Arc::new(verifiers))]),
            role,
        }
    }
}

#[derive(Debug)]
struct TenantVerifiers {
    /// What it was built from: the same again needs no new work.
    configured: Vec<Role>,
    by_role: HashMap<RoleName, RoleSecrets>,
}

/// What one role can be checked against.
#[derive(Debug, Default)]
struct RoleSecrets {
    scram: Option<Verifier>,
    md5: Option<Md5Secret>,
}

#[derive(Debug)]
enum Md5Secret {
    /// The MD5 form is made at login, of the user name as the client sent it.
    Plain(Secret),
    /// As PostgreSQL stores it.
    Stored(Secret),
}

/// What an MD5 answer is checked against.
pub struct Md5Check {
    stored: Zeroizing<String>,
    genuine: Genuine,
}

impl Md5Check {
    /// Whether the client's answer to `salt` proves the password.
    pub fn fits(&self, salt: [u8; 4], answer: &[u8]) -> bool {
        md5_fits(&self.stored, salt, answer) & (self.genuine == Genuine::Known)
    }
}

impl std::fmt::Debug for Md5Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Md5Check(..)")
    }
}

impl Verifiers {
    /// Works out all verifiers, on all cores; tenants that are as in `previous` keep theirs.
    pub fn build(
        previous: Option<&Self>,
        secret: SaltSecret,
        tenants: &[TenantRoles<'_>],
    ) -> Result<Self, VerifiersError> {
        let previous = previous.filter(|p| p.secret.same(&secret));
        let mut built = HashMap::with_capacity(tenants.len());
        let mut fresh = Vec::new();
        for tenant in tenants {
            let before = previous.and_then(|p| p.tenants.get(&tenant.id));
            match before.filter(|b| b.configured == tenant.roles) {
                Some(same) => drop(built.insert(tenant.id, Arc::clone(same))),
                None => fresh.push(*tenant),
            }
        }
        built.extend(build_all(&secret, &fresh)?);
        let nobody = Nobody::new(&secret);
        Ok(Self {
            secret,
            tenants: built,
            nobody,
        })
    }

    /// The secret that salts derive from, to build the next snapshot with.
    pub fn secret(&self) -> &SaltSecret {
        &self.secret
    }

    /// What a SCRAM login is checked against: `who`'s verifier, or a made-up one where `who` is
    /// nobody or has none.
    pub fn scram(
        &self,
        who: Option<(TenantId, &RoleName)>,
        claim: &Claim<'_>,
    ) -> (Verifier, Genuine) {
        let mock = self.secret.mock(claim);
        let (secrets, genuine) = self.secrets(who);
        match (secrets.and_then(|s| s.scram.clone()), genuine) {
            (Some(verifier), Genuine::Known) => (verifier, Genuine::Known),
            (Some(_) | None, _) => (mock, Genuine::Mock),
        }
    }

    /// What an MD5 login is checked against. `user` is the name as the client sent it: the client
    /// hashes its password with that.
    pub fn md5(&self, who: Option<(TenantId, &RoleName)>, user: &str) -> Md5Check {
        let (secrets, genuine) = self.secrets(who);
        let found = secrets.and_then(|secrets| secrets.md5.as_ref());
        let plain = match found {
            Some(Md5Secret::Plain(secret)) => secret.expose(),
            Some(Md5Secret::Stored(_)) | None => "a password of nobody",
        };
        let hashed = md5_stored(plain, user);
        match found {
            Some(Md5Secret::Plain(_)) => Md5Check {
                stored: hashed,
                genuine,
            },
            Some(Md5Secret::Stored(stored)) => Md5Check {
                stored: Zeroizing::new(stored.expose().to_owned()),
                genuine,
            },
            None => Md5Check {
                stored: hashed,
                genuine: Genuine::Mock,
            },
        }
    }

    /// What is stored for `who`, or for nobody: then it is a mock.
    fn secrets(&self, who: Option<(TenantId, &RoleName)>) -> (Option<&RoleSecrets>, Genuine) {
        let (tenants, tenant, role, genuine) = match who {
            Some((tenant, role)) => (&self.tenants, tenant, role, Genuine::Known),
            None => {
                let nobody = &self.nobody;
                (&nobody.tenants, Nobody::TENANT, &nobody.role, Genuine::Mock)
            }
        };
        let found = tenants
            .get(&tenant)
            .and_then(|tenant| tenant.by_role.get(role));
        (found, genuine)
    }
}

type Built = Vec<(TenantId, Arc<TenantVerifiers>)>;

fn build_all(secret: &SaltSecret, tenants: &[TenantRoles<'_>]) -> Result<Built, VerifiersError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = tenants.len().div_ceil(cores).max(1);
    let built: Vec<Result<Built, VerifiersError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = tenants
            .chunks(share)
            .map(|some| scope.spawn(|| some.iter().map(|t| build_one(secret, t)).collect()))
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("building does not panic"))
            .collect()
    });
    let parts: Result<Vec<Built>, _> = built.into_iter().collect();
    Ok(parts?.into_iter().flatten().collect())
}

fn build_one(
    secret: &SaltSecret,
    tenant: &TenantRoles<'_>,
) -> Result<(TenantId, Arc<TenantVerifiers>), VerifiersError> {
    let mut by_role = HashMap::with_capacity(tenant.roles.len());
    for role in tenant.roles {
        let claim = Claim {
            tenant: tenant.slug,
            role: role.name.as_str(),
        };
        let secrets = role_secrets(secret, &claim, role.password.as_ref());
        let secrets = secrets.map_err(|source| VerifiersError {
            tenant: tenant.slug.to_owned(),
            role: role.name.clone(),
            source,
        })?;
        by_role.insert(role.name.clone(), secrets);
    }
    let configured = tenant.roles.to_vec();
    Ok((
        tenant.id,
        Arc::new(TenantVerifiers {
            configured,
            by_role,
        }),
    ))
}

/// An empty password proves nothing, as in PostgreSQL.
fn role_secrets(
    secret: &SaltSecret,
    claim: &Claim<'_>,
    password: Option<&Secret>,
) -> Result<RoleSecrets, VerifierError> {
    let Some(password) = password.filter(|p| !p.expose().is_empty()) else {
        return Ok(RoleSecrets::default());
    };
    let text = password.expose();
    if text.starts_with("SCRAM-SHA-256$") {
        return Ok(RoleSecrets {
            scram: Some(Verifier::parse(text)?),
            md5: None,
        });
    }
    if is_md5(text) {
        return Ok(RoleSecrets {
            scram: None,
            md5: Some(Md5Secret::Stored(password.clone())),
        });
    }
    let scram = Verifier::from_password(text, secret.salt(claim), ITERATIONS);
    Ok(RoleSecrets {
        scram: Some(scram),
        md5: Some(Md5Secret::Plain(password.clone())),
    })
}

#[cfg(test)]
mod tests;
