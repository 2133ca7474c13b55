//! Small things that several stages stand on.

mod backoff;
mod stopwatch;

pub use backoff::Backoff;
pub use stopwatch::{Stopwatch, Took};
