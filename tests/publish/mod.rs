//! The stage publish: the sinks on a real disk, and through the real SDKs against moto.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot set up, it fails on")]

mod adoption;
mod answers;
mod aws;
mod crowd;
pub(crate) mod dynamodb;
pub(crate) mod event;
pub(crate) mod fake_kinesis;
mod history;
mod local;
mod other_servers;
pub(crate) mod positions;
mod shared;
mod sns;
mod write_ahead;
