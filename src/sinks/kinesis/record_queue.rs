//! Records on their way to Kinesis, in order by camera.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tokio::time::Instant;

use crate::base::Backoff;
use crate::delivery::{OutboxRecord, retry_backoff};
use crate::media::CameraId;

/// Limit on the records of one call. Source: `PutRecords` API reference, 2026-11.
const MAX_BATCH_RECORDS: usize = 500;
/// Limit on the bytes of one call, partition keys included. Source: the same.
const MAX_BATCH_BYTES: usize = 5 * 1024 * 1024;

/// The waiting records. At most the first of each camera is under way, so that order by camera holds: `PutRecords` may accept the
/// second of two records and refuse the first.
#[derive(Debug, Default)]
pub(super) struct RecordQueue {
    cameras: BTreeMap<CameraId, CameraQueue>,
    count: usize,
    /// The camera that the last batch ended with: the next batch starts behind it, so that each camera has its turn.
    after: Option<CameraId>,
}

#[derive(Debug)]
struct CameraQueue {
    records: VecDeque<Arc<OutboxRecord>>,
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl Default for CameraQueue {
    fn default() -> Self {
        Self { records: VecDeque::new(), backoff: retry_backoff(), not_before: None }
    }
}

impl RecordQueue {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn push(&mut self, record: Arc<OutboxRecord>) {
        self.cameras.entry(record.camera.clone()).or_default().records.push_back(record);
        self.count += 1;
    }

    /// Removes the records that another process delivers.
    pub(super) fn remove(&mut self, is_left_out: impl Fn(&OutboxRecord) -> bool) {
        for camera in self.cameras.values_mut() {
            camera.records.retain(|record| !is_left_out(record));
        }
        self.cameras.retain(|_, camera| !camera.records.is_empty());
        self.count = self.cameras.values().map(|camera| camera.records.len()).sum();
    }

    /// Returns the first record of each camera that is ready, as many as one call takes.
    pub(super) fn batch(&mut self, now: Instant) -> Vec<Arc<OutboxRecord>> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        for record in self.heads(now) {
            bytes += record.json.len() + record.camera.as_str().len();
            // The first record always fits: it has 1 MiB at most, or was never queued.
            if batch.len() == MAX_BATCH_RECORDS || bytes > MAX_BATCH_BYTES {
                break;
            }
            batch.push(Arc::clone(record));
        }
        self.after = batch.last().map(|record| record.camera.clone());
        batch
    }

    /// Returns the first records that are ready, beginning with the camera behind the last one served.
    fn heads(&self, now: Instant) -> impl Iterator<Item = &Arc<OutboxRecord>> {
        let after = self.after.as_ref();
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let before = after.map(|after| self.cameras.range::<CameraId, _>(..=after));
        let cameras = self.cameras.range::<CameraId, _>(behind).chain(before.into_iter().flatten());
        cameras
            .filter(move |(_, camera)| camera.not_before.is_none_or(|ready| ready <= now))
            .filter_map(|(_, camera)| camera.records.front())
    }

    /// Returns the time at which the next deferred record becomes ready; `None` where none is deferred.
    pub(super) fn next_ready(&self) -> Option<Instant> {
        self.cameras.values().filter_map(|camera| camera.not_before).min()
    }

    /// Removes the camera's first record, which was accepted.
    pub(super) fn accepted(&mut self, camera: &CameraId) {
        let Some(queue) = self.cameras.get_mut(camera) else { return };
        self.count -= usize::from(queue.records.pop_front().is_some());
        if queue.records.is_empty() {
            // A camera that a reload removed must leave nothing behind.
            self.cameras.remove(camera);
        } else {
            queue.backoff.reset();
            queue.not_before = None;
        }
    }

    /// Defers the camera's first record, which was refused.
    pub(super) fn refused(&mut self, camera: &CameraId, now: Instant) {
        if let Some(queue) = self.cameras.get_mut(camera) {
            queue.not_before = Some(now + queue.backoff.next_wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::delivery::RecordHeader;

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
            boxes: Vec::new(),
            clip: None,
            epoch: None,
        };
        Arc::new(OutboxRecord { id, camera: CameraId::new(camera), header, json, pictures: Vec::new() })
    }

    fn ids(batch: &[Arc<OutboxRecord>]) -> Vec<String> {
        batch.iter().map(|record| format!("{}{}", record.camera, record.header.event_id)).collect()
    }

    #[tokio::test]
    async fn one_record_per_camera_is_under_way_and_order_holds() {
        let (mut queue, now) = (RecordQueue::default(), Instant::now());
        for (camera, number) in [("a", 1), ("a", 2), ("b", 1), ("a", 3)] {
            queue.push(record(camera, number, 10));
        }
        assert_eq!(ids(&queue.batch(now)), ["a1", "b1"]);
        queue.accepted(&CameraId::new("b"));
        assert_eq!(ids(&queue.batch(now)), ["a1"], "not accepted yet");
        queue.accepted(&CameraId::new("a"));
        queue.refused(&CameraId::new("a"), now);
        let later = now + Duration::from_secs(1);
        assert_eq!(ids(&queue.batch(later)), ["a2"], "the refused one goes first");
        assert!(queue.next_ready().is_some_and(|ready| ready <= later));
        assert_eq!(queue.len(), 2);
    }

    #[tokio::test]
    async fn removed_records_hold_up_no_other() {
        let (mut queue, now) = (RecordQueue::default(), Instant::now());
        for (camera, number) in [("a", 1), ("b", 1), ("a", 2), ("b", 2)] {
            queue.push(record(camera, number, 10));
        }
        queue.refused(&CameraId::new("a"), now);
        queue.remove(|record| record.camera.as_str() == "a" || record.header.event_id == "1");
        assert_eq!((queue.len(), queue.next_ready()), (1, None));
        assert_eq!(ids(&queue.batch(now)), ["b2"]);
    }

    #[tokio::test]
    async fn a_call_is_bounded_and_each_camera_has_its_turn() {
        let (mut queue, now) = (RecordQueue::default(), Instant::now());
        for camera in 0..700 {
            queue.push(record(&format!("{camera:03}"), 1, 10));
        }
        let (first, second) = (queue.batch(now), queue.batch(now));
        assert_eq!((first.len(), ids(&first)[0].as_str()), (500, "0001"));
        assert_eq!((second.len(), ids(&second)[0].as_str()), (500, "5001"));
        assert!(ids(&second).contains(&"0001".to_owned()), "then the first ones again");
    }

    #[tokio::test]
    async fn bytes_bound_a_call() {
        let (mut queue, now) = (RecordQueue::default(), Instant::now());
        for camera in 0..8 {
            queue.push(record(&camera.to_string(), 1, 1024 * 1024 - 1));
        }
        assert_eq!(queue.batch(now).len(), 5, "5 MiB with the partition keys");
    }
}
