//! Compares a run with kills and faults with one without.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;

use super::aws::Delivered;

/// The fate of the events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The number of expected events.
    pub(crate) events: usize,
    /// Ids of those that Kinesis, DynamoDB or S3 lacks or has otherwise, and which of them.
    pub(crate) lost: BTreeSet<(String, Place)>,
    /// Ids that are not among them, at Kinesis or DynamoDB.
    pub(crate) second_id: BTreeSet<String>,
    /// Ids with more than one item.
    pub(crate) twice: BTreeSet<String>,
    /// Cameras of which Kinesis had an event before an earlier one, where each counts when it came first.
    pub(crate) out_of_order: BTreeSet<String>,
    /// The number of records that came to Kinesis again, which is no fault.
    pub(crate) again: usize,
}

/// The service that should have an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Kinesis,
    DynamoDb,
    S3,
}

impl Verdict {
    /// Compares what was delivered with what is right.
    pub(crate) fn of(right: &Delivered, delivered: &Delivered) -> Self {
        let (wanted, found) = (first_by_id(&right.records), first_by_id(&delivered.records));
        let (items_wanted, items_found) = (items_by_id(&right.items), items_by_id(&delivered.items));
        let differs = |id: &str, place: Place| match place {
            Place::Kinesis => found.get(id) != wanted.get(id),
            Place::DynamoDb => {
                items_found.get(id).map(|found| found[0]) != items_wanted.get(id).map(|all| all[0])
            }
            Place::S3 => objects(right, id) != objects(delivered, id),
        };
        let all = wanted.keys().flat_map(|id| Place::ALL.map(|place| ((*id).to_owned(), place)));
        let strange = found.keys().chain(items_found.keys()).filter(|id| !wanted.contains_key(*id));
        let twice = items_found.iter().filter(|(_, items)| items.len() > 1).map(|(id, _)| id);
        Self {
            events: wanted.len(),
            lost: all.filter(|(id, place)| differs(id, *place)).collect(),
            second_id: strange.map(|id| (*id).to_owned()).collect(),
            twice: twice.map(|id| (*id).to_owned()).collect(),
            out_of_order: out_of_order(&delivered.records),
            again: delivered.records.len() - found.len(),
        }
    }

    /// Returns whether nothing is wrong.
    pub(crate) fn is_well(&self) -> bool {
        let Self { lost, second_id, twice, out_of_order, .. } = self;
        lost.is_empty() && second_id.is_empty() && twice.is_empty() && out_of_order.is_empty()
    }

    /// Returns the number of events that are lost anywhere.
    fn count_lost(&self) -> usize {
        self.lost.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len()
    }

    /// Takes in that of other footage.
    pub(crate) fn add(&mut self, mut other: Self) {
        self.events += other.events;
        self.lost.append(&mut other.lost);
        self.second_id.append(&mut other.second_id);
        self.twice.append(&mut other.twice);
        self.out_of_order.append(&mut other.out_of_order);
        self.again += other.again;
    }
}

impl Place {
    const ALL: [Self; 3] = [Self::Kinesis, Self::DynamoDb, Self::S3];
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { events, second_id, twice, .. } = self;
        let (lost, second_id, twice) = (self.count_lost(), second_id.len(), twice.len());
        write!(f, "{events} events, {lost} lost, {second_id} under a second id, {twice} twice in DynamoDB")
    }
}

fn out_of_order(records: &[Value]) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let mut last = BTreeMap::new();
    let mut cameras = BTreeSet::new();
    for record in records.iter().filter(|record| known.insert(id(record))) {
        let (camera, seq) = (record["camera_id"].as_str().unwrap(), record["seq"].as_u64().unwrap());
        if last.insert(camera, seq) > Some(seq) {
            cameras.insert(camera.to_owned());
        }
    }
    cameras
}

fn first_by_id(records: &[Value]) -> BTreeMap<&str, &Value> {
    let mut first = BTreeMap::new();
    for record in records {
        first.entry(id(record)).or_insert(record);
    }
    first
}

fn items_by_id(
    items: &[HashMap<String, AttributeValue>],
) -> BTreeMap<&str, Vec<&HashMap<String, AttributeValue>>> {
    let mut by_id = BTreeMap::<&str, Vec<_>>::new();
    for item in items {
        by_id.entry(item["event_id"].as_s().unwrap().as_str()).or_default().push(item);
    }
    by_id
}

/// Pictures have the first 12 characters of their event's id in their names.
fn objects<'a>(delivered: &'a Delivered, id: &str) -> Vec<(&'a String, &'a String)> {
    let id = &id[..id.len().min(12)];
    delivered.objects.iter().filter(|(key, _)| key.contains(id)).collect()
}

/// The id of a record.
pub(crate) fn id(record: &Value) -> &str {
    record["event_id"].as_str().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(id: &str, seq: u64) -> Value {
        json!({ "event_id": id, "camera_id": "front", "seq": seq })
    }

    fn item(id: &str, ts_ms: u64) -> HashMap<String, AttributeValue> {
        let id = AttributeValue::S(id.to_owned());
        [("event_id".to_owned(), id), ("ts_ms".to_owned(), AttributeValue::N(ts_ms.to_string()))].into()
    }

    fn right() -> Delivered {
        Delivered {
            records: vec![record("a", 1), record("b", 2)],
            items: vec![item("a", 1), item("b", 2)],
            objects: [("1-a.jpg", "x"), ("2-b.jpg", "y")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        }
    }

    #[test]
    fn each_fault_is_counted() {
        let verdict = |change: fn(&mut Delivered)| {
            let mut delivered = right();
            change(&mut delivered);
            let verdict = Verdict::of(&right(), &delivered);
            assert_eq!(
                verdict.is_well(),
                verdict.to_string().contains("2 events, 0 lost, 0 under a second id, 0 twice")
            );
            (verdict.count_lost(), verdict.second_id.len(), verdict.twice.len(), verdict.again)
        };
        type Case = (&'static str, fn(&mut Delivered), (usize, usize, usize, usize));
        let table: [Case; 10] = [
            ("all is well", |_| {}, (0, 0, 0, 0)),
            ("a record again", |delivered| delivered.records.push(record("a", 1)), (0, 0, 0, 1)),
            ("no record", |delivered| drop(delivered.records.pop()), (1, 0, 0, 0)),
            ("another seq", |delivered| delivered.records[1] = record("b", 3), (1, 0, 0, 0)),
            ("no item", |delivered| drop(delivered.items.pop()), (1, 0, 0, 0)),
            ("another item", |delivered| delivered.items[1] = item("b", 3), (1, 0, 0, 0)),
            ("two items", |delivered| delivered.items.push(item("b", 3)), (0, 0, 1, 0)),
            ("no picture", |delivered| drop(delivered.objects.pop_last()), (1, 0, 0, 0)),
            ("a strange record", |delivered| delivered.records.push(record("c", 3)), (0, 1, 0, 0)),
            ("a strange item", |delivered| delivered.items.push(item("c", 3)), (0, 1, 0, 0)),
        ];
        for (name, change, expected) in table {
            assert_eq!(verdict(change), expected, "{name}");
        }
    }

    #[test]
    fn an_order_is_that_of_the_first_of_each() {
        let [a, b, c] = [record("a", 1), record("b", 2), record("c", 3)];
        let other = json!({ "event_id": "o", "camera_id": "back", "seq": 1 });
        let front: BTreeSet<String> = ["front".to_owned()].into();
        for (name, records, expected) in [
            ("once", vec![&a, &b, &other, &c], BTreeSet::new()),
            ("again", vec![&a, &b, &a, &c, &b], BTreeSet::new()),
            ("one too early", vec![&a, &c, &b, &other], front.clone()),
            ("one too early, and again", vec![&b, &a, &b, &c], front),
        ] {
            let delivered =
                Delivered { records: records.into_iter().cloned().collect(), ..Delivered::default() };
            let verdict = Verdict::of(&Delivered::default(), &delivered);
            assert_eq!(verdict.out_of_order, expected, "{name}");
        }
    }
}
