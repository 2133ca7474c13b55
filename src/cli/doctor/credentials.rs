//! Who we are for AWS.

use std::error::Error;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_credential_types::provider::ProvideCredentials;
use tokio::time::timeout;

use crate::aws::{AwsFailure, NoUsableCredentials, unusable_credentials};
use crate::base::{Asks, Finding, Probe, causes};

/// A source of credentials answers by then, or `run` does without it: the SDK's limit.
const LIMIT: Duration = Duration::from_secs(5);
/// The name of the probe.
pub(super) const NAME: &str = "credentials";

/// Whether there is something to sign requests with.
pub(super) async fn are_there(aws: &SdkConfig) -> bool {
    provided(aws).await.is_ok()
}

async fn provided(aws: &SdkConfig) -> Result<(), NoUsableCredentials> {
    let Some(provider) = aws.credentials_provider() else {
        return Err(unusable_credentials("no source", None));
    };
    let Ok(provided) = timeout(LIMIT, provider.provide_credentials()).await else {
        return Err(unusable_credentials(&format!("nothing within {} s", LIMIT.as_secs()), None));
    };
    match provided {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(match error.source().and_then(|source| source.downcast_ref::<NoUsableCredentials>()) {
                Some(reason) => reason.clone(),
                None => unusable_credentials(&causes(&error), None),
            })
        }
    }
}

/// Are there credentials, and whose?
pub(super) fn probe(aws: &SdkConfig) -> Probe {
    Probe::new(NAME, Asks::Aws, look(aws.clone()))
}

async fn look(aws: SdkConfig) -> Finding {
    if let Err(reason) = provided(&aws).await {
        return Finding::fail(format!("none: {reason}"));
    }
    let once = aws_sdk_sts::config::Builder::from(&aws).retry_config(RetryConfig::disabled()).build();
    let asked = aws_sdk_sts::Client::from_conf(once).get_caller_identity().send().await;
    let region = aws.region().map_or("", |region| region.as_ref()).to_owned();
    match asked {
        Ok(identity) => match identity.arn() {
            Some(arn) => Finding::ok(format!("{arn}, region {region}")),
            None => {
                let failure = AwsFailure::new("bad_response", "the answer names nobody");
                refused(&failure, &region, has_own_servers())
            }
        },
        Err(error) => refused(&AwsFailure::of(&error), &region, has_own_servers()),
    }
}

/// STS is not needed by `run`, so silence is no failure; nor is a refusal where requests go to other servers than AWS's.
fn refused(failure: &AwsFailure, region: &str, own_servers: bool) -> Finding {
    let AwsFailure { code, text, .. } = failure;
    let advice = failure.advice(None, "renew them, and look at the clock of this host");
    if is_refusal(code) && !own_servers {
        return Finding::fail(format!("AWS refuses them: {code}: {text}; {advice} (region {region})"));
    }
    Finding::warn(format!(
        "they are there, but sts:GetCallerIdentity failed: {code}: {text}; {advice} (region {region}; only this check asks for it)"
    ))
}

/// Returns whether STS itself refused, rather than being busy or out of reach.
fn is_refusal(code: &str) -> bool {
    let silent = ["unreachable", "timeout", "bad_response", "not_aws", "not_sent", "no_credentials"];
    let busy =
        ["InternalFailure", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException"];
    !code.starts_with("http_") && !silent.contains(&code) && !busy.contains(&code)
}

fn has_own_servers() -> bool {
    std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("AWS_ENDPOINT_URL"))
}
