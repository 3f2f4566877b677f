//! Configuration files: any text.
//!
//! A mistake has a place in the text and says something; what is good shows no secret.

use std::path::Path;

use tenantry::config::{self, Config, ConfigErrors};

/// Put into a text, it is a secret. What `env:` gives is another one.
const LITERAL: &str = "hunter2-literal";
const FROM_ENV: &str = "s3cret-of-env";

pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if reaches_out(text) {
        return;
    }
    let env = |name: &str| (!name.is_empty()).then(|| FROM_ENV.to_owned());
    match config::parse(text, Path::new("/nonexistent/proxy.toml"), &env) {
        Ok(config) => good(text, &config),
        Err(errors) => bad(text, &errors),
    }
}

/// Files outside of the folder that does not exist, some of which never end.
fn reaches_out(text: &str) -> bool {
    ["file:/", "file:.", "\\u", "\\U", "\\x"]
        .iter()
        .any(|part| text.contains(part))
}

fn good(text: &str, config: &Config) {
    let mut shown = format!("{config:?}");
    shown.extend(tenantry::cli::check::warnings(config));
    assert!(!shown.contains(FROM_ENV), "{shown}");
    if is_secret(text) {
        assert!(!shown.contains(LITERAL), "{shown}");
    }
    assert!(!config.server.listen.is_empty() && config.server.workers > 0);
    assert!(config.clusters.is_sorted_by(|a, b| a.name < b.name));
    assert!(config.tenants.is_sorted_by(|a, b| a.slug < b.slug));
    for tenant in &config.tenants {
        let same = |c: &std::sync::Arc<config::Cluster>| c.name == tenant.cluster.name;
        assert!(config.clusters.iter().any(same));
        assert!(tenant.pool.size > 0 && tenant.pool.pins() <= tenant.pool.size);
    }
    let _needed = config::descriptors(config);
}

fn bad(text: &str, errors: &ConfigErrors) {
    assert!(errors.iter().next().is_some());
    for error in errors.iter() {
        assert!(!error.message.is_empty());
        // What is not there has no place.
        let placed = error.position.is_some() || error.message.contains("missing");
        assert!(placed || error.path.is_empty(), "{error}");
        if let Some((line, column)) = error.position {
            // A mistake may be that the text ends.
            let lines = text.split('\n').count();
            assert!((1..=lines).contains(&line), "{error}");
            let width = text
                .split('\n')
                .nth(line - 1)
                .map_or(0, |l| l.chars().count());
            assert!((1..=width + 1).contains(&column), "{error}");
        }
    }
    let told = errors.to_string();
    assert!(!told.contains(FROM_ENV), "{told}");
    if is_secret(text) {
        assert!(!told.contains(LITERAL), "{told}");
    }
}

/// Whether the literal stands in the text once, as a password, on a line of its own.
fn is_secret(text: &str) -> bool {
    let line = format!("password = \"{LITERAL}\"");
    text.matches(LITERAL).count() == 1 && text.lines().any(|l| l == line)
}
