//! Read replicas: which transactions reach them, what these see, what clients are told when
//! something is not for a replica or a replica is not there.

mod configured;
mod fresh;
mod gone;
mod hints;
mod opening;
mod settings;
mod spread;
mod unfit;
