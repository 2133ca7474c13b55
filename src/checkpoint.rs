//! The checkpoint of a camera: the state that it keeps across restarts.

use std::cmp::Ordering;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use crate::decide;
use crate::detect::MotionState;
use crate::media::{Frame, MediaMs, Position, SamplerState, fragment_order};

/// Version of the stored format. The state of decide has its own version.
const VERSION: u32 = 1;

/// Maximum size of the JSON in a packed checkpoint, bytes. One that unpacks to more is damaged.
const MAX_UNPACKED_BYTES: u64 = 16 << 20;

/// The position at which a camera resumes, and its state there.
///
/// Reading resumes after `position` with the stored state of the sampler. Frames up to `seen` are then decoded again and
/// skipped, because the state of decide already includes them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Name of the Kinesis video stream.
    pub stream: Arc<str>,
    /// Position after the last complete fragment; `None` before the first.
    pub position: Option<Position>,
    /// The last frame that decide has processed, of a fragment after `position`.
    pub seen: Option<FramePosition>,
    /// State of decide after `seen`.
    pub decide: decide::DecideState,
    /// State of the sampler after `position`.
    pub sampler: SamplerState,
    /// State of the motion gate after `seen`; empty without a gate.
    #[serde(default, skip_serializing_if = "MotionState::is_empty")]
    pub motion: MotionState,
}

/// The position of a frame in its stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FramePosition {
    /// Number of its fragment.
    pub fragment: Arc<str>,
    /// Media time of the frame. Frames of a fragment are processed in the order of presentation.
    pub media: MediaMs,
}

/// The progress of a checkpoint: all of it that a table compares, also where another version wrote the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckpointOutline {
    stream: Arc<str>,
    /// Number of the last complete fragment; `None` before the first.
    pub(crate) fragment: Option<Arc<str>>,
    /// The `seq` of the last event.
    pub(crate) seq: u64,
}

/// A checkpoint cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another version of the program wrote it.
    #[error(
        "its format is version {found}, this program reads {VERSION}; run the program that wrote it, or delete the \
         state and restart"
    )]
    Version {
        /// Version of the stored format.
        found: u64,
    },
    /// The JSON is damaged.
    #[error("it cannot be read: {0}; delete the state and restart")]
    Damaged(#[from] serde_json::Error),
    /// The packed bytes cannot be unpacked.
    #[error("it cannot be unpacked: {0}; delete the item and restart")]
    Packed(#[from] io::Error),
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u64,
    checkpoint: T,
}

#[derive(Deserialize)]
struct OutlineJson {
    stream: Arc<str>,
    position: Option<OutlinePosition>,
    decide: OutlineDecide,
}

#[derive(Deserialize)]
struct OutlinePosition {
    fragment: Arc<str>,
}

#[derive(Deserialize)]
struct OutlineDecide {
    seq: u64,
}

impl FramePosition {
    /// Returns the position of a frame.
    #[must_use]
    pub fn of(frame: &Frame) -> Self {
        Self { fragment: Arc::clone(&frame.fragment.number), media: frame.media }
    }

    /// Returns `true` if `frame` is at this position or before it.
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
    /// The format of a stored checkpoint: its own version, and that of the state of decide. Workers of a program that does not know it
    /// are not given the camera.
    pub const FORMAT: u32 = VERSION * 1_000 + decide::STATE_VERSION;

    /// Creates the checkpoint for the beginning of a stream.
    #[must_use]
    pub fn new(stream: &str) -> Self {
        Self { stream: stream.into(), ..Self::default() }
    }

    /// Returns this checkpoint if it is of `stream`. Otherwise returns the beginning of `stream`, and keeps only `seq`.
    #[must_use]
    pub fn of_stream(self, stream: &str) -> Self {
        if &*self.stream == stream {
            return self;
        }
        // `seq` belongs to the camera, and consumers rely on it to increase.
        Self { decide: self.decide.only_seq(), ..Self::new(stream) }
    }

    /// Returns `true` if the state of decide already includes the frame.
    #[must_use]
    pub fn has_seen(&self, frame: &Frame) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.covers(frame))
    }

    /// Returns the checkpoint as the outbox stores it: JSON with the version of the format.
    ///
    /// # Errors
    /// A value has no JSON form, which is a bug.
    pub fn to_bytes(&self) -> serde_json::Result<Bytes> {
        serde_json::to_vec(&Envelope { version: VERSION.into(), checkpoint: self }).map(Bytes::from)
    }

    /// Reads a stored checkpoint.
    ///
    /// # Errors
    /// Another version wrote it, or it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        // The version is checked before the checkpoint is parsed, so a newer format gets the message about versions.
        let Envelope { version, checkpoint } = serde_json::from_slice::<Envelope<serde_json::Value>>(bytes)?;
        if version != u64::from(VERSION) {
            return Err(CheckpointError::Version { found: version });
        }
        Ok(serde_json::from_value(checkpoint)?)
    }

    /// Returns the checkpoint as the table of positions stores it: zlib of the JSON of [`Checkpoint::to_bytes`], without
    /// the state of the motion gate.
    ///
    /// A gate without a state starts open, which costs a second of inferences and loses nothing. Its picture would be 90 %
    /// of an idle camera's item.
    ///
    /// # Errors
    /// A value has no JSON form, which is a bug.
    pub(super) fn to_packed(&self) -> Result<Vec<u8>, CheckpointError> {
        // DynamoDB limits an item to 400 KB, and each checkpoint is one write.
        Ok(pack(&self.without_gate().to_bytes()?)?)
    }

    /// Returns the checkpoint without the state of the motion gate, as the table of positions stores it.
    pub(super) fn without_gate(&self) -> Self {
        Self { motion: MotionState::default(), ..self.clone() }
    }
}

impl CheckpointOutline {
    /// Returns the outline of a checkpoint.
    pub(crate) fn of(checkpoint: &Checkpoint) -> Self {
        let fragment = checkpoint.position.as_ref().map(|position| Arc::clone(&position.fragment));
        Self { stream: Arc::clone(&checkpoint.stream), fragment, seq: checkpoint.decide.seq() }
    }

    /// Reads the outline from the JSON of a checkpoint of any version; `None` if it has none of this form.
    pub(crate) fn of_json(json: &[u8]) -> Option<Self> {
        let Envelope { checkpoint, .. } = serde_json::from_slice::<Envelope<OutlineJson>>(json).ok()?;
        let OutlineJson { stream, position, decide } = checkpoint;
        Some(Self { stream, fragment: position.map(|position| position.fragment), seq: decide.seq })
    }

    /// Returns whether this checkpoint is of an earlier position than `other`, or has fewer events after the same one.
    pub(crate) fn is_behind(&self, other: &Self) -> bool {
        let positions = match (&self.fragment, &other.fragment) {
            // The camera's stream was changed: numbers of fragments are comparable within a stream only.
            _ if self.stream != other.stream => Ordering::Equal,
            (Some(one), Some(other)) => fragment_order(one, other),
            (one, other) => one.is_some().cmp(&other.is_some()),
        };
        positions.then(self.seq.cmp(&other.seq)).is_lt()
    }
}

/// Returns JSON as the table of positions stores it: zlib.
pub(super) fn pack(json: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
    packer.write_all(json)?;
    packer.finish()
}

/// Returns the JSON of [`pack`]; at most [`MAX_UNPACKED_BYTES`] of it.
pub(super) fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    // The limit is before the JSON parser: a few packed bytes can unpack to gigabytes.
    ZlibDecoder::new(packed).take(MAX_UNPACKED_BYTES).read_to_end(&mut json)?;
    Ok(json)
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
            seen: Some(FramePosition { fragment: "13".into(), media: MediaMs(1_700_000_000_123) }),
            decide: decide::DecideState::default(),
            sampler: SamplerState::default(),
            motion: MotionState::default(),
        }
    }

    fn from_packed(packed: &[u8]) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::from_bytes(&unpack(packed)?)
    }

    #[test]
    fn a_stored_checkpoint_is_read_back() {
        for seen in [checkpoint().seen, None] {
            let kept = Checkpoint { seen, ..checkpoint() };
            assert_eq!(Checkpoint::from_bytes(&kept.to_bytes().unwrap()).unwrap(), kept);
        }
    }

    #[test]
    fn the_outline_is_read_from_json_of_any_version() {
        for kept in [checkpoint(), Checkpoint { position: None, ..checkpoint() }] {
            let outline = CheckpointOutline::of_json(&kept.to_bytes().unwrap());
            assert_eq!(outline, Some(CheckpointOutline::of(&kept)));
        }
        let newer = br#"{"version":9,"checkpoint":{"stream":"s","position":{"fragment":"12","new":1},"decide":{"seq":7},"new":2}}"#;
        let outline = CheckpointOutline::of_json(newer).unwrap();
        assert_eq!((outline.fragment.as_deref(), outline.seq), (Some("12"), 7));
        assert_eq!(CheckpointOutline::of_json(b"{}"), None);
    }

    #[test]
    fn a_packed_checkpoint_is_read_back_without_the_gate() {
        let luma = "7f".repeat(64 * 36);
        let gate = serde_json::json!({
            "media": 5, "size_px": [1920, 1080], "luma": luma, "awake_until": 9, "is_idle": true, "things": []
        });
        let awake = Checkpoint { motion: serde_json::from_value(gate).unwrap(), ..checkpoint() };
        let packed = awake.to_packed().unwrap();
        assert_eq!(from_packed(&packed).unwrap(), checkpoint());
        assert!(packed.len() < 250, "{} bytes", packed.len());
    }

    #[test]
    fn a_checkpoint_that_does_not_unpack_is_rejected() {
        let bomb = {
            let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
            packer.write_all(&vec![b' '; 40 << 20]).unwrap();
            packer.finish().unwrap()
        };
        let torn = checkpoint().to_packed().unwrap();
        for (name, bytes) in
            [("no zlib", &b"{\"version\":1}"[..]), ("torn", &torn[..torn.len() / 2]), ("a bomb", &bomb)]
        {
            let error = from_packed(bytes).unwrap_err().to_string();
            assert!(error.contains("delete the"), "{name}: {error}");
        }
    }

    #[test]
    fn another_stream_starts_at_its_beginning_and_seq_continues() {
        let decide = serde_json::json!({ "version": 2, "seq": 7, "detectors": { "objects": { "last_look": 5, "last_id": 0, "tracks": [] } } });
        let kept = Checkpoint { decide: serde_json::from_value(decide).unwrap(), ..checkpoint() };
        assert_eq!(kept.clone().of_stream("front-stream"), kept);
        let other = kept.of_stream("back-stream");
        assert_eq!((other.position.as_ref(), other.seen.as_ref(), other.decide.seq()), (None, None, 7));
        assert_eq!(other.decide, other.decide.clone().only_seq());
    }

    #[test]
    fn a_checkpoint_of_another_program_is_rejected_with_the_reason() {
        let newer = br#"{"version":2,"checkpoint":{"position":"12","sharded":true}}"#;
        let table: [(&str, &[u8], &str); 4] = [
            ("newer", newer, "version 2, this program reads 1"),
            ("torn", b"{\"version\":1,\"check", "cannot be read"),
            ("empty", b"", "cannot be read"),
            ("unknown key", br#"{"version":1,"checkpoint":{"place":1}}"#, "unknown field `place`"),
        ];
        for (name, bytes, words) in table {
            let error = Checkpoint::from_bytes(bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{name}: {error}");
        }
    }
}
