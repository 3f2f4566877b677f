//! What the fuzz targets do, as plain functions of any bytes: each panics if a promise is broken.
//!
//! `targets/` gives them to libFuzzer; `tests/fuzz_corpus.rs` of the main crate includes this file
//! and replays the corpus with them, so that they are compiled and true in every test run.
//!
//! Targets know only what a peer knows: they use what the crate makes public, and where a promise
//! is about secrets they compute it a second time by themselves.

mod config;
mod frames;
mod hostile;
mod input;
mod proxy_header;
mod reference;
mod scram;
mod session;
mod sql;
mod startup;
mod verifier;

#[path = "../../tests/model/mod.rs"]
mod model;

pub use config::config;
pub use frames::frames;
pub use hostile::hostile;
pub use proxy_header::proxy_header;
pub use scram::{scram_client, scram_server};
pub use session::session;
pub use sql::sql;
pub use startup::startup;
pub use verifier::verifier;

/// A target's name, which is that of its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("config", config),
    ("frames", frames),
    ("hostile", hostile),
    ("proxy_header", proxy_header),
    ("scram_client", scram_client),
    ("scram_server", scram_server),
    ("session", session),
    ("sql", sql),
    ("startup", startup),
    ("verifier", verifier),
];
