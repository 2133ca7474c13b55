//! A valid outbox, damaged as the input says, 7 bytes a damage: it opens with what it held, or is refused.
//!
//! `cargo +nightly fuzz run outbox_recovery`

#![no_main]

#[path = "../../crates/outbox/tests/outbox/damage/mod.rs"]
mod damage;

// libFuzzer's own hook ends the run at every panic, also at one of redb that the outbox catches and reports as damage. With this hook
// they are printed, and the run ends at those that nobody catches.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))),
    |input: &[u8]| {
        damage::check(input);
    }
);
