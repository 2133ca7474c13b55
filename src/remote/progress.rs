//! Progress of a file that is being fetched.

use std::fmt;

/// Progress of a file that is being fetched, displayed as the second half of a sentence: "is being fetched: 3 of 9 MB".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchProgress<'a> {
    /// Another process is fetching the file into the same folder.
    Waiting {
        /// Process id and host of that process, from its lock file.
        holder: &'a str,
    },
    /// Bytes are arriving.
    Fetching {
        /// Bytes received so far.
        done_bytes: u64,
        /// Length of the file, if the server sends it.
        total_bytes: Option<u64>,
    },
    /// An attempt failed, and another follows.
    Failed {
        /// Reason of the failure.
        why: &'a str,
    },
    /// The server could not say whether the file has changed, so the cached content is used.
    UsingCached {
        /// Reason for which the server gave no answer.
        why: &'a str,
    },
}

impl fmt::Display for FetchProgress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| bytes.div_ceil(1_000_000);
        match *self {
            Self::Waiting { holder } => write!(f, "is being fetched by {holder}"),
            Self::Fetching { done_bytes, total_bytes: Some(total) } => {
                write!(f, "is being fetched: {} of {} MB", mb(done_bytes), mb(total))
            }
            Self::Fetching { done_bytes, total_bytes: None } => {
                write!(f, "is being fetched: {} MB so far", mb(done_bytes))
            }
            Self::Failed { why } => write!(f, "was not fetched and is tried again: {why}"),
            Self::UsingCached { why } => write!(f, "is used from the cache: {why}"),
        }
    }
}

/// Callback for the progress of a file. It is called between two reads of the network, so it must not block.
pub(super) type OnProgress<'a> = &'a (dyn Fn(FetchProgress<'_>) + Send + Sync);
