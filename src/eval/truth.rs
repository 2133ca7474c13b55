//! The truth about footage: people, times and places.

use crate::media::BBox;

/// The truth about one camera's footage, for one label.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// The class name of its people or objects.
    pub label: String,
    /// Media time of the footage's first frame, ms since the epoch; all other times of the truth count from it.
    pub start_ms: i64,
    /// All visits.
    pub visits: Vec<Visit>,
}

/// One continuous stay of a person (or other object) in view. Invariant: `boxes` rises in time and reaches from `from_ms` to `to_ms`.
#[derive(Clone, Debug, PartialEq)]
pub struct Visit {
    /// Its id, unique in the truth.
    pub id: String,
    /// The visiting person, who may have other visits.
    pub person: String,
    /// Start of the visit, ms from the footage's start.
    pub from_ms: i64,
    /// End of the visit, ms from the footage's start.
    pub to_ms: i64,
    /// Boxes of the person, between which positions are interpolated linearly.
    pub boxes: Vec<KeyBox>,
}

/// A box at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyBox {
    /// Time of the box, ms from the footage's start.
    pub at_ms: i64,
    /// The box, frame px.
    pub bbox: BBox,
}

impl Visit {
    /// Returns the box at a time, ms from the footage's start; `None` before the first key box and after the last.
    #[must_use]
    pub fn bbox_at(&self, at_ms: i64) -> Option<BBox> {
        // The boxes are sorted by time, which the truth file checks.
        let next = self.boxes.partition_point(|key| key.at_ms < at_ms);
        let after = self.boxes.get(next)?;
        if after.at_ms == at_ms {
            return Some(after.bbox);
        }
        let before = self.boxes.get(next.checked_sub(1)?)?;
        let share = (at_ms - before.at_ms) as f32 / (after.at_ms - before.at_ms) as f32;
        Some(between(&before.bbox, &after.bbox, share))
    }

    /// Returns how long it is in view within `from_ms..to_ms`, ms.
    pub(super) fn overlap_ms(&self, from_ms: i64, to_ms: i64) -> i64 {
        (self.to_ms.min(to_ms) - self.from_ms.max(from_ms)).max(0)
    }
}

/// Interpolates between two boxes: returns `a` for a `share` of 0 and `b` for 1.
fn between(a: &BBox, b: &BBox, share: f32) -> BBox {
    let mix = |a: f32, b: f32| a + (b - a) * share;
    BBox { x1: mix(a.x1, b.x1), y1: mix(a.y1, b.y1), x2: mix(a.x2, b.x2), y2: mix(a.y2, b.y2) }
}
