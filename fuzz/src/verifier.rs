//! Stored passwords: verifiers as PostgreSQL writes them, MD5 hashes, plain texts.
//!
//! What is understood is what was written, and whatever a configuration accepts can be built.

use std::path::Path;

use md5::{Digest as _, Md5};
use tenantry::auth::password::{is_md5, md5_fits};
use tenantry::auth::scram::Verifier;
use tenantry::auth::verifier::{SaltSecret, TenantRoles, Verifiers};
use tenantry::config::{self, Config};
use tenantry::tenant::Registry;
use tenantry::types::Secret;

use super::reference::encode;

pub fn verifier(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(found) = Verifier::parse(text) {
        said_again(text, &found);
    }
    if is_md5(text) {
        logs_in_by_md5(text);
    }
    builds(text);
}

fn said_again(text: &str, found: &Verifier) {
    let [salt, stored, server] =
        [&found.salt[..], &found.stored_key, &found.server_key].map(encode);
    let written = format!(
        "SCRAM-SHA-256${}:{salt}${stored}:{server}",
        found.iterations
    );
    // The number may have had a sign or zeros before it.
    let tail = |text: &str| text.split_once(':').map(|(_, tail)| tail.to_owned());
    assert_eq!(tail(&written), tail(text));
    assert!(found.iterations > 0 && !found.salt.is_empty());
    let shown = format!("{found:?}");
    assert!(!shown.contains(&stored) && !shown.contains(&server));
}

/// The right answer fits, and no other one.
fn logs_in_by_md5(stored: &str) {
    let salt = *b"salt";
    let digest = Md5::new()
        .chain_update(&stored[3..])
        .chain_update(salt)
        .finalize();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let answer = format!("md5{hex}");
    assert!(md5_fits(stored, salt, answer.as_bytes()));
    assert!(!md5_fits(stored, *b"tlas", answer.as_bytes()));
    assert!(!md5_fits(stored, salt, stored.as_bytes()));
    assert!(!md5_fits(stored, salt, &answer.as_bytes()[..34]));
}

/// As the password of a role: where it is accepted, a login can be checked against it.
fn builds(text: &str) {
    const FILE: &str = r#"
        cluster = [{ name = "main", primary = "127.0.0.1" }]
        tenant = [{ slug = "acme", cluster = "main", database = "d", user = "u",
            roles = [{ name = "app", password = "env:TEXT" }] }]
    "#;
    let env = |_: &str| Some(text.to_owned());
    let Ok(config) = config::parse(FILE, Path::new("proxy.toml"), &env) else {
        return;
    };
    let registry = Registry::build(&config, &Registry::default());
    let roles: Vec<TenantRoles<'_>> = registry
        .iter()
        .map(|tenant| TenantRoles {
            id: tenant.id,
            slug: tenant.slug().as_str(),
            roles: &tenant.config.roles,
        })
        .collect();
    // A plain text is salted for a hundredth of a second: now and then is enough.
    let plain = !text.starts_with("SCRAM-SHA-256$") && !is_md5(text);
    if plain && text.len() % 16 != 1 {
        return;
    }
    let secret = SaltSecret::new(&Secret::new("salts".to_owned()));
    let built = Verifiers::build(None, secret, &roles);
    assert!(built.is_ok(), "accepted, but: {:?}", built.err());
    hidden(text, &config);
}

/// A text that can be told from the rest is not shown.
fn hidden(text: &str, config: &Config) {
    if text.len() >= 35 {
        assert!(!format!("{config:?}").contains(text));
    }
}
