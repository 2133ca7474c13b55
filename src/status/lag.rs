//! The lag of a camera behind the live edge: a figure that ages while nothing is decoded.

use std::time::{Duration, Instant};

use crate::media::{ArrivalLag, Frame};

/// The time for which the age of the last inferred frame counts.
const INFERENCE_VALID_FOR: Duration = Duration::from_secs(2);

/// The amount of footage read and not decoded above which it counts as waiting for the decoder.
const MIN_BACKLOG: Duration = Duration::from_millis(500);

/// The lag of a live camera, beyond what its delivery explains, above which `/healthz` reports it.
const MAX_EXCESS: Duration = Duration::from_secs(5);

/// The lag of a camera, from the access units and frames that were last read, decoded and inferred.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CameraLag {
    read: Option<UnitRead>,
    /// The lag of the newest decoded access unit, and the time of its decoding.
    decoded: Option<(Duration, Instant)>,
    /// The age of the last inferred frame, and the time of its inference.
    inferred: Option<(Duration, Instant)>,
    /// The time since which a newer frame waits for the detectors.
    waits: Option<Instant>,
}

/// The access unit that was read last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnitRead {
    /// The time of its ingestion by KVS, ms since the epoch.
    pub(crate) ingested_ms: i64,
    pub(crate) arrived: Instant,
    pub(crate) lag: ArrivalLag,
}

/// The lag of a live camera that is too far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExcessLag {
    /// The lag beyond what the delivery explains.
    pub(crate) behind: Duration,
    /// `true` where footage waits for the decoder, `false` where it arrived late.
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

    /// Records that the frame that waited needs no inference.
    pub(super) fn skipped(&mut self) {
        self.waits = None;
    }

    pub(super) fn inferred(&mut self, frame: &Frame, at: Instant) {
        self.waits = None;
        let Some(read) = self.read else { return };
        // The age of the last access unit is known; the frame is older by the difference of their ingestion times.
        let between_ms = read.ingested_ms.saturating_sub(frame.fragment.ingested_ms(frame.media));
        let between = Duration::from_millis(u64::try_from(between_ms).unwrap_or(0));
        let age = at.saturating_duration_since(read.arrived) + read.lag.at_arrival + between;
        self.inferred = Some((age, at));
    }

    /// Returns the age of the newest decoded footage at `now`, or that of the last inferred frame where it is larger, which rises
    /// while a newer frame waits. `None` before anything was decoded.
    pub(super) fn shown(&self, now: Instant) -> Option<Duration> {
        let decoded = aged(self.decoded?, now);
        // An inference that is over for long says nothing about frames that are not due.
        let inferred = match (self.inferred, self.waits) {
            (Some((age, _)), Some(since)) => aged((age, since), now),
            (Some((age, at)), None) if now.saturating_duration_since(at) <= INFERENCE_VALID_FOR => age,
            _ => Duration::ZERO,
        };
        Some(decoded.max(inferred))
    }

    /// Returns the lag of a live camera where it is too large. That of a camera that sends nothing is not: its figure ages, but no
    /// footage waits.
    pub(super) fn excess(&self, now: Instant) -> Option<ExcessLag> {
        let UnitRead { arrived, lag, .. } = self.read?;
        let backlog = self.decoded.map(|(decoded, at)| {
            (aged((decoded, at), now)).saturating_sub(aged((lag.at_arrival, arrived), now))
        });
        // Nothing decoded yet counts as waiting for the decoder.
        let is_decoding = backlog.is_none_or(|backlog| backlog > MIN_BACKLOG);
        let behind = match self.decoded {
            Some(decoded) if is_decoding => aged(decoded, now),
            _ => lag.at_arrival,
        };
        let behind = behind.saturating_sub(lag.explained);
        (behind > MAX_EXCESS).then_some(ExcessLag { behind, is_decoding })
    }
}

fn aged((lag, at): (Duration, Instant), now: Instant) -> Duration {
    lag + now.saturating_duration_since(at)
}

/// Returns the reason for `/healthz` about a live camera that is too far behind.
pub(super) fn lag_reason(id: &str, excess: ExcessLag) -> String {
    let (cause, remedy) = if excess.is_decoding {
        let remedy =
            "lower the resolution or the frame rate that the cameras send, or give this host more CPU";
        ("this host cannot decode as fast as the cameras send", remedy)
    } else {
        ("its footage arrives late", "check the network between KVS and this host")
    };
    format!("camera {id} is {} s behind: {cause}; {remedy}", excess.behind.as_secs())
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
    fn only_footage_that_waits_or_came_late_is_excess_lag() {
        let start = Instant::now();
        let excess = |behind, is_decoding| Some(ExcessLag { behind, is_decoding });
        let silent = CameraLag {
            read: Some(read(start, Duration::ZERO, Duration::ZERO)),
            decoded: Some((SECOND / 100, start)),
            ..CameraLag::default()
        };
        assert_eq!(silent.excess(start + 30 * SECOND), None, "the camera sends nothing");
        let behind = CameraLag { read: Some(read(start + 9 * SECOND, SECOND, Duration::ZERO)), ..silent };
        assert_eq!(behind.excess(start + 10 * SECOND), excess(10 * SECOND + SECOND / 100, true));
        let slow_network = CameraLag {
            read: Some(read(start, 9 * SECOND, 2 * SECOND)),
            decoded: Some((9 * SECOND, start)),
            ..CameraLag::default()
        };
        assert_eq!(slow_network.excess(start + SECOND), excess(7 * SECOND, false));
        let whole_segments = CameraLag { read: Some(read(start, 9 * SECOND, 9 * SECOND)), ..slow_network };
        assert_eq!(whole_segments.excess(start), None);
    }
}
