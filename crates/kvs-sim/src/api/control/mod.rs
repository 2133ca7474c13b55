//! The control plane: operations of the service kinesisvideo.

pub(crate) mod retention;
pub(crate) mod streams;
pub(crate) mod tags;
