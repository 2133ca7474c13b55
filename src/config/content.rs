//! The content of a configuration file, and the time by which versions of it are ordered.

use std::fs::File;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use ::sharing::ConfigVersion;
use sha2::{Digest, Sha256};

use crate::base::{hex, read_to_limit};

/// The text of a configuration, with the time of its modification, both from one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigContent {
    /// The text.
    pub text: String,
    /// The time of modification by the clock of the store that holds the file, ms since 1970; never that of the reader.
    pub modified_ms: Result<u64, UnknownTime>,
}

/// The reason why the time of a configuration's modification is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownTime {
    /// The text comes from standard input, a pipe or a caller.
    #[error("this one is not from a file")]
    NoFile,
    /// The file system keeps no time.
    #[error("the file system of this one keeps no time")]
    NoFileTime,
    /// The web server sent no time.
    #[error("the server of this one sent no valid Last-Modified header")]
    NoHeader,
}

impl Default for ConfigContent {
    fn default() -> Self {
        Self::without_time(String::new())
    }
}

impl UnknownTime {
    /// Returns the remedy.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::NoFile | Self::NoFileTime => {
                "name an object in S3, the recommended place, or a file: --config s3://bucket/key"
            }
            Self::NoHeader => {
                "let the server send Last-Modified, or put the file into S3: --config s3://bucket/key"
            }
        }
    }
}

impl ConfigContent {
    /// Creates the content of a text that is from no file.
    #[must_use]
    pub fn without_time(text: String) -> Self {
        Self { text, modified_ms: Err(UnknownTime::NoFile) }
    }

    /// Returns the version, by which all workers order the configurations that they read.
    ///
    /// # Errors
    /// The time of modification is unknown.
    pub fn version(&self) -> Result<ConfigVersion, UnknownTime> {
        let digest = hex(Sha256::new_with_prefix(&self.text));
        Ok(ConfigVersion { modified_ms: self.modified_ms?, digest: digest.into() })
    }

    /// Reads an open file or pipe of at most 4 MiB.
    pub(super) fn read(file: File) -> io::Result<Self> {
        // Before the text: a file that is written to meanwhile has a time that is too early, and the next read corrects it. A time that
        // is too late would make the earlier text the newest version.
        let metadata = file.metadata()?;
        let modified_ms = match metadata.modified() {
            // A pipe has the time at which this host made it.
            _ if !metadata.is_file() => Err(UnknownTime::NoFile),
            Ok(modified) => ms_since_1970(modified).ok_or(UnknownTime::NoFileTime),
            Err(_) => Err(UnknownTime::NoFileTime),
        };
        Ok(Self { text: decoded(read_to_limit(file)?)?, modified_ms })
    }

    /// Reads standard input of at most 4 MiB.
    pub(super) fn read_stdin() -> io::Result<Self> {
        Ok(Self::without_time(decoded(read_to_limit(io::stdin().lock())?)?))
    }
}

fn decoded(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
}

fn ms_since_1970(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}
