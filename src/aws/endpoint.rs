//! Endpoints that the environment sets in place of those of AWS.

use aws_config::SdkConfig;

/// Returns `true` if requests for S3 go to another server than that of AWS.
///
/// Such servers expect the bucket in the path, because they have no host name per bucket.
pub(crate) fn has_own_s3(aws: &SdkConfig) -> bool {
    // `SdkConfig` has only the endpoint of all services. That of S3 alone is read by the client of S3.
    aws.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some()
}
