//! The AWS clients of the sinks.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;

use crate::aws::new_http_client;

/// A connection is there by then, or the attempt failed.
const CONNECT: Duration = Duration::from_secs(3);
/// An answer is there by then, or the attempt failed.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The clients of the sinks. They try once: the sinks decide what is tried again, and when.
#[derive(Clone, Debug)]
pub struct Clients {
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) kinesis: aws_sdk_kinesis::Client,
    pub(crate) s3: aws_sdk_s3::Client,
}

impl Clients {
    /// Clients for the account, region and endpoints of `config`. Nothing is called yet.
    ///
    /// `s3_path_style`: the bucket stands in the path rather than in the host's name, as local servers want it.
    #[must_use]
    pub fn new(config: &SdkConfig, s3_path_style: bool) -> Self {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build();
        let http = new_http_client();
        let dynamodb = aws_sdk_dynamodb::config::Builder::from(config)
            .http_client(http.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.clone())
            .build();
        let kinesis = aws_sdk_kinesis::config::Builder::from(config)
            .http_client(http.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.clone())
            .build();
        let s3 = aws_sdk_s3::config::Builder::from(config)
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .force_path_style(s3_path_style)
            .build();
        Self {
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb),
            kinesis: aws_sdk_kinesis::Client::from_conf(kinesis),
            s3: aws_sdk_s3::Client::from_conf(s3),
        }
    }
}

/// Whether S3 is another server than AWS's: those want the bucket in the path.
pub(crate) fn has_own_s3(aws: &SdkConfig) -> bool {
    aws.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some()
}
