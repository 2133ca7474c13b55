//! A valid outbox with the damage that the input describes, 7 bytes per change: it opens with its content or
//! is rejected.
//!
//! `cargo +nightly fuzz run outbox_recovery`

#![no_main]

#[path = "../../crates/outbox/tests/outbox/damage/mod.rs"]
mod damage;

// libFuzzer's own panic hook ends the run at each panic, also at one of redb that the outbox catches and
// reports as damage. This hook only prints panics, so that the run ends at uncaught ones alone.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))),
    |input: &[u8]| {
        damage::check(input);
    }
);
