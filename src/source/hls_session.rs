//! GetHLSStreamingSessionURL through the AWS SDK.

use std::time::Duration;

use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia::Client;
use aws_sdk_kinesisvideoarchivedmedia::primitives::DateTime;
use aws_sdk_kinesisvideoarchivedmedia::types::{
    ContainerFormat, HlsDiscontinuityMode, HlsDisplayFragmentTimestamp, HlsFragmentSelector,
    HlsFragmentSelectorType, HlsPlaybackMode, HlsTimestampRange,
};

use super::kvs::{explain, in_time};
use super::{Kvs, SourceError};
use crate::aws::FOREIGN_REMEDY;

/// Segments in a playlist of stored footage. Source: API reference, GetHLSStreamingSessionURL, 2026: 5,000 at most.
const MOST_STORED: i64 = 5_000;
/// Segments in a playlist of the newest footage: what may come while nobody looks.
const MOST_LIVE: i64 = 100;
/// KVS grants no shorter session. Source: the same.
const SHORTEST_S: u64 = 300;
const MS_AN_HOUR: i64 = 3_600_000;
const ACTION: &str = "GetHLSStreamingSessionURL";

/// Which footage a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Playback {
    /// What begins in this range by the producer's clock, ms since the epoch.
    Stored { from_ms: i64, to_ms: i64 },
    /// The newest.
    Live,
}

/// Asks for sessions of one stream.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    kvs: Kvs,
    stream: String,
    lasts: Duration,
}

impl Sessions {
    pub(super) fn new(kvs: Kvs, stream: &str, lasts: Duration) -> Self {
        Self { kvs, stream: stream.to_owned(), lasts }
    }

    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// After so long a session is renewed, or a little before.
    pub(super) fn lasts(&self) -> Duration {
        self.lasts
    }

    /// The URL of a new session: a secret. The endpoint is asked for each time, which is seldom.
    pub(super) async fn url(&self, playback: Playback) -> Result<String, SourceError> {
        let client = self.client().await?;
        let (mode, selector, most) = self.asked(playback)?;
        let expires_s = self.lasts.as_secs().max(SHORTEST_S);
        let request = client
            .get_hls_streaming_session_url()
            .stream_name(&self.stream)
            .playback_mode(mode)
            .hls_fragment_selector(selector)
            .container_format(ContainerFormat::FragmentedMp4)
            .discontinuity_mode(HlsDiscontinuityMode::OnDiscontinuity)
            .display_fragment_timestamp(HlsDisplayFragmentTimestamp::Always)
            .expires(i32::try_from(expires_s).unwrap_or(i32::MAX))
            .max_media_playlist_fragment_results(most);
        let answer = in_time(&self.stream, ACTION, request.send()).await?;
        // The stream is there, as its endpoint was just found.
        let answer = answer.map_err(|error| match explain(&self.stream, ACTION, &error) {
            SourceError::NoSuchStream { stream } => SourceError::NoFootage { stream },
            other => other,
        })?;
        answer
            .hls_streaming_session_url
            .ok_or_else(|| self.failed(ACTION, format!("the answer has no URL; {FOREIGN_REMEDY}")))
    }

    fn asked(&self, playback: Playback) -> Result<(HlsPlaybackMode, HlsFragmentSelector, i64), SourceError> {
        let selector =
            HlsFragmentSelector::builder().fragment_selector_type(HlsFragmentSelectorType::ProducerTimestamp);
        match playback {
            Playback::Live => Ok((HlsPlaybackMode::Live, selector.build(), MOST_LIVE)),
            Playback::Stored { from_ms, to_ms } => {
                let range = HlsTimestampRange::builder()
                    .start_timestamp(DateTime::from_millis(from_ms))
                    .end_timestamp(DateTime::from_millis(to_ms));
                Ok((HlsPlaybackMode::OnDemand, selector.timestamp_range(range.build()).build(), MOST_STORED))
            }
        }
    }

    async fn client(&self) -> Result<Client, SourceError> {
        let url = self.kvs.endpoint(&self.stream, ApiName::GetHlsStreamingSessionUrl).await?;
        let config =
            aws_sdk_kinesisvideoarchivedmedia::config::Builder::from(self.kvs.config()).endpoint_url(url);
        Ok(Client::from_conf(config.build()))
    }

    /// How long the stream keeps footage.
    pub(super) async fn retention_ms(&self) -> Result<i64, SourceError> {
        Ok(i64::from(self.kvs.retention_hours(&self.stream).await?) * MS_AN_HOUR)
    }

    pub(super) fn failed(&self, action: &'static str, message: String) -> SourceError {
        SourceError::Failed { stream: self.stream.clone(), action, message }
    }
}
