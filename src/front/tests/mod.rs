//! The front over real sockets: each method's success, each refusal, and that refusals are alike.

mod encryption;
mod harness;
mod limits;
mod logins;
