//! The errors of the source stage, each with its remedy, its metric label and its longest retry delay.

use std::time::Duration;

use thiserror::Error;

/// A failed request or a broken connection.
///
/// The camera recovers from each variant by connecting again after a delay; the text names what an operator can do.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The stream does not exist; it may still be created.
    #[error(
        "stream {stream:?} does not exist in this account and region: create it, or correct kvs_stream_name"
    )]
    NoSuchStream {
        /// The stream's name.
        stream: String,
    },
    /// The stream exists, but HLS has no fragment of the requested range: the camera is off, or nothing is retained.
    #[error(
        "stream {stream:?} has no footage for HLS: check that its camera sends, and that the stream has a data retention"
    )]
    NoFootage {
        /// The stream's name.
        stream: String,
    },
    /// The credentials do not allow the action.
    #[error("not allowed to {action} on stream {stream:?}: {message}; {remedy}")]
    NotAuthorized {
        /// The stream's name.
        stream: String,
        /// The action, as IAM names it.
        action: &'static str,
        /// The service's message.
        message: String,
        /// The permission to grant, or another remedy.
        remedy: String,
    },
    /// The service throttles calls or connections.
    #[error(
        "throttled by {action} on stream {stream:?} ({code}): at most 3 readers by GetMedia, 5 of the archive, and 5 calls/s per stream"
    )]
    Throttled {
        /// The stream's name.
        stream: String,
        /// The action that was throttled.
        action: &'static str,
        /// The service's error code.
        code: String,
    },
    /// The endpoint does not serve this stream any more: GetDataEndpoint returns the new one.
    #[error("the data endpoint of stream {stream:?} has moved")]
    EndpointMoved {
        /// The stream's name.
        stream: String,
    },
    /// No credentials are available to sign the request.
    #[error("no AWS credentials for {action} on stream {stream:?}: {message}")]
    NoCredentials {
        /// The stream's name.
        stream: String,
        /// The action that needs credentials.
        action: &'static str,
        /// The providers that were tried, and the remedy.
        message: String,
    },
    /// The service rejected the signature: the credentials are expired or wrong, or the host's clock is.
    #[error("the signature of {action} on stream {stream:?} is rejected: {message}; {remedy}")]
    Signature {
        /// The stream's name.
        stream: String,
        /// The action whose signature was rejected.
        action: &'static str,
        /// The service's error code and message.
        message: String,
        /// The remedy.
        remedy: String,
    },
    /// The service cannot be reached.
    #[error("{action} on stream {stream:?} cannot reach the service: {message}; {remedy}")]
    Unreachable {
        /// The stream's name.
        stream: String,
        /// The action that was requested.
        action: &'static str,
        /// The chain of causes.
        message: String,
        /// The remedy.
        remedy: String,
    },
    /// The service returned any other error.
    #[error("{action} on stream {stream:?} failed: {message}")]
    Failed {
        /// The stream's name.
        stream: String,
        /// The action that failed.
        action: &'static str,
        /// The chain of causes.
        message: String,
    },
    /// The service did not answer in time.
    #[error(
        "{action} on stream {stream:?}: no answer within {limit_s} s; check the network and proxies on the way"
    )]
    NoAnswer {
        /// The stream's name.
        stream: String,
        /// The action that was requested.
        action: &'static str,
        /// The timeout, s.
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
    /// Returns the upper bound of the delay before the next attempt.
    #[must_use]
    pub fn max_wait(&self) -> Duration {
        match self {
            // Conditions that end by themselves: a short delay limits how much footage expires meanwhile.
            Self::Unreachable { .. }
            | Self::NoAnswer { .. }
            | Self::Broken { .. }
            | Self::EndpointMoved { .. }
            | Self::NoSuchStream { .. }
            | Self::NoFootage { .. } => Duration::from_secs(15),
            // Conditions that an operator has to fix, and throttling, which frequent attempts would prolong.
            Self::NotAuthorized { .. }
            | Self::NoCredentials { .. }
            | Self::Signature { .. }
            | Self::Throttled { .. }
            | Self::Failed { .. } => Duration::from_secs(60),
        }
    }

    /// Returns the label of the error in metrics and on /healthz.
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
