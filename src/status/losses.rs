//! Causes of a sustained loss of frames: a host or a model that is too slow, or footage that cannot be decoded.

use std::collections::BTreeSet;

use super::CameraRow;
use super::inference_gap::explained;
use super::load::CameraLoad;

/// The dropped share of a minute's frames above which a cause is reported.
const BEGINS_ABOVE: f64 = 0.10;

/// The share below which it ends; lower than [`BEGINS_ABOVE`], so that the report does not flap.
const ENDS_BELOW: f64 = 0.05;

/// A cause of lost frames.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LossCause {
    /// Decoding on this host is too slow.
    Decoding,
    /// The model of this name is too slow.
    Model(String),
    /// The footage of this camera cannot be decoded.
    Footage(String),
}

/// The causes that are in effect.
#[derive(Debug, Default)]
pub(super) struct LossCauses(BTreeSet<LossCause>);

/// The begin or the end of a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LossChange {
    /// The cause began; the text has figures and remedy.
    Began(LossCause, String),
    /// The cause is over.
    Ended(LossCause),
}

/// Returns whether a host or a model that is too slow has dropped frames of half of the cameras over the last minute.
pub(super) fn is_overloaded(rows: &[CameraRow]) -> bool {
    let affected = rows.iter().filter(|row| row.load.late.max(row.load.superseded) > BEGINS_ABOVE).count();
    affected > 0 && affected * 2 >= rows.len()
}

/// Returns the share of the camera's frames that is dropped because of `cause`, 0..=1.
fn share(row: &CameraRow, cause: &LossCause) -> f64 {
    match cause {
        LossCause::Decoding => row.load.late,
        LossCause::Model(name) if row.load.model.as_ref() == Some(name) => row.load.superseded,
        LossCause::Footage(id) if row.id == *id => row.load.undecodable,
        LossCause::Model(_) | LossCause::Footage(_) => 0.0,
    }
}

/// Returns the causes that may apply to the camera.
fn possible_causes(row: &CameraRow) -> impl Iterator<Item = LossCause> {
    let model = row.load.model.clone().map(LossCause::Model);
    // One cause per camera, so it is listed only where it may begin; the others are few.
    let footage = (row.load.undecodable > BEGINS_ABOVE).then(|| LossCause::Footage(row.id.clone()));
    [LossCause::Decoding].into_iter().chain(model).chain(footage)
}

impl LossCauses {
    /// Returns the causes that began or ended since the last call.
    pub(super) fn judge(&mut self, rows: &[CameraRow]) -> Vec<LossChange> {
        let possible: BTreeSet<LossCause> = rows.iter().flat_map(possible_causes).collect();
        let mut changes = Vec::new();
        // A cause of a removed camera is no longer possible, but has to end: hence the union.
        for cause in possible.union(&self.0.clone()) {
            // The worst camera decides: an average would hide one overloaded camera among many idle ones.
            let worst = rows.iter().map(|row| share(row, cause)).fold(0.0, f64::max);
            if worst > BEGINS_ABOVE && self.0.insert(cause.clone()) {
                changes.push(LossChange::Began(cause.clone(), loss_reason(cause, rows)));
            } else if worst < ENDS_BELOW && self.0.remove(cause) {
                changes.push(LossChange::Ended(cause.clone()));
            }
        }
        changes
    }

    /// Returns the reasons for `/healthz`, without those of cameras that are reported as not analyzed already.
    pub(super) fn reasons(&self, rows: &[CameraRow]) -> Vec<String> {
        let is_reported = |id: &String| rows.iter().any(|row| row.id == *id && row.error.is_some());
        let is_new = |cause: &&LossCause| !matches!(cause, LossCause::Footage(id) if is_reported(id));
        self.0.iter().filter(is_new).map(|cause| loss_reason(cause, rows)).collect()
    }
}

/// Returns the reason for `/healthz` about a cause, with the figures of the most affected camera.
fn loss_reason(cause: &LossCause, rows: &[CameraRow]) -> String {
    let cameras = rows.iter().filter(|row| share(row, cause) >= ENDS_BELOW).count().max(1);
    let cameras = if cameras == 1 { "1 camera".to_owned() } else { format!("{cameras} cameras") };
    let worst = rows.iter().max_by(|a, b| share(a, cause).total_cmp(&share(b, cause)));
    let (id, load) = worst.map_or(("-", CameraLoad::default()), |row| (row.id.as_str(), row.load.clone()));
    match cause {
        LossCause::Decoding => format!(
            "this host is too slow to decode {cameras}: {:.0} % of the latest footage of camera {id} was dropped; lower the \
             resolution or the frame rate that the cameras send, give this host more CPU, or move cameras to another one",
            load.late_of_read * 100.0
        ),
        LossCause::Model(name) => format!(
            "model {name} is too slow for {cameras}: camera {id} gets {:.1} of {:.1} inferences per second; lower fps_target, use a \
             smaller model, raise its `threads` under `models` where cores are idle, or use a GPU",
            load.inferred_fps, load.sampled_fps
        ),
        LossCause::Footage(id) => {
            format!(
                "camera {id} loses {:.0} % of its frames: {}",
                load.lost * 100.0,
                explained(load.lost_for)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::media::CameraId;
    use crate::status::load::LoadWindow;
    use crate::status::load::testing::minute;
    use crate::status::{HealthStatus, StatusBoard};

    fn board(late: f64, superseded: f64) -> (StatusBoard, Instant) {
        let board = StatusBoard::new();
        let mut last = Instant::now();
        for id in ["gate", "alley"] {
            let camera = board.add_camera(&CameraId::new(id), id);
            camera.uses_model("street");
            let (window, at) = minute(60, late, superseded);
            camera.set_load(window);
            last = at;
        }
        (board, last)
    }

    #[test]
    fn a_host_is_overloaded_when_half_of_its_cameras_lose_frames() {
        for (late, superseded, others, expected) in
            [(0.2, 0.0, 1, true), (0.0, 0.2, 2, true), (0.2, 0.0, 3, false), (0.0, 0.0, 0, false)]
        {
            let (board, at) = board(late, superseded);
            (0..others).for_each(|id| drop(board.add_camera(&CameraId::new(&format!("other-{id}")), "s")));
            assert_eq!(is_overloaded(&board.snapshot_at(at)), expected, "{late} {superseded} {others}");
        }
    }

    #[test]
    fn an_overload_is_a_reason_from_its_beginning_to_its_end_and_no_camera_counts_as_down() {
        let (board, at) = board(0.6, 0.0);
        assert_eq!(board.health().status, HealthStatus::Ok, "not judged yet");
        let [LossChange::Began(_, text)] = &board.judge_losses(at)[..] else { panic!("it begins") };
        let said = "this host is too slow to decode 2 cameras: 60 % of the latest footage of camera ";
        assert!(text.starts_with(said), "{text}");
        assert_eq!(board.judge_losses(at), [], "once");
        let health = board.health();
        assert_eq!((health.status, health.reasons.len()), (HealthStatus::Degraded, 1), "{health:?}");
        assert!(board.snapshot().iter().all(CameraRow::is_well));
        let later = at + Duration::from_secs(61);
        assert_eq!(board.judge_losses(later), [LossChange::Ended(LossCause::Decoding)]);
        assert_eq!(board.health().status, HealthStatus::Ok);
    }

    #[test]
    fn a_slow_model_is_named_with_what_its_cameras_get() {
        let (board, at) = board(0.0, 0.46);
        let [LossChange::Began(_, text)] = &board.judge_losses(at)[..] else { panic!("it begins") };
        assert!(text.starts_with("model street is too slow for 2 cameras: camera "), "{text}");
        assert!(text.contains(" gets 27.") && text.contains("raise its `threads`"), "{text}");
    }

    #[test]
    fn a_twelfth_is_no_overload_and_keeps_one_going() {
        let (calm, at) = board(0.08, 0.0);
        assert_eq!(calm.judge_losses(at), []);
        let (busy, at) = board(0.2, 0.0);
        assert_eq!(busy.judge_losses(at).len(), 1);
        for id in ["gate", "alley"] {
            busy.camera(id).unwrap().set_load(minute(60, 0.08, 0.0).0);
        }
        assert_eq!(busy.judge_losses(at), []);
    }

    /// Returns a board with a camera that loses this share of its frames for a minute, for this reason.
    fn lossy(reason: &'static str, share: f64) -> (StatusBoard, Instant) {
        let (board, start) = (StatusBoard::new(), Instant::now());
        let mut window = LoadWindow::default();
        for second in 0..60 {
            window.count(start + Duration::from_secs(second), |counts| {
                counts.read += 100;
                counts.dropped(reason, (share * 100.0) as u64);
            });
        }
        board.add_camera(&CameraId::new("gate"), "gate").set_load(window);
        (board, start + Duration::from_secs(60))
    }

    #[test]
    fn footage_that_cannot_be_decoded_for_a_minute_is_a_reason_with_its_cause() {
        for (reason, share, said) in [
            ("damaged", 0.67, Some("camera gate loses 67 % of its frames: they are damaged; see the log")),
            (
                "no_picture",
                0.5,
                Some("camera gate loses 50 % of its frames: the decoder returned no picture"),
            ),
            ("leading", 0.2, Some("camera gate loses 20 % of its frames: they reference fragments that")),
            ("no_key_frame", 0.2, Some("camera gate loses 20 % of its frames: no keyframe came")),
            ("damaged", 0.08, None),
            ("discontinuity", 0.9, None),
        ] {
            let (board, at) = lossy(reason, share);
            let changes = board.judge_losses(at);
            let began = changes.iter().map(|change| match change {
                LossChange::Began(LossCause::Footage(camera), text) if camera == "gate" => text.as_str(),
                _ => panic!("{reason}: {change:?}"),
            });
            let health = board.health();
            assert_eq!(began.collect::<Vec<_>>(), health.reasons, "{reason}");
            let first = health.reasons.first();
            assert_eq!(first.is_some(), said.is_some(), "{reason}: {first:?}");
            assert!(first.is_none_or(|have| said.is_some_and(|said| have.starts_with(said))), "{first:?}");
            let ended = board.judge_losses(at + Duration::from_secs(61));
            assert_eq!(ended.len(), changes.len(), "{reason}: a minute without drops ends it");
        }
    }

    #[test]
    fn a_camera_that_is_not_analyzed_has_one_reason() {
        let (board, at) = lossy("damaged", 1.0);
        assert_eq!(board.judge_losses(at).len(), 1);
        board.camera("gate").unwrap().blind("decode", Some("no frame was decoded".to_owned()));
        let reasons = board.health().reasons;
        assert!(reasons.len() == 1 && reasons[0].ends_with("no frame was decoded"), "{reasons:?}");
    }
}
