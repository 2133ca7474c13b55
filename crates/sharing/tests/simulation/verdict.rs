//! The verdict over the records that the sink has accepted.

use std::collections::BTreeMap;

use sharing::{CameraKey, PendingRecord};

/// The records of one camera in the sink.
#[derive(Default)]
struct CameraLog {
    /// The first occurrence of each number: id and body.
    first: BTreeMap<u64, (String, Vec<u8>)>,
    /// The id under which each happening of the footage was reported.
    happenings: BTreeMap<(u64, u8), String>,
    last_epoch: u64,
}

/// Everything that the sink has accepted, judged record by record.
#[derive(Default)]
pub(crate) struct Verdict {
    logs: BTreeMap<CameraKey, CameraLog>,
    pub(crate) records: u64,
    pub(crate) repeats: u64,
    pub(crate) faults: Vec<String>,
}

/// Builds the body of a record: the frame and the index of the happening in it.
pub(crate) fn body(frame: u64, index: u8) -> Vec<u8> {
    let mut body = frame.to_be_bytes().to_vec();
    body.push(index);
    // About the size of an event's JSON.
    body.resize(700, b' ');
    body
}

fn happening(body: &[u8]) -> (u64, u8) {
    (u64::from_be_bytes(body[..8].try_into().unwrap()), body[8])
}

impl Verdict {
    /// Takes a record that a worker with this epoch has sent.
    pub(crate) fn accept(&mut self, camera: &CameraKey, epoch: u64, record: &PendingRecord) {
        self.records += 1;
        let log = self.logs.entry(camera.clone()).or_default();
        let (id, seq) = (record.id.to_string(), record.seq);
        if let Some((known, bytes)) = log.first.get(&seq) {
            self.repeats += 1;
            if *known != id || bytes[..] != record.body[..] {
                self.faults.push(format!("P1: record {seq} of {camera} has two ids: {known} and {id}"));
            }
            return;
        }
        let last = log.first.last_key_value().map_or(0, |(seq, _)| *seq);
        if seq < last {
            self.faults.push(format!("P3: record {seq} of {camera} comes for the first time after {last}"));
        }
        if epoch < log.last_epoch {
            self.faults.push(format!(
                "P4: epoch {epoch} of {camera} sends record {seq} after epoch {}",
                log.last_epoch
            ));
        }
        log.last_epoch = log.last_epoch.max(epoch);
        let happening = happening(&record.body);
        if let Some(known) = log.happenings.insert(happening, id.clone()) {
            self.faults.push(format!("P1: {happening:?} of {camera} has two ids: {known} and {id}"));
        }
        log.first.insert(seq, (id, record.body.to_vec()));
    }

    /// Returns the happenings of one camera that were reported.
    pub(crate) fn happenings(&self, camera: &CameraKey) -> Vec<(u64, u8)> {
        self.logs.get(camera).map_or_else(Vec::new, |log| log.happenings.keys().copied().collect())
    }

    /// Checks that the numbers of each camera have no gap.
    pub(crate) fn check_gaps(&mut self) {
        for (camera, log) in &self.logs {
            let last = log.first.last_key_value().map_or(0, |(seq, _)| *seq);
            if log.first.len() as u64 != last {
                self.faults.push(format!("P2: {camera} has {} of {last} records", log.first.len()));
            }
        }
    }
}
