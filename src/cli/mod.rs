//! One file a command.

pub mod check;
pub mod config_args;
pub mod healthcheck;
pub mod schema;
