//! Faults on demand.
//!
//! `model` describes them, `parse` reads and writes them as text, `active` counts what remains of them, `connection` and `stream`
//! apply them to a connection's body. Those that answer a call are applied in `api/fault_middleware.rs`.

pub(crate) mod active;
pub(crate) mod connection;
pub(crate) mod mix;
pub(crate) mod model;
pub(crate) mod parse;
pub(crate) mod stream;
