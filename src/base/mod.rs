//! Small things that several stages stand on.

mod backoff;
mod causes;
mod closest;
mod epoch;
mod stopwatch;

pub use backoff::Backoff;
pub use causes::causes;
pub use closest::closest;
pub use epoch::{epoch_ms, epoch_ms_of};
pub use stopwatch::{Stopwatch, Took};
