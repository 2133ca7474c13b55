//! What decide remembers of a camera.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::track::Tracks;

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
