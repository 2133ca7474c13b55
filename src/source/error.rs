//! Why a connection could not be made or went away, and what to do about it.

use std::time::Duration;

use thiserror::Error;

/// A failed request or connection. Every variant is cured by connecting again after a wait; the text says what a person can do.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The stream is not there; it may be created yet.
    #[error(
        "stream {stream:?} does not exist in this account and region: create it, or correct kvs_stream_name"
    )]
    NoSuchStream {
        /// Its name.
        stream: String,
    },
    /// The stream is there, and keeps nothing of what is asked for: its camera is off, or it has no retention.
    #[error(
        "stream {stream:?} has no footage for HLS: its camera sends nothing, or the stream keeps nothing (HLS needs retention)"
    )]
    NoFootage {
        /// Its name.
        stream: String,
    },
    /// The credentials may not read it.
    #[error("not allowed to {action} on stream {stream:?}: {message}; {remedy}")]
    NotAuthorized {
        /// The stream's name.
        stream: String,
        /// The action as IAM names it.
        action: &'static str,
        /// What the service said.
        message: String,
        /// The remedy.
        remedy: String,
    },
    /// The service asks for fewer calls or connections.
    #[error(
        "throttled by {action} on stream {stream:?} ({code}): at most 3 GetMedia readers and 5 calls/s a stream"
    )]
    Throttled {
        /// The stream's name.
        stream: String,
        /// The action.
        action: &'static str,
        /// The error's code.
        code: String,
    },
    /// The endpoint does not serve this stream: ask for it again.
    #[error("the data endpoint of stream {stream:?} has moved")]
    EndpointMoved {
        /// The stream's name.
        stream: String,
    },
    /// There are no credentials to sign with.
    #[error("no AWS credentials for {action} on stream {stream:?}: {message}")]
    NoCredentials {
        /// The stream's name.
        stream: String,
        /// The action.
        action: &'static str,
        /// What was tried, and what to do.
        message: String,
    },
    /// The service does not take our signature: the credentials have expired or are wrong, or our clock is.
    #[error("the signature of {action} on stream {stream:?} is refused: {message}; {remedy}")]
    Signature {
        /// The stream's name.
        stream: String,
        /// The action.
        action: &'static str,
        /// The error's code, and what the service said.
        message: String,
        /// The remedy.
        remedy: String,
    },
    /// Nobody answers there.
    #[error("{action} on stream {stream:?} reaches nobody: {message}; {remedy}")]
    Unreachable {
        /// The stream's name.
        stream: String,
        /// The action.
        action: &'static str,
        /// The chain of causes.
        message: String,
        /// The remedy.
        remedy: String,
    },
    /// The service answered something else.
    #[error("{action} on stream {stream:?} failed: {message}")]
    Failed {
        /// The stream's name.
        stream: String,
        /// The action.
        action: &'static str,
        /// The chain of causes.
        message: String,
    },
    /// No answer in time.
    #[error(
        "{action} on stream {stream:?}: no answer within {limit_s} s; check the network and proxies on the way"
    )]
    NoAnswer {
        /// The stream's name.
        stream: String,
        /// The action.
        action: &'static str,
        /// The limit, s.
        limit_s: u64,
    },
    /// An open connection broke.
    #[error("the connection to stream {stream:?} broke: {message}")]
    Broken {
        /// The stream's name.
        stream: String,
        /// The chain of causes.
        message: String,
    },
}

impl SourceError {
    /// The longest wait before it is tried again: what comes back by itself is asked often, what somebody must mend seldom.
    #[must_use]
    pub fn most_wait(&self) -> Duration {
        match self {
            Self::Unreachable { .. }
            | Self::NoAnswer { .. }
            | Self::Broken { .. }
            | Self::EndpointMoved { .. }
            | Self::NoSuchStream { .. }
            | Self::NoFootage { .. } => Duration::from_secs(15),
            Self::NotAuthorized { .. }
            | Self::NoCredentials { .. }
            | Self::Signature { .. }
            | Self::Throttled { .. }
            | Self::Failed { .. } => Duration::from_secs(60),
        }
    }

    /// A short name for metrics and /healthz.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoSuchStream { .. } => "no_such_stream",
            Self::NoFootage { .. } => "no_footage",
            Self::NotAuthorized { .. } => "not_authorized",
            Self::Throttled { .. } => "throttled",
            Self::EndpointMoved { .. } => "endpoint_moved",
            Self::NoCredentials { .. } => "no_credentials",
            Self::Signature { .. } => "signature_refused",
            Self::Unreachable { .. } => "unreachable",
            Self::Failed { .. } => "request_failed",
            Self::NoAnswer { .. } => "no_answer",
            Self::Broken { .. } => "connection_broken",
        }
    }
}
