//! Activities: a start, an end, and the counts of their incidents.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::media::{ActivityCounts, Extras};

const QUIET_MS: i64 = 40_000;

fn grouped() -> Rules {
    Rules { quiet_ms: Some(QUIET_MS), ..rules() }
}

/// A label, the first and the last time at which it is seen (ms, every 200 ms), and its left edge by time.
type Visit = (&'static str, i64, i64, fn(i64) -> f32);

/// Returns a frame every 200 ms until `end_ms`.
fn visits(end_ms: i64, visits: &[Visit]) -> Vec<(i64, Vec<Detection>)> {
    let frame = |ms: i64| {
        let seen = visits.iter().filter(|(_, from, to, _)| (*from..=*to).contains(&ms));
        (ms, seen.map(|(label, .., place)| seen_at(label, place(ms))).collect())
    };
    (0..=end_ms).step_by(200).map(frame).collect()
}

fn seen_at(label: &str, x: f32) -> Detection {
    seen(label, 0.9, (x, 100.0, 50.0, 100.0))
}

fn records(rules: &Rules, frames: &[(i64, Vec<Detection>)]) -> Vec<DecidedEvent> {
    let mut state = DecideState::default();
    frames.iter().flat_map(|(ms, detections)| at(&mut state, rules, *ms, detections).events).collect()
}

fn is_activity(decided: &DecidedEvent) -> bool {
    decided.event.payload.extras.activity.is_some()
}

/// Returns `ms phase zone: counts` of each activity's event.
fn reported(decided: &[DecidedEvent]) -> Vec<String> {
    let one = |decided: &DecidedEvent| {
        let Extras { phase, zones, activity, duration_ms, .. } = &decided.event.payload.extras;
        let ActivityCounts { incidents, by_label, peak } = activity.as_ref().unwrap();
        let labels: Vec<_> = by_label.iter().map(|(label, count)| format!("{count} {label}")).collect();
        assert_eq!(by_label.values().sum::<u64>(), *incidents);
        let lasted = duration_ms.map(|ms| format!(", {ms} ms")).unwrap_or_default();
        let ms = decided.event.payload.ts_ms - START_MS;
        let zones = zones.iter().map(|zone| format!(" {zone}")).collect::<String>();
        format!("{ms} {}{zones}: {}, peak {peak}{lasted}", phase.as_str(), labels.join(", "))
    };
    decided.iter().filter(|decided| is_activity(decided)).map(one).collect()
}

fn half(name: &str, x1: f32, x2: f32) -> Zone {
    Zone { name: name.into(), points: vec![(x1, 0.0), (x2, 0.0), (x2, 360.0), (x1, 360.0)] }
}

/// Returns rules with two zones side by side; a box on their border is in both.
fn by_half() -> Rules {
    let zones = vec![half("west", 0.0, 320.0), half("east", 320.0, 640.0)];
    Rules { roi: Some(Roi { zones, filter: RoiFilter::Any, normalized: false }), ..grouped() }
}

/// A name, the rules, the end of the frames (ms), the visits, and the expected events.
type Case<'a> = (&'a str, Rules, i64, &'a [Visit], &'a [&'a str]);

fn check(table: &[Case<'_>]) {
    for (name, rules, end_ms, visitors, expected) in table {
        assert_eq!(reported(&records(rules, &visits(*end_ms, visitors))), *expected, "{name}");
    }
}

fn left(_ms: i64) -> f32 {
    100.0
}

fn right(_ms: i64) -> f32 {
    500.0
}

#[test]
fn an_activity_sums_up_its_incidents() {
    let one: Visit = ("person", 0, 2_000, left);
    let one_alone = ["0 start: 1 person, peak 1", "42000 end: 1 person, peak 1, 2000 ms"];
    let then = [&one_alone[..], &["42000 start: 1 person, peak 1"]].concat();
    let many = [
        one,
        ("car", 1_000, 3_000, right),
        ("person", 30_000, 31_000, right),
        ("person", 31_200, 32_000, left),
    ];
    let many_together = ["0 start: 1 person, peak 1", "72000 end: 1 car, 3 person, peak 2, 32000 ms"];
    let [apart, near] = [42_000, 41_800].map(|ms| [one, ("person", ms, 43_000, left)]);
    let passed: [Visit; 2] = [("person", 200, 200, left), ("person", 60_000, 61_000, left)];
    let sure = Rules { quiet_ms: Some(QUIET_MS), ..confirmed_by(3, 5) };
    check(&[
        ("off by default", rules(), 60_000, &[one], &[]),
        ("one incident", grouped(), 60_000, &[one], &one_alone),
        ("many", grouped(), 90_000, &many, &many_together),
        ("quiet for long enough, and a person comes just then", grouped(), 60_000, &apart, &then),
        ("not quiet for long enough", grouped(), 60_000, &near, &one_alone[..1]),
        ("confirmation begins it", sure, 62_000, &passed, &["60400 start: 1 person, peak 1"]),
    ]);
}

/// Returns the place of a person who walks from the middle of the west to that of the east in 10 s, and back after a minute.
fn walks(ms: i64) -> f32 {
    let ms = if ms < 60_000 { ms } else { 70_000 - ms };
    100.0 + (ms as f32 - 1_000.0).clamp(0.0, 10_000.0) * 0.04
}

#[test]
fn each_zone_has_its_own_activity() {
    let two = [("person", 0, 2_000, left as fn(i64) -> f32), ("car", 1_000, 3_000, right)];
    let both = [
        "0 start west: 1 person, peak 1",
        "1000 start east: 1 car, peak 1",
        "42000 end west: 1 person, peak 1, 2000 ms",
        "43000 end east: 1 car, peak 1, 2000 ms",
    ];
    let there = [
        "0 start west: 1 person, peak 1",
        "5400 start east: 1 person, peak 1",
        "46400 end west: 1 person, peak 1, 6400 ms",
    ];
    let back = ["63600 start west: 1 person, peak 1", "104600 end east: 1 person, peak 1, 59200 ms"];
    let walk: Visit = ("person", 0, 104_600, walks);
    check(&[
        ("two", by_half(), 60_000, &two, &both),
        ("a person who walks over and stays", by_half(), 58_000, &[walk], &there),
        ("a person who comes back counts again", by_half(), 104_600, &[walk], &[&there[..], &back].concat()),
    ]);
}

#[test]
fn the_events_of_an_activity_have_its_label_picture_and_order() {
    let near = seen("person", 0.6, (300.0, 50.0, 150.0, 280.0));
    let far = seen("car", 0.95, (100.0, 100.0, 40.0, 40.0));
    let frames = [(0, vec![far.clone()]), (200, vec![far, near]), (60_000, vec![])];
    let rules = Rules { detector: "weapon#2".into(), kind: "weapon".into(), ..grouped() };
    let decided = records(&rules, &frames);
    let kinds: Vec<_> =
        decided.iter().map(|decided| (decided.event.payload.label.as_str(), phase(decided))).collect();
    let (start, end) = (Phase::Start, Phase::End);
    let order = [("car", start), ("activity", start), ("person", start)];
    assert_eq!(kinds[..3], order, "an activity comes after the incident that began it");
    assert_eq!(kinds[3..], [("car", end), ("person", end), ("activity", end)], "and ends after it");
    let [car, begins, person, _, _, ends] = &decided[..] else { panic!("six records") };
    assert_eq!(decided.iter().map(|decided| decided.event.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let pictures = [(begins, car), (ends, person)];
    for (activity, pictured) in pictures {
        let (shown, event) = (&pictured.event.payload, &activity.event.payload);
        assert_eq!((event.kind.as_str(), event.conf, event.bbox), ("weapon", shown.conf, shown.bbox));
        let by = SnapshotSource { event_id: pictured.event.event_id.clone(), ts_ms: shown.ts_ms };
        assert_eq!(activity.pictured_by, Some(by), "no picture is decided twice");
        let extras = &event.extras;
        assert_eq!((&extras.incident_id, extras.track_id), (&begins.event.event_id, 0));
        assert_eq!((&extras.zones, &extras.text, &extras.model), (&vec![], &None, &model()));
    }
}

fn by_label(decided: &DecidedEvent) -> &BTreeMap<String, u64> {
    &decided.event.payload.extras.activity.as_ref().unwrap().by_label
}

fn phase(decided: &DecidedEvent) -> Phase {
    decided.event.payload.extras.phase
}

#[test]
fn the_snapshot_of_an_activity_is_from_its_zone() {
    let large = |x: f32| (x, 50.0, 150.0, 280.0);
    let frames = [
        (0, vec![seen("person", 0.9, large(100.0))]),
        (200, vec![seen("person", 0.9, large(150.0))]),
        (400, vec![seen("person", 0.6, large(200.0))]),
    ];
    let decided = records(&by_half(), &frames);
    let phases_and_zones: Vec<_> = decided
        .iter()
        .map(|decided| (phase(decided), decided.event.payload.extras.zones.join(",")))
        .collect();
    let (west, both) = ("west".to_owned(), "west,east".to_owned());
    let records = [(Phase::Start, west.clone()), (Phase::Start, west), (Phase::Update, both)];
    assert_eq!(phases_and_zones[..3], records);
    assert_eq!(phases_and_zones[3..], [(Phase::Start, "east".to_owned())]);
    let pictures = decided.iter().filter_map(|decided| decided.pictured_by.as_ref()).map(|by| &by.event_id);
    let recorded = [&decided[0].event.event_id, &decided[2].event.event_id];
    assert!(pictures.eq(recorded), "the east by the update, although the start shows more");
}

#[test]
fn a_zone_can_have_the_name_of_a_class() {
    let zones = vec![half("person", 0.0, 640.0)];
    let roi = Roi { zones, filter: RoiFilter::Any, normalized: false };
    let decided =
        records(&Rules { roi: Some(roi), ..grouped() }, &[(0, vec![person(100.0)]), (60_000, vec![])]);
    let ids: BTreeSet<_> = decided.iter().map(|decided| &decided.event.event_id).collect();
    assert_eq!((decided.len(), ids.len()), (4, 4), "a start and an end each");
}

#[test]
fn an_activity_ends_with_its_footage_and_with_its_key() {
    let hour_ms = 3_600_000;
    let person = || vec![person(100.0)];
    let frames = [(0, person()), (200, person()), (-hour_ms, vec![]), (200 - hour_ms, person())];
    let expected = vec![
        "0 start: 1 person, peak 1".to_owned(),
        format!("{} end: 1 person, peak 1, 200 ms", -hour_ms),
        format!("{} start: 1 person, peak 1", 200 - hour_ms),
    ];
    assert_eq!(reported(&records(&grouped(), &frames)), expected, "new footage");

    let back = [(9_000, person()), (5_000, vec![]), (44_800, vec![]), (45_000, vec![])];
    let expected = ["9000 start: 1 person, peak 1", "45000 end: 1 person, peak 1, 0 ms"];
    assert_eq!(reported(&records(&grouped(), &back)), expected, "time that goes back a little stands still");

    let mut state = DecideState::default();
    let mut decided = at(&mut state, &grouped(), 0, &person()).events;
    for ms in [200, 400] {
        decided.extend(at(&mut state, &rules(), ms, &person()).events);
    }
    assert_eq!(
        reported(&decided),
        ["0 start: 1 person, peak 1", "200 end: 1 person, peak 1, 0 ms"],
        "the key was removed"
    );
}

#[test]
fn a_state_without_activities_has_no_field_for_them_and_accepts_them_later() {
    let mut state = DecideState::default();
    let start = at(&mut state, &rules(), 0, &[person(100.0)]).events.remove(0);
    let written = serde_json::to_value(&state).unwrap();
    let fields: Vec<_> = written["detectors"]["objects"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["last_id", "last_look", "pace", "tracks"], "builds before this one read it");
    let mut state: DecideState = serde_json::from_value(written).unwrap();
    let decided = at(&mut state, &grouped(), 200, &[person(100.0)]).events;
    assert_eq!(reported(&decided), ["200 start: 1 person, peak 1"], "a visible incident begins one");
    let by = SnapshotSource { event_id: start.event.event_id, ts_ms: START_MS };
    assert_eq!(decided[0].pictured_by, Some(by), "it has no record in this frame");
    assert_eq!(decided.len(), 1);
    let mut written = serde_json::to_value(&state).unwrap();
    written["detectors"]["objects"]["activities"][""]["other"] = 1.into();
    let refused = serde_json::from_value::<DecideState>(written).unwrap_err().to_string();
    assert!(refused.contains("unknown field `other`"), "{refused}");
}

#[test]
fn a_crowd_beyond_the_limit_of_tracks_is_counted_whole() {
    let crowd: Vec<_> =
        (0..400_u16).map(|i| seen("person", 0.9, (f32::from(i) * 20.0, 100.0, 10.0, 10.0))).collect();
    let mut state = DecideState::default();
    let decided = at(&mut state, &grouped(), 0, &crowd).events;
    assert_eq!(reported(&decided), ["0 start: 400 person, peak 400"]);
    assert_eq!(objects(&state), [256]);
    let _ = at(&mut state, &grouped(), 200, &[]);
    let written = serde_json::to_value(&state).unwrap();
    let counted = &written["detectors"]["objects"]["activities"][""]["counted"];
    assert_eq!(counted.as_array().unwrap().len(), 256, "no more than there are tracks");
}

/// An activity as the slow twin finds it; `incidents` are labels by incident id.
#[derive(Default)]
struct Twin {
    first_ms: i64,
    last_ms: i64,
    incidents: BTreeMap<String, String>,
    peak: usize,
    over_ms: Option<i64>,
}

impl Twin {
    fn counts(&self) -> ActivityCounts {
        let mut by_label = BTreeMap::new();
        for label in self.incidents.values() {
            *by_label.entry(label.clone()).or_default() += 1;
        }
        ActivityCounts { incidents: self.incidents.len() as u64, by_label, peak: self.peak as u64 }
    }
}

/// Returns id, label and box of the incidents that are seen at `ms`, from the serialized state.
fn in_view(state: &DecideState, ms: i64) -> Vec<(String, String, BBox)> {
    let written = serde_json::to_value(state).unwrap();
    let tracks = written["detectors"]["objects"]["tracks"].as_array().unwrap().iter();
    let seen = tracks.filter(|track| track["last_seen"] == START_MS + ms && track["missed"] == 0);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    seen.filter(|track| !track["incident"].is_null())
        .map(|track| {
            let bbox = serde_json::from_value(track["bbox"].clone()).unwrap();
            (text(&track["incident"]["id"]), text(&track["label"]), bbox)
        })
        .collect()
}

/// Returns the activities of a zone, from the incidents that are visible in it in each frame.
fn twins(frames: &[(i64, Vec<(String, String)>)]) -> Vec<Twin> {
    let mut twins: Vec<Twin> = Vec::new();
    for (ms, seen) in frames {
        let open = twins.last_mut().filter(|twin| twin.over_ms.is_none());
        if let Some(open) = open.filter(|open| ms - open.last_ms >= QUIET_MS) {
            open.over_ms = Some(*ms);
        }
        if seen.is_empty() {
            continue;
        }
        if twins.last().is_none_or(|twin| twin.over_ms.is_some()) {
            twins.push(Twin { first_ms: *ms, ..Twin::default() });
        }
        let open = twins.last_mut().unwrap();
        (open.last_ms, open.peak) = (*ms, open.peak.max(seen.len()));
        open.incidents.extend(seen.iter().cloned());
    }
    twins
}

/// A strategy for frames in order of time, with quiet times of up to a minute.
fn frames_in_order() -> impl Strategy<Value = Vec<(i64, Vec<Detection>)>> {
    let detection = (0..3_usize, 0.3..1.0_f32, 0.0..600.0_f32, 0.0..300.0_f32)
        .prop_map(|(label, conf, x, y)| seen(["person", "car", "gun"][label], conf, (x, y, 60.0, 80.0)));
    let step_ms = prop_oneof![6 => 1..500_i64, 2 => 500..10_000_i64, 1 => 10_000..60_000_i64];
    let seen = prop_oneof![
        2 => proptest::collection::vec(detection, 1..6),
        1 => Just(Vec::new()),
    ];
    proptest::collection::vec((step_ms, seen), 1..80).prop_map(|frames| {
        let mut now_ms = 0;
        let at = |(step_ms, seen)| {
            now_ms += step_ms;
            (now_ms, seen)
        };
        frames.into_iter().map(at).collect()
    })
}

proptest! {
    /// Compares activities with their slow twin: the visible incidents of each zone, frame by frame, cut where it is quiet.
    #[test]
    fn activities_are_the_visible_incidents_of_a_zone(frames in frames_in_order()) {
        let rules = by_half();
        let roi = rules.roi.clone().unwrap();
        let mut state = DecideState::default();
        let (mut decided, mut views) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for (ms, detections) in &frames {
            decided.extend(at(&mut state, &rules, *ms, detections).events);
            let seen = in_view(&state, *ms);
            for zone in ["west", "east"] {
                let is_here = |bbox: &BBox| roi::zones_of(&roi, bbox, (640, 360)).iter().any(|name| name == zone);
                let here = seen.iter().filter(|(.., bbox)| is_here(bbox));
                let here = here.map(|(id, label, _)| (id.clone(), label.clone())).collect();
                views.entry(zone).or_default().push((*ms, here));
            }
        }
        for (zone, views) in views {
            let is_here = |decided: &&DecidedEvent| is_activity(decided) && decided.event.payload.extras.zones == [zone];
            let (starts, ends): (Vec<_>, Vec<_>) =
                decided.iter().filter(is_here).partition(|decided| phase(decided) == Phase::Start);
            let twins = twins(&views);
            let times = |all: &[&DecidedEvent]| -> Vec<i64> { all.iter().map(|decided| decided.event.payload.ts_ms - START_MS).collect() };
            prop_assert_eq!(times(&starts), twins.iter().map(|twin| twin.first_ms).collect::<Vec<_>>());
            prop_assert_eq!(times(&ends), twins.iter().filter_map(|twin| twin.over_ms).collect::<Vec<_>>());
            for (end, twin) in ends.iter().zip(&twins) {
                let extras = &end.event.payload.extras;
                prop_assert_eq!(extras.activity.as_ref(), Some(&twin.counts()));
                prop_assert_eq!(extras.duration_ms, Some(twin.last_ms - twin.first_ms));
            }
        }
    }

    /// Asserts that an activity has one start, at most one end after it, and the counts of the incidents in between, and that the
    /// events of the incidents are the same without activities.
    #[test]
    fn every_activity_is_whole(frames in any_frames(), needed in 1..4_u32) {
        let without = confirmed_by(needed, 5);
        let rules = Rules { quiet_ms: Some(QUIET_MS), ..without.clone() };
        let decided = records(&rules, &frames);
        let ids: BTreeSet<_> = decided.iter().map(|decided| &decided.event.event_id).collect();
        prop_assert_eq!(ids.len(), decided.len());
        prop_assert!(decided.iter().zip(1..).all(|(decided, seq)| decided.event.seq == seq));
        let own = |decided: &DecidedEvent| DecidedEvent { event: Event { seq: 0, ..decided.event.clone() }, ..decided.clone() };
        let incidents: Vec<_> = decided.iter().filter(|decided| !is_activity(decided)).map(own).collect();
        prop_assert_eq!(&incidents, &records(&without, &frames).iter().map(own).collect::<Vec<_>>());

        let (mut state, mut open, mut counts) = (DecideState::default(), None::<String>, BTreeMap::<String, u64>::new());
        for (ms, detections) in &frames {
            let decided = at(&mut state, &rules, *ms, detections).events;
            let (activities, incidents): (Vec<_>, Vec<_>) = decided.iter().partition(|decided| is_activity(decided));
            let (starts, ends): (Vec<_>, Vec<_>) = activities.into_iter().partition(|decided| phase(decided) == Phase::Start);
            prop_assert!(starts.len() <= 1 && ends.len() <= 1);
            for end in ends {
                prop_assert_eq!(open.take(), Some(end.event.extras_incident()));
                prop_assert_eq!(by_label(end), &counts);
                counts.clear();
            }
            for start in incidents.iter().filter(|decided| phase(decided) == Phase::Start) {
                *counts.entry(start.event.payload.label.clone()).or_default() += 1;
            }
            for start in starts {
                prop_assert_eq!(&start.event.extras_incident(), &start.event.event_id);
                prop_assert_eq!(open.replace(start.event.event_id.clone()), None);
                prop_assert_eq!(by_label(start), &counts);
            }
            prop_assert!(open.is_some() || counts.is_empty(), "no incident is outside an activity");
        }
    }

    #[test]
    fn activities_continue_from_a_restored_state(frames in any_frames()) {
        let rules = by_half();
        let (mut kept, mut stored) = (DecideState::default(), DecideState::default());
        for (ms, detections) in &frames {
            stored = serde_json::from_slice(&serde_json::to_vec(&stored).unwrap()).unwrap();
            let (a, b) = (at(&mut kept, &rules, *ms, detections), at(&mut stored, &rules, *ms, detections));
            prop_assert_eq!(a, b);
        }
        prop_assert_eq!(kept, stored);
    }
}
