//! The stored footage of a stream: the fragments of a span of time, by ListFragments, and their media, by
//! GetMediaForFragmentList.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia::Client;
use aws_sdk_kinesisvideoarchivedmedia::operation::list_fragments::ListFragmentsOutput;
use aws_sdk_kinesisvideoarchivedmedia::primitives::DateTime;
use aws_sdk_kinesisvideoarchivedmedia::types::{
    Fragment as ListedFragment, FragmentSelector, FragmentSelectorType, TimestampRange,
};
use bytes::Bytes;
use thiserror::Error;
use tokio::time::timeout;

use super::kvs::{ENDPOINT_LIFE, explain_error, with_timeout};
use super::{GetMediaConnection, Kvs, SourceError};
use crate::base::{Backoff, epoch_ms};
use crate::media::fragment_order;

/// Limit on the fragments of one call of [`Archive::media`].
/// Source: Kinesis Video Streams quotas, GetMediaForFragmentList, 2026.
pub const MAX_FRAGMENTS_PER_CALL: usize = 1_000;
/// Limit on the fragments that [`Archive::list`] returns.
pub const MAX_LISTED_FRAGMENTS: usize = 100_000;
/// The longest fragment, ms: one that overlaps a time begins at most this long before it.
/// Source: Kinesis Video Streams quotas, PutMedia, 2026.
pub const MAX_FRAGMENT_MS: i64 = 20_000;

/// Fragments on a page. Source: API reference, ListFragments, MaxResults, 2026.
const PAGE_FRAGMENTS: i64 = 1_000;
/// Limit on the pages of a list: a page may be empty, so the number of fragments does not limit them.
const MAX_PAGES: usize = 1_000;
/// Attempts at a call before its error is returned.
const MAX_ATTEMPTS: u32 = 6;
const FIRST_RETRY: Duration = Duration::from_millis(250);
const MAX_RETRY: Duration = Duration::from_secs(4);
/// Timeout of the next bytes of an open answer.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
const HOUR_MS: i64 = 3_600_000;

/// A stored fragment, as ListFragments describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedFragment {
    /// The fragment number.
    pub number: Arc<str>,
    /// Producer timestamp, ms since the epoch; `None` where absent or 0.
    pub producer_ms: Option<i64>,
    /// Server timestamp, ms since the epoch.
    pub server_ms: Option<i64>,
    /// Length of the footage, ms.
    pub duration_ms: i64,
    /// Size, bytes.
    pub bytes: u64,
}

impl ArchivedFragment {
    /// Returns the media time at which the fragment starts, ms since the epoch.
    #[must_use]
    pub fn start_ms(&self) -> i64 {
        self.producer_ms.or(self.server_ms).unwrap_or(0)
    }

    /// Returns the media time at which the fragment ends, ms since the epoch.
    #[must_use]
    pub fn end_ms(&self) -> i64 {
        self.start_ms().saturating_add(self.duration_ms)
    }

    fn of(listed: ListedFragment) -> Option<Self> {
        let ms = |time: Option<DateTime>| time.map(nearest_ms).filter(|ms| *ms > 0);
        Some(Self {
            number: Arc::from(listed.fragment_number?),
            producer_ms: ms(listed.producer_timestamp),
            server_ms: ms(listed.server_timestamp),
            duration_ms: listed.fragment_length_in_milliseconds.max(0),
            bytes: u64::try_from(listed.fragment_size_in_bytes).unwrap_or(0),
        })
    }
}

/// The reason why stored footage cannot be read.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// A call failed.
    #[error(transparent)]
    Request(#[from] SourceError),
    /// The stream stores nothing.
    #[error("stream {stream:?} stores no footage: its data retention is 0 h; raise it (UpdateDataRetention)")]
    NoRetention {
        /// The stream's name.
        stream: String,
    },
    /// The footage is older than the stream's data retention.
    #[error(
        "the footage of this time is gone: stream {stream:?} keeps {hours} h; raise its data retention to keep more"
    )]
    RetentionOver {
        /// The stream's name.
        stream: String,
        /// The data retention, h.
        hours: i32,
    },
    /// No footage of the time is stored.
    #[error(
        "stream {stream:?} has no footage of this time: its camera sent none then, or it is older than the data retention"
    )]
    NoFootage {
        /// The stream's name.
        stream: String,
    },
    /// The span has more fragments than a list returns.
    #[error("stream {stream:?} has more than {limit} fragments in this span: ask for a shorter one")]
    TooMany {
        /// The stream's name.
        stream: String,
        /// The limit.
        limit: usize,
    },
}

impl ArchiveError {
    /// Returns the label of the error in metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Request(error) => error.reason(),
            Self::NoRetention { .. } => "no_retention",
            Self::RetentionOver { .. } => "retention_over",
            Self::NoFootage { .. } => "no_footage",
            Self::TooMany { .. } => "too_many_fragments",
        }
    }
}

/// The stored footage of one stream. Clones share the data endpoints.
#[derive(Clone, Debug)]
pub struct Archive {
    kvs: Kvs,
    stream: String,
}

impl Kvs {
    /// Returns the stored footage of `stream`.
    #[must_use]
    pub fn archive(&self, stream: &str) -> Archive {
        Archive { kvs: self.clone(), stream: stream.to_owned() }
    }
}

/// Returns a time in ms since the epoch. Times travel as seconds in a floating-point number, so they are rounded and not cut off.
fn nearest_ms(time: DateTime) -> i64 {
    i64::try_from((time.as_nanos() + 500_000).div_euclid(1_000_000)).unwrap_or(0)
}

impl Archive {
    /// Returns the stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Returns the fragments that begin within `range_ms` of media time, ms since the epoch, in its order, each once.
    ///
    /// Footage whose producer sends no timestamps is found by the server's, if there is no other.
    ///
    /// # Errors
    /// See [`ArchiveError`]. A span without fragments is none ([`Self::explain_absence`]).
    pub async fn list(&self, range_ms: RangeInclusive<i64>) -> Result<Vec<ArchivedFragment>, ArchiveError> {
        let mut found = self.list_by(FragmentSelectorType::ProducerTimestamp, &range_ms).await?;
        found.retain(|fragment| fragment.producer_ms.is_some());
        if found.is_empty() {
            found = self.list_by(FragmentSelectorType::ServerTimestamp, &range_ms).await?;
            found.retain(|fragment| fragment.producer_ms.is_none());
        }
        // AWS lists in no particular order, also across pages.
        found.sort_by(|a, b| {
            a.start_ms().cmp(&b.start_ms()).then_with(|| fragment_order(&a.number, &b.number))
        });
        found.dedup_by(|a, b| a.number == b.number);
        Ok(found)
    }

    /// Opens the media of 1 to [`MAX_FRAGMENTS_PER_CALL`] fragments, in this order.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub async fn media(&self, numbers: &[Arc<str>]) -> Result<ArchiveMedia, ArchiveError> {
        let mut retries = Retries::new();
        loop {
            match self.try_media(numbers).await {
                Ok(media) => return Ok(media),
                Err(error) => self.retry(&mut retries, ApiName::GetMediaForFragmentList, error).await?,
            }
        }
    }

    /// Returns the reason why no footage of `range_ms` is stored: the stream's data retention, or a gap of the camera.
    pub async fn explain_absence(&self, range_ms: RangeInclusive<i64>) -> ArchiveError {
        let stream = self.stream.clone();
        match self.kvs.retention_hours(&stream).await {
            Ok(0) => ArchiveError::NoRetention { stream },
            Ok(hours) if *range_ms.end() < epoch_ms() - i64::from(hours) * HOUR_MS => {
                ArchiveError::RetentionOver { stream, hours }
            }
            // Nothing else needs kinesisvideo:DescribeStream, so a role without it may be complete.
            Ok(_) | Err(SourceError::NotAuthorized { .. }) => ArchiveError::NoFootage { stream },
            Err(error) => error.into(),
        }
    }

    /// Returns the fragments that begin within `range_ms` of one time line, in no particular order.
    async fn list_by(
        &self,
        line: FragmentSelectorType,
        range_ms: &RangeInclusive<i64>,
    ) -> Result<Vec<ArchivedFragment>, ArchiveError> {
        let selector = self.selector(line, range_ms)?;
        let (mut found, mut token) = (Vec::new(), None);
        for _page in 0..MAX_PAGES {
            let page = self.list_page(&selector, token).await?;
            found.extend(page.fragments.unwrap_or_default().into_iter().filter_map(ArchivedFragment::of));
            token = page.next_token;
            if token.is_none() && found.len() <= MAX_LISTED_FRAGMENTS {
                return Ok(found);
            }
            if found.len() > MAX_LISTED_FRAGMENTS {
                break;
            }
        }
        Err(ArchiveError::TooMany { stream: self.stream.clone(), limit: MAX_LISTED_FRAGMENTS })
    }

    fn selector(
        &self,
        line: FragmentSelectorType,
        range_ms: &RangeInclusive<i64>,
    ) -> Result<FragmentSelector, SourceError> {
        let range = TimestampRange::builder()
            .start_timestamp(DateTime::from_millis(*range_ms.start()))
            .end_timestamp(DateTime::from_millis(*range_ms.end()));
        let selector = range.build().and_then(|range| {
            FragmentSelector::builder().fragment_selector_type(line).timestamp_range(range).build()
        });
        selector.map_err(|error| SourceError::Failed {
            stream: self.stream.clone(),
            action: LIST,
            message: error.to_string(),
        })
    }

    async fn list_page(
        &self,
        selector: &FragmentSelector,
        token: Option<String>,
    ) -> Result<ListFragmentsOutput, SourceError> {
        let mut retries = Retries::new();
        loop {
            match self.try_list_page(selector, token.clone()).await {
                Ok(page) => return Ok(page),
                Err(error) => self.retry(&mut retries, ApiName::ListFragments, error).await?,
            }
        }
    }

    async fn try_list_page(
        &self,
        selector: &FragmentSelector,
        token: Option<String>,
    ) -> Result<ListFragmentsOutput, SourceError> {
        let client = self.client(ApiName::ListFragments).await?;
        let request = client
            .list_fragments()
            .stream_name(&self.stream)
            .max_results(PAGE_FRAGMENTS)
            .fragment_selector(selector.clone())
            .set_next_token(token);
        let answer = with_timeout(&self.stream, LIST, request.send()).await?;
        answer.map_err(|error| explain_error(&self.stream, LIST, &error))
    }

    async fn try_media(&self, numbers: &[Arc<str>]) -> Result<ArchiveMedia, SourceError> {
        let client = self.client(ApiName::GetMediaForFragmentList).await?;
        let numbers = numbers.iter().map(ToString::to_string).collect();
        let request =
            client.get_media_for_fragment_list().stream_name(&self.stream).set_fragments(Some(numbers));
        let answer = with_timeout(&self.stream, MEDIA, request.send()).await?;
        let answer = answer.map_err(|error| explain_error(&self.stream, MEDIA, &error))?;
        Ok(ArchiveMedia(GetMediaConnection::new(&self.stream, MEDIA, answer.payload)))
    }

    /// Waits before another attempt at a call.
    ///
    /// # Errors
    /// `error` is not for another attempt.
    async fn retry(
        &self,
        retries: &mut Retries,
        api: ApiName,
        error: SourceError,
    ) -> Result<(), SourceError> {
        // Any failure may come from an endpoint that has moved.
        self.kvs.archive_clients().remove(&(self.stream.clone(), api));
        let is_transient = matches!(
            error,
            SourceError::Throttled { .. }
                | SourceError::EndpointMoved { .. }
                | SourceError::Unreachable { .. }
                | SourceError::NoAnswer { .. }
                | SourceError::Failed { .. }
        );
        retries.attempts += 1;
        if !is_transient || retries.attempts >= MAX_ATTEMPTS {
            return Err(error);
        }
        tokio::time::sleep(retries.backoff.next_wait()).await;
        Ok(())
    }

    async fn client(&self, api: ApiName) -> Result<Client, SourceError> {
        let operation = (self.stream.clone(), api.clone());
        if let Some(client) = self.kvs.archive_clients().get(&operation, ENDPOINT_LIFE) {
            return Ok(client);
        }
        let url = self.kvs.request_endpoint(&self.stream, api).await?;
        let config =
            aws_sdk_kinesisvideoarchivedmedia::config::Builder::from(self.kvs.config()).endpoint_url(url);
        let client = Client::from_conf(config.build());
        self.kvs.archive_clients().insert(operation, client.clone());
        Ok(client)
    }
}

const LIST: &str = "ListFragments";
const MEDIA: &str = "GetMediaForFragmentList";

/// The attempts at one call.
struct Retries {
    attempts: u32,
    backoff: Backoff,
}

impl Retries {
    fn new() -> Self {
        Self { attempts: 0, backoff: Backoff::new(FIRST_RETRY, MAX_RETRY) }
    }
}

/// The media of stored fragments: one Matroska document after the other, as from GetMedia.
///
/// A fragment that has expired ends the answer with an error record (4000).
#[derive(Debug)]
pub struct ArchiveMedia(GetMediaConnection);

impl ArchiveMedia {
    /// Returns the next bytes; `None` at the end.
    ///
    /// # Errors
    /// The connection broke or stalled, or its first bytes are another server's text.
    pub async fn next(&mut self) -> Option<Result<Bytes, ArchiveError>> {
        let next = timeout(STALL_TIMEOUT, self.0.next()).await;
        let next = next.unwrap_or_else(|_stalled| {
            let message = format!("no bytes within {} s", STALL_TIMEOUT.as_secs());
            Some(Err(SourceError::Broken { stream: self.0.stream().to_owned(), message }))
        });
        next.map(|bytes| bytes.map_err(ArchiveError::from))
    }
}
