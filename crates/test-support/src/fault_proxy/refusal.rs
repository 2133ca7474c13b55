//! The errors of each AWS service, in the shape that its SDK expects.

use serde_json::json;

use super::AwsService;
use super::message::HttpMessage;

impl AwsService {
    pub(super) fn throttled(self) -> HttpMessage {
        let text = "Rate exceeded";
        match self {
            Self::Kinesis => self.error(400, "Bad Request", "ProvisionedThroughputExceededException", text),
            Self::DynamoDb => {
                let kind = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException";
                self.error(400, "Bad Request", kind, text)
            }
            Self::Sns => self.error(429, "Too Many Requests", "Throttled", text),
            Self::S3 => self.error(503, "Slow Down", "SlowDown", "Please reduce your request rate."),
        }
    }

    pub(super) fn failed(self) -> HttpMessage {
        let kind = match self {
            Self::Kinesis => "InternalFailure",
            Self::DynamoDb => "com.amazonaws.dynamodb.v20120810#InternalServerError",
            Self::S3 | Self::Sns => "InternalError",
        };
        self.error(500, "Internal Server Error", kind, "We encountered an internal error. Please try again.")
    }

    pub(super) fn unavailable(self) -> HttpMessage {
        self.error(
            503,
            "AwsService Unavailable",
            "ServiceUnavailable",
            "Service is unable to handle request.",
        )
    }

    pub(super) fn denied(self) -> HttpMessage {
        let (status, reason, kind) = match self {
            Self::Kinesis | Self::DynamoDb => (400, "Bad Request", "AccessDeniedException"),
            Self::S3 => (403, "Forbidden", "AccessDenied"),
            Self::Sns => (403, "Forbidden", "AuthorizationError"),
        };
        self.error(status, reason, kind, "User is not authorized to perform this action")
    }

    fn error(self, status: u16, reason: &str, kind: &str, text: &str) -> HttpMessage {
        let version = match self {
            Self::Kinesis => "1.1",
            Self::DynamoDb => "1.0",
            Self::S3 => return HttpMessage::xml(status, reason, kind, text),
            Self::Sns => return HttpMessage::query_xml(status, reason, kind, text),
        };
        HttpMessage::json(status, reason, version, &json!({ "__type": kind, "message": text }))
    }
}
