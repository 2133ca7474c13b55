//! The motion of an object: a Kalman filter of its centre with constant velocity, and a steady course for when it is hidden.

use serde::{Deserialize, Serialize};

use crate::media::BBox;

/// Time for which an unseen object is extrapolated at constant velocity before it is held still.
const COAST_S: f32 = 2.0;
/// Time over which the steady velocity is averaged, s: the noise of boxes is small against a walk of that time.
const STEADY_S: f32 = 1.5;
/// Minimum time in view of an object with a known course, s.
const MIN_KNOWN_S: f32 = 0.3;
/// Maximum width of a half-hidden object, as a share of its mean width.
const HALF_HIDDEN_SHARE: f32 = 0.75;
/// Minimum speed of an object that moves, in its heights per second: the boxes of a standing one drift more slowly.
const MIN_SPEED: f32 = 0.15;
/// Standard deviation of a measured centre, as a share of the box's height.
const MEASUREMENT_NOISE: f32 = 0.05;
/// Standard deviation of the initial velocity, in heights per second: wide, so that the first sightings set it.
const INITIAL_VELOCITY: f32 = 3.0;
/// Standard deviation of the acceleration, in heights per second squared.
const ACCELERATION: f32 = 0.6;

/// The motion of an object as of its last sighting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MotionEstimate {
    x: Axis,
    y: Axis,
    #[serde(default)]
    steady: SteadyMotion,
}

/// The recent means of an object's velocity and size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SteadyMotion {
    /// Along x and y, px/s.
    velocity: (f32, f32),
    /// Mean width, px.
    #[serde(default)]
    width: f32,
    /// Mean height, px.
    #[serde(default)]
    height: f32,
    /// Time over which the means were taken, up to [`STEADY_S`], s.
    known_s: f32,
}

/// Position (frame px) and velocity (px/s) along one axis, with their covariance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Axis {
    at: f32,
    velocity: f32,
    /// Variance of the position, covariance of both, variance of the velocity.
    covariance: [f32; 3],
}

impl MotionEstimate {
    /// Returns the estimate after the first sighting.
    pub(super) fn new(bbox: &BBox) -> Self {
        let (x, y) = bbox.centre();
        let height = height(bbox);
        Self { x: Axis::new(x, height), y: Axis::new(y, height), steady: SteadyMotion::default() }
    }

    /// Returns the box that is expected `elapsed_s` after the last sighting at `last`; its size stays.
    pub(super) fn predict(&self, last: &BBox, elapsed_s: f32) -> BBox {
        // Held still after COAST_S: an object that is missed for longer has rather stopped than left at full speed.
        let coasted_s = elapsed_s.clamp(0.0, COAST_S);
        shifted(last, (self.x.velocity, self.y.velocity), coasted_s)
    }

    /// Returns the box of an object that has been hidden for `elapsed_s` since `last`, along its steady course.
    pub(super) fn follow(&self, last: &BBox, elapsed_s: f32) -> BBox {
        // Not the velocity of the filter: the box of an object that disappears behind an obstacle becomes narrower from one side,
        // so its centre slows down or turns, and the filter follows it.
        shifted(last, self.steady.velocity, elapsed_s)
    }

    /// Returns whether an object that was last seen at `last` was narrower than usual: something hid a part of it.
    pub(super) fn is_half_hidden(&self, last: &BBox) -> bool {
        last.x2 - last.x1 < HALF_HIDDEN_SHARE * self.steady.width
    }

    /// Returns the usual height, px; 0 if it is not known.
    pub(super) fn usual_height(&self) -> f32 {
        self.steady.height
    }

    /// Returns whether the object was seen for too short a time to know its course.
    pub(super) fn is_new(&self) -> bool {
        self.steady.known_s < MIN_KNOWN_S
    }

    /// Returns whether an object that was last seen at `last` stood, as far as is known.
    pub(super) fn is_standing(&self, last: &BBox) -> bool {
        let (vx, vy) = self.steady.velocity;
        vx.hypot(vy) < MIN_SPEED * height(last)
    }

    /// Adds a sighting at `bbox`, `elapsed_s` after the one at `last`.
    pub(super) fn update(&mut self, last: &BBox, bbox: &BBox, elapsed_s: f32) {
        self.steady.update(last, bbox, elapsed_s);
        let ((x, y), height) = (bbox.centre(), height(bbox));
        self.x.update(x, height, elapsed_s);
        self.y.update(y, height, elapsed_s);
    }
}

impl SteadyMotion {
    fn update(&mut self, last: &BBox, at: &BBox, elapsed_s: f32) {
        // Media time that stands still or goes back gives no velocity.
        if elapsed_s <= 0.0 {
            return;
        }
        self.known_s = (self.known_s + elapsed_s).min(STEADY_S);
        // A plain mean until STEADY_S is reached, a moving one from then on.
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
        // Noise in heights, not px: the same walk has the same filter near the camera and far from it.
        let covariance = [(MEASUREMENT_NOISE * height).powi(2), 0.0, (INITIAL_VELOCITY * height).powi(2)];
        Self { at, velocity: 0.0, covariance }
    }

    /// Predicts the state after `elapsed_s`, and corrects it by a measured position.
    fn update(&mut self, at: f32, height: f32, elapsed_s: f32) {
        // Clamped: an hour without inference would give a covariance beyond the precision of f32.
        let t = elapsed_s.clamp(0.0, COAST_S);
        let [p, pv, v] = self.covariance;
        // Prediction P = F P F' + Q with F = [1 t; 0 1]; Q is that of a constant random acceleration during t.
        let q = (ACCELERATION * height).powi(2);
        let p = p + 2.0 * t * pv + t * t * v + q * t.powi(4) / 4.0;
        let pv = pv + t * v + q * t.powi(3) / 2.0;
        let v = v + q * t * t;
        let expected = self.at + self.velocity * t;
        // Correction with H = [1 0], as only the position is measured.
        let innovation = p + (MEASUREMENT_NOISE * height).powi(2);
        let (gain, velocity_gain) = (p / innovation, pv / innovation);
        let error = at - expected;
        self.at = expected + gain * error;
        self.velocity += velocity_gain * error;
        self.covariance = [(1.0 - gain) * p, (1.0 - gain) * pv, v - velocity_gain * pv];
    }
}

fn shifted(bbox: &BBox, (vx, vy): (f32, f32), elapsed_s: f32) -> BBox {
    let (dx, dy) = (vx * elapsed_s, vy * elapsed_s);
    BBox { x1: bbox.x1 + dx, y1: bbox.y1 + dy, x2: bbox.x2 + dx, y2: bbox.y2 + dy }
}

/// Returns the height, px, and at least 1, so that no variance is zero.
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

    /// Returns the predicted and the real box, `later_s` after ten sightings at intervals of `step_s` on a straight course.
    fn straight((vx, vy): (f32, f32), step_s: f32, later_s: f32) -> (BBox, BBox) {
        let place = |s: f32| at(100.0 + vx * s, 50.0 + vy * s);
        let mut motion = MotionEstimate::new(&place(0.0));
        for sighting in 1..=10_u8 {
            motion.update(
                &place(step_s * f32::from(sighting - 1)),
                &place(step_s * f32::from(sighting)),
                step_s,
            );
        }
        let end_s = step_s * 10.0;
        (motion.predict(&place(end_s), later_s), place(end_s + later_s))
    }

    #[test]
    fn an_unseen_object_is_extrapolated() {
        for (name, velocity, step_s) in
            [("walks", (60.0, 0.0), 0.2), ("drives", (-700.0, 40.0), 0.1), ("stands", (0.0, 0.0), 0.2)]
        {
            let (predicted, real) = straight(velocity, step_s, 1.0);
            assert!(predicted.iou(&real) > 0.8, "{name}: {predicted:?}, really {real:?}");
        }
    }

    #[test]
    fn an_object_that_stays_unseen_is_held_still() {
        let (after_2_s, _) = straight((60.0, 0.0), 0.2, COAST_S);
        let (after_an_hour, _) = straight((60.0, 0.0), 0.2, 3_600.0);
        assert_eq!(after_2_s, after_an_hour);
    }

    proptest! {
        #[test]
        fn estimates_stay_finite(
            sights in proptest::collection::vec((-100.0..8_000.0_f32, -100.0..8_000.0_f32, 0.0..60.0_f32), 1..50),
        ) {
            let mut motion = MotionEstimate::new(&at(0.0, 0.0));
            let mut last = at(0.0, 0.0);
            for (x, y, elapsed_s) in sights {
                motion.update(&last, &at(x, y), elapsed_s);
                last = at(x, y);
                let next = motion.predict(&at(x, y), 0.2);
                prop_assert!([next.x1, next.y1, next.x2, next.y2].iter().all(|edge| edge.is_finite() && edge.abs() < 1e6));
                prop_assert!(motion.x.covariance[0] > 0.0 && motion.x.covariance[2] > 0.0);
            }
        }
    }
}
