//! The progress of a replay, for its display.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use super::coverage::{FootageGap, UnreadableFragment};
use super::span::{ReplaySpan, rfc3339};
use crate::media::CameraId;

/// Maximum number of notes about the footage of a camera; the report has more.
const MAX_NOTES: u64 = 20;

/// Called with each note about missing footage.
pub type OnNote = Arc<dyn Fn(&str) + Send + Sync>;

/// The progress of all cameras.
#[derive(Clone)]
pub struct ReplayProgress {
    cameras: Vec<Arc<FeedProgress>>,
}

/// The sums of a replay so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProgressFigures {
    /// The part of the work that is done, 0..=1.
    pub share: f64,
    /// Length of the footage that was read, of all cameras together, ms.
    pub footage_ms: i64,
    /// Number of cameras that have ended.
    pub ended: usize,
    /// Number of cameras.
    pub cameras: usize,
}

/// The progress of a camera.
pub(super) struct FeedProgress {
    camera: CameraId,
    span: ReplaySpan,
    /// The media time up to which footage was read, ms since the epoch.
    read_to_ms: AtomicI64,
    footage_ms: AtomicI64,
    ended: AtomicBool,
    notes: AtomicU64,
    on_note: OnNote,
}

impl ReplayProgress {
    /// Returns the progress of cameras that have read nothing yet.
    #[must_use]
    pub fn new(cameras: &[CameraId], span: ReplaySpan, on_note: &OnNote) -> Self {
        let progress = |camera: &CameraId| {
            Arc::new(FeedProgress {
                camera: camera.clone(),
                span,
                read_to_ms: AtomicI64::new(span.from_ms),
                footage_ms: AtomicI64::new(0),
                ended: AtomicBool::new(false),
                notes: AtomicU64::new(0),
                on_note: Arc::clone(on_note),
            })
        };
        Self { cameras: cameras.iter().map(progress).collect() }
    }

    /// Returns the sums so far.
    #[must_use]
    pub fn figures(&self) -> ProgressFigures {
        let cameras = self.cameras.len();
        let sum: f64 = self.cameras.iter().map(|camera| camera.share()).sum();
        #[expect(clippy::cast_precision_loss, reason = "no one has 2^52 cameras")]
        let share = if cameras == 0 { 1.0 } else { sum / cameras as f64 };
        let footage_ms = self.cameras.iter().map(|camera| camera.footage_ms.load(Ordering::Relaxed)).sum();
        let ended = self.cameras.iter().filter(|camera| camera.ended.load(Ordering::Relaxed)).count();
        ProgressFigures { share, footage_ms, ended, cameras }
    }

    /// Returns the progress of a camera.
    pub(super) fn camera(&self, id: &CameraId) -> Option<&Arc<FeedProgress>> {
        self.cameras.iter().find(|progress| progress.camera == *id)
    }
}

impl FeedProgress {
    /// Records that a fragment was read.
    pub(super) fn read(&self, start_ms: i64, end_ms: i64) {
        self.footage_ms.fetch_add(end_ms.saturating_sub(start_ms).max(0), Ordering::Relaxed);
        self.read_to_ms.fetch_max(end_ms, Ordering::Relaxed);
    }

    /// Records that there is no more footage up to this time.
    pub(super) fn passed(&self, until_ms: i64) {
        self.read_to_ms.fetch_max(until_ms, Ordering::Relaxed);
    }

    /// Records that the camera has ended.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Reports a gap in the footage.
    pub(super) fn gap(&self, gap: &FootageGap) {
        let reason = gap.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        let (from, to) = (rfc3339(gap.from_ms), rfc3339(gap.to_ms));
        self.note(format_args!("no footage from {from} to {to}{reason}"));
    }

    /// Reports a fragment that is left out.
    pub(super) fn unreadable(&self, fragment: &UnreadableFragment) {
        let UnreadableFragment { number, start_ms, reason } = fragment;
        self.note(format_args!("fragment {number} of {} is left out: {reason}", rfc3339(*start_ms)));
    }

    fn note(&self, text: fmt::Arguments<'_>) {
        let notes = self.notes.fetch_add(1, Ordering::Relaxed);
        if notes < MAX_NOTES {
            (self.on_note)(&format!("camera {}: {text}", self.camera));
        } else if notes == MAX_NOTES {
            (self.on_note)(&format!(
                "camera {}: more footage is missing; the report has the list",
                self.camera
            ));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a span has far less than 2^53 ms")]
    fn share(&self) -> f64 {
        if self.ended.load(Ordering::Relaxed) {
            return 1.0;
        }
        let done_ms = self.read_to_ms.load(Ordering::Relaxed).saturating_sub(self.span.from_ms);
        (done_ms as f64 / self.span.length_ms().max(1) as f64).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const SPAN: ReplaySpan = ReplaySpan { from_ms: 10_000, to_ms: 20_000 };

    #[test]
    fn the_share_is_the_mean_of_the_cameras() {
        let ids = [CameraId::new("a"), CameraId::new("b")];
        let quiet: OnNote = Arc::new(|_| {});
        let progress = ReplayProgress::new(&ids, SPAN, &quiet);
        progress.camera(&ids[0]).unwrap().read(10_000, 15_000);
        let figures = progress.figures();
        assert_eq!((figures.share, figures.footage_ms, figures.ended), (0.25, 5_000, 0));
        progress.camera(&ids[1]).unwrap().passed(17_500);
        assert_eq!(progress.figures().share, 0.625);
        ids.iter().for_each(|id| progress.camera(id).unwrap().end());
        assert_eq!(
            progress.figures(),
            ProgressFigures { share: 1.0, footage_ms: 5_000, ended: 2, cameras: 2 }
        );
    }

    #[test]
    fn notes_are_bounded() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notes);
        let on_note: OnNote = Arc::new(move |note| sink.lock().unwrap().push(note.to_owned()));
        let ids = [CameraId::new("gate")];
        let progress = ReplayProgress::new(&ids, SPAN, &on_note);
        let gap = FootageGap { from_ms: 0, to_ms: 2_000, reason: Some("it is gone".to_owned()) };
        (0..50).for_each(|_| progress.camera(&ids[0]).unwrap().gap(&gap));
        let notes = notes.lock().unwrap();
        assert_eq!(notes.len(), 21);
        assert_eq!(
            notes[0],
            "camera gate: no footage from 1970-01-01T00:00:00Z to 1970-01-01T00:00:02Z: it is gone"
        );
        assert!(notes[20].ends_with("the report has the list"));
    }
}
