//! HLS: any bytes as an MPEG-TS segment keep the invariants of the tests.
//!
//! `cargo +nightly fuzz run hls_ts fuzz/corpus/hls_ts crates/kvs-hls/testdata/ts`

#![no_main]

#[path = "../../crates/kvs-hls/tests/segments/invariants.rs"]
#[expect(dead_code, reason = "each target checks one kind of input")]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::check_ts(input));
