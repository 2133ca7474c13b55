//! Overload: how much of the last minute's footage live cameras dropped, and where the bottleneck is.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::CameraRow;

const BUCKET: Duration = Duration::from_secs(5);
const BUCKETS: usize = 12;

/// The dropped share of a minute's frames beyond which a host or a model is overloaded.
const BEGINS_ABOVE: f64 = 0.10;

/// The share below which it is so no longer.
const ENDS_BELOW: f64 = 0.05;

/// Counts of frames, or of access units, over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LoadCounts {
    /// Access units that were read.
    pub(super) read: u64,
    /// Those that were not decoded since they were late.
    pub(super) late: u64,
    /// Frames that were sampled.
    pub(super) sampled: u64,
    /// Those that a newer one replaced before inference.
    pub(super) newer: u64,
}

impl LoadCounts {
    /// Counts frames that were dropped for a reason of overload.
    pub(super) fn dropped(&mut self, reason: &str, frames: u64) {
        match reason {
            "late" => self.late += frames,
            "newer" => self.newer += frames,
            _ => {}
        }
    }
}

/// The counts of the last minute, in buckets of five seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadWindow(VecDeque<(Instant, LoadCounts)>);

/// What a camera's load window says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CameraLoad {
    /// Access units that were late, of those of a minute, 0..=1.
    late: f64,
    /// Sampled frames that were replaced, of those of a minute, 0..=1.
    newer: f64,
    /// Access units that were late, of those that were read, 0..=1.
    left_out: f64,
    /// Sampled frames that went on to inference, per second.
    inferred_fps: f64,
    /// Sampled frames per second.
    sampled_fps: f64,
    /// The camera's slowest model.
    model: Option<String>,
}

/// The part of the pipeline that is too slow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bottleneck {
    /// Decoding, on this host.
    Decoding,
    /// The model of this name.
    Model(String),
}

/// The bottlenecks of now.
#[derive(Debug, Default)]
pub(super) struct Bottlenecks(BTreeSet<Bottleneck>);

/// An overload that begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoadChange {
    /// It begins; the text has figures and remedy.
    Began(String),
    /// It is over.
    Ended(Bottleneck),
}

impl LoadWindow {
    pub(super) fn count(&mut self, at: Instant, add: impl FnOnce(&mut LoadCounts)) {
        if self.0.back().is_none_or(|(began, _)| *began + BUCKET <= at) {
            if self.0.len() == BUCKETS {
                self.0.pop_front();
            }
            self.0.push_back((at, LoadCounts::default()));
        }
        if let Some((_, counts)) = self.0.back_mut() {
            add(counts);
        }
    }

    /// Returns the load at `at`. A minute that has not passed yet counts as one without drops, so that a stutter at the start
    /// is no overload, and a grave one shows within seconds.
    #[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
    pub(super) fn load(&self, at: Instant, model: Option<&String>) -> CameraLoad {
        let minute = BUCKET * BUCKETS as u32;
        let recent = self.0.iter().filter(|(began, _)| *began + minute > at);
        let Some((began, _)) = recent.clone().next() else { return CameraLoad::default() };
        let span_s = at.saturating_duration_since(*began).as_secs_f64().max(1.0);
        let sum =
            |of: fn(&LoadCounts) -> u64| recent.clone().map(|(_, counts)| of(counts)).sum::<u64>() as f64;
        let per_minute = |count: f64| (count * minute.as_secs_f64() / span_s).max(1.0);
        let (read, sampled) = (sum(|counts| counts.read), sum(|counts| counts.sampled));
        let (late, newer) = (sum(|counts| counts.late), sum(|counts| counts.newer));
        CameraLoad {
            late: late / per_minute(read),
            newer: newer / per_minute(sampled),
            left_out: late / read.max(1.0),
            inferred_fps: (sampled - newer).max(0.0) / span_s,
            sampled_fps: sampled / span_s,
            model: model.cloned(),
        }
    }
}

impl CameraLoad {
    fn share(&self, of: &Bottleneck) -> f64 {
        match of {
            Bottleneck::Decoding => self.late,
            Bottleneck::Model(name) if self.model.as_ref() == Some(name) => self.newer,
            Bottleneck::Model(_) => 0.0,
        }
    }

    fn bottlenecks(&self) -> impl Iterator<Item = Bottleneck> {
        [Bottleneck::Decoding].into_iter().chain(self.model.clone().map(Bottleneck::Model))
    }
}

impl Bottlenecks {
    /// Finds what began and what ended since the last call.
    pub(super) fn judge(&mut self, rows: &[CameraRow]) -> Vec<LoadChange> {
        let known: BTreeSet<Bottleneck> = rows.iter().flat_map(|row| row.load.bottlenecks()).collect();
        let mut changes = Vec::new();
        for of in known.union(&self.0.clone()) {
            let worst = rows.iter().map(|row| row.load.share(of)).fold(0.0, f64::max);
            if worst > BEGINS_ABOVE && self.0.insert(of.clone()) {
                changes.push(LoadChange::Began(about(of, rows)));
            } else if worst < ENDS_BELOW && self.0.remove(of) {
                changes.push(LoadChange::Ended(of.clone()));
            }
        }
        changes
    }

    /// Returns the reasons for `/healthz`.
    pub(super) fn reasons(&self, rows: &[CameraRow]) -> Vec<String> {
        self.0.iter().map(|of| about(of, rows)).collect()
    }
}

/// The text about an overload, with the figures of the camera that suffers most.
fn about(of: &Bottleneck, rows: &[CameraRow]) -> String {
    let hit = rows.iter().filter(|row| row.load.share(of) >= ENDS_BELOW);
    let cameras = hit.clone().count();
    let cameras = if cameras == 1 { "1 camera".to_owned() } else { format!("{cameras} cameras") };
    let worst = hit.max_by(|a, b| a.load.share(of).total_cmp(&b.load.share(of)));
    let (id, load) = worst.map_or(("-", CameraLoad::default()), |row| (row.id.as_str(), row.load.clone()));
    match of {
        Bottleneck::Decoding => format!(
            "this host is too slow to decode {cameras}: {:.0} % of the latest footage of camera {id} was left out; lower the \
             resolution or the frame rate that the cameras send, give this host more CPU, or move cameras to another one",
            load.left_out * 100.0
        ),
        Bottleneck::Model(name) => format!(
            "model {name} is too slow for {cameras}: camera {id} gets {:.1} of {:.1} inferences a second; lower fps_target, use a \
             smaller model, raise its `threads` under `models` where cores are idle, or use a GPU",
            load.inferred_fps, load.sampled_fps
        ),
    }
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
    use crate::frame::CameraId;
    use crate::telemetry::board::{Board, Status};

    /// A minute of a camera of 30 frames a second, 5 of which are sampled, and which drops these shares.
    fn minute(seconds: u64, late: f64, newer: f64) -> (LoadWindow, Instant) {
        let start = Instant::now();
        let mut window = LoadWindow::default();
        for second in 0..seconds {
            window.count(start + Duration::from_secs(second), |counts| {
                counts.read += 100;
                counts.late += (late * 100.0) as u64;
                counts.sampled += 50;
                counts.newer += (newer * 50.0) as u64;
            });
        }
        (window, start + Duration::from_secs(seconds))
    }

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

    fn board(late: f64, newer: f64) -> (Board, Instant) {
        let board = Board::new();
        let mut last = Instant::now();
        for id in ["gate", "alley"] {
            let camera = board.add_camera(&CameraId::new(id), id);
            camera.uses_model("street");
            let (window, at) = minute(60, late, newer);
            camera.set_load(window);
            last = at;
        }
        (board, last)
    }

    #[test]
    fn an_overload_is_a_reason_from_its_beginning_to_its_end_and_no_camera_counts_as_down() {
        let (board, at) = board(0.6, 0.0);
        assert_eq!(board.health().status, Status::Ok, "not judged yet");
        let [LoadChange::Began(text)] = &board.judge_load(at)[..] else { panic!("it begins") };
        let said = "this host is too slow to decode 2 cameras: 60 % of the latest footage of camera ";
        assert!(text.starts_with(said), "{text}");
        assert_eq!(board.judge_load(at), [], "once");
        let health = board.health();
        assert_eq!((health.status, health.reasons.len()), (Status::Degraded, 1), "{health:?}");
        assert!(board.snapshot().iter().all(CameraRow::is_well));
        let later = at + Duration::from_secs(61);
        assert_eq!(board.judge_load(later), [LoadChange::Ended(Bottleneck::Decoding)]);
        assert_eq!(board.health().status, Status::Ok);
    }

    #[test]
    fn a_slow_model_is_named_with_what_its_cameras_get() {
        let (board, at) = board(0.0, 0.46);
        let [LoadChange::Began(text)] = &board.judge_load(at)[..] else { panic!("it begins") };
        assert!(text.starts_with("model street is too slow for 2 cameras: camera "), "{text}");
        assert!(text.contains(" gets 27.") && text.contains("raise its `threads`"), "{text}");
    }

    #[test]
    fn a_twelfth_is_no_overload_and_keeps_one_going() {
        let (calm, at) = board(0.08, 0.0);
        assert_eq!(calm.judge_load(at), []);
        let (busy, at) = board(0.2, 0.0);
        assert_eq!(busy.judge_load(at).len(), 1);
        for id in ["gate", "alley"] {
            busy.camera(id).unwrap().set_load(minute(60, 0.08, 0.0).0);
        }
        assert_eq!(busy.judge_load(at), []);
    }
}
