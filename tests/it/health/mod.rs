//! How nodes are found to be: roles, positions, replay, failures, logins; on a real primary with
//! two streaming replicas.

mod failover;
mod logins;
mod outage;
mod replay;
mod world;
