//! Events survive SIGKILL: the built binary reads stored footage, is killed at random moments and started again, while Kinesis,
//! DynamoDB and S3 fail now and then. In the end all is there as after a run without kills and faults.
//!
//! `KILLS` says how many (40), `KILLS_SEED` repeats the moments of a run that printed its seed; `make kills N=1000` sets the first.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what a test cannot set up, it fails on; its figure is printed"
)]

mod aws;
mod cluster;
mod footage;
mod killing;
mod lives;
mod verdict;
