//! Access units and codec private data: any bytes are read as a simple twin reads them.
#![expect(clippy::expect_used, reason = "a test panics on the first failure")]

mod round_trip;
mod seeds;
