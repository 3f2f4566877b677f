//! Tenantry: one PostgreSQL endpoint in front of every tenant's database.
//!
//! Two paths. *Once a connection*, on tokio: [`front`] takes a client from accept to its login
//! ([`auth`], [`tls`], [`tenant::resolve`]), [`upstream`] connects and signs in at servers.
//! *Once a query*, on threads of their own: [`worker`] moves bytes between sockets, [`session`]
//! decides, without I/O, what goes where. [`app`] composes both from a [`config::Config`].
//!
//! [`console`] is where operators look and command.
//!
//! The life of a session: login -> the worker greets it with what the server reports for its
//! startup settings -> idle -> (waiting ->) leased -> idle .. -> end. See `docs/design/`.
//!
//! Layers, lowest first; a module uses only lower ones, which `tests/layers.rs` checks: `types`
//! `error` `gauge` `lines`, then `wire` `config` `nodes`, `tls` `logs`, `auth` `stream`, `tenant`, `session`,
//! `upstream`, `worker`, `console` `demo` `http`, `front`, `takeover` `systemd`, `app`, `cli`.

pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod console;
pub mod demo;
pub mod error;
pub mod front;
pub mod gauge;
pub mod http;
pub mod lines;
pub mod logs;
pub mod nodes;
pub mod session;
pub mod stream;
pub mod systemd;
pub mod takeover;
pub mod tenant;
pub mod tls;
pub mod types;
pub mod upstream;
pub mod wire;
pub mod worker;
