//! Where a configuration comes from: its file, what was put over it since, and every file that it
//! names, with a digest of what each held when it was read.
//!
//! A reading changes nothing until it is adopted, except for the list of files: that is of the
//! last reading of the file, good or bad, since what to wait for follows from it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::file::{self, Reading};
use super::overrides::{self, Override};
use super::{Config, ConfigErrors};
use crate::types::Secret;

/// Files by path, and what they held.
pub type Files = BTreeMap<PathBuf, Digest>;

/// What a file held: equal digests mean equal contents. A file that cannot be read has one, too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(Option<[u8; 32]>);

impl Digest {
    /// Of what a file holds; `None` if it cannot be read.
    pub(super) fn of(contents: Option<&[u8]>) -> Self {
        Self(contents.map(|c| Sha256::digest(c).into()))
    }

    /// Of what a file holds now.
    pub fn of_file(path: &Path) -> Self {
        Self::of(
            std::fs::read(path)
                .ok()
                .map(zeroize::Zeroizing::new)
                .as_ref()
                .map(|c| c.as_slice()),
        )
    }
}

/// A digest of a short secret would tell it.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// A configuration file, and the state of the last reading that was adopted.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    /// May hold literal secrets.
    text: Secret,
    overrides: Vec<Override>,
    /// Of the reading that is in force.
    in_force: Arc<Files>,
    /// Of the last reading of the file.
    files: Arc<Files>,
}

/// What a reading changed that was adopted.
#[derive(Debug)]
pub struct Adopted {
    /// Keys of values that were put over the former reading and have ended with it.
    pub unset: Vec<&'static str>,
    /// Files that hold something else than when the former reading read them, without the
    /// configuration file itself.
    pub changed: Vec<PathBuf>,
}

/// A good reading that is not in force yet.
#[derive(Debug)]
pub struct Draft {
    /// What it says.
    pub config: Config,
    text: Secret,
    overrides: Vec<Override>,
    files: Files,
}

impl Source {
    /// Reads a file; secrets of the form `env:NAME` come from the process's environment.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn open(path: &Path) -> Result<(Self, Config), ConfigErrors> {
        let mut source = Self {
            path: path.to_owned(),
            text: Secret::new(String::new()),
            overrides: Vec::new(),
            in_force: Arc::default(),
            files: Arc::default(),
        };
        let draft = source.read()?;
        let config = draft.config.clone();
        source.adopt(draft);
        Ok((source, config))
    }

    /// Reads the file anew, without what was put over it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(&mut self) -> Result<Draft, ConfigErrors> {
        let text = match self.text_of_file() {
            Ok(text) => text,
            Err(e) => {
                let own = (self.path.clone(), Digest::of_file(&self.path));
                self.files = Arc::new(Files::from([own]));
                let message = format!("cannot be read: {e}");
                return Err(ConfigErrors::about(&self.path, message));
            }
        };
        let reading = self.reading(&text, &[]);
        self.files = Arc::new(reading.files.clone());
        draft(reading, text, Vec::new())
    }

    /// The configuration in force with one more value put over it; files that it names are read
    /// anew, it itself is not.
    ///
    /// # Errors
    /// Everything that is wrong with it then.
    pub fn with(&self, another: Override) -> Result<Draft, ConfigErrors> {
        let mut all: Vec<Override> = self.overrides.clone();
        all.retain(|o| o.key() != another.key());
        all.push(another);
        draft(self.reading(&self.text, &all), self.text.clone(), all)
    }

    /// Takes a reading as the one in force.
    pub fn adopt(&mut self, draft: Draft) -> Adopted {
        let kept = |o: &Override| draft.overrides.iter().any(|d| d.key() == o.key());
        let unset = self
            .overrides
            .iter()
            .filter(|o| !kept(o))
            .map(Override::key)
            .collect();
        self.text = draft.text;
        self.overrides = draft.overrides;
        let differs = |(path, digest): &(&PathBuf, &Digest)| {
            **path != self.path && self.in_force.get(*path).is_some_and(|d| d != *digest)
        };
        let changed = draft.files.iter().filter(differs);
        let changed = changed.map(|(path, _)| path.clone()).collect();
        self.files = Arc::new(draft.files);
        self.in_force = Arc::clone(&self.files);
        Adopted { unset, changed }
    }

    /// The files that the next reading depends on, the configuration file itself among them.
    pub fn files(&self) -> &Arc<Files> {
        &self.files
    }

    fn text_of_file(&self) -> std::io::Result<Secret> {
        std::fs::read_to_string(&self.path).map(Secret::new)
    }

    fn reading(&self, text: &Secret, over: &[Override]) -> Reading {
        let env = |name: &str| std::env::var(name).ok();
        let mut reading = file::read((text.expose(), &overrides::text(over)), &self.path, &env);
        let own = Digest::of(Some(text.expose().as_bytes()));
        reading.files.insert(self.path.clone(), own);
        reading
    }
}

fn draft(reading: Reading, text: Secret, overrides: Vec<Override>) -> Result<Draft, ConfigErrors> {
    Ok(Draft {
        config: reading.config?,
        text,
        overrides,
        files: reading.files,
    })
}
