//! The state that decide keeps of one camera, and its version.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, de};

use super::SnapshotSource;
use super::tracker::{MAX_OBJECTS, Tracker};

/// Version of the state's format; a state of another version is refused.
pub(crate) const VERSION: u32 = 2;

/// The state that decide keeps of one camera, as a part of its checkpoint.
///
/// It is bounded: all entries together have at most 256 tracks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecideState {
    #[serde(deserialize_with = "deserialize_version")]
    version: u32,
    /// The `seq` of the last event.
    seq: u64,
    /// Trackers by [`super::Rules::detector`].
    detectors: BTreeMap<String, Tracker>,
}

impl Default for DecideState {
    fn default() -> Self {
        Self { version: VERSION, seq: 0, detectors: BTreeMap::new() }
    }
}

impl DecideState {
    /// Returns the `seq` of the camera's last event; 0 before the first.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Returns a state without tracks that continues this numbering of events.
    #[must_use]
    pub fn only_seq(self) -> Self {
        Self { seq: self.seq, ..Self::default() }
    }

    /// Replaces the snapshots of the events in `unpictured`, whose pictures were left out, by that of `by`, an event of the same
    /// frame; `None`: by no snapshot.
    pub fn show_by(&mut self, unpictured: &BTreeSet<String>, by: Option<&SnapshotSource>) {
        // An end names the best snapshot of its incident, which must exist by then.
        let records = self.detectors.values_mut().flat_map(Tracker::best_records);
        for best in records.filter(|best| unpictured.contains(&best.event_id)) {
            best.event_id = by.map_or_else(String::new, |by| by.event_id.clone());
        }
    }

    /// Returns the number of objects that an entry of the pipeline can keep: what the other entries leave of [`MAX_OBJECTS`],
    /// and at least an equal share of it.
    pub(super) fn object_limit(&self, detector: &str) -> usize {
        let others = self.detectors.iter().filter(|(name, _)| name.as_str() != detector);
        let (mut entries, mut taken) = (1, 0);
        for (_, tracker) in others {
            entries += 1;
            taken += tracker.len();
        }
        // The equal share keeps a crowd in one entry from taking objects from an entry that has fewer than its share.
        MAX_OBJECTS.saturating_sub(taken).max(MAX_OBJECTS / entries)
    }

    /// Returns the tracker of a pipeline entry, created on first use, and the `seq` of the camera's last event.
    pub(super) fn of(&mut self, detector: &str) -> (&mut Tracker, &mut u64) {
        (self.detectors.entry(detector.to_owned()).or_default(), &mut self.seq)
    }
}

fn deserialize_version<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        VERSION => Ok(VERSION),
        other => Err(de::Error::custom(format_args!(
            "the state has version {other}, this program reads {VERSION}: run the program that wrote it, or start again"
        ))),
    }
}
