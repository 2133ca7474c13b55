//! The fault matrix: each fault, what the program reports of it, that it ends, and what it loses.
//!
//! `table.rs` lists the faults; the tests make them, and docs/operations.md shows them. `make faults` runs all at full length,
//! `make soak` longer still; without `KVS_INFER_FAULTS` each test is as short as it can be.
//!
//! Figures are printed under the number of the requirement that they show:
//!
//! - R3: connections that end early or inside a block leave no gap in the fragments, and nothing is read twice.
//! - R4: a connection that falls silent is noticed within 4 s, or within 2.5 times the stream's usual gap.
//! - R5: in live mode, at three times the load that can be borne, the lag of delivered events is at most 2 s, p99.
//! - R6: resident memory stays within 5 MB over 10,000 reconnections.
//! - R7: a hostile stream costs the cameras beside it no frame.
//! - R11: each fault shows in `/healthz` and in a metric, and both show its end.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what a test cannot set up, it fails on; figures are for people"
)]

mod cameras;
mod disk;
mod document;
mod endings;
mod host;
mod hostile;
mod kds_away;
mod late;
mod loading;
mod overload;
mod reconnects;
mod sinks;
mod table;
mod undecodable;
mod watch;
