//! How far behind the live edge a camera is now: the figure ages while nothing is decoded.

use std::time::{Duration, Instant};

use super::CameraRow;
use crate::media::{ArrivalLag, Frame};

/// How long the age of the newest inferred frame counts.
const INFERRED_COUNTS_FOR: Duration = Duration::from_secs(2);

/// Footage that was read and not decoded, of which this much is a queue.
const BACKLOG: Duration = Duration::from_millis(500);

/// Lag of a live camera beyond what its delivery explains that `/healthz` reports.
const CONCERN: Duration = Duration::from_secs(5);

/// A camera's lag, from what was read, decoded and inferred last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CameraLag {
    read: Option<UnitRead>,
    /// The lag of the newest access unit when it was decoded, and when that was.
    decoded: Option<(Duration, Instant)>,
    /// The age of the newest frame when the detectors had seen it, and when that was.
    inferred: Option<(Duration, Instant)>,
    /// Since when a newer frame waits for the detectors.
    waits: Option<Instant>,
}

/// The newest access unit that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnitRead {
    /// When the service took it in, ms since the epoch.
    pub(crate) ingested_ms: i64,
    pub(crate) arrived: Instant,
    pub(crate) lag: ArrivalLag,
}

/// A live camera that is too far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Concern {
    /// How far, beyond what its delivery explains.
    pub(crate) behind: Duration,
    /// Whether footage waits for the decoder; else it arrived late.
    pub(crate) is_decoding: bool,
}

impl CameraLag {
    pub(super) fn read(&mut self, unit: UnitRead) {
        self.read = Some(unit);
    }

    pub(super) fn decoded(&mut self, lag: Duration, at: Instant) {
        self.decoded = Some((lag, at));
    }

    pub(super) fn sampled(&mut self, at: Instant) {
        self.waits.get_or_insert(at);
    }

    /// The motion gate found nothing new in the frame that waited.
    pub(super) fn skipped(&mut self) {
        self.waits = None;
    }

    pub(super) fn inferred(&mut self, frame: &Frame, at: Instant) {
        self.waits = None;
        let Some(read) = self.read else { return };
        // The age of the unit that was read last is known; the frame is older by the difference of their ingestion.
        let between_ms = read.ingested_ms.saturating_sub(frame.fragment.ingested_ms(frame.media));
        let between = Duration::from_millis(u64::try_from(between_ms).unwrap_or(0));
        let age = at.saturating_duration_since(read.arrived) + read.lag.at_arrival + between;
        self.inferred = Some((age, at));
    }

    /// Returns the age of the newest decoded footage at `now`, or that of the newest inferred frame where it is larger: it rises
    /// while a newer one waits. `None` before anything was decoded.
    pub(super) fn shown(&self, now: Instant) -> Option<Duration> {
        let decoded = aged(self.decoded?, now);
        let inferred = match (self.inferred, self.waits) {
            (Some((age, _)), Some(since)) => aged((age, since), now),
            (Some((age, at)), None) if now.saturating_duration_since(at) <= INFERRED_COUNTS_FOR => age,
            _ => Duration::ZERO,
        };
        Some(decoded.max(inferred))
    }

    /// Returns how far a live camera is behind where that is too far. A camera that sends nothing is not: its figure ages, but
    /// nothing of it waits.
    pub(super) fn concern(&self, now: Instant) -> Option<Concern> {
        let UnitRead { arrived, lag, .. } = self.read?;
        let backlog = self.decoded.map(|(decoded, at)| {
            (aged((decoded, at), now)).saturating_sub(aged((lag.at_arrival, arrived), now))
        });
        let is_decoding = backlog.is_none_or(|backlog| backlog > BACKLOG);
        let behind = match self.decoded {
            Some(decoded) if is_decoding => aged(decoded, now),
            _ => lag.at_arrival,
        };
        let behind = behind.saturating_sub(lag.explained);
        (behind > CONCERN).then_some(Concern { behind, is_decoding })
    }
}

fn aged((lag, at): (Duration, Instant), now: Instant) -> Duration {
    lag + now.saturating_duration_since(at)
}

/// The text about a live camera that is too far behind.
pub(super) fn about_lag(row: &CameraRow) -> Option<String> {
    let (id, concern) = (&row.id, row.concern?);
    let (why, remedy) = if concern.is_decoding {
        let remedy =
            "lower the resolution or the frame rate that the cameras send, or give this host more CPU";
        ("this host cannot decode as fast as the cameras send", remedy)
    } else {
        ("its footage arrives late", "check the network between KVS and this host")
    };
    Some(format!("camera {id} is {} s behind: {why}; {remedy}", concern.behind.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn read(arrived: Instant, at_arrival: Duration, explained: Duration) -> UnitRead {
        UnitRead { ingested_ms: 10_000, arrived, lag: ArrivalLag { at_arrival, explained } }
    }

    #[test]
    fn the_figure_ages_while_nothing_is_decoded() {
        let start = Instant::now();
        let mut lag = CameraLag::default();
        assert_eq!(lag.shown(start), None);
        lag.decoded(SECOND, start);
        assert_eq!(lag.shown(start), Some(SECOND));
        assert_eq!(lag.shown(start + 5 * SECOND), Some(6 * SECOND));
        lag.decoded(SECOND / 10, start + 6 * SECOND);
        assert_eq!(lag.shown(start + 6 * SECOND), Some(SECOND / 10));
    }

    #[test]
    fn the_age_of_the_newest_inferred_frame_rises_while_another_waits() {
        let start = Instant::now();
        let mut lag = CameraLag { inferred: Some((SECOND, start)), ..CameraLag::default() };
        for (seconds, waits, shown_s) in [(1, false, 1), (3, false, 0), (1, true, 2), (3, true, 4)] {
            let now = start + seconds * SECOND;
            lag.decoded(Duration::ZERO, now);
            lag.skipped();
            if waits {
                lag.sampled(start);
                lag.sampled(now);
            }
            assert_eq!(lag.shown(now), Some(shown_s * SECOND), "{seconds} s later, waits: {waits}");
        }
    }

    #[test]
    fn only_what_waits_or_came_late_is_of_concern() {
        let start = Instant::now();
        let concern = |behind, is_decoding| Some(Concern { behind, is_decoding });
        let silent = CameraLag {
            read: Some(read(start, Duration::ZERO, Duration::ZERO)),
            decoded: Some((SECOND / 100, start)),
            ..CameraLag::default()
        };
        assert_eq!(silent.concern(start + 30 * SECOND), None, "the camera sends nothing");
        let behind = CameraLag { read: Some(read(start + 9 * SECOND, SECOND, Duration::ZERO)), ..silent };
        assert_eq!(behind.concern(start + 10 * SECOND), concern(10 * SECOND + SECOND / 100, true));
        let slow_network = CameraLag {
            read: Some(read(start, 9 * SECOND, 2 * SECOND)),
            decoded: Some((9 * SECOND, start)),
            ..CameraLag::default()
        };
        assert_eq!(slow_network.concern(start + SECOND), concern(7 * SECOND, false));
        let whole_segments = CameraLag { read: Some(read(start, 9 * SECOND, 9 * SECOND)), ..slow_network };
        assert_eq!(whole_segments.concern(start), None);
    }
}
