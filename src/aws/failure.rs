//! A failed call of AWS: its code for metrics, and its text and remedy for people.

use std::borrow::Cow;
use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

use super::credentials::{NoUsableCredentials, unusable_credentials};
use super::foreign::{
    ForeignAnswer, describe_foreign, first_words, has_request_id, is_page, without_secrets,
};
use super::http_client::{HttpRoute, HttpSettings, RouteError};
use super::remedy::{CHECK_ROUTE, FOREIGN, certain_remedy, login_remedy, transport_remedy, usual_remedy};
use crate::base::{causes, clean_text};

/// The header in which S3 names the region of a bucket. Source: S3 API reference, HeadBucket, 2026.
pub const S3_REGION_HEADER: &str = "x-amz-bucket-region";
const TRIED_AGAIN: &str = "it is tried again";

/// Maximum length of an error code, which is a label of metrics. The codes of AWS have at most 60 characters.
const MAX_CODE_CHARS: usize = 64;

/// A failed call: its code, its text and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsFailure {
    /// Error code of the service, or one of a few codes for a call without an answer, such as `timeout`.
    pub code: String,
    /// Message of the service or the client, without secrets.
    pub text: String,
    /// Remedy that applies to any call.
    pub certain: Option<String>,
}

impl AwsFailure {
    /// Creates a failure that is not an error of the SDK.
    #[must_use]
    pub fn new(code: &str, text: &str) -> Self {
        let text = without_secrets(text);
        Self { code: short_code(code), certain: certain_remedy(code, &text, None), text }
    }

    /// Explains an error of the SDK.
    #[must_use]
    pub fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ServiceError(service) => Self::of_answer(service.err(), service.raw()),
            // The SDK received an answer and could not parse it, so the service may have executed the call.
            SdkError::ResponseError(response) => Self::of_unreadable(error, response.raw()),
            other => Self::of_silence(other),
        }
    }

    /// Explains an answer with a status of failure.
    fn of_answer<E: ProvideErrorMetadata>(error: &E, answer: &HttpResponse) -> Self {
        let status = answer.status().as_u16();
        let Some(code) = error.code().filter(|code| !code.is_empty()) else {
            // Some SDKs accept an error answer without a code, such as the page of a proxy.
            return Self::of_unknown_answer(answer, answer.body().bytes().unwrap_or_default());
        };
        let text = without_secrets(error.message().unwrap_or("no message"));
        let certain =
            region_remedy(code, &text, answer).or_else(|| certain_remedy(code, &text, Some(status)));
        Self { code: short_code(code), text, certain }
    }

    /// Explains an answer that the SDK cannot parse: a success of another server, or (in the SDK of Kinesis) a failure without
    /// an error code.
    fn of_unreadable(error: &(dyn Error + 'static), answer: &HttpResponse) -> Self {
        // A streamed body is gone by now, and its error is all that is left.
        if let Some(body) = answer.body().bytes() {
            return Self::of_unknown_answer(answer, body);
        }
        let certain = foreign_remedy(answer.status().as_u16(), answer.extension::<HttpRoute>());
        Self { code: "bad_response".to_owned(), text: without_secrets(&causes(error)), certain }
    }

    /// Explains an answer without an error code. AWS sends a request id with each answer; one without it is of another server.
    fn of_unknown_answer(answer: &HttpResponse, body: &[u8]) -> Self {
        let status = answer.status().as_u16();
        let code =
            // Metrics need few different codes: the status is one, the text is not.
            if answer.status().is_success() { "bad_response".to_owned() } else { format!("http_{status}") };
        let words = first_words(body);
        let known = certain_remedy(&code, "", Some(status)).or_else(|| region_remedy(&code, "", answer));
        // A proxy may copy the headers of AWS into its own page.
        if has_request_id(answer) && !is_page(body) {
            let words = if words.is_empty() { "no message" } else { &words };
            return Self { text: format!("HTTP {status}: {words}"), certain: known, code };
        }
        let route = answer.extension::<HttpRoute>();
        let text = format!("{}{}", describe_foreign(status, &words), through(route));
        let certain = known.or_else(|| foreign_remedy(status, route));
        Self { text, certain, code }
    }

    /// Explains a call without an answer that can be parsed.
    fn of_silence<E: Error + 'static>(error: &SdkError<E, HttpResponse>) -> Self {
        let chain = without_secrets(&causes(error));
        if let Some(missing) = missing_credentials(error, &chain) {
            let (text, certain) = (missing.what, Some(missing.remedy));
            return Self { code: "no_credentials".to_owned(), text, certain };
        }
        let route = cause::<RouteError>(error).map(|error| &error.route);
        if let Some(foreign) = cause::<ForeignAnswer>(error) {
            let text = format!("{foreign}{}", through(route));
            return Self { code: "not_aws".to_owned(), text, certain: foreign_remedy(200, route) };
        }
        // The error of a timeout of the whole call does not contain its host.
        let usual_proxy = || HttpSettings::of_this_process().proxies.usual();
        let proxy = route.map_or_else(usual_proxy, |route| route.proxy.clone());
        let code = silence_code(error).to_owned();
        Self { code, certain: transport_remedy(&chain, proxy.as_ref()), text: chain }
    }

    /// Returns `true` if the role lacks the permission for the call itself.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        // With a certain remedy, such as that for a KMS key, the permission for something else is missing.
        Self::is_denial(&self.code) && self.certain.is_none()
    }

    /// Returns whether an error code is a service's word for a missing permission.
    #[must_use]
    pub fn is_denial(code: &str) -> bool {
        matches!(
            code,
            "AccessDenied" | "AccessDeniedException" | "AuthorizationError" | "NotAuthorizedException"
        )
    }

    /// Returns the remedy: the one that applies to any call, else the caller's `remedy`, else the usual one of the code, else
    /// `otherwise`.
    #[must_use]
    pub fn advice<'a>(&'a self, remedy: Option<&'a str>, otherwise: &'a str) -> Cow<'a, str> {
        match (&self.certain, remedy, usual_remedy(&self.code)) {
            (Some(certain), _, _) => Cow::Borrowed(certain),
            (None, Some(remedy), _) => Cow::Borrowed(remedy),
            (None, None, usual) => Cow::Borrowed(usual.unwrap_or(otherwise)),
        }
    }

    /// Returns the text and the remedy, without the code.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!("{}; {}", self.text, self.advice(None, TRIED_AGAIN))
    }

    /// Returns a sentence for a person: the place, the code, the text and the remedy.
    #[must_use]
    pub fn at_place(&self, place: &str, remedy: Option<&str>) -> String {
        format!("{place}: {}: {}; {}", self.code, self.text, self.advice(remedy, TRIED_AGAIN))
    }
}

/// Returns the reason if a call was not signed for want of credentials.
fn missing_credentials(error: &(dyn Error + 'static), chain: &str) -> Option<NoUsableCredentials> {
    // Our own provider has already explained the reason.
    if let Some(missing) = cause::<NoUsableCredentials>(error) {
        return Some(missing.clone());
    }
    // Without a request, there is no answer and no route to explain.
    is_unsigned(error, chain).then(|| unusable_credentials(chain, None))
}

/// Returns the code of a call without an answer.
fn silence_code<E>(error: &SdkError<E, HttpResponse>) -> &'static str {
    match error {
        SdkError::TimeoutError(_) => "timeout",
        SdkError::DispatchFailure(failure) if failure.is_timeout() => "timeout",
        SdkError::DispatchFailure(_) => "unreachable",
        _ => "not_sent",
    }
}

/// Returns the proxy of a route in brackets, or nothing.
fn through(route: Option<&HttpRoute>) -> String {
    let proxy = route.and_then(|route| route.proxy.as_ref());
    proxy.map_or_else(String::new, |proxy| format!(" (through the proxy {proxy})"))
}

/// Returns the remedy for an answer that is not from AWS, or `None` if its status is more precise.
fn foreign_remedy(status: u16, route: Option<&HttpRoute>) -> Option<String> {
    let host = route.map(|route| route.host.as_str()).filter(|host| !host.is_empty());
    let at = host.map_or_else(String::new, |host| format!(" at {host}"));
    match (status, route.and_then(|route| route.proxy.as_ref())) {
        (407, proxy) => Some(login_remedy(proxy)),
        // Timeout, missing length, too large: AWS sends these too, and `usual_remedy` knows them.
        (408 | 411 | 413, _) => None,
        (_, Some(proxy)) => Some(format!(
            "the proxy {proxy}, a captive portal or another server answers in place of AWS{at}: check it, or name the host in \
             NO_PROXY; it is tried again"
        )),
        (429 | 500..=599, None) => Some(format!("{FOREIGN}{at}: {CHECK_ROUTE}; it is tried again")),
        (_, None) => Some(format!("{FOREIGN}{at}: {CHECK_ROUTE}")),
    }
}

/// Returns the remedy for a bucket of another region.
fn region_remedy(code: &str, message: &str, answer: &HttpResponse) -> Option<String> {
    if !is_redirect(code) {
        return None;
    }
    match named_region(message, answer) {
        Some(region) => Some(format!(
            "the bucket is in the region {region}: name one in the region of the service, or set aws.region (AWS_REGION) to \
             {region}"
        )),
        None if code.starts_with("http_") => None,
        None if code == "TemporaryRedirect" => Some(
            "the bucket is new or is being moved: it is tried again until its name leads to its region"
                .to_owned(),
        ),
        None => Some("the bucket is in another region: name one in the region of the service".to_owned()),
    }
}

/// Returns `true` for the codes and statuses with which S3 reports a bucket of another region.
/// Source: S3 API reference, error responses, 2026.
fn is_redirect(code: &str) -> bool {
    matches!(
        code,
        "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "TemporaryRedirect"
            | "Redirect"
            | "http_301"
            | "http_307"
            | "http_308"
            | "http_302"
            | "IllegalLocationConstraintException"
            | "IncorrectEndpoint"
    )
}

/// Returns the region of the bucket, which S3 names in a header, in its message or in the body.
fn named_region(message: &str, answer: &HttpResponse) -> Option<String> {
    let header = answer.headers().get(S3_REGION_HEADER);
    // The message of AuthorizationHeaderMalformed: `the region 'us-east-1' is wrong; expecting 'eu-west-1'`.
    let expected = || between(message, "expecting '", "'");
    let body = answer.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
    let element = || between(&body, "<Region>", "</Region>");
    let endpoint = || between(&body, "<Endpoint>", "</Endpoint>").and_then(region_of_endpoint);
    // The text comes from the answer and is part of a remedy, so it must look like a region.
    let is_region = |region: &&str| region.contains('-') && region.len() < 32;
    header.or_else(expected).or_else(element).or_else(endpoint).filter(is_region).map(str::to_owned)
}

/// Returns the text between the first `start` and the next `end`.
fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(between, _)| between)
}

/// Returns the region in the endpoint of PermanentRedirect: `bucket.s3.eu-west-1.amazonaws.com`, or with `s3-` in old regions.
fn region_of_endpoint(host: &str) -> Option<&str> {
    let (_, after) = host.split_once(".s3")?;
    after.trim_start_matches(['.', '-']).split('.').next()
}

/// Returns the first cause of this type.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn is_unsigned(error: &(dyn Error + 'static), chain: &str) -> bool {
    cause::<CredentialsError>(error).is_some() || chain.contains("identity resolver timed out")
}

/// Returns the code in a form that is safe in a log line and a label.
fn short_code(code: &str) -> String {
    clean_text(code, MAX_CODE_CHARS)
}
