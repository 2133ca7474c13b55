//! Any bytes, cut where the input says: both layers keep what `invariants` promises.
//!
//! `cargo +nightly fuzz run reader fuzz/corpus/reader crates/kvs-mkv/testdata`

#![no_main]

#[path = "../../crates/kvs-mkv/tests/invariants/mod.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::check(input));
