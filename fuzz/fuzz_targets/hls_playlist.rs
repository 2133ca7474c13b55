//! HLS: any text as a master playlist and as a media playlist keeps the invariants of the tests.
//!
//! `cargo +nightly fuzz run hls_playlist fuzz/corpus/hls_playlist crates/kvs-hls/testdata/playlist`

#![no_main]

#[path = "../../crates/kvs-hls/tests/segments/invariants.rs"]
#[expect(dead_code, reason = "each target checks one kind of input")]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::check_playlist(input));
