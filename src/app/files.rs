//! Reloads when a file of the configuration has changed: the configuration file and every file
//! that it names.
//!
//! Files are looked at once a second, not announced by the kernel: that also works where symbolic
//! links are swapped above them (Kubernetes), where single files are mounted into a container, and
//! on network file systems. What counts is what a file holds. A change is taken up once nothing
//! has moved for a moment; a bad one is an error in the log, once, and the next one is tried again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::App;
use crate::config::{Digest, Files};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Looks take at most one part in so many of a core, however many files there are.
const REST: u32 = 100;

/// Nothing must have moved for so long: whoever writes several files is given the time.
const QUIET: Duration = Duration::from_millis(250);

/// Files that never rest are read all the same after this.
const RESTLESS: Duration = Duration::from_secs(5);

/// Watches until it is dropped.
#[derive(Debug)]
#[must_use = "it watches until it is dropped"]
pub struct Watch {
    /// Never sends: its end ends the thread.
    stop: Option<SyncSender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches the files of this proxy, if its configuration comes from one.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(app: &Arc<App>) -> std::io::Result<Self> {
        let (stop, stopped) = sync_channel(1);
        let app = Arc::downgrade(app);
        let watching = move || watch(&app, &stopped);
        let thread = Builder::new().name("watch".into()).spawn(watching)?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn watch(app: &Weak<App>, stopped: &Receiver<Infallible>) {
    let mut eyes = Eyes::default();
    let mut pause = PERIOD;
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let Some(app) = app.upgrade() else { return };
        let Some(files) = app.reloads().source.as_ref().map(|s| Arc::clone(s.files())) else {
            return;
        };
        let begun = Instant::now();
        pause = match eyes.look(&files, begun) {
            Seen::Rest => PERIOD.max(begun.elapsed() * REST),
            Seen::Move => QUIET,
            Seen::Change => {
                // It has logged how it went.
                let _outcome = app.reload_from_source();
                PERIOD
            }
        };
    }
}

/// What the last look has seen.
#[derive(Default)]
struct Eyes {
    stamps: BTreeMap<PathBuf, Option<Stamp>>,
    moving_since: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// All is as it was.
    Rest,
    /// Something is being changed: look again soon.
    Move,
    /// Something has changed, and it rests.
    Change,
}

impl Eyes {
    /// Looks at the files that the last reading depended on.
    fn look(&mut self, files: &Files, now: Instant) -> Seen {
        let stamps = files.keys().map(|path| (path.clone(), Stamp::of(path)));
        let stamps: BTreeMap<_, _> = stamps.collect();
        let moved = stamps != self.stamps;
        if !moved && self.moving_since.is_none() {
            return Seen::Rest;
        }
        self.stamps = stamps;
        let since = *self.moving_since.get_or_insert(now);
        if moved && now.duration_since(since) < RESTLESS {
            return Seen::Move;
        }
        self.moving_since = None;
        let holds_another = |(path, held): (&PathBuf, &Digest)| Digest::of_file(path) != *held;
        if files.iter().any(holds_another) {
            Seen::Change
        } else {
            Seen::Rest
        }
    }
}

/// What of a file changes when its contents do; symbolic links are followed.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        Some(Self {
            file: (file.dev(), file.ino()),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn files(paths: &[&Path]) -> Files {
        let file = |path: &&Path| (path.to_path_buf(), Digest::of_file(path));
        paths.iter().map(file).collect()
    }

    /// Eyes that have seen these files at rest.
    fn rested(files: &Files) -> Eyes {
        let mut eyes = Eyes::default();
        assert_eq!(eyes.look(files, Instant::now()), Seen::Move);
        assert_eq!(eyes.look(files, Instant::now()), Seen::Rest);
        eyes
    }

    #[test]
    fn only_other_contents_are_a_change_and_only_at_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "one").unwrap();
        let list = files(&[&path]);
        let mut eyes = rested(&list);
        let now = Instant::now();
        fs::write(&path, "half").unwrap();
        assert_eq!(eyes.look(&list, now), Seen::Move);
        fs::write(&path, "complete").unwrap();
        assert_eq!(eyes.look(&list, now), Seen::Move, "it moves on");
        assert_eq!(eyes.look(&list, now), Seen::Change);
        let list = files(&[&path]);
        assert_eq!(eyes.look(&list, now), Seen::Rest, "it was taken up");
        let other = dir.path().join("g");
        fs::write(&other, "complete").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(eyes.look(&list, now), Seen::Move);
        assert_eq!(eyes.look(&list, now), Seen::Rest, "it holds the same");
        fs::remove_file(&path).unwrap();
        assert_eq!(eyes.look(&list, now), Seen::Move);
        assert_eq!(eyes.look(&list, now), Seen::Change, "it has gone");
    }

    #[test]
    fn what_never_rests_is_read_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "one").unwrap();
        let list = files(&[&path]);
        let mut eyes = rested(&list);
        let begin = Instant::now();
        for (i, (after, seen)) in [(0, Seen::Move), (4, Seen::Move), (5, Seen::Change)]
            .into_iter()
            .enumerate()
        {
            fs::write(&path, "x".repeat(i + 10)).unwrap();
            assert_eq!(eyes.look(&list, begin + Duration::from_secs(after)), seen);
        }
    }

    #[test]
    fn a_swapped_link_above_the_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (version, contents) in [("v1", "one"), ("v2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("f"), contents).unwrap();
        }
        symlink("v1", at("..data")).unwrap();
        symlink("..data/f", at("f")).unwrap();
        let list = files(&[&at("f")]);
        let mut eyes = rested(&list);
        symlink("v2", at("new")).unwrap();
        fs::rename(at("new"), at("..data")).unwrap();
        assert_eq!(eyes.look(&list, Instant::now()), Seen::Move);
        assert_eq!(eyes.look(&list, Instant::now()), Seen::Change);
    }
}
