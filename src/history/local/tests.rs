//! The index against a plain reading of all files, over rotations, repeats, crashes and damage.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::delivery::{Journal, JournalLimits, aged};
use crate::history::{IncidentFilter, comparable_text};
use crate::sinks::{EVENTS_FILE, EVENTS_FILES};

const LIMITS: JournalLimits =
    JournalLimits { file_bytes: 3_000, files: EVENTS_FILES, head: "{\"event_id\":\"" };

/// A folder with its writer and its reader.
struct Folder {
    root: TempDir,
    journal: Option<Journal>,
    history: LocalHistory,
    seq: u64,
}

impl Folder {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let history = LocalHistory::new(root.path());
        let mut folder = Self { root, journal: None, history, seq: 0 };
        folder.open_journal();
        folder
    }

    fn open_journal(&mut self) {
        self.journal = Some(Journal::open(&self.events(), LIMITS).unwrap());
    }

    fn path(&self) -> &Path {
        self.root.path()
    }

    fn events(&self) -> PathBuf {
        self.path().join(EVENTS_FILE)
    }

    fn append(&mut self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.journal.as_mut().unwrap().append(text.as_bytes()).unwrap();
    }

    /// Appends a record of an incident, with its number as time, and these properties.
    fn record(&mut self, incident: &str, phase: &str, over: &Value) -> String {
        self.seq += 1;
        let line = line(incident, phase, self.seq, over);
        self.append(std::slice::from_ref(&line));
        line
    }

    fn reopen(&mut self) {
        self.history = LocalHistory::new(self.root.path());
    }

    fn page(&self, filter: IncidentFilter, limit: usize, cursor: Option<&str>) -> IncidentPage {
        let cursor = cursor.map(|cursor| cursor.parse().unwrap());
        self.history.page(&IncidentQuery { filter, limit, cursor }).unwrap()
    }

    fn ids(&self) -> Vec<String> {
        let page = self.page(IncidentFilter::default(), 200, None);
        page.incidents.into_iter().map(|incident| incident.incident_id).collect()
    }

    /// Asserts that the index and a plain reading give the same incidents, by each filter.
    fn assert_twins(&self) {
        let plain = plain_incidents(self.path());
        for (name, filter) in filters() {
            let mut expected: Vec<&Value> = plain.iter().filter(|one| is_wanted(one, &filter)).collect();
            let (mut cursor, mut found) = (None, Vec::new());
            loop {
                let page = self.page(filter.clone(), 3, cursor.as_deref());
                found.extend(page.incidents);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            for incident in found {
                let text = serde_json::to_string(&incident).unwrap();
                let expected = (!expected.is_empty()).then(|| expected.remove(0));
                assert_eq!(Some(&serde_json::from_str::<Value>(&text).unwrap()), expected, "{name}");
            }
            assert!(expected.is_empty(), "{name}: {expected:?}");
        }
    }
}

/// Returns a line with these properties laid over those of a person.
fn line(incident: &str, phase: &str, seq: u64, over: &Value) -> String {
    let event = if phase == "start" { incident.to_owned() } else { format!("{incident}-{seq}") };
    let mut extras = json!({ "incident_id": incident, "phase": phase, "zones": [] });
    let mut payload = json!({ "type": "objects", "label": "person", "conf": 0.5, "ts_ms": seq * 1000 });
    for (name, value) in over.as_object().unwrap() {
        let is_payload = ["label", "conf", "ts_ms", "type"].contains(&name.as_str());
        let place = if is_payload { &mut payload } else { &mut extras };
        place[name] = value.clone();
    }
    payload["extras"] = extras;
    let camera = if incident.len().is_multiple_of(2) { "gate" } else { "yard" };
    // The order of the fields is that of the program's events.
    let (event, payload) = (json!(event), payload);
    format!("{{\"event_id\":{event},\"camera_id\":\"{camera}\",\"seq\":{seq},\"payload\":{payload}}}")
}

fn filters() -> Vec<(&'static str, IncidentFilter)> {
    let own = |text: &str| Some(text.to_owned());
    let none = IncidentFilter::default;
    vec![
        ("none", none()),
        ("camera", IncidentFilter { cameras: vec!["gate".into()], ..none() }),
        ("label", IncidentFilter { label: own("car"), ..none() }),
        ("type", IncidentFilter { kind: own("alpr"), ..none() }),
        ("zone", IncidentFilter { zone: own("door"), ..none() }),
        ("text", IncidentFilter { text: own("b1"), ..none() }),
        ("from", IncidentFilter { from_ms: Some(9_000), ..none() }),
        ("to", IncidentFilter { to_ms: Some(9_000), ..none() }),
        ("span", IncidentFilter { from_ms: Some(5_000), to_ms: Some(12_000), ..none() }),
        (
            "all",
            IncidentFilter { cameras: vec!["yard".into()], label: own("car"), zone: own("door"), ..none() },
        ),
    ]
}

/// Reads all files and sums up the incidents, newest first.
fn plain_incidents(folder: &Path) -> Vec<Value> {
    let mut records: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for age in (0..EVENTS_FILES).rev() {
        let Ok(text) = fs::read_to_string(aged(&folder.join(EVENTS_FILE), age)) else { continue };
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            let id = |value: &Value| value.as_str().unwrap().to_owned();
            let incident = id(&event["payload"]["extras"]["incident_id"]);
            records.entry(incident).or_default().insert(id(&event["event_id"]), event);
        }
    }
    let mut incidents: Vec<Value> = records
        .into_values()
        .map(|records| plain_summary(&records.into_values().collect::<Vec<_>>()))
        .collect();
    let key = |one: &Value| (one["start_ms"].as_i64(), one["incident_id"].as_str().map(str::to_owned));
    incidents.sort_by_key(key);
    incidents.reverse();
    incidents
}

fn plain_summary(records: &[Value]) -> Value {
    let mut sorted: Vec<&Value> = records.iter().collect();
    sorted.sort_by_key(|event| (event["seq"].as_u64(), event["event_id"].as_str()));
    let extras = |event: &&&Value, name: &str| event["payload"]["extras"].get(name).cloned();
    let newest = |name: &str| sorted.iter().rev().find_map(|event| extras(&event, name));
    let times: Vec<i64> = sorted.iter().map(|event| event["payload"]["ts_ms"].as_i64().unwrap()).collect();
    let conf = |event: &&&Value| event["payload"]["conf"].as_f64().unwrap();
    let zones: BTreeSet<String> = sorted
        .iter()
        .flat_map(|event| serde_json::from_value::<Vec<String>>(extras(&event, "zones").unwrap()).unwrap())
        .collect();
    let ends: Vec<&&Value> =
        sorted.iter().filter(|event| event["payload"]["extras"]["phase"] == "end").collect();
    let pictured = || sorted.iter().filter(|event| extras(event, "snapshot").is_some());
    // The last end with a picture; what follows it wins only with a higher confidence.
    let last_end = pictured().rposition_of(|event| event["payload"]["extras"]["phase"] == "end");
    let candidates: Vec<&&Value> = pictured().skip(last_end.unwrap_or(0)).collect();
    let best =
        candidates.iter().copied().reduce(|best, one| if conf(&one) > conf(&best) { one } else { best });
    let last = sorted.last().unwrap();
    let mut summary = json!({
        "incident_id": last["payload"]["extras"]["incident_id"],
        "camera_id": last["camera_id"],
        "type": last["payload"]["type"],
        "label": last["payload"]["label"],
        "zones": zones,
        "conf": sorted.iter().map(|event| conf(&event)).fold(0.0, f64::max),
        "start_ms": times.iter().min(),
        "last_ms": times.iter().max(),
        "end_ms": ends.last().map(|event| event["payload"]["ts_ms"].clone()),
        "phase": last["payload"]["extras"]["phase"],
        "records": sorted.len(),
        "has_snapshot": best.is_some(),
        "snapshot_event": best.map(|event| event["event_id"].clone()),
    });
    for name in ["text", "clip"] {
        if let Some(value) = newest(name) {
            summary[name] = value;
        }
    }
    summary
}

/// The position of the last item with a property.
trait RpositionOf<T>: Iterator<Item = T> + Sized {
    fn rposition_of(self, is: impl Fn(&T) -> bool) -> Option<usize> {
        self.enumerate().filter(|(_, item)| is(item)).map(|(at, _)| at).last()
    }
}

impl<T, I: Iterator<Item = T>> RpositionOf<T> for I {}

fn is_wanted(incident: &Value, filter: &IncidentFilter) -> bool {
    let is = |name: &str, wanted: &Option<String>| {
        wanted.as_ref().is_none_or(|wanted| incident[name].as_str() == Some(wanted))
    };
    let text = comparable_text(incident["text"].as_str().unwrap_or_default());
    (filter.cameras.is_empty() || filter.cameras.iter().any(|camera| incident["camera_id"] == **camera))
        && is("label", &filter.label)
        && is("type", &filter.kind)
        && filter.text.as_ref().is_none_or(|part| text.contains(part))
        && filter.zone.as_ref().is_none_or(|zone| {
            incident["zones"].as_array().unwrap().iter().any(|found| found == zone.as_str())
        })
        && filter.from_ms.is_none_or(|from| incident["last_ms"].as_i64().unwrap() >= from)
        && filter.to_ms.is_none_or(|to| incident["start_ms"].as_i64().unwrap() <= to)
}

/// A step of a folder's life.
#[derive(Clone, Debug)]
enum LifeStep {
    /// Records: incident, phase, properties.
    Append(Vec<(u8, u8, u8)>),
    /// An earlier line is appended again.
    Repeat(Index),
    /// The writer dies within a line, and starts again.
    Torn,
    /// The reader starts again.
    Reopen,
    /// The index is deleted, while it is open or before it is opened.
    Delete(bool),
    /// Bytes of the index are changed while it is closed.
    Damage(Index),
}

fn steps() -> impl Strategy<Value = Vec<LifeStep>> {
    let records = prop::collection::vec((0..9_u8, 0..4_u8, any::<u8>()), 1..8);
    let step = prop_oneof![
        6 => records.prop_map(LifeStep::Append),
        2 => any::<Index>().prop_map(LifeStep::Repeat),
        1 => Just(LifeStep::Torn),
        1 => Just(LifeStep::Reopen),
        1 => any::<bool>().prop_map(LifeStep::Delete),
        1 => any::<Index>().prop_map(LifeStep::Damage),
    ];
    prop::collection::vec(step, 1..14)
}

/// Returns properties by the bits of a number.
fn properties(bits: u8) -> Value {
    let mut over = json!({ "conf": f64::from(bits % 10) / 10.0 });
    for (bit, name, value) in [
        (1, "label", json!("car")),
        (2, "zones", json!(["door", "yard"])),
        (4, "text", json!("AB-1 2")),
        (8, "snapshot", json!("snapshots/gate/1.jpg")),
        (16, "type", json!("alpr")),
        (32, "clip", json!("clips/1.mp4")),
        (64, "zones", json!(["lawn"])),
        // Late: its time is before those of others.
        (128, "ts_ms", json!(500)),
    ] {
        if bits & bit != 0 {
            over[name] = value;
        }
    }
    over
}

fn live(folder: &mut Folder, step: &LifeStep, written: &mut Vec<String>) {
    match step {
        LifeStep::Append(records) => {
            for (incident, phase, bits) in records {
                let phase = ["start", "update", "update", "end"][usize::from(*phase)];
                let incident = "i".repeat(usize::from(*incident) + 1);
                written.push(folder.record(&incident, phase, &properties(*bits)));
            }
        }
        LifeStep::Repeat(at) if !written.is_empty() => {
            let line = at.get(written).clone();
            folder.append(&[line]);
        }
        LifeStep::Repeat(_) => {}
        LifeStep::Torn => {
            folder.journal = None;
            let mut file = OpenOptions::new().append(true).open(folder.events()).unwrap();
            file.write_all(b"{\"event_id\":\"torn\",\"came").unwrap();
            folder.assert_twins();
            folder.open_journal();
        }
        LifeStep::Reopen => folder.reopen(),
        LifeStep::Delete(is_open) => {
            if !is_open {
                folder.reopen();
            }
            let _missing = fs::remove_file(folder.path().join(INDEX_FILE));
        }
        LifeStep::Damage(at) => {
            folder.reopen();
            let Ok(file) = OpenOptions::new().write(true).open(folder.path().join(INDEX_FILE)) else {
                return;
            };
            let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
            file.write_all_at(&[0xA5; 64], at.index(len) as u64).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_index_answers_like_a_plain_reading_of_all_files(steps in steps()) {
        let (mut folder, mut written) = (Folder::new(), Vec::new());
        for step in &steps {
            live(&mut folder, step, &mut written);
            // Otherwise a mistake in a transaction would be hidden by building the index again.
            if !matches!(step, LifeStep::Damage(_)) {
                folder.history.fresh_index().unwrap();
            }
            folder.assert_twins();
        }
    }
}

#[test]
fn rotation_removes_what_it_deletes_and_keeps_the_rest() {
    let mut folder = Folder::new();
    folder.record("long", "start", &json!({ "zones": ["door"], "conf": 0.9 }));
    for number in 0..120 {
        folder.record(&format!("i{number}"), "start", &json!({}));
        if number % 10 == 9 {
            folder.record("long", "update", &json!({}));
            folder.assert_twins();
        }
    }
    assert!(aged(&folder.events(), EVENTS_FILES - 1).exists(), "it was rotated");
    let ids = folder.ids();
    assert!(ids.contains(&"i119".to_owned()) && !ids.contains(&"i0".to_owned()), "{ids:?}");
    let kept = |folder: &Folder| {
        let places = folder.history.fresh_index().unwrap().index.places("long").unwrap();
        places.len() as u64 == folder.history.incident("long").unwrap().unwrap().incident.records
    };
    assert!(kept(&folder), "nothing is kept of a deleted file");
    for number in 0..300 {
        folder.record(["long", "other"][number % 2], "update", &json!({}));
    }
    // All files are gone at once.
    folder.history.fresh_index().unwrap();
    folder.assert_twins();
    let long = folder.history.incident("long").unwrap().unwrap();
    assert!(long.incident.zones.is_empty() && long.incident.conf < 0.9, "its start was deleted: {long:?}");
    assert_eq!(long.records.len() as u64, long.incident.records);
    assert!(kept(&folder), "also where all files are gone at once");
}

#[test]
fn a_file_that_was_replaced_in_place_is_read_again() {
    let mut folder = Folder::new();
    folder.record("a", "start", &json!({}));
    folder.record("b", "start", &json!({}));
    assert_eq!(folder.ids(), ["b", "a"]);
    folder.journal = None;
    for (name, lines, ids) in [
        ("cut", vec![line("a", "start", 1, &json!({}))], vec!["a"]),
        (
            "another beginning",
            vec![line("c", "start", 3, &json!({})), line("d", "start", 4, &json!({}))],
            vec!["d", "c"],
        ),
        ("empty", vec![], vec![]),
    ] {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        // Written in place: the inode stays.
        fs::write(folder.events(), text).unwrap();
        assert_eq!(folder.ids(), ids, "{name}");
        folder.assert_twins();
    }
}

#[test]
fn pages_neither_repeat_nor_lose_incidents_while_others_arrive() {
    let mut folder = Folder::new();
    for number in 0..8 {
        folder.record(&format!("i{number}"), "start", &json!({ "ts_ms": 1000 + number / 3 }));
    }
    let before = folder.ids();
    let (mut seen, mut cursor) = (Vec::new(), None);
    for round in 0.. {
        let page = folder.page(IncidentFilter::default(), 3, cursor.as_deref());
        seen.extend(page.incidents.into_iter().map(|incident| incident.incident_id));
        folder.record(&format!("new{round}"), "start", &json!({}));
        folder.record("i1", "update", &json!({}));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, before);
}

#[test]
fn an_incident_has_its_records_as_they_were_delivered() {
    let mut folder = Folder::new();
    let first = folder.record("a", "start", &json!({ "own": { "z": 1, "a": [1.50] } }));
    folder.record("b", "start", &json!({}));
    let second = folder.record("a", "end", &json!({}));
    folder.append(&[first.clone(), "not JSON".to_owned(), "{}".to_owned()]);
    let detail = folder.history.incident("a").unwrap().unwrap();
    let records: Vec<&str> = detail.records.iter().map(|record| record.get()).collect();
    assert_eq!(records, [first.as_str(), second.as_str()]);
    assert_eq!((detail.incident.records, detail.incident.phase.as_str()), (2, "end"));
    assert!(folder.history.incident("c").unwrap().is_none());
    let record = |incident, event| folder.history.record(incident, event).unwrap();
    assert_eq!(record("a", "a").unwrap().event_id, "a");
    assert!(record("b", "a").is_none(), "a record of another incident");
}

#[test]
fn an_index_that_cannot_be_used_is_built_again() {
    let mut folder = Folder::new();
    folder.record("a", "start", &json!({}));
    let index = folder.path().join(INDEX_FILE);
    for content in [&b""[..], b"short", &[0xA5; 100_000]] {
        folder.reopen();
        fs::write(&index, content).unwrap();
        assert_eq!(folder.ids(), ["a"], "{} bytes", content.len());
    }
    folder.reopen();
    let known = redb::Database::open(&index).unwrap();
    let meta: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
    let write = known.begin_write().unwrap();
    write.open_table(meta).unwrap().insert("version", 99).unwrap();
    write.commit().unwrap();
    drop(known);
    assert_eq!(folder.ids(), ["a"], "another version");
    folder.reopen();
    let rebuilt = redb::Database::open(&index).unwrap();
    let version = redb::ReadableDatabase::begin_read(&rebuilt).unwrap().open_table(meta).unwrap();
    assert_eq!(version.get("version").unwrap().unwrap().value(), 1, "it was not read");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&index).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_folder_that_cannot_be_indexed_is_an_error_with_a_remedy() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let query = IncidentQuery { filter: IncidentFilter::default(), limit: 1, cursor: None };
    let error = LocalHistory::new(&file).page(&query).unwrap_err().to_string();
    assert!(error.contains("events.index") && error.contains("make room"), "{error}");
    assert_eq!(LocalHistory::new(&root.path().join("new")).page(&query).unwrap().incidents, []);
}

#[test]
fn a_large_backlog_is_indexed_in_parts() {
    let mut folder = Folder::new();
    folder.journal = None;
    let filler = "x".repeat(1_000);
    let lines =
        (0..4_000).map(|number| line(&format!("i{number:04}"), "start", number, &json!({ "own": filler })));
    let text: String = lines.map(|line| line + "\n").collect();
    fs::write(folder.events(), text).unwrap();
    folder.history.indexing_limit = Duration::ZERO;
    let query = IncidentQuery { filter: IncidentFilter::default(), limit: 1, cursor: None };
    let mut percents = Vec::new();
    let page = loop {
        match folder.history.page(&query) {
            Ok(page) => break page,
            Err(HistoryError::Indexing { percent }) => percents.push(percent),
            Err(error) => panic!("{error}"),
        }
    };
    assert!(percents.len() >= 3 && percents.is_sorted() && percents[0] > 0, "{percents:?}");
    assert_eq!(page.incidents[0].incident_id, "i3999");
}

#[test]
fn hostile_records_are_left_out_or_kept_as_text() {
    let mut folder = Folder::new();
    let hostile = "<img src=x onerror=alert(1)>\u{202e}\0";
    for id in ["", "a b", "a\n", "é", &"x".repeat(129)] {
        folder.seq += 1;
        let line = line(id, "start", folder.seq, &json!({}));
        folder.append(&[line]);
    }
    folder.record("a", "start", &json!({ "label": hostile, "zones": [hostile], "text": hostile }));
    let page =
        folder.page(IncidentFilter { label: Some(hostile.to_owned()), ..IncidentFilter::default() }, 9, None);
    assert_eq!(page.incidents.len(), 1);
    assert_eq!(
        (page.incidents[0].label.as_str(), page.incidents[0].text.as_deref()),
        (hostile, Some(hostile))
    );
    assert_eq!(folder.ids(), ["a"]);
}
