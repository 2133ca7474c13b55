//! H.264 and H.265: any bytes as codec private data and an access unit keep the invariants of the tests.
//!
//! `cargo +nightly fuzz run access_unit fuzz/corpus/access_unit crates/h26x/testdata/access_unit`

#![no_main]

#[path = "../../crates/h26x/tests/access_unit/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::check(input));
