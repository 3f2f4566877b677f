//! Configuration that changes while the proxy runs: from its file, from files that it names, by
//! hand. And what cannot change stays.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tenantry::app::{App, Outside, ReloadError, Watch};
use tenantry::config::{LogFormat, Source};
use tenantry::logs::Logs;

use super::support::client::Client;
use super::support::patience::eventually;
use super::support::postgres::Database;
use super::support::proxy::Toml;

/// A proxy whose configuration is a file in a folder of its own.
struct Live {
    app: Arc<App>,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Live {
    fn start(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        fs::write(&path, text).unwrap();
        let (source, config) = Source::open(&path).unwrap();
        Self::of(folder, path, (source, config), None)
    }

    fn of(
        folder: tempfile::TempDir,
        path: PathBuf,
        (source, config): (Source, tenantry::config::Config),
        logs: Option<Logs>,
    ) -> Self {
        let outside = Outside {
            source: Some(source),
            logs,
            ..Outside::default()
        };
        let app = App::start_with(config, outside).unwrap();
        Self {
            app: Arc::new(app),
            path,
            _folder: folder,
        }
    }

    /// Replaces the file as an editor does.
    fn write(&self, text: &str) {
        replace(&self.path, text);
    }

    fn client(&self, tenant: &str) -> io::Result<Client> {
        Client::connect(self.app.tcp_address().unwrap(), tenant, &[])
    }

    fn size(&self) -> usize {
        self.app.config().pool.size
    }
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

fn toml(database: &Database, size: usize) -> Toml {
    Toml::default()
        .pool(&format!("size = {size}"))
        .cluster("main", database.port, "")
        .tenant("one", "main", database, "")
}

#[test]
fn a_bad_file_changes_nothing_and_all_that_is_wrong_is_told() {
    let database = Database::fresh();
    let good = toml(&database, 5).text();
    let live = Live::start(&good);
    let mut client = live.client("one").unwrap();
    let bad = good
        .replace("size = 5", "size = 0\nmode = 'sesion'")
        .replace("slug = 'one'", "slug = 'two'");
    live.write(&bad);
    let told = live.app.reload_from_source().unwrap_err().to_string();
    for part in [
        "proxy.toml:7:8: pool.size: must be at least 1",
        "pool.mode: expected one of",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(live.size(), 5);
    assert_eq!(client.value("SELECT 1"), "1");
    assert_eq!(live.client("one").unwrap().value("SELECT 1"), "1");
    live.write(
        &good
            .replace("size = 5", "size = 6")
            .replace("slug = 'one'", "slug = 'two'"),
    );
    let done = live.app.reload_from_source().unwrap();
    assert_eq!((done.added, done.changed, done.removed), (1, 0, 1));
    assert_eq!(done.keys, ["pool.size"]);
    assert_eq!(live.client("two").unwrap().value("SELECT 1"), "1");
    assert!(live.client("one").is_err());
}

#[test]
fn what_a_good_file_names_is_checked_before_anything_changes() {
    let database = Database::fresh();
    let good = toml(&database, 5).text();
    let live = Live::start(&good);
    let folder = live.path.parent().unwrap();
    fs::write(folder.join("not.pem"), "nothing").unwrap();
    let tls = "[server.tls]\ncertificate = 'not.pem'\nprivate_key = 'not.pem'\n[auth]";
    let bad = good
        .replace("size = 5", "size = 6")
        .replace("[auth]", tls)
        .replace("tls = 'disable'", "tls = 'verify-ca'\ntls_ca = 'not.pem'");
    live.write(&bad);
    let told = live.app.reload_from_source().unwrap_err();
    assert!(matches!(told, ReloadError::Unusable(_)), "{told}");
    let told = told.to_string();
    let [front, cluster] = told.lines().collect::<Vec<_>>()[..] else {
        panic!("two mistakes: {told}")
    };
    assert!(front.contains("not.pem: no certificate found"), "{front}");
    assert!(
        cluster.starts_with("cluster main: ") && cluster.contains("not.pem"),
        "{cluster}"
    );
    assert_eq!(live.size(), 5);
    assert_eq!(live.client("one").unwrap().value("SELECT 1"), "1");
}

#[test]
fn what_takes_a_restart_is_told_each_time_and_the_old_value_stays() {
    let database = Database::fresh();
    let text = toml(&database, 5)
        .text()
        .replace("127.0.0.1:0", "0.0.0.0:0");
    let live = Live::start(&text);
    live.write(
        &text
            .replace("0.0.0.0:0", "127.0.0.1:1")
            .replace("workers = 1", "workers = 2"),
    );
    for _ in 0..2 {
        let done = live.app.reload_from_source().unwrap();
        assert_eq!(done.restart, ["server.listen", "server.workers"]);
        assert!(done.keys.is_empty());
    }
    assert_eq!(live.app.config().server.workers, 1);
    // In that file nobody but this machine could connect without a proof. But the listener stays.
    let trusting = text
        .replace("0.0.0.0:0", "127.0.0.1:0")
        .replace("[auth]", "[auth]\nmethod = 'trust'");
    live.write(&trusting);
    let told = live.app.reload_from_source().unwrap_err();
    assert!(matches!(told, ReloadError::Listener(_)), "{told}");
    assert!(
        told.to_string().contains("`trust` is for loopback"),
        "{told}"
    );
}

#[test]
fn a_value_set_by_hand_holds_until_the_file_is_read_again() {
    let database = Database::fresh();
    let live = Live::start(&toml(&database, 5).text());
    let done = live.app.set("default_pool_size", "1").unwrap();
    assert_eq!((done.changed, done.keys), (1, vec!["pool.size"]));
    let mut clients = [live.client("one").unwrap(), live.client("one").unwrap()];
    for client in &mut clients {
        client.query("SELECT 1");
    }
    assert_eq!(database.connections(), 1);
    for (key, value, told) in [
        (
            "pool.size",
            "none",
            "SET: pool.size: expected a whole number",
        ),
        ("pool.sizes", "1", "there is no setting `pool.sizes`"),
        (
            "server.workers",
            "3",
            "`server.workers` takes a restart: change it in the file",
        ),
    ] {
        assert_eq!(live.app.set(key, value).unwrap_err().to_string(), told);
    }
    assert_eq!(live.size(), 1);
    let done = live.app.reload_from_source().unwrap();
    assert_eq!((done.unset, live.size()), (vec!["pool.size"], 5));
}

#[test]
fn a_changed_file_is_loaded_once_it_is_good() {
    let database = Database::fresh();
    let live = Live::start(&toml(&database, 5).text());
    let _watch = Watch::start(&live.app).unwrap();
    let next = toml(&database, 6).text();
    live.write(&next);
    eventually("the new file is loaded", || live.size() == 6);
    let mut client = live.client("one").unwrap();
    // Written in place, and only half of it for now.
    let next = toml(&database, 7).text();
    fs::write(&live.path, &next[..next.len() - 10]).unwrap();
    live.app.reload_from_source().unwrap_err();
    assert_eq!(live.size(), 6);
    fs::write(&live.path, &next).unwrap();
    eventually("the complete one is loaded", || live.size() == 7);
    fs::remove_file(&live.path).unwrap();
    assert!(
        live.app
            .reload_from_source()
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
    assert_eq!((client.value("SELECT 1"), live.size()), ("1".to_owned(), 7));
    live.write(&toml(&database, 8).text());
    eventually("it is back", || live.size() == 8);
}

/// Kubernetes: the file is a link into `..data`, itself a link that is swapped for the next.
#[test]
fn swapped_links_and_secrets_in_files_are_seen() {
    let database = Database::fresh();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = |size| {
        let secret = format!("name = 'app', password = '{}'", Client::PASSWORD);
        toml(&database, size)
            .text()
            .replace(&secret, "name = 'app', password = 'file:secret'")
    };
    for (version, size) in [("v1", 5), ("v2", 6)] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("proxy.toml"), text(size)).unwrap();
    }
    fs::write(at("secret"), "not yet").unwrap();
    symlink("v1", at("..data")).unwrap();
    symlink("..data/proxy.toml", at("proxy.toml")).unwrap();
    let path = at("proxy.toml");
    let opened = Source::open(&path).unwrap();
    let live = Live::of(folder, path.clone(), opened, None);
    let _watch = Watch::start(&live.app).unwrap();
    assert!(live.client("one").is_err());
    replace(&path.with_file_name("secret"), Client::PASSWORD);
    eventually("the secret is read", || live.client("one").is_ok());
    assert_eq!(live.size(), 5);
    symlink("v2", path.with_file_name("next")).unwrap();
    fs::rename(path.with_file_name("next"), path.with_file_name("..data")).unwrap();
    eventually("the next version is loaded", || live.size() == 6);
}

/// Lines as they were written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn level_and_format_of_the_log_follow_and_no_line_tells_a_secret() {
    let database = Database::fresh();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    let text = toml(&database, 5).text();
    fs::write(&path, &text).unwrap();
    let opened = Source::open(&path).unwrap();
    let lines = Lines::default();
    let sink = lines.clone();
    let (logs, subscriber) = Logs::new(&opened.1.log, move || sink.clone(), false);
    // Lines of this thread alone come here.
    let _here = tracing::subscriber::set_default(subscriber);
    let live = Live::of(folder, path, opened, Some(logs));
    let told = || {
        let mut all = lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8(std::mem::take(&mut *all)).unwrap()
    };
    assert!(told().contains("listening"));
    live.app.set("log.level", "off").unwrap();
    live.app.set("pool.size", "6").unwrap();
    assert_eq!(told(), "");
    live.app.set("log.level", "info").unwrap();
    live.app.set("log.format", "json").unwrap();
    assert!(told().lines().last().unwrap().starts_with('{'));
    assert_eq!(live.app.config().log.format, LogFormat::Json);
    live.write(
        &text
            .replace("size = 5", "size = 7")
            .replace(Client::PASSWORD, "brand new"),
    );
    live.app.reload_from_source().unwrap();
    let told = told();
    for part in [
        "keys=\"log.format, pool.size\"",
        "changed=1",
        "again as the file says",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("brand new"), "{told}");
}
