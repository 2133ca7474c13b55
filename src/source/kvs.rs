//! GetMedia through the AWS SDK: endpoint discovery, one connection, its bytes.

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

use super::{SourceError, StartAt};
use crate::aws::{AwsFailure, FOREIGN_REMEDY, new_http_client, text_for_footage};
use crate::base::causes;

/// How long an endpoint is used before it is asked for again.
/// Source: Kinesis Video Streams API reference, GetDataEndpoint (the endpoint's token is refreshed about every 45 minutes).
const ENDPOINT_LIFE: Duration = Duration::from_secs(45 * 60);
/// How long a request may take until its response begins.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
const TRIED_AGAIN: &str = "it is tried again";
const CHECK_NETWORK: &str = "check the network, the region and AWS_ENDPOINT_URL";

/// The least time between two calls of GetDataEndpoint of this process.
/// Source: Kinesis Video Streams quotas, 2026: 300 calls/s an account, which other processes share.
const ENDPOINT_GAP: Duration = Duration::from_millis(10);

/// The clients that all cameras share.
#[derive(Clone, Debug)]
pub struct Kvs {
    config: SdkConfig,
    pub(super) control: aws_sdk_kinesisvideo::Client,
    endpoint_slots: Arc<CallSlots>,
}

/// Spaces calls evenly.
#[derive(Debug)]
struct CallSlots {
    gap: Duration,
    /// When the next call may be made; `None`: none was yet.
    free_at: Mutex<Option<Instant>>,
}

impl CallSlots {
    fn new(gap: Duration) -> Self {
        Self { gap, free_at: Mutex::new(None) }
    }

    /// Takes the first free slot at or after `now`.
    fn take(&self, now: Instant) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = free_at.map_or(now, |free_at| free_at.max(now));
        *free_at = Some(slot + self.gap);
        slot
    }
}

impl Kvs {
    /// Clients with the credentials, region and endpoint of `config`. The cameras retry by themselves, so the SDK does not.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        let config = config
            .to_builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_LIMIT).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(new_http_client())
            .build();
        let control = aws_sdk_kinesisvideo::Client::new(&config);
        Self { config, control, endpoint_slots: Arc::new(CallSlots::new(ENDPOINT_GAP)) }
    }

    /// The source of one stream.
    #[must_use]
    pub fn stream(&self, name: &str) -> GetMediaSource {
        GetMediaSource { kvs: self.clone(), stream: name.to_owned(), endpoint: None }
    }

    pub(super) fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// Hours that the stream keeps footage.
    pub(super) async fn retention_hours(&self, stream: &str) -> Result<i32, SourceError> {
        Ok(self.describe(stream).await?.data_retention_in_hours.unwrap_or(0))
    }

    /// Where an operation of the stream is served. Many streams are asked for one after the other, so that a start does not use
    /// up the account's quota.
    pub(super) async fn endpoint(&self, stream: &str, api: ApiName) -> Result<String, SourceError> {
        const ACTION: &str = "GetDataEndpoint";
        tokio::time::sleep_until(self.endpoint_slots.take(Instant::now()).into()).await;
        let request = self.control.get_data_endpoint().stream_name(stream).api_name(api);
        let answer = in_time(stream, ACTION, request.send()).await?;
        let answer = answer.map_err(|error| explain(stream, ACTION, &error))?;
        let is_address = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        answer.data_endpoint.filter(is_address).ok_or_else(|| SourceError::Failed {
            stream: stream.to_owned(),
            action: ACTION,
            message: format!("the answer names no endpoint; {FOREIGN_REMEDY}"),
        })
    }
}

/// One stream, with its data endpoint remembered.
#[derive(Debug)]
pub struct GetMediaSource {
    kvs: Kvs,
    stream: String,
    endpoint: Option<Endpoint>,
}

#[derive(Debug)]
struct Endpoint {
    since: Instant,
    client: aws_sdk_kinesisvideomedia::Client,
}

impl GetMediaSource {
    /// The stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// An open GetMedia connection that starts at `start`.
    ///
    /// # Errors
    /// The endpoint is asked for again after any error.
    pub async fn open(&mut self, start: &StartAt) -> Result<Media, SourceError> {
        let opened = self.get_media(start).await;
        if opened.is_err() {
            self.endpoint = None;
        }
        opened
    }

    /// Asks for the endpoint again before the next connection.
    pub fn forget_endpoint(&mut self) {
        self.endpoint = None;
    }

    async fn get_media(&mut self, start: &StartAt) -> Result<Media, SourceError> {
        const ACTION: &str = "GetMedia";
        let client = self.client().await?;
        let selector = selector(start).map_err(|message| self.failed(ACTION, message))?;
        let request = client.get_media().stream_name(&self.stream).start_selector(selector);
        let answer = in_time(&self.stream, ACTION, request.send()).await?;
        let answer = answer.map_err(|error| explain(&self.stream, ACTION, &error))?;
        Ok(Media { stream: self.stream.clone(), body: answer.payload, is_begun: false })
    }

    async fn client(&mut self) -> Result<aws_sdk_kinesisvideomedia::Client, SourceError> {
        if let Some(endpoint) =
            self.endpoint.as_ref().filter(|endpoint| endpoint.since.elapsed() < ENDPOINT_LIFE)
        {
            return Ok(endpoint.client.clone());
        }
        let url = self.kvs.endpoint(&self.stream, ApiName::GetMedia).await?;
        // Connections of its own, so that no other camera shares one with it.
        let config = aws_sdk_kinesisvideomedia::config::Builder::from(&self.kvs.config)
            .endpoint_url(url)
            .http_client(new_http_client())
            .build();
        let client = aws_sdk_kinesisvideomedia::Client::from_conf(config);
        self.endpoint = Some(Endpoint { since: Instant::now(), client: client.clone() });
        Ok(client)
    }

    fn failed(&self, action: &'static str, message: String) -> SourceError {
        SourceError::Failed { stream: self.stream.clone(), action, message }
    }
}

/// The body of an open GetMedia connection.
#[derive(Debug)]
pub struct Media {
    stream: String,
    body: ByteStream,
    is_begun: bool,
}

impl Media {
    /// The next bytes; `None` at the end, which says nothing about the stream's end.
    ///
    /// # Errors
    /// The connection broke, or it begins with text: another server's, for footage never does.
    pub async fn next(&mut self) -> Option<Result<Bytes, SourceError>> {
        let bytes = self.body.next().await?;
        let bytes = bytes
            .map_err(|error| SourceError::Broken { stream: self.stream.clone(), message: causes(&error) });
        Some(bytes.and_then(|bytes| self.checked(bytes)))
    }

    fn checked(&mut self, bytes: Bytes) -> Result<Bytes, SourceError> {
        let is_begun = std::mem::replace(&mut self.is_begun, true);
        match text_for_footage(200, &bytes).filter(|_| !is_begun) {
            None => Ok(bytes),
            Some(text) => Err(SourceError::Failed {
                stream: self.stream.clone(),
                action: "GetMedia",
                message: format!("{text}; {FOREIGN_REMEDY}"),
            }),
        }
    }
}

fn selector(start: &StartAt) -> Result<StartSelector, String> {
    let selector = StartSelector::builder();
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

pub(super) async fn in_time<T>(
    stream: &str,
    action: &'static str,
    answer: impl Future<Output = T>,
) -> Result<T, SourceError> {
    tokio::time::timeout(ANSWER_LIMIT, answer).await.map_err(|_| SourceError::NoAnswer {
        stream: stream.to_owned(),
        action,
        limit_s: ANSWER_LIMIT.as_secs(),
    })
}

pub(super) fn explain<E>(stream: &str, action: &'static str, error: &SdkError<E, HttpResponse>) -> SourceError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (stream, failure) = (stream.to_owned(), AwsFailure::of(error));
    let message = failure.text.clone();
    let coded = || format!("{}: {}; {}", failure.code, failure.text, failure.advice(None, TRIED_AGAIN));
    match (failure.code.as_str(), &failure.certain) {
        ("no_credentials", _) => SourceError::NoCredentials { stream, action, message: failure.sentence() },
        ("unreachable" | "timeout" | "not_aws", Some(remedy)) => {
            SourceError::Unreachable { stream, action, message, remedy: remedy.clone() }
        }
        ("unreachable" | "timeout" | "not_aws", None) => {
            SourceError::Unreachable { stream, action, message, remedy: CHECK_NETWORK.to_owned() }
        }
        (
            "ExpiredTokenException"
            | "InvalidSignatureException"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "IncompleteSignatureException"
            | "MissingAuthenticationTokenException"
            | "SignatureDoesNotMatch"
            | "RequestExpired"
            | "ExpiredToken",
            Some(remedy),
        ) => {
            let message = format!("{}: {message}", failure.code);
            SourceError::Signature { stream, action, message, remedy: remedy.clone() }
        }
        ("NotAuthorizedException" | "AccessDeniedException", Some(remedy)) => {
            SourceError::NotAuthorized { stream, action, message, remedy: remedy.clone() }
        }
        ("NotAuthorizedException" | "AccessDeniedException", None) => {
            let key = match action {
                "GetMedia" | "GetHLSStreamingSessionURL" => {
                    ", and kms:Decrypt if a key of yours encrypts the stream"
                }
                _ => "",
            };
            let remedy = format!("grant kinesisvideo:{action} to this role{key}");
            SourceError::NotAuthorized { stream, action, message, remedy }
        }
        (_, Some(_)) => SourceError::Failed { stream, action, message: coded() },
        ("ResourceNotFoundException", None) => SourceError::NoSuchStream { stream },
        ("InvalidEndpointException", None) => SourceError::EndpointMoved { stream },
        (
            code @ ("ClientLimitExceededException"
            | "ConnectionLimitExceededException"
            | "ThrottlingException"
            | "Throttling"
            | "TooManyRequestsException"
            | "LimitExceededException"),
            None,
        ) => SourceError::Throttled { stream, action, code: code.to_owned() },
        _ => SourceError::Failed { stream, action, message: coded() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_many_cameras_are_a_hundred_a_second_and_one_alone_waits_for_nothing() {
        let slots = CallSlots::new(ENDPOINT_GAP);
        let start = Instant::now();
        let burst: Vec<u128> = (0..300).map(|_| (slots.take(start) - start).as_millis()).collect();
        assert_eq!(burst, (0..300).map(|call| call * 10).collect::<Vec<_>>());
        let later = start + Duration::from_secs(10);
        assert_eq!(slots.take(later), later);
        assert_eq!(slots.take(later), later + ENDPOINT_GAP);
    }
}
