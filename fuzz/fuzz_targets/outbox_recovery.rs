//! A valid outbox, damaged as the input says, 7 bytes a damage: it opens with what it held, or is refused.
//!
//! `cargo +nightly fuzz run outbox_recovery`

#![no_main]

#[path = "../../crates/outbox/tests/outbox/damage/mod.rs"]
mod damage;

// libFuzzer ends at any panic, also at one of redb that the outbox catches and reports; the default hook is enough to see those
// that are not caught, since the harness ends at them.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))),
    |input: &[u8]| {
        damage::check(input);
    }
);
