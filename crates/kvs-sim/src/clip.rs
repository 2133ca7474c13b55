//! A clip on disk, cut into fragments: an mp4 or Matroska file, or a dump of GetMedia.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kvs_mkv::{Block, Tag};

use crate::fragment::MediaHeader;
use crate::{clip_container, clip_dump};

/// Why a clip cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {
    /// The file cannot be read or is no clip.
    #[error("{}: cannot be read as mp4, Matroska or a GetMedia dump: {reason}", path.display())]
    Unreadable {
        /// The clip.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// There is nothing to show in it.
    #[error("{}: has no video track with frames; choose a clip with H.264 or H.265 video", path.display())]
    NoVideo {
        /// The clip.
        path: PathBuf,
    },
    /// Its video cannot be put into a stream without transcoding.
    #[error(
        "{}: its video is {codec}; only H.264 with avcC and H.265 with hvcC can be played. \
         Make one by: ffmpeg -i CLIP -an -c:v libx264 -g 25 clip.mp4",
        path.display()
    )]
    Codec {
        /// The clip.
        path: PathBuf,
        /// What it holds instead.
        codec: String,
    },
    /// The stream it is to be played into refuses it.
    #[error("{}: cannot be played into the stream: {reason}", path.display())]
    Stream {
        /// The clip.
        path: PathBuf,
        /// What the stream said.
        reason: String,
    },
}

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

/// A clip that was found to be playable.
#[derive(Debug, Clone)]
pub struct Clip {
    path: PathBuf,
    is_dump: bool,
}

impl Clip {
    /// Looks into a file.
    ///
    /// Errors: it cannot be read, has no video, or a codec that is not played.
    pub fn open(path: &Path) -> Result<Self, ClipError> {
        let is_dump = clip_dump::is_dump(path)?;
        let clip = Self { path: path.to_owned(), is_dump };
        if clip.run_once(0, &mut |_| false)? != Reel::Stopped {
            return Err(ClipError::NoVideo { path: clip.path });
        }
        Ok(clip)
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shows all cuts, `looped` forever and with rising times. Blocks on the disk and the screen.
    pub(crate) fn run(&self, looped: bool, screen: &mut Screen<'_>) -> Result<(), ClipError> {
        let mut start_ms = 0;
        loop {
            match self.run_once(start_ms, screen)? {
                Reel::Stopped => return Ok(()),
                Reel::Ended { end_ms } if end_ms <= start_ms => {
                    return Err(ClipError::NoVideo { path: self.path.clone() });
                }
                Reel::Ended { end_ms } => start_ms = end_ms,
            }
            if !looped {
                return Ok(());
            }
        }
    }

    fn run_once(&self, start_ms: i64, screen: &mut Screen<'_>) -> Result<Reel, ClipError> {
        match self.is_dump {
            true => clip_dump::run(&self.path, start_ms, screen),
            false => clip_container::run(&self.path, start_ms, screen),
        }
    }
}

pub(crate) fn unreadable(path: &Path, reason: impl ToString) -> ClipError {
    ClipError::Unreadable { path: path.to_owned(), reason: reason.to_string() }
}
