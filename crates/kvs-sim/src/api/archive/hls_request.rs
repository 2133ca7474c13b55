//! What GetHLSStreamingSessionURL is asked for. Source: AWS, GetHLSStreamingSessionURL, 2026.

use serde::Deserialize;

use crate::api::request::stream_reference::StreamReference;
use crate::api::request::values::{TIME_LINES, TimestampRange, invalid, one_of, within};
use crate::error::ApiError;
use crate::hls::settings::{Container, Discontinuities, HlsSettings, PlaybackMode};
use crate::store::fragment::TimeLine;

/// The request as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HlsRequest {
    #[serde(flatten)]
    pub(crate) stream: StreamReference,
    playback_mode: Option<String>,
    #[serde(rename = "HLSFragmentSelector")]
    selector: Option<Selector>,
    container_format: Option<String>,
    discontinuity_mode: Option<String>,
    display_fragment_timestamp: Option<String>,
    expires: Option<i64>,
    max_media_playlist_fragment_results: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Selector {
    fragment_selector_type: Option<String>,
    timestamp_range: Option<TimestampRange>,
}

const DEFAULT_EXPIRES_S: i64 = 300;
const DEFAULT_RESULTS: i64 = 5;
const DEFAULT_RESULTS_ON_DEMAND: i64 = 1000;

impl HlsRequest {
    /// Errors: a value is not one of those possible, or does not go with the mode.
    pub(crate) fn settings(&self, now_ms: i64) -> Result<HlsSettings, ApiError> {
        let default = Selector::default();
        let selector = self.selector.as_ref().unwrap_or(&default);
        let line = known("FragmentSelectorType", selector.fragment_selector_type.as_deref(), &TIME_LINES)?;
        let line = line.unwrap_or(TimeLine::Server);
        let mode = self.mode(selector, line, now_ms)?;
        let default_results = match mode {
            PlaybackMode::OnDemand { .. } => DEFAULT_RESULTS_ON_DEMAND,
            PlaybackMode::Live | PlaybackMode::LiveReplay { .. } => DEFAULT_RESULTS,
        };
        let results = self.max_media_playlist_fragment_results.unwrap_or(default_results);
        let most = within("MaxMediaPlaylistFragmentResults", results, 1, 5000)?;
        Ok(HlsSettings {
            mode,
            line,
            container: self.container()?,
            discontinuities: self.discontinuities(line)?,
            dated: self.dated()?,
            expires_s: within("Expires", self.expires.unwrap_or(DEFAULT_EXPIRES_S), 300, 43_200)?,
            most: usize::try_from(most).unwrap_or(1),
        })
    }

    fn mode(&self, selector: &Selector, line: TimeLine, now_ms: i64) -> Result<PlaybackMode, ApiError> {
        let modes = [("LIVE", 0), ("LIVE_REPLAY", 1), ("ON_DEMAND", 2)];
        let mode = known("PlaybackMode", self.playback_mode.as_deref(), &modes)?.unwrap_or(0);
        let Some(range) = &selector.timestamp_range else {
            let needed = "HLSFragmentSelector.TimestampRange is needed with LIVE_REPLAY and ON_DEMAND";
            return if mode == 0 { Ok(PlaybackMode::Live) } else { Err(invalid(needed)) };
        };
        if mode == 0 {
            return Err(invalid("HLSFragmentSelector.TimestampRange must not be given with LIVE"));
        }
        if selector.fragment_selector_type.is_none() {
            return Err(invalid("HLSFragmentSelector.FragmentSelectorType is needed with a TimestampRange"));
        }
        let (from_ms, to_ms) = range.read(line, now_ms)?;
        match (mode, to_ms) {
            (1, to_ms) => Ok(PlaybackMode::LiveReplay { from_ms, to_ms }),
            (_, Some(to_ms)) => Ok(PlaybackMode::OnDemand { from_ms, to_ms }),
            (_, None) => Err(invalid("TimestampRange.EndTimestamp is needed with ON_DEMAND")),
        }
    }

    fn container(&self) -> Result<Container, ApiError> {
        let formats = [("FRAGMENTED_MP4", Container::FragmentedMp4), ("MPEG_TS", Container::MpegTs)];
        let given = known("ContainerFormat", self.container_format.as_deref(), &formats)?;
        Ok(given.unwrap_or(Container::FragmentedMp4))
    }

    fn discontinuities(&self, line: TimeLine) -> Result<Discontinuities, ApiError> {
        let modes = [
            ("ALWAYS", Discontinuities::Always),
            ("NEVER", Discontinuities::Never),
            ("ON_DISCONTINUITY", Discontinuities::Found),
        ];
        let given = known("DiscontinuityMode", self.discontinuity_mode.as_deref(), &modes)?;
        Ok(given.unwrap_or(match line {
            TimeLine::Server => Discontinuities::Always,
            TimeLine::Producer => Discontinuities::Never,
        }))
    }

    fn dated(&self) -> Result<bool, ApiError> {
        let modes = [("ALWAYS", true), ("NEVER", false)];
        let given = known("DisplayFragmentTimestamp", self.display_fragment_timestamp.as_deref(), &modes)?;
        Ok(given.unwrap_or(false))
    }
}

/// What the text stands for, where there is one.
fn known<T: Copy>(field: &str, text: Option<&str>, known: &[(&str, T)]) -> Result<Option<T>, ApiError> {
    text.map(|text| one_of(field, text, known)).transpose()
}
