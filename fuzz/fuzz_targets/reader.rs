//! Matroska: any bytes, cut into the pieces that the input describes, keep the invariants of the tests in
//! both readers.
//!
//! `cargo +nightly fuzz run reader fuzz/corpus/reader crates/kvs-mkv/testdata`

#![no_main]

use test_support::invariants::matroska;

libfuzzer_sys::fuzz_target!(|input: &[u8]| matroska::check(input));
