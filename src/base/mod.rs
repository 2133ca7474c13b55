//! Small things that several stages stand on.

mod backoff;
mod causes;
mod closest;
mod stopwatch;

pub use backoff::Backoff;
pub use causes::causes;
pub use closest::closest;
pub use stopwatch::{Stopwatch, Took};
