//! The console, from outside: who gets in, what it says, what its commands do to running clients.

mod counts;
mod login;
mod orders;
mod process;
mod protocol;
mod replicas;
mod rows;
mod world;
