//! The pieces of a clip, as its reader hands them over.

use std::sync::Arc;

use kvs_mkv::{Block, Tag};

use crate::store::fragment::MediaHeader;

/// A piece of a fragment, in the order in which a camera would send it.
#[derive(Debug)]
pub(crate) struct Cut {
    /// When it is due, since the beginning of the play.
    pub(crate) due_ms: i64,
    pub(crate) piece: Piece,
}

#[derive(Debug)]
pub(crate) enum Piece {
    /// A fragment begins; `media_ms` since the beginning of the play is its Cluster's time.
    Begin {
        header: Arc<MediaHeader>,
        media_ms: i64,
    },
    Frame(Block),
    End(Vec<Tag>),
}

/// Takes cuts. False: no more are wanted.
pub(crate) type Screen<'a> = dyn FnMut(Cut) -> bool + 'a;

/// Where one run through a clip ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reel {
    /// At its end, that long after the beginning of the play.
    Ended { end_ms: i64 },
    /// No more was wanted.
    Stopped,
}
