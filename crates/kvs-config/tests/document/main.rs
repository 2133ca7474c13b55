//! Any text as a configuration: read or told well, and what is read comes back.
#![expect(clippy::expect_used, clippy::panic, reason = "a test stops where something is wrong")]

mod invariants;
mod limits;
mod seeds;
