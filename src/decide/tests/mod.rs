//! Tables for every rule, and properties over random sequences of frames.

mod activity;
mod identity;
mod incidents;
mod scenes;
mod zone_cases;

use proptest::prelude::*;

use super::*;
use crate::detect::Thresholds;
use crate::media::{BBox, Color, Matrix, Phase, PlateText, TimeSource, Yuv420};

const START_MS: i64 = 1_700_000_000_000;

fn rules() -> Rules {
    Rules {
        detector: "objects".into(),
        kind: "objects".into(),
        thresholds: Thresholds { conf: 0.5, nms_iou: 0.5 },
        agnostic_nms: false,
        classes: None,
        min_box: None,
        roi: None,
        confirm: Confirm { frames: 1, window: 1, iou_threshold: 0.3, median_conf: 0.0 },
        max_disappeared_ms: 5_000,
        cooldown_ms: 1_000,
        dwell_ms: 0,
        update_ms: None,
        quiet_ms: None,
        reading: None,
    }
}

fn confirmed_by(frames: u32, window: u32) -> Rules {
    Rules { confirm: Confirm { frames, window, iou_threshold: 0.3, median_conf: 0.0 }, ..rules() }
}

fn seen(label: &str, conf: f32, (x, y, w, h): (f32, f32, f32, f32)) -> Detection {
    Detection { label: label.into(), conf, bbox: BBox { x1: x, y1: y, x2: x + w, y2: y + h }, reading: None }
}

fn person(x: f32) -> Detection {
    seen("person", 0.9, (x, 100.0, 50.0, 100.0))
}

fn model() -> ModelId {
    ModelId { name: "street".into(), sha256: "00".into() }
}

/// A picture of one colour, 640 x 360 px.
struct Plain([Vec<u8>; 3]);

impl Plain {
    fn new([luma, u, v]: [u8; 3]) -> Self {
        Self([vec![luma; 640 * 360], vec![u; 320 * 180], vec![v; 320 * 180]])
    }

    fn view(&self) -> Yuv420<'_> {
        Yuv420 {
            width_px: 640,
            height_px: 360,
            planes: [&self.0[0], &self.0[1], &self.0[2]],
            strides: [640, 320, 320],
            color: Color { matrix: Matrix::Bt601, full_range: false },
        }
    }
}

/// Decides one frame per fragment, at `at_ms` after the start.
fn at(state: &mut DecideState, rules: &Rules, at_ms: i64, detections: &[Detection]) -> Outcome {
    pictured(state, rules, at_ms, detections, None)
}

/// Decides one frame per fragment, with its picture.
fn pictured(
    state: &mut DecideState,
    rules: &Rules,
    at_ms: i64,
    detections: &[Detection],
    picture: Option<Yuv420<'_>>,
) -> Outcome {
    let camera = CameraId::new("front");
    let media = MediaMs(START_MS + at_ms);
    let fragment =
        Fragment { number: format!("9{}", media.0).into(), producer_ms: Some(media.0), server_ms: Some(7) };
    let facts = FrameFacts {
        camera: &camera,
        stream: "front-stream",
        fragment: &fragment,
        index: 4,
        media,
        size_px: (640, 360),
        picture,
    };
    decide(state, &facts, &[Inference { rules, model: &model(), detections }])
}

/// Returns the start events.
fn starts(outcome: &Outcome) -> Vec<&Event> {
    let events = outcome.events.iter().map(|decided| &decided.event);
    events.filter(|event| event.payload.extras.phase == Phase::Start).collect()
}

/// Returns the times of the starts, ms, in frames of `(ms, detections)`.
fn reported_at(rules: &Rules, frames: &[(i64, Vec<Detection>)]) -> Vec<i64> {
    let mut state = DecideState::default();
    frames
        .iter()
        .flat_map(|(ms, detections)| vec![*ms; starts(&at(&mut state, rules, *ms, detections)).len()])
        .collect()
}

#[test]
fn an_event_has_the_properties_of_its_sighting_and_frame() {
    let zone = Zone { name: "door".into(), points: vec![(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)] };
    let roi = Roi { zones: vec![zone], filter: RoiFilter::All, normalized: true };
    let mut state = DecideState::default();
    let detection = seen("person", 0.876_543, (10.04, 20.06, 30.0, 40.5));
    let event = at(&mut state, &Rules { roi: Some(roi), ..rules() }, 0, &[detection]).events.remove(0).event;
    assert_eq!(event.event_id.len(), 32);
    assert_eq!(event.extras_incident(), event.event_id);
    assert_eq!((event.seq, event.schema.as_str()), (1, "1"));
    assert_eq!(event.producer, format!("kvs-infer/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!((event.camera_id.as_str(), event.payload.camera_id.as_str()), ("front", "front"));
    assert_eq!(event.payload.bbox, [10.0, 20.1, 40.0, 60.6]);
    assert_eq!((event.payload.conf, event.payload.ts_ms), (0.8765, START_MS));
    let extras = event.payload.extras;
    assert_eq!((extras.phase, extras.time_source), (Phase::Start, TimeSource::Producer));
    assert_eq!((extras.frame_index, extras.frame_width, extras.frame_height), (4, 640, 360));
    assert_eq!((extras.producer_ts_ms, extras.server_ts_ms), (Some(START_MS), Some(7)));
    assert_eq!((extras.zones, extras.model, extras.snapshot), (vec!["door".to_owned()], model(), None));
}

impl Event {
    fn extras_incident(&self) -> String {
        self.payload.extras.incident_id.clone()
    }
}

#[test]
fn filter_by_table() {
    let zone =
        Zone { name: "left".into(), points: vec![(0.0, 0.0), (320.0, 0.0), (320.0, 360.0), (0.0, 360.0)] };
    let roi = Roi { zones: vec![zone], filter: RoiFilter::Center, normalized: false };
    let small = (0.0, 0.0, 19.0, 40.0);
    let whole = Zone { name: "whole".into(), points: vec![(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)] };
    let whole = Roi { zones: vec![whole], filter: RoiFilter::Center, normalized: true };
    let shares =
        |width, height| Rules { min_box: Some((width, height)), roi: Some(whole.clone()), ..rules() };
    let quarter_by_half = || seen("person", 0.9, (0.0, 0.0, 160.0, 180.0));
    let table = [
        ("sure enough", rules(), seen("person", 0.5, (0.0, 0.0, 20.0, 40.0)), 1),
        ("not sure enough", rules(), seen("person", 0.49, (0.0, 0.0, 20.0, 40.0)), 0),
        ("confidence is NaN", rules(), seen("person", f32::NAN, (0.0, 0.0, 20.0, 40.0)), 0),
        ("an edge is NaN", rules(), seen("person", 0.9, (f32::NAN, 0.0, 20.0, 40.0)), 0),
        ("listed", Rules { classes: Some(vec!["person".into()]), ..rules() }, person(0.0), 1),
        ("not listed", Rules { classes: Some(vec!["gun".into()]), ..rules() }, person(0.0), 0),
        ("large enough", Rules { min_box: Some((50.0, 100.0)), ..rules() }, person(0.0), 1),
        ("too narrow", Rules { min_box: Some((20.0, 1.0)), ..rules() }, seen("person", 0.9, small), 0),
        ("too low", Rules { min_box: Some((1.0, 41.0)), ..rules() }, seen("person", 0.9, small), 0),
        ("a large enough share of the frame", shares(0.25, 0.5), quarter_by_half(), 1),
        ("too small a share of the width", shares(0.26, 0.5), quarter_by_half(), 0),
        ("too small a share of the height", shares(0.25, 0.51), quarter_by_half(), 0),
        ("in the zone", Rules { roi: Some(roi.clone()), ..rules() }, person(100.0), 1),
        ("outside the zone", Rules { roi: Some(roi), ..rules() }, person(400.0), 0),
    ];
    for (name, rules, detection, expected) in table {
        let outcome = at(&mut DecideState::default(), &rules, 0, &[detection]);
        assert_eq!((outcome.events.len(), outcome.sightings.len()), (expected, expected), "{name}");
    }
}

#[test]
fn confirmation_by_table() {
    let (yes, no) = (|x: f32| vec![person(x)], Vec::new);
    let knife = || vec![seen("knife", 0.9, (0.0, 100.0, 50.0, 100.0))];
    let table = [
        ("at once", confirmed_by(1, 1), vec![yes(0.0), yes(0.0)], vec![0]),
        ("three in a row", confirmed_by(3, 3), vec![yes(0.0), yes(0.0), yes(0.0), yes(0.0)], vec![400]),
        ("two of three", confirmed_by(2, 3), vec![yes(0.0), no(), yes(0.0)], vec![400]),
        ("two, too far apart", confirmed_by(2, 2), vec![yes(0.0), no(), yes(0.0)], vec![]),
        ("it slides", confirmed_by(3, 3), vec![yes(0.0), yes(20.0), yes(40.0)], vec![400]),
        ("it jumps", confirmed_by(2, 3), vec![yes(0.0), yes(60.0), yes(120.0)], vec![]),
        ("another label", confirmed_by(2, 2), vec![yes(0.0), knife()], vec![]),
        ("two at once", confirmed_by(1, 1), vec![vec![person(0.0), person(200.0)]], vec![0, 0]),
    ];
    for (name, rules, frames, expected) in table {
        let frames: Vec<_> = (0..).step_by(200).zip(frames).collect();
        assert_eq!(reported_at(&rules, &frames), expected, "{name}");
    }
}

#[test]
fn an_object_with_two_labels_is_one_incident_with_agnostic_nms() {
    let at_place = |label: &str, conf: f32| seen(label, conf, (100.0, 100.0, 80.0, 60.0));
    let beside = |label: &str, conf: f32| seen(label, conf, (150.0, 100.0, 80.0, 60.0));
    let both = |car: f32, truck: f32| vec![at_place("car", car), at_place("truck", truck)];
    let (each, one) = (rules(), Rules { agnostic_nms: true, ..rules() });
    let trucks = Rules { classes: Some(vec!["truck".into()]), ..one.clone() };
    let table = [
        ("by label", each, vec![both(0.9, 0.8)], vec!["car", "truck"]),
        ("the label with the higher confidence", one.clone(), vec![both(0.9, 0.8)], vec!["car"]),
        ("in any order", one.clone(), vec![both(0.7, 0.8)], vec!["truck"]),
        ("equal confidences: by name", one.clone(), vec![both(0.8, 0.8)], vec!["car"]),
        (
            "a known label stays",
            one.clone(),
            vec![both(0.9, 0.8), both(0.6, 0.8), both(0.7, 0.9)],
            vec!["car"],
        ),
        (
            "a faint known label does not",
            one.clone(),
            vec![both(0.9, 0.3), both(0.3, 0.8)],
            vec!["car", "truck"],
        ),
        (
            "another object beside it",
            one,
            vec![vec![at_place("car", 0.9), beside("truck", 0.8)]],
            vec!["car", "truck"],
        ),
        ("labels that do not count", trucks, vec![both(0.9, 0.8)], vec!["truck"]),
    ];
    for (name, rules, frames, want) in table {
        let mut state = DecideState::default();
        let mut labels = Vec::new();
        for (detections, ms) in frames.iter().zip((0..).step_by(200)) {
            let outcome = at(&mut state, &rules, ms, detections);
            labels.extend(starts(&outcome).iter().map(|event| event.payload.label.to_string()));
        }
        assert_eq!(labels, want, "{name}");
    }
}

#[test]
fn one_object_is_one_incident_by_table() {
    let yes = |ms: i64, x: f32| (ms, vec![person(x)]);
    let no = |ms: i64| (ms, Vec::new());
    let none = Rules { max_disappeared_ms: 0, cooldown_ms: 0, ..rules() };
    let slow: Vec<_> = (0..100_u8).map(|i| yes(i64::from(i) * 200, f32::from(i) * 5.0)).collect();
    let rare: Vec<_> = (0..20).map(|i| yes(i * 9_000, 0.0)).collect();
    let table = [
        ("slow motion is one object", rules(), slow, vec![0]),
        ("seen by every inference, at intervals longer than max_disappeared_seconds", rules(), rare, vec![0]),
        ("back where it stood, in time", rules(), vec![yes(0, 0.0), no(200), yes(4_999, 0.0)], vec![0]),
        (
            "back where it stood, too late",
            rules(),
            vec![yes(0, 0.0), no(200), yes(5_000, 0.0)],
            vec![0, 5_000],
        ),
        (
            "ends at once, no cool-down",
            none.clone(),
            vec![yes(0, 0.0), yes(200, 0.0), no(400), yes(600, 0.0)],
            vec![0, 600],
        ),
        ("no inference for a minute", rules(), vec![yes(0, 0.0), yes(60_000, 0.0)], vec![0, 60_000]),
        ("it jumps near by", rules(), vec![yes(0, 200.0), yes(200, 260.0), yes(400, 320.0)], vec![0]),
        ("it jumps far", rules(), vec![yes(0, 0.0), yes(200, 300.0)], vec![0, 200]),
        ("it jumps near by, and ends at once", none, vec![yes(0, 0.0), yes(200, 60.0)], vec![0, 200]),
    ];
    for (name, rules, frames, expected) in table {
        assert_eq!(reported_at(&rules, &frames), expected, "{name}");
    }
}

#[test]
fn media_time_that_goes_back_does_not_block_incidents() {
    let hour_ms = 3_600_000;
    let yes = |ms: i64| (ms, vec![person(0.0)]);
    let no = |ms: i64| (ms, Vec::new());
    let table = [
        ("hours: new footage", vec![yes(0), yes(-hour_ms), yes(200 - hour_ms)], vec![0, -hour_ms]),
        ("a little: time stands still", vec![yes(10_000), yes(5_000), yes(5_200)], vec![10_000]),
        ("a little, then out of sight", vec![yes(9_000), no(0), no(200), yes(5_000)], vec![9_000, 5_000]),
        ("candidates too", vec![yes(i64::MAX / 2), yes(0), yes(200)], vec![i64::MAX / 2, 0]),
    ];
    for (name, frames, expected) in table {
        assert_eq!(reported_at(&rules(), &frames), expected, "{name}");
    }
    let candidates = [yes(0), yes(-hour_ms), yes(200 - hour_ms)];
    assert_eq!(reported_at(&confirmed_by(2, 2), &candidates), [200 - hour_ms]);
}

#[test]
fn extreme_times_do_not_overflow() {
    let mut state = DecideState::default();
    let mut events = 0;
    for ms in [i64::MIN, i64::MAX - START_MS, 0, i64::MIN, i64::MAX - START_MS] {
        events += starts(&at(&mut state, &rules(), ms, &[person(0.0)])).len();
    }
    assert_eq!(events, 5);
}

#[test]
fn the_state_is_bounded() {
    let mut state = DecideState::default();
    let crowd = |shift: f32| -> Vec<Detection> {
        (0..400_u16).map(|i| seen("person", 0.9, (f32::from(i) * 20.0, shift, 10.0, 10.0))).collect()
    };
    let picture = Plain::new([100, 120, 140]);
    for frame in 0..5_u8 {
        let seen = crowd(f32::from(frame) * 100.0);
        let _ = pictured(&mut state, &rules(), i64::from(frame) * 200, &seen, Some(picture.view()));
    }
    let bytes = serde_json::to_vec(&state).unwrap().len();
    assert!(bytes < 256 * 900, "{bytes} bytes");
}

/// Returns the number of tracks of each entry.
fn objects(state: &DecideState) -> Vec<usize> {
    let state = serde_json::to_value(state).unwrap();
    let entries = state["detectors"].as_object().unwrap().values();
    entries.map(|entry| entry["tracks"].as_array().unwrap().len()).collect()
}

#[test]
fn a_crowd_in_one_entry_takes_no_object_from_another() {
    let mut state = DecideState::default();
    let crowd = |label: &str, count: u16| -> Vec<Detection> {
        (0..count).map(|i| seen(label, 0.9, (f32::from(i) * 20.0, 0.0, 10.0, 10.0))).collect()
    };
    let entry = |name: &str| Rules { detector: name.into(), ..rules() };
    let table = [
        ("alone", [400, 0, 0], [256, 0, 0]),
        ("the others have few", [400, 40, 1], [215, 40, 1]),
        ("two crowds", [400, 400, 1], [170, 85, 1]),
        ("three crowds", [400, 400, 400], [86, 85, 85]),
    ];
    for (name, seen, expected) in table {
        let mut ended = 0;
        for frame in 0..4 {
            for (entry_name, count) in ["cars", "faces", "guns"].into_iter().zip(seen) {
                let outcome = at(&mut state, &entry(entry_name), frame * 200, &crowd(entry_name, count));
                ended += outcome
                    .events
                    .iter()
                    .filter(|decided| decided.event.payload.extras.phase == Phase::End)
                    .count();
            }
        }
        assert_eq!(objects(&state), expected, "{name}");
        assert!(ended > 0 || seen[0] < 400, "{name}: incidents that are shed have an end");
    }
}

#[test]
fn a_state_of_another_version_is_refused() {
    let text =
        serde_json::to_string(&DecideState::default()).unwrap().replace("\"version\":2", "\"version\":1");
    let error = serde_json::from_str::<DecideState>(&text).unwrap_err().to_string();
    assert!(error.contains("version 1, this program reads 2"), "{error}");
}

/// Compares the field names of a state with a golden file: states are stored, so a renamed field must keep its name there.
#[test]
fn the_fields_of_a_state_keep_their_names() {
    let texts = ReadingRules { conf: 0.5, patterns: Vec::new() };
    let rules = Rules { quiet_ms: Some(10_000), reading: Some(texts), ..rules() };
    let reading = Some(PlateText { text: "AB".into(), conf: 0.9 });
    let mut state = DecideState::default();
    let _ = at(&mut state, &rules, 0, &[Detection { reading, ..person(100.0) }]);
    let mut written = serde_json::to_value(&state).unwrap();
    // The only optional field: it is absent from a track with an incident.
    written["detectors"]["objects"]["tracks"][0]["upon"] = START_MS.into();
    let state: DecideState = serde_json::from_value(written).unwrap();
    let written = serde_json::to_value(&state).unwrap();
    for line in include_str!("../../../testdata/state/decide.txt").lines() {
        let (path, expected) = line.split_once(": ").unwrap();
        let value = written.pointer(path.trim_start_matches("state")).unwrap();
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys.join(" "), expected, "{path}");
    }
}

#[test]
fn ranks_follow_positions_and_not_the_order_of_detections() {
    let detections = [person(300.0), person(0.0), seen("car", 0.9, (500.0, 0.0, 50.0, 50.0))];
    let reversed: Vec<_> = detections.iter().rev().cloned().collect();
    let one = at(&mut DecideState::default(), &rules(), 0, &detections);
    let other = at(&mut DecideState::default(), &rules(), 0, &reversed);
    assert_eq!(one, other);
    let ranks: Vec<_> = one.sightings.iter().map(|s| (&*s.label, s.rank, s.bbox.x1)).collect();
    assert_eq!(ranks, [("car", 0, 500.0), ("person", 0, 0.0), ("person", 1, 300.0)]);
    let ids: std::collections::BTreeSet<_> =
        one.events.iter().map(|decided| &decided.event.event_id).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn entries_do_not_mix() {
    let (first, second) = (rules(), Rules { detector: "objects#2".into(), ..rules() });
    let mut state = DecideState::default();
    let one = at(&mut state, &first, 0, &[person(0.0)]).events.remove(0).event;
    let two = at(&mut state, &second, 0, &[person(0.0)]).events.remove(0).event;
    assert_ne!(one.event_id, two.event_id);
    assert_eq!((one.seq, two.seq, state.seq()), (1, 2, 2));
}

/// A strategy for frames at random intervals with random detections. No two frames have the same time, as ids depend on it.
fn any_frames() -> impl Strategy<Value = Vec<(i64, Vec<Detection>)>> {
    let detection = (0..3_usize, 0.3..1.0_f32, 0.0..600.0_f32, 0.0..300.0_f32)
        .prop_map(|(label, conf, x, y)| seen(["person", "car", "gun"][label], conf, (x, y, 60.0, 80.0)));
    let step_ms = prop_oneof![8 => 1..500_i64, 1 => 500..20_000_i64, 1 => -20_000..0_i64];
    let frame = (step_ms, proptest::collection::vec(detection, 0..6));
    proptest::collection::vec(frame, 1..60).prop_map(|frames| {
        let (mut now_ms, mut known) = (0, std::collections::BTreeSet::new());
        let at = |(step_ms, seen)| {
            now_ms += step_ms;
            while !known.insert(now_ms) {
                now_ms += 1;
            }
            (now_ms, seen)
        };
        frames.into_iter().map(at).collect()
    })
}

proptest! {
    #[test]
    fn a_restored_state_gives_the_same_events(sequence in any_frames(), needed in 1..4_u32) {
        let rules = confirmed_by(needed, 5);
        let (mut kept, mut stored) = (DecideState::default(), DecideState::default());
        for (ms, detections) in &sequence {
            let bytes = serde_json::to_vec(&stored).unwrap();
            stored = serde_json::from_slice(&bytes).unwrap();
            let (a, b) = (at(&mut kept, &rules, *ms, detections), at(&mut stored, &rules, *ms, detections));
            prop_assert_eq!(a, b);
        }
        prop_assert_eq!(kept, stored);
    }

    #[test]
    fn events_are_numbered_without_gaps(sequence in any_frames()) {
        let mut state = DecideState::default();
        let mut seqs = Vec::new();
        for (ms, detections) in &sequence {
            seqs.extend(at(&mut state, &rules(), *ms, detections).events.iter().map(|decided| decided.event.seq));
        }
        prop_assert_eq!(seqs.clone(), (1..=seqs.len() as u64).collect::<Vec<_>>());
    }

    /// Compares confirmation with its slow twin, for one object that never moves: the inferences are counted one by one.
    #[test]
    fn confirmation_equals_counting(sights in proptest::collection::vec(any::<bool>(), 1..80), frames in 1..5_u32, extra in 0..4_u32) {
        let window = frames + extra;
        let sequence: Vec<_> = (0..).zip(&sights).map(|(i, &seen)| (i * 200, if seen { vec![person(0.0)] } else { vec![] })).collect();
        let enough = |end: usize| {
            let from = (end + 1).saturating_sub(window as usize);
            sights[end] && sights[from..=end].iter().filter(|&&seen| seen).count() >= frames as usize
        };
        let expected: Vec<i64> = (0..sights.len()).find(|&end| enough(end)).map(|i| i as i64 * 200).into_iter().collect();
        prop_assert_eq!(reported_at(&confirmed_by(frames, window), &sequence), expected);
    }
}
