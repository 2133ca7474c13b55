//! The probe of the AWS credentials.

use std::error::Error;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_credential_types::provider::ProvideCredentials;
use tokio::time::timeout;

use crate::aws::{AwsFailure, NoUsableCredentials, unusable_credentials};
use crate::base::{Asks, Finding, Probe, causes};

/// Timeout of a credential source. `run` has the same: it is the SDK's limit.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(5);
/// Name of the probe.
pub(super) const NAME: &str = "credentials";

/// Returns `true` if a source provides credentials.
pub(super) async fn exist(aws: &SdkConfig) -> bool {
    load(aws).await.is_ok()
}

/// Loads the credentials.
///
/// Errors: no source provides any; the error names the sources and their failures.
async fn load(aws: &SdkConfig) -> Result<(), NoUsableCredentials> {
    let Some(provider) = aws.credentials_provider() else {
        return Err(unusable_credentials("no source", None));
    };
    let Ok(provided) = timeout(SOURCE_TIMEOUT, provider.provide_credentials()).await else {
        return Err(unusable_credentials(&format!("no answer within {} s", SOURCE_TIMEOUT.as_secs()), None));
    };
    match provided {
        Ok(_) => Ok(()),
        Err(error) => {
            // `ReloadedCredentials` wraps its reason, which is more precise than the SDK's text.
            Err(match error.source().and_then(|source| source.downcast_ref::<NoUsableCredentials>()) {
                Some(reason) => reason.clone(),
                None => unusable_credentials(&causes(&error), None),
            })
        }
    }
}

/// Returns the probe that loads the credentials and asks STS for their identity.
pub(super) fn probe(aws: &SdkConfig) -> Probe {
    Probe::new(NAME, Asks::Aws, identify(aws.clone()))
}

async fn identify(aws: SdkConfig) -> Finding {
    if let Err(reason) = load(&aws).await {
        return Finding::fail(format!("none: {reason}"));
    }
    // Without retries, so that the answer is within the timeout of the probe.
    let once = aws_sdk_sts::config::Builder::from(&aws).retry_config(RetryConfig::disabled()).build();
    let identity = aws_sdk_sts::Client::from_conf(once).get_caller_identity().send().await;
    let region = aws.region().map_or("", |region| region.as_ref()).to_owned();
    match identity {
        Ok(identity) => match identity.arn() {
            Some(arn) => Finding::ok(format!("{arn}, region {region}")),
            None => {
                let failure = AwsFailure::new("bad_response", "the answer has no ARN");
                refused(&failure, &region, has_own_servers())
            }
        },
        Err(error) => refused(&AwsFailure::of(&error), &region, has_own_servers()),
    }
}

/// Returns the finding about a failed GetCallerIdentity.
///
/// `run` does not need STS, so a missing answer is only a warning. So is a refusal if requests go to other servers than
/// those of AWS.
fn refused(failure: &AwsFailure, region: &str, own_servers: bool) -> Finding {
    let AwsFailure { code, text, .. } = failure;
    let advice = failure.advice(None, "renew them, and check the clock of this host");
    if is_refusal(code) && !own_servers {
        return Finding::fail(format!("AWS refuses them: {code}: {text}; {advice} (region {region})"));
    }
    Finding::warn(format!(
        "they exist, but sts:GetCallerIdentity failed: {code}: {text}; {advice} (region {region}; only this check calls it)"
    ))
}

/// Returns `true` if STS itself refused, rather than being busy or unreachable.
fn is_refusal(code: &str) -> bool {
    let unanswered = ["unreachable", "timeout", "bad_response", "not_aws", "not_sent", "no_credentials"];
    let busy =
        ["InternalFailure", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException"];
    !code.starts_with("http_") && !unanswered.contains(&code) && !busy.contains(&code)
}

fn has_own_servers() -> bool {
    std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("AWS_ENDPOINT_URL"))
}
