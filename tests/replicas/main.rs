//! Replicas under load: no read misses a write while replay stands still and goes on, writes follow a
//! promoted replica and lose nothing, a switchover is not noticed, a replica in trouble costs a
//! client no more than its limits.
//!
//! The proxy is a process (`TENANTRY_BINARY`, or the one built with the tests), the servers are real.
//! `TENANTRY_REPLICAS=full` is the long form, `TENANTRY_REPLICAS_SEED` the seed of an earlier run.
#![allow(
    unreachable_pub,
    reason = "the support is shared with the integration tests"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a test and its support fail by panicking"
)]

mod degraded;
mod failover;
mod load;
mod reading;
mod relay;
#[path = "../it/support/mod.rs"]
mod support;
mod world;
