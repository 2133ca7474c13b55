//! One file a command.

pub mod healthcheck;
