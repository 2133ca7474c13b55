//! What the local KVS answers when it cannot do as asked.

use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::identifiers::region::Region;
use crate::identifiers::stream_name::StreamNameError;
use crate::media_error::MediaRefusal;

/// A refusal as the SDKs of AWS read it: a status, an error type in a header, a message in JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// No stream has that name or ARN.
    #[error("The requested stream is not found or not active: {stream}. Create it with CreateStream")]
    ResourceNotFound {
        /// Its name or ARN as asked for.
        stream: String,
    },
    /// A stream that is there, but in another region than the request is signed for.
    #[error(
        "The requested stream is not found in the region {region}, for which the request is signed: {stream} is in {has}. \
         Sign for that region, or start the local KVS with --region {region}"
    )]
    OtherRegion {
        /// Its name or ARN as asked for.
        stream: String,
        /// The region of the request.
        region: Region,
        /// The region of the stream.
        has: Region,
    },
    /// CreateStream of a name that is taken.
    #[error("The stream {stream} already exists")]
    ResourceInUse {
        /// Its name.
        stream: String,
    },
    /// A value that the operation does not take.
    #[error("{0}")]
    InvalidArgument(String),
    /// An operation of tags on an ARN that is malformed.
    #[error("The format of the StreamARN is invalid; DescribeStream tells a stream's ARN")]
    InvalidResourceFormat,
    /// More tags than a stream can have.
    #[error("The stream would have {tags} tags; it can have {limit}. Remove some with UntagStream")]
    TagsPerResourceExceededLimit {
        /// That it would have.
        tags: usize,
        /// That it can have.
        limit: usize,
    },
    /// A connection more than a stream allows.
    #[error("The stream {stream} has its {limit} {operation} connection(s) already; close one first")]
    ConnectionLimitExceeded {
        /// Its name.
        stream: String,
        /// GetMedia or PutMedia.
        operation: &'static str,
        /// Connections that a stream allows.
        limit: usize,
    },
    /// A call too many for a stream.
    #[error("The rate of calls for the stream {stream} is exceeded; try again later")]
    ClientLimitExceeded {
        /// Its name.
        stream: String,
    },
    /// A call to an endpoint that is not the stream's, or no longer.
    #[error("The stream {stream} is not served here; ask GetDataEndpoint for its endpoint")]
    InvalidEndpoint {
        /// Its name.
        stream: String,
    },
    /// A caller who may not do so.
    #[error(
        "The caller is not authorized for the stream {stream}, or the credentials were rotated; get new ones"
    )]
    NotAuthorized {
        /// Its name.
        stream: String,
    },
    /// Temporary credentials that are valid no longer.
    #[error("The security token included in the request is expired; get new credentials")]
    ExpiredToken,
    /// A request that was signed at another time than now.
    #[error("Signature expired: the request was signed more than 5 minutes from now; set the clock")]
    WrongClock,
    /// DeleteStream or UpdateDataRetention with another version than the stream's.
    #[error("The stream {stream} has version {version}, not the one given; ask DescribeStream for it")]
    VersionMismatch {
        /// Its name.
        stream: String,
        /// The version that it has.
        version: String,
    },
    /// A path or method that is no operation of the local KVS.
    #[error("{0} is no operation of this local KVS")]
    UnknownOperation(String),
    /// What HLS, GetClip and GetImages refuse beside that.
    #[error(transparent)]
    Media(#[from] MediaRefusal),
    /// A fault of the local KVS itself.
    #[error("The local KVS failed: {0}")]
    Internal(String),
}

impl ApiError {
    /// The error of a path or method that the local KVS does not have.
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
            Self::UnknownOperation(_) => (StatusCode::NOT_FOUND, "UnknownOperationException"),
            Self::Media(refusal) => refusal.status_and_type(),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, kind) = self.status_and_type();
        let body = serde_json::json!({ "Message": self.to_string() }).to_string();
        let headers = [
            (HeaderName::from_static("x-amzn-errortype"), HeaderValue::from_static(kind)),
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
