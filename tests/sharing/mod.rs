//! The tables of a pool through the real SDK, against moto.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot set up, it fails on")]

mod calls;
mod pool_view;
mod shared_items;
mod shared_table;
