//! Small things that several stages stand on.

mod backoff;
mod causes;
mod digest;
mod epoch;
mod probe;
mod stopwatch;
mod writable;

pub use backoff::Backoff;
pub use causes::causes;
pub use digest::{hex, sha256_of};
pub use epoch::{epoch_ms, epoch_ms_of};
pub use probe::{Asks, Finding, Probe, Verdict};
pub use stopwatch::{Stopwatch, Took};
pub use writable::{Unwritable, can_be_written, nearest, storage_remedy};
