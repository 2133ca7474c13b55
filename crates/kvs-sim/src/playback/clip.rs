//! A clip on disk: an mp4 or Matroska file, or a dump of GetMedia.

use std::path::{Path, PathBuf};

use crate::playback::error::ClipError;
use crate::playback::event::{OnClipEvent, PassEnd};
use crate::playback::{container, dump};

/// A clip that can be played.
#[derive(Debug, Clone)]
pub struct ClipFile {
    path: PathBuf,
    is_dump: bool,
}

impl ClipFile {
    /// Opens a file and reads up to its first frame.
    ///
    /// # Errors
    ///
    /// The file cannot be read, has no video, or has a codec that cannot be played.
    pub fn open(path: &Path) -> Result<Self, ClipError> {
        let is_dump = dump::is_dump(path)?;
        let clip = Self { path: path.to_owned(), is_dump };
        // The first event proves that there is a frame; the receiver stops there.
        if clip.run_pass(0, &mut |_| false)? != PassEnd::Stopped {
            return Err(ClipError::NoVideo { path: clip.path });
        }
        Ok(clip)
    }

    /// Returns the clip's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Emits all events, forever and with rising times if `looped`. Blocks on the disk and on the receiver.
    pub(crate) fn run(&self, looped: bool, on_event: &mut OnClipEvent<'_>) -> Result<(), ClipError> {
        let mut start_ms = 0;
        loop {
            match self.run_pass(start_ms, on_event)? {
                PassEnd::Stopped => return Ok(()),
                // A pass without length would loop without pause.
                PassEnd::Finished { end_ms } if end_ms <= start_ms => {
                    return Err(ClipError::NoVideo { path: self.path.clone() });
                }
                PassEnd::Finished { end_ms } => start_ms = end_ms,
            }
            if !looped {
                return Ok(());
            }
        }
    }

    fn run_pass(&self, start_ms: i64, on_event: &mut OnClipEvent<'_>) -> Result<PassEnd, ClipError> {
        match self.is_dump {
            true => dump::run_pass(&self.path, start_ms, on_event),
            false => container::run_pass(&self.path, start_ms, on_event),
        }
    }
}
