//! The operations of Kinesis Video Streams over HTTP: a folder per service of AWS, and the parts that they share.

pub(crate) mod archive;
pub(crate) mod control;
mod fault_middleware;
mod faults;
pub(crate) mod image_maker;
pub(crate) mod media;
mod origin_guard;
mod request;
pub(crate) mod routes;
pub(crate) mod state;
