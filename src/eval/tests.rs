//! Cases whose figures were computed by hand, and properties of all inputs.

use proptest::prelude::*;

use super::assignment::largest_sum;
use super::*;
use crate::media::{BBox, Phase};

/// Media time of the footage's first frame.
const START_MS: i64 = 1_700_000_000_000;

fn at(x: f32) -> BBox {
    BBox { x1: x, y1: 0.0, x2: x + 10.0, y2: 20.0 }
}

fn key(at_ms: i64, x: f32) -> KeyBox {
    KeyBox { at_ms, bbox: at(x) }
}

/// A visit that stands at `x`; its id begins with its person.
fn visit(id: &str, (from_ms, to_ms): (i64, i64), x: f32) -> Visit {
    let person = id.chars().take(1).collect();
    Visit { id: id.to_owned(), person, from_ms, to_ms, boxes: vec![key(from_ms, x), key(to_ms, x)] }
}

fn truth(visits: Vec<Visit>) -> Truth {
    Truth { label: "person".to_owned(), start_ms: START_MS, visits }
}

fn record(track_id: u64, phase: Phase, ms: i64, duration_ms: Option<i64>, x: f32) -> Record {
    Record {
        incident_id: format!("i{track_id}"),
        track_id,
        phase,
        ts_ms: START_MS + ms,
        duration_ms,
        bbox: at(x),
    }
}

fn start(track_id: u64, ms: i64, x: f32) -> Record {
    record(track_id, Phase::Start, ms, None, x)
}

/// An update of a track that was first seen at 0 ms.
fn update(track_id: u64, ms: i64, x: f32) -> Record {
    record(track_id, Phase::Update, ms, Some(ms), x)
}

/// An end 30 s after the last sighting.
fn end(track_id: u64, seen_ms: i64, duration_ms: i64, x: f32) -> Record {
    record(track_id, Phase::End, seen_ms + 30_000, Some(duration_ms), x)
}

fn figures(visits: Vec<Visit>, records: &[Record]) -> Evaluation {
    evaluate(&truth(visits), records, &EvalRules::default())
}

#[test]
fn an_incident_of_two_people_and_a_false_start() {
    let visits = vec![visit("A1", (0, 4000), 0.0), visit("B1", (2000, 6000), 100.0)];
    let records = [
        start(1, 200, 0.0),
        start(2, 300, 500.0),
        update(1, 1200, 0.0),
        update(1, 3200, 100.0),
        end(1, 5200, 5200, 100.0),
    ];
    let found = figures(visits, &records);
    assert_eq!((found.people, found.starts, found.records, found.unmatched), (2, 2, 5, 1));
    assert_eq!((found.starts_per_visit, found.starts_per_person), (Some(1.0), Some(1.0)));
    assert_eq!((found.missed, found.late, found.repeated), (vec!["B1".to_owned()], vec![], vec![]));
    assert_eq!(found.visits.iter().map(VisitFigures::delay_ms).collect::<Vec<_>>(), [Some(200), None]);
    let false_start =
        FalseStart { incident_id: "i2".into(), track_id: 2, at_ms: 300, bbox: [500.0, 0.0, 510.0, 20.0] };
    assert_eq!(found.false_starts, [false_start]);
    // Two of its four records on the main person.
    assert_eq!(found.purity, Some(0.5));
    let share =
        |person: &str, from_ms, to_ms| PersonShare { person: person.into(), records: 2, from_ms, to_ms };
    let people = vec![share("A", 200, 1200), share("B", 3200, 5200)];
    assert_eq!(found.mixed, [MixedIncident { incident_id: "i1".into(), track_id: 1, people }]);
    // Track 1 has records in steps 0, 1, 3 and 5, two of each person; track 2 in step 0. Each visit counts in four steps.
    assert_eq!(found.identity, IdentityCounts { idtp: 2, idfp: 3, idfn: 6 });
    assert_eq!(found.idf1, Some(4.0 / 13.0));
}

#[test]
fn a_late_visit_with_two_starts() {
    let records = [start(2, 3000, 0.0), start(1, 1500, 0.0)];
    let found = figures(vec![visit("A1", (0, 5000), 0.0)], &records);
    assert_eq!((found.late, found.repeated, found.missed), (vec!["A1".into()], vec!["A1".into()], vec![]));
    assert_eq!(found.visits[0].delay_ms(), Some(1500));
    let tracks: Vec<u64> = found.visits[0].starts.iter().map(|start| start.track_id).collect();
    assert_eq!((tracks, found.starts_per_visit), (vec![1, 2], Some(2.0)));
}

#[test]
fn late_begins_after_the_limit() {
    for (ms, late) in [(1000, 0), (1001, 1)] {
        assert_eq!(
            figures(vec![visit("A1", (0, 5000), 0.0)], &[start(1, ms, 0.0)]).late.len(),
            late,
            "{ms} ms"
        );
    }
}

#[test]
fn a_person_who_comes_again_within_one_incident_is_pure_but_missed() {
    let visits = vec![visit("A1", (0, 3000), 0.0), visit("A2", (5000, 8000), 0.0)];
    let records: Vec<Record> = [0, 1000, 2000, 5000, 6000, 7000]
        .map(|ms| if ms == 0 { start(1, ms, 0.0) } else { update(1, ms, 0.0) })
        .into();
    let found = figures(visits, &records);
    assert_eq!((found.purity, found.mixed, found.missed), (Some(1.0), vec![], vec!["A2".to_owned()]));
    assert_eq!((found.starts_per_visit, found.starts_per_person), (Some(0.5), Some(1.0)));
    assert_eq!((found.identity.idtp, found.idf1), (3, Some(0.5)));
}

#[test]
fn at_one_time_a_visit_has_one_incident_and_the_best_pair_comes_first() {
    // IoU of 1.0 with A: 9/11, with B: 7/13; of 1.5 with A: 8.5/11.5, with B: 7.5/12.5.
    let visits = || vec![visit("A1", (0, 5000), 0.0), visit("B1", (0, 5000), 4.0)];
    let table: [(&str, &[f32], [usize; 2], usize); 4] = [
        ("both", &[1.5, 1.0], [1, 1], 0),
        ("one of three", &[1.0, 1.5, 2.0], [1, 1], 1),
        ("one", &[1.0], [1, 0], 0),
        ("beside both: IoU with B is 2/18", &[12.0], [0, 0], 1),
    ];
    for (name, places, starts, unmatched) in table {
        let records: Vec<Record> = places.iter().zip(1..).map(|(x, track)| start(track, 1000, *x)).collect();
        let found = figures(visits(), &records);
        let of_visits: Vec<usize> = found.visits.iter().map(|visit| visit.starts.len()).collect();
        assert_eq!((of_visits.as_slice(), found.false_starts.len()), (&starts[..], unmatched), "{name}");
    }
}

#[test]
fn a_record_matches_from_the_minimum_iou_on() {
    let visits = vec![visit("A1", (0, 5000), 0.0)];
    let records = [start(1, 0, 5.0)];
    // 5 px of 15.
    for (min_iou, unmatched) in [(0.33, 0), (0.34, 1)] {
        let rules = EvalRules { min_iou, ..EvalRules::default() };
        assert_eq!(evaluate(&truth(visits.clone()), &records, &rules).unmatched, unmatched, "{min_iou}");
    }
}

#[test]
fn between_key_boxes_a_visit_goes_straight() {
    let boxes = vec![key(1000, 0.0), key(2000, 100.0), key(4000, 0.0)];
    let visit = Visit { id: "A1".into(), person: "A".into(), from_ms: 1000, to_ms: 4000, boxes };
    let table = [(999, None), (1000, Some(0.0)), (1250, Some(25.0)), (2000, Some(100.0)), (3500, Some(25.0))];
    for (ms, x) in table.into_iter().chain([(4000, Some(0.0)), (4001, None)]) {
        assert_eq!(visit.bbox_at(ms), x.map(at), "{ms} ms");
    }
}

#[test]
fn an_end_counts_where_its_object_was_seen_last() {
    // 100 px in a second.
    let walker = |boxes| Visit { id: "A1".into(), person: "A".into(), from_ms: 0, to_ms: 5000, boxes };
    let visits = || vec![walker(vec![key(0, 0.0), key(5000, 500.0)])];
    let table = [
        // First seen at 0 by the update, so last at 1600.
        ("dated by an update", vec![start(1, 300, 30.0), update(1, 900, 90.0), end(1, 1600, 1600, 160.0)], 0),
        (
            "dated by an update, elsewhere",
            vec![start(1, 300, 30.0), update(1, 900, 90.0), end(1, 1600, 1500, 160.0)],
            1,
        ),
        // Last seen between 300 and 800: at 600 the visit is there.
        ("within a second", vec![start(1, 300, 30.0), end(1, 600, 500, 60.0)], 0),
        ("not within that second", vec![start(1, 300, 30.0), end(1, 600, 500, 100.0)], 1),
        ("without a start", vec![end(1, 600, 500, 60.0)], 1),
    ];
    for (name, records, unmatched) in table {
        assert_eq!(figures(visits(), &records).unmatched, unmatched, "{name}");
    }
}

#[test]
fn steps_count_from_half_a_step_in_view() {
    // In view from 600 to 2500: not for half of step 0, for all of 1, for half of 2.
    let visits = || vec![visit("A1", (600, 2500), 0.0)];
    let table: [(&str, &[i64], [u64; 3]); 5] = [
        ("all", &[700, 1700, 2400], [2, 0, 0]),
        ("a gap", &[700, 1700], [1, 0, 1]),
        ("two in a step are one", &[1100, 1900, 2400], [2, 0, 0]),
        ("a step that does not count", &[700], [0, 0, 2]),
        ("nothing", &[], [0, 0, 2]),
    ];
    for (name, times, [idtp, idfp, idfn]) in table {
        let records: Vec<Record> = times.iter().map(|ms| update(1, *ms, 0.0)).collect();
        assert_eq!(figures(visits(), &records).identity, IdentityCounts { idtp, idfp, idfn }, "{name}");
    }
    let short = figures(vec![visit("A1", (0, 400), 0.0)], &[start(1, 0, 0.0)]);
    assert_eq!((short.identity.idfp, short.idf1), (0, None), "no step counts");
}

#[test]
fn without_records_or_visits_there_are_no_shares() {
    let nothing = figures(vec![], &[]);
    assert_eq!((nothing.purity, nothing.idf1, nothing.starts_per_visit), (None, None, None));
    let false_one = figures(vec![], &[start(1, 0, 0.0)]);
    assert_eq!((false_one.false_starts.len(), false_one.idf1, false_one.purity), (1, Some(0.0), None));
}

/// The records of a perfect tracker: a start, one update per second, an end.
fn perfect(visit: &Visit, track_id: u64) -> Vec<Record> {
    let x = visit.boxes[0].bbox.x1;
    let (from_ms, to_ms) = (visit.from_ms, visit.to_ms);
    let updates = (from_ms + 1000..=to_ms).step_by(1000);
    let updates = updates.map(|ms| record(track_id, Phase::Update, ms, Some(ms - from_ms), x));
    let mut records: Vec<Record> = std::iter::once(start(track_id, from_ms, x)).chain(updates).collect();
    records.push(end(track_id, to_ms, to_ms - from_ms, x));
    records
}

proptest! {
    #[test]
    fn perfect_events_have_perfect_figures(stays in prop::collection::vec((0i64..20_000, 1000i64..20_000), 1..8)) {
        let visits: Vec<Visit> = stays
            .iter()
            .enumerate()
            .map(|(i, (from_ms, length_ms))| {
                let person = ["A", "B", "C", "D", "E", "F", "G", "H"][i];
                visit(&format!("{person}1"), (*from_ms, from_ms + length_ms), 40.0 * i as f32)
            })
            .collect();
        let records: Vec<Record> = visits.iter().zip(1..).flat_map(|(visit, track)| perfect(visit, track)).collect();
        let found = figures(visits, &records);
        prop_assert_eq!((found.purity, found.idf1, found.starts_per_visit), (Some(1.0), Some(1.0), Some(1.0)));
        prop_assert!(found.missed.is_empty() && found.late.is_empty() && found.repeated.is_empty());
        prop_assert!(found.false_starts.is_empty() && found.mixed.is_empty() && found.unmatched == 0);
    }

    #[test]
    fn the_assignment_is_the_best_of_all(rows in 0usize..5, columns in 0usize..6, seed in prop::collection::vec(0u64..9, 30)) {
        let gain: Vec<Vec<u64>> = (0..rows).map(|row| seed[row * 6..row * 6 + columns].to_vec()).collect();
        prop_assert_eq!(largest_sum(&gain), best(&gain, &mut vec![false; columns]));
    }
}

/// The largest sum, by trying all.
fn best(gain: &[Vec<u64>], taken: &mut Vec<bool>) -> u64 {
    let Some((row, rest)) = gain.split_first() else { return 0 };
    let mut most = best(rest, taken);
    for column in 0..taken.len() {
        if !taken[column] {
            taken[column] = true;
            most = most.max(row[column] + best(rest, taken));
            taken[column] = false;
        }
    }
    most
}

const FILE: &str = "label: person
start_ms: 100
visits:
  - id: A1
    person: A
    from_ms: 0
    to_ms: 1000
    boxes: [[0, 1, 2, 3, 4.5], [1000, 1, 2, 3, 4]]
";

#[test]
fn a_truth_file_is_read() {
    let truth = parse_truth("t.yaml", FILE).unwrap();
    assert_eq!((truth.label.as_str(), truth.start_ms, truth.visits.len()), ("person", 100, 1));
    let visit = &truth.visits[0];
    assert_eq!((visit.id.as_str(), visit.person.as_str(), visit.from_ms, visit.to_ms), ("A1", "A", 0, 1000));
    assert_eq!(visit.boxes[0], KeyBox { at_ms: 0, bbox: BBox { x1: 1.0, y1: 2.0, x2: 3.0, y2: 4.5 } });
    assert!(parse_truth("t.yaml", "label: person\nvisits: []").unwrap().visits.is_empty());
}

#[test]
fn mistakes_in_a_truth_file_have_a_line_and_a_remedy() {
    let again = "  - { id: A1, person: A, from_ms: 500, to_ms: 900, boxes: [[500, 1, 2, 3, 4], [900, 1, 2, 3, 4]] }\n";
    let twice = format!("{FILE}{again}");
    let cut = |from: &str, to: &str| FILE.replace(from, to);
    let table = [
        (String::new(), "`label` is missing", "1", "add `label:`"),
        (cut("to_ms", "too_ms"), "unknown key `too_ms`", "7", "did you mean `to_ms`?"),
        (cut("from_ms: 0", "from_ms: soon"), "expected a whole number, found \"soon\"", "6", "give a number"),
        (cut("[0, 1, 2, 3, 4.5]", "[0, 1, 2, 3]"), "the list has 4 items", "8", "give"),
        (
            cut("[0, 1,", "[0, 3,"),
            "the box [3, 2, 3, 4.5] has no area",
            "8",
            "[ms, left, top, right, bottom]",
        ),
        (
            cut("[1000, 1,", "[0, 1,"),
            "the box at 0 ms comes after one at 0 ms",
            "8",
            "order the boxes by time",
        ),
        (
            cut("[[0,", "[[10,"),
            "the first box is at 10 ms, after from_ms (0 ms)",
            "8",
            "add a box at from_ms",
        ),
        (
            cut("to_ms: 1000", "to_ms: 1001"),
            "the last box is at 1000 ms, before to_ms",
            "8",
            "add a box at to_ms",
        ),
        (
            cut("from_ms: 0", "from_ms: 2000"),
            "the visit ends at 1000 ms, before from_ms",
            "7",
            "at or after from_ms",
        ),
        (twice.clone(), "two visits have the id \"A1\"", "9", "an id of its own"),
        (twice, "\"A\" is in view as A1 at the same time", "9", "name another person"),
    ];
    for (text, message, line, remedy) in table {
        let message_text = parse_truth("t.yaml", &text).unwrap_err().to_string();
        assert!(message_text.starts_with("truth t.yaml has "), "{message_text}");
        let place = format!("--> t.yaml:{line}:");
        assert!(
            message_text.contains(message) && message_text.contains(&place) && message_text.contains(remedy),
            "{message}: {message_text}"
        );
    }
}
