//! Models: stateright explores the step functions of this crate under every order of messages, loss, repeats and crashes.
//!
//! Each model runs the code that production runs. Time is abstract: a timer may fire at any moment after it was set.

mod pool;
mod write_ahead;
