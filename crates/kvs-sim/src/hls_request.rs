//! What GetHLSStreamingSessionURL is asked for. Source: AWS, GetHLSStreamingSessionURL, 2026.

use serde::Deserialize;

use crate::control::StreamReference;
use crate::errors::ApiError;
use crate::fragment::TimeLine;

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
    timestamp_range: Option<Range>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Range {
    start_timestamp: Option<f64>,
    end_timestamp: Option<f64>,
}

/// The request as it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HlsSettings {
    pub(crate) mode: PlaybackMode,
    /// The clock of the segments, and of the range in `mode`.
    pub(crate) line: TimeLine,
    pub(crate) container: Container,
    pub(crate) discontinuities: Discontinuities,
    /// Whether playlists date their segments.
    pub(crate) dated: bool,
    pub(crate) expires_s: i64,
    /// Segments in a playlist at most.
    pub(crate) most: usize,
}

/// Times in ms since 1970, of fragments' beginnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaybackMode {
    Live,
    LiveReplay { from_ms: i64, to_ms: Option<i64> },
    OnDemand { from_ms: i64, to_ms: i64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    FragmentedMp4,
    MpegTs,
}

/// Where a playlist says that the time line does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discontinuities {
    Always,
    Never,
    /// At gaps and overlaps.
    Found,
}

const LONGEST_RANGE_MS: i64 = 24 * 3_600_000;
const DEFAULT_EXPIRES_S: i64 = 300;
const DEFAULT_RESULTS: i64 = 5;
const DEFAULT_RESULTS_ON_DEMAND: i64 = 1000;

impl HlsRequest {
    /// Errors: a value is not one of those possible, or does not go with the mode.
    pub(crate) fn settings(&self, now_ms: i64) -> Result<HlsSettings, ApiError> {
        let default = Selector::default();
        let selector = self.selector.as_ref().unwrap_or(&default);
        let lines = [("SERVER_TIMESTAMP", TimeLine::Server), ("PRODUCER_TIMESTAMP", TimeLine::Producer)];
        let line = one_of("FragmentSelectorType", selector.fragment_selector_type.as_deref(), &lines)?;
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
        let mode = one_of("PlaybackMode", self.playback_mode.as_deref(), &modes)?.unwrap_or(0);
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
        let known = [("FRAGMENTED_MP4", Container::FragmentedMp4), ("MPEG_TS", Container::MpegTs)];
        let given = one_of("ContainerFormat", self.container_format.as_deref(), &known)?;
        Ok(given.unwrap_or(Container::FragmentedMp4))
    }

    fn discontinuities(&self, line: TimeLine) -> Result<Discontinuities, ApiError> {
        let known = [
            ("ALWAYS", Discontinuities::Always),
            ("NEVER", Discontinuities::Never),
            ("ON_DISCONTINUITY", Discontinuities::Found),
        ];
        let given = one_of("DiscontinuityMode", self.discontinuity_mode.as_deref(), &known)?;
        Ok(given.unwrap_or(match line {
            TimeLine::Server => Discontinuities::Always,
            TimeLine::Producer => Discontinuities::Never,
        }))
    }

    fn dated(&self) -> Result<bool, ApiError> {
        let known = [("ALWAYS", true), ("NEVER", false)];
        let given = one_of("DisplayFragmentTimestamp", self.display_fragment_timestamp.as_deref(), &known)?;
        Ok(given.unwrap_or(false))
    }
}

impl Range {
    fn read(&self, line: TimeLine, now_ms: i64) -> Result<(i64, Option<i64>), ApiError> {
        let from_ms = self.start_timestamp.and_then(millis);
        let from_ms =
            from_ms.ok_or_else(|| invalid("TimestampRange.StartTimestamp is needed: seconds since 1970"))?;
        let Some(end) = self.end_timestamp else { return Ok((from_ms, None)) };
        let to_ms =
            millis(end).ok_or_else(|| invalid("TimestampRange.EndTimestamp must be seconds since 1970"))?;
        if !(1..=LONGEST_RANGE_MS).contains(&to_ms.saturating_sub(from_ms)) {
            return Err(invalid("TimestampRange.EndTimestamp must be within 24 hours after StartTimestamp"));
        }
        if line == TimeLine::Server && to_ms > now_ms {
            return Err(invalid("TimestampRange.EndTimestamp must be in the past with SERVER_TIMESTAMP"));
        }
        Ok((from_ms, Some(to_ms)))
    }
}

fn millis(seconds: f64) -> Option<i64> {
    seconds.is_finite().then_some((seconds * 1000.0).round() as i64)
}

fn invalid(text: &str) -> ApiError {
    ApiError::InvalidArgument(text.to_owned())
}

/// What the text stands for.
fn one_of<T: Copy>(field: &str, text: Option<&str>, known: &[(&str, T)]) -> Result<Option<T>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let unknown = || ApiError::InvalidArgument(format!("{field} \"{text}\": {} are known", names()));
    found.map(Some).ok_or_else(unknown)
}

fn within(field: &str, value: i64, least: i64, most: i64) -> Result<i64, ApiError> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(ApiError::InvalidArgument(format!("{field} {value}: {least} to {most} are possible")))
}
