//! H.264 and H.265: any bytes as codec private data and an access unit keep the invariants of the tests.
//!
//! `cargo +nightly fuzz run access_unit fuzz/corpus/access_unit crates/h26x/testdata/access_unit`

#![no_main]

use test_support::invariants::access_unit;

libfuzzer_sys::fuzz_target!(|input: &[u8]| access_unit::check(input));
