//! HLS: any text as a master and as a media playlist, which keeps what `invariants` promises.
//!
//! `cargo +nightly fuzz run hls_playlist fuzz/corpus/hls_playlist crates/kvs-hls/testdata/playlist`

#![no_main]

#[path = "../../crates/kvs-hls/tests/segments/invariants.rs"]
#[expect(dead_code, reason = "each target checks its own kind of input")]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::check_playlist(input));
