//! The request of GetHLSStreamingSessionURL. Source: AWS, GetHLSStreamingSessionURL, 2026.

use serde::Deserialize;

use crate::api::request::stream_reference::StreamReference;
use crate::api::request::values::{TIME_LINES, TimestampRange, invalid, one_of, within};
use crate::error::ApiError;
use crate::hls::settings::{Container, Discontinuities, HlsPlaybackMode, HlsSettings};
use crate::store::fragment::TimeLine;

/// The request before its values are checked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HlsRequest {
    #[serde(flatten)]
    pub(crate) stream: StreamReference,
    playback_mode: Option<String>,
    #[serde(rename = "HLSFragmentSelector")]
    selector: Option<HlsFragmentSelector>,
    container_format: Option<String>,
    discontinuity_mode: Option<String>,
    display_fragment_timestamp: Option<String>,
    expires: Option<i64>,
    max_media_playlist_fragment_results: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HlsFragmentSelector {
    fragment_selector_type: Option<String>,
    timestamp_range: Option<TimestampRange>,
}

/// The values of `PlaybackMode`, before the range that two of them need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ModeName {
    Live,
    LiveReplay,
    OnDemand,
}

const DEFAULT_EXPIRES_S: i64 = 300;
const DEFAULT_RESULTS: i64 = 5;
const DEFAULT_RESULTS_ON_DEMAND: i64 = 1000;

impl HlsRequest {
    /// Returns the settings of the session. Fails if a value is unknown or out of range, or if it contradicts the mode.
    pub(crate) fn settings(&self, now_ms: i64) -> Result<HlsSettings, ApiError> {
        let default = HlsFragmentSelector::default();
        let selector = self.selector.as_ref().unwrap_or(&default);
        let line =
            optional_one_of("FragmentSelectorType", selector.fragment_selector_type.as_deref(), &TIME_LINES)?;
        let line = line.unwrap_or(TimeLine::Server);
        let mode = self.mode(selector, line, now_ms)?;
        let max_segments = self.max_segments(mode)?;
        Ok(HlsSettings {
            mode,
            line,
            container: self.container()?,
            discontinuities: self.discontinuities(line)?,
            dated: self.dated()?,
            expires_s: within("Expires", self.expires.unwrap_or(DEFAULT_EXPIRES_S), 300, 43_200)?,
            max_segments,
        })
    }

    fn mode(
        &self,
        selector: &HlsFragmentSelector,
        line: TimeLine,
        now_ms: i64,
    ) -> Result<HlsPlaybackMode, ApiError> {
        let mode = self.mode_name()?;
        let Some(range) = &selector.timestamp_range else {
            let needed = "HLSFragmentSelector.TimestampRange is needed with LIVE_REPLAY and ON_DEMAND";
            return if mode == ModeName::Live { Ok(HlsPlaybackMode::Live) } else { Err(invalid(needed)) };
        };
        if mode == ModeName::Live {
            return Err(invalid("HLSFragmentSelector.TimestampRange must not be given with LIVE"));
        }
        if selector.fragment_selector_type.is_none() {
            return Err(invalid("HLSFragmentSelector.FragmentSelectorType is needed with a TimestampRange"));
        }
        let (from_ms, to_ms) = range.read(line, now_ms)?;
        match (mode, to_ms) {
            (ModeName::LiveReplay, to_ms) => Ok(HlsPlaybackMode::LiveReplay { from_ms, to_ms }),
            (_, Some(to_ms)) => Ok(HlsPlaybackMode::OnDemand { from_ms, to_ms }),
            (_, None) => Err(invalid("TimestampRange.EndTimestamp is needed with ON_DEMAND")),
        }
    }

    fn mode_name(&self) -> Result<ModeName, ApiError> {
        let modes = [
            ("LIVE", ModeName::Live),
            ("LIVE_REPLAY", ModeName::LiveReplay),
            ("ON_DEMAND", ModeName::OnDemand),
        ];
        let mode = optional_one_of("PlaybackMode", self.playback_mode.as_deref(), &modes)?;
        Ok(mode.unwrap_or(ModeName::Live))
    }

    fn max_segments(&self, mode: HlsPlaybackMode) -> Result<usize, ApiError> {
        let default_results = match mode {
            HlsPlaybackMode::OnDemand { .. } => DEFAULT_RESULTS_ON_DEMAND,
            HlsPlaybackMode::Live | HlsPlaybackMode::LiveReplay { .. } => DEFAULT_RESULTS,
        };
        let results = self.max_media_playlist_fragment_results.unwrap_or(default_results);
        let max_segments = within("MaxMediaPlaylistFragmentResults", results, 1, 5000)?;
        Ok(usize::try_from(max_segments).unwrap_or(1))
    }

    fn container(&self) -> Result<Container, ApiError> {
        let formats = [("FRAGMENTED_MP4", Container::FragmentedMp4), ("MPEG_TS", Container::MpegTs)];
        let format = optional_one_of("ContainerFormat", self.container_format.as_deref(), &formats)?;
        Ok(format.unwrap_or(Container::FragmentedMp4))
    }

    fn discontinuities(&self, line: TimeLine) -> Result<Discontinuities, ApiError> {
        let modes = [
            ("ALWAYS", Discontinuities::Always),
            ("NEVER", Discontinuities::Never),
            ("ON_DISCONTINUITY", Discontinuities::AtGaps),
        ];
        let mode = optional_one_of("DiscontinuityMode", self.discontinuity_mode.as_deref(), &modes)?;
        // The documented default: times of arrival never join exactly, a producer's times do.
        Ok(mode.unwrap_or(match line {
            TimeLine::Server => Discontinuities::Always,
            TimeLine::Producer => Discontinuities::Never,
        }))
    }

    fn dated(&self) -> Result<bool, ApiError> {
        let modes = [("ALWAYS", true), ("NEVER", false)];
        let mode =
            optional_one_of("DisplayFragmentTimestamp", self.display_fragment_timestamp.as_deref(), &modes)?;
        Ok(mode.unwrap_or(false))
    }
}

/// Returns the value that a name stands for, if there is a name.
fn optional_one_of<T: Copy>(
    field: &str,
    text: Option<&str>,
    known: &[(&str, T)],
) -> Result<Option<T>, ApiError> {
    text.map(|text| one_of(field, text, known)).transpose()
}
