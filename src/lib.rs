//! `kvs-infer`: cameras from Kinesis Video Streams in, events out.
//!
//! The modules stand in the order of a frame's way: source -> demux -> decode -> detect -> decide -> publish.

pub mod frame;

pub mod decide;
pub mod decode;
pub mod detect;
pub mod publish;

pub mod cli;
pub mod telemetry;
