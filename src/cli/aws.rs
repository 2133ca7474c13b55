//! The AWS account, region and servers of a command.

use aws_config::{BehaviorVersion, Region, SdkConfig};

/// What the AWS clients need, as the AWS SDKs find it; `region` stands in place of what they would find.
///
/// Errors: [`NoRegion`].
pub(super) async fn sdk_config(region: Option<&str>) -> Result<SdkConfig, NoRegion> {
    let loader = aws_config::defaults(BehaviorVersion::latest());
    let loader = match region {
        Some(region) => loader.region(Region::new(region.to_owned())),
        None => loader,
    };
    let aws = loader.load().await;
    if aws.region().is_none_or(|region| region.as_ref().is_empty()) {
        return Err(NoRegion);
    }
    Ok(aws)
}

/// Nothing says where the streams are.
#[derive(Debug, thiserror::Error)]
#[error("no AWS region: set AWS_REGION, or aws.region in the configuration")]
pub(super) struct NoRegion;
