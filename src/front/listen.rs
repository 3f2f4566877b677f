//! Listening sockets: bind, accept, and survive a shortage of descriptors.
//!
//! Guarantees: a Unix socket's file that nobody listens on any more is replaced, one that somebody
//! listens on is not; accepting goes on after any error, after a pause where the system is short
//! of something, and says so once.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Accepted, Ends, Front};
use crate::config::{ListenAddr, Listener};

/// Connections that the kernel may keep until they are accepted (it has a limit of its own).
const BACKLOG: i32 = 4096;

/// How long to wait when there are no descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket. Dropping it removes the file of a Unix socket.
#[derive(Debug)]
pub struct Bound {
    socket: Listening,
    address: ListenAddr,
}

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        _file: SocketFile,
    },
}

/// The file of a Unix socket, removed when dropped unless another process has replaced it.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|now| now == self.inode) {
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

/// Opens a listening socket, from within a tokio runtime. `port` names the file of a Unix socket
/// for which only a directory is given.
pub fn bind(address: &ListenAddr, port: u16) -> io::Result<Bound> {
    match address {
        ListenAddr::Tcp(address) => {
            let listener = bind_tcp(*address)?;
            let address = ListenAddr::Tcp(listener.local_addr()?);
            Ok(Bound {
                socket: Listening::Tcp(listener),
                address,
            })
        }
        ListenAddr::Unix(path) => {
            let path = socket_path(path, port);
            let socket = bind_unix(&path)?;
            Ok(Bound {
                socket,
                address: ListenAddr::Unix(path),
            })
        }
    }
}

impl Bound {
    /// Where it listens: the port that was picked, the whole path of a Unix socket.
    pub fn address(&self) -> &ListenAddr {
        &self.address
    }

    async fn accept(&self) -> io::Result<(Accepted, Option<Ends>)> {
        match &self.socket {
            Listening::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                socket.set_nodelay(true)?;
                let ends = Ends::new(peer, socket.local_addr()?);
                Ok((Accepted::Tcp(socket), Some(ends)))
            }
            Listening::Unix { listener, .. } => {
                let (socket, _unnamed) = listener.accept().await?;
                Ok((Accepted::Unix(socket), None))
            }
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A path that ends in `.s.PGSQL.N` is taken as it is; else it is the directory of such a file.
fn socket_path(path: &Path, port: u16) -> PathBuf {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let number = name
        .strip_prefix(".s.PGSQL.")
        .is_some_and(|n| n.parse::<u16>().is_ok());
    if number {
        path.to_owned()
    } else {
        path.join(format!(".s.PGSQL.{port}"))
    }
}

fn bind_unix(path: &Path) -> io::Result<Listening> {
    let listener = match UnixListener::bind(path) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    // As PostgreSQL's unix_socket_permissions: who may log in is decided at the login.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
    let file = SocketFile {
        path: path.to_owned(),
        inode: inode(path)?,
    };
    Ok(Listening::Unix {
        listener,
        _file: file,
    })
}

/// Whether the file is the socket of a process that is gone.
fn is_stale(path: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

/// Accepts clients, each in a task of its own, until `shutdown` says true or its sender is gone.
pub async fn run(
    bound: Bound,
    front: Arc<Front>,
    listener: Arc<Listener>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut short = None;
    loop {
        let accepted = tokio::select! {
            // Cancel-safe: a client that was not returned is still in the kernel's queue.
            accepted = bound.accept() => accepted,
            // Cancel-safe: nothing is lost.
            _ended = shutdown.wait_for(|now| *now) => return,
        };
        match accepted {
            Ok((socket, ends)) => {
                if short.take().is_some() {
                    info!(address = ?bound.address, "accepting clients again");
                }
                tokio::spawn(Arc::clone(&front).serve(socket, Arc::clone(&listener), ends));
            }
            Err(error) if is_shortage(&error) => {
                if short.is_none() {
                    short = front.short().enter(usize::MAX);
                    warn!(address = ?bound.address, %error, "cannot accept clients for now");
                }
                tokio::time::sleep(PAUSE).await;
            }
            // The client left before it was accepted.
            Err(_) => {}
        }
    }
}

/// Whether the system is short of something, so that trying again at once would spin.
fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gets_the_usual_file_name() {
        let path = |p: &str| socket_path(Path::new(p), 6432).display().to_string();
        assert_eq!(path("/run/tenantry"), "/run/tenantry/.s.PGSQL.6432");
        assert_eq!(path("/run/.s.PGSQL.7"), "/run/.s.PGSQL.7");
        assert_eq!(path("/run/.s.PGSQL.x"), "/run/.s.PGSQL.x/.s.PGSQL.6432");
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let address = ListenAddr::Unix(dir.path().to_owned());
        let path = dir.path().join(".s.PGSQL.6432");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let bound = bind(&address, 6432).unwrap();
        assert_eq!(*bound.address(), ListenAddr::Unix(path.clone()));
        let second = bind(&address, 6432).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn port_zero_tells_which_port() {
        let bound = bind(&ListenAddr::Tcp("127.0.0.1:0".parse().unwrap()), 0).unwrap();
        assert!(matches!(bound.address(), ListenAddr::Tcp(address) if address.port() > 0));
    }

    #[test]
    fn only_a_shortage_calls_for_a_pause() {
        for (code, short) in [
            (libc::EMFILE, true),
            (libc::ENFILE, true),
            (libc::ECONNABORTED, false),
        ] {
            assert_eq!(is_shortage(&io::Error::from_raw_os_error(code)), short);
        }
    }
}
