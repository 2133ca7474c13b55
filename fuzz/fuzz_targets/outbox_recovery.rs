//! A valid outbox with the damage that the input describes, 7 bytes per change: it opens with its content or
//! is rejected.
//!
//! `cargo +nightly fuzz run outbox_recovery`

#![no_main]

use test_support::invariants::damaged_outbox;

// libFuzzer's own panic hook ends the run at each panic, also at one of redb that the outbox catches and
// reports as damage. This hook only prints panics, so that the run ends at uncaught ones alone.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))),
    |input: &[u8]| {
        damaged_outbox::check(input);
    }
);
