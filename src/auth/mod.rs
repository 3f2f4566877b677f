//! Proving who somebody is: passwords, SCRAM, certificates, and what logins are checked against.
//! No I/O.

pub mod cert;
pub mod messages;
pub mod password;
pub mod scram;
pub mod verifier;
