//! A world for the session machine: clients that keep to the protocol, a model PostgreSQL server,
//! and the worker's part between them, with every choice made by whoever plays.
//!
//! Property tests and fuzz targets share it; it is shipped to nobody.
#![allow(dead_code, reason = "each of its users needs a part of it")]

pub(crate) mod dialogue;
pub(crate) mod dice;
pub(crate) mod driver;
pub(crate) mod server;
pub(crate) mod settings;
