//! The destinations of events, one folder each.

pub(crate) mod dynamodb;
pub(crate) mod each;
pub(crate) mod kinesis;
pub(crate) mod local;
pub(crate) mod s3;

pub(crate) use local::{EVENTS_FILE, EVENTS_FILES};
