//! What the tests share: servers, proxies, a client that speaks raw protocol, scripted servers.
#![allow(
    dead_code,
    reason = "each family of tests uses the part of the support that it needs"
)]

pub mod alone;
pub mod client;
pub mod frames;
pub mod http;
pub mod pair;
pub mod patience;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod replicas;
pub mod script;
