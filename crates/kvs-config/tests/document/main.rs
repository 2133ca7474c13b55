//! Any text as a configuration: it is read and survives a round trip, or its mistakes are reported well.
#![expect(clippy::expect_used, clippy::panic, reason = "a failed test panics")]

mod invariants;
mod limits;
mod seeds;
