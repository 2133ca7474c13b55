//! Clips that play into a stream as a camera would send them.

pub(crate) mod clip;
mod container;
mod dump;
pub(crate) mod error;
mod event;
mod parameters;
pub(crate) mod player;
