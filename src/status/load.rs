//! The shares of the last minute's footage that a camera dropped, by reason.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time that one bucket of counts covers.
const BUCKET: Duration = Duration::from_secs(5);
const BUCKETS: usize = 12;

/// The reasons of `kvs_infer_frames_dropped_total` for footage that cannot be decoded.
pub(super) const UNDECODABLE: [&str; 5] = ["damaged", "no_key_frame", "leading", "no_picture", "track"];

/// Counts of frames and access units of one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LoadCounts {
    /// Access units that were read.
    pub(super) read: u64,
    /// Access units that were not decoded because they were late.
    pub(super) late: u64,
    /// Frames that were sampled.
    pub(super) sampled: u64,
    /// Sampled frames that a newer one replaced before inference.
    pub(super) superseded: u64,
    /// Access units that could not be decoded, for each reason of [`UNDECODABLE`].
    pub(super) undecodable: [u64; UNDECODABLE.len()],
}

impl LoadCounts {
    /// Counts dropped frames; reasons that say nothing about load are left out.
    pub(super) fn dropped(&mut self, reason: &str, frames: u64) {
        match reason {
            "late" => self.late += frames,
            "superseded" => self.superseded += frames,
            _ => {
                let at = UNDECODABLE.iter().position(|undecodable| *undecodable == reason);
                at.into_iter().for_each(|at| self.undecodable[at] += frames);
            }
        }
    }
}

/// The counts of the last minute, in buckets of five seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadWindow(VecDeque<(Instant, LoadCounts)>);

/// The load of a camera over the last minute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CameraLoad {
    /// Late access units per access unit of a whole minute, 0..=1.
    pub(super) late: f64,
    /// Superseded frames per sampled frame of a whole minute, 0..=1.
    pub(super) superseded: f64,
    /// Late access units per access unit read, 0..=1.
    pub(super) late_of_read: f64,
    /// Sampled frames that reached inference, per second.
    pub(super) inferred_fps: f64,
    /// Sampled frames per second.
    pub(super) sampled_fps: f64,
    /// The name of the camera's slowest model.
    pub(super) model: Option<String>,
    /// Undecodable access units per access unit of a whole minute, 0..=1.
    pub(super) undecodable: f64,
    /// Undecodable access units per access unit read, 0..=1.
    pub(super) lost: f64,
    /// Undecodable access units per access unit that reached the decoder, 0..=1.
    pub(super) lost_of_tried: f64,
    /// The most frequent reason why access units were undecodable.
    pub(super) lost_for: &'static str,
}

impl LoadWindow {
    pub(super) fn count(&mut self, at: Instant, add: impl FnOnce(&mut LoadCounts)) {
        if self.0.back().is_none_or(|(began, _)| *began + BUCKET <= at) {
            // A bucket begins with its first count, so that an idle camera has none.
            if self.0.len() == BUCKETS {
                self.0.pop_front();
            }
            self.0.push_back((at, LoadCounts::default()));
        }
        if let Some((_, counts)) = self.0.back_mut() {
            add(counts);
        }
    }

    /// Returns the load at `at`. The part of a minute that has not passed yet counts as one without drops, so that a stutter at the
    /// start is not an overload, and a severe one shows within seconds.
    #[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
    pub(super) fn load(&self, at: Instant, model: Option<&String>) -> CameraLoad {
        let minute = BUCKET * BUCKETS as u32;
        let recent = self.0.iter().filter(|(began, _)| *began + minute > at);
        let Some((began, _)) = recent.clone().next() else { return CameraLoad::default() };
        let span_s = at.saturating_duration_since(*began).as_secs_f64().max(1.0);
        let sum =
            |of: fn(&LoadCounts) -> u64| recent.clone().map(|(_, counts)| of(counts)).sum::<u64>() as f64;
        // Scaled to a whole minute, so that few seconds of counts are not taken for a share of the minute.
        let per_minute = |count: f64| (count * minute.as_secs_f64() / span_s).max(1.0);
        let (read, sampled) = (sum(|counts| counts.read), sum(|counts| counts.sampled));
        let (late, superseded) = (sum(|counts| counts.late), sum(|counts| counts.superseded));
        let undecodable = sum(|counts| counts.undecodable.iter().sum());
        let of_reason = |at: &usize| recent.clone().map(|(_, counts)| counts.undecodable[*at]).sum::<u64>();
        let lost_for = (0..UNDECODABLE.len()).max_by_key(of_reason).map_or("", |at| UNDECODABLE[at]);
        CameraLoad {
            late: late / per_minute(read),
            superseded: superseded / per_minute(sampled),
            late_of_read: late / read.max(1.0),
            inferred_fps: (sampled - superseded).max(0.0) / span_s,
            sampled_fps: sampled / span_s,
            model: model.cloned(),
            undecodable: undecodable / per_minute(read),
            lost: undecodable / read.max(1.0),
            // Late units were never tried: the host is too slow for them, and the footage may be sound.
            lost_of_tried: undecodable / (read - late).max(1.0),
            lost_for,
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::{Duration, Instant, LoadWindow};

    /// Returns the window of a camera that sends 100 access units and samples 50 frames per second, and drops these shares.
    pub(in super::super) fn minute(seconds: u64, late: f64, superseded: f64) -> (LoadWindow, Instant) {
        let start = Instant::now();
        let mut window = LoadWindow::default();
        for second in 0..seconds {
            window.count(start + Duration::from_secs(second), |counts| {
                counts.read += 100;
                counts.late += (late * 100.0) as u64;
                counts.sampled += 50;
                counts.superseded += (superseded * 50.0) as u64;
            });
        }
        (window, start + Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::minute;
    use super::*;

    #[test]
    fn shares_are_those_of_a_whole_minute() {
        for (name, seconds, late, expected) in [
            ("nothing", 60, 0.0, 0.0),
            ("a tenth of a minute", 60, 0.10, 0.10),
            ("only the last minute counts", 600, 0.10, 0.10),
            ("six seconds of everything", 6, 1.0, 0.10),
            ("a stutter of a second at the start", 1, 1.0, 1.0 / 60.0),
        ] {
            let (window, at) = minute(seconds, late, 0.0);
            let load = window.load(at, None);
            assert!((load.late - expected).abs() < 0.011, "{name}: {load:?}");
        }
        let (window, at) = minute(60, 0.0, 0.46);
        let load = window.load(at, None);
        assert!((load.inferred_fps - 27.0).abs() < 1.0 && (load.sampled_fps - 50.0).abs() < 1.5, "{load:?}");
        assert_eq!(window.load(at + Duration::from_secs(61), None), CameraLoad::default(), "a minute later");
    }
}
