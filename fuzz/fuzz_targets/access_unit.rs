//! H.264 and H.265: any bytes as the private data of a track and an access unit of it, which keep what `invariants`
//! promises.
//!
//! `cargo +nightly fuzz run access_unit fuzz/corpus/access_unit crates/h26x/testdata/access_unit`

#![no_main]

#[path = "../../crates/h26x/tests/access_unit/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::check(input));
