//! Questions of the decode thread to the analysis task, at their place among the frames.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::{Fragment, Frame, KeyframeVerdict, MediaMs};

/// A question of idle decode. The decode thread waits for the answer.
#[derive(Debug)]
pub enum IdleQuery {
    /// Asks whether the scene is quiet, before a keyframe is decoded.
    Quiet {
        /// The fragment of the keyframe.
        fragment: Arc<Fragment>,
        /// The media time of the keyframe.
        media: MediaMs,
        /// The channel for the answer.
        answer: SyncSender<QuietAnswer>,
    },
    /// Asks for the verdict on a keyframe that was decoded alone.
    Keyframe {
        /// The keyframe.
        frame: Arc<Frame>,
        /// The media time of the keyframe in the container.
        media: MediaMs,
        /// True if the access units before it are retained, so that decoding can go back to them.
        can_rewind: bool,
        /// The length of the longest of the last GOPs, ms: the next keyframe may come that much later.
        gop_ms: u32,
        /// The channel for the answer.
        answer: SyncSender<KeyframeVerdict>,
    },
    /// Reports that the camera was woken by something else than a keyframe.
    Woke {
        /// The media time of the access unit that woke it.
        media: MediaMs,
        /// True if an unusually large access unit woke it.
        by_size: bool,
    },
}

/// The answer to [`IdleQuery::Quiet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietAnswer {
    /// True if no motion was seen recently, so that the keyframe may be judged alone.
    pub is_quiet: bool,
    /// The outcome of the last wake by size, if it is known since this keyframe: true if it found motion.
    pub size_wake_found: Option<bool>,
}
