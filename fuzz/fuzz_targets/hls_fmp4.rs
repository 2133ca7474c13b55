//! HLS: any bytes as an initialisation segment and as a media segment keep the invariants of the tests.
//!
//! `cargo +nightly fuzz run hls_fmp4 fuzz/corpus/hls_fmp4 crates/kvs-hls/testdata/fmp4`

#![no_main]

use test_support::invariants::segments;

libfuzzer_sys::fuzz_target!(|input: &[u8]| segments::check_fmp4(input));
