//! Names and numbers that identify streams, regions and fragments.

pub(crate) mod fragment_number;
pub(crate) mod region;
pub(crate) mod stream_arn;
pub(crate) mod stream_name;
