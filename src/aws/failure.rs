//! A failed call of AWS, for people and for metrics.

use std::borrow::Cow;
use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

use super::credentials::NoUsableCredentials;
use super::foreign::{
    ForeignAnswer, describe_foreign, first_words, has_request_id, is_page, without_secrets,
};
use super::http_client::{HttpSettings, Route, RouteError};
use super::remedy::{CHECK_ROUTE, FOREIGN, certain_remedy, login_remedy, transport_remedy, usual_remedy};
use crate::base::{causes, clean_text};

/// The header in which S3 names the region of a bucket. Source: S3 API reference, HeadBucket, 2026.
pub const S3_REGION_HEADER: &str = "x-amz-bucket-region";
const TRIED_AGAIN: &str = "it is tried again";

/// Characters of an error code, which is a label of metrics: AWS's have 60 at most.
const CODE_CHARS: usize = 64;

/// A failed call: its code, its text and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsFailure {
    /// One of few: the service's error code, or how the call went wrong.
    pub code: String,
    /// The words of the service or the client, without secrets.
    pub text: String,
    /// The remedy that holds whatever was called.
    pub certain: Option<String>,
}

impl AwsFailure {
    /// Returns a failure that is no error of the SDK.
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
            SdkError::ResponseError(response) => Self::of_unreadable(error, response.raw()),
            other => Self::of_silence(other),
        }
    }

    /// Explains an answer with a status of failure.
    fn of_answer<E: ProvideErrorMetadata>(error: &E, answer: &HttpResponse) -> Self {
        let status = answer.status().as_u16();
        let Some(code) = error.code().filter(|code| !code.is_empty()) else {
            return Self::of_unknown_answer(answer, answer.body().bytes().unwrap_or_default());
        };
        let text = without_secrets(error.message().unwrap_or("no message"));
        let certain =
            region_remedy(code, &text, answer).or_else(|| certain_remedy(code, &text, Some(status)));
        Self { code: short_code(code), text, certain }
    }

    /// Explains an answer that the SDK cannot read: a success that is not the service's, or (in the SDK of Kinesis) a failure
    /// without an error code.
    fn of_unreadable(error: &(dyn Error + 'static), answer: &HttpResponse) -> Self {
        if let Some(body) = answer.body().bytes() {
            return Self::of_unknown_answer(answer, body);
        }
        let certain = foreign_remedy(answer.status().as_u16(), answer.extension::<Route>());
        Self { code: "bad_response".to_owned(), text: without_secrets(&causes(error)), certain }
    }

    /// Explains an answer without an error code. AWS numbers each of its answers: one without a number is another server's.
    fn of_unknown_answer(answer: &HttpResponse, body: &[u8]) -> Self {
        let status = answer.status().as_u16();
        let code =
            if answer.status().is_success() { "bad_response".to_owned() } else { format!("http_{status}") };
        let words = first_words(body);
        let known = certain_remedy(&code, "", Some(status)).or_else(|| region_remedy(&code, "", answer));
        if has_request_id(answer) && !is_page(body) {
            let words = if words.is_empty() { "no message" } else { &words };
            return Self { text: format!("HTTP {status}: {words}"), certain: known, code };
        }
        let route = answer.extension::<Route>();
        let text = format!("{}{}", describe_foreign(status, &words), through(route));
        let certain = known.or_else(|| foreign_remedy(status, route));
        Self { text, certain, code }
    }

    /// Explains a call that got no answer, or none that can be read.
    fn of_silence<E: Error + 'static>(error: &SdkError<E, HttpResponse>) -> Self {
        let chain = without_secrets(&causes(error));
        if let Some(missing) = cause::<NoUsableCredentials>(error) {
            let (text, certain) = (missing.what.clone(), Some(missing.remedy.clone()));
            return Self { code: "no_credentials".to_owned(), text, certain };
        }
        if is_unsigned(error, &chain) {
            let missing = super::credentials::unusable_credentials(&chain, None);
            return Self {
                code: "no_credentials".to_owned(),
                text: missing.what,
                certain: Some(missing.remedy),
            };
        }
        let route = cause::<RouteError>(error).map(|error| &error.route);
        if let Some(foreign) = cause::<ForeignAnswer>(error) {
            let text = format!("{foreign}{}", through(route));
            return Self { code: "not_aws".to_owned(), text, certain: foreign_remedy(200, route) };
        }
        let code = match error {
            SdkError::TimeoutError(_) => "timeout",
            SdkError::DispatchFailure(failure) if failure.is_timeout() => "timeout",
            SdkError::DispatchFailure(_) => "unreachable",
            _ => "not_sent",
        };
        let proxy = match route {
            Some(route) => route.proxy.clone(),
            // A timeout of the whole call does not know its host.
            None => HttpSettings::of_this_process().proxies.usual(),
        };
        Self { code: code.to_owned(), certain: transport_remedy(&chain, proxy.as_ref()), text: chain }
    }

    /// Returns whether the role lacks the permission for the call itself.
    #[must_use]
    pub fn is_denied(&self) -> bool {
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

    /// Returns what to do: what holds for every call, else the caller's `remedy`, else the usual one, else `otherwise`.
    #[must_use]
    pub fn advice<'a>(&'a self, remedy: Option<&'a str>, otherwise: &'a str) -> Cow<'a, str> {
        match (&self.certain, remedy, usual_remedy(&self.code)) {
            (Some(certain), _, _) => Cow::Borrowed(certain),
            (None, Some(remedy), _) => Cow::Borrowed(remedy),
            (None, None, usual) => Cow::Borrowed(usual.unwrap_or(otherwise)),
        }
    }

    /// Returns what went wrong and what to do, without its code.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!("{}; {}", self.text, self.advice(None, TRIED_AGAIN))
    }

    /// Returns a sentence for a person: where, what, and what to do.
    #[must_use]
    pub fn told(&self, place: &str, remedy: Option<&str>) -> String {
        format!("{place}: {}: {}; {}", self.code, self.text, self.advice(remedy, TRIED_AGAIN))
    }
}

/// Returns the proxy of a route in brackets, or nothing.
fn through(route: Option<&Route>) -> String {
    let proxy = route.and_then(|route| route.proxy.as_ref());
    proxy.map_or_else(String::new, |proxy| format!(" (through the proxy {proxy})"))
}

/// Returns the remedy for an answer that is not from AWS; `None` where its status says more.
fn foreign_remedy(status: u16, route: Option<&Route>) -> Option<String> {
    let host = route.map(|route| route.host.as_str()).filter(|host| !host.is_empty());
    let at = host.map_or_else(String::new, |host| format!(" at {host}"));
    match (status, route.and_then(|route| route.proxy.as_ref())) {
        (407, proxy) => Some(login_remedy(proxy)),
        (408 | 411 | 413, _) => None,
        (_, Some(proxy)) => Some(format!(
            "the proxy {proxy}, a captive portal or another server answers in place of AWS{at}: check it, or name the host in \
             NO_PROXY; it is tried again"
        )),
        (429 | 500..=599, None) => Some(format!("{FOREIGN}{at}: {CHECK_ROUTE}; it is tried again")),
        (_, None) => Some(format!("{FOREIGN}{at}: {CHECK_ROUTE}")),
    }
}

/// Returns the remedy for a bucket of another region, which S3 names in a header or in its message.
fn region_remedy(code: &str, message: &str, answer: &HttpResponse) -> Option<String> {
    let header = answer.headers().get(S3_REGION_HEADER).map(str::to_owned);
    let expected = || {
        let (_, rest) = message.split_once("expecting '")?;
        rest.split_once('\'').map(|(region, _)| region.to_owned())
    };
    let redirected = matches!(
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
    );
    if !redirected {
        return None;
    }
    let body = answer.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
    let element = || {
        let (_, rest) = body.split_once("<Region>")?;
        rest.split_once("</Region>").map(|(region, _)| region.to_owned())
    };
    let endpoint = || {
        let (_, rest) = body.split_once("<Endpoint>")?;
        let (host, _) = rest.split_once("</Endpoint>")?;
        let (_, after) = host.split_once(".s3")?;
        after.trim_start_matches(['.', '-']).split('.').next().map(str::to_owned)
    };
    let is_region = |region: &String| region.contains('-') && region.len() < 32;
    match header.or_else(expected).or_else(element).or_else(endpoint).filter(is_region) {
        Some(region) => Some(format!(
            "the bucket is in the region {region}: name one in the region of the service, or set aws.region (AWS_REGION) to \
             {region}"
        )),
        None if code.starts_with("http_") => None,
        None if code == "TemporaryRedirect" => Some(
            "the bucket is new or moves: it is tried again until its name leads to its region".to_owned(),
        ),
        None => Some("the bucket is in another region: name one in the region of the service".to_owned()),
    }
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
/// The code as a log line and a label may hold it.
fn short_code(code: &str) -> String {
    clean_text(code, CODE_CHARS)
}
