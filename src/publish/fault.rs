//! Why an AWS service refused, for people and for metrics.

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

use crate::base::causes;

/// What a sink does about a fault that nothing better is known of.
const TRIED_AGAIN: &str = "it is tried again";

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// One of few: the service's error code, or how the call went wrong.
    pub(super) code: String,
    /// What the service or the client says.
    pub(super) text: String,
}

impl Fault {
    /// From what the SDK returned.
    pub(super) fn of<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        let code = match error {
            SdkError::ServiceError(service) => service.err().code().unwrap_or("Unknown"),
            SdkError::TimeoutError(_) => "timeout",
            SdkError::DispatchFailure(_) => "unreachable",
            SdkError::ResponseError(_) => "bad_response",
            _ => "not_sent",
        };
        let text = match error {
            SdkError::ServiceError(service) => service.err().message().unwrap_or("no message").to_owned(),
            other => causes(other),
        };
        Self { code: code.to_owned(), text }
    }

    /// Whether the role may not do this.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self.code.as_str(), "AccessDenied" | "AccessDeniedException")
    }

    /// For a person: where, what, and what to do.
    pub(super) fn told(&self, place: &str, remedy: Option<&str>) -> String {
        format!("{place}: {}: {}; {}", self.code, self.text, remedy.unwrap_or(TRIED_AGAIN))
    }
}
