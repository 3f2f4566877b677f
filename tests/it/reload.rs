//! Reloads: what changes, for whom, and that nobody else notices. And the end.

use std::time::{Duration, Instant};

use super::support::client::Client;
use super::support::frames::Frames;
use super::support::patience::eventually;
use super::support::postgres::Database;
use super::support::proxy::{Proxy, Toml};

/// Two tenants, the second of which every test leaves alone.
struct Pair {
    one: Database,
    two: Database,
}

impl Pair {
    fn fresh() -> Self {
        Self {
            one: Database::fresh(),
            two: Database::fresh(),
        }
    }

    /// With lines for the first tenant.
    fn toml(&self, lines: &str) -> String {
        self.of(Some((&self.one, lines)))
    }

    fn of(&self, one: Option<(&Database, &str)>) -> String {
        let mut toml = Toml::default().cluster("main", self.two.port, "");
        if let Some((database, lines)) = one {
            toml = toml.tenant("one", "main", database, lines);
        }
        toml.tenant("two", "main", &self.two, "").text()
    }
}

/// A client of the second tenant, in a transaction whose server connection must stay.
struct Bystander(Client, String);

impl Bystander {
    fn of(proxy: &Proxy) -> Self {
        let mut client = proxy.client("two");
        client.query("BEGIN");
        let backend = client.backend();
        Self(client, backend)
    }

    fn noticed_nothing(mut self) {
        assert_eq!(self.0.backend(), self.1);
        assert_eq!(self.0.query("COMMIT").status(), 'I');
    }
}

fn refusal(proxy: &Proxy, tenant: &str) -> String {
    Client::connect(proxy.address(), tenant, &[])
        .unwrap_err()
        .to_string()
}

fn code(client: &mut Client) -> String {
    let told = client.end();
    let last = told.last().expect("it is told");
    assert_eq!(last.field(b'S').as_deref(), Some("FATAL"), "{told:?}");
    last.field(b'C').unwrap()
}

#[test]
fn a_tenant_is_added_and_removed() {
    let pair = Pair::fresh();
    let proxy = Proxy::start(&pair.of(None));
    let bystander = Bystander::of(&proxy);
    assert!(refusal(&proxy, "one").starts_with("28P01"));
    proxy.reload(&pair.toml(""));
    let (mut idle, mut busy) = (proxy.client("one"), proxy.client("one"));
    assert_eq!(idle.value("SELECT current_database()"), pair.one.name);
    busy.query("BEGIN");
    proxy.reload(&pair.of(None));
    assert_eq!(code(&mut idle), "57P01");
    assert_eq!(busy.value("SELECT 'still'"), "still");
    assert_eq!(busy.query("COMMIT").commands(), ["COMMIT"]);
    assert_eq!(code(&mut busy), "57P01");
    assert!(refusal(&proxy, "one").starts_with("28P01"));
    eventually("its connections are closed", || pair.one.connections() == 0);
    // And it comes back as a new one.
    proxy.reload(&pair.toml(""));
    assert_eq!(
        proxy.client("one").value("SELECT current_database()"),
        pair.one.name
    );
    bystander.noticed_nothing();
}

#[test]
fn a_smaller_pool_closes_what_is_too_much_and_a_larger_one_opens() {
    let pair = Pair::fresh();
    let proxy = Proxy::start(&pair.toml("pool = { size = 3 }"));
    let bystander = Bystander::of(&proxy);
    let mut clients: Vec<Client> = (0..3).map(|_| proxy.client("one")).collect();
    for client in &mut clients {
        client.query("BEGIN");
    }
    assert_eq!(pair.one.connections(), 3);
    proxy.reload(&pair.toml("pool = { size = 1 }"));
    for client in &mut clients {
        assert_eq!(client.query("COMMIT").commands(), ["COMMIT"]);
    }
    eventually("one is left", || pair.one.connections() == 1);
    clients[0].query("BEGIN");
    clients[1].put(&Frames::default().query("SELECT 'waits'"));
    assert!(clients[1].is_silent(Duration::from_millis(100)));
    proxy.reload(&pair.toml("pool = { size = 2 }"));
    assert_eq!(clients[1].ready().one(), "waits");
    bystander.noticed_nothing();
}

#[test]
fn a_changed_client_password_holds_for_new_logins_only() {
    let pair = Pair::fresh();
    let proxy = Proxy::start(&pair.toml(""));
    let mut client = proxy.client("one");
    proxy.reload(&pair.toml("").replacen(Client::PASSWORD, "another one", 1));
    assert!(refusal(&proxy, "one").starts_with("28P01"));
    assert_eq!(client.value("SELECT 1"), "1");
    proxy.reload(&pair.toml(""));
    assert_eq!(proxy.client("one").value("SELECT 1"), "1");
}

#[test]
fn a_suspended_tenant_is_refused_and_its_clients_end_after_their_transaction() {
    let pair = Pair::fresh();
    let proxy = Proxy::start(&pair.toml(""));
    let bystander = Bystander::of(&proxy);
    let (mut idle, mut busy) = (proxy.client("one"), proxy.client("one"));
    busy.query("BEGIN");
    proxy.reload(&pair.toml("status = 'suspended'"));
    assert_eq!(code(&mut idle), "57P03");
    assert_eq!(busy.query("COMMIT").commands(), ["COMMIT"]);
    assert_eq!(code(&mut busy), "57P03");
    assert!(refusal(&proxy, "one").starts_with("57P03"));
    proxy.reload(&pair.toml(""));
    assert_eq!(proxy.client("one").value("SELECT 1"), "1");
    bystander.noticed_nothing();
}

#[test]
fn whoever_came_and_went_before_all_clients_of_a_suspended_tenant_end_and_no_others() {
    let pair = Pair::fresh();
    let proxy = Proxy::start(&pair.toml(""));
    let bystander = Bystander::of(&proxy);
    let mut clients: Vec<Client> = (0..12).map(|_| proxy.client("one")).collect();
    let mut others: Vec<Client> = (0..3).map(|_| proxy.client("two")).collect();
    for leaving in [0, 10, 4, 4] {
        drop(clients.swap_remove(leaving));
    }
    eventually("they have left", || proxy.app.clients() == 12);
    clients.extend((0..3).map(|_| proxy.client("one")));
    proxy.reload(&pair.toml("status = 'suspended'"));
    for client in &mut clients {
        assert_eq!(code(client), "57P03");
    }
    for other in &mut others {
        assert_eq!(other.value("SELECT 1"), "1");
    }
    eventually("all have ended", || proxy.app.clients() == 4);
    bystander.noticed_nothing();
}

#[test]
fn clients_of_a_paused_tenant_wait_and_go_on() {
    let pair = Pair::fresh();
    let proxy = Proxy::start(&pair.toml(""));
    let bystander = Bystander::of(&proxy);
    let (mut idle, mut busy) = (proxy.client("one"), proxy.client("one"));
    busy.query("BEGIN");
    proxy.reload(&pair.toml("status = 'paused'"));
    assert_eq!(busy.query("COMMIT").commands(), ["COMMIT"]);
    idle.put(&Frames::default().query("SELECT 'later'"));
    busy.put(&Frames::default().run("SELECT 'later, too'").sync());
    assert!(
        idle.is_silent(Duration::from_millis(150)) && busy.is_silent(Duration::from_millis(20))
    );
    proxy.reload(&pair.toml(""));
    assert_eq!(idle.ready().one(), "later");
    assert_eq!(busy.ready().one(), "later, too");
    bystander.noticed_nothing();
}

#[test]
fn a_tenant_that_stays_paused_is_57p03_after_acquire_timeout() {
    let pair = Pair::fresh();
    let proxy = Proxy::start(&pair.toml("pool = { acquire_timeout = '700ms' }"));
    let mut client = proxy.client("one");
    proxy.reload(&pair.toml("status = 'paused'\npool = { acquire_timeout = '700ms' }"));
    let reply = client.query("SELECT 1");
    assert_eq!(reply.errors(), ["57P03"]);
    proxy.reload(&pair.toml("pool = { acquire_timeout = '700ms' }"));
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_tenant_moves_to_another_database_and_its_clients_with_it() {
    let pair = Pair::fresh();
    let elsewhere = Database::fresh();
    let proxy = Proxy::start(&pair.toml(""));
    let bystander = Bystander::of(&proxy);
    let (mut idle, mut busy) = (proxy.client("one"), proxy.client("one"));
    assert_eq!(idle.value("SELECT current_database()"), pair.one.name);
    busy.query("BEGIN");
    busy.query("SELECT 1");
    // Another database and another server role, with what it proves.
    proxy.reload(&pair.of(Some((&elsewhere, ""))));
    assert_eq!(
        idle.value("SELECT current_database() || current_user"),
        elsewhere.name.repeat(2)
    );
    assert_eq!(busy.value("SELECT current_database()"), pair.one.name);
    assert_eq!(busy.query("COMMIT").commands(), ["COMMIT"]);
    assert_eq!(busy.value("SELECT current_database()"), elsewhere.name);
    eventually("the old place is left", || pair.one.connections() == 0);
    bystander.noticed_nothing();
}

#[test]
fn a_tenant_moves_to_another_node() {
    let pair = Pair::fresh();
    let other_node = super::support::script::ScriptedServer::start(|peer| peer.serve());
    let proxy = Proxy::start(&pair.toml(""));
    let mut client = proxy.client("one");
    assert_eq!(client.value("SELECT current_database()"), pair.one.name);
    let moved = Toml::default()
        .cluster("main", pair.two.port, "")
        .cluster("other", other_node.database().port, "max_connections = 1")
        .tenant("one", "other", &pair.one, "")
        .tenant("two", "main", &pair.two, "")
        .text();
    proxy.reload(&moved);
    assert_eq!(client.value("SELECT current_database()"), "0");
    eventually("the old node is left", || pair.one.connections() == 0);
    let taken = || -> usize {
        let nodes = proxy.app.budget().all();
        nodes.iter().map(|(_, node)| node.taken()).sum()
    };
    eventually("one permit is out", || taken() == 1);
}

/// Idle connections of a pool that has moved are found when others wait for its new node.
#[test]
fn a_moved_pool_gives_way_at_its_new_node() {
    let (old, one, two) = (Database::fresh(), Database::fresh(), Database::fresh());
    let toml = |one: &Database, cluster: &str| {
        Toml::default()
            .cluster("first", 1, "max_connections = 1")
            .cluster("main", old.port, "max_connections = 1")
            .tenant("one", cluster, one, "pool = { acquire_timeout = '5s' }")
            .tenant("two", "main", &two, "")
            .text()
            .replace("127.0.0.1:1'", &format!("localhost:{}'", old.port))
    };
    let proxy = Proxy::start(&toml(&old, "first"));
    let mut moves = proxy.client("one");
    assert_eq!(moves.value("SELECT current_database()"), old.name);
    proxy.reload(&toml(&one, "main"));
    assert_eq!(moves.value("SELECT current_database()"), one.name);
    assert_eq!(
        proxy.client("two").value("SELECT current_database()"),
        two.name
    );
}

#[test]
fn a_login_role_that_is_gone_ends_its_clients() {
    let pair = Pair::fresh();
    let proxy = Proxy::start(&pair.toml(""));
    let bystander = Bystander::of(&proxy);
    let mut client = proxy.client("one");
    proxy.reload(&pair.toml("").replacen("name = 'app'", "name = 'web'", 1));
    assert_eq!(code(&mut client), "57P01");
    assert!(refusal(&proxy, "one").starts_with("28P01"));
    bystander.noticed_nothing();
}

/// SIGHUP reads the file; the file is bad.
#[test]
fn a_bad_configuration_is_an_error_and_changes_nothing() {
    let pair = Pair::fresh();
    let proxy = Proxy::start(&pair.toml(""));
    let bystander = Bystander::of(&proxy);
    let bad = pair.toml("").replace("[pool]", "[pool]\nmode = 'sesion'");
    let parsed =
        tenantry::config::parse(&bad, std::path::Path::new("bad.toml"), &|_| None).unwrap_err();
    assert!(parsed.to_string().contains("bad.toml"), "{parsed}");
    // Read well, but names a certificate that is not there: found when it is applied.
    let missing = pair.toml("").replace(
        "[auth]",
        "[server.tls]\nmode = 'allow'\ncertificate = '/nowhere.crt'\nprivate_key = '/nowhere.key'\n[auth]",
    );
    if let Ok(config) =
        tenantry::config::parse(&missing, std::path::Path::new("bad.toml"), &|_| None)
    {
        proxy.app.reload(config).unwrap_err();
    }
    assert_eq!(proxy.client("one").value("SELECT 1"), "1");
    bystander.noticed_nothing();
}

#[test]
fn a_drain_lets_transactions_finish_and_tells_the_others() {
    let pair = Pair::fresh();
    let proxy = Proxy::start(&pair.toml(""));
    let (mut idle, mut busy) = (proxy.client("one"), proxy.client("two"));
    busy.query("BEGIN");
    std::thread::scope(|scope| {
        let drained = scope.spawn(|| proxy.app.drain(Duration::from_secs(30)));
        assert_eq!(code(&mut idle), "57P01");
        eventually("new connections are refused", || {
            std::net::TcpStream::connect(proxy.address()).is_err()
        });
        assert!(!drained.is_finished());
        assert_eq!(busy.value("SELECT 'still'"), "still");
        assert_eq!(busy.query("COMMIT").commands(), ["COMMIT"]);
        assert_eq!(code(&mut busy), "57P01");
        drained.join().unwrap();
    });
    eventually("all are closed", || {
        pair.one.connections() + pair.two.connections() == 0
    });
}

#[test]
fn after_drain_timeout_the_rest_is_closed() {
    let pair = Pair::fresh();
    // Kept warm connections must not come back while it drains.
    let proxy = Proxy::start(&pair.toml("pool = { min_size = 2 }"));
    let mut busy = proxy.client("one");
    busy.query("BEGIN");
    let begin = Instant::now();
    proxy.app.drain(Duration::from_millis(200));
    assert!(begin.elapsed() >= Duration::from_millis(200));
    assert_eq!(code(&mut busy), "57P01");
    eventually("all are closed", || pair.one.connections() == 0);
}

/// A login that began before the reload ends after it: it must not bring the old place back.
#[test]
fn a_login_under_way_meets_the_tenant_as_it_is_now() {
    use std::io::{Read as _, Write as _};
    let pair = Pair::fresh();
    let elsewhere = Database::fresh();
    let trusting = |toml: String| toml.replace("[auth]\n", "[auth]\nmethod = 'trust'\n");
    let proxy = Proxy::start(&trusting(pair.toml("")));
    let mut sockets: Vec<_> = (0..3)
        .map(|_| std::net::TcpStream::connect(proxy.address()).unwrap())
        .collect();
    eventually("all are accepted", || proxy.app.clients() == 3);
    let begin = |socket: &mut std::net::TcpStream| {
        let startup = b"\0\0\0\x24\0\x03\0\0user\0app.one\0database\0one\0\0";
        let len = u8::try_from(startup.len()).unwrap();
        socket
            .write_all(&[&[0, 0, 0, len], &startup[4..]].concat())
            .unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
    };
    let until = |socket: &mut std::net::TcpStream, end: &[u8]| {
        let mut seen = Vec::new();
        while !seen.windows(end.len()).any(|w| w == end) {
            let mut some = [0; 4096];
            let n = socket.read(&mut some).unwrap();
            assert!(n > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&some[..n]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    };
    proxy.reload(&trusting(pair.of(Some((&elsewhere, "")))));
    begin(&mut sockets[0]);
    until(&mut sockets[0], b"Z\0\0\0\x05I");
    let query = Frames::default().query("SELECT current_database()");
    sockets[0].write_all(&query.0).unwrap();
    let answer = until(&mut sockets[0], b"Z\0\0\0\x05I");
    assert!(answer.contains(&elsewhere.name), "{answer}");
    proxy.reload(&trusting(pair.of(None)));
    begin(&mut sockets[1]);
    let told = until(&mut sockets[1], b"no longer configured");
    assert!(told.contains("57P01"), "{told}");
    // One of that name has come since; it is another one.
    proxy.reload(&trusting(pair.toml("")));
    begin(&mut sockets[2]);
    until(&mut sockets[2], b"no longer configured");
}
