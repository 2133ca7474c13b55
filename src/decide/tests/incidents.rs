//! Incidents: a start, updates and an end; one object is one incident, however it moves, hides and is read.

use proptest::prelude::*;

use super::*;

/// The properties of an event that the tables compare; `ms` is the time from the start.
#[derive(Debug, Clone, PartialEq)]
struct Report {
    ms: i64,
    phase: Phase,
    track: u64,
    duration_ms: Option<i64>,
    zones: String,
    text: Option<String>,
}

fn report_of(event: &Event) -> Report {
    let extras = &event.payload.extras;
    Report {
        ms: event.payload.ts_ms - START_MS,
        phase: extras.phase,
        track: extras.track_id,
        duration_ms: extras.duration_ms,
        zones: extras.zones.join(","),
        text: extras.text.clone(),
    }
}

fn events_of(rules: &Rules, frames: &[(i64, Vec<Detection>)]) -> Vec<Event> {
    let mut state = DecideState::default();
    let records = |(ms, detections): &(i64, Vec<Detection>)| at(&mut state, rules, *ms, detections).events;
    frames.iter().flat_map(records).map(|decided| decided.event).collect()
}

/// Returns time, phase and track of each event.
fn phases(rules: &Rules, frames: &[(i64, Vec<Detection>)]) -> Vec<(i64, Phase, u64)> {
    events_of(rules, frames)
        .iter()
        .map(report_of)
        .map(|report| (report.ms, report.phase, report.track))
        .collect()
}

/// Returns a frame every 200 ms, with the person's left edge from `place`.
fn walk(count: i64, place: impl Fn(i64) -> Option<f32>) -> Vec<(i64, Vec<Detection>)> {
    (0..count).map(|frame| (frame * 200, place(frame).map(person).into_iter().collect())).collect()
}

#[test]
fn an_incident_has_one_id_from_start_to_end() {
    let mut frames = walk(20, |frame| (frame < 10).then_some(100.0));
    frames.extend(walk(50, |_| None).into_iter().map(|(ms, seen)| (4_000 + ms, seen)));
    let updated = Rules { update_ms: Some(1_000), ..rules() };
    let events = events_of(&updated, &frames);
    let reports: Vec<_> =
        events.iter().map(report_of).map(|report| (report.ms, report.phase, report.duration_ms)).collect();
    let expected =
        [(0, Phase::Start, None), (1_000, Phase::Update, Some(1_000)), (6_800, Phase::End, Some(1_800))];
    assert_eq!(reports, expected);
    assert!(events.iter().all(|event| event.extras_incident() == events[0].event_id));
    let ids: std::collections::BTreeSet<_> = events.iter().map(|event| &event.event_id).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn an_incident_continues_from_a_state_of_earlier_builds() {
    let mut state = DecideState::default();
    let start = at(&mut state, &confirmed_by(1, 3), 0, &[person(100.0)]);
    assert_eq!(start.events.len(), 1);
    let mut written = serde_json::to_value(&state).unwrap();

    let track = written["detectors"]["objects"]["tracks"][0].as_object_mut().unwrap();
    track["looks"] = serde_json::json!([[110, 128, 128], [47, 192, 112]]);
    let height = track["motion"]["steady"].as_object_mut().unwrap().remove("height");
    assert!(height.is_some(), "what is new in this build");
    assert_continues(written.clone(), &start);

    let entry = written["detectors"]["objects"].as_object_mut().unwrap();
    let pace = entry.remove("pace");
    let track = entry["tracks"][0].as_object_mut().unwrap();
    let (looks, scores) = (track.remove("looks"), track.remove("scores"));
    let steady = track["motion"].as_object_mut().unwrap().remove("steady");
    assert!([pace, looks, scores, steady].iter().all(Option::is_some), "what was new in the build before");
    assert_continues(written, &start);
}

/// Asserts that the incident of `start` continues from a serialized state.
fn assert_continues(written: serde_json::Value, start: &Outcome) {
    let mut state: DecideState = serde_json::from_value(written).unwrap();
    for frame in 1..10 {
        let next = at(&mut state, &confirmed_by(1, 3), frame * 200, &[person(100.0)]);
        assert_eq!(next.events, [], "the incident that began before");
    }
    let end = at(&mut state, &confirmed_by(1, 3), 20_000, &[]).events.remove(0).event;
    assert_eq!(end.extras_incident(), start.events[0].event.event_id);
}

#[test]
fn an_object_that_stands_still_is_one_incident_without_updates() {
    assert_eq!(phases(&rules(), &walk(2_000, |_| Some(100.0))), [(0, Phase::Start, 1)]);
    let flickering = walk(2_000, |frame| (frame % 20 < 3).then_some(100.0));
    assert_eq!(phases(&rules(), &flickering), [(0, Phase::Start, 1)], "17 of 20 inferences miss it");
}

#[test]
fn time_without_inference_is_not_out_of_sight() {
    let idle = |seen_ms: &[i64], all_ms: &[i64]| -> Vec<(i64, Vec<Detection>)> {
        all_ms
            .iter()
            .map(|ms| (*ms, seen_ms.contains(ms).then(|| person(100.0)).into_iter().collect()))
            .collect()
    };
    let rules = Rules { max_disappeared_ms: 2_000, ..rules() };
    let frames_ms = [0, 5_000, 10_000, 10_200, 10_400, 15_400];
    let missed_once = idle(&[0, 5_000, 10_200, 10_400, 15_400], &frames_ms);
    assert_eq!(phases(&rules, &missed_once), [(0, Phase::Start, 1)]);
    let gone = events_of(&rules, &idle(&[0, 5_000], &[0, 5_000, 10_000, 10_800, 11_000, 16_000]));
    let reports: Vec<_> =
        gone.iter().map(report_of).map(|report| (report.ms, report.phase, report.duration_ms)).collect();
    assert_eq!(
        reports,
        [(0, Phase::Start, None), (11_000, Phase::End, Some(5_000))],
        "1 s before the inference that missed it, 1 s after"
    );
}

#[test]
fn a_hidden_object_keeps_its_track() {
    let walks = |hidden: std::ops::Range<i64>| {
        walk(40, move |frame| (!hidden.contains(&frame)).then_some(frame as f32 * 15.0))
    };
    for (name, hidden) in [("a second", 15..20), ("two seconds", 15..25)] {
        assert_eq!(phases(&rules(), &walks(hidden)), [(0, Phase::Start, 1)], "{name}");
    }
}

/// Boxes of a man of the yard clip. He walks left behind a sign, narrower in each frame, and emerges farther on than his last box is
/// wide.
const BEHIND_THE_SIGN: [(i64, [f32; 4]); 9] = [
    (0, [452.5, 184.6, 481.7, 279.7]),
    (200, [448.1, 183.0, 478.3, 276.2]),
    (400, [443.7, 185.2, 475.6, 274.2]),
    (600, [439.0, 177.1, 468.5, 267.2]),
    (800, [436.6, 177.2, 465.5, 266.1]),
    (1_000, [435.8, 175.4, 459.6, 256.9]),
    (2_200, [397.2, 159.1, 419.7, 243.4]),
    (2_400, [388.2, 162.0, 417.4, 239.3]),
    (2_600, [382.0, 156.9, 413.8, 235.8]),
];

#[test]
fn an_object_that_was_half_hidden_last_is_the_same_where_it_emerges() {
    let man = |[x1, y1, x2, y2]: [f32; 4]| seen("person", 0.8, (x1, y1, x2 - x1, y2 - y1));
    let frames = BEHIND_THE_SIGN.map(|(ms, edges)| (ms, vec![man(edges)]));
    assert_eq!(phases(&confirmed_by(2, 3), &frames), [(200, Phase::Start, 1)]);
}

#[test]
fn two_people_who_cross_keep_their_tracks() {
    let right = |frame: i64| seen("person", 0.9, (frame as f32 * 12.0, 100.0, 50.0, 100.0));
    let left = |frame: i64| seen("person", 0.9, (480.0 - frame as f32 * 12.0, 130.0, 50.0, 100.0));
    let frames: Vec<_> = (0..40).map(|frame| (frame * 200, vec![right(frame), left(frame)])).collect();
    let zone = |name: &str, x1: f32, x2: f32| Zone {
        name: name.into(),
        points: vec![(x1, 0.0), (x2, 0.0), (x2, 360.0), (x1, 360.0)],
    };
    let zones = vec![zone("west", 0.0, 150.0), zone("middle", 150.0, 400.0), zone("east", 400.0, 640.0)];
    let roi = Roi { zones, filter: RoiFilter::Center, normalized: false };
    let events = events_of(&Rules { roi: Some(roi), ..rules() }, &frames);
    let entered = |track: u64| -> Vec<_> {
        events
            .iter()
            .map(report_of)
            .filter(|report| report.track == track)
            .map(|report| report.zones)
            .collect()
    };
    assert_eq!(entered(1), ["west", "middle", "east"]);
    assert_eq!(entered(2), ["east", "middle", "west"]);
}

#[test]
fn a_zone_is_reported_once() {
    let zone = Zone {
        name: "door".into(),
        points: vec![(150.0, 0.0), (640.0, 0.0), (640.0, 360.0), (150.0, 360.0)],
    };
    let all =
        Zone { name: "all".into(), points: vec![(0.0, 0.0), (640.0, 0.0), (640.0, 360.0), (0.0, 360.0)] };
    let roi = Roi { zones: vec![all, zone], filter: RoiFilter::Center, normalized: false };
    let frames = walk(60, |frame| Some(if frame / 10 % 2 == 0 { 100.0 } else { 130.0 }));
    let reports: Vec<_> =
        events_of(&Rules { roi: Some(roi), ..rules() }, &frames).iter().map(report_of).collect();
    let zones: Vec<_> = reports.iter().map(|report| (report.phase, report.zones.as_str())).collect();
    assert_eq!(zones, [(Phase::Start, "all"), (Phase::Update, "all,door")]);
}

#[test]
fn an_object_must_stay_for_the_dwell_time() {
    let dwell = Rules { dwell_ms: 2_000, ..confirmed_by(2, 3) };
    let table = [
        ("long enough", walk(20, |_| Some(100.0)), vec![(2_000, Phase::Start, 1)]),
        ("not long enough", walk(10, |_| Some(100.0)), vec![]),
        (
            "hidden for a moment",
            walk(20, |frame| (!(4..8).contains(&frame)).then_some(100.0)),
            vec![(2_000, Phase::Start, 1)],
        ),
        (
            "gone for long",
            walk(30, |frame| (!(4..16).contains(&frame)).then_some(100.0)),
            vec![(5_200, Phase::Start, 2)],
        ),
        ("it walks on", walk(20, |frame| Some(frame as f32 * 15.0)), vec![(2_000, Phase::Start, 1)]),
    ];
    for (name, frames, expected) in table {
        assert_eq!(phases(&dwell, &frames), expected, "{name}");
    }
}

#[test]
fn a_faint_box_keeps_a_known_object_in_view_and_begins_none() {
    let faint = |frame: i64| seen("person", 0.3, (100.0 + frame as f32, 100.0, 50.0, 100.0));
    let frames: Vec<_> = (0..60)
        .map(|frame| (frame * 200, vec![if frame == 0 { person(100.0) } else { faint(frame) }]))
        .collect();
    assert_eq!(phases(&Rules { max_disappeared_ms: 1_000, ..rules() }, &frames), [(0, Phase::Start, 1)]);
    assert_eq!(phases(&rules(), &frames[1..]), []);
    let fainter: Vec<_> = (0..20)
        .map(|frame| {
            (
                frame * 200,
                if frame == 0 {
                    vec![person(100.0)]
                } else {
                    vec![seen("person", 0.2, (100.0, 100.0, 50.0, 100.0))]
                },
            )
        })
        .collect();
    let ended = phases(&Rules { max_disappeared_ms: 1_000, ..rules() }, &fainter);
    assert_eq!(
        ended,
        [(0, Phase::Start, 1), (1_000, Phase::End, 1)],
        "below half of the configured confidence"
    );
}

#[test]
fn a_better_frame_is_reported_and_the_end_names_the_best() {
    let size = |frame: i64| if frame < 20 { 20.0 + frame as f32 * 4.0 } else { 40.0 };
    let one = |frame: i64| seen("person", 0.9, (100.0, 100.0, size(frame), size(frame)));
    let mut frames: Vec<_> = (0..30).map(|frame| (frame * 200, vec![one(frame)])).collect();
    frames.push((30_000, Vec::new()));
    let mut state = DecideState::default();
    let decided: Vec<_> =
        frames.iter().flat_map(|(ms, seen)| at(&mut state, &rules(), *ms, seen).events).collect();
    let reports: Vec<_> = decided
        .iter()
        .map(|decided| (decided.event.payload.ts_ms - START_MS, decided.event.payload.extras.phase))
        .collect();
    assert_eq!(
        reports,
        [
            (0, Phase::Start),
            (1_000, Phase::Update),
            (2_000, Phase::Update),
            (3_600, Phase::Update),
            (30_000, Phase::End)
        ]
    );
    let best = &decided[3].event;
    let pictured = SnapshotSource { event_id: best.event_id.clone(), ts_ms: best.payload.ts_ms };
    assert_eq!(decided[4].pictured_by, Some(pictured));
    assert!(decided[..4].iter().all(|decided| decided.pictured_by.is_none()));
}

#[test]
fn an_end_names_the_snapshot_that_its_best_event_shares() {
    for (shown_by, named) in [(Some("of the first"), "of the first"), (None, "")] {
        let (mut state, rules) = (DecideState::default(), Rules { quiet_ms: Some(10_000), ..rules() });
        let began = at(&mut state, &rules, 0, &[person(0.0), person(300.0)]).events;
        let unpictured = began.iter().map(|decided| decided.event.event_id.clone()).skip(1).collect();
        let by = shown_by.map(|id| SnapshotSource { event_id: id.to_owned(), ts_ms: START_MS });
        state.show_by(&unpictured, by.as_ref());
        let over = at(&mut state, &rules, 60_000, &[]).events;
        let named_by = |decided: &DecidedEvent| decided.pictured_by.clone().map(|by| (by.event_id, by.ts_ms));
        let first = began[0].event.event_id.as_str();
        let wanted = [first, named, first].map(|id| Some((id.to_owned(), START_MS)));
        assert_eq!(over.iter().map(named_by).collect::<Vec<_>>(), wanted, "two incidents and their activity");
        assert_eq!(over[1].pictured_by.as_ref().map(SnapshotSource::has_picture), Some(shown_by.is_some()));
    }
}

#[test]
fn a_plate_is_reported_when_it_is_recognized_and_when_its_text_changes() {
    let plate = |text: Option<(&str, f32)>| Detection {
        reading: text.map(|(text, conf)| PlateText { text: text.into(), conf }),
        ..seen("plate", 0.9, (100.0, 100.0, 80.0, 20.0))
    };
    let reading = ReadingRules { conf: 0.6, patterns: vec![TextPattern::new("[0-9A-Z]{5,8}").unwrap()] };
    let rules = Rules { kind: "alpr".into(), reading: Some(reading), ..rules() };
    let texts = [
        None,
        Some(("5AU53", 0.5)),
        Some(("AU?", 0.9)),
        Some(("5AU534I", 0.7)),
        Some(("5AU5341", 0.99)),
        Some(("5AU5341", 0.9)),
        Some(("5AU534I", 0.6)),
        None,
    ];
    let frames: Vec<_> = (0..).step_by(200).zip(texts.map(|text| vec![plate(text)])).collect();
    let reports: Vec<_> = events_of(&rules, &frames)
        .iter()
        .map(|event| (report_of(event), event.payload.extras.ocr_conf))
        .map(|(report, conf)| (report.ms, report.phase, report.text.unwrap(), conf.unwrap()))
        .collect();
    let expected =
        [(600, Phase::Start, "5AU534I".to_owned(), 0.7), (800, Phase::Update, "5AU5341".to_owned(), 0.99)];
    assert_eq!(reports, expected);
}

#[test]
fn new_footage_ends_the_incidents() {
    let hour_ms = 3_600_000;
    let frames = [(0, vec![person(0.0), person(300.0)]), (-hour_ms, vec![person(0.0)])];
    let reported = phases(&rules(), &frames);
    let expected = [
        (0, Phase::Start, 1),
        (0, Phase::Start, 2),
        (-hour_ms, Phase::Start, 3),
        (-hour_ms, Phase::End, 1),
        (-hour_ms, Phase::End, 2),
    ];
    assert_eq!(reported, expected);
}

proptest! {
    /// Asserts that an incident has one start as its first event and at most one end as its last, and that ids are unique.
    #[test]
    fn every_incident_is_whole(frames in any_frames(), dwell_ms in 0..2_000_i64, update_ms in proptest::option::of(100..3_000_i64)) {
        let rules = Rules { dwell_ms, update_ms, ..confirmed_by(2, 4) };
        let events = events_of(&rules, &frames);
        let ids: std::collections::BTreeSet<_> = events.iter().map(|event| &event.event_id).collect();
        prop_assert_eq!(ids.len(), events.len());
        for start in events.iter().filter(|event| event.payload.extras.phase == Phase::Start) {
            let of: Vec<_> = events.iter().filter(|event| event.extras_incident() == start.event_id).collect();
            prop_assert_eq!(of[0], start);
            prop_assert!(of[1..].iter().all(|event| event.payload.extras.phase != Phase::Start));
            let end = of.iter().position(|event| event.payload.extras.phase == Phase::End);
            prop_assert!(end.is_none_or(|end| end == of.len() - 1));
            prop_assert!(of.iter().all(|event| event.payload.extras.track_id == start.payload.extras.track_id));
        }
        let known = |event: &&Event| events.iter().any(|start| start.event_id == event.extras_incident());
        prop_assert!(events.iter().all(|event| known(&event)));
    }
}
