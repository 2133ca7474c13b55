//! `kvs-infer`: cameras from Kinesis Video Streams in, events out.
//!
//! The modules stand in the order of a frame's way: source -> demux -> decode -> detect -> decide -> publish.

pub mod frame;

pub mod source;

pub mod demux;

pub mod decode;

pub mod detect;

pub mod decide;

pub mod publish;

pub mod base;
pub mod cli;
pub mod telemetry;
