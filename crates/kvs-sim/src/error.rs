//! Errors of the operations, as the SDKs of AWS read them.

use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::identifiers::region::Region;
use crate::identifiers::stream_name::StreamNameError;
use crate::media_error::MediaError;

/// An error of an operation: a status, an error type in the header `x-amzn-errortype`, and a message in JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// No stream has that name or ARN.
    #[error("The requested stream is not found or not active: {stream}. Create it with CreateStream")]
    ResourceNotFound {
        /// The name or ARN asked for.
        stream: String,
    },
    /// The stream exists in another region than the one that the request is signed for.
    #[error(
        "The requested stream is not found in the region {region}, for which the request is signed: {stream} is in {has}. \
         Sign for that region, or start the local KVS with --region {region}"
    )]
    OtherRegion {
        /// The name or ARN asked for.
        stream: String,
        /// The region of the request.
        region: Region,
        /// The region of the stream.
        has: Region,
    },
    /// CreateStream with a name that is in use.
    #[error("The stream {stream} already exists; choose another name, or delete it with DeleteStream")]
    ResourceInUse {
        /// The stream's name.
        stream: String,
    },
    /// A value that the operation does not accept.
    #[error("{0}")]
    InvalidArgument(String),
    /// A malformed ARN in an operation on tags.
    #[error("The format of the StreamARN is invalid; DescribeStream returns a stream's ARN")]
    InvalidResourceFormat,
    /// More tags than a stream can have.
    #[error("The stream would have {tags} tags; {limit} are the maximum. Remove some with UntagStream")]
    TagsPerResourceExceededLimit {
        /// Tags that the stream would have.
        tags: usize,
        /// Tags that a stream can have.
        limit: usize,
    },
    /// More connections than a stream allows.
    #[error("The stream {stream} has its {limit} {operation} connection(s) already; close one first")]
    ConnectionLimitExceeded {
        /// The stream's name.
        stream: String,
        /// GetMedia or PutMedia.
        operation: &'static str,
        /// Connections that a stream allows.
        limit: usize,
    },
    /// More calls than a stream allows.
    #[error("The rate of calls for the stream {stream} is exceeded; try again later")]
    ClientLimitExceeded {
        /// The stream's name.
        stream: String,
    },
    /// A call to an endpoint that does not serve the stream.
    #[error("The stream {stream} is not served here; ask GetDataEndpoint for its endpoint")]
    InvalidEndpoint {
        /// The stream's name.
        stream: String,
    },
    /// The caller is not authorized to call the operation.
    #[error(
        "The caller is not authorized for the stream {stream}, or the credentials were rotated; get new ones"
    )]
    NotAuthorized {
        /// The stream's name.
        stream: String,
    },
    /// The temporary credentials have expired.
    #[error("The security token included in the request is expired; get new credentials")]
    ExpiredToken,
    /// The request was signed at another time than now.
    #[error("Signature expired: the request was signed more than 5 minutes from now; set the clock")]
    WrongClock,
    /// DeleteStream or UpdateDataRetention with a version that is not the stream's.
    #[error("The stream {stream} has version {version}, not the one given; ask DescribeStream for it")]
    VersionMismatch {
        /// The stream's name.
        stream: String,
        /// The stream's version.
        version: String,
    },
    /// A browser sent the request for a page of another server.
    #[error(
        "Requests of the page {origin} are not accepted: pages of other servers are allowed to play HLS and nothing else. \
         Call the local KVS from a program"
    )]
    ForeignOrigin {
        /// The page's origin.
        origin: String,
    },
    /// A path or method that the local KVS does not have.
    #[error("{0} is not an operation of this local KVS")]
    UnknownOperation(String),
    /// An error of HLS, GetClip or GetImages.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// A failure of the local KVS itself.
    #[error("The local KVS failed: {0}")]
    Internal(String),
}

impl ApiError {
    /// Returns the error for a path or method that the local KVS does not have.
    pub(crate) fn unknown_operation(method: &Method, uri: &Uri) -> Self {
        Self::UnknownOperation(format!("{method} {}", uri.path()))
    }

    fn status_and_type(&self) -> (StatusCode, &'static str) {
        match self {
            Self::ResourceNotFound { .. } | Self::OtherRegion { .. } => {
                (StatusCode::NOT_FOUND, "ResourceNotFoundException")
            }
            Self::ResourceInUse { .. } => (StatusCode::BAD_REQUEST, "ResourceInUseException"),
            Self::InvalidArgument(_) => (StatusCode::BAD_REQUEST, "InvalidArgumentException"),
            Self::InvalidResourceFormat => (StatusCode::BAD_REQUEST, "InvalidResourceFormatException"),
            Self::TagsPerResourceExceededLimit { .. } => {
                (StatusCode::BAD_REQUEST, "TagsPerResourceExceededLimitException")
            }
            Self::ConnectionLimitExceeded { .. } => {
                (StatusCode::BAD_REQUEST, "ConnectionLimitExceededException")
            }
            Self::ClientLimitExceeded { .. } => (StatusCode::BAD_REQUEST, "ClientLimitExceededException"),
            Self::InvalidEndpoint { .. } => (StatusCode::BAD_REQUEST, "InvalidEndpointException"),
            Self::NotAuthorized { .. } => (StatusCode::UNAUTHORIZED, "NotAuthorizedException"),
            Self::ExpiredToken => (StatusCode::FORBIDDEN, "ExpiredTokenException"),
            Self::WrongClock => (StatusCode::FORBIDDEN, "InvalidSignatureException"),
            Self::VersionMismatch { .. } => (StatusCode::BAD_REQUEST, "VersionMismatchException"),
            Self::ForeignOrigin { .. } => (StatusCode::FORBIDDEN, "AccessDeniedException"),
            Self::UnknownOperation(_) => (StatusCode::NOT_FOUND, "UnknownOperationException"),
            Self::Media(error) => error.status_and_type(),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error_type) = self.status_and_type();
        // The REST-JSON protocol of AWS: the SDKs take the exception's type from the header, its text from "Message".
        let body = serde_json::json!({ "Message": self.to_string() }).to_string();
        let headers = [
            (HeaderName::from_static("x-amzn-errortype"), HeaderValue::from_static(error_type)),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ];
        (status, headers, body).into_response()
    }
}

impl From<StreamNameError> for ApiError {
    fn from(error: StreamNameError) -> Self {
        Self::InvalidArgument(error.to_string())
    }
}
