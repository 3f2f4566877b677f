//! The front over real sockets: each method's success, each refusal, and that refusals are alike.

mod encryption;
mod harness;
mod journal;
mod limits;
mod logins;
mod proxied;
