//! The events of a clip, in the order in which a camera would send them.

use std::sync::Arc;

use kvs_mkv::{Block, Tag};

use crate::store::fragment::MediaHeader;

/// An event of a clip, and its time.
#[derive(Debug)]
pub(crate) struct ClipEvent {
    /// Time at which a camera would send it, since the start of the playback.
    pub(crate) due_ms: i64,
    pub(crate) kind: ClipEventKind,
}

#[derive(Debug)]
pub(crate) enum ClipEventKind {
    /// A fragment starts. `media_ms` is the time of its Cluster, since the start of the playback.
    FragmentStart {
        header: Arc<MediaHeader>,
        media_ms: i64,
    },
    Frame(Block),
    /// A fragment ends, with the producer's tags.
    FragmentEnd(Vec<Tag>),
}

/// A receiver of events. It returns false if it wants no more.
pub(crate) type OnClipEvent<'a> = dyn FnMut(ClipEvent) -> bool + 'a;

/// The end of one pass through a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PassEnd {
    /// The clip is over, this long after the start of the playback.
    Finished { end_ms: i64 },
    /// The receiver wanted no more.
    Stopped,
}
