//! HLS: any text as a master playlist and as a media playlist keeps the invariants of the tests.
//!
//! `cargo +nightly fuzz run hls_playlist fuzz/corpus/hls_playlist crates/kvs-hls/testdata/playlist`

#![no_main]

use test_support::invariants::segments;

libfuzzer_sys::fuzz_target!(|input: &[u8]| segments::check_playlist(input));
