//! Compares the data stream of a pool of workers with that of one undisturbed process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::verdict::id;

/// The field of a record that depends on who decided it.
const EPOCH: &str = "epoch";
/// The field of a record that was sent while the table was away.
const FENCED: &str = "fenced";

/// The promises of a pool, and those that it did not keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PoolVerdict {
    /// The number of expected events.
    pub(crate) events: usize,
    /// Camera, `seq` and id of expected events that the stream lacks.
    pub(crate) lost: BTreeSet<EventName>,
    /// Those of events that are not expected.
    pub(crate) second_id: BTreeSet<EventName>,
    /// Those of expected events that have another content.
    pub(crate) altered: BTreeSet<EventName>,
    /// Those of events whose repeat has other bytes than the first occurrence.
    pub(crate) other_bytes: BTreeSet<EventName>,
    /// Cameras whose first occurrences do not come in the order of `seq`, without a gap.
    pub(crate) out_of_order: BTreeSet<String>,
    /// Cameras with a first occurrence under an earlier epoch than the one before it.
    pub(crate) stale: BTreeSet<String>,
    /// The number of records that came again, which is no fault.
    pub(crate) repeats: usize,
    /// The number of events that say that they are possibly not in the camera's item.
    pub(crate) unfenced: usize,
    /// The number of expected events that the table of events lacks, which is no fault in a pool.
    pub(crate) without_item: usize,
}

/// Camera, `seq` and id.
type EventName = (String, u64, String);

/// The records of the first occurrences of a camera, in the order of the stream.
type FirstOccurrences<'a> = BTreeMap<&'a str, Vec<&'a Value>>;

impl PoolVerdict {
    /// Compares the records of a pool, as they are in the stream, with those of an undisturbed process. `items` are the ids of the
    /// events in the table of events.
    pub(crate) fn of(right: &[Value], stream: &[String], items: &BTreeSet<String>) -> Self {
        let records: Vec<Value> = stream.iter().map(|json| serde_json::from_str(json).unwrap()).collect();
        let wanted: BTreeMap<_, _> = right.iter().map(|record| (id(record), record)).collect();
        let mut found = BTreeMap::<&str, (&Value, &String)>::new();
        let mut first = FirstOccurrences::new();
        let mut verdict = Self { events: wanted.len(), ..Self::default() };
        for (record, json) in records.iter().zip(stream) {
            match found.get(id(record)) {
                None => {
                    found.insert(id(record), (record, json));
                    first.entry(camera(record)).or_default().push(record);
                    verdict.unfenced += usize::from(record[FENCED] == false);
                }
                Some((before, before_json)) => {
                    verdict.repeats += 1;
                    let is_same = *before_json == json || is_fenced_again(before, record);
                    verdict.other_bytes.extend((!is_same).then(|| name(record)));
                }
            }
        }
        verdict.lost = wanted.values().filter(|r| !found.contains_key(id(r))).map(|r| name(r)).collect();
        let found = found.values().map(|(record, _)| *record);
        for record in found {
            match wanted.get(id(record)) {
                None => verdict.second_id.extend([name(record)]),
                Some(wanted) if content(wanted) != content(record) => verdict.altered.extend([name(record)]),
                Some(_) => {}
            }
        }
        verdict.out_of_order = cameras_with(&first, |before, record| {
            seq(record) != before.map_or(1, seq) + u64::from(before.is_some())
        });
        verdict.stale =
            cameras_with(&first, |before, record| before.is_some_and(|before| epoch(before) > epoch(record)));
        verdict.without_item = wanted.keys().filter(|id| !items.contains(**id)).count();
        verdict
    }

    /// Returns whether every promise was kept.
    pub(crate) fn is_well(&self) -> bool {
        let Self { lost, second_id, altered, other_bytes, out_of_order, stale, .. } = self;
        let events = [lost, second_id, altered, other_bytes];
        events.into_iter().all(BTreeSet::is_empty) && out_of_order.is_empty() && stale.is_empty()
    }

    /// Adds that of another round.
    pub(crate) fn add(&mut self, mut other: Self) {
        self.events += other.events;
        self.lost.append(&mut other.lost);
        self.second_id.append(&mut other.second_id);
        self.altered.append(&mut other.altered);
        self.other_bytes.append(&mut other.other_bytes);
        self.out_of_order.append(&mut other.out_of_order);
        self.stale.append(&mut other.stale);
        self.repeats += other.repeats;
        self.unfenced += other.unfenced;
        self.without_item += other.without_item;
    }
}

impl fmt::Display for PoolVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, lost, second_id, altered, other_bytes, out_of_order, stale, .. } = self;
        write!(f, "{events} events, {} lost, {} under a second id, ", lost.len(), second_id.len())?;
        for (number, what) in [
            (altered.len(), "with another content"),
            (other_bytes.len(), "repeated with other bytes"),
            (out_of_order.len(), "cameras out of order"),
            (stale.len(), "cameras with stale news"),
        ] {
            if number > 0 {
                write!(f, "{number} {what}, ")?;
            }
        }
        let same = self.repeats - other_bytes.len().min(self.repeats);
        write!(f, "{same} repeats with the same bytes, {} without an item", self.without_item)
    }
}

/// Returns the cameras with a first occurrence of which `is_wrong` says so; it has the one before it, too.
fn cameras_with(
    first: &FirstOccurrences<'_>,
    is_wrong: impl Fn(Option<&Value>, &Value) -> bool,
) -> BTreeSet<String> {
    let has_wrong = |records: &[&Value]| {
        let before = std::iter::once(None).chain(records.iter().map(|record| Some(*record)));
        before.zip(records).any(|(before, record)| is_wrong(before, record))
    };
    first.iter().filter(|(_, records)| has_wrong(records)).map(|(camera, _)| (*camera).to_owned()).collect()
}

/// Returns whether a record that was sent while the table was away came again once it was in the item, or the other way round.
fn is_fenced_again(before: &Value, record: &Value) -> bool {
    let is_unfenced = |record: &Value| record[FENCED] == false;
    let without = |record: &Value| without(record, &[FENCED]);
    (is_unfenced(before) || is_unfenced(record)) && without(before) == without(record)
}

/// Returns what is equal, whichever worker decided the event.
fn content(record: &Value) -> Value {
    without(record, &[EPOCH, FENCED])
}

fn without(record: &Value, fields: &[&str]) -> Value {
    let mut record = record.clone();
    record.as_object_mut().unwrap().retain(|field, _| !fields.contains(&field.as_str()));
    record
}

fn name(record: &Value) -> EventName {
    (camera(record).to_owned(), seq(record), id(record).to_owned())
}

fn camera(record: &Value) -> &str {
    record["camera_id"].as_str().unwrap()
}

fn seq(record: &Value) -> u64 {
    record["seq"].as_u64().unwrap()
}

fn epoch(record: &Value) -> Option<u64> {
    record[EPOCH].as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A record of the undisturbed process: ids are `camera-seq`.
    fn record(camera: &str, seq: u64) -> Value {
        json!({ "event_id": format!("{camera}-{seq}"), "camera_id": camera, "seq": seq, "label": "red" })
    }

    fn with(mut record: Value, field: &str, value: Value) -> Value {
        record[field] = value;
        record
    }

    /// Three events of one camera and two of another, the first of the camera again under its successor.
    fn delivered() -> Vec<Value> {
        let of = |camera, seq, epoch| with(record(camera, seq), EPOCH, json!(epoch));
        vec![of("a", 1, 3), of("b", 1, 1), of("a", 2, 3), of("a", 2, 3), of("b", 2, 2), of("a", 3, 5)]
    }

    fn verdict(delivered: &[Value]) -> PoolVerdict {
        let right = [record("a", 1), record("a", 2), record("a", 3), record("b", 1), record("b", 2)];
        let stream: Vec<_> = delivered.iter().map(Value::to_string).collect();
        let items = ["a-1", "a-2", "a-3", "b-1"].map(str::to_owned);
        PoolVerdict::of(&right, &stream, &items.into())
    }

    fn names(of: &BTreeSet<EventName>) -> Vec<&str> {
        of.iter().map(|(_, _, id)| id.as_str()).collect()
    }

    #[test]
    fn repeats_with_the_same_bytes_and_missing_items_are_no_fault() {
        let verdict = verdict(&delivered());
        assert!(verdict.is_well(), "{verdict:?}");
        assert_eq!((verdict.events, verdict.repeats, verdict.without_item, verdict.unfenced), (5, 1, 1, 0));
        let text = "5 events, 0 lost, 0 under a second id, 1 repeats with the same bytes, 1 without an item";
        assert_eq!(verdict.to_string(), text);
    }

    /// Returns each fault with the event or the camera.
    fn faults(verdict: &PoolVerdict) -> Vec<String> {
        let PoolVerdict { lost, second_id, altered, other_bytes, out_of_order, stale, .. } = verdict;
        let of_events =
            [("lost", lost), ("second id", second_id), ("altered", altered), ("other bytes", other_bytes)];
        let of_events =
            of_events.into_iter().flat_map(|(fault, of)| names(of).into_iter().map(move |id| (fault, id)));
        let of_cameras = [("order", out_of_order), ("stale", stale)];
        let of_cameras =
            of_cameras.into_iter().flat_map(|(fault, of)| of.iter().map(move |id| (fault, id.as_str())));
        of_events.chain(of_cameras).map(|(fault, id)| format!("{fault} {id}")).collect()
    }

    #[test]
    fn each_broken_promise_is_found() {
        type Case = (&'static str, fn(&mut Vec<Value>), &'static [&'static str]);
        let table: [Case; 10] = [
            ("all is well", |_| {}, &[]),
            ("the last is lost", |all| drop(all.pop()), &["lost a-3"]),
            ("one is lost", |all| drop(all.drain(2..4)), &["lost a-2", "order a"]),
            ("a second id", |all| all.push(renamed(&record("a", 4))), &["second id x", "stale a"]),
            ("one event under two ids", |all| all.insert(4, renamed(&all[3])), &["second id x", "order a"]),
            (
                "another content",
                |all| all[1] = with(all[1].clone(), "label", json!("blue")),
                &["altered b-1"],
            ),
            ("a repeat with another epoch", |all| all[3] = of_epoch(&all[3], 4), &["other bytes a-2"]),
            ("in another order", |all| all.swap(0, 2), &["order a"]),
            ("news of a replaced worker", |all| all[5] = of_epoch(&all[5], 2), &["stale a"]),
            ("of another camera at the same time", |all| all.swap(4, 5), &[]),
        ];
        for (case, change, expected) in table {
            let mut all = delivered();
            change(&mut all);
            let verdict = verdict(&all);
            assert_eq!(faults(&verdict), expected, "{case}");
            assert_eq!(verdict.is_well(), expected.is_empty(), "{case}");
        }
    }

    fn renamed(record: &Value) -> Value {
        with(record.clone(), "event_id", json!("x"))
    }

    fn of_epoch(record: &Value, epoch: u64) -> Value {
        with(record.clone(), EPOCH, json!(epoch))
    }

    #[test]
    fn a_record_may_come_again_once_it_is_fenced_and_not_otherwise() {
        let [unfenced, fenced] = [json!(false), json!(null)];
        let fenced =
            |record: Value| if fenced.is_null() { record } else { with(record, FENCED, json!(true)) };
        let mut all = delivered();
        all[2] = with(all[2].clone(), FENCED, unfenced);
        all[3] = fenced(all[3].clone());
        let of_publish = verdict(&all);
        assert!(of_publish.is_well() && of_publish.unfenced == 1, "{of_publish:?}");
        all[3] = with(all[3].clone(), "label", json!("blue"));
        assert_eq!(names(&verdict(&all).other_bytes), ["a-2"]);
    }

    #[test]
    fn rounds_are_added() {
        let (mut sum, mut lossy) = (verdict(&delivered()), delivered());
        lossy.pop();
        sum.add(verdict(&lossy));
        assert_eq!((sum.events, sum.repeats, names(&sum.lost), sum.is_well()), (10, 2, vec!["a-3"], false));
    }
}
