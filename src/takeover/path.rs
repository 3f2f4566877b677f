//! The socket at `server.takeover`: bound so that there is never a moment without one at the path,
//! for our own user only.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The listening socket; dropping it removes its file unless another process has replaced it.
#[derive(Debug)]
pub(super) struct OwnSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

/// A socket that may take the path: what can fail has been done.
#[derive(Debug)]
pub(super) struct Prepared {
    socket: OwnSocket,
    path: PathBuf,
}

impl Prepared {
    /// Binds a socket beside the path.
    pub(super) fn beside(path: &Path) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let temporary = PathBuf::from(name);
        match std::fs::remove_file(&temporary) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(&temporary)?;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
        let inode = inode(&temporary)?;
        Ok(Self {
            socket: OwnSocket {
                listener,
                path: temporary,
                inode,
            },
            path: path.to_owned(),
        })
    }

    /// Takes the path over from whoever had it.
    pub(super) fn take(self) -> io::Result<OwnSocket> {
        let Self { mut socket, path } = self;
        std::fs::rename(&socket.path, &path)?;
        socket.path = path;
        Ok(socket)
    }
}

impl OwnSocket {
    /// Wakes who waits for connections: there will be none.
    pub(super) fn shut(&self) {
        if let Err(error) = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both) {
            tracing::debug!(%error, "the takeover socket was shut already");
        }
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|now| now == self.inode) {
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

/// Whether the process at the other end is of our own user, or of root's.
pub(super) fn is_trusted(stream: &UnixStream) -> bool {
    #[cfg(target_os = "linux")]
    {
        let own = rustix::net::sockopt::socket_peercred(stream).map(|peer| peer.uid.as_raw());
        own.is_ok_and(|uid| uid == 0 || uid == nix::unistd::geteuid().as_raw())
    }
    // Elsewhere the mode of the file says it.
    #[cfg(not(target_os = "linux"))]
    {
        let _stream = stream;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_changes_hands_and_is_removed_by_its_last_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("takeover.sock");
        let old = Prepared::beside(&path).unwrap().take().unwrap();
        drop(Prepared::beside(&path).unwrap());
        assert!(UnixStream::connect(&path).is_ok());
        let new = Prepared::beside(&path).unwrap().take().unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(old);
        let there = UnixStream::connect(&path).unwrap();
        assert!(is_trusted(&there));
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn a_shut_socket_wakes_who_waits() {
        let dir = tempfile::tempdir().unwrap();
        let own = Prepared::beside(&dir.path().join("s")).unwrap();
        let own = own.take().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| own.listener.accept().is_err());
            own.shut();
            assert!(waiting.join().unwrap());
        });
    }
}
