//! HLS: any bytes as an initialisation segment and as a media segment, which keeps what `invariants` promises.
//!
//! `cargo +nightly fuzz run hls_fmp4 fuzz/corpus/hls_fmp4 crates/kvs-hls/testdata/fmp4`

#![no_main]

#[path = "../../crates/kvs-hls/tests/segments/invariants.rs"]
#[expect(dead_code, reason = "each target checks its own kind of input")]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::check_fmp4(input));
