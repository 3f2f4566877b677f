//! Where PostgreSQL's programs are on this machine, and the account that may run them.
//!
//! Guarantees: all programs come from one directory, so their versions fit; a server is never
//! started as root (it would refuse), nor with the caller's `PG*` environment. Nothing is
//! installed or downloaded here.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User};

/// What a usable directory must hold.
const PROGRAMS: [&str; 6] = [
    "initdb",
    "postgres",
    "psql",
    "pgbench",
    "pg_basebackup",
    "pg_isready",
];

/// The programs of one PostgreSQL version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
    account: Account,
}

/// No PostgreSQL server can be started on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// The programs are missing.
    #[error(
        "no PostgreSQL server programs ({}) found on PATH, in /usr/lib/postgresql/*/bin, \
         /usr/pgsql-*/bin, /usr/local/pgsql/bin or Homebrew's directories; install them:\n  \
         Debian, Ubuntu:  apt-get install postgresql\n  \
         Fedora:          dnf install postgresql-server postgresql-contrib\n  \
         macOS:           brew install postgresql@17",
        PROGRAMS.join(", ")
    )]
    Programs,
    /// We are root and have nobody to become.
    #[error(
        "PostgreSQL refuses to run as root and there is no user `postgres` to run it as; \
         start this as another user, or: useradd --system postgres"
    )]
    Account,
}

/// Who runs the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Account {
    /// Ourselves.
    Caller,
    /// Another user, as we are root.
    Other(Uid, Gid),
}

impl Binaries {
    /// Looks on PATH and in the usual places, the newest version first.
    pub fn find() -> Result<Self, NotFound> {
        let dir = candidates()
            .into_iter()
            .find(|dir| is_complete(dir))
            .ok_or(NotFound::Programs)?;
        Ok(Self {
            dir,
            account: Account::choose()?,
        })
    }

    /// Where the programs are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A program run as the caller.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.dir.join(program));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null());
        command
    }

    /// A program run as the account of the servers, in a directory that it may enter.
    pub(super) fn server(&self, program: &str, working_dir: &Path) -> Command {
        let mut command = self.client(program);
        command.current_dir(working_dir).env("LC_ALL", "C");
        if let Account::Other(uid, gid) = self.account {
            command
                .uid(uid.as_raw())
                .gid(gid.as_raw())
                .env("HOME", working_dir);
        }
        command
    }

    /// Gives a file or directory to the account of the servers.
    pub(super) fn hand_over(&self, path: &Path) -> std::io::Result<()> {
        if let Account::Other(uid, gid) = self.account {
            nix::unistd::chown(path, Some(uid), Some(gid))?;
        }
        Ok(())
    }
}

impl Account {
    fn choose() -> Result<Self, NotFound> {
        if !Uid::effective().is_root() {
            return Ok(Self::Caller);
        }
        match User::from_name("postgres") {
            Ok(Some(user)) => Ok(Self::Other(user.uid, user.gid)),
            Ok(None) | Err(_) => Err(NotFound::Account),
        }
    }
}

fn is_complete(dir: &Path) -> bool {
    PROGRAMS.iter().all(|program| dir.join(program).is_file())
}

/// Directories worth a look, best first.
fn candidates() -> Vec<PathBuf> {
    let mut dirs = on_path();
    for parent in [
        "/usr/lib/postgresql",
        "/usr",
        "/usr/local",
        "/opt/homebrew/opt",
        "/usr/local/opt",
    ] {
        dirs.extend(versions_below(Path::new(parent)));
    }
    dirs.extend(["/usr/local/pgsql/bin", "/opt/homebrew/bin", "/usr/bin"].map(PathBuf::from));
    dirs.extend(from_pg_config());
    dirs
}

/// PATH may hold links to some of the programs: their home is where the links lead.
fn on_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter_map(|dir| dir.join("initdb").canonicalize().ok())
        .filter_map(|initdb| initdb.parent().map(Path::to_owned))
        .collect()
}

/// `15/bin`, `pgsql-16/bin`, `postgresql@17/bin` below a directory, highest version first.
fn versions_below(parent: &Path) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = version_of(entry.file_name().to_str()?)?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, dir)| dir).collect()
}

fn version_of(name: &str) -> Option<u32> {
    let digits = name
        .strip_prefix("pgsql-")
        .or_else(|| name.strip_prefix("postgresql@"))
        .unwrap_or(name);
    digits.parse().ok()
}

fn from_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| PathBuf::from(text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highest_version_comes_first_by_number() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["9", "15", "pgsql-17", "postgresql@16", "lost+found"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        let names = ["pgsql-17/bin", "postgresql@16/bin", "15/bin", "9/bin"];
        assert_eq!(
            versions_below(dir.path()),
            names.map(|name| dir.path().join(name))
        );
    }

    #[test]
    fn a_directory_with_some_of_the_programs_is_not_taken() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("initdb"), "").expect("a file");
        assert!(!is_complete(dir.path()));
        for program in PROGRAMS {
            std::fs::write(dir.path().join(program), "").expect("a file");
        }
        assert!(is_complete(dir.path()));
    }

    #[test]
    fn what_to_install_is_said() {
        assert!(
            NotFound::Programs
                .to_string()
                .contains("apt-get install postgresql")
        );
    }
}
