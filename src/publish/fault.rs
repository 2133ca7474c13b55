//! Why an AWS service refused, for people and for metrics.

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

use crate::base::causes;

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
}
