//! What is wrong with a configuration, and exactly where. Never contains a secret.

use std::fmt;
use std::path::Path;

/// One mistake, shown as `proxy.toml:12:8: tenant[0].pool.size: must be at least 1`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file as it was named by the user.
    pub file: String,
    /// Line and column, both from 1, where the text has a place for the mistake.
    pub position: Option<(usize, usize)>,
    /// The key, such as `tenant[0].pool.size`; empty where the mistake is about no key.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// All mistakes that were found, in the order of the text; at least one. Shown one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// A mistake that concerns the file as a whole.
    pub fn about(file: &Path, message: impl Into<String>) -> Self {
        Self(vec![ConfigError {
            file: file.display().to_string(),
            position: None,
            path: String::new(),
            message: message.into(),
        }])
    }

    /// One mistake for each message, of which there is at least one.
    pub fn about_each(file: &Path, messages: impl Iterator<Item = String>) -> Self {
        Self(
            messages
                .flat_map(|message| Self::about(file, message).0)
                .collect(),
        )
    }

    /// Sorts by position; `None` if there is nothing wrong.
    pub(super) fn collect(mut errors: Vec<ConfigError>) -> Option<Self> {
        errors.sort_by_key(|e| e.position);
        errors.dedup();
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// Each mistake.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}
