//! The AWS account, region and servers of a command.

use aws_config::{BehaviorVersion, Region, SdkConfig};

use crate::aws::{
    EnvironmentError, NoUsableCredentials, ReloadedCredentials, missing_profile, new_http_client,
    validate_environment,
};

/// What the AWS clients need, as the AWS SDKs find it; `region` stands in place of what they would find.
///
/// Errors: [`AwsSetupError`].
pub(super) async fn sdk_config(region: Option<&str>) -> Result<SdkConfig, AwsSetupError> {
    validate_environment()?;
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(new_http_client())
        .credentials_provider(ReloadedCredentials::new(region));
    let loader = match region {
        Some(region) => loader.region(Region::new(region.to_owned())),
        None => loader,
    };
    let aws = loader.load().await;
    if aws.region().is_none_or(|region| region.as_ref().is_empty()) {
        return Err(match missing_profile() {
            Some(reason) => AwsSetupError::NoProfile(reason),
            None => AwsSetupError::NoRegion,
        });
    }
    Ok(aws)
}

/// A setting of the environment without which AWS cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum AwsSetupError {
    /// Nothing says where the streams are.
    #[error("no AWS region: set AWS_REGION, or aws.region in the configuration")]
    NoRegion,
    /// The profile that would say so is not there.
    #[error("no AWS region: {0}; or set AWS_REGION")]
    NoProfile(NoUsableCredentials),
    /// The additional certificates cannot be read, or a proxy is none.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
}
