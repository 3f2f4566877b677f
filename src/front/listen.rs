//! Listening sockets: bind, accept, and survive a shortage of descriptors.
//!
//! Guarantees: a Unix socket's file that nobody listens on any more is replaced, one that somebody
//! listens on is not; a socket that came from another process is served as one of our own, and its
//! file is left to that process until it is made ours; accepting goes on after any error, after a pause where the system is short
//! of something, and says so once.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Whether clients are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// They are.
    Open,
    /// Not now: another process accepts them from the same sockets.
    Shut,
    /// No more.
    Closed,
}

/// A listening socket. Dropping it removes the file of a Unix socket that is ours.
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
        file: SocketFile,
    },
}

/// The file of a Unix socket, removed when dropped unless another process has replaced it.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
    /// Whether it is ours to remove: not while another process serves the same socket.
    ours: AtomicBool,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if *self.ours.get_mut() && inode(&self.path).is_ok_and(|now| now == self.inode) {
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

/// Where a listener of the configuration listens, the whole path of a Unix socket.
pub fn whole(address: &ListenAddr, port: u16) -> ListenAddr {
    match address {
        ListenAddr::Tcp(_) => address.clone(),
        ListenAddr::Unix(path) => ListenAddr::Unix(socket_path(path, port)),
    }
}

/// Serves a socket that another process has opened, from within a tokio runtime. The file of a
/// Unix socket is that process's.
pub fn adopt(socket: OwnedFd) -> io::Result<Bound> {
    let socket = Socket::from(socket);
    if !socket.is_listener()? || socket.r#type()? != Type::STREAM {
        return Err(io::Error::other("not a listening stream socket"));
    }
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    let address = socket.local_addr()?;
    if let Some(address) = address.as_socket() {
        return Ok(Bound {
            socket: Listening::Tcp(TcpListener::from_std(socket.into())?),
            address: ListenAddr::Tcp(address),
        });
    }
    let path = address
        .as_pathname()
        .ok_or_else(|| io::Error::other("neither a TCP nor a Unix socket with a path"))?;
    let file = SocketFile {
        path: path.to_owned(),
        inode: inode(path)?,
        ours: AtomicBool::new(false),
    };
    Ok(Bound {
        socket: Listening::Unix {
            listener: UnixListener::from_std(socket.into())?,
            file,
        },
        address: ListenAddr::Unix(path.to_owned()),
    })
}

impl Bound {
    /// Where it listens: the port that was picked, the whole path of a Unix socket.
    pub fn address(&self) -> &ListenAddr {
        &self.address
    }

    /// Whether the file of a Unix socket is removed when this is dropped.
    pub fn own_file(&self, ours: bool) {
        if let Listening::Unix { file, .. } = &self.socket {
            file.ours.store(ours, Ordering::Relaxed);
        }
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

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Listening::Tcp(listener) => listener.as_fd(),
            Listening::Unix { listener, .. } => listener.as_fd(),
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
        ours: AtomicBool::new(true),
    };
    Ok(Listening::Unix { listener, file })
}

/// Whether the file is the socket of a process that is gone.
fn is_stale(path: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

/// Accepts clients, each in a task of its own, while the gate is open; ends when it is closed or
/// its sender is gone.
pub async fn run(
    bound: Arc<Bound>,
    front: Arc<Front>,
    listener: Arc<Listener>,
    mut gate: watch::Receiver<Gate>,
) {
    let mut short = None;
    loop {
        match gate.wait_for(|now| *now != Gate::Shut).await.as_deref() {
            Ok(Gate::Open | Gate::Shut) => {}
            Ok(Gate::Closed) | Err(_) => return,
        }
        let accepted = tokio::select! {
            // Whoever comes behind the change is the next process's.
            biased;
            // Cancel-safe: nothing is lost.
            _changed = gate.wait_for(|now| *now != Gate::Open) => continue,
            // Cancel-safe: a client that was not returned is still in the kernel's queue.
            accepted = bound.accept() => accepted,
        };
        match accepted {
            Ok((socket, ends)) => {
                if short.take().is_some() {
                    info!(address = ?bound.address, "accepting clients again");
                }
                let (inside, front) = (front.enter(), Arc::clone(&front));
                let listener = Arc::clone(&listener);
                tokio::spawn(async move {
                    front.serve(socket, listener, ends).await;
                    drop(inside);
                });
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
    async fn the_file_of_an_adopted_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let bound = bind(&ListenAddr::Unix(dir.path().to_owned()), 6432).unwrap();
        let copy = bound.as_fd().try_clone_to_owned().unwrap();
        let adopted = adopt(copy).unwrap();
        assert_eq!(adopted.address(), bound.address());
        drop(adopted);
        let file = dir.path().join(".s.PGSQL.6432");
        assert!(file.exists());
        bound.own_file(false);
        let again = adopt(bound.as_fd().try_clone_to_owned().unwrap()).unwrap();
        drop(bound);
        assert!(file.exists());
        again.own_file(true);
        drop(again);
        assert!(!file.exists());
    }

    #[tokio::test]
    async fn what_does_not_listen_is_not_adopted() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(adopt(one.into()).is_err());
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
