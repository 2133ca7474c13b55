//! Any text as a configuration: it is read and survives a round trip, or its mistakes are reported well.
#![expect(clippy::expect_used, reason = "a failed test panics")]

mod limits;
mod seeds;
