//! A front with tenants whose clients end in a list, and a client that records what it reads.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;

use crate::auth::messages;
use crate::auth::password::{md5_answer, md5_stored};
use crate::auth::scram::{ClientBinding, ClientExchange, ClientFinished, ClientSecret};
use crate::config::{AuthMethod, Config, ListenAddr, Listener, Role, parse};
use crate::front::{Accepted, Dispatch, Ends, Front, FrontSettings};
use crate::tenant::Registry;
use crate::types::RoleName;
use crate::worker::{Carried, NewClient};

/// Tenants with the password `pw` for `app`; one is suspended, one may come from nowhere near, one
/// has room for nobody but one.
const TENANTS: &str = r#"
[[cluster]]
name = "main"
primary = "127.0.0.1:1"
[[tenant]]
slug = "acme"
cluster = "main"
database = "tenant_acme"
user = "u"
roles = [{ name = "app", password = "pw" }]
[[tenant]]
slug = "globex"
cluster = "main"
database = "tenant_globex"
user = "u"
roles = [{ name = "app", password = "pw" }]
[[tenant]]
slug = "asleep"
cluster = "main"
database = "tenant_asleep"
user = "u"
status = "suspended"
roles = [{ name = "app", password = "pw" }]
[[tenant]]
slug = "far"
cluster = "main"
database = "tenant_far"
user = "u"
allowed_networks = ["192.0.2.0/24"]
roles = [{ name = "app", password = "pw" }]
[[tenant]]
slug = "narrow"
cluster = "main"
database = "tenant_narrow"
user = "u"
pool = { max_clients = 1 }
roles = [{ name = "app", password = "pw" }]
"#;

/// What reached the workers.
#[derive(Default)]
pub(super) struct Sink {
    pub(super) clients: Mutex<Vec<NewClient>>,
    pub(super) cancels: Mutex<Vec<(i32, Vec<u8>)>>,
}

impl Dispatch for Arc<Sink> {
    fn admit(&self, client: NewClient) {
        self.clients.lock().unwrap().push(client);
    }

    fn cancel(&self, process_id: i32, key: &[u8]) -> Carried {
        self.cancels
            .lock()
            .unwrap()
            .push((process_id, key.to_vec()));
        Carried::at_once()
    }
}

/// A front under test.
pub(super) struct World {
    pub(super) front: Arc<Front>,
    pub(super) sink: Arc<Sink>,
    listener: Arc<Listener>,
}

/// `acme` gets a role without a password, which the file may have only where certificates count.
pub(super) fn config(settings: &str) -> Config {
    let text = format!("{settings}\n{TENANTS}");
    let mut config = parse(&text, Path::new("proxy.toml"), &|_| None).unwrap();
    let acme = config
        .tenants
        .iter_mut()
        .find(|t| t.slug.as_str() == "acme")
        .unwrap();
    acme.roles.push(Role {
        name: RoleName::new("bare"),
        password: None,
    });
    config
}

pub(super) fn settings(text: &str) -> FrontSettings {
    let config = config(text);
    let registry = Arc::new(Registry::build(&config, &Registry::default()));
    FrontSettings::build(None, &config, registry).unwrap()
}

impl World {
    /// `text` goes before the clusters and tenants of `proxy.toml`.
    pub(super) fn new(text: &str) -> Self {
        let sink = Arc::new(Sink::default());
        let front = Arc::new(Front::new(settings(text), Arc::clone(&sink)));
        let address = ListenAddr::Tcp("127.0.0.1:0".parse().unwrap());
        Self {
            front,
            sink,
            listener: Arc::new(Listener {
                address,
                method: None,
                route: crate::config::Route::Primary,
            }),
        }
    }

    /// With salts that do not change. The listener overrides `cert`, which the file may have only
    /// with TLS.
    pub(super) fn with_method(method: &str) -> Self {
        let (in_file, of_listener) = match method {
            "cert" => ("scram-sha-256", Some(AuthMethod::Cert)),
            other => (other, None),
        };
        let mut world = Self::new(&format!("[auth]\nmethod = '{in_file}'\nsecret = 's'"));
        let address = world.listener.address.clone();
        world.listener = Arc::new(Listener {
            address,
            method: of_listener,
            route: crate::config::Route::Primary,
        });
        world
    }

    /// A client on a Unix socket.
    pub(super) fn unix(&self) -> (UnixStream, JoinHandle<()>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (theirs, self.serve(Accepted::Unix(ours), None))
    }

    /// A client on TCP.
    pub(super) async fn tcp(&self) -> (TcpStream, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (ours, peer) = listener.accept().await.unwrap();
        let ends = Ends::new(peer, ours.local_addr().unwrap());
        (theirs, self.serve(Accepted::Tcp(ours), Some(ends)))
    }

    /// A client on TCP that seems to have these ends.
    pub(super) async fn tcp_at(&self, ends: Ends) -> (TcpStream, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (ours, _peer) = listener.accept().await.unwrap();
        (theirs, self.serve(Accepted::Tcp(ours), Some(ends)))
    }

    fn serve(&self, socket: Accepted, ends: Option<Ends>) -> JoinHandle<()> {
        let listener = Arc::clone(&self.listener);
        tokio::spawn(Arc::clone(&self.front).serve(socket, listener, ends))
    }

    /// One login over a Unix socket, to its end.
    pub(super) async fn log_in(&self, pairs: &[(&str, &str)], password: &str) -> Login {
        let (mut socket, task) = self.unix();
        let login = log_in(&mut socket, pairs, password, &ClientBinding::Unavailable).await;
        if login.error.is_some() {
            assert_eq!(
                read_message(&mut socket).await,
                None,
                "closed behind the error"
            );
        }
        task.await.unwrap();
        login
    }
}

/// What a login came to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Login {
    /// All that the server sent, nonce and salt blotted out.
    pub(super) heard: Vec<u8>,
    /// The SCRAM salt, as sent.
    pub(super) salt: Option<String>,
    pub(super) error: Option<Refusal>,
}

/// The fields of an ErrorResponse.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) severity: String,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Login {
    pub(super) fn code(&self) -> Option<&str> {
        self.error.as_ref().map(|e| e.code.as_str())
    }

    fn hear(&mut self, kind: u8, body: &[u8]) {
        self.heard.push(kind);
        self.heard.extend_from_slice(body);
    }
}

pub(super) fn packet(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&length.to_be_bytes()[..], body].concat()
}

pub(super) fn startup(minor: u8, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut body = vec![0, 3, 0, minor];
    for (name, value) in pairs {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    packet(&body)
}

pub(super) const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
pub(super) const GSS_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";

/// One message; `None` at the end of the stream.
pub(super) async fn read_message<S: AsyncRead + Unpin>(io: &mut S) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    io.read_exact(&mut header).await.ok()?;
    let length = u32::from_be_bytes(header[1..].try_into().unwrap());
    let mut body = vec![0; usize::try_from(length).unwrap() - 4];
    io.read_exact(&mut body).await.expect("a whole message");
    Some((header[0], body))
}

pub(super) fn refusal(body: &[u8]) -> Refusal {
    let field = |tag: u8| {
        let mut fields = body.split(|b| *b == 0);
        let found = fields.find(|f| f.first() == Some(&tag))?;
        Some(String::from_utf8(found[1..].to_vec()).unwrap())
    };
    Refusal {
        severity: field(b'S').unwrap(),
        code: field(b'C').unwrap(),
        message: field(b'M').unwrap(),
        hint: field(b'H'),
    }
}

async fn answer<S: AsyncWrite + Unpin>(io: &mut S, body: &[u8]) {
    io.write_all(&[b"p", &packet(body)[..]].concat())
        .await
        .unwrap();
}

/// Sends the startup message and does whatever the server asks for.
pub(super) async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    pairs: &[(&str, &str)],
    password: &str,
    binding: &ClientBinding,
) -> Login {
    io.write_all(&startup(0, pairs)).await.unwrap();
    let (_, user) = pairs
        .iter()
        .find(|(name, _)| *name == "user")
        .expect("a user");
    let mut login = Login::default();
    let mut exchange: Option<ClientExchange> = None;
    let mut finished: Option<ClientFinished> = None;
    while let Some((kind, body)) = read_message(io).await {
        if kind == b'E' {
            login.error = Some(refusal(&body));
            login.hear(kind, &body);
            return login;
        }
        assert_eq!(kind, b'R');
        let (request, data) = body.split_at(4);
        match u32::from_be_bytes(request.try_into().unwrap()) {
            0 => {
                login.hear(kind, &body);
                return login;
            }
            5 => {
                login.hear(kind, request);
                let salt = data.try_into().unwrap();
                let sent = md5_answer(&md5_stored(password, user), salt).unwrap();
                answer(io, &[sent.as_bytes(), b"\0"].concat()).await;
            }
            10 => {
                login.hear(kind, &body);
                let (started, first) = ClientExchange::start(binding.clone()).unwrap();
                exchange = Some(started);
                let length = i32::try_from(first.len()).unwrap().to_be_bytes();
                let mechanism = binding.mechanism().as_bytes();
                answer(io, &[mechanism, b"\0", &length, &first].concat()).await;
            }
            11 => {
                let text = std::str::from_utf8(data).unwrap();
                let [nonce, salt, rounds] = text.split(',').collect::<Vec<_>>()[..] else {
                    panic!("three attributes: {text}");
                };
                login.salt = Some(salt.to_owned());
                let shape = format!("{} {} {rounds}", nonce.len(), salt.len());
                login.hear(kind, &[request, shape.as_bytes()].concat());
                let secret = ClientSecret::Password(password);
                let (last, proof) = exchange.take().unwrap().respond(data, secret).unwrap();
                finished = Some(last);
                answer(io, &proof).await;
            }
            12 => {
                finished
                    .take()
                    .unwrap()
                    .verify(data)
                    .expect("the server knows the verifier");
                login.hear(kind, request);
            }
            other => panic!("authentication request {other}"),
        }
    }
    login
}

/// AuthenticationOk is the last thing that a login hears.
pub(super) fn ended_well(login: &Login) -> bool {
    login.error.is_none() && login.heard.ends_with(&messages::OK[5..])
}
