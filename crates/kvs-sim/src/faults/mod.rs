//! Faults on demand: their description, their text form, and their effect.

pub(crate) mod active;
pub(crate) mod connection;
pub(crate) mod mix;
pub(crate) mod model;
pub(crate) mod parse;
pub(crate) mod stream;
