//! Asks S3 and web servers for files.

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use tokio::time::timeout;

use super::Address;
use super::address::may_lead;
use crate::aws::{
    AwsFailure, FOREIGN_REMEDY, explain_web_error, foreign_page, new_web_client, validate_environment,
};
use crate::base::causes;

/// A connection is there by then, or the attempt failed.
const CONNECT: Duration = Duration::from_secs(4);
/// Something comes by then, or the attempt failed.
const SILENCE: Duration = Duration::from_secs(20);
/// The least that comes within [`SLOW_SPAN`], bytes: a server that drips a byte now and then is never silent.
const LEAST_BYTES: u64 = 1 << 20;
/// The span over which a rate that is too low is noticed.
const SLOW_SPAN: Duration = Duration::from_secs(60);
/// So many servers may pass us on to another.
const REDIRECTS: usize = 5;
const GRANT: &str =
    "grant s3:GetObject on it to this role (and kms:Decrypt, if it is encrypted by a key of yours)";

/// The clients. They try once.
#[derive(Clone, Debug)]
pub struct Remote {
    web: Client,
    s3: Option<aws_sdk_s3::Client>,
}

/// What a server answers.
#[expect(clippy::large_enum_variant, reason = "one is made per request, and taken apart at once")]
pub enum Got {
    /// The content is the one that we have.
    Unchanged,
    /// Its content follows.
    Content(Content),
}

/// Content as it comes.
pub struct Content {
    /// The server's name for this version of it.
    pub etag: Option<String>,
    /// Its length, bytes, where the server says.
    pub length: Option<u64>,
    body: Body,
    seen: u64,
    rate: LeastRate,
}

/// Measures whether content comes fast enough to be waited for.
struct LeastRate {
    /// Begin of the span that is being measured, and the bytes that came before it.
    began: Instant,
    before: u64,
}

impl LeastRate {
    fn new() -> Self {
        Self { began: Instant::now(), before: 0 }
    }

    /// Errors: of the bytes `seen` so far, too few came within the last span.
    fn check(&mut self, now: Instant, seen: u64) -> Result<(), GetError> {
        if now.saturating_duration_since(self.began) < SLOW_SPAN {
            return Ok(());
        }
        let came = seen - self.before;
        *self = Self { began: now, before: seen };
        let least = LEAST_BYTES;
        let text =
            || format!("only {came} bytes came within {} s, at least {least} must", SLOW_SPAN.as_secs());
        if came < least { Err(GetError::Failed(text())) } else { Ok(()) }
    }
}

enum Body {
    S3(ByteStream),
    Web(Response),
}

/// Why there is no content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GetError {
    /// The server says that there is none, or not for us. Asking again would not help.
    Refused(String),
    /// No answer, or no whole one.
    Failed(String),
}

impl GetError {
    /// In words.
    #[must_use]
    pub fn why(self) -> String {
        match self {
            Self::Refused(why) | Self::Failed(why) => why,
        }
    }
}

impl Remote {
    /// Clients; without `aws` nothing is fetched from S3.
    ///
    /// # Errors
    /// TLS cannot be set up, or `AWS_CA_BUNDLE` or a variable of a proxy cannot be used.
    pub fn new(aws: Option<&SdkConfig>) -> Result<Self, GetError> {
        let follow = redirect::Policy::custom(|attempt| match attempt {
            far if far.previous().len() > REDIRECTS => far.error("redirected too often"),
            safe if safe.previous().last().is_some_and(|from| may_lead(from, safe.url())) => safe.follow(),
            plain => plain.error("redirected to http://, by which content can be changed on its way"),
        });
        let web = Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).redirect(follow);
        validate_environment().map_err(|error| GetError::Refused(error.to_string()))?;
        Ok(Self { web: new_web_client(web).map_err(GetError::Failed)?, s3: aws.map(s3_client) })
    }

    /// Asks for the content, unless it is still the one that `etag` names.
    ///
    /// # Errors
    /// See [`GetError`].
    pub async fn get(&self, address: &Address, etag: Option<&str>) -> Result<Got, GetError> {
        match address {
            Address::S3 { bucket, key } => self.object(bucket, key, etag).await,
            Address::Web(url) => {
                let asking = self.web.get(url.clone());
                let asking = match etag {
                    Some(etag) => asking.header(IF_NONE_MATCH, etag),
                    None => asking,
                };
                answered(asking.send().await.map_err(|error| failed(error, url))?)
            }
        }
    }

    /// All of a small file as text, with its `etag`; `None`: it is still the one that `etag` names.
    ///
    /// # Errors
    /// See [`GetError`]; also where it has more than `most_bytes`, or is not UTF-8.
    pub async fn text(
        &self,
        address: &Address,
        etag: Option<&str>,
        most_bytes: usize,
    ) -> Result<Option<(String, Option<String>)>, GetError> {
        let Got::Content(mut content) = self.get(address, etag).await? else { return Ok(None) };
        let mut all = Vec::new();
        while let Some(part) = content.next().await? {
            if all.len() + part.len() > most_bytes {
                return Err(GetError::Refused(format!("it has more than {most_bytes} bytes")));
            }
            all.extend_from_slice(&part);
        }
        let text = String::from_utf8(all);
        let text = text.map_err(|_| GetError::Refused("it is no UTF-8 text; save it as such".to_owned()))?;
        Ok(Some((text, content.etag)))
    }

    async fn object(&self, bucket: &str, key: &str, etag: Option<&str>) -> Result<Got, GetError> {
        let no_client = || GetError::Refused("no AWS account is set up for it".to_owned());
        let asking = self.s3.as_ref().ok_or_else(no_client)?.get_object().bucket(bucket).key(key);
        let sending = timeout(SILENCE, asking.set_if_none_match(etag.map(str::to_owned)).send());
        match sending.await {
            Err(_) => Err(silent()),
            Ok(Ok(object)) => Ok(Got::Content(of_object(object))),
            Ok(Err(error)) => refused_object(bucket, &error),
        }
    }
}

impl Content {
    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    /// [`GetError::Failed`]: it broke off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, GetError> {
        let part = match &mut self.body {
            Body::Web(answer) => {
                let url = answer.url().clone();
                answer.chunk().await.map_err(|error| failed(error, &url))?
            }
            Body::S3(stream) => {
                let next = timeout(SILENCE, stream.next()).await.map_err(|_| silent())?;
                next.transpose().map_err(|error| GetError::Failed(causes(&error)))?
            }
        };
        if let Some(page) = part.as_ref().filter(|_| self.seen == 0).and_then(|part| self.page(part)) {
            return Err(page);
        }
        self.seen += part.as_ref().map_or(0, |part| part.len() as u64);
        match (&part, self.length) {
            (None, Some(length)) if length != self.seen => {
                Err(GetError::Failed(format!("it broke off after {} of {length} bytes", self.seen)))
            }
            (None, _) => Ok(part),
            (Some(_), _) => self.rate.check(Instant::now(), self.seen).map(|()| part),
        }
    }
}

impl Content {
    /// Why the first bytes are not those of the file: a page of a proxy must not be kept as a model.
    fn page(&self, start: &[u8]) -> Option<GetError> {
        let Body::Web(answer) = &self.body else { return None };
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let page = foreign_page(answer.status().as_u16(), kind, start)?;
        let page = page.replace("is not from AWS", "is a page, not the file");
        Some(GetError::Failed(format!(
            "{page}; write the address of the file itself, and check proxies on the way"
        )))
    }
}

fn s3_client(aws: &SdkConfig) -> aws_sdk_s3::Client {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(SILENCE).build();
    let config = aws_sdk_s3::config::Builder::from(aws)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .force_path_style(crate::delivery::has_own_s3(aws));
    aws_sdk_s3::Client::from_conf(config.build())
}

fn answered(answer: Response) -> Result<Got, GetError> {
    let status = answer.status();
    match status {
        StatusCode::OK => {
            let etag = answer.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
            let length = answer.content_length();
            Ok(Got::Content(Content {
                etag,
                length,
                body: Body::Web(answer),
                seen: 0,
                rate: LeastRate::new(),
            }))
        }
        StatusCode::NOT_MODIFIED => Ok(Got::Unchanged),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            Err(GetError::Refused(format!("{status}; correct the address")))
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err(GetError::Failed(status.to_string()))
        }
        status if status.is_client_error() => {
            Err(GetError::Refused(format!("{status}; its server wants other credentials or another address")))
        }
        status => Err(GetError::Failed(status.to_string())),
    }
}

fn of_object(object: GetObjectOutput) -> Content {
    let length = object.content_length.and_then(|length| u64::try_from(length).ok());
    Content { etag: object.e_tag, length, body: Body::S3(object.body), seen: 0, rate: LeastRate::new() }
}

fn refused_object(bucket: &str, error: &SdkError<GetObjectError>) -> Result<Got, GetError> {
    let status = error.raw_response().map(|response| response.status().as_u16());
    let failure = AwsFailure::of(error);
    let code = failure.code.as_str();
    match (status, code) {
        (Some(304), _) => Ok(Got::Unchanged),
        (_, "NoSuchKey") => Err(GetError::Refused("there is no such object; correct its key".to_owned())),
        (_, "NoSuchBucket") => {
            Err(GetError::Refused(format!("there is no bucket {bucket}; correct its name")))
        }
        (Some(301 | 307 | 400 | 403), _) => {
            let advice = failure.advice(Some(GRANT), FOREIGN_REMEDY);
            Err(GetError::Refused(format!("bucket {bucket}: {code}: {}; {advice}", failure.text)))
        }
        _ => Err(GetError::Failed(failure.told(&format!("bucket {bucket}"), None))),
    }
}

fn silent() -> GetError {
    GetError::Failed(format!("nothing came for {} s", SILENCE.as_secs()))
}

/// No text holds the address, whose query may be a secret.
fn failed(error: reqwest::Error, url: &Url) -> GetError {
    GetError::Failed(explain_web_error(error, url.as_str(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_drips_has_failed_after_a_minute_and_a_slow_one_has_not() {
        for (name, bytes_per_s, fails_at) in
            [("drips", 1, Some(60)), ("too slow", 17_000, Some(60)), ("slow", 18_000, None)]
        {
            let mut rate = LeastRate::new();
            let start = rate.began;
            let failed = (1..600).find(|second| {
                rate.check(start + Duration::from_secs(*second), second * bytes_per_s).is_err()
            });
            assert_eq!(failed, fails_at, "{name}");
        }
        let mut rate = LeastRate::new();
        let start = rate.began;
        rate.check(start + SLOW_SPAN, 100 << 20).unwrap();
        let error = rate.check(start + SLOW_SPAN * 2, (100 << 20) + 12).unwrap_err().why();
        assert_eq!(error, "only 12 bytes came within 60 s, at least 1048576 must", "also after a good start");
    }
}
