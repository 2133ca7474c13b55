//! The stream that a request names.

use std::sync::Arc;

use axum::http::HeaderMap;
use serde::Deserialize;

use crate::error::ApiError;
use crate::identifiers::region::Region;
use crate::identifiers::stream_arn::StreamArn;
use crate::identifiers::stream_name::check_stream_name;
use crate::store::stream::KvsStream;
use crate::store::streams::StreamStore;

/// A stream's name, its ARN, or both.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StreamReference {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
}

impl StreamReference {
    /// Reads the headers of PutMedia, whose body is media.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        Self { stream_name: text("x-amzn-stream-name"), stream_arn: text("x-amzn-stream-arn") }
    }

    /// Returns the stream, which must be in the region of the request.
    ///
    /// Fails if none is named, or two different ones; if a name or ARN is malformed; if the region has no such stream.
    pub(crate) fn find(&self, store: &StreamStore, region: &Region) -> Result<Arc<KvsStream>, ApiError> {
        if let Some(name) = &self.stream_name {
            check_stream_name(name)?;
        }
        match (&self.stream_name, self.arn()?) {
            (None, None) => Err(ApiError::InvalidArgument(
                "StreamName or StreamARN is needed; PutMedia takes the header x-amzn-stream-name or x-amzn-stream-arn"
                    .to_owned(),
            )),
            (Some(name), None) => store.stream_by_name(region, name),
            (None, Some((text, arn))) => store.stream_by_arn(region, text, &arn),
            // The SDKs send both if a caller gives both.
            (Some(name), Some((text, arn))) if *name == arn.name => store.stream_by_arn(region, text, &arn),
            (Some(name), Some((_, arn))) => Err(ApiError::InvalidArgument(format!(
                "StreamName \"{name}\" and StreamARN name two streams, the other is \"{}\"; give one of them",
                arn.name
            ))),
        }
    }

    /// Does the same as [`find`](Self::find) for the operations on tags, which have their own exception for a malformed ARN.
    pub(crate) fn find_for_tags(
        &self,
        store: &StreamStore,
        region: &Region,
    ) -> Result<Arc<KvsStream>, ApiError> {
        self.arn().map_err(|_| ApiError::InvalidResourceFormat)?;
        self.find(store, region)
    }

    fn arn(&self) -> Result<Option<(&str, StreamArn)>, ApiError> {
        let Some(text) = &self.stream_arn else { return Ok(None) };
        let invalid = || {
            let shown: String = text.chars().take(100).collect();
            ApiError::InvalidArgument(format!(
                "StreamARN \"{shown}\" is not valid; an ARN such as \
                 arn:aws:kinesisvideo:us-east-1:123456789012:stream/NAME/1 is needed"
            ))
        };
        text.parse().map(|arn| Some((text.as_str(), arn))).map_err(|()| invalid())
    }
}
