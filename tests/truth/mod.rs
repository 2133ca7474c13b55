//! Every rule of decide on footage whose truth is exact, coloured boxes of our own, and on real footage that was looked at; through
//! the whole binary and the local KVS.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test cannot set up, it fails on"
)]
#![expect(clippy::print_stderr, reason = "a test that compares nothing says so")]

mod evaluation;
mod footage;
mod masks;
mod painting;
mod plates;
mod rules;
