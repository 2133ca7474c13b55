//! Activities: a start, an end, and counts that are those of the incidents.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::media::{ActivityCounts, Extras};

const QUIET_MS: i64 = 40_000;

fn grouped() -> Rules {
    Rules { quiet_ms: Some(QUIET_MS), ..rules() }
}

/// A person who is seen from and to a time (ms), each 200 ms, at a place.
type Visit = (&'static str, i64, i64, fn(i64) -> f32);

/// A look each 200 ms until `end_ms`.
fn visits(end_ms: i64, visits: &[Visit]) -> Vec<(i64, Vec<Detection>)> {
    let look = |ms: i64| {
        let seen = visits.iter().filter(|(_, from, to, _)| (*from..=*to).contains(&ms));
        (ms, seen.map(|(label, .., place)| seen_at(label, place(ms))).collect())
    };
    (0..=end_ms).step_by(200).map(look).collect()
}

fn seen_at(label: &str, x: f32) -> Detection {
    seen(label, 0.9, (x, 100.0, 50.0, 100.0))
}

fn records(rules: &Rules, looks: &[(i64, Vec<Detection>)]) -> Vec<Made> {
    let mut state = State::default();
    looks.iter().flat_map(|(ms, detections)| at(&mut state, rules, *ms, detections).events).collect()
}

fn is_activity(made: &Made) -> bool {
    made.event.payload.extras.activity.is_some()
}

/// `ms phase zone: counts` of each activity's record.
fn told(made: &[Made]) -> Vec<String> {
    let one = |made: &Made| {
        let Extras { phase, zones, activity, duration_ms, .. } = &made.event.payload.extras;
        let ActivityCounts { incidents, by_label, peak } = activity.as_ref().unwrap();
        let labels: Vec<_> = by_label.iter().map(|(label, count)| format!("{count} {label}")).collect();
        assert_eq!(by_label.values().sum::<u64>(), *incidents);
        let lasted = duration_ms.map(|ms| format!(", {ms} ms")).unwrap_or_default();
        let ms = made.event.payload.ts_ms - START_MS;
        let zones = zones.iter().map(|zone| format!(" {zone}")).collect::<String>();
        format!("{ms} {}{zones}: {}, peak {peak}{lasted}", phase.as_str(), labels.join(", "))
    };
    made.iter().filter(|made| is_activity(made)).map(one).collect()
}

fn half(name: &str, x1: f32, x2: f32) -> Zone {
    Zone { name: name.into(), points: vec![(x1, 0.0), (x2, 0.0), (x2, 360.0), (x1, 360.0)] }
}

/// Two zones side by side, and what lies on their border is in both.
fn by_half() -> Rules {
    let zones = vec![half("west", 0.0, 320.0), half("east", 320.0, 640.0)];
    Rules { roi: Some(Roi { zones, filter: RoiFilter::Any, normalized: false }), ..grouped() }
}

/// A case: what is told of visits until a time (ms), by rules.
type Case<'a> = (&'a str, Rules, i64, &'a [Visit], &'a [&'a str]);

fn check(table: &[Case<'_>]) {
    for (name, rules, end_ms, visitors, expected) in table {
        assert_eq!(told(&records(rules, &visits(*end_ms, visitors))), *expected, "{name}");
    }
}

fn left(_ms: i64) -> f32 {
    100.0
}

fn right(_ms: i64) -> f32 {
    500.0
}

#[test]
fn an_activity_sums_up_who_came() {
    let one: Visit = ("person", 0, 2_000, left);
    let one_is_told = ["0 start: 1 person, peak 1", "42000 end: 1 person, peak 1, 2000 ms"];
    let then = [&one_is_told[..], &["42000 start: 1 person, peak 1"]].concat();
    let many = [
        one,
        ("car", 1_000, 3_000, right),
        ("person", 30_000, 31_000, right),
        ("person", 31_200, 32_000, left),
    ];
    let many_are_told = ["0 start: 1 person, peak 1", "72000 end: 1 car, 3 person, peak 2, 32000 ms"];
    let [apart, near] = [42_000, 41_800].map(|ms| [one, ("person", ms, 43_000, left)]);
    let passed: [Visit; 2] = [("person", 200, 200, left), ("person", 60_000, 61_000, left)];
    let sure = Rules { quiet_ms: Some(QUIET_MS), ..confirmed_by(3, 5) };
    check(&[
        ("off by default", rules(), 60_000, &[one], &[]),
        ("one incident", grouped(), 60_000, &[one], &one_is_told),
        ("many", grouped(), 90_000, &many, &many_are_told),
        ("quiet for long enough, and somebody comes just then", grouped(), 60_000, &apart, &then),
        ("not quiet for long enough", grouped(), 60_000, &near, &one_is_told[..1]),
        ("what is confirmed begins it", sure, 62_000, &passed, &["60400 start: 1 person, peak 1"]),
    ]);
}

/// From the middle of the west to the middle of the east in 10 s, and back after a minute.
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
        ("one who walks over and stays", by_half(), 58_000, &[walk], &there),
        ("who comes back counts again", by_half(), 104_600, &[walk], &[&there[..], &back].concat()),
    ]);
}

#[test]
fn the_records_of_an_activity_say_what_it_is() {
    let near = seen("person", 0.6, (300.0, 50.0, 150.0, 280.0));
    let far = seen("car", 0.95, (100.0, 100.0, 40.0, 40.0));
    let looks = [(0, vec![far.clone()]), (200, vec![far, near]), (60_000, vec![])];
    let rules = Rules { detector: "weapon#2".into(), kind: "weapon".into(), ..grouped() };
    let made = records(&rules, &looks);
    let kinds: Vec<_> = made.iter().map(|made| (made.event.payload.label.as_str(), phase(made))).collect();
    let (start, end) = (Phase::Start, Phase::End);
    let order = [("car", start), ("activity", start), ("person", start)];
    assert_eq!(kinds[..3], order, "an activity is told after what began it");
    assert_eq!(kinds[3..], [("car", end), ("person", end), ("activity", end)], "and ends after it");
    let [car, begins, person, _, _, ends] = &made[..] else { panic!("six records") };
    assert_eq!(made.iter().map(|made| made.event.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let pictures = [(begins, car), (ends, person)];
    for (activity, pictured) in pictures {
        let (shown, event) = (&pictured.event.payload, &activity.event.payload);
        assert_eq!((event.kind.as_str(), event.conf, event.bbox), ("weapon", shown.conf, shown.bbox));
        let by = Pictured { event_id: pictured.event.event_id.clone(), ts_ms: shown.ts_ms };
        assert_eq!(activity.pictured_by, Some(by), "no picture is made twice");
        let extras = &event.extras;
        assert_eq!((&extras.incident_id, extras.track_id), (&begins.event.event_id, 0));
        assert_eq!((&extras.zones, &extras.text, &extras.model), (&vec![], &None, &model()));
    }
}

fn by_label(made: &Made) -> &BTreeMap<String, u64> {
    &made.event.payload.extras.activity.as_ref().unwrap().by_label
}

fn phase(made: &Made) -> Phase {
    made.event.payload.extras.phase
}

#[test]
fn an_activity_is_shown_by_what_was_recorded_in_its_zone() {
    let large = |x: f32| (x, 50.0, 150.0, 280.0);
    let looks = [
        (0, vec![seen("person", 0.9, large(100.0))]),
        (200, vec![seen("person", 0.9, large(150.0))]),
        (400, vec![seen("person", 0.6, large(200.0))]),
    ];
    let made = records(&by_half(), &looks);
    let told: Vec<_> =
        made.iter().map(|made| (phase(made), made.event.payload.extras.zones.join(","))).collect();
    let (west, both) = ("west".to_owned(), "west,east".to_owned());
    let records = [(Phase::Start, west.clone()), (Phase::Start, west), (Phase::Update, both)];
    assert_eq!(told[..3], records);
    assert_eq!(told[3..], [(Phase::Start, "east".to_owned())]);
    let pictures = made.iter().filter_map(|made| made.pictured_by.as_ref()).map(|by| &by.event_id);
    let recorded = [&made[0].event.event_id, &made[2].event.event_id];
    assert!(pictures.eq(recorded), "the east by the update, although the start shows more");
}

#[test]
fn a_zone_may_be_named_as_a_class() {
    let zones = vec![half("person", 0.0, 640.0)];
    let roi = Roi { zones, filter: RoiFilter::Any, normalized: false };
    let made = records(&Rules { roi: Some(roi), ..grouped() }, &[(0, vec![person(100.0)]), (60_000, vec![])]);
    let ids: BTreeSet<_> = made.iter().map(|made| &made.event.event_id).collect();
    assert_eq!((made.len(), ids.len()), (4, 4), "a start and an end each");
}

#[test]
fn an_activity_ends_with_its_footage_and_with_its_key() {
    let hour_ms = 3_600_000;
    let person = || vec![person(100.0)];
    let looks = [(0, person()), (200, person()), (-hour_ms, vec![]), (200 - hour_ms, person())];
    let expected = vec![
        "0 start: 1 person, peak 1".to_owned(),
        format!("{} end: 1 person, peak 1, 200 ms", -hour_ms),
        format!("{} start: 1 person, peak 1", 200 - hour_ms),
    ];
    assert_eq!(told(&records(&grouped(), &looks)), expected, "new footage");

    let back = [(9_000, person()), (5_000, vec![]), (44_800, vec![]), (45_000, vec![])];
    let expected = ["9000 start: 1 person, peak 1", "45000 end: 1 person, peak 1, 0 ms"];
    assert_eq!(told(&records(&grouped(), &back)), expected, "time that goes back a little stands still");

    let mut state = State::default();
    let mut made = at(&mut state, &grouped(), 0, &person()).events;
    for ms in [200, 400] {
        made.extend(at(&mut state, &rules(), ms, &person()).events);
    }
    assert_eq!(
        told(&made),
        ["0 start: 1 person, peak 1", "200 end: 1 person, peak 1, 0 ms"],
        "no longer asked for"
    );
}

#[test]
fn a_state_without_activities_is_as_it_was_and_goes_on_with_them() {
    let mut state = State::default();
    let start = at(&mut state, &rules(), 0, &[person(100.0)]).events.remove(0);
    let written = serde_json::to_value(&state).unwrap();
    let fields: Vec<_> = written["detectors"]["objects"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["last_id", "last_look", "pace", "tracks"], "builds before this one read it");
    let mut state: State = serde_json::from_value(written).unwrap();
    let made = at(&mut state, &grouped(), 200, &[person(100.0)]).events;
    assert_eq!(told(&made), ["200 start: 1 person, peak 1"], "an incident that is seen begins one");
    let by = Pictured { event_id: start.event.event_id, ts_ms: START_MS };
    assert_eq!(made[0].pictured_by, Some(by), "it has no record in this frame");
    assert_eq!(made.len(), 1);
    let mut written = serde_json::to_value(&state).unwrap();
    written["detectors"]["objects"]["activities"][""]["other"] = 1.into();
    let refused = serde_json::from_value::<State>(written).unwrap_err().to_string();
    assert!(refused.contains("unknown field `other`"), "{refused}");
}

#[test]
fn a_crowd_that_is_not_followed_whole_is_counted_whole() {
    let crowd: Vec<_> =
        (0..400_u16).map(|i| seen("person", 0.9, (f32::from(i) * 20.0, 100.0, 10.0, 10.0))).collect();
    let mut state = State::default();
    let made = at(&mut state, &grouped(), 0, &crowd).events;
    assert_eq!(told(&made), ["0 start: 400 person, peak 400"]);
    assert_eq!(objects(&state), [256]);
    let _ = at(&mut state, &grouped(), 200, &[]);
    let written = serde_json::to_value(&state).unwrap();
    let counted = &written["detectors"]["objects"]["activities"][""]["counted"];
    assert_eq!(counted.as_array().unwrap().len(), 256, "no more than are followed");
}

/// What an activity of the slow twin is: from and to when it is seen, its incidents with their labels, and its peak.
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

/// The incidents of the objects that are seen at `ms`, with their labels and boxes, read off the written state.
fn in_view(state: &State, ms: i64) -> Vec<(String, String, BBox)> {
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

/// The activities of a zone, from what is in view of it at each look.
fn twins(looks: &[(i64, Vec<(String, String)>)]) -> Vec<Twin> {
    let mut twins: Vec<Twin> = Vec::new();
    for (ms, seen) in looks {
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

/// A film in which time only goes on, with quiet times of up to a minute.
fn film_that_goes_on() -> impl Strategy<Value = Vec<(i64, Vec<Detection>)>> {
    let detection = (0..3_usize, 0.3..1.0_f32, 0.0..600.0_f32, 0.0..300.0_f32)
        .prop_map(|(label, conf, x, y)| seen(["person", "car", "gun"][label], conf, (x, y, 60.0, 80.0)));
    let step_ms = prop_oneof![6 => 1..500_i64, 2 => 500..10_000_i64, 1 => 10_000..60_000_i64];
    let seen = prop_oneof![
        2 => proptest::collection::vec(detection, 1..6),
        1 => Just(Vec::new()),
    ];
    proptest::collection::vec((step_ms, seen), 1..80).prop_map(|looks| {
        let mut now_ms = 0;
        let at = |(step_ms, seen)| {
            now_ms += step_ms;
            (now_ms, seen)
        };
        looks.into_iter().map(at).collect()
    })
}

proptest! {
    /// The slow twin: what is in view of each zone, look by look, cut where it is quiet.
    #[test]
    fn activities_are_what_is_in_view_of_a_zone(looks in film_that_goes_on()) {
        let rules = by_half();
        let roi = rules.roi.clone().unwrap();
        let mut state = State::default();
        let (mut made, mut views) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for (ms, detections) in &looks {
            made.extend(at(&mut state, &rules, *ms, detections).events);
            let seen = in_view(&state, *ms);
            for zone in ["west", "east"] {
                let is_here = |bbox: &BBox| roi::zones_of(&roi, bbox, (640, 360)).iter().any(|name| name == zone);
                let here = seen.iter().filter(|(.., bbox)| is_here(bbox));
                let here = here.map(|(id, label, _)| (id.clone(), label.clone())).collect();
                views.entry(zone).or_default().push((*ms, here));
            }
        }
        for (zone, looks) in views {
            let is_here = |made: &&Made| is_activity(made) && made.event.payload.extras.zones == [zone];
            let (starts, ends): (Vec<_>, Vec<_>) =
                made.iter().filter(is_here).partition(|made| phase(made) == Phase::Start);
            let twins = twins(&looks);
            let times = |all: &[&Made]| -> Vec<i64> { all.iter().map(|made| made.event.payload.ts_ms - START_MS).collect() };
            prop_assert_eq!(times(&starts), twins.iter().map(|twin| twin.first_ms).collect::<Vec<_>>());
            prop_assert_eq!(times(&ends), twins.iter().filter_map(|twin| twin.over_ms).collect::<Vec<_>>());
            for (end, twin) in ends.iter().zip(&twins) {
                let extras = &end.event.payload.extras;
                prop_assert_eq!(extras.activity.as_ref(), Some(&twin.counts()));
                prop_assert_eq!(extras.duration_ms, Some(twin.last_ms - twin.first_ms));
            }
        }
    }

    /// Whatever is seen: one start, at most one end after it, and the counts are those of the incidents told meanwhile; the
    /// incidents' own records are what they are without activities.
    #[test]
    fn every_activity_is_whole(looks in film(), frames in 1..4_u32) {
        let without = confirmed_by(frames, 5);
        let rules = Rules { quiet_ms: Some(QUIET_MS), ..without.clone() };
        let made = records(&rules, &looks);
        let ids: BTreeSet<_> = made.iter().map(|made| &made.event.event_id).collect();
        prop_assert_eq!(ids.len(), made.len());
        prop_assert!(made.iter().zip(1..).all(|(made, seq)| made.event.seq == seq));
        let own = |made: &Made| Made { event: Event { seq: 0, ..made.event.clone() }, ..made.clone() };
        let incidents: Vec<_> = made.iter().filter(|made| !is_activity(made)).map(own).collect();
        prop_assert_eq!(&incidents, &records(&without, &looks).iter().map(own).collect::<Vec<_>>());

        let (mut state, mut open, mut told) = (State::default(), None::<String>, BTreeMap::<String, u64>::new());
        for (ms, detections) in &looks {
            let made = at(&mut state, &rules, *ms, detections).events;
            let (activities, incidents): (Vec<_>, Vec<_>) = made.iter().partition(|made| is_activity(made));
            let (starts, ends): (Vec<_>, Vec<_>) = activities.into_iter().partition(|made| phase(made) == Phase::Start);
            prop_assert!(starts.len() <= 1 && ends.len() <= 1);
            for end in ends {
                prop_assert_eq!(open.take(), Some(end.event.extras_incident()));
                prop_assert_eq!(by_label(end), &told);
                told.clear();
            }
            for start in incidents.iter().filter(|made| phase(made) == Phase::Start) {
                *told.entry(start.event.payload.label.clone()).or_default() += 1;
            }
            for start in starts {
                prop_assert_eq!(&start.event.extras_incident(), &start.event.event_id);
                prop_assert_eq!(open.replace(start.event.event_id.clone()), None);
                prop_assert_eq!(by_label(start), &told);
            }
            prop_assert!(open.is_some() || told.is_empty(), "no incident is outside an activity");
        }
    }

    #[test]
    fn activities_go_on_from_a_state_that_was_written(looks in film()) {
        let rules = by_half();
        let (mut kept, mut stored) = (State::default(), State::default());
        for (ms, detections) in &looks {
            stored = serde_json::from_slice(&serde_json::to_vec(&stored).unwrap()).unwrap();
            let (a, b) = (at(&mut kept, &rules, *ms, detections), at(&mut stored, &rules, *ms, detections));
            prop_assert_eq!(a, b);
        }
        prop_assert_eq!(kept, stored);
    }
}
