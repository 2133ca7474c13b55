//! The configuration: any text, read or told well, as `invariants` promises.
//!
//! `cargo +nightly fuzz run config fuzz/corpus/config crates/kvs-config/testdata`

#![no_main]

#[path = "../../crates/kvs-config/tests/document/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::check(input));
