//! Who a login says it is, known or not: from this the salt of a made-up verifier derives.
//!
//! It must give the same answer for each way of naming one role of one tenant (a known role has
//! one salt however it is named, so an unknown one must too), and it must not depend on whether
//! tenant or role exist. One thing can be guessed through it: with only a user name and a database
//! as evidence, whether the database is the tenant's own under a name that does not contain its
//! slug.

use crate::auth::verifier::Claim;
use crate::types::{CONSOLE, is_console};

/// The console has two names and its users one salt.
pub(super) fn claim<'a>(
    named: Option<&'a str>,
    user: &'a str,
    database: Option<&'a str>,
    owns: impl Fn(&str, &str) -> bool,
) -> Claim<'a> {
    let claim = literal_claim(named, user, database, owns);
    let tenant = if is_console(claim.tenant) {
        CONSOLE
    } else {
        claim.tenant
    };
    Claim { tenant, ..claim }
}

/// `named` is the tenant of the TLS server name or of the startup options, the strongest evidence;
/// `owns` says whether a tenant of that name has a database of that name.
fn literal_claim<'a>(
    named: Option<&'a str>,
    user: &'a str,
    database: Option<&'a str>,
    owns: impl Fn(&str, &str) -> bool,
) -> Claim<'a> {
    let suffixed = user.rsplit_once(['.', '@']);
    match (named, suffixed, database) {
        (Some(tenant), Some((role, suffix)), _) if suffix == tenant => Claim { tenant, role },
        (Some(tenant), _, _) => Claim { tenant, role: user },
        // A database named after the tenant is probably the tenant's own ("tenant_acme").
        (None, Some((role, tenant)), Some(database))
            if database.contains(tenant) || owns(tenant, database) =>
        {
            Claim { tenant, role }
        }
        // libpq repeats the user name.
        (None, Some((role, tenant)), Some(database)) if database == user => Claim { tenant, role },
        (None, Some((role, tenant)), None) => Claim { tenant, role },
        (None, _, Some(tenant)) => Claim { tenant, role: user },
        // Without a database its name is the user's.
        (None, None, None) if is_console(user) => Claim {
            tenant: user,
            role: user,
        },
        (None, None, None) => Claim {
            tenant: "",
            role: user,
        },
    }
}

/// The tenant in a TLS server name: its first label, where the rest is the configured domain.
pub(super) fn server_name_tenant<'a>(server_name: &'a str, domain: &str) -> Option<&'a str> {
    let (label, rest) = server_name.split_once('.')?;
    rest.eq_ignore_ascii_case(domain).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owns(tenant: &str, database: &str) -> bool {
        (tenant, database) == ("acme", "roadrunner")
    }

    #[test]
    fn every_way_of_naming_a_role_claims_the_same() {
        for (named, user, database) in [
            (Some("acme"), "app", None),
            (Some("acme"), "app", Some("acme")),
            (Some("acme"), "app", Some("tenant_acme")),
            (Some("acme"), "app.acme", None),
            (Some("acme"), "app@acme", Some("app@acme")),
            (None, "app.acme", None),
            (None, "app@acme", None),
            (None, "app.acme", Some("acme")),
            (None, "app.acme", Some("app.acme")),
            (None, "app.acme", Some("tenant_acme")),
            (None, "app.acme", Some("roadrunner")),
            (None, "app", Some("acme")),
        ] {
            let expected = Claim {
                tenant: "acme",
                role: "app",
            };
            assert_eq!(
                claim(named, user, database, owns),
                expected,
                "{named:?} {user} {database:?}"
            );
        }
    }

    #[test]
    fn a_role_with_dots_is_whole_where_the_tenant_is_named() {
        let expected = Claim {
            tenant: "acme",
            role: "bob@corp.com",
        };
        assert_eq!(claim(Some("acme"), "bob@corp.com", None, owns), expected);
        assert_eq!(claim(None, "bob@corp.com", Some("acme"), owns), expected);
        assert_eq!(claim(None, "bob@corp.com.acme", None, owns), expected);
    }

    #[test]
    fn both_names_of_the_console_claim_the_same() {
        for (user, database) in [
            ("admin", Some("tenantry")),
            ("admin", Some("pgbouncer")),
            ("admin.pgbouncer", None),
        ] {
            let expected = Claim {
                tenant: "tenantry",
                role: "admin",
            };
            assert_eq!(claim(None, user, database, owns), expected);
        }
        let own = claim(None, "pgbouncer", Some("pgbouncer"), owns);
        assert_eq!((own.tenant, own.role), ("tenantry", "pgbouncer"));
        assert_eq!(claim(None, "pgbouncer", None, owns), own, "{own:?}");
    }

    #[test]
    fn server_names_below_the_domain() {
        let domain = "db.example.com";
        assert_eq!(
            server_name_tenant("acme.db.example.com", domain),
            Some("acme")
        );
        for other in [
            "db.example.com",
            "a.b.db.example.com",
            "acme.example.com",
            "acme",
        ] {
            assert_eq!(server_name_tenant(other, domain), None, "{other}");
        }
    }
}
