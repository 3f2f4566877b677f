//! Tests of the snapshot: who gets which verifier, and what survives a rebuild.

use super::*;
use crate::auth::password::md5_answer;

fn secret(text: &str) -> SaltSecret {
    SaltSecret::new(&Secret::new(text.to_owned()))
}

fn role(name: &str, password: Option<&str>) -> Role {
    Role {
        name: RoleName::new(name),
        password: password.map(|p| Secret::new(p.to_owned())),
    }
}

fn build(previous: Option<&Verifiers>, salts: &str, roles: &[Role]) -> Verifiers {
    let acme = TenantRoles {
        id: TenantId(1),
        slug: "acme",
        roles,
    };
    Verifiers::build(previous, secret(salts), &[acme]).unwrap()
}

fn scram(verifiers: &Verifiers, role: &str) -> (Verifier, Genuine) {
    let name = RoleName::new(role);
    verifiers.scram(
        Some((TenantId(1), &name)),
        &Claim {
            tenant: "acme",
            role,
        },
    )
}

#[test]
fn plain_secrets_keep_their_salt_while_the_secret_stays() {
    let roles = [role("app", Some("pw"))];
    let (first, genuine) = scram(&build(None, "s", &roles), "app");
    let (again, _) = scram(&build(None, "s", &roles), "app");
    let (other, _) = scram(&build(None, "t", &roles), "app");
    assert_eq!(genuine, Genuine::Known);
    assert_eq!(
        (first.iterations, first.salt.len()),
        (ITERATIONS, SALT_BYTES)
    );
    assert_eq!(
        (&first.salt, first.stored_key),
        (&again.salt, again.stored_key)
    );
    assert_ne!(first.salt, other.salt);
}

#[test]
fn a_made_up_salt_is_the_one_a_plain_secret_would_have() {
    let with = build(None, "s", &[role("app", Some("pw"))]);
    let without = build(None, "s", &[]);
    let (known, _) = scram(&with, "app");
    let (mock, genuine) = scram(&without, "app");
    assert_eq!(genuine, Genuine::Mock);
    assert_eq!((known.salt, known.iterations), (mock.salt, mock.iterations));
    let nobody = without
        .scram(
            None,
            &Claim {
                tenant: "acme",
                role: "ap",
            },
        )
        .0;
    let shifted = without
        .scram(
            None,
            &Claim {
                tenant: "acmea",
                role: "p",
            },
        )
        .0;
    assert_ne!(nobody.salt, shifted.salt);
}

#[test]
fn stored_forms_serve_their_own_method_only() {
    let stored = md5_stored("pw", "app").as_str().to_owned();
    let verifier = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$\
                    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\
                    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let roles = [
        role("md5", Some(&stored)),
        role("scram", Some(verifier)),
        role("none", None),
        role("empty", Some("")),
    ];
    let verifiers = build(None, "s", &roles);
    for (name, expected) in [
        ("md5", Genuine::Mock),
        ("scram", Genuine::Known),
        ("none", Genuine::Mock),
        ("empty", Genuine::Mock),
    ] {
        assert_eq!(scram(&verifiers, name).1, expected, "{name}");
    }
}

#[test]
fn md5_plain_secrets_use_the_name_as_sent() {
    let roles = [
        role("app", Some("pw")),
        role("old", Some(&md5_stored("pw", "old"))),
    ];
    let verifiers = build(None, "s", &roles);
    let fits = |role: &str, user: &str, password: &str| {
        let (name, salt) = (RoleName::new(role), [1, 2, 3, 4]);
        let answer = md5_answer(&md5_stored(password, user), salt).unwrap();
        verifiers
            .md5(Some((TenantId(1), &name)), user)
            .fits(salt, answer.as_bytes())
    };
    assert!(fits("app", "app.acme", "pw") && fits("app", "app", "pw") && fits("old", "old", "pw"));
    assert!(!fits("app", "app", "other") && !fits("old", "old.acme", "pw"));
    assert!(!fits("nobody", "nobody", "a password of nobody"));
}

#[test]
fn unchanged_tenants_keep_their_verifiers() {
    let roles = [role("app", Some("pw"))];
    let first = build(None, "s", &roles);
    let same = build(Some(&first), "s", &roles);
    let changed = build(Some(&first), "s", &[role("app", Some("new"))]);
    let resalted = build(Some(&first), "t", &roles);
    let of = |v: &Verifiers| Arc::clone(&v.tenants[&TenantId(1)]);
    assert!(Arc::ptr_eq(&of(&first), &of(&same)));
    assert!(!Arc::ptr_eq(&of(&first), &of(&changed)));
    assert!(!Arc::ptr_eq(&of(&first), &of(&resalted)));
}

#[test]
fn a_broken_verifier_names_its_role() {
    let roles = [role("app", Some("SCRAM-SHA-256$nonsense"))];
    let acme = TenantRoles {
        id: TenantId(1),
        slug: "acme",
        roles: &roles,
    };
    let error = Verifiers::build(None, secret("s"), &[acme])
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("tenant acme, role app: "), "{error}");
}

#[test]
fn debug_shows_no_secret() {
    let verifiers = build(None, "s", &[role("app", Some("hunter2"))]);
    assert!(!format!("{verifiers:?}").contains("hunter2"));
}
