//! `kvs-infer`: cameras from Kinesis Video Streams in, events out.
//!
//! The first six modules are the way of a frame, in its order: source -> demux -> decode -> detect -> decide -> publish.

pub mod source;

pub mod demux;

pub mod decode;

pub mod detect;

pub mod decide;

pub mod publish;

pub mod camera;
pub mod service;

pub mod aws;
pub mod base;
pub mod cli;
pub mod config;
pub mod eval;
pub mod frame;
pub mod http;
pub mod remote;
pub mod telemetry;
