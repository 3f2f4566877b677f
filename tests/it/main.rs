//! Integration tests: a proxy in this process in front of a real PostgreSQL, or of a scripted one.
#![allow(
    clippy::unwrap_used,
    reason = "a test and its support fail by panicking"
)]
#![allow(
    unreachable_pub,
    reason = "what the support offers is public within this program only"
)]

mod support;

mod auth;
mod budget;
mod cancel;
mod carry;
mod console;
mod copy;
mod failures;
mod health;
mod hostile;
mod http;
mod isolation;
mod leases;
mod live;
mod matrix;
mod pipelines;
mod pools;
mod prepared;
mod reload;
mod replicas;
mod replication;
mod slots;
mod sockets;
mod state;
mod takeover;
mod timeouts;
