//! Logins end to end: every method, transport, kind of evidence and way to be refused, on both
//! sides of the proxy, against real PostgreSQL through a real [`tenantry::app::App`].
//!
//! The client is one of its own ([`client`], [`login`]): it shares no code with the proxy, shows
//! every byte that it was sent, and can do what no driver does.

mod bounds;
mod client;
mod evidence;
mod login;
mod methods;
mod pki;
mod protocol;
mod refusals;
mod rotation;
mod servers;
mod storm;
mod world;
