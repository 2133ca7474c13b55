//! Parsing that the requests of several operations share.

pub(crate) mod body;
pub(crate) mod stream_reference;
pub(crate) mod values;
