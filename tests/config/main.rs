//! The configuration: what a file comes to mean, what a person is told of its mistakes, and the files under `config/`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test needs must be there")]

mod classes;
mod errors;
mod files;
mod meant;
mod mutated;
