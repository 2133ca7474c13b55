//! Records that wait for Kinesis, in order by camera.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tokio::time::Instant;

use crate::base::Backoff;
use crate::delivery::OutboxRecord;
use crate::delivery::retry_backoff;
use crate::media::CameraId;

/// Records in one call at most. Source: PutRecords API reference, 2026-11.
pub(crate) const MOST_RECORDS: usize = 500;
/// Bytes in one call at most, partition keys included. Source: the same.
pub(crate) const MOST_BYTES: usize = 5 * 1024 * 1024;

/// The waiting records. At most the first of each camera is ever under way, so that order by camera holds.
#[derive(Debug, Default)]
pub(crate) struct RecordQueue {
    lines: BTreeMap<CameraId, Line>,
    count: usize,
    /// The camera that the last batch ended with: the next one starts behind it, so that all have their turn.
    after: Option<CameraId>,
}

/// One camera's records.
#[derive(Debug)]
struct Line {
    records: VecDeque<Arc<OutboxRecord>>,
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl Default for Line {
    fn default() -> Self {
        Self { records: VecDeque::new(), backoff: retry_backoff(), not_before: None }
    }
}

impl RecordQueue {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn push(&mut self, record: Arc<OutboxRecord>) {
        self.lines.entry(record.camera.clone()).or_default().records.push_back(record);
        self.count += 1;
    }

    /// Puts the records aside that are left out.
    pub(crate) fn remove(&mut self, is_left_out: impl Fn(&OutboxRecord) -> bool) {
        for line in self.lines.values_mut() {
            line.records.retain(|record| !is_left_out(record));
        }
        self.lines.retain(|_, line| !line.records.is_empty());
        self.count = self.lines.values().map(|line| line.records.len()).sum();
    }

    /// The first record of each camera that is ready, as many as one call takes.
    pub(crate) fn batch(&mut self, now: Instant) -> Vec<Arc<OutboxRecord>> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        for record in self.heads(now) {
            bytes += record.json.len() + record.camera.as_str().len();
            if batch.len() == MOST_RECORDS || bytes > MOST_BYTES {
                break;
            }
            batch.push(Arc::clone(record));
        }
        self.after = batch.last().map(|record| record.camera.clone());
        batch
    }

    /// The first records that are ready, from the camera behind the last one served.
    fn heads(&self, now: Instant) -> impl Iterator<Item = &Arc<OutboxRecord>> {
        let after = self.after.as_ref();
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let before = after.map(|after| self.lines.range::<CameraId, _>(..=after));
        let lines = self.lines.range::<CameraId, _>(behind).chain(before.into_iter().flatten());
        lines
            .filter(move |(_, line)| line.not_before.is_none_or(|ready| ready <= now))
            .filter_map(|(_, line)| line.records.front())
    }

    /// When the next record becomes ready; `None` where none waits for its time.
    pub(crate) fn next_ready(&self) -> Option<Instant> {
        self.lines.values().filter_map(|line| line.not_before).min()
    }

    /// The camera's first record was accepted.
    pub(crate) fn accepted(&mut self, camera: &CameraId) {
        let Some(line) = self.lines.get_mut(camera) else { return };
        self.count -= usize::from(line.records.pop_front().is_some());
        if line.records.is_empty() {
            self.lines.remove(camera);
        } else {
            line.backoff.reset();
            line.not_before = None;
        }
    }

    /// The camera's first record was refused: it is tried again after a while.
    pub(crate) fn refused(&mut self, camera: &CameraId, now: Instant) {
        if let Some(line) = self.lines.get_mut(camera) {
            line.not_before = Some(now + line.backoff.next_wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::delivery::outbox_record::RecordHeader;

    fn record(camera: &str, number: usize, bytes: usize) -> Arc<OutboxRecord> {
        let json = vec![b'x'; bytes].into();
        let (event_id, id) = (number.to_string(), ::outbox::EntryId(number as u64));
        let header = RecordHeader {
            event_id,
            ts_ms: 0,
            seq: 0,
            arrived_ms: 0,
            incident_id: String::new(),
            place: None,
        };
        Arc::new(OutboxRecord { id, camera: CameraId::new(camera), header, json, pictures: Vec::new() })
    }

    fn ids(batch: &[Arc<OutboxRecord>]) -> Vec<String> {
        batch.iter().map(|record| format!("{}{}", record.camera, record.header.event_id)).collect()
    }

    #[tokio::test]
    async fn one_record_a_camera_is_under_way_and_order_holds() {
        let (mut waiting, now) = (RecordQueue::default(), Instant::now());
        for (camera, number) in [("a", 1), ("a", 2), ("b", 1), ("a", 3)] {
            waiting.push(record(camera, number, 10));
        }
        assert_eq!(ids(&waiting.batch(now)), ["a1", "b1"]);
        waiting.accepted(&CameraId::new("b"));
        assert_eq!(ids(&waiting.batch(now)), ["a1"], "not accepted yet");
        waiting.accepted(&CameraId::new("a"));
        waiting.refused(&CameraId::new("a"), now);
        let later = now + Duration::from_secs(1);
        assert_eq!(ids(&waiting.batch(later)), ["a2"], "the refused one goes first");
        assert!(waiting.next_ready().is_some_and(|ready| ready <= later));
        assert_eq!(waiting.len(), 2);
    }

    #[tokio::test]
    async fn records_that_are_put_aside_hold_up_no_other() {
        let (mut waiting, now) = (RecordQueue::default(), Instant::now());
        for (camera, number) in [("a", 1), ("b", 1), ("a", 2), ("b", 2)] {
            waiting.push(record(camera, number, 10));
        }
        waiting.refused(&CameraId::new("a"), now);
        waiting.remove(|record| record.camera.as_str() == "a" || record.header.event_id == "1");
        assert_eq!((waiting.len(), waiting.next_ready()), (1, None));
        assert_eq!(ids(&waiting.batch(now)), ["b2"]);
    }

    #[tokio::test]
    async fn a_call_is_bounded_and_all_have_their_turn() {
        let (mut waiting, now) = (RecordQueue::default(), Instant::now());
        for camera in 0..700 {
            waiting.push(record(&format!("{camera:03}"), 1, 10));
        }
        let (first, second) = (waiting.batch(now), waiting.batch(now));
        assert_eq!((first.len(), ids(&first)[0].as_str()), (500, "0001"));
        assert_eq!((second.len(), ids(&second)[0].as_str()), (500, "5001"));
        assert!(ids(&second).contains(&"0001".to_owned()), "then the first ones again");
    }

    #[tokio::test]
    async fn bytes_bound_a_call() {
        let (mut waiting, now) = (RecordQueue::default(), Instant::now());
        for camera in 0..8 {
            waiting.push(record(&camera.to_string(), 1, 1024 * 1024 - 1));
        }
        assert_eq!(waiting.batch(now).len(), 5, "5 MiB with the partition keys");
    }
}
