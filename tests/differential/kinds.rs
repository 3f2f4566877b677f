//! The kinds of statements, and how often each is said.

use crate::texts::{
    ADVISORY, AUTHORIZATION, CHARACTERISTICS, CURSOR, CUSTOM, DATESTYLE, DDL, DEALLOCATE, DISCARD,
    DO, DROP_TEMP, ENCODING, ERROR, FUNCTION, HOLD, LISTEN, LOCAL, OBSERVE, PG_SETTINGS, PREPARE,
    RESET, ROLE, SAVEPOINT, SEED, SET, SET_CONFIG, TEMP, WRITE,
};

/// A kind of statements, or of ways to send them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// What `TENANTRY_KINDS` calls it.
    pub(crate) name: &'static str,
    pub(crate) weight: usize,
    pub(crate) role: Role,
    /// SQL of one statement each; none: it is made of others, or needs the protocol.
    pub(crate) texts: &'static [&'static str],
}

/// How long a session may keep its server connection after a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pin {
    No,
    /// While it has something that others must not see.
    WhileItHasState,
    /// What it did cannot be asked for.
    UntilItLeaves,
}

/// How a kind is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Single statements that any session may say.
    Carried,
    /// Single statements that may pin: only one session of a sequence says them.
    Pinning(Pin),
    /// Made by the generator.
    Way,
}

const fn carried(name: &'static str, weight: usize, texts: &'static [&'static str]) -> Kind {
    Kind {
        name,
        weight,
        role: Role::Carried,
        texts,
    }
}

const fn pinning(name: &'static str, weight: usize, texts: &'static [&'static str]) -> Kind {
    Kind {
        name,
        weight,
        role: Role::Pinning(Pin::WhileItHasState),
        texts,
    }
}

const fn lasting(name: &'static str, weight: usize, texts: &'static [&'static str]) -> Kind {
    Kind {
        name,
        weight,
        role: Role::Pinning(Pin::UntilItLeaves),
        texts,
    }
}

const fn way(name: &'static str, weight: usize) -> Kind {
    Kind {
        name,
        weight,
        role: Role::Way,
        texts: &[],
    }
}

impl Kind {
    pub(crate) fn pin(&self) -> Pin {
        match self.role {
            Role::Pinning(pin) => pin,
            Role::Carried | Role::Way => Pin::No,
        }
    }
}

/// All of them.
pub(crate) const KINDS: &[Kind] = &[
    carried("set", 10, SET),
    carried("local", 4, LOCAL),
    carried("reset", 5, RESET),
    carried("discard", 2, DISCARD),
    carried("set_config", 5, SET_CONFIG),
    carried("pg_settings", 1, PG_SETTINGS),
    carried("custom", 4, CUSTOM),
    carried("datestyle", 3, DATESTYLE),
    carried("characteristics", 2, CHARACTERISTICS),
    carried("role", 4, ROLE),
    carried("authorization", 2, AUTHORIZATION),
    carried("savepoint", 5, SAVEPOINT),
    carried("error", 4, ERROR),
    carried("observe", 18, OBSERVE),
    carried("write", 5, WRITE),
    carried("ddl", 3, DDL),
    carried("cursor", 3, CURSOR),
    carried("deallocate", 1, DEALLOCATE),
    pinning("temp", 10, TEMP),
    pinning("drop_temp", 4, DROP_TEMP),
    pinning("prepare", 8, PREPARE),
    pinning("listen", 4, LISTEN),
    pinning("hold", 5, HOLD),
    pinning("advisory", 6, ADVISORY),
    lasting("seed", 1, SEED),
    lasting("do", 2, DO),
    lasting("encoding", 2, ENCODING),
    lasting("function", 2, FUNCTION),
    way("bound", 4),
    way("named", 9),
    way("unnamed", 2),
    way("portal", 2),
    way("multi", 6),
    way("pipeline", 7),
    way("copy", 3),
    way("reconnect", 3),
    // Whether there are transactions of several statements at all, startup parameters, and an end
    // of pins before their session leaves.
    way("transaction", 0),
    way("unpin", 0),
    way("startup", 0),
];
