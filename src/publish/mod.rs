//! events -> the world: the commit at a fragment's end, and the sinks.

mod spec;

pub use spec::{PublishSpec, Route, S3Spec, SnapshotFormat, SnapshotRoute, SnapshotSpec, Sse};
