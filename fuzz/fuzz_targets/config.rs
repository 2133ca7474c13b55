//! The configuration: any text is read or rejected with a clear error, as the invariants of the tests
//! require.
//!
//! `cargo +nightly fuzz run config fuzz/corpus/config crates/kvs-config/testdata`

#![no_main]

use test_support::invariants::configuration;

libfuzzer_sys::fuzz_target!(|input: &[u8]| configuration::check(input));
