//! HLS: any bytes as an MPEG-TS segment keep the invariants of the tests.
//!
//! `cargo +nightly fuzz run hls_ts fuzz/corpus/hls_ts crates/kvs-hls/testdata/ts`

#![no_main]

use test_support::invariants::segments;

libfuzzer_sys::fuzz_target!(|input: &[u8]| segments::check_ts(input));
