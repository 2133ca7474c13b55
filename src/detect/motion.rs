//! The motion gate: which frames of a scene are worth a look. A pure, serialisable state machine.
//!
//! A frame is compared with the last one that was looked at, in little ([`super::luma`]). So a slow thing adds up until it
//! counts, and what a detector has not seen is no more than what may change between two looks at a still scene. From a change on,
//! every frame is looked at until nothing has changed for as long as confirmation counts looks; the same where the detectors saw a thing that is new or has moved. A scene that stays still is looked at now and then; where such a
//! look misses a thing, every frame is looked at until the thing is seen again or taken for gone. So the boxes of a detector
//! that hesitates, which come and go from look to look, do not keep the gate open.
//!
//! What does not count: a change of the light as a whole that is small, and noise. A lamp that is switched counts.

use serde::{Deserialize, Serialize};

use super::luma::LumaGrid;
use crate::media::{BBox, MediaMs, Yuv420};

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
const STILL_IOU: f32 = 0.6;
/// Things seen in a look and remembered, each; the rest count as still.
const MOST_THINGS: usize = 64;
/// A thing that so many looks in a row have missed is gone.
const GONE_LOOKS: u8 = 10;
/// A step back in time beyond this is other footage, ms.
const JITTER_MS: i64 = 1_000;

/// How still a scene must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MotionRules {
    /// 0 (only large changes) to 1 (the slightest).
    pub sensitivity: f32,
    /// A still scene is looked at once in so long, ms of media time.
    pub max_idle_ms: i64,
    /// After the last change every frame is looked at for so long, ms of media time.
    pub calm_ms: i64,
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
    /// The last look was not at a change, but because there had been none for long.
    #[serde(default)]
    is_idle: bool,
    things: Vec<Known>,
}

/// Something that the detectors saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Thing {
    /// The class name.
    pub label: String,
    /// Where, in frame px.
    pub bbox: BBox,
}

/// A thing that is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    label: String,
    bbox: BBox,
    /// Looks in a row that did not see it.
    #[serde(default)]
    missed: u8,
    /// A look at a still scene has missed it, and none has seen it since.
    #[serde(default)]
    sought: bool,
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
            self.0 = Some(LastLook::first(rules, media, size_px, luma));
            return true;
        };
        if has_changed(rules, &luma, &last.luma) {
            last.stay_awake(rules, media);
        }
        let looks = last.is_awake(media) || media.0 - last.media.0 >= rules.max_idle_ms;
        if looks {
            last.is_idle = !last.is_awake(media);
            (last.media, last.luma) = (media, luma);
        }
        looks
    }

    /// What the detectors saw in the frame that was looked at last.
    pub fn saw(&mut self, rules: MotionRules, things: impl Iterator<Item = Thing>) {
        let Some(last) = &mut self.0 else { return };
        let things: Vec<Thing> = things.take(MOST_THINGS).collect();
        if things.iter().any(|thing| !last.things.iter().any(|known| known.is(thing))) {
            last.stay_awake(rules, last.media);
        }
        let known = std::mem::take(&mut last.things).into_iter();
        let unseen = known.filter(|known| !things.iter().any(|thing| known.is(thing)));
        let missed = unseen.filter_map(|known| known.missed_by(last.is_idle));
        last.things = things.iter().cloned().map(Known::seen).chain(missed).take(2 * MOST_THINGS).collect();
    }

    /// The frame could not be looked at after all: the next one is.
    pub fn forget(&mut self) {
        self.0 = None;
    }
}

impl LastLook {
    fn first(rules: MotionRules, media: MediaMs, size_px: (u32, u32), luma: LumaGrid) -> Self {
        let mut first = Self { media, size_px, luma, awake_until: media, is_idle: false, things: Vec::new() };
        first.stay_awake(rules, media);
        first
    }

    fn goes_on(&self, size_px: (u32, u32), media: MediaMs) -> bool {
        self.size_px == size_px && media.0 >= self.media.0.saturating_sub(JITTER_MS)
    }

    fn is_awake(&self, media: MediaMs) -> bool {
        media <= self.awake_until || self.things.iter().any(|known| known.sought)
    }

    fn stay_awake(&mut self, rules: MotionRules, from: MediaMs) {
        self.awake_until = self.awake_until.max(MediaMs(from.0.saturating_add(rules.calm_ms)));
    }
}

impl Known {
    fn seen(thing: Thing) -> Self {
        Self { label: thing.label, bbox: thing.bbox, missed: 0, sought: false }
    }

    fn is(&self, thing: &Thing) -> bool {
        thing.label == self.label && thing.bbox.iou(&self.bbox) >= STILL_IOU
    }

    /// What is remembered of it after a look that did not see it, if anything is.
    fn missed_by(self, idle_look: bool) -> Option<Self> {
        let missed = self.missed + 1;
        (missed < GONE_LOOKS).then_some(Self { missed, sought: self.sought || idle_look, ..self })
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
    use crate::media::{Color, Matrix};

    const SIZE: (usize, usize) = (320, 180);
    const RULES: MotionRules = MotionRules { sensitivity: 0.5, max_idle_ms: 5_000, calm_ms: 2_000 };
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
    fn what_the_detectors_saw_opens_it_where_it_is_new() {
        type Case<'a> = (&'a str, Vec<Thing>, Vec<Thing>, usize);
        let cases: [Case; 5] = [
            ("nothing", vec![], vec![], 1),
            ("it stands, jittering", vec![thing("car", 0.0)], vec![thing("car", 9.0)], 1),
            ("it moves", vec![thing("car", 0.0)], vec![thing("car", 40.0)], 11),
            ("another thing", vec![thing("car", 0.0)], vec![thing("bus", 0.0), thing("car", 0.0)], 11),
            ("it came", vec![], vec![thing("car", 0.0)], 11),
        ];
        for (name, before, now, expected) in cases {
            let mut state = MotionState::default();
            assert!(looks(&mut state, RULES, EMPTY, 0));
            state.saw(RULES, before.into_iter());
            let times = (5_000..9_000).step_by(STEP_MS as usize);
            let looked = times.filter(|media| {
                let looked = looks(&mut state, RULES, EMPTY, *media);
                if looked {
                    state.saw(RULES, now.iter().cloned());
                }
                looked
            });
            assert_eq!(looked.count(), expected, "{name}");
        }
    }

    /// The frames of a still scene that are looked at, where the detectors see a car in those frames that `sees` names.
    fn looked_where(frames: usize, sees: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut state = MotionState::default();
        let mut looked = Vec::new();
        for at in 0..frames {
            if looks(&mut state, RULES, EMPTY, at as i64 * STEP_MS) {
                state.saw(RULES, sees(at).then(|| thing("car", 0.0)).into_iter());
                looked.push(at);
            }
        }
        looked
    }

    #[test]
    fn a_thing_that_an_idle_look_misses_is_sought_until_it_is_seen_or_gone() {
        type Case<'a> = (&'a str, fn(usize) -> bool, Vec<usize>);
        let first = || 0..=10;
        let cases: [Case; 5] = [
            ("it stands", |_| true, first().chain([35, 60, 85]).collect()),
            (
                "it hesitates while all are looked at",
                |at| at > 10 || at % 3 == 0,
                first().chain([35, 60, 85]).collect(),
            ),
            ("missed once", |at| at != 35, first().chain([35, 36, 61, 86]).collect()),
            (
                "missed four times",
                |at| !(35..39).contains(&at),
                first().chain(35..=39).chain([64, 89]).collect(),
            ),
            ("gone", |at| at < 20, first().chain(35..45).chain([69, 94]).collect()),
        ];
        for (name, sees, expected) in cases {
            assert_eq!(looked_where(100, sees), expected, "{name}");
        }
        let once = looked_where(100, |at| at == 35);
        assert_eq!(once, first().chain(35..=45).chain([70, 95]).collect::<Vec<_>>(), "a false hit");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut state = MotionState::default();
        for at in 0..20 {
            assert!(looks(&mut state, RULES, EMPTY, at * STEP_MS));
            state.saw(RULES, (0..1_000).map(|n| thing("car", (at * 1_000 + n) as f32 * 200.0)));
        }
        assert_eq!(state.0.unwrap().things.len(), 2 * MOST_THINGS);
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
                        state.saw(RULES, [thing("car", scene.thing.unwrap().0 as f32)].into_iter());
                        seen.push(at);
                    }
                }
                (seen, state)
            };
            prop_assert_eq!(run(true), run(false));
        }
    }
}
