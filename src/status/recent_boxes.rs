//! The bounding boxes of the last minutes of one camera, as examples for the zone editor.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::media::{BBox, MediaMs};

/// Minimum media time between two frames whose boxes are kept, ms: an object that crosses a zone is in several of them.
const INTERVAL_MS: u64 = 500;

/// Media time for which boxes are kept, ms.
const SPAN_MS: i64 = 600_000;

/// Maximum number of boxes that are kept per camera: 130 kB of memory if each frame has one, 60 kB if they have several.
const MAX_BOXES: usize = 1_000;

/// A detection of one frame, and the judgement of the running rules on it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecentBox {
    /// Name of the pipeline entry: its type, and `#2`, `#3`... for further entries of the type.
    pub entry: Arc<str>,
    /// Class name.
    pub label: Arc<str>,
    /// Confidence, 0..=1; at least half of the entry's `conf_threshold`.
    pub conf: f32,
    /// The box, px of the frame.
    pub bbox: BBox,
    /// `true` if it passed the rules: confidence, classes, size, zones.
    pub is_kept: bool,
}

/// The boxes of one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameBoxes {
    /// Media time of the frame.
    pub media: MediaMs,
    /// Its boxes, at least one.
    pub boxes: Arc<[RecentBox]>,
}

/// The kept boxes of a camera, whose frames all have one size.
#[derive(Debug, Default)]
pub(super) struct RecentBoxes {
    size_px: (u32, u32),
    frames: VecDeque<FrameBoxes>,
    /// The number of boxes in `frames`.
    count: usize,
}

impl RecentBoxes {
    /// Returns whether the boxes of a frame are kept: at most those of one frame per half second.
    pub(super) fn wants(&self, media: MediaMs) -> bool {
        // By distance: the time of a stream that begins again may be lower.
        self.frames.back().is_none_or(|last| media.0.abs_diff(last.media.0) >= INTERVAL_MS)
    }

    /// Adds the boxes of a frame of this size. The oldest frames are dropped for more than [`MAX_BOXES`] or [`SPAN_MS`].
    pub(super) fn add(&mut self, media: MediaMs, size_px: (u32, u32), mut boxes: Vec<RecentBox>) {
        if size_px != self.size_px {
            *self = Self { size_px, ..Self::default() };
        }
        boxes.truncate(MAX_BOXES);
        if boxes.is_empty() {
            return;
        }
        self.count += boxes.len();
        self.frames.push_back(FrameBoxes { media, boxes: boxes.into() });
        while self.count > MAX_BOXES
            || self.frames.front().is_some_and(|old| old.media.0 < media.0.saturating_sub(SPAN_MS))
        {
            let Some(dropped) = self.frames.pop_front() else { break };
            self.count -= dropped.boxes.len();
        }
    }

    /// Returns the frames, oldest first, and the size of all of them, px.
    pub(super) fn all(&self) -> ((u32, u32), Vec<FrameBoxes>) {
        (self.size_px, self.frames.iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE_PX: (u32, u32) = (640, 360);

    fn boxes(count: usize) -> Vec<RecentBox> {
        let bbox = BBox { x1: 0.0, y1: 0.0, x2: 9.0, y2: 9.0 };
        let one =
            RecentBox { entry: "objects".into(), label: "person".into(), conf: 0.5, bbox, is_kept: true };
        vec![one; count]
    }

    fn times(recent: &RecentBoxes) -> Vec<i64> {
        recent.all().1.iter().map(|frame| frame.media.0).collect()
    }

    #[test]
    fn one_frame_per_half_second_is_wanted_also_where_time_starts_again() {
        let mut recent = RecentBoxes::default();
        for (ms, wanted) in [(10_000, true), (10_499, false), (10_500, true), (10_001, false), (9_000, true)]
        {
            assert_eq!(recent.wants(MediaMs(ms)), wanted, "{ms}");
            if wanted {
                recent.add(MediaMs(ms), SIZE_PX, boxes(1));
            }
        }
        assert_eq!(times(&recent), [10_000, 10_500, 9_000]);
        recent.add(MediaMs(i64::MIN), SIZE_PX, boxes(1));
        assert!(recent.wants(MediaMs(i64::MAX)));
    }

    #[test]
    fn the_oldest_boxes_make_room_by_number_and_by_age() {
        let mut recent = RecentBoxes::default();
        for (ms, count) in [(0, 600), (1_000, 399), (2_000, 1)] {
            recent.add(MediaMs(ms), SIZE_PX, boxes(count));
        }
        assert_eq!((times(&recent), recent.count), (vec![0, 1_000, 2_000], MAX_BOXES));
        recent.add(MediaMs(3_000), SIZE_PX, boxes(1));
        assert_eq!((times(&recent), recent.count), (vec![1_000, 2_000, 3_000], 401));
        recent.add(MediaMs(4_000), SIZE_PX, boxes(MAX_BOXES + 9));
        assert_eq!((times(&recent), recent.count), (vec![4_000], MAX_BOXES));
        let mut aged = RecentBoxes::default();
        for ms in [0, 1, SPAN_MS, SPAN_MS + 1] {
            aged.add(MediaMs(ms), SIZE_PX, boxes(1));
        }
        assert_eq!(times(&aged), [1, SPAN_MS, SPAN_MS + 1]);
    }

    #[test]
    fn a_frame_without_boxes_is_not_kept_and_another_size_begins_again() {
        let mut recent = RecentBoxes::default();
        recent.add(MediaMs(0), SIZE_PX, boxes(1));
        recent.add(MediaMs(1_000), SIZE_PX, Vec::new());
        assert_eq!(times(&recent), [0]);
        recent.add(MediaMs(2_000), (1280, 720), boxes(2));
        assert_eq!(recent.all().0, (1280, 720));
        assert_eq!((times(&recent), recent.count), (vec![2_000], 2));
    }
}
