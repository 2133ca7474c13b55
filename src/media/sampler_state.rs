//! The state of a camera's sampler and of idle decode, a part of its checkpoint.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::MediaMs;

/// The state of a sampler between two frames, and that of idle decode after a fragment.
///
/// Both are one object of the stored checkpoint: installed versions ignore an unknown field in this object, and would
/// reject one beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplerState {
    /// The next tick to serve, and the newest media time seen; `None` before the first frame.
    pub(crate) next: Option<(i64, MediaMs)>,
    /// The lengths of the last GOPs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) gops: RecentGops,
    /// The usual sizes of access units while nothing moves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) sizes: QuietSizes,
    /// The decisions of idle decode.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) idle: IdleRecord,
}

impl SamplerState {
    /// Forgets what idle decode has learned and decided, for a camera on which it is off.
    pub fn forget_idle(&mut self) {
        (self.sizes, self.idle) = (QuietSizes::default(), IdleRecord::default());
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The lengths of a track's last GOPs, from which decode concludes whether keyframes alone suffice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentGops {
    /// Media time of the last keyframe.
    pub(crate) keyframe: Option<MediaMs>,
    /// The lengths, ms, the newest first; 0 where fewer are known.
    pub(crate) lengths_ms: [u32; 4],
}

/// The usual sizes of the inter-coded access units of a quiet scene.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietSizes {
    /// The sizes by the time since the keyframe: encoders spend more right after it.
    pub(crate) ranges: [SizeRange; 5],
    /// The number of wakes in a row that found nothing. Each doubles the time of learning.
    pub(crate) false_wakes: u8,
}

/// The usual bytes per window of some hundred milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeRange {
    /// The running median, in sixteenths of a byte.
    pub(crate) median_x16: u32,
    /// The running median of the distance from it, in sixteenths of a byte.
    pub(crate) spread_x16: u32,
    /// The number of windows that were learned from since the last wake that found nothing.
    pub(crate) learned: u32,
}

/// The decisions of idle decode that a restart has to repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdleRecord {
    /// The decisions on the keyframes after the position, in stream order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) keyframes: Vec<KeyframeRecord>,
    /// The media times of the last wakes that found nothing new, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) fruitless: Vec<MediaMs>,
    /// The media time when the scene was last quiet, or when the detectors last found something new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) calm_at: Option<MediaMs>,
    /// The media time until which a change alone does not wake the camera.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restless_until: Option<MediaMs>,
    /// The number of restless times in a row. Each is twice as long as the one before.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) restless_times: u8,
    /// The last wake, until the scene is quiet again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) woken: Option<OpenWake>,
}

/// A wake whose outcome is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenWake {
    /// The media time of the access unit that woke the camera.
    pub(crate) media: MediaMs,
    /// True if it was unusually large.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) by_size: bool,
    /// True if the detectors have found something new since then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) found: bool,
}

/// The decision on a keyframe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyframeRecord {
    /// Number of its fragment.
    pub(crate) fragment: Arc<str>,
    /// Its media time in the container.
    pub(crate) media: MediaMs,
    /// The outcome of a wake by size, if it became known here: true if it had found motion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size_wake_found: Option<bool>,
    /// The decision; `None` if the scene was quiet before the keyframe, and the keyframe was not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<KeyframeVerdict>,
}

/// The decision of idle decode on a keyframe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyframeVerdict {
    /// The scene was not quiet before the keyframe: decoding continues with it.
    Active,
    /// Nothing moves: the access units up to the next keyframe are retained, not decoded.
    Still,
    /// Something has moved since the keyframe before: the access units between them are decoded.
    Rewind,
    /// Decoding begins at this keyframe, as at the beginning of a stream.
    Resume,
}
