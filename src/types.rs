//! The vocabulary: names that must not be confused, each its own type.
//!
//! Values are checked once, where they enter; inside they are trusted. Nothing here does I/O.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A tenant's short name: `[a-z0-9][a-z0-9_-]{0,55}`, neither `tenantry` nor `pgbouncer`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slug(Arc<str>);

/// Why a text is no [`Slug`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlugError {
    /// The text does not fit the grammar.
    #[error("a slug is 1 to 56 of a-z, 0-9, '_' and '-', and starts with a letter or digit")]
    Grammar,
    /// The name belongs to the console.
    #[error("this name is reserved for the console")]
    Reserved,
}

impl Slug {
    /// Longest slug, so that `tenant_<slug>` still fits the 63 bytes of a PostgreSQL name.
    pub const MAX_LEN: usize = 56;

    /// Checks the grammar.
    pub fn parse(text: &str) -> Result<Self, SlugError> {
        let bytes = text.as_bytes();
        let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fits = !bytes.is_empty()
            && bytes.len() <= Self::MAX_LEN
            && word(&bytes[0])
            && bytes.iter().all(|b| word(b) || *b == b'_' || *b == b'-');
        if !fits {
            return Err(SlugError::Grammar);
        }
        if is_console(text) {
            return Err(SlugError::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// The slug's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The console's name; `pgbouncer` is another one.
pub const CONSOLE: &str = "tenantry";

/// Whether a database name is the console's.
pub fn is_console(database: &str) -> bool {
    matches!(database, CONSOLE | "pgbouncer")
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);
        impl $name {
            /// Takes the name as it is.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }
            /// The name's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        shown!($name);
    };
}

macro_rules! shown {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }
    };
}

shown!(Slug);
name_type!(
    /// A database on a PostgreSQL server.
    DbName
);
name_type!(
    /// A role: what a client logs in as, or what we log in as at a server.
    RoleName
);
name_type!(
    /// A cluster of the configuration.
    ClusterName
);

/// One tenant for as long as it is configured; never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(pub u32);

impl TenantId {
    /// The console in the place of a tenant, where its users' secrets are kept; no tenant gets it.
    pub const CONSOLE: Self = Self(u32::MAX);
}

/// One PostgreSQL server: host (or the directory of its Unix socket, starting with `/`) and port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeAddr {
    /// Host name, IP address, or absolute directory of the Unix socket.
    pub host: Arc<str>,
    /// TCP port; for a Unix socket the number in `.s.PGSQL.<port>`.
    pub port: u16,
}

impl NodeAddr {
    /// The file of the Unix socket, where the node is reached by one.
    pub fn unix_path(&self) -> Option<std::path::PathBuf> {
        self.host
            .starts_with('/')
            .then(|| format!("{}/.s.PGSQL.{}", self.host, self.port).into())
    }
}

impl fmt::Display for NodeAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for NodeAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is never shown: its `Debug` is a placeholder, its memory is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes a secret.
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// The secret itself, for the place that must use it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Most rounds of PBKDF2 in a SCRAM verifier: more would only burn time.
pub const MAX_SCRAM_ITERATIONS: u32 = 10_000_000;

/// Longest salt of a SCRAM verifier, in bytes; PostgreSQL writes 16.
pub const MAX_SCRAM_SALT: usize = 512;

/// The client's SCRAM key, learned at its login: it signs us in at a server that stores the same verifier.
#[derive(Clone)]
pub struct ScramClientKey(pub Arc<Zeroizing<[u8; 32]>>);

impl fmt::Debug for ScramClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramClientKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slug_grammar() {
        let longest = "a".repeat(56);
        for good in ["a", "0", "acme", "acme-2", "a_b", longest.as_str()] {
            assert_eq!(
                Slug::parse(good).map(|s| s.to_string()),
                Ok(good.to_owned())
            );
        }
        let long = "a".repeat(57);
        for bad in [
            "",
            "-a",
            "_a",
            "Acme",
            "a.b",
            "a b",
            "ä",
            "a\0",
            long.as_str(),
        ] {
            assert_eq!(Slug::parse(bad), Err(SlugError::Grammar), "{bad:?}");
        }
        assert_eq!(Slug::parse("pgbouncer"), Err(SlugError::Reserved));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(..)");
    }
}
