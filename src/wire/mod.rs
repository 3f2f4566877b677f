//! The PostgreSQL protocol (version 3, manual chapter 55) without I/O.

pub mod frame;
pub mod proxy_header;
pub mod sql;
pub mod startup;
