//! The motion gate: decides which frames of a scene are worth an inference. A pure, serialisable state machine.
//!
//! A frame is compared with the last inferred one, at low resolution ([`super::luma`]). So a slow object adds up until its change
//! counts, and a detector never misses more than what may change between two inferences of a still scene. After a change every
//! frame is inferred until nothing has changed for as long as confirmation takes; likewise after the detectors found an object that
//! is new or has moved. A still scene is inferred now and then. If such an idle inference misses an object, every frame is inferred
//! until the object is found again or taken for gone. So the boxes of a hesitating detector, which come and go from inference to
//! inference, do not keep the gate open.
//!
//! Small changes of the light as a whole and noise do not count. A lamp that is switched does.

use serde::{Deserialize, Serialize};

use super::luma::LumaGrid;
use crate::media::{BBox, MediaMs, Surface};

/// The minimum number of changed cells: a single one is a spark of noise.
const MIN_CELLS: usize = 2;
/// The factor on the spread of all cells by which a cell must change, 5.4 standard deviations. In a mostly still scene the spread is
/// the noise.
const SPREADS: i16 = 8;
/// The maximum spread that counts as noise.
const MAX_SPREAD: i16 = 3;
/// The maximum change of the light as a whole that is ignored, in luma.
const LIGHT: i16 = 12;
/// The minimum IoU of an object's boxes in two inferences: below it the object has moved.
const STILL_IOU: f32 = 0.6;
/// The maximum number of objects of an inference that are compared and remembered; the rest count as still.
const MAX_OBJECTS: usize = 64;
/// The number of inferences in a row without an object after which it is gone.
const GONE_INFERENCES: u8 = 10;
/// A step back in time beyond this is other footage, ms.
const JITTER_MS: i64 = 1_000;

/// The settings of the motion gate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MotionRules {
    /// 0 (only large changes) to 1 (the slightest).
    pub sensitivity: f32,
    /// The maximum time between two inferences of a still scene, ms of media time.
    pub max_idle_ms: i64,
    /// The time after the last change for which every frame is inferred, ms of media time.
    pub calm_ms: i64,
}

/// The state of a camera's motion gate, a part of its checkpoint. Empty before the first inference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MotionState(Option<LastInference>);

/// The last inferred frame. The names of the fields are those of stored checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LastInference {
    media: MediaMs,
    size_px: (u32, u32),
    luma: LumaGrid,
    /// The media time up to which every frame is inferred.
    awake_until: MediaMs,
    /// `true` if it was due by time alone, without a change.
    #[serde(default)]
    is_idle: bool,
    #[serde(rename = "things")]
    objects: Vec<RememberedObject>,
}

/// A picture as the motion gate sees it.
#[derive(Clone, Debug)]
pub struct SceneView {
    size_px: (u32, u32),
    luma: LumaGrid,
}

impl SceneView {
    /// Returns what the gate sees of a frame's picture.
    #[must_use]
    pub fn of(surface: &Surface) -> Self {
        Self { size_px: surface.size_px(), luma: LumaGrid::of_surface(surface) }
    }
}

/// An object that the detectors found.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneObject {
    /// The class name.
    pub label: String,
    /// The bounding box, frame px.
    pub bbox: BBox,
}

/// An object of an earlier inference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RememberedObject {
    label: String,
    bbox: BBox,
    /// The number of inferences in a row that did not find it.
    #[serde(default)]
    missed: u8,
    /// `true` from an idle inference that missed it until an inference finds it.
    #[serde(default)]
    sought: bool,
}

impl MotionRules {
    /// Returns the minimum change of a cell, in luma: 24 at a sensitivity of 0, 8 at a half, 3 at 1.
    #[expect(clippy::cast_possible_truncation, reason = "3 to 24")]
    fn min_change(self) -> i16 {
        (24.0 * 0.125_f32.powf(self.sensitivity.clamp(0.0, 1.0))) as i16
    }
}

impl MotionState {
    /// Returns whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns whether the picture at `media` is to be inferred; frames come in order of presentation.
    ///
    /// A frame that is skipped changes nothing, so it makes no difference whether it comes again after a restart.
    pub fn needs_inference(&mut self, rules: MotionRules, scene: SceneView, media: MediaMs) -> bool {
        let SceneView { size_px, luma } = scene;
        let Some(last) = self.0.as_mut().filter(|last| last.is_continued_by(size_px, media)) else {
            self.0 = Some(LastInference::first(rules, media, size_px, luma));
            return true;
        };
        if has_changed(rules, &luma, &last.luma) {
            last.stay_awake(rules, media);
        }
        let is_due = last.is_awake(media) || last.is_due(rules, media);
        if is_due {
            // Such an inference may miss an object of a hesitating detector; `record` then asks for more.
            last.is_idle = !last.is_awake(media);
            (last.media, last.luma) = (media, luma);
        }
        is_due
    }

    /// Returns true if a frame was inferred and nothing has moved since, so that not every frame needs inference.
    #[must_use]
    pub fn is_quiet(&self, media: MediaMs) -> bool {
        self.0.as_ref().is_some_and(|last| !last.is_awake(media))
    }

    /// Returns the media time up to which every frame is inferred; `None` before the first inference.
    #[must_use]
    pub fn awake_until(&self) -> Option<MediaMs> {
        self.0.as_ref().map(|last| last.awake_until)
    }

    /// Returns true if the picture at `media` differs from the last inferred frame, without taking it in.
    #[must_use]
    pub fn is_changed(&self, rules: MotionRules, scene: &SceneView, media: MediaMs) -> bool {
        match self.0.as_ref().filter(|last| last.is_continued_by(scene.size_px, media)) {
            Some(last) => has_changed(rules, &scene.luma, &last.luma),
            None => true,
        }
    }

    /// Returns true if the last inference is as long ago as a still scene may go without one.
    #[must_use]
    pub fn is_due(&self, rules: MotionRules, media: MediaMs) -> bool {
        self.0.as_ref().is_some_and(|last| last.is_due(rules, media))
    }

    /// Takes in a picture that is inferred as one of a still scene: its change does not open the gate.
    pub fn infer_idly(&mut self, scene: SceneView, media: MediaMs) {
        if let Some(last) = &mut self.0 {
            (last.is_idle, last.media, last.luma) = (true, media, scene.luma);
        }
    }

    /// Takes in the objects that the detectors found in the last inferred frame. Returns true if one is new or has moved.
    pub fn record(&mut self, rules: MotionRules, objects: impl Iterator<Item = SceneObject>) -> bool {
        let Some(last) = &mut self.0 else { return false };
        let objects: Vec<SceneObject> = objects.take(MAX_OBJECTS).collect();
        // Before the memory changes: what is new is judged by the inference before.
        let is_new = |object: &SceneObject| !last.objects.iter().any(|known| known.is(object));
        let found = objects.iter().any(is_new);
        if found {
            last.stay_awake(rules, last.media);
        }
        let known = std::mem::take(&mut last.objects).into_iter();
        let unseen = known.filter(|known| !objects.iter().any(|object| known.is(object)));
        let missed = unseen.filter_map(|known| known.missed_by(last.is_idle));
        let current = objects.iter().cloned().map(RememberedObject::found);
        // Bounded, because the checkpoint of the camera holds them.
        last.objects = current.chain(missed).take(2 * MAX_OBJECTS).collect();
        found
    }

    /// Forgets the last frame because its inference failed, so that the next frame is inferred.
    pub fn forget(&mut self) {
        self.0 = None;
    }
}

impl LastInference {
    fn first(rules: MotionRules, media: MediaMs, size_px: (u32, u32), luma: LumaGrid) -> Self {
        let mut first =
            Self { media, size_px, luma, awake_until: media, is_idle: false, objects: Vec::new() };
        // The first frame counts as a change: objects that are there already need their confirmation.
        first.stay_awake(rules, media);
        first
    }

    fn is_continued_by(&self, size_px: (u32, u32), media: MediaMs) -> bool {
        self.size_px == size_px && media.0 >= self.media.0.saturating_sub(JITTER_MS)
    }

    fn is_awake(&self, media: MediaMs) -> bool {
        media <= self.awake_until || self.objects.iter().any(|known| known.sought)
    }

    fn is_due(&self, rules: MotionRules, media: MediaMs) -> bool {
        media.0.saturating_sub(self.media.0) >= rules.max_idle_ms
    }

    fn stay_awake(&mut self, rules: MotionRules, from: MediaMs) {
        self.awake_until = self.awake_until.max(MediaMs(from.0.saturating_add(rules.calm_ms)));
    }
}

impl RememberedObject {
    fn found(object: SceneObject) -> Self {
        Self { label: object.label, bbox: object.bbox, missed: 0, sought: false }
    }

    fn is(&self, object: &SceneObject) -> bool {
        object.label == self.label && object.bbox.iou(&self.bbox) >= STILL_IOU
    }

    /// Returns the object after an inference that did not find it; `None` if it is gone.
    fn missed_by(self, idle_inference: bool) -> Option<Self> {
        let missed = self.missed + 1;
        (missed < GONE_INFERENCES).then_some(Self { missed, sought: self.sought || idle_inference, ..self })
    }
}

fn has_changed(rules: MotionRules, now: &LumaGrid, before: &LumaGrid) -> bool {
    let difference = now.difference(before);
    // Noise raises the limit. Where most of the scene moves, the spread is no noise, and the limit must not hide the motion.
    let limit = rules.min_change().max(SPREADS * difference.spread.min(MAX_SPREAD));
    difference.shift.abs() > LIGHT || now.changed(before, difference.shift, limit) >= MIN_CELLS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::{Color, Matrix, Yuv420};

    const SIZE: (usize, usize) = (320, 180);
    const RULES: MotionRules = MotionRules { sensitivity: 0.5, max_idle_ms: 5_000, calm_ms: 2_000 };
    const STEP_MS: i64 = 200;

    /// A scene: its brightness, and the place of the object in it.
    #[derive(Clone, Copy)]
    struct Scene {
        light: u8,
        object: Option<(usize, usize)>,
        noise: u32,
        seed: u32,
    }

    const EMPTY: Scene = Scene { light: 90, object: None, noise: 0, seed: 1 };

    impl Scene {
        fn luma(self, x: usize, y: usize) -> u8 {
            let is_in_object =
                |(left, top): (usize, usize)| (left..left + 12).contains(&x) && (top..top + 16).contains(&y);
            let base = if self.object.is_some_and(is_in_object) {
                170
            } else {
                u32::from(self.light) + (x as u32 / 8)
            };
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
        state.needs_inference(rules, view_of(SIZE, &scene.plane()), MediaMs(media))
    }

    fn view_of((width, height): (usize, usize), plane: &[u8]) -> SceneView {
        let size_px = (width as u32, height as u32);
        let luma = LumaGrid::of(&Yuv420 {
            width_px: size_px.0,
            height_px: size_px.1,
            planes: [plane, &[], &[]],
            strides: [width, 0, 0],
            color: Color { matrix: Matrix::Bt601, full_range: false },
        });
        SceneView { size_px, luma }
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
            ("with an object that stands", Scene { object: Some((80, 60)), noise: 20, ..EMPTY }),
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
            object: (at >= 20).then_some((80, 60)),
            noise: 20,
            seed: at as u32,
            ..EMPTY
        });
        assert_eq!(came, (0..=10).chain(20..=30).chain([55]).collect::<Vec<_>>(), "it came and stayed");
        let walks = looked(60, |at| Scene { object: (20..40).contains(&at).then(|| (5 * at, 60)), ..EMPTY });
        assert_eq!(walks, (0..=10).chain(20..=50).collect::<Vec<_>>(), "it walked through");
        let creeps = looked(120, |at| Scene { object: Some((80 + at / 12, 60)), ..EMPTY });
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
            assert_eq!(
                state.needs_inference(rules, view_of(SIZE, &plane), MediaMs(4_000)),
                sees,
                "{sensitivity} {contrast}"
            );
        }
    }

    #[test]
    fn other_footage_and_another_size_start_again() {
        let mut state = MotionState::default();
        assert!(looks(&mut state, RULES, EMPTY, 100_000));
        for (media, looked) in
            [(103_000, false), (99_500, true), (104_000, false), (90_000, true), (92_500, false)]
        {
            assert_eq!(looks(&mut state, RULES, EMPTY, media), looked, "{media}");
        }
        let small = || view_of((64, 64), &[90; 64 * 64]);
        assert!(state.needs_inference(RULES, small(), MediaMs(92_600)));
        assert!(
            state.needs_inference(RULES, small(), MediaMs(94_500))
                && !state.needs_inference(RULES, small(), MediaMs(97_000))
        );
        state.forget();
        assert!(state.needs_inference(RULES, small(), MediaMs(97_000)));
    }

    fn object(label: &str, x: f32) -> SceneObject {
        SceneObject { label: label.to_owned(), bbox: BBox { x1: x, y1: 0.0, x2: x + 100.0, y2: 50.0 } }
    }

    #[test]
    fn new_objects_open_the_gate() {
        type Case<'a> = (&'a str, Vec<SceneObject>, Vec<SceneObject>, usize);
        let cases: [Case; 5] = [
            ("nothing", vec![], vec![], 1),
            ("it stands, jittering", vec![object("car", 0.0)], vec![object("car", 9.0)], 1),
            ("it moves", vec![object("car", 0.0)], vec![object("car", 40.0)], 11),
            ("another object", vec![object("car", 0.0)], vec![object("bus", 0.0), object("car", 0.0)], 11),
            ("it came", vec![], vec![object("car", 0.0)], 11),
        ];
        for (name, before, now, expected) in cases {
            let mut state = MotionState::default();
            assert!(looks(&mut state, RULES, EMPTY, 0));
            state.record(RULES, before.into_iter());
            let times = (5_000..9_000).step_by(STEP_MS as usize);
            let looked = times.filter(|media| {
                let looked = looks(&mut state, RULES, EMPTY, *media);
                if looked {
                    state.record(RULES, now.iter().cloned());
                }
                looked
            });
            assert_eq!(looked.count(), expected, "{name}");
        }
    }

    /// Returns the inferred frames of a still scene in which the detectors find a car in the frames that `sees` names.
    fn looked_where(frames: usize, sees: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut state = MotionState::default();
        let mut looked = Vec::new();
        for at in 0..frames {
            if looks(&mut state, RULES, EMPTY, at as i64 * STEP_MS) {
                state.record(RULES, sees(at).then(|| object("car", 0.0)).into_iter());
                looked.push(at);
            }
        }
        looked
    }

    #[test]
    fn an_object_that_an_idle_inference_misses_is_sought_until_it_is_found_or_gone() {
        type Case<'a> = (&'a str, fn(usize) -> bool, Vec<usize>);
        let first = || 0..=10;
        let cases: [Case; 5] = [
            ("it stands", |_| true, first().chain([35, 60, 85]).collect()),
            (
                "it hesitates while all are inferred",
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
    fn the_remembered_objects_are_bounded() {
        let mut state = MotionState::default();
        for at in 0..20 {
            assert!(looks(&mut state, RULES, EMPTY, at * STEP_MS));
            state.record(RULES, (0..1_000).map(|n| object("car", (at * 1_000 + n) as f32 * 200.0)));
        }
        assert_eq!(state.0.unwrap().objects.len(), 2 * MAX_OBJECTS);
    }

    proptest! {
        /// Wherever it is stopped, and whichever frames come again that were skipped, it resumes as if it had not been.
        #[test]
        fn a_stored_state_resumes_as_before(
            stop in 0_usize..60, moves in prop::collection::vec(any::<bool>(), 60),
        ) {
            let mut place = 0;
            let scenes: Vec<Scene> = moves.iter().map(|moves| {
                place += usize::from(*moves) * 4;
                Scene { object: Some((place, 20)), ..EMPTY }
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
                        state.record(RULES, [object("car", scene.object.unwrap().0 as f32)].into_iter());
                        seen.push(at);
                    }
                }
                (seen, state)
            };
            prop_assert_eq!(run(true), run(false));
        }
    }
}
