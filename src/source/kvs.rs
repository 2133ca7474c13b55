//! GetMedia through the AWS SDK: endpoint discovery, one connection and its bytes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_kinesisvideo::config::http::HttpResponse;
use aws_sdk_kinesisvideo::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideomedia::primitives::{ByteStream, DateTime};
use aws_sdk_kinesisvideomedia::types::{StartSelector, StartSelectorType};
use bytes::Bytes;

use super::archive_clients::ArchiveClients;
use super::{SourceError, StartAt};
use crate::aws::{AwsFailure, FOREIGN_REMEDY, new_http_client, text_for_footage};
use crate::base::causes;

/// The age at which a data endpoint is requested again.
/// Source: Kinesis Video Streams API reference, GetDataEndpoint (its token is refreshed about every 45 minutes).
pub(super) const ENDPOINT_LIFE: Duration = Duration::from_secs(45 * 60);
/// Timeout of a request, until its response begins.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
const TRIED_AGAIN: &str = "it is tried again";
const CHECK_NETWORK: &str = "check the network, the region and AWS_ENDPOINT_URL";

/// The minimum interval between two calls of GetDataEndpoint by this process.
/// Source: Kinesis Video Streams quotas, 2026: 300 calls/s per account, which other processes share.
const ENDPOINT_INTERVAL: Duration = Duration::from_millis(10);

/// The Kinesis Video Streams clients that all cameras share.
#[derive(Clone, Debug)]
pub struct Kvs {
    config: SdkConfig,
    pub(super) control: aws_sdk_kinesisvideo::Client,
    endpoint_slots: Arc<CallSlots>,
    archive_clients: Arc<ArchiveClients>,
}

/// Spaces the calls of all cameras by a minimum interval.
#[derive(Debug)]
struct CallSlots {
    interval: Duration,
    /// The time of the next free slot; `None` before the first call.
    free_at: Mutex<Option<Instant>>,
}

impl CallSlots {
    fn new(interval: Duration) -> Self {
        Self { interval, free_at: Mutex::new(None) }
    }

    /// Takes the first free slot at or after `now`, and returns its time.
    fn take(&self, now: Instant) -> Instant {
        // Poison is ignored: no code panics between the two accesses of the time.
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = free_at.map_or(now, |free_at| free_at.max(now));
        *free_at = Some(slot + self.interval);
        slot
    }
}

impl Kvs {
    /// Creates clients with the credentials, region and endpoint of `config`.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        let config = config
            .to_builder()
            // Each camera retries with its own backoff, and reports each failure.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
            // The SDK's protection counts bytes per second; a quiet camera is no stall (`StallWatch`).
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(new_http_client())
            .build();
        let control = aws_sdk_kinesisvideo::Client::new(&config);
        let endpoint_slots = Arc::new(CallSlots::new(ENDPOINT_INTERVAL));
        Self { config, control, endpoint_slots, archive_clients: Arc::default() }
    }

    /// Creates the GetMedia source of the stream `name`.
    #[must_use]
    pub fn stream(&self, name: &str) -> GetMediaSource {
        GetMediaSource { kvs: self.clone(), stream: name.to_owned(), endpoint: None }
    }

    pub(super) fn config(&self) -> &SdkConfig {
        &self.config
    }

    pub(super) fn archive_clients(&self) -> &ArchiveClients {
        &self.archive_clients
    }

    /// Requests the stream's data retention, h.
    pub(super) async fn retention_hours(&self, stream: &str) -> Result<i32, SourceError> {
        Ok(self.describe(stream).await?.data_retention_in_hours.unwrap_or(0))
    }

    /// Requests the URL that serves the operation `api` of the stream.
    pub(super) async fn request_endpoint(&self, stream: &str, api: ApiName) -> Result<String, SourceError> {
        const ACTION: &str = "GetDataEndpoint";
        // At a start all cameras call at once; unspaced calls would use up the account's quota.
        tokio::time::sleep_until(self.endpoint_slots.take(Instant::now()).into()).await;
        let request = self.control.get_data_endpoint().stream_name(stream).api_name(api);
        let answer = with_timeout(stream, ACTION, request.send()).await?;
        let answer = answer.map_err(|error| explain_error(stream, ACTION, &error))?;
        let is_address = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        answer.data_endpoint.filter(is_address).ok_or_else(|| SourceError::Failed {
            stream: stream.to_owned(),
            action: ACTION,
            message: format!("the answer names no endpoint; {FOREIGN_REMEDY}"),
        })
    }
}

/// A stream that is read by GetMedia, with its current data endpoint.
#[derive(Debug)]
pub struct GetMediaSource {
    kvs: Kvs,
    stream: String,
    endpoint: Option<DataEndpoint>,
}

#[derive(Debug)]
struct DataEndpoint {
    since: Instant,
    client: aws_sdk_kinesisvideomedia::Client,
}

impl GetMediaSource {
    /// Returns the stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Opens a GetMedia connection that starts at `start`.
    ///
    /// # Errors
    /// See [`SourceError`]; the next attempt requests the endpoint again.
    pub async fn open(&mut self, start: &StartAt) -> Result<GetMediaConnection, SourceError> {
        let opened = self.get_media(start).await;
        if opened.is_err() {
            // Any failure may come from an endpoint that has moved.
            self.endpoint = None;
        }
        opened
    }

    /// Discards the known data endpoint: the next connection requests it again.
    pub fn forget_endpoint(&mut self) {
        self.endpoint = None;
    }

    async fn get_media(&mut self, start: &StartAt) -> Result<GetMediaConnection, SourceError> {
        const ACTION: &str = "GetMedia";
        let client = self.client().await?;
        let selector = start_selector(start).map_err(|message| self.failed(ACTION, message))?;
        let request = client.get_media().stream_name(&self.stream).start_selector(selector);
        let answer = with_timeout(&self.stream, ACTION, request.send()).await?;
        let answer = answer.map_err(|error| explain_error(&self.stream, ACTION, &error))?;
        Ok(GetMediaConnection::new(&self.stream, ACTION, answer.payload))
    }

    async fn client(&mut self) -> Result<aws_sdk_kinesisvideomedia::Client, SourceError> {
        if let Some(endpoint) =
            self.endpoint.as_ref().filter(|endpoint| endpoint.since.elapsed() < ENDPOINT_LIFE)
        {
            return Ok(endpoint.client.clone());
        }
        let url = self.kvs.request_endpoint(&self.stream, ApiName::GetMedia).await?;
        // A connection pool per camera: cameras that share a connection would end together.
        let config = aws_sdk_kinesisvideomedia::config::Builder::from(&self.kvs.config)
            .endpoint_url(url)
            .http_client(new_http_client())
            .build();
        let client = aws_sdk_kinesisvideomedia::Client::from_conf(config);
        self.endpoint = Some(DataEndpoint { since: Instant::now(), client: client.clone() });
        Ok(client)
    }

    fn failed(&self, action: &'static str, message: String) -> SourceError {
        SourceError::Failed { stream: self.stream.clone(), action, message }
    }
}

/// An open connection that reads media: the body of the response of GetMedia or GetMediaForFragmentList.
#[derive(Debug)]
pub struct GetMediaConnection {
    stream: String,
    /// The operation, as IAM names it.
    action: &'static str,
    body: ByteStream,
    /// True once the first bytes have arrived.
    has_begun: bool,
}

impl GetMediaConnection {
    pub(super) fn new(stream: &str, action: &'static str, body: ByteStream) -> Self {
        Self { stream: stream.to_owned(), action, body, has_begun: false }
    }

    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// Returns the next bytes; `None` at the end of the response, which is not the end of the stream.
    ///
    /// # Errors
    /// The connection broke, or its first bytes are another server's text.
    pub async fn next(&mut self) -> Option<Result<Bytes, SourceError>> {
        let bytes = self.body.next().await?;
        let bytes = bytes
            .map_err(|error| SourceError::Broken { stream: self.stream.clone(), message: causes(&error) });
        Some(bytes.and_then(|bytes| self.reject_text(bytes)))
    }

    /// Returns `bytes`, unless they begin the response with text.
    fn reject_text(&mut self, bytes: Bytes) -> Result<Bytes, SourceError> {
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        // A proxy answers 200 with a page of text; footage begins with the bytes of an EBML header.
        match text_for_footage(200, &bytes).filter(|_| !has_begun) {
            None => Ok(bytes),
            Some(text) => Err(SourceError::Failed {
                stream: self.stream.clone(),
                action: self.action,
                message: format!("{text}; {FOREIGN_REMEDY}"),
            }),
        }
    }
}

fn start_selector(start: &StartAt) -> Result<StartSelector, String> {
    let selector = StartSelector::builder();
    // A fragment number and not a continuation token: HLS resumes from the same positions.
    let selector = match start {
        StartAt::Now => selector.start_selector_type(StartSelectorType::Now),
        StartAt::Earliest => selector.start_selector_type(StartSelectorType::Earliest),
        StartAt::After(position) => selector
            .start_selector_type(StartSelectorType::FragmentNumber)
            .after_fragment_number(position.read_after().as_ref()),
        StartAt::ServerTime(server_ms) => selector
            .start_selector_type(StartSelectorType::ServerTimestamp)
            .start_timestamp(DateTime::from_millis(*server_ms)),
    };
    selector.build().map_err(|error| error.to_string())
}

/// Awaits `answer` for at most [`ANSWER_TIMEOUT`].
pub(super) async fn with_timeout<T>(
    stream: &str,
    action: &'static str,
    answer: impl Future<Output = T>,
) -> Result<T, SourceError> {
    tokio::time::timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| SourceError::NoAnswer {
        stream: stream.to_owned(),
        action,
        limit_s: ANSWER_TIMEOUT.as_secs(),
    })
}

/// The error codes of a request whose credentials or signature are not valid.
const SIGNATURE_CODES: [&str; 9] = [
    "ExpiredTokenException",
    "InvalidSignatureException",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "IncompleteSignatureException",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "RequestExpired",
    "ExpiredToken",
];

/// The error codes of a request beyond a quota.
const THROTTLING_CODES: [&str; 6] = [
    "ClientLimitExceededException",
    "ConnectionLimitExceededException",
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "LimitExceededException",
];

/// Returns the error of an SDK call, with its remedy.
pub(super) fn explain_error<E>(
    stream: &str,
    action: &'static str,
    error: &SdkError<E, HttpResponse>,
) -> SourceError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    explain_failure(stream.to_owned(), action, &AwsFailure::of(error))
}

/// Returns the error of a failed call, by its code.
fn explain_failure(stream: String, action: &'static str, failure: &AwsFailure) -> SourceError {
    match failure.code.as_str() {
        "no_credentials" => SourceError::NoCredentials { stream, action, message: failure.sentence() },
        "unreachable" | "timeout" | "not_aws" => {
            let remedy = failure.certain.clone().unwrap_or_else(|| CHECK_NETWORK.to_owned());
            SourceError::Unreachable { stream, action, message: failure.text.clone(), remedy }
        }
        _ => explain_refusal(stream, action, failure),
    }
}

/// Returns the error of a call that the service refused.
fn explain_refusal(stream: String, action: &'static str, failure: &AwsFailure) -> SourceError {
    let coded = format!("{}: {}", failure.code, failure.text);
    match (failure.code.as_str(), &failure.certain) {
        (code, Some(remedy)) if SIGNATURE_CODES.contains(&code) => {
            SourceError::Signature { stream, action, message: coded, remedy: remedy.clone() }
        }
        ("NotAuthorizedException" | "AccessDeniedException", certain) => {
            let remedy = certain.clone().unwrap_or_else(|| grant_remedy(action));
            SourceError::NotAuthorized { stream, action, message: failure.text.clone(), remedy }
        }
        // Only without `certain`: one that has found the cause overrides what the code means elsewhere.
        ("ResourceNotFoundException", None) => SourceError::NoSuchStream { stream },
        ("InvalidEndpointException", None) => SourceError::EndpointMoved { stream },
        (code, None) if THROTTLING_CODES.contains(&code) => {
            SourceError::Throttled { stream, action, code: code.to_owned() }
        }
        _ => {
            let message = format!("{coded}; {}", failure.advice(None, TRIED_AGAIN));
            SourceError::Failed { stream, action, message }
        }
    }
}

/// Returns the remedy for a role that is not authorized to make the call.
fn grant_remedy(action: &str) -> String {
    // KVS decrypts stored footage with the caller's permissions, so only the calls that return media need the key.
    let key = match action {
        "GetMedia" | "GetMediaForFragmentList" | "GetHLSStreamingSessionURL" => {
            ", and kms:Decrypt if a key of yours encrypts the stream"
        }
        _ => "",
    };
    format!("grant kinesisvideo:{action} to this role{key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_cameras_make_a_hundred_calls_per_second_and_one_alone_never_waits() {
        let slots = CallSlots::new(ENDPOINT_INTERVAL);
        let start = Instant::now();
        let burst: Vec<u128> = (0..300).map(|_| (slots.take(start) - start).as_millis()).collect();
        assert_eq!(burst, (0..300).map(|call| call * 10).collect::<Vec<_>>());
        let later = start + Duration::from_secs(10);
        assert_eq!(slots.take(later), later);
        assert_eq!(slots.take(later), later + ENDPOINT_INTERVAL);
    }
}
