//! Access units and the private data of their tracks: any bytes are read as an obvious twin reads them.
#![expect(clippy::expect_used, reason = "a test stops where something is wrong")]

mod invariants;
mod parameter_sets;
mod round_trip;
mod seeds;
