//! The shipped `proxy.toml` and the users' page against the lists of keys: what works is
//! documented, what is documented works, and what does nothing yet is refused by name.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::keys::{self, Keys};
use super::tests::parse;

const SHIPPED: &str = include_str!("../../proxy.toml");

#[test]
fn keys_that_do_nothing_yet_are_refused_by_name() {
    for keys in all_keys() {
        for key in keys.later {
            let text = in_context(keys.table, &format!("{key} = 1"));
            let message = parse(&text).unwrap_err();
            let expected = format!("{key}: `{key}` is not supported by this version");
            assert!(message.contains(&expected), "{text}\n{message}");
        }
        let message = parse(&in_context(keys.table, "nonsense = 1")).unwrap_err();
        assert!(message.contains("nonsense: unknown key"), "{message}");
    }
    let message = parse("[registry]\nsource = 'postgres'").unwrap_err();
    let expected = "proxy.toml:2:10: registry.source: `postgres` is not supported by this version";
    assert_eq!(message, expected);
}

fn all_keys() -> [&'static Keys; 15] {
    [
        &keys::ROOT,
        &keys::SERVER,
        &keys::LISTENER,
        &keys::SERVER_TLS,
        &keys::AUTH,
        &keys::LOG,
        &keys::CONSOLE,
        &keys::CONSOLE_USER,
        &keys::REGISTRY,
        &keys::POOL,
        &keys::ROUTING,
        &keys::CLUSTER,
        &keys::REPLICA,
        &keys::TENANT,
        &keys::ROLE,
    ]
}

/// A document with this line in this table.
fn in_context(table: &str, line: &str) -> String {
    match table {
        "" => line.to_owned(),
        "cluster" | "tenant" => format!("[[{table}]]\n{line}"),
        "tenant.roles" => format!("[[tenant]]\nroles = [{{ {line} }}]"),
        "console.users" => format!("[console]\nusers = [{{ {line} }}]"),
        "cluster.replicas" => format!("[[cluster]]\nreplicas = [{{ {line} }}]"),
        "server.listen" => format!("[server]\nlisten = [{{ {line} }}]"),
        _ => format!("[{table}]\n{line}"),
    }
}

/// Every key path of a table, without indices.
fn paths(table: &DeTable<'_>, prefix: &str, out: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => paths(inner, &format!("{path}."), out),
            DeValue::Array(items) => {
                for inner in items.iter().filter_map(|i| i.get_ref().as_table()) {
                    paths(inner, &format!("{path}."), out);
                }
            }
            _ => {}
        }
        out.insert(path);
    }
}

/// The keys that `proxy.toml` shows, set or behind a `#`.
fn documented() -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let mut header = String::new();
    for line in SHIPPED.lines() {
        let line = line
            .strip_prefix('#')
            .filter(|l| !l.starts_with(' '))
            .unwrap_or(line);
        // The tables that a comment shows inline.
        let line = line
            .split_once("own: {")
            .map_or(line.to_owned(), |(_, t)| format!("listen = [{{{t}]"));
        if line.starts_with('[') {
            let end = line.rfind(']').map_or(line.len(), |i| i + 1);
            header = line[..end].trim_matches(['[', ']']).to_owned();
            out.insert(header.clone());
        } else if !line.starts_with('#') && !line.is_empty() {
            let table = DeTable::parse(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
            paths(table.get_ref(), &format!("{header}."), &mut out);
        }
    }
    out
}

#[test]
fn the_shipped_file_documents_exactly_the_keys_that_work() {
    let mut working = BTreeSet::new();
    for keys in all_keys() {
        let prefix = if keys.table.is_empty() {
            String::new()
        } else {
            format!("{}.", keys.table)
        };
        working.extend(keys.working.iter().map(|k| format!("{prefix}{k}")));
    }
    let documented = documented();
    let missing: Vec<_> = working.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&working).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not shown: {missing:?}, unknown: {unknown:?}"
    );
}

#[test]
fn the_shipped_file_sets_what_is_the_default_anyway() {
    let shipped = parse(SHIPPED).unwrap();
    let minimal = parse(
        "[[cluster]]\nname = 'main'\nprimary = '127.0.0.1:5432'\n\
         [[tenant]]\nslug = 'acme'\ncluster = 'main'\ndatabase = 'tenant_acme'\n\
         user = 'tenant_acme'\npassword = 'change-me'\n\
         roles = [{ name = 'app', password = 'change-me' }]",
    );
    assert_eq!(Ok(shipped), minimal);
}

#[test]
fn the_users_page_names_every_key() {
    let page = include_str!("../../docs/configuration.md");
    for keys in all_keys() {
        for key in keys.working {
            let shown = [
                format!("`{key}`"),
                format!("`[{key}]`"),
                format!("`[[{key}]]`"),
            ];
            let shown = shown.iter().any(|s| page.contains(s))
                || page.contains(&format!("`[server.{key}]`"));
            assert!(
                shown,
                "docs/configuration.md says nothing about {key} of [{}]",
                keys.table
            );
        }
    }
}
