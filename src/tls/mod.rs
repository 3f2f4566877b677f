//! TLS by rustls on aws-lc-rs, which is named explicitly: there is no process-wide default to
//! depend on.

pub mod binding;
pub mod client;
pub mod server;
