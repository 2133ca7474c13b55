//! Who we are for AWS.

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityError;

use crate::base::{Asks, Finding, Probe, causes};

/// The name of the probe.
pub(super) const NAME: &str = "credentials";

/// Whether there is something to sign requests with.
pub(super) async fn are_there(aws: &SdkConfig) -> bool {
    provided(aws).await.is_ok()
}

async fn provided(aws: &SdkConfig) -> Result<(), CredentialsError> {
    match aws.credentials_provider() {
        Some(provider) => provider.provide_credentials().await.map(drop),
        None => Err(CredentialsError::not_loaded_no_source()),
    }
}

/// Are there credentials, and whose?
pub(super) fn probe(aws: &SdkConfig) -> Probe {
    Probe::new(NAME, Asks::Aws, look(aws.clone()))
}

async fn look(aws: SdkConfig) -> Finding {
    if let Err(error) = provided(&aws).await {
        return Finding::fail(format!(
            "none: give the task a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({})",
            causes(&error)
        ));
    }
    let once = aws_sdk_sts::config::Builder::from(&aws).retry_config(RetryConfig::disabled()).build();
    let asked = aws_sdk_sts::Client::from_conf(once).get_caller_identity().send().await;
    let region = aws.region().map_or("", |region| region.as_ref()).to_owned();
    match asked {
        Ok(identity) => {
            Finding::ok(format!("{}, region {region}", identity.arn().unwrap_or("nobody with a name")))
        }
        Err(error) => refused(&error, &region, has_own_servers()),
    }
}

/// STS is not needed by `run`, so silence is no failure; nor is a refusal where requests go to other servers than AWS's.
fn refused(error: &SdkError<GetCallerIdentityError>, region: &str, own_servers: bool) -> Finding {
    let (code, message) = (error.code(), error.message().unwrap_or("no further word"));
    match (code, own_servers) {
        (Some(code), false) => Finding::fail(format!(
            "AWS refuses them: {code}: {message}; renew them, and look at the clock of this host (region {region})"
        )),
        (Some(code), true) => Finding::warn(format!(
            "they are there, but sts:GetCallerIdentity says {code}: {message} (region {region}); only this check asks for it"
        )),
        (None, _) => Finding::warn(format!(
            "they are there, but sts:GetCallerIdentity failed: {} (region {region}); only this check asks for it",
            causes(error)
        )),
    }
}

fn has_own_servers() -> bool {
    std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("AWS_ENDPOINT_URL"))
}
