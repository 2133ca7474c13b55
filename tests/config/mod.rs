//! The configuration: the settings of a file, the reports of mistakes, and the files under `config/`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod classes;
mod errors;
mod files;
mod mutated;
mod settings;
mod sharing;
mod twins;
