//! A temporary directory that goes away with us, whatever ends us.
//!
//! `Drop` does not run when a process is killed, nor for a `static`. So a small shell script
//! watches a pipe whose other end only we hold: when it closes, for whatever reason, it stops
//! the PostgreSQL servers whose data is in the directory and removes it. It ignores the signals
//! of a terminal and works on every Unix; it cannot outlive a machine that goes down.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// `$1` is the directory. A process id in a left-over file may be somebody else's by now, so
/// only a process that names the directory in its command line is stopped. `rm` may race with
/// a program that still writes there, so it is tried again.
const WATCH: &str = r#"
trap '' INT TERM HUP QUIT
cat >/dev/null
tries=0
while [ -e "$1" ] && [ $tries -lt 100 ]; do
    running=no
    for file in "$1"/*/postmaster.pid; do
        pid=$(head -n 1 "$file" 2>/dev/null)
        [ -n "$pid" ] || continue
        line=$({ tr '\0' ' ' <"/proc/$pid/cmdline" || ps -p "$pid" -o args=; } 2>/dev/null)
        case "$line" in *"$1"*) ;; *) continue ;; esac
        running=yes
        if [ $tries -lt 60 ]; then kill -QUIT "$pid"; else kill -KILL "$pid"; fi
    done
    [ $running = yes ] || rm -rf "$1"
    [ -e "$1" ] || break
    sleep 0.1
    tries=$((tries + 1))
done
"#;

/// A temporary directory and its watcher.
#[derive(Debug)]
pub struct ScratchDir {
    path: PathBuf,
    watcher: Child,
}

impl ScratchDir {
    /// Makes a directory that only its owner may enter.
    pub fn new(prefix: &str) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix(prefix).tempdir()?;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700))?;
        let watcher = Command::new("sh")
            .args(["-c", WATCH, "tenantry-scratch"])
            .arg(dir.path())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self {
            path: dir.keep(),
            watcher,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        if self.watcher.wait().is_err() {
            // The watcher was taken from us: nobody else removes the directory then.
            fs::remove_dir_all(&self.path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_directory_is_gone() {
        let dir = ScratchDir::new("tenantry-test-").expect("a directory");
        let path = dir.path().to_owned();
        fs::create_dir(path.join("data")).expect("a directory");
        fs::write(
            path.join("data/postmaster.pid"),
            format!("{}\n", std::process::id()),
        )
        .expect("a stale file that names a process of somebody else: us");
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn the_watcher_alone_removes_it() {
        let mut dir = ScratchDir::new("tenantry-test-").expect("a directory");
        drop(dir.watcher.stdin.take());
        assert!(dir.watcher.wait().expect("our child").success());
        assert!(!dir.path().exists());
    }
}
