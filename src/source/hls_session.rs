//! HLS sessions: GetHLSStreamingSessionURL through the AWS SDK.

use std::time::Duration;

use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia::Client;
use aws_sdk_kinesisvideoarchivedmedia::primitives::DateTime;
use aws_sdk_kinesisvideoarchivedmedia::types::{
    ContainerFormat, HlsDiscontinuityMode, HlsDisplayFragmentTimestamp, HlsFragmentSelector,
    HlsFragmentSelectorType, HlsPlaybackMode, HlsTimestampRange,
};

use super::kvs::{explain_error, with_timeout};
use super::{Kvs, SourceError};
use crate::aws::FOREIGN_REMEDY;

/// The number of segments in a playlist of stored footage.
/// Source: API reference, GetHLSStreamingSessionURL, MaxMediaPlaylistFragmentResults, 2026: 5,000 at most.
const MAX_STORED_SEGMENTS: i64 = 5_000;
/// The number of segments in a playlist of the newest footage: those that arrive between two requests of it.
const MAX_LIVE_SEGMENTS: i64 = 100;
/// The shortest session that KVS grants. Source: API reference, GetHLSStreamingSessionURL, Expires, 2026.
const MIN_SESSION_S: u64 = 300;
const HOUR_MS: i64 = 3_600_000;
const ACTION: &str = "GetHLSStreamingSessionURL";

/// The footage that a session lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionRange {
    /// The fragments that begin in this range by the producer's clock, ms since the epoch.
    Stored { from_ms: i64, to_ms: i64 },
    /// The newest fragments.
    Live,
}

/// Requests HLS sessions of one stream.
#[derive(Clone, Debug)]
pub(super) struct HlsSessionOpener {
    kvs: Kvs,
    stream: String,
    life: Duration,
}

impl HlsSessionOpener {
    pub(super) fn new(kvs: Kvs, stream: &str, life: Duration) -> Self {
        Self { kvs, stream: stream.to_owned(), life }
    }

    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// Returns the age at which a session is renewed.
    pub(super) fn life(&self) -> Duration {
        self.life
    }

    /// Requests a new session and returns its URL, which is a secret.
    pub(super) async fn request_url(&self, range: SessionRange) -> Result<String, SourceError> {
        // The endpoint is requested with each session and not kept: sessions are rare.
        let client = self.client().await?;
        let (mode, selector, max_segments) = self.selection(range)?;
        let expires_s = self.life.as_secs().max(MIN_SESSION_S);
        let request = client
            .get_hls_streaming_session_url()
            .stream_name(&self.stream)
            .playback_mode(mode)
            .hls_fragment_selector(selector)
            .container_format(ContainerFormat::FragmentedMp4)
            .discontinuity_mode(HlsDiscontinuityMode::OnDiscontinuity)
            // ALWAYS dates each segment by EXT-X-PROGRAM-DATE-TIME (RFC 8216, 4.3.2.6): the media time of its fragment.
            .display_fragment_timestamp(HlsDisplayFragmentTimestamp::Always)
            .expires(i32::try_from(expires_s).unwrap_or(i32::MAX))
            .max_media_playlist_fragment_results(max_segments);
        let answer = with_timeout(&self.stream, ACTION, request.send()).await?;
        // GetDataEndpoint has just found the stream, so ResourceNotFoundException here is about its fragments.
        let answer = answer.map_err(|error| match explain_error(&self.stream, ACTION, &error) {
            SourceError::NoSuchStream { stream } => SourceError::NoFootage { stream },
            other => other,
        })?;
        answer
            .hls_streaming_session_url
            .ok_or_else(|| self.failed(ACTION, format!("the answer has no URL; {FOREIGN_REMEDY}")))
    }

    /// Returns the parameters of a session that lists `range`.
    fn selection(
        &self,
        range: SessionRange,
    ) -> Result<(HlsPlaybackMode, HlsFragmentSelector, i64), SourceError> {
        let selector =
            HlsFragmentSelector::builder().fragment_selector_type(HlsFragmentSelectorType::ProducerTimestamp);
        match range {
            SessionRange::Live => Ok((HlsPlaybackMode::Live, selector.build(), MAX_LIVE_SEGMENTS)),
            SessionRange::Stored { from_ms, to_ms } => {
                let range = HlsTimestampRange::builder()
                    .start_timestamp(DateTime::from_millis(from_ms))
                    .end_timestamp(DateTime::from_millis(to_ms));
                let selector = selector.timestamp_range(range.build()).build();
                Ok((HlsPlaybackMode::OnDemand, selector, MAX_STORED_SEGMENTS))
            }
        }
    }

    async fn client(&self) -> Result<Client, SourceError> {
        let url = self.kvs.request_endpoint(&self.stream, ApiName::GetHlsStreamingSessionUrl).await?;
        let config =
            aws_sdk_kinesisvideoarchivedmedia::config::Builder::from(self.kvs.config()).endpoint_url(url);
        Ok(Client::from_conf(config.build()))
    }

    /// Requests the stream's data retention, ms.
    pub(super) async fn retention_ms(&self) -> Result<i64, SourceError> {
        Ok(i64::from(self.kvs.retention_hours(&self.stream).await?) * HOUR_MS)
    }

    pub(super) fn failed(&self, action: &'static str, message: String) -> SourceError {
        SourceError::Failed { stream: self.stream.clone(), action, message }
    }
}
