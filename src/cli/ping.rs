//! `tenantry ping`: does it answer a startup? For health checks of containers.
//!
//! It sends an SSLRequest (manual, 55.2.10) and takes any answer of the protocol for life: `S`,
//! `N`, or an error such as "too many clients". It logs in nowhere, so it says nothing about
//! tenants or servers, and needs no password. Where the configuration wants a PROXY header on the
//! address that it names, one goes first that says: this is no client's connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::{ConfigArg, Failure};
use crate::config::{self, Config, ListenAddr, ProxyMode};
use crate::types::NodeAddr;
use crate::wire::proxy_header;

/// Length 8, then the number that asks for TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// The port of a Unix listener that has no TCP listener beside it.
const UNIX_PORT: u16 = 6432;

/// Whom to ask, and how long to wait.
#[derive(Debug, Args)]
pub(super) struct PingArgs {
    /// host:port, or unix:/path of a socket [default: the first listener of the configuration]
    address: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
    /// Longest wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    timeout: u64,
    /// Begin with a PROXY header, as a balancer does [default: as the configuration has it, if it
    /// names the address]
    #[arg(long)]
    proxy_protocol: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It offers TLS.
    Tls,
    /// It does not.
    Plain,
    /// It refuses this connection, alive as it is.
    Refusal,
}

pub(super) fn main(args: &PingArgs) -> Result<(), Failure> {
    let (address, mode) = match &args.address {
        Some(address) => (address.clone(), ProxyMode::Off),
        None => {
            let config = config::load(&args.config.path()?)?;
            (first_listener(&config), config.server.proxy_protocol.mode)
        }
    };
    let begin = if args.proxy_protocol {
        ProxyMode::Required
    } else {
        mode
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("starting the runtime")?;
    let started = Instant::now();
    let answer = runtime.block_on(async {
        let limit = Duration::from_secs(args.timeout);
        match tokio::time::timeout(limit, ping(&address, begin)).await {
            Ok(answer) => answer,
            Err(_) => Err(anyhow!("no answer within {} s", args.timeout)),
        }
    });
    let millis = started.elapsed().as_secs_f64() * 1000.0;
    report(args, &address, &answer, millis);
    answer.map(drop).map_err(|error| match args.json {
        true => Failure::Reported(1),
        false => Failure::Failed(error.context(format!("{address} does not answer"))),
    })
}

fn report(args: &PingArgs, address: &str, answer: &anyhow::Result<Answer>, millis: f64) {
    match answer {
        Ok(answer) if args.json => {
            let tls = *answer == Answer::Tls;
            println!(
                "{}",
                json!({ "ok": true, "address": address, "tls": tls, "ms": millis })
            );
        }
        Ok(_) => println!("{address} answers ({millis:.1} ms)"),
        Err(error) if args.json => {
            let error = format!("{error:#}");
            println!(
                "{}",
                json!({ "ok": false, "address": address, "error": error })
            );
        }
        Err(_) => {}
    }
}

/// Asks an address for TLS and returns what it answered. Without a limit of its own.
async fn ping(address: &str, begin: ProxyMode) -> anyhow::Result<Answer> {
    match address.strip_prefix("unix:") {
        Some(path) => ask(UnixStream::connect(path).await?, ProxyMode::Off).await,
        None => ask(TcpStream::connect(address).await?, begin).await,
    }
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    begin: ProxyMode,
) -> anyhow::Result<Answer> {
    if begin == ProxyMode::Required {
        stream.write_all(&proxy_header::local()).await?;
    }
    stream.write_all(&SSL_REQUEST).await?;
    let mut answer = [0];
    if stream.read(&mut answer).await? == 0 {
        match begin {
            ProxyMode::Off => bail!("it closed the connection without an answer"),
            ProxyMode::Required => bail!(
                "it closed the connection without an answer; are the networks of this machine \
                 among proxy_protocol_sources?"
            ),
        }
    }
    match answer[0] {
        b'S' => Ok(Answer::Tls),
        b'N' => Ok(Answer::Plain),
        b'E' => Ok(Answer::Refusal),
        other => bail!("it answered {other:#04x}, which is not PostgreSQL's protocol"),
    }
}

/// The first listener as this machine reaches it.
fn first_listener(config: &Config) -> String {
    let mut tcp = config
        .server
        .listen
        .iter()
        .filter_map(|listener| match &listener.address {
            ListenAddr::Tcp(address) => Some(*address),
            ListenAddr::Unix(_) => None,
        });
    let port = tcp.next().map_or(UNIX_PORT, |address| address.port());
    match config
        .server
        .listen
        .first()
        .map(|listener| &listener.address)
    {
        Some(ListenAddr::Tcp(address)) => reachable(*address).to_string(),
        Some(ListenAddr::Unix(path)) => format!("unix:{}", socket_file(path, port).display()),
        None => format!("127.0.0.1:{UNIX_PORT}"),
    }
}

/// "Any address" is one to listen on, not one to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A listener names a directory, or the socket itself.
fn socket_file(path: &Path, port: u16) -> PathBuf {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if name.starts_with(".s.PGSQL.") {
        return path.to_owned();
    }
    let node = NodeAddr {
        host: path.display().to_string().into(),
        port,
    };
    node.unix_path().unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a peer that answers with these bytes is taken for.
    async fn answered(bytes: &[u8]) -> anyhow::Result<Answer> {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let peer = async move {
            let mut request = [0; 8];
            theirs.read_exact(&mut request).await.expect("a request");
            assert_eq!(
                u32::from_be_bytes(request[4..].try_into().expect("4 bytes")),
                80_877_103
            );
            theirs.write_all(bytes).await.expect("an answer");
        };
        tokio::join!(ask(ours, ProxyMode::Off), peer).0
    }

    #[tokio::test]
    async fn a_header_goes_first_where_one_is_wanted() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let peer = async move {
            let mut first = [0; proxy_header::HEAD];
            theirs.read_exact(&mut first).await.expect("a header");
            let head = proxy_header::head(&first).expect("a good one");
            assert_eq!(head.origin(&[]), Ok(proxy_header::Origin::Own));
            let mut request = [0; 8];
            theirs.read_exact(&mut request).await.expect("a request");
            assert_eq!(request, SSL_REQUEST);
            theirs.write_all(b"N").await.expect("an answer");
        };
        let (answer, ()) = tokio::join!(ask(ours, ProxyMode::Required), peer);
        assert_eq!(answer.expect("alive"), Answer::Plain);
    }

    #[tokio::test]
    async fn any_answer_of_the_protocol_is_life_and_nothing_else() {
        assert_eq!(answered(b"S").await.expect("alive"), Answer::Tls);
        assert_eq!(answered(b"N").await.expect("alive"), Answer::Plain);
        assert_eq!(
            answered(b"E\0\0\0\x05\0").await.expect("alive"),
            Answer::Refusal
        );
        assert!(answered(b"").await.is_err());
        assert!(answered(b"HTTP/1.1 400").await.is_err());
    }

    #[test]
    fn any_address_is_reached_by_loopback() {
        let port = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(port("0.0.0.0:6432"), "127.0.0.1:6432");
        assert_eq!(port("[::]:6432"), "[::1]:6432");
        assert_eq!(port("10.0.0.1:6432"), "10.0.0.1:6432");
    }

    #[test]
    fn a_unix_listener_is_a_directory_or_a_socket() {
        let file = |path| socket_file(Path::new(path), 7).display().to_string();
        assert_eq!(file("/run/tenantry"), "/run/tenantry/.s.PGSQL.7");
        assert_eq!(file("/run/.s.PGSQL.9"), "/run/.s.PGSQL.9");
    }
}
