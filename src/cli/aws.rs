//! The AWS configuration of a command: credentials, region, proxies and endpoints.

use aws_config::{BehaviorVersion, Region, SdkConfig};

use crate::aws::{
    EnvironmentError, NoUsableCredentials, ReloadedCredentials, missing_profile, new_http_client,
    validate_environment,
};

/// Loads the AWS configuration from the usual sources of the SDKs. `region` overrides the region found there.
///
/// Errors: [`AwsSetupError`].
pub(super) async fn sdk_config(region: Option<&str>) -> Result<SdkConfig, AwsSetupError> {
    validate_environment()?;
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(new_http_client())
        .credentials_provider(ReloadedCredentials::new(region));
    // Set on the loader, so that the region also applies to STS and SSO of the credentials.
    let loader = match region {
        Some(region) => loader.region(Region::new(region.to_owned())),
        None => loader,
    };
    let aws = loader.load().await;
    // Without a region every request would fail later with a less helpful message.
    if aws.region().is_none_or(|region| region.as_ref().is_empty()) {
        return Err(match missing_profile() {
            Some(reason) => AwsSetupError::NoProfile(reason),
            None => AwsSetupError::NoRegion,
        });
    }
    Ok(aws)
}

/// The environment lacks a setting that requests to AWS need.
#[derive(Debug, thiserror::Error)]
pub(super) enum AwsSetupError {
    /// No source names a region.
    #[error("no AWS region: set AWS_REGION, or aws.region in the configuration")]
    NoRegion,
    /// The selected profile, which would name the region, does not exist.
    #[error("no AWS region: {0}; or set AWS_REGION")]
    NoProfile(NoUsableCredentials),
    /// The certificates of `AWS_CA_BUNDLE` or a proxy variable are invalid.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
}
