//! A clip on disk, cut into fragments: an mp4 or Matroska file, or a dump of GetMedia.

use std::path::{Path, PathBuf};

use crate::playback::error::ClipError;
use crate::playback::event::{Reel, Screen};
use crate::playback::{container, dump};

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
        let is_dump = dump::is_dump(path)?;
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
            true => dump::run(&self.path, start_ms, screen),
            false => container::run(&self.path, start_ms, screen),
        }
    }
}
