//! Segments through the public API: written ones are read back and played by FFmpeg, FFmpeg's are read, and
//! any bytes are read or rejected.
#![expect(clippy::expect_used, clippy::panic, reason = "a test panics on the first failure")]

mod ffmpeg;
mod player;
mod read_ffmpeg;
mod round_trip;
mod seeds;
mod traps;
mod written;
