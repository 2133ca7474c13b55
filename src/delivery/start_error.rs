//! The reasons why an outbox cannot start.

/// Reason why an outbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The outbox on disk cannot be opened.
    #[error("{0} (state.dir)")]
    State(#[from] ::outbox::OpenError),
    /// A sink cannot be used.
    #[error("{why}")]
    Sink {
        /// Name of the sink.
        sink: String,
        /// Cause and remedy.
        why: String,
    },
    /// An AWS service is configured, and there are no clients: a bug.
    #[error("{sink} is configured, but the outbox was started without AWS clients")]
    NoClients {
        /// Name of the sink.
        sink: String,
    },
    /// The outbox was opened without one of its sinks: a bug.
    #[error("the outbox was opened without its sink {sink}")]
    NoSink {
        /// Name of the sink.
        sink: String,
    },
    /// The waiting records cannot be read.
    #[error("{0} (state.dir)")]
    Read(#[from] ::outbox::ReadError),
}
