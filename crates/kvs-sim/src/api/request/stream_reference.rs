//! The stream that a request is about.

use std::sync::Arc;

use axum::http::HeaderMap;
use serde::Deserialize;

use crate::error::ApiError;
use crate::identifiers::region::Region;
use crate::identifiers::stream_arn::StreamArn;
use crate::identifiers::stream_name::check_name;
use crate::store::stream::Stream;
use crate::store::streams::Store;

/// A stream by its name, its ARN, or both.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StreamReference {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
}

impl StreamReference {
    /// As the headers of PutMedia name it.
    pub(crate) fn of_headers(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        Self { stream_name: text("x-amzn-stream-name"), stream_arn: text("x-amzn-stream-arn") }
    }

    /// The stream meant, in the region of the request.
    ///
    /// Errors: none is named, or two; a name or ARN is malformed; there is no such stream in the region.
    pub(crate) fn find(&self, store: &Store, region: &Region) -> Result<Arc<Stream>, ApiError> {
        if let Some(name) = &self.stream_name {
            check_name(name)?;
        }
        match (&self.stream_name, self.arn()?) {
            (None, None) => Err(ApiError::InvalidArgument(
                "StreamName or StreamARN is needed, of PutMedia x-amzn-stream-name or x-amzn-stream-arn"
                    .to_owned(),
            )),
            (Some(name), None) => store.stream_of(region, name),
            (None, Some((text, arn))) => store.stream_of_arn(region, text, &arn),
            (Some(name), Some((text, arn))) if *name == arn.name => store.stream_of_arn(region, text, &arn),
            (Some(name), Some((_, arn))) => Err(ApiError::InvalidArgument(format!(
                "StreamName \"{name}\" and StreamARN name two streams, the other is \"{}\"; give one of them",
                arn.name
            ))),
        }
    }

    /// As [`find`](Self::find), for the operations of tags, which have an exception of their own for a malformed ARN.
    pub(crate) fn find_tagged(&self, store: &Store, region: &Region) -> Result<Arc<Stream>, ApiError> {
        self.arn().map_err(|_| ApiError::InvalidResourceFormat)?;
        self.find(store, region)
    }

    fn arn(&self) -> Result<Option<(&str, StreamArn)>, ApiError> {
        let Some(text) = &self.stream_arn else { return Ok(None) };
        let wrong = || {
            let shown: String = text.chars().take(100).collect();
            ApiError::InvalidArgument(format!(
                "StreamARN \"{shown}\": one such as arn:aws:kinesisvideo:us-east-1:123456789012:stream/NAME/1 is needed"
            ))
        };
        text.parse().map(|arn| Some((text.as_str(), arn))).map_err(|()| wrong())
    }
}
