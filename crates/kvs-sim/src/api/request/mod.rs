//! The parts that requests have in common.

pub(crate) mod body;
pub(crate) mod stream_reference;
pub(crate) mod values;
