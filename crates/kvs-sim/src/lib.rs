//! A local Kinesis Video Streams.
