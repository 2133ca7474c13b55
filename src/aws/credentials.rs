//! Credentials from the sources of AWS's tools, and the reason if there are none.
//!
//! The SDK's chain of sources reports a mistake in a profile once, and afterwards only that it was reported. So the chain is
//! built again after each failure: the reason stays visible, and a corrected profile is used without a restart.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use chrono::{DateTime, SecondsFormat, Utc};
use tokio::sync::Mutex;

use super::foreign::without_secrets;
use super::http_client::{HttpSettings, new_http_client};
use super::profiles::{EnvironmentLookup, ProfileFiles};
use super::remedy::transport_remedy;
use crate::base::causes;

/// Remedy if no source is configured.
const GIVE_SOME: &str =
    "give the task a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

/// The reason for missing credentials, with a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoUsableCredentials {
    /// The source that failed, and its error.
    pub what: String,
    /// The remedy.
    pub remedy: String,
}

impl fmt::Display for NoUsableCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl std::error::Error for NoUsableCredentials {}

/// The SDK's default chain of sources, built again after each failure.
#[derive(Clone, Debug)]
pub struct ReloadedCredentials {
    region: Option<Region>,
    chain: Arc<Mutex<Option<SharedCredentialsProvider>>>,
}

impl ReloadedCredentials {
    /// Creates a provider. It reads nothing before the first request. `region` overrides the region that the SDK would find.
    #[must_use]
    pub fn new(region: Option<&str>) -> Self {
        Self { region: region.map(|region| Region::new(region.to_owned())), chain: Arc::default() }
    }

    async fn load(&self) -> Result<Credentials, CredentialsError> {
        // The lock is not held while a source is asked, which may take seconds.
        let provider = self.provider().await.ok_or_else(CredentialsError::not_loaded_no_source)?;
        let error = match provider.provide_credentials().await {
            Ok(credentials) => match expired(&credentials, SystemTime::now()) {
                None => return Ok(credentials),
                Some(reason) => CredentialsError::provider_error(reason),
            },
            Err(error) => explained(&error),
        };
        // The next request builds a new chain.
        self.chain.lock().await.take();
        Err(error)
    }

    async fn provider(&self) -> Option<SharedCredentialsProvider> {
        let mut chain = self.chain.lock().await;
        if chain.is_none() {
            let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(new_http_client());
            let loader = match &self.region {
                Some(region) => loader.region(region.clone()),
                None => loader,
            };
            *chain = loader.load().await.credentials_provider();
        }
        chain.clone()
    }
}

impl ProvideCredentials for ReloadedCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}

/// Returns the reason why new credentials cannot be used: they have already expired. `None` if they can be used.
fn expired(credentials: &Credentials, now: SystemTime) -> Option<NoUsableCredentials> {
    let since = credentials.expiry().filter(|until| *until <= now)?;
    let environment = |name: &str| std::env::var(name).ok();
    Some(CredentialSources::new(&environment).expired(DateTime::<Utc>::from(since)))
}

/// Adds the reason to an error and keeps its kind.
fn explained(error: &CredentialsError) -> CredentialsError {
    // The chain continues after a source without credentials, and ends at one that fails.
    let failed = !matches!(error, CredentialsError::CredentialsNotLoaded(_));
    let reason = unusable_credentials(&causes(error), Some(failed));
    if failed { CredentialsError::provider_error(reason) } else { CredentialsError::not_loaded(reason) }
}

/// Returns the reason why there are no credentials, from the SDK's message and the environment.
///
/// `failed` is `true` if a source had an error, `false` if no source had credentials, and `None` if that is not known.
#[must_use]
pub fn unusable_credentials(text: &str, failed: Option<bool>) -> NoUsableCredentials {
    let environment = |name: &str| std::env::var(name).ok();
    CredentialSources::new(&environment).explain(text, failed.unwrap_or(true))
}

/// Returns the reason why the profile of `AWS_PROFILE` does not exist, or `None` if it exists or the variable is not set.
#[must_use]
pub fn missing_profile() -> Option<NoUsableCredentials> {
    let environment = |name: &str| std::env::var(name).ok();
    CredentialSources::new(&environment).missing_profile()
}

/// The credential sources that the environment and the profile configure.
struct CredentialSources<'a> {
    environment: EnvironmentLookup<'a>,
    files: ProfileFiles,
}

/// The credential source of a profile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ProfileKind {
    Sso,
    Login,
    Process,
    Role,
    WebIdentity,
    Keys,
}

impl<'a> CredentialSources<'a> {
    fn new(environment: EnvironmentLookup<'a>) -> Self {
        Self { environment, files: ProfileFiles::read(environment) }
    }

    fn is_set(&self, name: &str) -> bool {
        (self.environment)(name).is_some_and(|value| !value.trim().is_empty())
    }

    fn explain(&self, text: &str, failed: bool) -> NoUsableCredentials {
        let (written, text) = (text, without_secrets(text));
        if let Some(mistake) = self.mistake(&text) {
            return mistake;
        }
        let profile = self.files.selected();
        // From here on in the order of the SDK's chain: profile, web identity, container, instance.
        if let Some(kind) = self.kind(profile) {
            return self.of_profile(profile, kind, written);
        }
        let last = last_words(&text);
        let of_task = self.of_web_identity(&last).or_else(|| self.of_container(&last));
        of_task.unwrap_or_else(|| self.no_source(profile, &last, failed))
    }

    /// Returns the reason if the environment or the files of profiles have a mistake.
    fn mistake(&self, text: &str) -> Option<NoUsableCredentials> {
        // The SDK treats half a key as none and continues with the next source.
        if let Some(half) = self.half_a_key() {
            return Some(half);
        }
        if text.contains("could not parse profile file") {
            return Some(no_usable(
                format!("a file of profiles is not well formed: {}", self.files.searched()),
                "correct it: [profile NAME] above lines of key = value",
            ));
        }
        self.missing_profile()
    }

    fn of_web_identity(&self, last: &str) -> Option<NoUsableCredentials> {
        let reason = || {
            no_usable(
                format!("the web identity of AWS_WEB_IDENTITY_TOKEN_FILE gives no credentials: {last}"),
                "check that the file is mounted, that AWS_ROLE_ARN names the role, and that its trust policy names this identity",
            )
        };
        self.is_set("AWS_WEB_IDENTITY_TOKEN_FILE").then(reason)
    }

    fn of_container(&self, last: &str) -> Option<NoUsableCredentials> {
        let container = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
        let name = container.into_iter().find(|name| self.is_set(name))?;
        Some(no_usable(
            format!("the endpoint of the task's role ({name}) gives no credentials: {last}"),
            "give the task a role (taskRoleArn), and check that its trust policy names ecs-tasks.amazonaws.com",
        ))
    }

    /// Returns the reason if the source gives credentials that have already expired.
    fn expired(&self, since: DateTime<Utc>) -> NoUsableCredentials {
        let profile = self.files.selected();
        let (source, remedy) = match self.kind(profile) {
            Some(ProfileKind::Process) => (
                format!("credential_process of the profile {profile} gives credentials that"),
                "run its command by hand, renew what it prints (or what it keeps), and check the clock of this host",
            ),
            _ => (
                "the source of the credentials gives credentials that".to_owned(),
                "renew them at their source, and check the clock of this host",
            ),
        };
        no_usable(format!("{source} expired at {}", since.to_rfc3339_opts(SecondsFormat::Secs, true)), remedy)
    }

    fn missing_profile(&self) -> Option<NoUsableCredentials> {
        let profile = self.files.selected();
        let missing = self.is_set("AWS_PROFILE") && !self.files.has(profile);
        missing.then(|| self.no_profile(profile, "AWS_PROFILE"))
    }

    fn half_a_key(&self) -> Option<NoUsableCredentials> {
        let (id, secret) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
        let (set, missing) = match (self.is_set(id), self.is_set(secret)) {
            (true, false) => (id, secret),
            (false, true) => (secret, id),
            _ => return None,
        };
        Some(no_usable(format!("{set} is set, and {missing} is not"), "set both, or neither"))
    }

    /// Returns the reason if the profile is in neither file.
    fn no_profile(&self, profile: &str, named_by: &str) -> NoUsableCredentials {
        let names: Vec<String> = self.files.profile_names().into_iter().collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        no_usable(
            format!(
                "{named_by} names the profile {profile:?}, which is not in {}; profiles there: {there}",
                self.files.searched()
            ),
            &self.files.heading_remedy(profile).unwrap_or_else(|| {
                format!("correct {named_by}, or add the profile (aws configure --profile {profile})")
            }),
        )
    }

    fn kind(&self, profile: &str) -> Option<ProfileKind> {
        let has = |key: &str| self.files.value(profile, key).is_some();
        // In the order in which the SDK checks the keys.
        if has("role_arn") && has("web_identity_token_file") {
            return Some(ProfileKind::WebIdentity);
        }
        [
            ("role_arn", ProfileKind::Role),
            ("sso_session", ProfileKind::Sso),
            ("sso_start_url", ProfileKind::Sso),
            ("sso_account_id", ProfileKind::Sso),
            ("web_identity_token_file", ProfileKind::WebIdentity),
            ("aws_access_key_id", ProfileKind::Keys),
            ("aws_secret_access_key", ProfileKind::Keys),
            ("login_session", ProfileKind::Login),
            ("credential_process", ProfileKind::Process),
        ]
        .into_iter()
        .find_map(|(key, kind)| has(key).then_some(kind))
    }

    fn of_profile(&self, profile: &str, kind: ProfileKind, text: &str) -> NoUsableCredentials {
        let last = last_words(&without_secrets(text));
        // A command may print any text, and a missing MFA code has the same message whether or not STS is reached.
        let is_certain = kind == ProfileKind::Process || self.files.value(profile, "mfa_serial").is_some();
        if let Some(remedy) = network_remedy(&last).filter(|_| !is_certain) {
            return no_usable(
                format!("the source of the profile {profile} is out of reach: {last}"),
                &remedy,
            );
        }
        self.of_source(profile, kind, text, &last)
    }

    /// Returns the reason by the kind of the source of a profile.
    fn of_source(&self, profile: &str, kind: ProfileKind, text: &str, last: &str) -> NoUsableCredentials {
        match kind {
            ProfileKind::Sso => self.of_sso(profile, last),
            ProfileKind::Login => no_usable(
                format!("the profile {profile} signs in with `aws login`: {last}"),
                &format!("run aws login --profile {profile}"),
            ),
            ProfileKind::Process => of_process(profile, text),
            ProfileKind::Role => self.of_role(profile, text, last),
            ProfileKind::WebIdentity => no_usable(
                format!("the web identity of the profile {profile} gives no credentials: {last}"),
                "check web_identity_token_file and role_arn of the profile, and the role's trust policy",
            ),
            ProfileKind::Keys => no_usable(
                format!("the keys of the profile {profile} cannot be used: {last}"),
                "give the profile both aws_access_key_id and aws_secret_access_key",
            ),
        }
    }

    fn of_sso(&self, profile: &str, last: &str) -> NoUsableCredentials {
        let session = self.files.value(profile, "sso_session");
        if let Some(session) = session.filter(|session| !self.files.has_sso_session(session)) {
            return self.no_sso_session(profile, &session);
        }
        let missing = ["sso_account_id", "sso_role_name"].into_iter();
        let missing: Vec<&str> = missing.filter(|key| self.files.value(profile, key).is_none()).collect();
        if !missing.is_empty() {
            return no_usable(
                format!("the profile {profile} of IAM Identity Center has no {}", missing.join(" and no ")),
                &format!("run aws configure sso --profile {profile}"),
            );
        }
        no_usable(
            format!("the profile {profile} of IAM Identity Center has no valid sign-in: {last}"),
            &format!("run aws sso login --profile {profile}"),
        )
    }

    /// Returns the reason if the sso-session of a profile is in neither file.
    fn no_sso_session(&self, profile: &str, session: &str) -> NoUsableCredentials {
        no_usable(
            format!(
                "the profile {profile} names the sso-session {session:?}, which is not in {}",
                self.files.searched()
            ),
            &format!("add [sso-session {session}], or run aws configure sso --profile {profile}"),
        )
    }

    fn of_role(&self, profile: &str, text: &str, last: &str) -> NoUsableCredentials {
        let source = self.files.value(profile, "source_profile");
        if let Some(mistake) = self.role_mistake(profile, source.as_deref(), last) {
            return mistake;
        }
        // Unless STS refused the role, the fault is in the source profile.
        let of_source = source.as_ref().and_then(|source| self.kind(source).map(|kind| (source, kind)));
        match of_source {
            Some((source, kind @ (ProfileKind::Sso | ProfileKind::Login | ProfileKind::Process)))
                if !last.contains("AssumeRole") && !last.contains("AccessDenied") =>
            {
                self.of_profile(source, kind, text)
            }
            _ => no_usable(
                format!("the profile {profile} cannot assume its role: {last}"),
                "correct role_arn and source_profile or credential_source, and check the role's trust policy",
            ),
        }
    }

    /// Returns the reason if the profile of a role cannot work in a service.
    fn role_mistake(&self, profile: &str, source: Option<&str>, last: &str) -> Option<NoUsableCredentials> {
        if let Some(circle) = self.files.circle_from(profile) {
            return Some(no_usable(
                format!("source_profile is circular: the profile {}", circle.join(" to ")),
                "set the source_profile of the last role to a profile with keys, a sign-in or a credential_process",
            ));
        }
        if let Some(source) = source.filter(|source| !self.files.has(source)) {
            return Some(self.no_profile(source, &format!("source_profile of the profile {profile}")));
        }
        let has_mfa = self.files.value(profile, "mfa_serial").is_some();
        has_mfa.then(|| requires_mfa(profile, last))
    }

    /// Returns the reason if no source has credentials.
    fn no_source(&self, profile: &str, last: &str, failed: bool) -> NoUsableCredentials {
        if failed {
            // The instance metadata service is the last source, so its failure ends the chain.
            let what = format!("the instance metadata service gives no credentials: {last}");
            return no_usable(what, &format!("{GIVE_SOME}; in a container of EC2 its hop limit must be 2"));
        }
        let in_files = match self.files.has(profile) {
            true => format!("no keys in the profile {profile} of {}", self.files.searched()),
            false => format!("no profile {profile} in {}", self.files.searched()),
        };
        let metadata = match self.is_set("AWS_EC2_METADATA_DISABLED") {
            true => "the instance metadata service is switched off (AWS_EC2_METADATA_DISABLED)",
            false => "the instance metadata service does not answer or has no role",
        };
        no_usable(format!("no AWS_ACCESS_KEY_ID, {in_files}, no task role, and {metadata}"), GIVE_SOME)
    }
}

fn no_usable(what: String, remedy: &str) -> NoUsableCredentials {
    NoUsableCredentials { what, remedy: remedy.to_owned() }
}

fn requires_mfa(profile: &str, last: &str) -> NoUsableCredentials {
    no_usable(
        format!(
            "the profile {profile} requires an MFA code (mfa_serial), which a service cannot enter: {last}"
        ),
        "use a profile without mfa_serial, or set the keys and the token of a session that was opened elsewhere",
    )
}

/// Returns the remedy for a credential source that cannot be reached, or `None` if it has answered.
fn network_remedy(text: &str) -> Option<String> {
    let proxy = HttpSettings::of_this_process().proxies.named_in(text);
    let connection_errors = ["client error (Connect)", "dns error", "timed out", "timeout"];
    let remedy = transport_remedy(text, proxy.as_ref());
    let silent = connection_errors.iter().any(|words| text.contains(words));
    remedy.or_else(|| silent.then(|| "check the network, and proxies on the way".to_owned()))
}

/// Returns the SDK's message without the prefixes that only say that there was an error.
fn last_words(text: &str) -> String {
    const EMPTY: [&str; 10] = [
        "dispatch failure: ",
        "other: ",
        "the credentials provider was not properly configured: ",
        "the credential provider was not enabled: ",
        "an error occurred while loading credentials: ",
        "unexpected credentials error: ",
        "ProfileFile provider could not be built: ",
        "an error occurred while loading an access token: ",
        "failed to load the cached SSO token: ",
        "service error: unhandled error: ",
    ];
    let mut rest = text.trim();
    while let Some(shorter) = EMPTY.iter().find_map(|empty| rest.strip_prefix(empty)) {
        rest = shorter;
    }
    rest.to_owned()
}

fn of_process(profile: &str, text: &str) -> NoUsableCredentials {
    let error = process_error(text);
    no_usable(
        format!("credential_process of the profile {profile} gives no credentials: {error}"),
        "run its command by hand and correct it; it must print JSON with Version 1 within 5 s",
    )
}

/// Returns the exit code of a credential_process and the first line of its standard error.
fn process_error(text: &str) -> String {
    let ended = text.split_once("external process exited with code ").map(|(_, rest)| rest);
    match ended.and_then(|rest| rest.split_once(". Stderr:")) {
        Some((status, words)) => {
            let status = status.replace("exit status: ", "");
            let first = words.trim().lines().next().map(without_secrets);
            format!("it ended with {status}: {}", first.as_deref().unwrap_or("it printed no reason"))
        }
        None => last_words(&without_secrets(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_by_table() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        let sso = "sso_session = corp\nsso_account_id = 1\nsso_role_name = Dev\n[sso-session corp]\n";
        let profiles = format!("[profile sso]\n{sso}[profile process]\ncredential_process = x\n");
        std::fs::write(&config, profiles).unwrap();
        let connect =
            "dispatch failure: io error: portal.sso.eu-west-1.amazonaws.com:443: client error (Connect)";
        let proxied =
            "io error: a.test:443 through the proxy http://p.test:3128: client error (Connect): refused";
        for (profile, text, words) in [
            (
                "sso",
                "the SSO token has expired",
                "no valid sign-in: the SSO token has expired; run aws sso login",
            ),
            ("sso", connect, "the profile sso is out of reach: io error: portal.sso"),
            ("sso", connect, "check the network"),
            ("sso", proxied, "the proxy http://p.test:3128 comes from HTTP_PROXY"),
            ("sso", "invalid peer certificate: UnknownIssuer", "the issuer's certificate (PEM)"),
            ("sso", "invalid profile: could not parse profile file", "is not well formed: "),
            (
                "process",
                "external process exited with code exit status: 1. Stderr: timeout",
                "ended with 1: timeout",
            ),
            ("none", "identity resolver timed out", "AWS_PROFILE names the profile \"none\""),
        ] {
            let environment = |name: &str| match name {
                "AWS_CONFIG_FILE" => Some(config.display().to_string()),
                "AWS_PROFILE" => Some(profile.to_owned()),
                _ => None,
            };
            let reason = CredentialSources::new(&environment).explain(text, true).to_string();
            assert!(reason.contains(words), "{profile}: {text}: {reason}");
        }
    }

    #[test]
    fn sources_of_the_environment_by_table() {
        for (variable, failed, words) in [
            ("AWS_SECRET_ACCESS_KEY", true, "AWS_SECRET_ACCESS_KEY is set, and AWS_ACCESS_KEY_ID is not"),
            ("AWS_EC2_METADATA_DISABLED", false, "switched off (AWS_EC2_METADATA_DISABLED)"),
            (
                "NONE",
                false,
                "the instance metadata service does not answer or has no role; give the task a role",
            ),
            ("NONE", true, "the instance metadata service gives no credentials: refused"),
            (
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                true,
                "(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI) gives no credentials",
            ),
        ] {
            let environment = |name: &str| (name == variable).then(|| "x".to_owned());
            let reason = CredentialSources::new(&environment).explain("refused", failed).to_string();
            assert!(reason.contains(words), "{variable}: {reason}");
        }
    }
}
