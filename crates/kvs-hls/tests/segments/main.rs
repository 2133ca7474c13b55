//! Segments from outside: what is written is read, by us and by FFmpeg; what FFmpeg writes is read; any bytes are.
#![expect(clippy::expect_used, clippy::panic, reason = "a test stops where something is wrong")]

mod ffmpeg;
mod invariants;
#[path = "../../../h26x/tests/access_unit/parameter_sets.rs"]
mod parameter_sets;
mod player;
mod read_ffmpeg;
mod round_trip;
mod seeds;
mod traps;
mod written;
