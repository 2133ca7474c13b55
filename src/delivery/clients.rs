//! The AWS settings of the sinks' clients.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;

use crate::aws::new_http_client;

/// Limit on the time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Limit on the time of an attempt, connecting included.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Account, region, endpoints and timeouts with which each sink makes its client.
///
/// Clients made of it try once: the sinks decide what is tried again, and when.
#[derive(Clone, Debug)]
pub struct Clients {
    sdk: SdkConfig,
    s3_path_style: bool,
}

impl Clients {
    /// Makes the settings from those of the process. Nothing is called yet.
    ///
    /// `s3_path_style`: the bucket stands in the path rather than in the host's name, as local servers want it.
    #[must_use]
    pub fn new(config: &SdkConfig, s3_path_style: bool) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .build();
        // One HTTP client for all, so that they share its connections and certificates.
        let sdk = config
            .to_builder()
            .http_client(new_http_client())
            // The SDK makes three attempts by default: they would be in no metric, and ignore a takeover in between.
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .build();
        Self { sdk, s3_path_style }
    }

    /// Returns the settings that a client of any service is made of.
    pub(crate) fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }

    /// Returns a client of S3.
    pub(crate) fn s3(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::from_conf(self.s3_config().build())
    }

    /// Returns a client of S3 whose attempts last up to `timeout`, for large objects.
    pub(crate) fn s3_within(&self, timeout: Duration) -> aws_sdk_s3::Client {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(timeout);
        aws_sdk_s3::Client::from_conf(self.s3_config().timeout_config(timeouts.build()).build())
    }

    fn s3_config(&self) -> aws_sdk_s3::config::Builder {
        aws_sdk_s3::config::Builder::from(&self.sdk).force_path_style(self.s3_path_style)
    }
}
