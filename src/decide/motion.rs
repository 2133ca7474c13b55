//! Where a thing will be: a Kalman filter of its centre, by constant velocity, and its steady way for when it is hidden.

use serde::{Deserialize, Serialize};

use crate::media::BBox;

/// A thing that is out of sight is thought to go on for so long, and to stand from then on.
const COAST_S: f32 = 2.0;
/// Over which time the steady velocity is the mean, s: long enough that the noise of boxes is nothing against a walk.
const STEADY_S: f32 = 1.5;
/// Minimum time in view of an object with a known way, s.
const NEW_S: f32 = 0.3;
/// Maximum width of a half-hidden object, as a share of its mean width.
const HALF_HIDDEN: f32 = 0.75;
/// A thing that is slower than this stands, as a share of its height, 1/s.
const STANDS: f32 = 0.15;
/// Standard deviations, as shares of the box's height: of where a detector sees the centre,
const SEEN: f32 = 0.05;
/// of a thing's velocity when nothing is known of it, 1/s,
const UNKNOWN_VELOCITY: f32 = 3.0;
/// and of its acceleration, 1/s².
const ACCELERATION: f32 = 0.6;

/// What is known of a thing's way, as of its last sighting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Motion {
    x: Axis,
    y: Axis,
    /// The steady velocity and the time over which it was measured.
    #[serde(default)]
    steady: Steady,
}

/// The recent mean of velocity (x and y, px/s), width and height (px), and over how long a time they are known, s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Steady {
    velocity: (f32, f32),
    #[serde(default)]
    width: f32,
    #[serde(default)]
    height: f32,
    known_s: f32,
}

/// Position (frame px) and velocity (px/s) along one axis, with their covariance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Axis {
    at: f32,
    velocity: f32,
    /// Of `at`, of both, of `velocity`.
    covariance: [f32; 3],
}

impl Motion {
    /// Of a thing that was seen once.
    pub(super) fn new(bbox: &BBox) -> Self {
        let (x, y) = bbox.centre();
        let height = height(bbox);
        Self { x: Axis::new(x, height), y: Axis::new(y, height), steady: Steady::default() }
    }

    /// Where a thing that was last seen at `last` is after `elapsed_s`; its size stays.
    pub(super) fn predict(&self, last: &BBox, elapsed_s: f32) -> BBox {
        let coasted_s = elapsed_s.clamp(0.0, COAST_S);
        let (dx, dy) = (self.x.velocity * coasted_s, self.y.velocity * coasted_s);
        BBox { x1: last.x1 + dx, y1: last.y1 + dy, x2: last.x2 + dx, y2: last.y2 + dy }
    }

    /// Returns the place of an object that was last seen at `last` and has been hidden for `elapsed_s` on its steady way.
    pub(super) fn follow(&self, last: &BBox, elapsed_s: f32) -> BBox {
        let (vx, vy) = self.steady.velocity;
        let (dx, dy) = (vx * elapsed_s, vy * elapsed_s);
        BBox { x1: last.x1 + dx, y1: last.y1 + dy, x2: last.x2 + dx, y2: last.y2 + dy }
    }

    /// Returns whether an object that was last seen at `last` was narrower than usual: something hid a part of it.
    pub(super) fn is_half_hidden(&self, last: &BBox) -> bool {
        last.x2 - last.x1 < HALF_HIDDEN * self.steady.width
    }

    /// Returns its usual height, px; 0 if it is not known.
    pub(super) fn usual_height(&self) -> f32 {
        self.steady.height
    }

    /// Returns whether it was seen for too short a time to know its way.
    pub(super) fn is_new(&self) -> bool {
        self.steady.known_s < NEW_S
    }

    /// Returns whether an object that was last seen at `last` stood, as far as is known.
    pub(super) fn stands(&self, last: &BBox) -> bool {
        let (vx, vy) = self.steady.velocity;
        vx.hypot(vy) < STANDS * height(last)
    }

    /// It was seen at `bbox`, after `last` and `elapsed_s` later.
    pub(super) fn sight(&mut self, last: &BBox, bbox: &BBox, elapsed_s: f32) {
        self.steady.sight(last, bbox, elapsed_s);
        let ((x, y), height) = (bbox.centre(), height(bbox));
        self.x.sight(x, height, elapsed_s);
        self.y.sight(y, height, elapsed_s);
    }
}

impl Steady {
    fn sight(&mut self, last: &BBox, at: &BBox, elapsed_s: f32) {
        if elapsed_s <= 0.0 {
            return;
        }
        self.known_s = (self.known_s + elapsed_s).min(STEADY_S);
        let share = (elapsed_s / self.known_s).min(1.0);
        let mean = |old: f32, new: f32| old + share * (new - old);
        let ((last_x, last_y), (x, y)) = (last.centre(), at.centre());
        let (vx, vy) = self.velocity;
        self.velocity = (mean(vx, (x - last_x) / elapsed_s), mean(vy, (y - last_y) / elapsed_s));
        self.width = mean(self.width, at.x2 - at.x1);
        self.height = mean(self.height, at.y2 - at.y1);
    }
}

impl Axis {
    fn new(at: f32, height: f32) -> Self {
        let covariance = [(SEEN * height).powi(2), 0.0, (UNKNOWN_VELOCITY * height).powi(2)];
        Self { at, velocity: 0.0, covariance }
    }

    fn sight(&mut self, at: f32, height: f32, elapsed_s: f32) {
        let t = elapsed_s.clamp(0.0, COAST_S);
        let [p, pv, v] = self.covariance;
        let q = (ACCELERATION * height).powi(2);
        let p = p + 2.0 * t * pv + t * t * v + q * t.powi(4) / 4.0;
        let pv = pv + t * v + q * t.powi(3) / 2.0;
        let v = v + q * t * t;
        let expected = self.at + self.velocity * t;
        let certainty = p + (SEEN * height).powi(2);
        let (gain, velocity_gain) = (p / certainty, pv / certainty);
        let error = at - expected;
        self.at = expected + gain * error;
        self.velocity += velocity_gain * error;
        self.covariance = [(1.0 - gain) * p, (1.0 - gain) * pv, v - velocity_gain * pv];
    }
}

/// At least a pixel, so that no variance is zero.
fn height(bbox: &BBox) -> f32 {
    (bbox.y2 - bbox.y1).max(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(x: f32, y: f32) -> BBox {
        BBox { x1: x, y1: y, x2: x + 40.0, y2: y + 80.0 }
    }

    /// Seen every `step_s` on a straight way; where it is thought to be after `later_s` more, and where it is.
    fn straight((vx, vy): (f32, f32), step_s: f32, later_s: f32) -> (BBox, BBox) {
        let place = |s: f32| at(100.0 + vx * s, 50.0 + vy * s);
        let mut motion = Motion::new(&place(0.0));
        for look in 1..=10_u8 {
            motion.sight(&place(step_s * f32::from(look - 1)), &place(step_s * f32::from(look)), step_s);
        }
        let end_s = step_s * 10.0;
        (motion.predict(&place(end_s), later_s), place(end_s + later_s))
    }

    #[test]
    fn a_thing_that_is_hidden_goes_on_its_way() {
        for (name, way, step_s) in
            [("walks", (60.0, 0.0), 0.2), ("drives", (-700.0, 40.0), 0.1), ("stands", (0.0, 0.0), 0.2)]
        {
            let (predicted, real) = straight(way, step_s, 1.0);
            assert!(predicted.iou(&real) > 0.8, "{name}: {predicted:?}, really {real:?}");
        }
    }

    #[test]
    fn it_is_thought_to_stand_in_the_end() {
        let (after_2_s, _) = straight((60.0, 0.0), 0.2, COAST_S);
        let (after_an_hour, _) = straight((60.0, 0.0), 0.2, 3_600.0);
        assert_eq!(after_2_s, after_an_hour);
    }

    proptest! {
        #[test]
        fn nothing_gets_out_of_hand(
            sights in proptest::collection::vec((-100.0..8_000.0_f32, -100.0..8_000.0_f32, 0.0..60.0_f32), 1..50),
        ) {
            let mut motion = Motion::new(&at(0.0, 0.0));
            let mut last = at(0.0, 0.0);
            for (x, y, elapsed_s) in sights {
                motion.sight(&last, &at(x, y), elapsed_s);
                last = at(x, y);
                let next = motion.predict(&at(x, y), 0.2);
                prop_assert!([next.x1, next.y1, next.x2, next.y2].iter().all(|edge| edge.is_finite() && edge.abs() < 1e6));
                prop_assert!(motion.x.covariance[0] > 0.0 && motion.x.covariance[2] > 0.0);
            }
        }
    }
}
