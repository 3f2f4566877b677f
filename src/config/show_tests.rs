//! Every key has its row; what is put over the file is held to the file's rules.

use std::collections::BTreeSet;

use super::super::keys::{self, Keys};
use super::super::{Digest, Override, OverrideError, Source};
use super::*;

fn config(text: &str) -> Config {
    super::super::tests::parse(text).unwrap()
}

fn row(config: &Config, key: &str) -> Row {
    let rows = show(config);
    rows.into_iter().find(|r| r.key == key).expect(key)
}

#[test]
fn every_key_of_the_tables_has_a_row_and_every_alias_a_key() {
    let tables: [&Keys; 7] = [
        &keys::SERVER,
        &keys::SERVER_TLS,
        &keys::AUTH,
        &keys::LOG,
        &keys::CONSOLE,
        &keys::POOL,
        &keys::ROUTING,
    ];
    let all = tables
        .iter()
        .flat_map(|t| t.working.iter().map(|k| format!("{}.{k}", t.table)));
    let working: BTreeSet<String> = all.filter(|k| k != "server.tls").collect();
    let shown: BTreeSet<String> = KEYS.iter().map(|k| k.name.to_owned()).collect();
    assert_eq!(shown, working);
    assert_eq!(show(defaults()).len(), KEYS.len() + ALIASES.len());
}

#[test]
fn rows_tell_value_default_and_whether_it_takes_a_restart() {
    let config = config(
        "server = { listen = ['0.0.0.0:7000', 'unix:/t'], login_timeout = '1500ms' }\n\
         auth.secret = 'hidden'\npool = { size = 5, idle_timeout = '90s' }\n\
         console.users = [{ name = 'a', password = 'hidden', role = 'admin' }, \
                          { name = 'b', password = 'hidden', role = 'stats' }]",
    );
    for (key, value, default, changeable) in [
        ("pool.size", "5", "20", true),
        ("default_pool_size", "5", "20", true),
        ("pool.idle_timeout", "90s", "5m", true),
        ("server_idle_timeout", "90", "300", true),
        ("server.login_timeout", "1500ms", "15s", true),
        ("client_login_timeout", "1.5", "15", true),
        ("pool.mode", "transaction", "transaction", true),
        (
            "server.listen",
            "0.0.0.0:7000, unix:/t",
            "127.0.0.1:6432",
            false,
        ),
        ("listen_addr", "0.0.0.0", "127.0.0.1", false),
        ("listen_port", "7000", "6432", false),
        ("unix_socket_dir", "/t", "", false),
        ("auth.secret", "***", "", true),
        ("console.users", "a, b", "", true),
        ("admin_users", "a", "", true),
        ("stats_users", "b", "", true),
    ] {
        let expected = Row {
            key,
            value: value.to_owned(),
            default: default.to_owned(),
            changeable,
        };
        assert_eq!(row(&config, key), expected);
    }
    assert!(!format!("{:?}", show(&config)).contains("hidden"));
}

#[test]
fn differences_are_named_and_what_takes_a_restart_is_kept() {
    let old = config("pool.size = 5\nserver.workers = 1\nauth.secret = 'one'");
    let mut new = config("pool.size = 6\nserver.workers = 2\nauth.secret = 'two'");
    let named: Vec<_> = differences(&old, &new)
        .iter()
        .map(|d| (d.key, d.changeable))
        .collect();
    let expected = [
        ("server.workers", false),
        ("auth.secret", true),
        ("pool.size", true),
    ];
    assert_eq!(named, expected);
    keep_until_restart(&old, &mut new);
    assert_eq!((new.server.workers, new.pool.size), (1, 6));
}

/// A file in a folder of its own, open.
fn source(text: &str) -> (tempfile::TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, text).unwrap();
    let (source, _config) = Source::open(&path).unwrap();
    (folder, source)
}

const TENANT: &str = "[[cluster]]\nname = 'main'\nprimary = 'db'\n\
                      [[tenant]]\nslug = 'acme'\ncluster = 'main'\ndatabase = 'a'\nuser = 'u'\n";

#[test]
fn values_put_over_the_file_hold_until_it_is_read_again() {
    let (_folder, mut source) = source(&format!("pool = {{ mode = 'session' }}\n{TENANT}"));
    let sets = [
        ("pool.size", "5"),
        ("POOL.SIZE", "'7'"),
        ("log.level", "debug"),
        ("log.statements", "on"),
        ("server_idle_timeout", "1.5"),
        ("pool.connect_query", "'SELECT ''x''\\'"),
        ("server.tls.domain", "db.example.com"),
    ];
    for (key, value) in sets {
        let draft = source.with(Override::new(key, value).unwrap()).unwrap();
        source.adopt(draft);
    }
    let draft = source
        .with(Override::new("default_pool_size", "8").unwrap())
        .unwrap();
    let config = &draft.config;
    assert_eq!((config.pool.size, config.tenants[0].pool.size), (8, 8));
    assert_eq!(
        config.pool.mode,
        super::super::PoolMode::Session,
        "from the file"
    );
    assert_eq!(config.pool.idle_timeout, Duration::from_millis(1500));
    assert_eq!(config.pool.connect_query, "SELECT 'x'\\");
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.log.statements, Statements::Shown);
    source.adopt(draft);
    let draft = source.read().unwrap();
    assert_eq!(
        (draft.config.pool.size, draft.config.log.level.as_str()),
        (20, "info")
    );
    let adopted = source.adopt(draft);
    assert_eq!(adopted.unset.len(), 6, "{adopted:?}");
}

#[test]
fn values_that_the_file_would_not_take_are_refused_with_their_key() {
    let (_folder, source) = source("[pool]\nmin_size = 3\n");
    let message = |key: &str, value: &str| {
        let one = Override::new(key, value).unwrap();
        source.with(one).unwrap_err().to_string()
    };
    assert_eq!(
        message("pool.size", "0"),
        "SET: pool.size: must be at least 1"
    );
    assert_eq!(
        message("pool.size", "many"),
        "SET: pool.size: expected a whole number"
    );
    assert_eq!(
        message("log.statements", "some"),
        "SET: log.statements: expected true or false"
    );
    assert_eq!(
        message("server.drain_timeout", "60"),
        "SET: server.drain_timeout: expected a duration such as \"30s\" (units: ms, s, m, h, d)"
    );
    assert_eq!(
        message("query_timeout", "soon"),
        "SET: pool.query_timeout: expected a duration such as \"30s\" (units: ms, s, m, h, d)"
    );
    assert!(message("pool_mode", "sesion").starts_with("SET: pool.mode: expected one of: session"));
    let both = message("pool.size", "2");
    assert!(
        both.ends_with("pool.min_size: min_size (3) must not exceed size (2)"),
        "{both}"
    );
    for (key, error) in [
        ("pool.sise", OverrideError::Unknown("pool.sise".into())),
        ("server.workers", OverrideError::Restart("server.workers")),
        ("listen_port", OverrideError::Restart("server.listen")),
        ("admin_users", OverrideError::List("console.users")),
    ] {
        assert_eq!(Override::new(key, "1").unwrap_err(), error);
    }
}

/// A watcher that compares digests must not take it for changed ever again.
#[test]
fn a_file_that_is_no_text_counts_as_read() {
    let (folder, mut source) = source("");
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, b"\xff\xfe").unwrap();
    let told = source.read().unwrap_err().to_string();
    assert!(told.contains("cannot be read: "), "{told}");
    assert_eq!(source.files()[&path], Digest::of_file(&path));
}

#[test]
fn a_reading_lists_its_files_and_what_they_held() {
    let (folder, mut source) = source(
        "[auth]\nsecret = 'file:secret'\n"
            .replace("file:secret", "x")
            .as_str(),
    );
    let path = |name: &str| folder.path().join(name);
    let text =
        "[auth]\nsecret = 'file:secret'\n[server.tls]\ncertificate = 'crt'\nprivate_key = 'key'\n";
    std::fs::write(path("proxy.toml"), text).unwrap();
    std::fs::write(path("secret"), "s").unwrap();
    source.read().expect_err("two files are missing");
    let names: Vec<_> = source.files().keys().cloned().collect();
    assert_eq!(
        names,
        [path("crt"), path("key"), path("proxy.toml"), path("secret")]
    );
    let before = source.files().clone();
    std::fs::write(path("crt"), "c").unwrap();
    std::fs::write(path("key"), "k").unwrap();
    source.read().unwrap();
    let changed = |name: &str| before[&path(name)] != source.files()[&path(name)];
    assert!(changed("crt") && changed("key") && !changed("secret") && !changed("proxy.toml"));
    assert_eq!(
        source.files()[&path("secret")],
        Digest::of_file(&path("secret"))
    );
}
