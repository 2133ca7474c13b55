//! Requests files from S3 and web servers.

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::primitives::{ByteStream, DateTime, DateTimeFormat};
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use tokio::time::timeout;

use super::Address;
use super::address::is_redirect_allowed;
use crate::aws::{
    AwsFailure, FOREIGN_REMEDY, explain_web_error, foreign_page, has_own_s3, new_web_client,
    validate_environment,
};
use crate::base::causes;

/// Timeout for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Timeout for the next bytes of a connection.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Minimum number of bytes within [`RATE_SPAN`]. A server that sends a byte now and then never exceeds [`READ_TIMEOUT`].
const MIN_BYTES_PER_SPAN: u64 = 1 << 20;
/// Span over which the rate is measured.
const RATE_SPAN: Duration = Duration::from_secs(60);
/// Maximum number of redirects that are followed.
const MAX_REDIRECTS: usize = 5;
const GRANT: &str =
    "grant s3:GetObject on it to this role (and kms:Decrypt, if it is encrypted by a key of yours)";

/// The clients of S3 and of web servers. They make one attempt per request; the caller retries.
#[derive(Clone, Debug)]
pub struct RemoteClient {
    web: Client,
    s3: Option<aws_sdk_s3::Client>,
}

/// Response of a server to the request for a file.
#[expect(clippy::large_enum_variant, reason = "one is made per request, and taken apart at once")]
pub enum FetchResponse {
    /// The file is still the version that the request's ETag names.
    Unchanged,
    /// The content of the file.
    Content(FileContent),
}

/// A small file as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedText {
    /// The text.
    pub text: String,
    /// The server's ETag for this version of the file.
    pub etag: Option<String>,
    /// The time of modification by the server's clock, ms since 1970.
    pub modified_ms: Option<u64>,
}

/// The content of a file while it arrives.
pub struct FileContent {
    /// The server's ETag for this version of the file.
    pub etag: Option<String>,
    /// The time of modification by the server's clock, ms since 1970, if the server sends it.
    pub modified_ms: Option<u64>,
    /// Length in bytes, if the server sends it.
    pub length: Option<u64>,
    body: FileBody,
    received: u64,
    rate: MinRate,
}

/// Detects a download that is too slow to wait for.
struct MinRate {
    /// Start of the span that is being measured.
    began: Instant,
    /// Bytes received before that span.
    before: u64,
}

impl MinRate {
    fn new() -> Self {
        Self { began: Instant::now(), before: 0 }
    }

    /// Errors: of the bytes `received` so far, too few arrived within the last span.
    fn check(&mut self, now: Instant, received: u64) -> Result<(), GetError> {
        if now.saturating_duration_since(self.began) < RATE_SPAN {
            return Ok(());
        }
        let in_span = received - self.before;
        *self = Self { began: now, before: received };
        if in_span >= MIN_BYTES_PER_SPAN {
            return Ok(());
        }
        let span_s = RATE_SPAN.as_secs();
        Err(GetError::Failed(format!(
            "only {in_span} bytes arrived within {span_s} s, the minimum is {MIN_BYTES_PER_SPAN}"
        )))
    }
}

enum FileBody {
    S3(ByteStream),
    Web(Response),
}

/// A server did not return the content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GetError {
    /// The file does not exist, or access is denied. A further request would not help.
    Refused(String),
    /// There was no answer, or it was incomplete. A further request may succeed.
    Failed(String),
}

impl GetError {
    /// Returns the reason.
    #[must_use]
    pub fn why(self) -> String {
        match self {
            Self::Refused(why) | Self::Failed(why) => why,
        }
    }
}

impl RemoteClient {
    /// Creates the clients. Without `aws`, requests for S3 fail.
    ///
    /// # Errors
    /// TLS cannot be set up, or `AWS_CA_BUNDLE` or a proxy variable is invalid.
    pub fn new(aws: Option<&SdkConfig>) -> Result<Self, GetError> {
        // reqwest's own policy would also follow a redirect from https to http.
        let follow = redirect::Policy::custom(|attempt| match attempt {
            far if far.previous().len() > MAX_REDIRECTS => far.error("redirected too often"),
            safe if safe.previous().last().is_some_and(|from| is_redirect_allowed(from, safe.url())) => {
                safe.follow()
            }
            plain => plain.error("redirected to http://, where content can be changed in transit"),
        });
        // No timeout of the whole request: a large model may take minutes. `MinRate` ends a slow one.
        let web =
            Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).redirect(follow);
        validate_environment().map_err(|error| GetError::Refused(error.to_string()))?;
        Ok(Self { web: new_web_client(web).map_err(GetError::Failed)?, s3: aws.map(s3_client) })
    }

    /// Requests the content, unless it is still the version that `etag` names.
    ///
    /// # Errors
    /// See [`GetError`].
    pub async fn get(&self, address: &Address, etag: Option<&str>) -> Result<FetchResponse, GetError> {
        match address {
            Address::S3 { bucket, key } => self.object(bucket, key, etag).await,
            Address::Web(url) => {
                let mut request = self.web.get(url.clone());
                if let Some(etag) = etag {
                    request = request.header(IF_NONE_MATCH, etag);
                }
                web_response(request.send().await.map_err(|error| failed(error, url))?)
            }
        }
    }

    /// Returns a small file as text, or `None` if it is still the version that `etag` names.
    ///
    /// # Errors
    /// See [`GetError`]. Also, the file has more than `max_bytes` or is not UTF-8.
    pub async fn text(
        &self,
        address: &Address,
        etag: Option<&str>,
        max_bytes: usize,
    ) -> Result<Option<FetchedText>, GetError> {
        let FetchResponse::Content(mut content) = self.get(address, etag).await? else { return Ok(None) };
        let mut all = Vec::new();
        while let Some(part) = content.next().await? {
            if all.len() + part.len() > max_bytes {
                return Err(GetError::Refused(format!("it has more than {max_bytes} bytes")));
            }
            all.extend_from_slice(&part);
        }
        let text = String::from_utf8(all);
        let text =
            text.map_err(|_| GetError::Refused("it is not UTF-8 text; save it as UTF-8".to_owned()))?;
        Ok(Some(FetchedText { text, etag: content.etag, modified_ms: content.modified_ms }))
    }

    async fn object(&self, bucket: &str, key: &str, etag: Option<&str>) -> Result<FetchResponse, GetError> {
        let no_client = || GetError::Refused("no AWS credentials were set up for S3".to_owned());
        let request = self.s3.as_ref().ok_or_else(no_client)?.get_object().bucket(bucket).key(key);
        let response = timeout(READ_TIMEOUT, request.set_if_none_match(etag.map(str::to_owned)).send());
        match response.await {
            Err(_) => Err(timed_out()),
            Ok(Ok(object)) => Ok(FetchResponse::Content(object_content(object))),
            Ok(Err(error)) => object_error(bucket, &error),
        }
    }
}

impl FileContent {
    /// Returns the next bytes, or `None` after the last ones.
    ///
    /// # Errors
    /// [`GetError::Failed`]: the connection broke or was too slow, or the content is a page of a proxy.
    pub async fn next(&mut self) -> Result<Option<Bytes>, GetError> {
        let part = self.receive().await?;
        if let Some(page) = part.as_ref().filter(|_| self.received == 0).and_then(|part| self.page(part)) {
            return Err(page);
        }
        self.received += part.as_ref().map_or(0, |part| part.len() as u64);
        match (&part, self.length) {
            // The SDK does not compare the number of bytes with Content-Length.
            (None, Some(length)) if length != self.received => {
                Err(GetError::Failed(format!("it broke off after {} of {length} bytes", self.received)))
            }
            (None, _) => Ok(part),
            (Some(_), _) => self.rate.check(Instant::now(), self.received).map(|()| part),
        }
    }
}

impl FileContent {
    /// Receives the next bytes of the body. Both kinds of body end with `None`.
    async fn receive(&mut self) -> Result<Option<Bytes>, GetError> {
        match &mut self.body {
            FileBody::Web(response) => {
                // The error of `chunk` names the address after redirects.
                let url = response.url().clone();
                response.chunk().await.map_err(|error| failed(error, &url))
            }
            FileBody::S3(stream) => {
                let next = timeout(READ_TIMEOUT, stream.next()).await.map_err(|_| timed_out())?;
                next.transpose().map_err(|error| GetError::Failed(causes(&error)))
            }
        }
    }

    /// Returns an error if the first bytes are those of a page: a proxy's login page must not be kept as a model.
    fn page(&self, start: &[u8]) -> Option<GetError> {
        let FileBody::Web(response) = &self.body else { return None };
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let page = foreign_page(response.status().as_u16(), kind, start)?;
        let page = page.replace("is not from AWS", "is a page, not the file");
        Some(GetError::Failed(format!(
            "{page}; write the address of the file itself, and check proxies on the way"
        )))
    }
}

fn s3_client(aws: &SdkConfig) -> aws_sdk_s3::Client {
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build();
    let config = aws_sdk_s3::config::Builder::from(aws)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        // Local S3 servers have no host name per bucket.
        .force_path_style(has_own_s3(aws));
    aws_sdk_s3::Client::from_conf(config.build())
}

fn web_response(response: Response) -> Result<FetchResponse, GetError> {
    let status = response.status();
    match status {
        StatusCode::OK => {
            let etag = header(response.headers(), ETAG).map(str::to_owned);
            let modified = header(response.headers(), LAST_MODIFIED)
                .and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
            let (modified_ms, length) = (modified.and_then(ms_since_1970), response.content_length());
            let (body, rate) = (FileBody::Web(response), MinRate::new());
            Ok(FetchResponse::Content(FileContent { etag, modified_ms, length, body, received: 0, rate }))
        }
        StatusCode::NOT_MODIFIED => Ok(FetchResponse::Unchanged),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            Err(GetError::Refused(format!("{status}; correct the address")))
        }
        // The only client errors that a later request can overcome.
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err(GetError::Failed(status.to_string()))
        }
        // All other client errors stay the same until a person changes something.
        status if status.is_client_error() => Err(GetError::Refused(format!(
            "{status}; the server requires other credentials or another address"
        ))),
        status => Err(GetError::Failed(status.to_string())),
    }
}

fn object_content(object: GetObjectOutput) -> FileContent {
    let length = object.content_length.and_then(|length| u64::try_from(length).ok());
    let modified_ms = object.last_modified.and_then(ms_since_1970);
    let (body, rate) = (FileBody::S3(object.body), MinRate::new());
    FileContent { etag: object.e_tag, modified_ms, length, body, received: 0, rate }
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn ms_since_1970(time: DateTime) -> Option<u64> {
    time.to_millis().ok().and_then(|ms| u64::try_from(ms).ok())
}

/// Returns `Unchanged` for S3's 304, which the SDK reports as an error, and else the error.
fn object_error(bucket: &str, error: &SdkError<GetObjectError>) -> Result<FetchResponse, GetError> {
    let status = error.raw_response().map(|response| response.status().as_u16());
    let failure = AwsFailure::of(error);
    let code = failure.code.as_str();
    match (status, code) {
        (Some(304), _) => Ok(FetchResponse::Unchanged),
        (_, "NoSuchKey") => Err(GetError::Refused("there is no such object; correct the key".to_owned())),
        (_, "NoSuchBucket") => {
            Err(GetError::Refused(format!("there is no bucket {bucket}; correct the name")))
        }
        // 301 and 307: the bucket is in another region. 400: an invalid token, or a key that S3 cannot accept.
        (Some(301 | 307 | 400 | 403), _) => {
            let advice = failure.advice(Some(GRANT), FOREIGN_REMEDY);
            Err(GetError::Refused(format!("bucket {bucket}: {code}: {}; {advice}", failure.text)))
        }
        _ => Err(GetError::Failed(failure.at_place(&format!("bucket {bucket}"), None))),
    }
}

fn timed_out() -> GetError {
    GetError::Failed(format!("no bytes arrived for {} s", READ_TIMEOUT.as_secs()))
}

/// Returns the error without the address, whose query may be a secret.
fn failed(error: reqwest::Error, url: &Url) -> GetError {
    GetError::Failed(explain_web_error(error, url.as_str(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_sends_too_slowly_fails_after_a_minute_and_a_slow_one_does_not() {
        for (name, bytes_per_s, fails_at) in
            [("one byte per second", 1, Some(60)), ("too slow", 17_000, Some(60)), ("slow", 18_000, None)]
        {
            let mut rate = MinRate::new();
            let start = rate.began;
            let failed = (1..600).find(|second| {
                rate.check(start + Duration::from_secs(*second), second * bytes_per_s).is_err()
            });
            assert_eq!(failed, fails_at, "{name}");
        }
        let mut rate = MinRate::new();
        let start = rate.began;
        rate.check(start + RATE_SPAN, 100 << 20).unwrap();
        let error = rate.check(start + RATE_SPAN * 2, (100 << 20) + 12).unwrap_err().why();
        assert_eq!(
            error, "only 12 bytes arrived within 60 s, the minimum is 1048576",
            "also after a good start"
        );
    }
}
