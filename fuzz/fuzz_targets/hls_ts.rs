//! HLS: any bytes as a segment of MPEG-TS, which keeps what `invariants` promises.
//!
//! `cargo +nightly fuzz run hls_ts fuzz/corpus/hls_ts crates/kvs-hls/testdata/ts`

#![no_main]

#[path = "../../crates/kvs-hls/tests/segments/invariants.rs"]
#[expect(dead_code, reason = "each target checks its own kind of input")]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::check_ts(input));
