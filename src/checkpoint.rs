//! Where a camera goes on, and with what: what is kept over a restart.

use std::cmp::Ordering;
use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use crate::decide;
use crate::detect::MotionState;
use crate::media::{Frame, MediaMs, Position, SamplerState, fragment_order};

/// The version of this shape; [`decide::State`] has its own.
const VERSION: u32 = 1;

/// Limit on the JSON of a packed checkpoint, bytes: what unpacks to more is damaged.
const MAX_UNPACKED_BYTES: u64 = 16 << 20;

/// Where to go on with a camera, and with what.
///
/// Reading goes on after `position`, with the sampler as it was there. Frames up to `seen` come again then; decide's state
/// has them in it already, so they are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The Kinesis video stream that the rest is about.
    pub stream: Arc<str>,
    /// After the last complete fragment; `None` before the first.
    pub position: Option<Position>,
    /// The last frame that was looked at, of a fragment after `position`.
    pub seen: Option<Seen>,
    /// What decide remembers after `seen`.
    pub decide: decide::State,
    /// What the sampler remembers after `position`.
    pub sampler: SamplerState,
    /// What the motion gate remembers after `seen`; empty where there is none.
    #[serde(default, skip_serializing_if = "MotionState::is_empty")]
    pub motion: MotionState,
}

/// A frame by its place in the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The fragment's number.
    pub fragment: Arc<str>,
    /// Its media time: frames of a fragment are looked at in the order of presentation.
    pub media: MediaMs,
}

/// A checkpoint of another program.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It was written by another version.
    #[error(
        "its format is version {found}, this program reads {VERSION}; run the program that wrote it, or delete the \
         state and start anew"
    )]
    Version {
        /// The version that it has.
        found: u64,
    },
    /// It is damaged.
    #[error("it cannot be read: {0}; delete the state and start anew")]
    Damaged(#[from] serde_json::Error),
    /// The packed bytes do not unpack.
    #[error("it cannot be unpacked: {0}; delete the item and restart")]
    Packed(#[from] std::io::Error),
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u64,
    checkpoint: T,
}

impl Seen {
    /// The place of a frame.
    #[must_use]
    pub fn of(frame: &Frame) -> Self {
        Self { fragment: Arc::clone(&frame.fragment.number), media: frame.media }
    }

    /// Whether `frame` is this one, or comes before it in the stream.
    #[must_use]
    pub fn covers(&self, frame: &Frame) -> bool {
        match fragment_order(&frame.fragment.number, &self.fragment) {
            Ordering::Less => true,
            Ordering::Equal => frame.media <= self.media,
            Ordering::Greater => false,
        }
    }
}

impl Checkpoint {
    /// The beginning of a stream.
    #[must_use]
    pub fn new(stream: &str) -> Self {
        Self { stream: stream.into(), ..Self::default() }
    }

    /// This, or where it is of another stream, the beginning of `stream`: only `seq` goes on.
    #[must_use]
    pub fn of_stream(self, stream: &str) -> Self {
        if &*self.stream == stream {
            return self;
        }
        Self { decide: self.decide.only_seq(), ..Self::new(stream) }
    }

    /// Whether decide's state has the frame in it already.
    #[must_use]
    pub fn has_seen(&self, frame: &Frame) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.covers(frame))
    }

    /// As it is kept: JSON with its version.
    ///
    /// # Errors
    /// It is no JSON: a bug.
    pub fn to_bytes(&self) -> serde_json::Result<Bytes> {
        serde_json::to_vec(&Envelope { version: VERSION.into(), checkpoint: self }).map(Bytes::from)
    }

    /// From what was kept.
    ///
    /// # Errors
    /// Another version wrote it, or it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let Envelope { version, checkpoint } = serde_json::from_slice::<Envelope<serde_json::Value>>(bytes)?;
        if version != u64::from(VERSION) {
            return Err(CheckpointError::Version { found: version });
        }
        Ok(serde_json::from_value(checkpoint)?)
    }

    /// Returns the checkpoint as the table of positions stores it: the JSON of [`Checkpoint::to_bytes`] in zlib format,
    /// without the state of the motion gate. A gate without a state starts awake, which costs a second of inferences and
    /// loses nothing; its picture would be 90 % of an idle camera's item.
    ///
    /// # Errors
    /// It is no JSON: a bug.
    pub(super) fn to_packed(&self) -> Result<Vec<u8>, CheckpointError> {
        let stored = Self { motion: MotionState::default(), ..self.clone() };
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
        packer.write_all(&stored.to_bytes()?)?;
        Ok(packer.finish()?)
    }

    /// Reads what [`Checkpoint::to_packed`] returned.
    ///
    /// # Errors
    /// Another version wrote it, or it is damaged.
    pub(super) fn from_packed(packed: &[u8]) -> Result<Self, CheckpointError> {
        let mut bytes = Vec::new();
        ZlibDecoder::new(packed).take(MAX_UNPACKED_BYTES).read_to_end(&mut bytes)?;
        Self::from_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            stream: "front-stream".into(),
            position: Some(Position {
                fragment: "12".into(),
                media: MediaMs(1_700_000_000_000),
                primer: None,
            }),
            seen: Some(Seen { fragment: "13".into(), media: MediaMs(1_700_000_000_123) }),
            decide: decide::State::default(),
            sampler: SamplerState::default(),
            motion: MotionState::default(),
        }
    }

    #[test]
    fn what_was_kept_is_read_back() {
        for seen in [checkpoint().seen, None] {
            let kept = Checkpoint { seen, ..checkpoint() };
            assert_eq!(Checkpoint::from_bytes(&kept.to_bytes().unwrap()).unwrap(), kept);
        }
    }

    #[test]
    fn what_was_packed_is_read_back_without_the_gate() {
        let luma = "7f".repeat(64 * 36);
        let gate = serde_json::json!({
            "media": 5, "size_px": [1920, 1080], "luma": luma, "awake_until": 9, "is_idle": true, "things": []
        });
        let awake = Checkpoint { motion: serde_json::from_value(gate).unwrap(), ..checkpoint() };
        let packed = awake.to_packed().unwrap();
        assert_eq!(Checkpoint::from_packed(&packed).unwrap(), checkpoint());
        assert!(packed.len() < 250, "{} bytes", packed.len());
    }

    #[test]
    fn what_does_not_unpack_is_refused() {
        let bomb = {
            let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
            packer.write_all(&vec![b' '; 40 << 20]).unwrap();
            packer.finish().unwrap()
        };
        let torn = checkpoint().to_packed().unwrap();
        for (name, bytes) in
            [("no zlib", &b"{\"version\":1}"[..]), ("torn", &torn[..torn.len() / 2]), ("a bomb", &bomb)]
        {
            let refused = Checkpoint::from_packed(bytes).unwrap_err().to_string();
            assert!(refused.contains("delete the"), "{name}: {refused}");
        }
    }

    #[test]
    fn another_stream_begins_at_its_beginning_and_seq_goes_on() {
        let decide = serde_json::json!({ "version": 2, "seq": 7, "detectors": { "objects": { "last_look": 5, "last_id": 0, "tracks": [] } } });
        let kept = Checkpoint { decide: serde_json::from_value(decide).unwrap(), ..checkpoint() };
        assert_eq!(kept.clone().of_stream("front-stream"), kept);
        let other = kept.of_stream("back-stream");
        assert_eq!((other.position.as_ref(), other.seen.as_ref(), other.decide.seq()), (None, None, 7));
        assert_eq!(other.decide, other.decide.clone().only_seq());
    }

    #[test]
    fn what_another_program_kept_is_refused_with_the_reason() {
        let newer = br#"{"version":2,"checkpoint":{"position":"12","sharded":true}}"#;
        let table: [(&str, &[u8], &str); 4] = [
            ("newer", newer, "version 2, this program reads 1"),
            ("torn", b"{\"version\":1,\"check", "cannot be read"),
            ("empty", b"", "cannot be read"),
            ("unknown key", br#"{"version":1,"checkpoint":{"place":1}}"#, "unknown field `place`"),
        ];
        for (name, bytes, said) in table {
            let refused = Checkpoint::from_bytes(bytes).unwrap_err().to_string();
            assert!(refused.contains(said), "{name}: {refused}");
        }
    }
}
