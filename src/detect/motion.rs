//! The motion gate: which frames of a scene are worth a look. A pure, serialisable state machine.
//!
//! A frame is compared with the last one that was looked at, in little ([`super::luma`]). So a slow thing adds up until it
//! counts, and what a detector has not seen is no more than what may change between two looks at a still scene. From a change on,
//! every frame is looked at until nothing has changed for two seconds, so that confirmation gets the looks that it counts; the
//! same where what the detectors saw has changed: a thing came, went or moved. A scene that stays still is looked at now
//! and then.
//!
//! What does not count: a change of the light as a whole that is small, and noise. A lamp that is switched counts.

use serde::{Deserialize, Serialize};

use super::luma::LumaGrid;
use crate::decode::Yuv420;
use crate::frame::{BBox, MediaMs};

/// How long every frame is looked at after the last change, ms of media time.
const CALM_MS: i64 = 2_000;
/// Cells that must have changed: one alone is a spark of noise.
const LEAST_CELLS: usize = 2;
/// A cell must change by so many times the spread of all cells, which is noise where most of the scene stands still: 5.4 standard
/// deviations of it.
const SPREADS: i16 = 8;
/// A spread beyond this is no noise.
const MOST_SPREAD: i16 = 3;
/// A change of the light as a whole by more than this counts, in luma.
const LIGHT: i16 = 12;
/// A thing whose boxes in two looks overlap less has moved.
const STILL_IOU: f32 = 0.7;
/// Things remembered of a look; the rest count as still.
const MOST_THINGS: usize = 64;
/// A step back in time beyond this is other footage, ms.
const JITTER_MS: i64 = 1_000;

/// How still a scene must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MotionRules {
    /// 0 (only large changes) to 1 (the slightest).
    pub sensitivity: f32,
    /// A still scene is looked at once in so long, ms of media time.
    pub max_idle_ms: i64,
}

/// What the gate remembers of a camera: part of its checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MotionState(Option<LastLook>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LastLook {
    media: MediaMs,
    size_px: (u32, u32),
    luma: LumaGrid,
    /// Every frame up to here is looked at.
    awake_until: MediaMs,
    things: Vec<Thing>,
}

/// Something that the detectors saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thing {
    /// The class name.
    pub label: String,
    /// Where, in frame px.
    pub bbox: BBox,
}

impl MotionRules {
    /// How much a cell must change, in luma: 24 at a sensitivity of 0, 8 at a half, 3 at 1.
    #[expect(clippy::cast_possible_truncation, reason = "3 to 24")]
    fn least_change(self) -> i16 {
        (24.0 * 0.125_f32.powf(self.sensitivity.clamp(0.0, 1.0))) as i16
    }
}

impl MotionState {
    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether to look at the picture at `media`; frames come in order of presentation. Nothing changes where it is not looked
    /// at, so that it makes no difference whether a frame that is passed over comes again.
    pub fn looks(&mut self, rules: MotionRules, picture: &Yuv420<'_>, media: MediaMs) -> bool {
        let size_px = (picture.width_px, picture.height_px);
        let luma = LumaGrid::of(picture);
        let Some(last) = self.0.as_mut().filter(|last| last.goes_on(size_px, media)) else {
            self.0 = Some(LastLook::first(media, size_px, luma));
            return true;
        };
        if has_changed(rules, &luma, &last.luma) {
            last.stay_awake(media);
        }
        let looks = media <= last.awake_until || media.0 - last.media.0 >= rules.max_idle_ms;
        if looks {
            (last.media, last.luma) = (media, luma);
        }
        looks
    }

    /// What the detectors saw in the frame that was looked at last.
    pub fn saw(&mut self, things: impl Iterator<Item = Thing>) {
        let Some(last) = &mut self.0 else { return };
        let things: Vec<Thing> = things.take(MOST_THINGS).collect();
        if things.len() != last.things.len() || !things.iter().all(|thing| thing.stands_among(&last.things)) {
            last.stay_awake(last.media);
        }
        last.things = things;
    }

    /// The frame could not be looked at after all: the next one is.
    pub fn forget(&mut self) {
        self.0 = None;
    }
}

impl LastLook {
    fn first(media: MediaMs, size_px: (u32, u32), luma: LumaGrid) -> Self {
        let mut first = Self { media, size_px, luma, awake_until: media, things: Vec::new() };
        first.stay_awake(media);
        first
    }

    fn goes_on(&self, size_px: (u32, u32), media: MediaMs) -> bool {
        self.size_px == size_px && media.0 >= self.media.0.saturating_sub(JITTER_MS)
    }

    fn stay_awake(&mut self, from: MediaMs) {
        self.awake_until = self.awake_until.max(MediaMs(from.0.saturating_add(CALM_MS)));
    }
}

impl Thing {
    fn stands_among(&self, before: &[Self]) -> bool {
        before.iter().any(|other| other.label == self.label && other.bbox.iou(&self.bbox) >= STILL_IOU)
    }
}

fn has_changed(rules: MotionRules, now: &LumaGrid, before: &LumaGrid) -> bool {
    let difference = now.difference(before);
    let limit = rules.least_change().max(SPREADS * difference.spread.min(MOST_SPREAD));
    difference.shift.abs() > LIGHT || now.changed(before, difference.shift, limit) >= LEAST_CELLS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::{Color, Matrix};

    const SIZE: (usize, usize) = (320, 180);
    const RULES: MotionRules = MotionRules { sensitivity: 0.5, max_idle_ms: 5_000 };
    const STEP_MS: i64 = 200;

    /// A scene: what brightness it has, and where a thing stands in it.
    #[derive(Clone, Copy)]
    struct Scene {
        light: u8,
        thing: Option<(usize, usize)>,
        noise: u32,
        seed: u32,
    }

    const EMPTY: Scene = Scene { light: 90, thing: None, noise: 0, seed: 1 };

    impl Scene {
        fn luma(self, x: usize, y: usize) -> u8 {
            let in_thing =
                |(left, top): (usize, usize)| (left..left + 12).contains(&x) && (top..top + 16).contains(&y);
            let base =
                if self.thing.is_some_and(in_thing) { 170 } else { u32::from(self.light) + (x as u32 / 8) };
            (base + noise(self.seed, (y * SIZE.0 + x) as u32) % (self.noise + 1)).min(255) as u8
        }

        fn plane(self) -> Vec<u8> {
            (0..SIZE.0 * SIZE.1).map(|at| self.luma(at % SIZE.0, at / SIZE.0)).collect()
        }
    }

    /// Anything but regular.
    fn noise(seed: u32, at: u32) -> u32 {
        let mixed = (at ^ seed.wrapping_mul(0x9E37_79B9)).wrapping_mul(0x85EB_CA6B);
        (mixed ^ (mixed >> 13)).wrapping_mul(0xC2B2_AE35) >> 8
    }

    fn looks(state: &mut MotionState, rules: MotionRules, scene: Scene, media: i64) -> bool {
        let plane = scene.plane();
        let picture = Yuv420 {
            width_px: SIZE.0 as u32,
            height_px: SIZE.1 as u32,
            planes: [&plane, &[], &[]],
            strides: [SIZE.0, 0, 0],
            color: Color { matrix: Matrix::Bt601, full_range: false },
        };
        state.looks(rules, &picture, MediaMs(media))
    }

    /// The frames that are looked at, by number; one each [`STEP_MS`].
    fn looked(frames: usize, scene: impl Fn(usize) -> Scene) -> Vec<usize> {
        let mut state = MotionState::default();
        (0..frames).filter(|at| looks(&mut state, RULES, scene(*at), *at as i64 * STEP_MS)).collect()
    }

    /// Two seconds from the first frame on, and then every five.
    fn when_still(frames: usize) -> Vec<usize> {
        (0..=10).chain((35..).step_by(25)).take_while(|at| *at < frames).collect()
    }

    #[test]
    fn a_still_scene_is_looked_at_now_and_then() {
        for (name, scene) in [
            ("without noise", EMPTY),
            ("with the noise of a sensor", Scene { noise: 40, ..EMPTY }),
            ("with a thing that stands", Scene { thing: Some((80, 60)), noise: 20, ..EMPTY }),
        ] {
            let seen = looked(100, |at| Scene { seed: at as u32, ..scene });
            assert_eq!(seen, when_still(100), "{name}");
        }
    }

    #[test]
    fn light_that_changes_slowly_does_not_count_and_a_lamp_does() {
        let dusk = looked(100, |at| Scene { light: 120 - (at / 3) as u8, ..EMPTY });
        assert_eq!(dusk, when_still(100));
        let lamp = looked(60, |at| Scene { light: if at < 20 { 40 } else { 70 }, ..EMPTY });
        assert_eq!(lamp, (0..=10).chain(20..=30).chain([55]).collect::<Vec<_>>());
    }

    #[test]
    fn from_a_change_on_every_frame_counts_until_it_is_calm() {
        let came = looked(60, |at| Scene {
            thing: (at >= 20).then_some((80, 60)),
            noise: 20,
            seed: at as u32,
            ..EMPTY
        });
        assert_eq!(came, (0..=10).chain(20..=30).chain([55]).collect::<Vec<_>>(), "it came and stayed");
        let walks = looked(60, |at| Scene { thing: (20..40).contains(&at).then(|| (5 * at, 60)), ..EMPTY });
        assert_eq!(walks, (0..=10).chain(20..=50).collect::<Vec<_>>(), "it walked through");
        let creeps = looked(120, |at| Scene { thing: Some((80 + at / 12, 60)), ..EMPTY });
        assert!(creeps.len() > 30, "a pixel in 2.4 s adds up: {creeps:?}");
    }

    #[test]
    fn a_sensitive_gate_sees_what_another_does_not() {
        for (sensitivity, contrast, sees) in [
            (0.0, 23, false),
            (0.0, 30, true),
            (0.5, 7, false),
            (0.5, 12, true),
            (1.0, 6, true),
            (1.0, 2, false),
        ] {
            let rules = MotionRules { sensitivity, ..RULES };
            let mut state = MotionState::default();
            assert!(looks(&mut state, rules, EMPTY, 0));
            let changed = |x: usize, y: usize| {
                EMPTY.luma(x, y) + if (100..130).contains(&x) && (50..80).contains(&y) { contrast } else { 0 }
            };
            let plane: Vec<u8> = (0..SIZE.0 * SIZE.1).map(|at| changed(at % SIZE.0, at / SIZE.0)).collect();
            let color = Color { matrix: Matrix::Bt601, full_range: false };
            let (width_px, height_px) = (SIZE.0 as u32, SIZE.1 as u32);
            let picture =
                Yuv420 { width_px, height_px, planes: [&plane, &[], &[]], strides: [SIZE.0, 0, 0], color };
            assert_eq!(state.looks(rules, &picture, MediaMs(4_000)), sees, "{sensitivity} {contrast}");
        }
    }

    #[test]
    fn other_footage_and_another_size_begin_anew() {
        let mut state = MotionState::default();
        assert!(looks(&mut state, RULES, EMPTY, 100_000));
        for (media, looked) in
            [(103_000, false), (99_500, true), (104_000, false), (90_000, true), (92_500, false)]
        {
            assert_eq!(looks(&mut state, RULES, EMPTY, media), looked, "{media}");
        }
        let plane = vec![90; 64 * 64];
        let color = Color { matrix: Matrix::Bt601, full_range: false };
        let small =
            Yuv420 { width_px: 64, height_px: 64, planes: [&plane, &[], &[]], strides: [64, 0, 0], color };
        assert!(state.looks(RULES, &small, MediaMs(92_600)));
        assert!(state.looks(RULES, &small, MediaMs(94_500)) && !state.looks(RULES, &small, MediaMs(97_000)));
        state.forget();
        assert!(state.looks(RULES, &small, MediaMs(97_000)));
    }

    fn thing(label: &str, x: f32) -> Thing {
        Thing { label: label.to_owned(), bbox: BBox { x1: x, y1: 0.0, x2: x + 100.0, y2: 50.0 } }
    }

    #[test]
    fn what_the_detectors_saw_keeps_it_awake_while_it_changes() {
        type Case<'a> = (&'a str, Vec<Thing>, Vec<Thing>, bool);
        let cases: [Case; 6] = [
            ("nothing", vec![], vec![], false),
            ("it stands, jittering", vec![thing("car", 0.0)], vec![thing("car", 9.0)], false),
            ("it moves", vec![thing("car", 0.0)], vec![thing("car", 40.0)], true),
            ("it is something else", vec![thing("car", 0.0)], vec![thing("bus", 0.0)], true),
            ("it came", vec![], vec![thing("car", 0.0)], true),
            ("it went", vec![thing("car", 0.0), thing("car", 300.0)], vec![thing("car", 0.0)], true),
        ];
        for (name, before, now, awake) in cases {
            let mut state = MotionState::default();
            assert!(looks(&mut state, RULES, EMPTY, 0));
            state.saw(before.into_iter());
            assert!(looks(&mut state, RULES, EMPTY, 5_000), "{name}");
            state.saw(now.into_iter());
            assert_eq!(looks(&mut state, RULES, EMPTY, 5_200), awake, "{name}");
            assert_eq!(looks(&mut state, RULES, EMPTY, 7_000), awake, "{name}");
            assert!(!looks(&mut state, RULES, EMPTY, 7_300), "{name}");
        }
    }

    proptest! {
        /// Wherever it is stopped, and whichever frames come again that were passed over, it goes on as if it had not been.
        #[test]
        fn what_was_written_goes_on_as_before(
            stop in 0_usize..60, moves in prop::collection::vec(any::<bool>(), 60),
        ) {
            let mut place = 0;
            let scenes: Vec<Scene> = moves.iter().map(|moves| {
                place += usize::from(*moves) * 4;
                Scene { thing: Some((place, 20)), ..EMPTY }
            }).collect();
            let run = |stops: bool| {
                let mut state = MotionState::default();
                let mut seen = Vec::new();
                for (at, scene) in scenes.iter().enumerate() {
                    if stops && at == stop {
                        state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
                        let passed = seen.last().map_or(0, |last| last + 1)..at;
                        assert!(passed.clone().all(|at| !looks(&mut state, RULES, scenes[at], at as i64 * 700)));
                    }
                    if looks(&mut state, RULES, *scene, at as i64 * 700) {
                        state.saw([thing("car", scene.thing.unwrap().0 as f32)].into_iter());
                        seen.push(at);
                    }
                }
                (seen, state)
            };
            prop_assert_eq!(run(true), run(false));
        }
    }
}
