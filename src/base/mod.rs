//! Helpers that several modules share and that know nothing of cameras.

mod backoff;
mod causes;
mod digest;
mod epoch;
mod free_memory;
mod host_name;
mod lock;
mod log_limit;
mod private_file;
mod probe;
mod stopwatch;
mod text_file;
mod untrusted;
mod writable;

pub use backoff::Backoff;
pub use causes::causes;
pub use digest::{hex, sha256_of};
pub use epoch::{epoch_ms, epoch_ms_of};
pub use free_memory::return_free_memory;
pub(crate) use host_name::host_name;
pub(crate) use lock::lock;
pub(crate) use log_limit::{LogLimit, LogLine};
pub use private_file::{make_private_folder, make_private_subfolder, private_file};
pub use probe::{Asks, Finding, Probe, ProbeOccasion, ProbeResult, Verdict};
pub(crate) use stopwatch::process_cpu_time;
pub use stopwatch::{Stopwatch, Took};
pub use text_file::{open_regular, read_bounded, read_to_limit};
pub use untrusted::{MAX_MESSAGE_CHARS, MAX_NAME_CHARS, clean_text, escaped};
pub use writable::{Unwritable, can_be_written, nearest, storage_remedy};
