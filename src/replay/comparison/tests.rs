//! Comparisons of incidents by table, and properties of the matching.

use proptest::prelude::*;

use super::*;
use crate::media::{Event, Phase};
use crate::replay::incident_facts::testing::{incident, record};

const SPAN: ReplaySpan = ReplaySpan { from_ms: 100_000, to_ms: 200_000 };

/// An incident of camera `front`: its id, its label, the left edge of its box (of 64 px in 320) and its times in s.
#[derive(Clone, Debug)]
struct Scene {
    id: &'static str,
    label: &'static str,
    left_px: f32,
    start_s: i64,
    end_s: i64,
}

fn scene(id: &'static str, label: &'static str, left_px: f32, start_s: i64, end_s: i64) -> Scene {
    Scene { id, label, left_px, start_s, end_s }
}

impl Scene {
    fn record(&self, phase: Phase, second: i64) -> Event {
        let mut record = record(self.id, phase, SPAN.from_ms + second * 1_000);
        record.payload.label = self.label.to_owned();
        record.payload.bbox = [self.left_px, 20.0, self.left_px + 64.0, 120.0];
        record.payload.extras.duration_ms =
            (phase != Phase::Start).then_some((second - self.start_s) * 1_000);
        record
    }

    fn facts(&self) -> IncidentFacts {
        incident(&[self.record(Phase::Start, self.start_s), self.record(Phase::End, self.end_s)])
    }
}

fn facts(scenes: &[Scene]) -> Vec<IncidentFacts> {
    scenes.iter().map(Scene::facts).collect()
}

/// Returns the footage of the whole span, but for what `change` does.
fn footage(change: impl FnOnce(&mut FootageCoverage)) -> BTreeMap<String, FootageCoverage> {
    let mut coverage = FootageCoverage {
        fragments: 50,
        first_ms: Some(SPAN.from_ms),
        last_ms: Some(SPAN.to_ms),
        ..FootageCoverage::default()
    };
    change(&mut coverage);
    BTreeMap::from([("front".to_owned(), coverage)])
}

fn compare_all(before: Vec<IncidentFacts>, now: Vec<IncidentFacts>) -> Comparison {
    let cameras = footage(|_| {});
    compare(before, now, &ReplayedFootage { span: SPAN, cameras: &cameras })
}

/// Returns a line per incident, such as `changed old-new: label`.
fn outline(comparison: &Comparison) -> Vec<String> {
    let line = |compared: &ComparedIncident| {
        let id = |facts: &Option<IncidentFacts>| {
            facts.as_ref().map_or_else(String::new, |facts| facts.incident_id.clone())
        };
        let change = format!("{:?}", compared.change).to_lowercase();
        let fields: Vec<String> =
            compared.differences.iter().map(|found| format!(" {:?}", found.field).to_lowercase()).collect();
        format!("{change} {}-{}{}", id(&compared.before), id(&compared.now), fields.concat())
    };
    comparison.incidents.iter().map(line).collect()
}

#[test]
fn incidents_by_table() {
    let person = |id, left_px, start_s, end_s| scene(id, "person", left_px, start_s, end_s);
    for (name, before, now, expected) in [
        ("the same id", vec![person("a", 0.0, 10, 20)], vec![person("a", 0.0, 10, 20)], vec!["same a-a"]),
        (
            "the same id at another place and time",
            vec![person("a", 0.0, 10, 20)],
            vec![person("a", 200.0, 10, 30)],
            vec!["changed a-a end"],
        ),
        (
            "another id, as the start is a frame later",
            vec![person("a", 0.0, 10, 20)],
            vec![person("b", 8.0, 11, 20)],
            vec!["changed a-b start"],
        ),
        (
            "another label at the same place",
            vec![person("a", 0.0, 10, 20)],
            vec![scene("b", "child", 4.0, 10, 20)],
            vec!["changed a-b label"],
        ),
        (
            "another label beside it",
            vec![person("a", 0.0, 10, 20)],
            vec![scene("b", "bicycle", 30.0, 10, 20)],
            vec!["gone a-", "new -b"],
        ),
        (
            "another place",
            vec![person("a", 0.0, 10, 20)],
            vec![person("b", 100.0, 10, 20)],
            vec!["gone a-", "new -b"],
        ),
        (
            "another time",
            vec![person("a", 0.0, 10, 20)],
            vec![person("b", 0.0, 40, 50)],
            vec!["gone a-", "new -b"],
        ),
        (
            "one that was two",
            vec![person("a", 0.0, 10, 20), person("b", 0.0, 21, 30)],
            vec![person("a", 0.0, 10, 30)],
            vec!["changed a-a end", "gone b-"],
        ),
        (
            "two that were one",
            vec![person("c", 0.0, 10, 40)],
            vec![person("d", 0.0, 10, 20), person("e", 0.0, 22, 40)],
            vec!["changed c-d end", "new -e"],
        ),
    ] {
        let mut lines = outline(&compare_all(facts(&before), facts(&now)));
        lines.sort();
        assert_eq!(lines, expected, "{name}");
    }
}

#[test]
fn of_two_candidates_the_one_with_the_same_label_is_taken() {
    let before = [scene("a", "person", 0.0, 10, 20), scene("b", "dog", 20.0, 10, 20)];
    let mut lines = outline(&compare_all(facts(&before), facts(&[scene("c", "person", 22.0, 10, 20)])));
    lines.sort();
    assert_eq!(lines, ["gone b-", "same a-c"]);
}

#[test]
fn a_removed_class_is_gone_and_a_new_zone_is_a_change() {
    let before = facts(&[scene("a", "person", 0.0, 10, 20), scene("b", "car", 100.0, 30, 40)]);
    let mut now = facts(&[scene("a", "person", 0.0, 10, 20)]);
    now[0].zones = ["door".to_owned(), "yard".to_owned()].into();
    let comparison = compare_all(before, now);
    assert_eq!(outline(&comparison), ["changed a-a zones", "gone b-"]);
    let found = &comparison.incidents[0].differences[0];
    assert_eq!((found.before.as_str(), found.now.as_str()), ("door", "door, yard"));
}

#[test]
fn confidence_counts_beyond_what_the_report_shows_and_texts_count() {
    for (conf, text, lines) in [
        (0.874, None, "same a-a"),
        (0.88, None, "changed a-a confidence"),
        (0.87, Some("AB 123"), "changed a-a text"),
    ] {
        let before = facts(&[scene("a", "person", 0.0, 10, 20)]);
        let mut now = before.clone();
        (now[0].conf, now[0].text) = (conf, text.map(str::to_owned));
        assert_eq!(outline(&compare_all(before, now)), [lines]);
    }
}

#[test]
fn an_incident_at_the_edge_is_not_changed_by_the_cut() {
    let before = facts(&[
        scene("early", "person", 0.0, -30, 20),
        scene("gone", "person", 0.0, -30, 1),
        scene("late", "person", 100.0, 90, 130),
    ]);
    let mut now = facts(&[scene("x", "person", 0.0, 1, 20), scene("late", "person", 100.0, 90, 99)]);
    now[1].end_ms = None;
    let comparison = compare_all(before, now);
    assert_eq!(outline(&comparison), ["same early-x", "same late-late"]);
    assert!(comparison.incidents.iter().all(|compared| compared.is_cut));
    assert_eq!(comparison.not_replayed, 1, "a second of it is in the footage, too little to confirm it");
}

#[test]
fn an_incident_without_footage_is_not_gone() {
    let before = facts(&[
        scene("gap", "person", 0.0, 42, 48),
        scene("seen", "person", 0.0, 60, 70),
        scene("later", "person", 0.0, 300, 310),
    ]);
    let mut other = facts(&[scene("other", "person", 0.0, 60, 70)]);
    other[0].camera_id = "back".to_owned();
    let cameras = footage(|coverage| {
        coverage.add_gap(super::super::coverage::FootageGap {
            from_ms: SPAN.from_ms + 40_000,
            to_ms: SPAN.from_ms + 50_000,
            reason: None,
        });
    });
    let all = [before, other].concat();
    let comparison = compare(all, Vec::new(), &ReplayedFootage { span: SPAN, cameras: &cameras });
    assert_eq!(outline(&comparison), ["gone seen-"]);
    assert_eq!(comparison.not_replayed, 1, "those of other spans and cameras are not counted");
}

#[test]
fn activities_match_by_zone_and_time_and_never_an_incident() {
    let activity = |id, zone: &str, start_s, incidents| {
        let mut facts = scene(id, "activity", 0.0, start_s, start_s + 10).facts();
        let by_label = BTreeMap::from([("person".to_owned(), incidents)]);
        facts.activity = Some(ActivityCounts { incidents, by_label, peak: 2 });
        facts.zones = [zone.to_owned()].into();
        facts
    };
    let person = scene("p", "person", 0.0, 10, 20).facts();
    let before = vec![activity("a", "yard", 10, 3), activity("b", "door", 10, 1)];
    let comparison = compare_all(before, vec![activity("c", "yard", 10, 4), person]);
    assert_eq!(outline(&comparison), ["changed a-c counts", "new -p", "gone b-"]);
    assert_eq!(comparison.incidents[0].differences[0].now, "4 (4 person), at most 2 at once");
}

fn any_scenes(ids: [&'static str; 6]) -> impl Strategy<Value = Vec<Scene>> {
    let one = (0..2_usize, 0..4_u8, 0..80_i64, 1..20_i64);
    prop::collection::vec(one, 0..6).prop_map(move |scenes| {
        let scene = |(at, (label, left, start_s, length_s)): (usize, (usize, u8, i64, i64))| {
            scene(ids[at], ["person", "car"][label], f32::from(left) * 30.0, start_s, start_s + length_s)
        };
        scenes.into_iter().enumerate().map(scene).collect()
    })
}

proptest! {
    #[test]
    fn each_incident_is_in_one_result_whatever_the_order(
        before in any_scenes(["a", "b", "c", "d", "e", "f"]), now in any_scenes(["a", "b", "u", "v", "w", "x"]),
    ) {
        let (before, now) = (facts(&before), facts(&now));
        let comparison = compare_all(before.clone(), now.clone());
        let ids = |of: fn(&ComparedIncident) -> Option<&IncidentFacts>| {
            let mut ids: Vec<String> =
                comparison.incidents.iter().filter_map(of).map(|facts| facts.incident_id.clone()).collect();
            ids.sort();
            ids
        };
        let sorted = |facts: &[IncidentFacts]| {
            let mut ids: Vec<String> = facts.iter().map(|facts| facts.incident_id.clone()).collect();
            ids.sort();
            ids
        };
        prop_assert_eq!(ids(|compared| compared.now.as_ref()), sorted(&now));
        prop_assert_eq!(ids(|compared| compared.before.as_ref()), sorted(&before));
        let reversed = compare_all(before.into_iter().rev().collect(), now.into_iter().rev().collect());
        prop_assert_eq!(reversed, comparison);
    }

    #[test]
    fn a_run_compared_with_itself_is_the_same(scenes in any_scenes(["a", "b", "c", "d", "e", "f"])) {
        let comparison = compare_all(facts(&scenes), facts(&scenes));
        prop_assert!(comparison.incidents.iter().all(|compared| compared.change == IncidentChange::Same));
    }
}
