//! What decide remembers of a camera.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, de};

use super::Pictured;
use super::track::{MAX_OBJECTS, Tracks};

/// The version of this shape. A state of another version is refused when it is read.
const VERSION: u32 = 2;

/// What decide remembers of one camera: part of its checkpoint.
///
/// Bounded: so many things an entry of the pipeline, see [`super::decide`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    #[serde(deserialize_with = "this_version")]
    version: u32,
    /// The `seq` of the last record.
    seq: u64,
    /// By [`super::Rules::detector`].
    detectors: BTreeMap<String, Tracks>,
}

impl Default for State {
    fn default() -> Self {
        Self { version: VERSION, seq: 0, detectors: BTreeMap::new() }
    }
}

impl State {
    /// The `seq` of the camera's last record; 0 before the first.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// A state that remembers nothing but `seq`.
    #[must_use]
    pub fn only_seq(self) -> Self {
        Self { seq: self.seq, ..Self::default() }
    }

    /// Lets what is shown by the pictures of these records, which have none after all, be shown by that of `by`, a record of the same
    /// frame; `None`: by none.
    pub fn show_by(&mut self, unpictured: &BTreeSet<String>, by: Option<&Pictured>) {
        let tracks = self.detectors.values_mut();
        for best in tracks.flat_map(Tracks::best_records).filter(|best| unpictured.contains(&best.event_id)) {
            best.event_id = by.map_or_else(String::new, |by| by.event_id.clone());
        }
    }

    /// How many objects an entry of the pipeline keeps: what the other entries leave of [`MAX_OBJECTS`], and an equal share
    /// of it in any case. So one entry's crowd takes no object from another entry that has fewer than its share.
    pub(super) fn object_limit(&self, detector: &str) -> usize {
        let others = self.detectors.iter().filter(|(name, _)| name.as_str() != detector);
        let (mut entries, mut taken) = (1, 0);
        for (_, tracks) in others {
            entries += 1;
            taken += tracks.len();
        }
        MAX_OBJECTS.saturating_sub(taken).max(MAX_OBJECTS / entries)
    }

    /// The things of an entry of the pipeline, and the `seq` of the camera's last record.
    pub(super) fn of(&mut self, detector: &str) -> (&mut Tracks, &mut u64) {
        (self.detectors.entry(detector.to_owned()).or_default(), &mut self.seq)
    }
}

fn this_version<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        VERSION => Ok(VERSION),
        other => Err(de::Error::custom(format_args!(
            "the state has version {other}, this program reads {VERSION}: run the program that wrote it, or start anew"
        ))),
    }
}
