//! The report as a file: what is in it, and that it depends on the incidents alone.

use std::collections::BTreeMap;

use super::*;
use crate::media::Phase;
use crate::replay::comparison::{ReplayedFootage, compare};
use crate::replay::incident_facts::IncidentFacts;
use crate::replay::incident_facts::testing::{incident, record};
use crate::status::testing::event;

const SPAN: ReplaySpan = ReplaySpan { from_ms: 1_795_000_000_000, to_ms: 1_795_000_060_000 };
const HOSTILE: &str = "</script><img src=x onerror=alert(1)>&'\"";

fn coverage() -> FootageCoverage {
    let (first_ms, last_ms) = (Some(SPAN.from_ms), Some(SPAN.to_ms));
    FootageCoverage { fragments: 30, footage_ms: 60_000, first_ms, last_ms, ..FootageCoverage::default() }
}

fn facts(id: &str, second: i64) -> IncidentFacts {
    incident(&[record(id, Phase::Start, SPAN.from_ms + second * 1_000)])
}

fn input(before: Vec<IncidentFacts>, now: Vec<IncidentFacts>) -> ReportInput {
    let cameras = BTreeMap::from([("front".to_owned(), coverage())]);
    let comparison = compare(before, now, &ReplayedFootage { span: SPAN, cameras: &cameras });
    let (id, stream) = ("front".to_owned(), "front-stream".to_owned());
    ReportInput {
        span: SPAN,
        cameras: vec![ReportCamera { id, stream, coverage: coverage() }],
        models: vec![event("e").payload.extras.model],
        config_sha256: "0".repeat(64),
        compared_with: Some("events".to_owned()),
        comparison,
        has_snapshots: true,
        snapshots: SnapshotStore::new(None, None),
        before_snapshots: SnapshotStore::new(None, None),
    }
}

async fn written(input: ReportInput) -> (String, ReportFigures) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("report.html");
    let figures = write_report(input, &path).await.unwrap();
    (std::fs::read_to_string(path).unwrap(), figures)
}

/// Returns the data of a report.
fn data(report: &str) -> serde_json::Value {
    let (_, from) = report.split_once("<script id=\"data\" type=\"application/json\">").unwrap();
    serde_json::from_str(from.split_once("</script>").unwrap().0).unwrap()
}

#[tokio::test]
async fn a_report_is_whole_and_the_same_for_the_same_incidents() {
    let made = || input(vec![facts("a", 5), facts("b", 20)], vec![facts("a", 5), facts("c", 40)]);
    let ((report, figures), (again, _)) = (written(made()).await, written(made()).await);
    assert_eq!(report, again);
    assert_eq!((figures.same, figures.gone, figures.new, figures.changed), (1, 1, 1, 0));
    let data = data(&report);
    let changes: Vec<&str> = data["incidents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|incident| incident["change"].as_str().unwrap())
        .collect();
    assert_eq!(changes, ["same", "gone", "new"]);
    assert_eq!(data["totals"][0]["before"], 2);
    for mark in ["/*STYLE*/", "/*DATA*/", "/*SCRIPT*/", "http://", "https://"] {
        assert!(!report.contains(mark), "{mark}");
    }
}

#[tokio::test]
async fn a_hostile_text_cannot_end_the_data() {
    let mut now = facts("a", 5);
    (now.label, now.text) = (HOSTILE.to_owned(), Some("<!--".to_owned()));
    now.zones = [HOSTILE.to_owned()].into();
    let (report, _) = written(input(Vec::new(), vec![now])).await;
    assert_eq!(data(&report)["incidents"][0]["now"]["label"], HOSTILE);
    assert!(!report.contains("onerror=alert(1)>"), "neither in the data nor in the page");
    assert_eq!(report.matches("</script>").count(), 2);
}

#[tokio::test]
async fn pictures_are_in_the_file_once_each() {
    let place = tempfile::tempdir().unwrap();
    let picture = include_bytes!("../../../testdata/plates.png");
    std::fs::write(place.path().join("1.png"), picture).unwrap();
    let with_picture = |id, second| {
        let mut facts = facts(id, second);
        facts.snapshot = Some("1.png".to_owned());
        facts
    };
    let mut lost = facts("lost", 50);
    lost.snapshot = Some("gone.jpg".to_owned());
    let mut input = input(Vec::new(), vec![with_picture("a", 5), with_picture("b", 20), lost]);
    input.snapshots = SnapshotStore::new(Some(place.path().to_owned()), None);
    let (report, figures) = written(input).await;
    let data = data(&report);
    assert_eq!(data["pictures"].as_array().unwrap().len(), 1);
    let indices: Vec<_> = (0..3).map(|at| data["incidents"][at]["now_picture"].as_u64()).collect();
    assert_eq!((indices, figures.pictures_left_out), (vec![Some(0), Some(0), None], 0));
}

#[test]
fn differences_stay_listed_where_there_are_too_many_incidents() {
    let same = |index: i64| ComparedIncident {
        change: IncidentChange::Same,
        now: Some(facts("s", index)),
        before: None,
        differences: Vec::new(),
        is_cut: false,
    };
    let one = same(1);
    let mut incidents: Vec<ComparedIncident> = vec![one; MAX_LISTED + 5];
    incidents[MAX_LISTED + 2].change = IncidentChange::Gone;
    let listed = listed(&incidents);
    assert_eq!(listed.len(), MAX_LISTED);
    assert_eq!(listed.last().unwrap().change, IncidentChange::Gone);
}
